# SPDX-License-Identifier: Apache-2.0
"""Keys of Intel SecL's broker: a layer's packet names a key, WLS hands it out wrapped to the binding key that HVS has
certified for this host. The services are the double of tests/doubles/isecl; the TPM is swtpm, with keys that
Intel's agent could have made."""

import concurrent.futures
import os
import pwd
import shutil
import unittest

from grpc import StatusCode

import harness
from isecl_case import HARDWARE, double
from wls_case import OPTIONS, WlsTest


class WlsOpens(WlsTest):
    connections_most = 1

    def test_a_layer(self):
        self.opens(self.key())
        self.assertEqual((self.calls("aas.token"), self.calls()), (1, 1))

    def test_two_slashes_as_the_owners_tool_writes_them(self):
        key = self.key()
        self.assertEqual(self.client.unwrap(self.packet(key, key.url.replace("/keys/", "//keys/"))), OPTIONS)

    def test_a_key_of_the_local_store_too(self):
        self.agent.import_key("image", bytes(32))
        self.assertEqual(self.client.unwrap(harness.wrap_packet("local:///image", bytes(32), OPTIONS)), OPTIONS)
        self.assertEqual(self.calls(), 0)

    def test_twenty_layers_with_twenty_keys(self):
        keys = [self.key() for _ in range(20)]
        with concurrent.futures.ThreadPoolExecutor(20) as threads:
            list(threads.map(self.opens, keys))
        self.assertEqual((self.calls("aas.token"), self.calls()), (1, 20))
        self.assertLessEqual(double.counters()["connections"], self.connections_most)

    def test_twenty_layers_with_one_key(self):
        self.agent.stop()
        self.agent.write_config(Keys={"CacheSeconds": 60})
        self.start()
        key = self.key()
        with concurrent.futures.ThreadPoolExecutor(20) as threads:
            list(threads.map(self.opens, [key] * 20))
        self.assertEqual(self.calls(), 1)

    def test_nothing_secret_in_the_log(self):
        key = self.key()
        self.opens(key)
        self.agent.stop()
        log = self.agent.log_text()
        for secret in (double.users["wla"], "eyJ", key.bytes.hex()):
            self.assertNotIn(secret, log)


class WlsOpensOfRelease5(WlsOpens):
    release = 5


class WlsOfRelease3(WlsTest):
    """Its answer says of itself that it is PEM."""

    release = 3

    def test_a_layer(self):
        self.opens(self.key())
        request, = (request for request in double.requests()["requests"] if request["route"] == "wls.keys")
        self.assertEqual((request["target"], request["status"]), ("/wls/keys", 200))


class WlsOpensOverHttp1(WlsOpens):
    """As many connections as requests at the same time."""

    http2 = False
    connections_most = 4

    def section(self):
        return {**super().section(), "MaxRequests": "4"}


class WlsRefusals(WlsTest):
    def test_untrusted_host(self):
        key = self.key()
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.denied(key, StatusCode.PERMISSION_DENIED, r"HVS does not trust this host \(status 500\)")
        double.set_host(hardware_uuid=HARDWARE, trust=True)
        self.opens(key)

    def test_asset_tag(self):
        key = self.key(usage="country:USA")
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "CAN"})
        self.denied(key, StatusCode.PERMISSION_DENIED, "KBS gave no key")
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "USA"})
        double.advance(seconds=301)
        self.opens(key)

    def test_key_that_does_not_exist(self):
        key = self.key()
        double.remove_key(id=key.id)
        self.denied(key, StatusCode.PERMISSION_DENIED, "KBS gave no key")

    def test_services_that_are_down(self):
        key = self.key()
        double.down(service="hvs")
        self.denied(key, StatusCode.UNAVAILABLE, "HVS cannot judge this host now")
        self.assertEqual(self.calls(), 2)
        double.down(service="hvs", down=False)
        double.down(service="kbs")
        self.denied(key, StatusCode.PERMISSION_DENIED, "KBS gave no key")
        double.down(service="kbs", down=False)
        self.opens(key)

    def test_user_without_rights(self):
        double.add_user(name="wla", password=double.users["wla"], roles=[])
        try:
            self.denied(self.key(), StatusCode.PERMISSION_DENIED, "the agent's user may not have keys")
            self.assertEqual((self.calls("aas.token"), self.calls()), (1, 1))
        finally:
            double.add_user(name="wla", password=double.users["wla"], roles=["WLS:KeysCreator"])

    def test_token_that_ends(self):
        key = self.key()
        self.opens(key)
        double.expire_tokens()
        double.advance(seconds=2)  # tokens of one second are the same
        self.opens(key)
        self.assertEqual((self.calls("aas.token"), self.calls()), (2, 3))

    def test_password_that_is_wrong(self):
        self.agent.stop()
        self.host.provide("aas-password", "wrong")
        self.start()
        key = self.key()
        for _ in range(10):
            self.denied(key, StatusCode.PERMISSION_DENIED, "AAS does not accept the agent's user or password")
        self.assertEqual((self.calls("aas.token"), self.calls()), (1, 0))
        double.unban(user="wla")

    def test_user_that_is_banned(self):
        double.ban(user="wla")
        try:
            for _ in range(5):
                self.denied(self.key(), StatusCode.PERMISSION_DENIED, "AAS has banned the agent's user")
            self.assertEqual(self.calls("aas.token"), 1)
        finally:
            double.unban(user="wla")

    def test_keys_that_are_no_use(self):
        """What is wrong with the key shows when the TPM, or the layer, is opened with it."""
        key = self.key()
        bound = StatusCode.INVALID_ARGUMENT, "the TPM cannot open it: not wrapped for this host.*register-binding-key"
        for knobs, (code, pattern) in (
                ({"other_key": True}, (StatusCode.PERMISSION_DENIED, "the annotation does not belong to the key")),
                ({"other_host": True}, bound), ({"label": "TPM2"}, bound), ({"label": ""}, bound)):
            with self.subTest(**knobs):
                double.advance(seconds=301)
                double.fault(route="wls.keys", times=1, **knobs)
                self.denied(key, code, pattern)
                double.clear_faults()
        double.advance(seconds=301)
        self.opens(key)

    def test_origins_that_are_not_listed(self):
        key = self.key()
        path = key.url.partition("//")[2].partition("/")[2]
        for url in ("https://evil.example/" + path, f"https://localhost/{path}", f"https://127.0.0.1:9/{path}",
                    key.url + "?x=https://evil.example", key.url.replace("/kbs/", "/../kbs/"),
                    key.url.replace("https://", "https://evil.example@"), "https://[::1]:443/" + path):
            with self.subTest(url=url), self.assertRaises(harness.grpc.RpcError):
                self.client.unwrap(self.packet(key, url))
        self.assertEqual(double.counters()["connections"], 0)


class WlsStatus(WlsTest):
    def broker(self):
        return self.agent.status()["broker"]

    def test_of_each_outcome(self):
        server = self.section()["ServerURL"].rstrip("/")
        before = self.broker()
        self.assertEqual(before, {"server": server, "last_answer": None, "last_result": None, "requests": {},
                                  "token_until": None, "host_trusted": None, "host_judged": None})
        self.assertRegex(self.agent.output("status"), "\nbroker\n  server: .*\n  last answer: never\n  requests: none\n"
                         "  token is used until: never\n  HVS trusts this host: not asked yet\n")

        key = self.key()
        self.opens(key)
        now = self.broker()
        self.assertEqual((now["last_result"], now["requests"], now["host_trusted"]), ("ok", {"ok": 1}, True))
        self.assertGreater(now["token_until"], now["last_answer"])
        self.assertEqual(now["host_judged"], now["last_answer"])

        double.fault(route="wls.keys", status=500, body="Host is untrusted\n")
        self.denied(key, StatusCode.PERMISSION_DENIED, "HVS does not trust this host")
        double.clear_faults()
        double.fault(route="wls.keys", status=404)
        self.denied(key, StatusCode.NOT_FOUND, "WLS does not know the address")
        double.clear_faults()
        now = self.broker()
        self.assertEqual((now["last_result"], now["requests"], now["host_trusted"]),
                         ("not-found", {"ok": 1, "not-found": 1, "denied": 1}, False))
        text = self.agent.output("status")
        self.assertRegex(text, "\n  requests: 1 ok, 1 not-found, 1 denied\n  token is used until: 2.*\n"
                               "  HVS trusts this host: no\n  it was judged: 2")
        self.assertNotIn("eyJ", text + self.agent.output("status", "--json"))

        self.opens(key)
        self.assertEqual(self.broker()["host_trusted"], True)


class WlsFaults(WlsTest):
    options = {"AllowTLS12": "yes"}
    timeout = 60
    odd = ({"goaway": True}, {"no_length": True})  # over HTTP/2 the frames tell the end

    def never_opens(self, faults):
        """Whatever WLS answers, a layer opens only by a key; then the next pull works."""
        key = self.key()
        for knobs in (*faults, {"status": 307, "headers": {"Location": key.url}}):
            with self.subTest(**knobs):
                double.reset_counters()
                double.fault(route="wls.keys", **knobs)
                try:
                    with self.assertRaises(harness.grpc.RpcError) as caught:
                        self.client.unwrap(self.packet(key))
                finally:
                    double.clear_faults()
                self.assertIn(caught.exception.code(), (
                    StatusCode.PERMISSION_DENIED, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND,
                    StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED))
                # Who it is about, why, and, at the end, what to do.
                self.assertRegex(caught.exception.details(), r"^wlagent: .*(WLS|HVS|KBS|AAS|agent's user).* \((?!status )[^(]*"
                                                             r"(\([^()]*\)[^()]*)*\)$")
                self.assertLessEqual(self.calls(), 2)
                self.assertEqual(self.calls("kbs.transfer"), 0)
        self.opens(key)

    def test_answers_that_are_none(self):
        self.never_opens((
            {"status": 401}, {"status": 401, "body": "Insufficient privileges to access /wls/v1/keys"},
            {"status": 403}, {"status": 404}, {"status": 405}, {"status": 409}, {"status": 429}, {"status": 500},
            {"status": 502}, {"status": 503}, {"status": 504}, {"status": 429, "headers": {"Retry-After": "1"}},
            {"status": 200, "body": ""}, {"body": "{}"}, {"body": "[]"}, {"body": "null"}, {"body": '{"key":null}'},
            {"body": '{"key":1}'}, {"body": '{"key":["AAAA"]}'}, {"body": "{"}, {"body": "\x00"}, {"body": "<html>"},
            {"duplicate": {"key": "AAAA"}}, {"remove": ["key"]}, {"gzip": True}, {"body_size": 5 << 30},
            {"body_size": 33000}, {"content_length": 10}, {"content_length": 100_000},
            {"status": 301, "headers": {"Location": double.urls["wls"] + "/keys"}},
            {"status": 302, "headers": {"Location": "https://127.0.0.1:1/"}},
            {"status": 308, "headers": {"Location": double.urls["wls"] + "/keys"}}, *self.broken_connections()))

    def broken_connections(self):
        return ({"reset_at": 0}, {"reset_at": 10}, {"reset_at": 200}, {"close_at": 0}, {"close_at": 100},
                {"close_at": 250}, {"drop_at": 0}, {"drop_at": 250}, {"half_close_at": 0}, {"half_close_at": 100},
                {"half_close_at": 250}, {"stream_reset_at": 0}, {"stream_reset_at": 1}, {"stream_reset_at": 200})

    def test_answers_that_are_odd(self):
        key = self.key()
        for knobs in ({"chunk": 1}, {"chunk": 9, "pause": 0.001}, {"slice": 1}, {"slice": 7, "pause": 0.001}, {"status": 201},
                      {"json": {"more": {"key": 1}}}, {"headers": {"X-More": "x" * 4000}}, {"delay": 1}, *self.odd):
            with self.subTest(**knobs):
                double.fault(route="wls.keys", times=1, **knobs)
                self.opens(key)

    def test_tokens_that_are_none(self):
        key = self.key()
        for knobs in ({"status": 500}, {"status": 503}, {"status": 404}, {"body": ""}, {"body": "no token"},
                      {"body": '{"token":"e30.e30."}'}, {"body_size": 5 << 30}, {"gzip": True}, {"reset_at": 10},
                      {"content_length": 100_000}, {"status": 307, "headers": {"Location": double.urls["aas"] + "/token"}}):
            with self.subTest(**knobs):
                double.fault(route="aas.token", **knobs)
                try:
                    with self.assertRaises(harness.grpc.RpcError) as caught:
                        self.client.unwrap(self.packet(key))
                finally:
                    double.clear_faults()
                self.assertRegex(caught.exception.details(), "AAS")
        self.assertEqual(self.calls(), 0)
        self.opens(key)

    def test_tls(self):
        key = self.key()
        root, weak = "the root certificate that it leads to", "the service needs a certificate for TLS servers"
        for fault, remedy in (("expired", "renew the service's certificate"), ("not_yet_valid", "the clock of this host"),
                              ("wrong_name", "the URL has to have a name that stands in"), ("wrong_usage", weak),
                              ("wrong_ca", root), ("self_signed", root), ("rsa1024", weak), ("sha1", weak)):
            with self.subTest(fault=fault):
                double.tls(fault=fault, http2=self.http2)
                self.restart()
                self.denied(key, StatusCode.PERMISSION_DENIED,
                            rf"AAS .*its certificate is not to be trusted: .* \({remedy}")
        with self.subTest(fault="wants_client"):
            double.tls(fault="wants_client", http2=self.http2)
            self.restart()
            self.denied(key, StatusCode.UNAVAILABLE, "AAS ")
        self.assertEqual((self.calls("aas.token"), self.calls()), (0, 0))
        for fault in ("tls12", "tls13", "no_close_notify"):
            with self.subTest(fault=fault):
                double.tls(fault=fault, http2=self.http2)
                self.restart()
                self.opens(key)

    def restart(self):
        self.agent.stop()
        self.start()

    def test_services_that_hang(self):
        """They cost the pull its time limit, and neither other keys nor the next pull anything."""
        self.agent.import_key("image", bytes(32))
        self.agent.write_config(KeyProvider={"CallTimeoutSeconds": 12})
        self.restart()
        hanging = []
        for knobs in ({"delay": 1000}, {"slice": 1, "pause": 1}):
            double.fault(route="wls.keys", times=1, **knobs)
            key = self.key()
            hanging.append(self.in_background(lambda key=key: self.client.unwrap(self.packet(key), timeout=40)))
            harness.running.poll(lambda: self.calls() == len(hanging), "the call to hang")
        self.assertEqual(self.client.unwrap(harness.wrap_packet("local:///image", bytes(32), OPTIONS)), OPTIONS)
        self.opens(self.key())
        for one in hanging:
            self.assertFalse(one.done())
        for one in hanging:
            with self.assertRaises(harness.grpc.RpcError) as caught:
                one.result()
            self.assertEqual(caught.exception.code(), StatusCode.DEADLINE_EXCEEDED)
        double.clear_faults()
        double.reset_counters()
        double.tls(fault="no_handshake", http2=self.http2)
        self.restart()
        self.refused(lambda: self.client.unwrap(self.packet(key), timeout=40), StatusCode.UNAVAILABLE, "AAS ")
        double.tls(http2=self.http2)
        self.opens(key)

    def test_stops_while_a_service_hangs(self):
        key = self.key()
        double.fault(route="wls.keys", times=1, delay=1000)
        hanging = self.in_background(lambda: self.client.unwrap(self.packet(key), timeout=40))
        harness.running.poll(lambda: self.calls() > 0, "the call to hang")
        self.assertEqual(self.agent.stop(seconds=30), 0)
        with self.assertRaises(harness.grpc.RpcError):
            hanging.result()


class WlsFaultsOverHttp1(WlsFaults):
    http2 = False
    odd = ()

    def broken_connections(self):
        return (*(knobs for knobs in super().broken_connections() if "stream_reset_at" not in knobs),
                {"no_length": True}, {"no_length": True, "drop_at": 300}, {"headers": {"X-More": "x" * 400_000}})


class WlsTrust(WlsTest):
    timeout = 10

    def restart(self, **variables):
        self.agent.stop()
        self.agent.start(env={**self.host.environment(), **variables})
        self.client = self.agent.client()
        self.addCleanup(self.client.close)

    def test_roots_of_the_system(self):
        """They count besides those of TrustDirectory=."""
        key = self.key()
        shutil.copy(os.path.join(double.directory, "privacy-ca.pem"), os.path.join(self.directory, "trust", "root.pem"))
        self.restart()
        self.denied(key, StatusCode.PERMISSION_DENIED, "AAS .*its certificate is not to be trusted")
        self.restart(SSL_CERT_FILE=double.root_ca)
        self.opens(key)

    def test_tls_before_1_3(self):
        key = self.key()
        double.tls(fault="tls12")
        self.restart()
        self.denied(key, StatusCode.UNAVAILABLE, "AAS ")
        self.assertEqual((self.calls("aas.token"), self.calls()), (0, 0))
        self.agent.write_config(WLS={"AllowTLS12": "yes"})
        self.restart()
        self.opens(key)


class WlsStart(WlsTest):
    def refuses(self, pattern, **changes):
        self.agent.write_config(WLS={**self.section(), **changes})
        self.agent.start(wait=False, env=self.host.environment())
        self.assertEqual(self.agent.process.wait(20), 1)
        self.assertRegex(self.agent.log_text().splitlines()[-1], pattern)

    def test_what_is_missing_or_wrong(self):
        self.agent.stop()
        empty = os.path.join(self.directory, "empty")
        os.mkdir(empty)
        self.refuses("ServerURL=: it does not have the form", ServerURL="http://localhost/wls")
        self.refuses(r"TokenURL= of section \[WLS\] is not set", TokenURL="none")
        self.refuses(r"ServiceUser= of section \[WLS\] is not set", ServiceUser="none")
        self.refuses("AllowedKeyOrigins=: origin 2: it does not have", AllowedKeyOrigins="https://a https://b/x")
        self.refuses("HardwareUUID=", HardwareUUID="x")
        self.refuses("TrustDirectory=/.*: it is empty", TrustDirectory=empty)
        self.refuses("TrustDirectory=.*No such file", TrustDirectory=empty + "/none")
        os.unlink(os.path.join(self.host.credentials, "aas-password"))
        self.refuses("there is no credential aas-password")
        with open(os.path.join(self.host.credentials, "aas-password"), "wb"):
            pass
        self.refuses("the credential aas-password has to have 1 to 1024 bytes")

    @unittest.skipIf(os.geteuid(), "only root gives files to others")
    def test_certificates_that_it_may_not_read(self):
        """Neither the directory nor a single file of it: fewer certificates would be another host's trust."""
        self.agent.stop()
        nobody = pwd.getpwnam("nobody")
        trust = self.section()["TrustDirectory"]
        for root, directories, files in os.walk(self.directory):
            for name in directories + files + [""]:
                os.chown(os.path.join(root, name), nobody.pw_uid, nobody.pw_gid)
        self.agent.user = "nobody"
        file = os.path.join(trust, "site.pem")
        shutil.copy(os.path.join(trust, "root.pem"), file)
        os.chown(file, 0, 0)
        os.chmod(file, 0o600)
        self.refuses("TrustDirectory=.*site.pem: .*Permission denied")
        os.chmod(file, 0o644)
        os.chown(trust, 0, 0)
        for mode in (0o700, 0o711, 0o744):
            with self.subTest(mode=oct(mode)):
                os.chmod(trust, mode)
                self.refuses("TrustDirectory=.*Permission denied")
        os.chmod(trust, 0o755)
        self.start()
        self.opens(self.key())
