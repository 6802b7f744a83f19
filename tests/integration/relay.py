# SPDX-License-Identifier: Apache-2.0
"""A TCP relay between the agent and a service, which a test takes away, brings back, and makes hang."""

import contextlib
import selectors
import socket
import struct
import threading

REFUSES, RESETS, HANGS, DROPS, PASSES = "refuses", "resets", "hangs", "drops", "passes"
PIECE = 65536


class Relay:
    """Listens on port of 127.0.0.1. Passes on, until it is told otherwise; what is connected then is reset."""

    def __init__(self, target):
        self.target = target
        self.listener = None
        self.port = 0
        self.manner = PASSES
        self.accepted = 0  # connections, since the last change
        self.most = 0      # passed on at one time
        self.pairs = {}
        self.held = []
        self.fillers = []
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.listen()
        self.wake, self.woken = socket.socketpair()
        self.selector.register(self.woken, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def listen(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ)

    def change(self, manner):
        """From now on it refuses connections, resets them when they have come, says nothing to them, has them wait for an
        answer to their first packet, or passes on."""
        with self.lock:
            for one in list(self.pairs):
                self.reset(one)
            if manner == PASSES:
                for one in self.held:
                    self.reset(one)
                self.held = []
            self.manner = manner
            self.accepted = 0
            if manner == REFUSES and self.listener:
                self.selector.unregister(self.listener)
                self.listener.close()
                self.listener = None
            elif manner != REFUSES and not self.listener:
                self.listen()
            self.fill() if manner == DROPS else self.empty()
            self.wake.send(b"x")

    def fill(self):
        """The kernel drops who wants to connect to a listener that has as many waiting as it may."""
        self.selector.unregister(self.listener)
        self.listener.listen(0)
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(self.listener.getsockname())
            self.fillers.append(one)

    def empty(self):
        if not self.fillers:
            return
        for one in self.fillers:
            one.close()
        self.fillers = []
        if self.listener:
            self.listener.listen(512)
            self.selector.register(self.listener, selectors.EVENT_READ)

    def count_anew(self):
        """most is what is connected now, and what will be."""
        with self.lock:
            self.most = len(self.pairs) // 2

    def stop(self):
        self.change(REFUSES)
        with self.lock:
            self.manner = None
            for one in self.held:
                one.close()
        self.wake.close()
        self.thread.join()
        self.woken.close()
        self.selector.close()

    def run(self):
        while self.manner:
            for key, _ in self.selector.select():
                with self.lock:
                    if key.fileobj is self.woken:
                        self.woken.recv(PIECE)
                    elif key.fileobj is self.listener:
                        self.accept()
                    elif key.fileobj in self.pairs:
                        self.pass_on(key.fileobj)

    def accept(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                connected, _ = self.listener.accept()
                self.accepted += 1
                if self.manner == RESETS:
                    self.reset(connected)
                elif self.manner == HANGS:
                    self.held.append(connected)
                else:
                    self.join(connected)

    def join(self, connected):
        other = socket.create_connection(self.target)
        for one, another in ((connected, other), (other, connected)):
            one.setblocking(True)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs[one] = another
            self.selector.register(one, selectors.EVENT_READ)
        self.most = max(self.most, len(self.pairs) // 2)

    def pass_on(self, one):
        try:
            data = one.recv(PIECE)
            if data:
                self.pairs[one].sendall(data)
                return
        except OSError:
            pass
        self.end(one)

    def end(self, one):
        other = self.pairs.pop(one, None)
        for end in (one, other):
            if end:
                self.pairs.pop(end, None)
                with contextlib.suppress(KeyError, ValueError):
                    self.selector.unregister(end)
                end.close()

    def reset(self, one):
        if one.fileno() >= 0:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if one in self.pairs:
            self.end(one)
        else:
            one.close()
