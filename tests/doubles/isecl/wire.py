# SPDX-License-Identifier: Apache-2.0
"""What all services share on the wire: requests, answers, refusals, and JSON as their decoder reads it."""

import base64
import binascii
import json
import re
import time

JSON = "application/json"
UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
HARDWARE_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class Request:
    def __init__(self, method, target, headers, body, connection):
        self.method = method
        self.target = target
        self.path, _, self.query_text = target.partition("?")
        self.headers = headers
        self.body = body
        self.connection = connection
        self.version = "HTTP/1.1"
        self.time = time.monotonic()
        self.words = {}
        self.fault = None

    def header(self, name):
        return self.headers.get(name, "")


class Answer:
    def __init__(self, status, body=b"", content_type=None, headers=()):
        self.status = status
        self.body = body
        self.headers = dict(headers)
        if content_type:
            self.headers["Content-Type"] = content_type


class Refusal(Exception):
    """Becomes an answer of plain text. The reason stays here: the log of requests has it."""

    def __init__(self, status, text="", reason=""):
        super().__init__(reason or text)
        self.status = status
        self.text = text

    def answer(self):
        if not self.text:
            return Answer(self.status)
        return Answer(self.status, self.text.encode() + b"\n", "text/plain; charset=utf-8",
                      {"X-Content-Type-Options": "nosniff"})


def encode(value):
    """Compact, and with the escapes of Go's encoder, which has HTML in mind."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "&<>\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def json_answer(status, value):
    return Answer(status, encode(value), JSON)


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode(text, validate=True)


class Members(list):
    """A JSON object: its (name, value), also where a name comes twice."""


def decode(body, fields, refusal):
    """The object in body. fields: {name: type}; a name that is not there, a value of another type and an
    empty body are refused; names are compared without case, null and absence leave the field out, and what
    follows the object is not read: all as the services' decoder has it. bytes stands for base64."""
    try:
        value, _ = json.JSONDecoder(object_pairs_hook=Members).raw_decode(body.decode().lstrip())
    except (ValueError, RecursionError) as error:
        raise Refusal(*refusal, reason=f"not JSON: {error}") from None
    return typed(value, fields, refusal)


def typed(pairs, fields, refusal):
    found = {}
    if not isinstance(pairs, Members):
        raise Refusal(*refusal, reason="not an object")
    for name, value in pairs:
        name = name.lower()
        if name not in fields:
            raise Refusal(*refusal, reason=f"unknown field {name}")
        if value is not None:
            found[name] = typed_value(name, value, fields[name], refusal)
    return found


def typed_value(name, value, kind, refusal):
    wrong = Refusal(*refusal, reason=f"{name} is of another type")
    if isinstance(kind, dict):
        return typed(value, kind, refusal)
    if kind is bytes:
        try:
            return unb64(value)
        except (TypeError, ValueError, binascii.Error):
            raise wrong from None
    if isinstance(kind, list):
        if isinstance(value, Members) or not isinstance(value, list) or \
                any(not isinstance(item, kind[0]) for item in value):
            raise wrong
        return [plain(item) for item in value]
    elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise wrong
    return value


def require(request, refusal, **headers):
    """Each header has exactly this value: content_type="application/json"."""
    for name, wanted in headers.items():
        value = request.header(name.replace("_", "-"))
        if value != wanted:
            raise Refusal(*refusal, reason=f"{name} is {value!r}, not {wanted!r}")


def plain(value):
    """Objects that were read without field types, as dictionaries."""
    if isinstance(value, Members):
        return {name: plain(item) for name, item in value}
    return [plain(item) for item in value] if isinstance(value, list) else value


def is_uuid4(text):
    return re.fullmatch(UUID4, text, re.IGNORECASE) is not None


def is_hardware_uuid(text):
    return re.fullmatch(HARDWARE_UUID, text) is not None
