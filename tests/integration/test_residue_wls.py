# SPDX-License-Identifier: Apache-2.0
"""What crosses between the agent and the key broker's services does not stay in the daemon's memory."""

import os
import re

import harness
from isecl_case import double
from test_residue import forms, mappings
from wls_case import WlsTest

TOKEN = re.compile(rb"eyJ[\w-]{20,}\.eyJ[\w-]{20,}")  # RFC 7519


class Residue(WlsTest):
    ends_connection = {"goaway": True}

    def start(self, **options):
        self.keylog = os.path.join(self.directory, "tls-secrets")
        double.tls(http2=self.http2, keylog=self.keylog)
        super().start(**options)

    def tls_secrets(self):
        """{(label, bytes)} of all connections so far, in the format of NSS's SSLKEYLOGFILE."""
        with open(self.keylog, encoding="ascii") as lines:
            fields = [line.split() for line in lines if not line.startswith("#")]
        return {(label, bytes.fromhex(secret)) for label, _, secret in fields}

    def found(self, secrets):
        """{(label, mapping)} of what is in memory that is not locked and left out of core dumps."""
        return {(label, name) for name, flags, data in mappings(self.agent.process.pid) if not {"lo", "dd"} <= flags
                for label, secret in secrets if secret in data}

    def test_nothing_is_left_when_connections_have_ended(self):
        """The search finds what belongs to a connection while that is open."""
        key = self.key()
        self.opens(key)
        connection = self.tls_secrets()
        self.assertIn("CLIENT_TRAFFIC_SECRET_0", {label for label, _ in self.found(connection)})
        double.fault(route="wls.keys", times=1, **self.ends_connection)
        self.opens(key)
        self.assertEqual(double.counters()["connections"], 1)
        harness.poll(lambda: not self.found(connection), "the end of the connection, and of its secrets")
        for what, secret in (("key", key.bytes), ("password", double.users["wla"].encode())):
            self.assertEqual(self.found({(f"{what}, {form}", text) for form, text in forms(secret)}), set())


class ResidueOverHttp1(Residue):
    http2 = False
    ends_connection = {"headers": {"Connection": "close"}}

    def test_nor_of_a_token(self):
        """With HTTP/2 libnghttp2 has copies of its own (SECURITY.md)."""
        self.opens(self.key())
        held = {(name, {"lo", "dd"} <= flags) for name, flags, data in mappings(self.agent.process.pid)
                if TOKEN.search(data)}
        self.assertEqual({locked for _, locked in held}, {True}, held)
