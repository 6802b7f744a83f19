# SPDX-License-Identifier: Apache-2.0
"""Faults of answers: what a test wants to go wrong on a route, and an answer as the bytes that it becomes."""

import dataclasses
import gzip
import json
import os

from . import tpm, wire
from .certificates import rsa_key
from .wire import Answer

PIECE = 65536


@dataclasses.dataclass
class Fault:
    """See the package's manual for what each member does."""

    route: str
    times: int = None
    skip: int = 0
    delay: float = 0
    status: int = None
    headers: dict = None
    body: str = None
    body_base64: str = None
    body_size: int = None
    json: dict = None
    remove: list = None
    duplicate: dict = None
    gzip: bool = False
    content_length: int = None
    no_length: bool = False
    chunk: int = None
    slice: int = None
    pause: float = 0
    reset_at: int = None
    close_at: int = None
    drop_at: int = None
    half_close_at: int = None
    stream_reset_at: int = None
    goaway: bool = False
    key_size: int = None
    other_key: bool = False
    other_host: bool = False
    label: str = None
    ciphertext_size: int = None

    def __post_init__(self):
        """Numbers and names of the right type: a fault that is not one would make a test prove nothing."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kinds = (int, float) if field.type is float else field.type
            if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) != (field.type is bool)):
                raise ValueError(f"{field.name} has to be {field.type.__name__}")

    def cut(self):
        """(offset, manner) where the connection ends, or None."""
        for manner in ("reset", "close", "drop", "half_close"):
            offset = getattr(self, f"{manner}_at")
            if offset is not None:
                return offset, manner
        return None

    def sends_whole(self):
        """Whether the answer goes out at once, behind the delay, and the connection goes on."""
        return not (self.cut() or self.goaway or self.slice or self.chunk or self.pause or
                    self.body_size is not None or self.stream_reset_at is not None)

    def changes_key(self):
        return bool(self.other_key or self.other_host) or any(
            value is not None for value in (self.key_size, self.label, self.ciphertext_size))

    def wrap(self, _state, key, public):
        """The key as it is wrapped for a host, with this fault in it."""
        material = os.urandom(len(key.material)) if self.other_key else key.material
        if self.key_size is not None:
            material = os.urandom(self.key_size)
        if self.other_host:
            public = rsa_key(2048).public_key()
        label = tpm.LABEL if self.label is None else self.label.encode()
        wrapped = tpm.wrap(public, material, label)
        if self.ciphertext_size is None:
            return wrapped
        return wrapped[:self.ciphertext_size].ljust(self.ciphertext_size, b"\0")

    def change(self, answer):
        """The answer that this fault makes of one."""
        body = self.changed_body(answer.body)
        headers = dict(answer.headers)
        if self.gzip:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        headers.update(self.headers or {})
        return Answer(answer.status if self.status is None else self.status, body, None, headers)

    def changed_body(self, body):
        if self.body is not None:
            return self.body.encode()
        if self.body_base64 is not None:
            return wire.unb64(self.body_base64)
        if not (self.json or self.remove or self.duplicate):
            return body
        value = json.loads(body)
        for name in self.remove or ():
            value.pop(name, None)
        value.update(self.json or {})
        body = wire.encode(value)
        if self.duplicate:
            body = wire.encode(self.duplicate)[:-1] + b"," + body[1:]
        return body


NO_FAULT = Fault("*")


def take(state, route):
    """The first fault that is for the route and not used up, or None."""
    for fault in state.faults:
        if fault.route not in (route, "*") or fault.times == 0:
            continue
        if fault.skip > 0:
            fault.skip -= 1
            continue
        if fault.times is not None:
            fault.times -= 1
        return fault
    return None


def head(status, reason, headers):
    lines = [f"HTTP/1.1 {status} {reason}".rstrip()] + [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def body_pieces(answer, fault):
    if fault.body_size is None:
        yield answer.body
        return
    left = fault.body_size
    while left:
        piece = min(left, PIECE)
        yield b"a" * piece
        left -= piece


def framed(pieces, fault):
    """In chunks where the fault says so."""
    for piece in pieces:
        if not fault.chunk:
            yield piece
            continue
        for at in range(0, len(piece), fault.chunk):
            part = piece[at:at + fault.chunk]
            yield b"%x\r\n%s\r\n" % (len(part), part)
    if fault.chunk:
        yield b"0\r\n\r\n"


def pieces(answer, reason, fault, last):
    """What is written, write by write. last: no request follows on this connection."""
    headers = dict(answer.headers)
    if fault.chunk:
        headers["Transfer-Encoding"] = "chunked"
    elif not fault.no_length and answer.status != 204:
        length = len(answer.body) if fault.body_size is None else fault.body_size
        headers.setdefault("Content-Length", length if fault.content_length is None else fault.content_length)
    if last:
        headers.setdefault("Connection", "close")
    yield from sliced(head(answer.status, reason, headers), fault.slice)
    for piece in framed(body_pieces(answer, fault), fault):
        yield from sliced(piece, fault.slice)


def sliced(piece, size):
    if not size:
        if piece:
            yield piece
        return
    for at in range(0, len(piece), size):
        yield piece[at:at + size]

