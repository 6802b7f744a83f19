# SPDX-License-Identifier: Apache-2.0
"""What tests of keys of Intel SecL's broker share: an agent on a host that HVS has certified the binding key of, and
keys at the double of tests/doubles/isecl."""

import os
import types

import harness
import intel_host
from isecl_case import HARDWARE, double, unb64

OPTIONS = b'{"symkey":"c2VjcmV0"}'


class WlsTest(harness.AgentTest):
    release = 4
    http2 = True
    options = {}
    timeout = 20

    def provision(self, tpm):
        intel_host.provision(tpm)

    def setUp(self):
        super().setUp()
        self.host = intel_host.IntelHost(os.path.join(self.directory, "host"))
        double.release(number=self.release)
        double.clear_faults()
        double.tls(http2=self.http2)
        self.addCleanup(double.tls)
        for service in ("hvs", "kbs"):
            double.down(service=service, down=False)
        self.host.register()
        double.advance(seconds=301)  # WLS has forgotten what it knew of the host
        double.reset_counters()
        self.agent.write_config(WLS={**self.section(), **self.options}, Keys={"CacheSeconds": 0},
                                KeyProvider={"CallTimeoutSeconds": self.timeout})
        self.host.provide("aas-password", double.users["wla"])
        self.start()

    def section(self):
        trust = os.path.join(self.directory, "trust")
        os.makedirs(trust, exist_ok=True)
        with open(double.root_ca, "rb") as root, open(os.path.join(trust, "root.pem"), "wb") as file:
            file.write(root.read())
        path = {3: "/wls", 4: "/wls/v1", 5: "/wls/v2"}[self.release]
        base = double.urls["cms"].removesuffix("/cms/v1")
        return {"ServerURL": base + path + "/", "TokenURL": double.urls["aas"], "ServiceUser": "wla",
                "AllowedKeyOrigins": base, "TrustDirectory": trust, "HardwareUUID": HARDWARE, **self.host.options()}

    def start(self, **options):
        self.agent.start(env=self.host.environment(), **options)
        self.client = self.agent.client()
        self.addCleanup(self.client.close)

    def key(self, **members):
        made = double.add_key(**members)
        return types.SimpleNamespace(url=made["key_url"], id=made["id"], bytes=unb64(made["material"]))

    def packet(self, key, url=None):
        return harness.wrap_packet_isecl(url or key.url, key.bytes, OPTIONS)

    def opens(self, key, **options):
        self.assertEqual(self.client.unwrap(self.packet(key), **options), OPTIONS)

    def denied(self, key, code, pattern):
        return self.refused(lambda: self.client.unwrap(self.packet(key)), code, pattern)

    def calls(self, route="wls.keys"):
        return double.counters()["calls"].get(route, 0)
