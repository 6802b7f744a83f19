# SPDX-License-Identifier: Apache-2.0
"""The control socket: what tests set and ask. The package's manual describes each command."""

import inspect
import json
import os
import socketserver
import threading
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from . import aas, faults, flavor, kbs, state as states, wire
from .certificates import TLS_FAULTS, pem

TRUST = (True, False, None)


class Control:
    """Each method without an underscore is a command; its parameters are the members of the command."""

    def __init__(self, state, server):
        self._state = state
        self._server = server

    def release(self, number):
        if number not in (3, 4, 5):
            raise ValueError("release has to be 3, 4 or 5")
        self._state.release = number

    def add_user(self, name, password, roles):
        for role in roles:
            if role not in aas.RULES:
                raise ValueError(f"{role} is none of {', '.join(aas.RULES)}")
        self._state.users[name] = states.User(password, roles)

    def ban(self, user, seconds=aas.BAN_SECONDS):
        self._state.users[user].banned_until = self._state.now() + seconds

    def unban(self, user):
        self._state.users[user].banned_until = 0
        self._state.users[user].failures.clear()

    def make_token(self, user, seconds=None):
        return {"token": aas.make_token(self._state, user, seconds)}

    def token_seconds(self, seconds):
        self._state.token_seconds = seconds

    def expire_tokens(self):
        self._state.expired_tokens |= self._state.tokens

    def advance(self, seconds):
        self._state.clock_offset += seconds

    def add_host(self, hardware_uuid, aik):
        if not wire.is_hardware_uuid(hardware_uuid):
            raise ValueError("hardware_uuid has to be a UUID")
        certificate = self._state.certificates.aik(serialization.load_pem_public_key(aik.encode()))
        self._state.hosts[hardware_uuid.lower()] = states.Host(hardware_uuid.lower(), certificate)
        return {"aik_certificate": pem(certificate).decode()}

    def set_host(self, hardware_uuid, **changes):
        host = self._state.hosts[hardware_uuid.lower()]
        for name, value in changes.items():
            if name == "trust" and value in TRUST:
                host.trust = None if value is None else str(value).lower()
            elif name == "connected" and isinstance(value, bool):
                host.connected = value
            elif name == "asset_tags" and isinstance(value, dict):
                host.asset_tags = value
            elif name == "binding_certificate":
                host.binding_certificate = value and x509.load_pem_x509_certificate(value.encode())
            else:
                raise ValueError(f"{name} cannot be {value!r}")

    def add_key(self, material=None, length=256, usage="", id=None):
        raw = None if material is None else wire.unb64(material)
        key = kbs.add_key(self._state, length if raw is None else len(raw) * 8, "AES", raw, id)
        key.usage = usage
        return {"id": key.id, "key_url": self._state.key_url(key.id), "material": wire.b64(key.material)}

    def remove_key(self, id):
        del self._state.keys[id]

    def add_flavor(self, label, key_id=None, key_url=None, digest="", id=None):
        url = self._state.key_url(key_id) if key_id else key_url
        signed = flavor.sign(self._state.certificates.flavor_signer(), flavor.image_flavor(label, url, digest, id))
        made = signed["flavor"]["meta"]["id"]
        self._state.flavors[made] = signed
        return {"id": made, "signed": signed}

    def add_image(self, flavor_ids, id=None):
        made = id or str(uuid.uuid4())
        self._state.images[made] = flavor_ids
        return {"id": made}

    def down(self, service, down=True):
        if service not in ("hvs", "kbs"):
            raise ValueError("service has to be hvs or kbs")
        (self._state.down.add if down else self._state.down.discard)(service)

    def fault(self, route="*", **knobs):
        self._state.faults.append(faults.Fault(route, **knobs))

    def clear_faults(self):
        self._state.faults.clear()

    def tls(self, fault=None, handshake_delay=0, http2=True, keylog=None):
        if fault is not None and fault not in TLS_FAULTS:
            raise ValueError(f"fault has to be one of {', '.join(TLS_FAULTS)}")
        self._server.use_tls(fault, handshake_delay, http2, keylog)
        return {"cms_tls_cert_sha384": self._server.leaf_digest}

    def stall(self):
        self._server.stalled = self._server.number

    def counters(self):
        return {"calls": dict(self._state.calls),
                **{name: self._state.traffic[name]
                   for name in ("connections", "handshakes", "failed_handshakes", "http2_connections")}}

    def requests(self):
        return {"requests": list(self._state.requests)}

    def reports(self):
        return {"reports": self._state.reports}

    def reset_counters(self):
        self._state.reset_counters()

    def _run(self, line):
        try:
            command = json.loads(line)
            name = command.pop("command")
            method = None if name.startswith("_") else getattr(self, name, None)
            if not inspect.ismethod(method):
                raise ValueError(f"no command {name}")
            with self._state.lock:
                return json.dumps(method(**command) or {})
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            return json.dumps({"error": f"{type(error).__name__}: {error}"})


def listen(path, control):
    """Serves commands, a line each, from now on."""

    class Session(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(control._run(line).encode() + b"\n")

    class Listener(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    listener = Listener(path, Session)
    os.chmod(path, 0o600)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
