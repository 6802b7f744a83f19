# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 client that does what it is told, right or wrong (RFC 9113)."""

import contextlib
import socket
import time
import urllib.parse

import hpack

import harness

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK, END_STREAM, END_HEADERS = 1, 1, 4
FRAME_MAX = 16384


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def request_headers(path=harness.UNWRAP, **changes):
    """The header list of a call; a keyword with value None leaves that header out."""
    headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost",
               "content-type": "application/grpc", "user-agent": "raw", "te": "trailers"}
    for name, value in changes.items():
        name = name.replace("_", "-")
        headers[":" + name if ":" + name in headers else name] = value
    return [(name, value) for name, value in headers.items() if value is not None]


def grpc_message(body, compressed=0):
    message = harness.protobuf(body)
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


class Reply:
    """What has come back on one stream."""

    def __init__(self):
        self.headers = {}
        self.body = b""
        self.ended = False
        self.reset = None  # the error code of RST_STREAM

    @property
    def status(self):
        """The gRPC status, or None."""
        return int(self.headers["grpc-status"]) if "grpc-status" in self.headers else None

    @property
    def message(self):
        return urllib.parse.unquote(self.headers.get("grpc-message", ""))

    def payload(self):
        assert self.body[0] == 0 and int.from_bytes(self.body[1:5], "big") == len(self.body) - 5
        return harness.unprotobuf(self.body[5:])


class RawClient:
    """One connection. Unless greet is False the preface and empty SETTINGS are sent at once."""

    def __init__(self, path, greet=True, seconds=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.socket.connect(path)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.replies = {}
        self.frames = []  # (type, flags, stream, payload) of all that has come
        self.window = {0: 65535}
        self.received = b""
        self.closed = False
        if greet:
            self.send(PREFACE + frame(SETTINGS, 0, 0))

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def call_bytes(self, stream, message, headers=None):
        """HEADERS and DATA of a whole call; for messages that fit into one frame."""
        block = self.encoder.encode(headers or request_headers())
        return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, message)

    def call(self, stream, message, headers=None):
        self.send(self.call_bytes(stream, message, headers))

    def call_large(self, stream, message):
        """A call in as many DATA frames as it takes, within the server's windows."""
        self.send(frame(HEADERS, END_HEADERS, stream, self.encoder.encode(request_headers())))
        at = 0
        while at < len(message):
            room = min(self.window[0], self.window.setdefault(stream, 65535), FRAME_MAX, len(message) - at)
            if room <= 0:
                self.read_frame()
                continue
            last = at + room == len(message)
            self.send(frame(DATA, END_STREAM if last else 0, stream, message[at:at + room]))
            at += room
            self.window[0] -= room
            self.window[stream] -= room

    def read_frame(self):
        """Takes one frame; False when the server has closed the connection."""
        while len(self.received) < 9 or len(self.received) < 9 + int.from_bytes(self.received[:3], "big"):
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.closed = True
                return False
            self.received += data
        size = int.from_bytes(self.received[:3], "big")
        kind, flags = self.received[3], self.received[4]
        stream = int.from_bytes(self.received[5:9], "big") & 0x7fffffff
        payload, self.received = self.received[9:9 + size], self.received[9 + size:]
        self.take(kind, flags, stream, payload)
        return True

    def take(self, kind, flags, stream, payload):
        self.frames.append((kind, flags, stream, payload))
        if kind == WINDOW_UPDATE:
            self.window[stream] = self.window.get(stream, 65535) + int.from_bytes(payload, "big")
            return
        if kind == SETTINGS and not flags & ACK:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send(frame(SETTINGS, ACK, 0))
            return
        if kind not in (DATA, HEADERS, RST_STREAM):
            return
        reply = self.replies.setdefault(stream, Reply())
        if kind == DATA:
            reply.body += payload
        elif kind == HEADERS:
            reply.headers.update(self.decoder.decode(payload))
        else:
            reply.reset = int.from_bytes(payload, "big")
        reply.ended = reply.ended or kind == RST_STREAM or bool(flags & END_STREAM)

    def reply(self, stream):
        """Reads until the stream has ended or the connection is closed."""
        while not self.replies.get(stream, Reply()).ended and self.read_frame():
            pass
        return self.replies.get(stream, Reply())

    def seen(self, kind, flags=0):
        return [payload for k, f, _, payload in self.frames if k == kind and f & flags == flags]

    def read_until(self, kind, flags=0):
        """Reads until such a frame has come; its payload, or None when the connection ends first."""
        while not self.seen(kind, flags):
            if not self.read_frame():
                return None
        return self.seen(kind, flags)[0]

    def read_to_end(self, seconds=20):
        """Reads until the server closes the connection; the GOAWAY code, or None."""
        end = time.monotonic() + seconds
        while self.read_frame():
            assert time.monotonic() < end, "the server does not close the connection"
        goaway = self.seen(GOAWAY)
        return int.from_bytes(goaway[-1][4:8], "big") if goaway else None

    def settings(self):
        """The server's SETTINGS."""
        payload = self.read_until(SETTINGS)
        return {int.from_bytes(payload[at:at + 2], "big"): int.from_bytes(payload[at + 2:at + 6], "big")
                for at in range(0, len(payload), 6)}
