# SPDX-License-Identifier: Apache-2.0
"""wlagentd's control socket, as far as a test needs it to see what a command asks and what it makes of the answer."""

import json
import os
import socket
import struct
import threading

CONTROL_VOLUME_OPEN = 6
CONTROL_VOLUME_CLOSE = 7
CONTROL_VOLUMES = 8
CONTROL_DOMAINS = 9
CONTROL_LAYER_REMOVE = 14

HEADER = struct.Struct("=IHHII")
MAGIC = 0x31414c57


class FakeControl:
    """Answers one request with code and reply; afterwards command and payload say what it was.  Then come more
    answers, each (code, reply), and later is [(command, payload), ...]."""

    def __init__(self, path, reply=b"", code=0, more=()):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen()
        self.path = path
        self.code = code
        self.reply = reply
        self.more = list(more)
        self.later = []
        self.command = self.payload = None
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        self.command, self.payload = self.answer(self.code, self.reply)
        for code, reply in self.more:
            request = self.answer(code, reply) if self.command else (None, None)
            if request[0]:
                self.later.append(request)

    def answer(self, code, reply):
        peer = self.listener.accept()[0]
        with peer, peer.makefile("rb") as stream:
            header = stream.read(HEADER.size)
            if not header:
                return None, None
            magic, command, _, size, _ = HEADER.unpack(header)
            assert magic == MAGIC
            payload = json.loads(stream.read(size)) if size else None
            peer.sendall(HEADER.pack(magic, command, code, len(reply), 0) + reply)
        return command, payload

    def finish(self):
        self.thread.join(0.1)
        while self.thread.is_alive():
            with socket.socket(socket.AF_UNIX) as nothing:
                nothing.connect(self.path)
            self.thread.join(0.1)
        self.listener.close()
        os.unlink(self.path)
