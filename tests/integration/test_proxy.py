# SPDX-License-Identifier: Apache-2.0
"""Intel SecL's services behind a proxy of the environment, as curl's users know it."""

import os
import time
import unittest.mock
import urllib.parse

from grpc import StatusCode

import connect_proxy
import harness
import owner_case
import setup_case
import wls_case
from isecl_case import double

NAMES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


def service():
    """HOST:PORT of all of them."""
    return urllib.parse.urlsplit(double.urls["wls"]).netloc


class Proxied:
    """For a test case that is set up behind it."""

    def setUp(self):
        self.proxy = connect_proxy.ConnectProxy()
        self.addCleanup(self.proxy.stop)
        self.url = f"http://127.0.0.1:{self.proxy.port}"
        super().setUp()

    def passed_on(self):
        """It was asked for the services and for nothing else, and could read nothing."""
        self.assertEqual(self.proxy.targets(), {service()})
        for text in (b"HTTP/1.1\r\n", b"username", b"password", b"/token", b"/keys"):
            self.assertNotIn(text, bytes(self.proxy.seen))


class Agent(Proxied, wls_case.WlsTest):
    timeout = 10

    def start(self, **options):
        self.with_variables(https_proxy=self.url, **options)

    def with_variables(self, **variables):
        """wlagentd, started with these alone of all that tell of proxies."""
        self.agent.stop()
        self.proxy.heads.clear()
        environment = {name: value for name, value in os.environ.items() if name not in NAMES}
        with unittest.mock.patch.dict(os.environ, {**environment, **variables}, clear=True):
            super().start()

    def test_each_name_of_it(self):
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
            with self.subTest(name):
                self.with_variables(**{name: self.url})
                self.opens(self.key())
                self.passed_on()

    def test_who_is_reached_without(self):
        for variables in ({"https_proxy": self.url, "no_proxy": "example.org,localhost"}, {"http_proxy": self.url},
                          {"https_proxy": self.url, "NO_PROXY": "*"}):
            with self.subTest(**variables):
                self.with_variables(**variables)
                self.opens(self.key())
                self.assertEqual(self.proxy.heads, [])
        self.with_variables(https_proxy=self.url, no_proxy="example.org")
        self.opens(self.key())
        self.passed_on()

    def test_it_wants_a_password(self):
        """Which is for it alone, and in no log."""
        key = self.key()
        self.with_variables(https_proxy=self.url.replace("//", "//operator:swordfish@"))
        self.opens(key)
        self.assertIn(b"\r\nProxy-Authorization: Basic ", self.proxy.heads[0])
        self.passed_on()
        self.proxy.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        self.with_variables(https_proxy=self.url.replace("//", "//operator:swordfish@"))
        told = self.denied(key, StatusCode.UNAVAILABLE, "AAS https://")
        self.proxy.answer = connect_proxy.OK
        self.opens(key)
        self.agent.stop()
        self.assertNotIn("swordfish", self.agent.log_text() + told)

    def test_it_hangs(self):
        key = self.key()
        self.proxy.answer = connect_proxy.HANGS
        begun = time.monotonic()
        with self.assertRaises(harness.grpc.RpcError) as caught:
            self.client.unwrap(self.packet(key), timeout=60)
        self.assertRegex(caught.exception.details(), "AAS https://")
        self.assertTrue(self.timeout - 1 < time.monotonic() - begun < self.timeout + 20)
        self.proxy.answer = connect_proxy.OK
        self.opens(key)

    def test_who_answers_behind_it_is_verified(self):
        for fault in ("wrong_ca", "wrong_name", "self_signed"):
            double.tls(fault=fault)
            self.with_variables(https_proxy=self.url)
            self.denied(self.key(), StatusCode.PERMISSION_DENIED, "AAS .*its certificate is not to be trusted")
        self.assertEqual((self.calls("aas.token"), self.calls()), (0, 0))


class Setup(Proxied, setup_case.SetupCase):
    def test_the_root_certificate(self):
        self.assertIn("download-ca-cert: done", self.says("download-ca-cert", https_proxy=self.url))
        self.passed_on()
        self.fails("the SHA-384 digest of its certificate is", "download-ca-cert", "--force", https_proxy=self.url,
                   CMS_TLS_CERT_SHA384="0123456789abcdef" * 6)

    def test_an_answer_file_names_none(self):
        path = self.put("answers", f"HTTPS_PROXY={self.url}\n")
        done = self.setup_task("download-ca-cert", "--file", path)
        self.assertIn(f"wlagent: {path}:1: HTTPS_PROXY counts in the environment only: export it", done.stderr.decode())
        self.assertEqual(self.proxy.heads, [])


class Owner(Proxied, owner_case.OwnerTest):
    def test_a_key(self):
        self.command("kbs", "create", env=self.environment(HTTPS_PROXY=self.url))
        self.passed_on()

    def test_it_refuses(self):
        """Whatever it answers, it is asked for the services, and nobody else is asked."""
        for answer in (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nnonsense",
                       b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                       b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nx", b"HTTP/1.1 100 Continue\r\n\r\n", b"nonsense"):
            with self.subTest(answer):
                self.proxy.heads.clear()
                self.proxy.answer = answer
                done = self.command("kbs", "create", env=self.environment(HTTPS_PROXY=self.url), check=False)
                self.refused(done, "^wlagent: .*AAS https://")
                self.assertEqual(self.proxy.targets(), {service()})
        self.proxy.stop()
        self.refused(self.command("kbs", "create", env=self.environment(HTTPS_PROXY=self.url), check=False), "AAS https://")
        self.assertEqual(double.counters()["connections"], 0)
