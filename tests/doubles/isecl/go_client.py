# SPDX-License-Identifier: Apache-2.0
"""What the HTTP client within Intel SecL's services says when it has failed: release 5 sends it on, cause by cause.
Of an answer that is no success it tells the status, and nothing of the body."""

import re
import urllib.parse

SENDER = "clients/send_http_request.go"


class Failed(Exception):
    """A service got nothing of another one. The text is what the client of the two returns."""


def wrapped(error, what):
    """With what it was for in front, as github.com/pkg/errors has it."""
    return Failed(f"{what}: {error}")


def answered(status):
    return Failed(f"{SENDER}:SendRequest() Error from response: HTTP Status :{status}")


def unreachable(url):
    parts = urllib.parse.urlsplit(url)
    cause = 'unsupported protocol scheme ""'
    if parts.scheme:
        cause = f"dial tcp {parts.netloc}: connect: connection refused"
    return Failed(f'{SENDER}:GetHTTPResponse() Error from response: Post "{url}": {cause}')


def parses(url):
    """Whether net/url of Go reads it, which takes most texts for a relative URL at least."""
    if re.search(r"[\x00-\x1f\x7f]", url) or url.startswith(":"):
        return False
    rest, _, fragment = url.partition("#")
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", rest)
    rest = rest[scheme.end() if scheme else 0:].partition("?")[0]
    if not rest.startswith("/"):
        return scheme is not None or ":" not in rest.partition("/")[0]
    authority, path = "", rest
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        path = slash + path
    host = authority.rpartition("@")[2]
    return (re.fullmatch(r"(\[[^]]*\]|[^][:\s%^`{|}\\/]*)(:[0-9]*)?", host) is not None and
            all(re.search(r"%(?![0-9A-Fa-f]{2})", part) is None for part in (path, fragment)))
