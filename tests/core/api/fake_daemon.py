"""Daemons that only speak the protocol: hundreds in one process, and such as misbehave."""

from __future__ import annotations

import contextlib
import pickle
import selectors
import socket
import threading

from mirai.protocol.messages import Kind
from mirai.protocol.tickets import read_line
from mirai.protocol.wire import Decoder, encode
from mirai.runtime import joining

ANSWER = pickle.dumps(42)


class FakeDaemon:
    """A daemon that was let in by the ticket of `command`."""

    def __init__(self, command):
        words = dict(zip(command.argv[5::2], command.argv[6::2], strict=True))
        ticket = read_line(command.env["MIRAI_TICKET"])
        self.data, self.control = joining.join(command.argv[4], "", ticket, words.get("--tlscert"))
        self.decoders = {self.data: Decoder(), self.control: Decoder()}
        self.begun = self.recalled = 0

    def take(self, sock):
        """Answer what has come on one of the two connections; whether it is still open."""
        decoder = self.decoders[sock]
        try:
            n = sock.recv_into(decoder.space())
            for kind, _, _, _, seq, _ in decoder.received(n) if n else ():
                if kind == Kind.TASK and seq > self.recalled:
                    self.begun = seq
                    sock.sendall(encode(Kind.RESULT, ANSWER, seq=seq))
                elif kind == Kind.PING:
                    sock.sendall(encode(Kind.PING))
                elif kind == Kind.RECALL:
                    self.recalled = seq
                    sock.sendall(encode(Kind.RECALLED, seq=self.begun))
        except OSError:
            return False
        return n > 0

    def close(self):
        for sock in self.decoders:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class Fleet(threading.Thread):
    """Answers for many of them."""

    def __init__(self):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.lock = threading.Lock()
        self.daemons = []
        self.ended = False
        self.start()

    def add(self, command):
        daemon = FakeDaemon(command)
        with self.lock:
            for sock in daemon.decoders:
                self.selector.register(sock, selectors.EVENT_READ, daemon)
            self.daemons.append(daemon)
        return daemon

    def remove(self, daemon):
        with self.lock:
            self._forget(daemon)

    def _forget(self, daemon):
        if daemon in self.daemons:
            self.daemons.remove(daemon)
            for sock in daemon.decoders:
                self.selector.unregister(sock)
            daemon.close()

    def run(self):
        while not self.ended:
            events = self.selector.select(0.05)
            with self.lock:
                for key, _ in events:
                    if key.data in self.daemons and not key.data.take(key.fileobj):
                        self._forget(key.data)

    def close(self):
        self.ended = True
        self.join()
        for daemon in list(self.daemons):
            self._forget(daemon)
        self.selector.close()
