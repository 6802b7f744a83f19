# SPDX-License-Identifier: Apache-2.0
"""The authentication and authorization service: tokens for users, and whether a token allows a request."""

import base64
import functools
import hashlib
import json
import re
import string

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from . import wire
from .certificates import der, pem
from .routes import Route
from .wire import Answer, Refusal

FAILURES_MAX = 5
FAILURES_SECONDS = 5 * 60
BAN_SECONDS = 15 * 60
NAME = re.compile(r"[A-Za-z0-9.@_-]{1,255}")
PASSWORD_MAX = 255

RULES = {
    "WLS:FlavorsImageRetrieval": ["image_flavors:retrieve:*"],
    "WLS:ReportCreator": ["reports:create:*"],
    "WLS:KeysCreator": ["keys:create:*"],
    "WLS:Administrator": ["*:*:*"],
    "HVS:Certifier": ["host_signing_key_certificates:create:*"],
    "HVS:ReportCreator": ["reports:create:*"],
    "KBS:KeyManager": ["keys:create:*", "keys:transfer:*"],
    "KBS:Administrator": ["*:*:*"],
}


def routes(release):
    base = "/aas/v1" if release >= 4 else "/aas(?:/v1)?"
    return [Route("aas.token", "POST", base + "/token", token),
            Route("aas.jwt_certificates", "GET", base + "/jwt-certificates", jwt_certificates),
            Route("aas.version", "GET", base + "/version", version)]


def version(_state, _request):
    return Answer(200, b"Authentication and Authorization Service\n", "text/plain")


def jwt_certificates(state, request):
    wire.require(request, (406, "Accept type not supported"), accept="application/x-pem-file")
    return Answer(200, pem(state.certificates.jwt_certificate), "application/x-pem-file")


def well_formed(text):
    return 0 < len(text) <= PASSWORD_MAX and all(character in string.printable for character in text)


def token(state, request):
    wire.require(request, (415, "Invalid Content-Type"), content_type=wire.JSON)
    wire.require(request, (415, "Invalid Accept type"), accept="application/jwt")
    asked = wire.decode(request.body, {"username": str, "password": str}, (400, "Unable to decode JSON request body"))
    name, password = asked.get("username", ""), asked.get("password", "")
    user = state.users.get(name)
    if user and user.banned_until > state.now():
        raise Refusal(429, "Maximum login attempts exceeded for this user", reason=f"{name} is banned")
    if not NAME.fullmatch(name) or not well_formed(password):
        raise Refusal(401, "", reason="a user name or password of this form there is not")
    if not user or user.password != password:
        if user:
            remember_failure(state, user)
        raise Refusal(401, "", reason="no such user, or another password")
    user.failures.clear()
    return Answer(200, make_token(state, name).encode(), "application/jwt")


def remember_failure(state, user):
    now = state.now()
    user.failures = [at for at in user.failures if at > now - FAILURES_SECONDS] + [now]
    if len(user.failures) >= FAILURES_MAX:
        user.banned_until = now + BAN_SECONDS
        user.failures.clear()


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def un_url64(text):
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)


def key_id(certificate):
    return hashlib.sha1(der(certificate)).hexdigest()


def make_token(state, name, seconds=None):
    """seconds: how long it is good, negative for one that has expired."""
    roles, rules = [], {}
    for role in state.users[name].roles:
        service, _, kind = role.partition(":")
        roles.append({"service": service, "name": kind, "context": ""})
        rules.setdefault(service, []).extend(RULES[role])
    now = int(state.now())
    claims = {"roles": roles,
              "permissions": [{"service": service, "context": "", "rules": found} for service, found in rules.items()],
              "exp": now + int(state.token_seconds if seconds is None else seconds), "iat": now,
              "iss": "AAS JWT Issuer", "sub": name}
    header = {"alg": "RS384", "kid": key_id(state.certificates.jwt_certificate), "typ": "JWT"}
    signed = url64(wire.encode(header)) + b"." + url64(wire.encode(claims))
    signature = state.certificates.jwt_key.sign(signed, padding.PKCS1v15(), hashes.SHA384())
    made = (signed + b"." + url64(signature)).decode()
    state.tokens.add(made)
    return made


@functools.lru_cache(16)
def signed_claims(certificate, compact):
    """A pure function, kept as saml.py says; who gets the claims leaves them as they are."""
    try:
        header, claims, signature = compact.split(".")
        head = json.loads(un_url64(header))
        if head.get("alg") != "RS384" or head.get("kid") != key_id(certificate):
            raise ValueError("signed by another key")
        certificate.public_key().verify(
            un_url64(signature), f"{header}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA384())
        return json.loads(un_url64(claims))
    except InvalidSignature:
        raise ValueError("the signature is wrong") from None
    except (AttributeError, TypeError):
        raise ValueError("not of the form of a token") from None


def claims_of(state, compact):
    """Raises ValueError where the token is none of this service's, or is not good any more."""
    found = signed_claims(state.certificates.jwt_certificate, compact)
    if found["exp"] <= state.now() or compact in state.expired_tokens:
        raise ValueError("expired")
    return found


def authorize(state, request, service, rule):
    """A missing or bad token is 401 without text; one that lacks the permission is 401 with it."""
    kind, _, compact = request.header("authorization").partition(" ")
    try:
        if kind != "Bearer":
            raise ValueError("no bearer token")
        claims = claims_of(state, compact)
    except ValueError as error:
        raise Refusal(401, "", reason=f"token: {error}") from None
    for permission in claims["permissions"]:
        if permission["service"] == service and {rule, "*:*:*"} & set(permission["rules"]):
            return
    raise Refusal(401, f"Insufficient privileges to access {request.target}")
