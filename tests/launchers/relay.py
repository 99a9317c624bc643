"""As `nc host port`, but what the host says goes to descriptor 3; and it says so on its standard error."""

import os
import socket
import sys
import threading

there = socket.create_connection((sys.argv[1], int(sys.argv[2])))


def back() -> None:
    while data := there.recv(65536):
        os.write(2, b"%d bytes for you; " % len(data))
        os.write(3, data)
    os._exit(0)


threading.Thread(target=back).start()
while data := os.read(0, 65536):
    there.sendall(data)
there.shutdown(socket.SHUT_WR)
