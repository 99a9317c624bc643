"""The other end of a connection, in a process of its own: `peer.py TRANSPORT dial|listen URL [TLS]`.

It prints the address, sends LAST_WORDS, and then reads, for as long as it is let live.
"""

from __future__ import annotations

import importlib
import select
import sys

from mirai.transport.tls import identity

LAST_WORDS = b"I was " + b"here, " * 1000

if __name__ == "__main__":
    name, role, url, *tls = sys.argv[1:]
    transport = importlib.import_module(f"mirai.transport.{name}")
    if role == "listen":
        listener = transport.listen(url, *map(identity, tls))
        print(listener.url, flush=True)
        select.select([listener], [], [])
        connection = listener.accept()
    else:
        print(url, flush=True)
        connection = transport.dial(url, 10, *tls)
    connection.sendall(LAST_WORDS)
    while connection.recv(4096):
        pass
