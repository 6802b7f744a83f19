# SPDX-License-Identifier: Apache-2.0
"""tests/doubles/isecl: connections, and that each fault that a test can ask for is the one that a client sees."""

import dataclasses
import http.client
import json
import ssl
import time
import unittest

import running
from isecl_case import HARDWARE, PEM, Client, DoubleTest, RawRequest, double, unb64

import isecl
from isecl import certificates, control, faults

TO_AAS = {"Accept": "application/jwt", "Content-Type": "application/json"}


class Faults(DoubleTest):
    def get(self):
        return self.client.call("GET", "/cms/v1/ca-certificates", headers=PEM)

    def test_ends_of_connections(self):
        for knob, end in (("reset_at", "reset"), ("close_at", "in order"), ("drop_at", "without close_notify"),
                          ("half_close_at", "in order")):
            for offset in (0, 1, 30):
                with self.subTest(knob=knob, offset=offset):
                    double.fault(route="cms.ca_certificates", times=1, **{knob: offset})
                    found, ended = RawRequest().until_end()
                    self.assertEqual((found, ended), (b"HTTP/1.1 200 OK\r\nContent-Type:"[:offset], end))

    def test_half_closed_connection_stays(self):
        double.fault(half_close_at=9, times=1)
        request = RawRequest()
        self.assertEqual(request.until_end(), (b"HTTP/1.1 ", "in order"))
        for _ in range(3):
            request.plain.sendall(b"x")

    def test_slices_and_pauses(self):
        double.fault(slice=1, pause=0.002, times=1)
        with open(double.root_ca, "rb") as file:
            self.assertEqual(self.get()[1], file.read())
        double.fault(delay=0.2, times=1)
        started = time.monotonic()
        self.get()
        self.assertGreater(time.monotonic() - started, 0.2)

    def test_framing(self):
        with open(double.root_ca, "rb") as file:
            root = file.read()
        double.fault(chunk=7, times=1)
        _, body, headers = self.get()
        self.assertEqual((body, headers["Transfer-Encoding"], headers["Content-Length"]), (root, "chunked", None))
        double.fault(no_length=True, times=1)
        _, body, headers = self.get()
        self.assertEqual((body, headers["Content-Length"], headers["Connection"]), (root, None, "close"))
        double.fault(content_length=len(root) + 1, close_at=100000, times=1)
        self.assertRaises(http.client.IncompleteRead, self.get)
        self.client.connection.close()
        double.fault(body_size=3000000, times=1)
        self.assertEqual(self.get()[1], b"a" * 3000000)

    def test_other_answers(self):
        for status in (301, 302, 307, 308):
            double.fault(status=status, headers={"Location": "https://x/"}, body="", times=1)
            answer = self.get()
            self.assertEqual((answer[0], answer[2]["Location"], answer[1]), (status, "https://x/", b""))
        double.fault(gzip=True, times=1)
        _, body, headers = self.get()
        self.assertEqual((headers["Content-Encoding"], body[:2]), ("gzip", b"\x1f\x8b"))
        double.fault(status=599, body_base64="AAH/", times=1)
        self.assertEqual(self.get()[:2], (599, b"\x00\x01\xff"))
        double.fault(route="unmatched", status=200, body="x", times=1)
        self.assertEqual(self.client.call("GET", "/nowhere")[:2], (200, b"x"))

    def test_times_skip_and_order(self):
        double.fault(route="cms.ca_certificates", status=500, times=1, skip=1)
        double.fault(route="cms.ca_certificates", status=503, times=2)
        self.assertEqual([self.get()[0] for _ in range(4)], [503, 500, 503, 200])
        double.fault(status=500)
        self.assertEqual([self.get()[0] for _ in range(3)], [500] * 3)
        double.clear_faults()
        self.assertEqual(self.get()[0], 200)

    def test_json(self):
        self.new_host()
        url = double.add_key()["key_url"]
        double.fault(route="wls.keys", json={"key": 12}, times=1)
        self.assertEqual(self.keys(url)[1], b'{"key":12}')
        double.fault(route="wls.keys", remove=["key"], json={"more": None}, times=1)
        self.assertEqual(self.keys(url)[1], b'{"more":null}')
        double.fault(route="wls.keys", duplicate={"key": "x"}, times=1)
        self.assertRegex(self.keys(url)[1], rb'^\{"key":"x","key":"[^"]{344}"\}$')

    def test_keys(self):
        host, key = self.new_host(), double.add_key()
        sound = unb64(key["material"])

        def released(**fault):
            double.fault(route="wls.keys", times=1, **fault)
            return unb64(json.loads(self.keys(key["key_url"])[1])["key"])

        for size in (0, 16, 31, 33, 190):
            self.assertEqual(len(host.unwrap(released(key_size=size))), size)
        other = host.unwrap(released(other_key=True))
        self.assertEqual((len(other), other == sound), (32, False))
        self.assertRaises(ValueError, host.unwrap, released(other_host=True))
        self.assertEqual(host.unwrap(released(label="TPM2"), b"TPM2"), sound)
        self.assertEqual([len(released(ciphertext_size=size)) for size in (0, 255, 257)], [0, 255, 257])
        self.assertEqual(host.unwrap(unb64(json.loads(self.keys(key["key_url"])[1])["key"])), sound)

    def test_manual_has_every_command_and_member(self):
        commands = {name for name in vars(control.Control) if not name.startswith("_")}
        members = {field.name for field in dataclasses.fields(faults.Fault)}
        for name in sorted({*commands, *members, *certificates.TLS_FAULTS}):
            self.assertRegex(isecl.__doc__, rf"\b{name}\b")

    def test_mistaken_commands_are_refused(self):
        for name, members in (("nothing", {}), ("fault", {"slices": 1}), ("fault", {"slice": "1"}),
                              ("fault", {"gzip": 1}), ("tls", {"fault": "x"}), ("release", {"number": 6}),
                              ("_run", {"line": "{}"}),
                              ("set_host", {"hardware_uuid": HARDWARE, "trust": "yes"}), ("remove_key", {"id": "x"})):
            with self.subTest(name=name, members=members), self.assertRaises(ValueError):
                double.command(name, **members)


class Connections(DoubleTest):
    def test_one_connection_serves_many_requests(self):
        for _ in range(5):
            self.client.call("GET", "/cms/v1/ca-certificates", headers=PEM)
            self.client.call("GET", "/nowhere")
        counted = double.counters()
        self.assertEqual((counted["connections"], counted["handshakes"], counted["failed_handshakes"]), (1, 1, 0))
        self.assertEqual(counted["calls"], {"cms.ca_certificates": 5, "unmatched": 5})
        seen = double.requests()["requests"]
        self.assertEqual((len(seen), len({request["connection"] for request in seen})), (10, 1))

    def test_bodies_in_chunks_and_after_100_continue(self):
        parts = iter([b'{"user', b'name":"x"}'])
        self.client.connection.request("POST", "/aas/v1/token", parts, TO_AAS, encode_chunked=True)
        answer = self.client.connection.getresponse()
        self.assertEqual((answer.status, answer.read()), (401, b""))
        headers = {**TO_AAS, "Expect": "100-continue"}
        self.assertEqual(self.client.call("POST", "/aas/v1/token", {"username": "x"}, headers)[0], 401)

    def test_requests_that_are_none(self):
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
                     b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"):
            with self.subTest(text), Client() as client:
                client.connection.connect()
                client.connection.sock.sendall(text)
                self.assertTrue(client.connection.sock.recv(100).startswith(b"HTTP/1.1 400 "))

    def test_reasons_are_kept_for_the_test(self):
        self.certify({})
        last = double.requests()["requests"][-1]
        self.assertEqual((last["route"], last["status"]), ("hvs.certify_binding_key", 400))
        self.assertIn("without public_key_modulus", last["reason"])


class Tls(DoubleTest):
    def tearDown(self):
        double.tls()

    def connect(self):
        with Client() as client:
            client.call("GET", "/cms/v1/ca-certificates", headers=PEM)
            return client.connection.sock.version()

    def test_certificates_that_are_not_to_be_trusted(self):
        for fault, reason in (("expired", "has expired"), ("not_yet_valid", "not yet valid"),
                              ("wrong_name", "mismatch"), ("wrong_usage", "unsuitable certificate purpose"),
                              ("wrong_ca", "signature failure|self-signed certificate in|unable to get .*issuer"),
                              ("self_signed", "self-signed certificate"), ("rsa1024", "EE certificate key too weak"),
                              ("sha1", "digest algorithm too weak")):
            with self.subTest(fault):
                double.tls(fault=fault)
                self.assertRaisesRegex(ssl.SSLCertVerificationError, reason, self.connect)
        self.assertEqual(double.counters()["handshakes"], 0)

    def test_versions(self):
        self.assertEqual(self.connect(), "TLSv1.3")
        for fault, version in (("tls12", "TLSv1.2"), ("tls13", "TLSv1.3")):
            double.tls(fault=fault)
            self.assertEqual(self.connect(), version)

    def test_clients_without_a_certificate(self):
        """TLS 1.3 has them think that they are connected, and then they get no answer."""
        double.tls(fault="wants_client")
        for _ in range(3):
            self.assertRaises((ssl.SSLError, ConnectionError), self.connect)
        running.poll(lambda: double.counters()["failed_handshakes"] == 3, "the ends of the handshakes")
        counters = double.counters()
        self.assertEqual((counters["calls"], counters["handshakes"]), ({}, 0))
        double.tls()
        self.connect()

    def test_end_without_close_notify(self):
        double.fault(no_length=True)
        for fault, end in ((None, "in order"), ("no_close_notify", "without close_notify")):
            double.tls(fault=fault)
            self.assertEqual(RawRequest().until_end()[1], end)

    def test_silence(self):
        double.tls(fault="no_handshake")
        with Client(timeout=0.1) as client:
            self.assertRaises(TimeoutError, client.call, "GET", "/")
        double.tls(handshake_delay=0.2)
        started = time.monotonic()
        self.connect()
        self.assertGreater(time.monotonic() - started, 0.2)


if __name__ == "__main__":
    unittest.main()
