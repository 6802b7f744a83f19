# SPDX-License-Identifier: Apache-2.0
"""A proxy for HTTPS, which notes what it is asked and what it gets to see."""

import contextlib
import socket
import threading

OK = b"HTTP/1.1 200 OK\r\n\r\n"
HANGS = None
HEAD_END = b"\r\n\r\n"
PIECE = 65536


class ConnectProxy:
    """Listens on port of 127.0.0.1 and takes CONNECT (RFC 9110, section 9.3.6), whose answer a test may choose. It connects
    only after OK."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.answer = OK
        self.heads = []          # of requests, with the names of headers as they came
        self.seen = bytearray()  # what clients sent through it
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def targets(self):
        """{what clients wanted to be connected with}"""
        return {head.split()[1].decode() for head in self.heads}

    def stop(self):
        for one in [self.listener, *self.sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.sockets.append(client)
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError):
            head = b""
            while HEAD_END not in head:
                piece = client.recv(PIECE)
                if not piece:
                    return
                head += piece
            self.heads.append(head)
            if self.answer is HANGS:
                return
            client.sendall(self.answer)
            if self.answer != OK:
                client.shutdown(socket.SHUT_RDWR)
                return
            self.join(client, head.split()[1].decode())

    def join(self, client, target):
        name, _, port = target.rpartition(":")
        service = socket.create_connection((name, int(port)))
        self.sockets.append(service)
        threading.Thread(target=self.copy, args=(service, client, bytearray()), daemon=True).start()
        self.copy(client, service, self.seen)

    @staticmethod
    def copy(one, other, note):
        with contextlib.suppress(OSError):
            while piece := one.recv(PIECE):
                note += piece
                other.sendall(piece)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
