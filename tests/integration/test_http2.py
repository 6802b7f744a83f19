# SPDX-License-Identifier: Apache-2.0
"""Clients that speak HTTP/2 in unusual ways, wrong ways, and to do harm."""

import os

import harness
from raw_h2 import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
                    RST_STREAM, SETTINGS, WINDOW_UPDATE, RawClient, frame, grpc_message, request_headers)

KEY = bytes(range(32))
OPTIONS = b'{"symkey":"c2VjcmV0"}'


class Http2Test(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.agent.import_key("image", KEY)
        self.agent.start()
        self.request = harness.unwrap_request(harness.wrap_packet("local:///image", KEY, OPTIONS))
        self.message = grpc_message(self.request)

    def raw(self, **options):
        client = RawClient(self.agent.socket, **options)
        self.addCleanup(client.close)
        return client

    def assert_unwrapped(self, reply):
        self.assertEqual((reply.status, reply.message), (0, ""))
        optsdata = harness.json.loads(reply.payload())["keyunwrapresults"]["optsdata"]
        self.assertEqual(harness.as_bytes(optsdata), OPTIONS)

    def assert_serves(self):
        """Another client is served as ever."""
        client = self.raw()
        client.call(1, self.message)
        self.assert_unwrapped(client.reply(1))


class Unusual(Http2Test):
    def test_settings_come_before_the_client_has_said_anything(self):
        client = self.raw(greet=False)
        self.assertIn(3, client.settings())  # MAX_CONCURRENT_STREAMS

    def test_one_byte_at_a_time(self):
        client = self.raw(greet=False)
        for byte in PREFACE + frame(SETTINGS, 0, 0) + client.call_bytes(1, self.message):
            client.send(bytes([byte]))
        self.assert_unwrapped(client.reply(1))

    def test_all_in_one_write(self):
        client = self.raw(greet=False)
        client.send(PREFACE + frame(SETTINGS, 0, 0) + client.call_bytes(1, self.message))
        self.assert_unwrapped(client.reply(1))

    def test_two_calls_on_one_connection(self):
        client = self.raw()
        client.send(client.call_bytes(1, self.message) + client.call_bytes(3, self.message))
        self.assert_unwrapped(client.reply(3))
        self.assert_unwrapped(client.reply(1))

    def test_many_calls_one_after_another(self):
        client = self.raw()
        for stream in range(1, 1001, 2):
            client.call(stream, self.message)
            self.assert_unwrapped(client.reply(stream))

    def test_message_split_over_data_frames(self):
        client = self.raw()
        client.send(frame(HEADERS, END_HEADERS, 1, client.encoder.encode(request_headers())))
        for at in range(0, len(self.message), 100):
            client.send(frame(DATA, 0, 1, self.message[at:at + 100]))
        client.send(frame(DATA, END_STREAM, 1))
        self.assert_unwrapped(client.reply(1))

    def test_request_larger_than_the_windows(self):
        """dc may carry key files: the server has to open both windows."""
        dc = {"Parameters": {"privkeys": ["A" * 180000]}}
        request = harness.unwrap_request(harness.wrap_packet("local:///image", KEY, OPTIONS), dc)
        client = self.raw()
        client.call_large(1, grpc_message(request))
        self.assert_unwrapped(client.reply(1))

    def test_ping_is_answered(self):
        client = self.raw()
        client.send(frame(PING, 0, 0, b"01234567"))
        self.assertEqual(client.read_until(PING, ACK), b"01234567")

    def test_unknown_and_harmless_frames(self):
        client = self.raw()
        client.send(frame(0xb, 0, 0, b"unknown") + frame(PRIORITY, 0, 1, bytes(5)) +
                    frame(WINDOW_UPDATE, 0, 0, (100).to_bytes(4, "big")))
        client.call(1, self.message)
        self.assert_unwrapped(client.reply(1))

    def test_headers_in_continuation_frames(self):
        client = self.raw()
        block = client.encoder.encode(request_headers())
        client.send(frame(HEADERS, 0, 1, block[:10]) + frame(CONTINUATION, 0, 1, block[10:20]) +
                    frame(CONTINUATION, END_HEADERS, 1, block[20:]) + frame(DATA, END_STREAM, 1, self.message))
        self.assert_unwrapped(client.reply(1))

    def test_goaway_during_a_call(self):
        """What grpc-go sends when its caller has gone on: the call is still answered."""
        client = self.raw()
        client.send(client.call_bytes(1, self.message) + frame(GOAWAY, 0, 0, bytes(8)))
        self.assert_unwrapped(client.reply(1))

    def test_reply_waits_for_the_clients_window(self):
        client = self.raw(greet=False)
        client.send(PREFACE + frame(SETTINGS, 0, 0, bytes([0, 4, 0, 0, 0, 1])))
        client.call(1, self.message)
        while not client.seen(DATA):
            client.read_frame()
        self.assertEqual(len(client.seen(DATA)[0]), 1)
        client.send(frame(WINDOW_UPDATE, 0, 1, (65536).to_bytes(4, "big")))
        self.assert_unwrapped(client.reply(1))

    def test_any_authority_and_grpc_proto(self):
        client = self.raw()
        client.call(1, self.message, request_headers(authority="unix:%2F%2F%2Fp",
                                                     content_type="application/grpc+proto"))
        self.assert_unwrapped(client.reply(1))


class Wrong(Http2Test):
    def assert_refused(self, status, text, message=None, headers=None):
        client = self.raw()
        client.call(1, self.message if message is None else message, headers)
        reply = client.reply(1)
        self.assertEqual(reply.status, status, reply.headers)
        self.assertRegex(reply.message, text)
        self.assertEqual(reply.body, b"")

    def test_unknown_method(self):
        self.assert_refused(12, "unknown method /keyprovider.KeyProviderService/Nothing",
                     headers=request_headers("/keyprovider.KeyProviderService/Nothing"))

    def test_operation_of_the_other_method(self):
        self.assert_refused(3, "the request's op is unwrap, but it was sent to the method for wrap",
                     headers=request_headers(harness.WRAP))

    def test_compressed_message(self):
        self.assert_refused(12, "compressed messages are not supported", grpc_message(self.request, compressed=1))

    def test_compressed_encoding(self):
        self.assert_refused(12, "compressed messages are not supported", headers=request_headers(grpc_encoding="gzip"))

    def test_bad_timeout(self):
        self.assert_refused(3, "malformed grpc-timeout", headers=request_headers(grpc_timeout="soon"))

    def test_request_that_ends_early(self):
        self.assert_refused(3, "the request ends inside its message", self.message[:-1])
        self.assert_refused(3, "the request ends inside its message", b"\0\0")

    def test_two_messages(self):
        self.assert_refused(3, "more than one message", self.message * 2)

    def test_message_above_the_limit(self):
        self.assert_refused(8, "above the limit of 262144", b"\0" + (262145).to_bytes(4, "big"))

    def test_too_many_headers(self):
        client = self.raw()
        many = [(f"x-header-{number}", "x" * 100) for number in range(100)]
        client.call(1, self.message, request_headers() + many)
        self.assertIn(client.reply(1).status, (8, None))
        self.assert_serves()

    def test_http_instead_of_grpc(self):
        for status, headers in (("415", {"content_type": "application/json"}), ("415", {"content_type": None}),
                                ("405", {"method": "GET"})):
            client = self.raw()
            client.call(1, self.message, request_headers(**headers))
            self.assertEqual(client.reply(1).headers[":status"], status)
        self.assert_serves()

    def test_rubbish_instead_of_http2(self):
        for rubbish in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4096), bytes(4096), PREFACE[:10] + b"x" * 99,
                        PREFACE + b"\xff" * 100, b'{"op":"keyunwrap"}'):
            client = self.raw(greet=False)
            try:
                client.send(rubbish)
            except BrokenPipeError:
                pass
            client.read_to_end()
        self.assert_serves()

    def test_broken_frames(self):
        for broken in (frame(DATA, END_STREAM, 1, b"x"),  # DATA on an idle stream
                       frame(HEADERS, END_HEADERS, 2, b"\x83"),  # a stream that is the server's
                       frame(SETTINGS, 0, 0, b"12345"), frame(SETTINGS, ACK, 0, b"123456"),
                       frame(PING, 0, 0, b"1"), frame(WINDOW_UPDATE, 0, 0, bytes(4)),
                       frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),  # broken HPACK
                       frame(CONTINUATION, END_HEADERS, 1, b""),
                       (1 << 20).to_bytes(3, "big") + bytes([DATA, 0, 0, 0, 0, 1])):  # above FRAME_MAX
            client = self.raw()
            client.send(broken)
            self.assertNotEqual(client.read_to_end(), 0, broken)
        self.assert_serves()


class Harmful(Http2Test):
    """Each costs its sender the connection, and nobody else anything."""

    def assert_ends(self, client, data, times):
        """Sends data again and again until the server has had enough of it."""
        try:
            for _ in range(times):
                client.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertNotEqual(client.read_to_end(), 0)
        self.assert_serves()

    def test_rapid_reset(self):
        client = self.raw()
        flood = b"".join(client.call_bytes(stream, self.message) + frame(RST_STREAM, 0, stream, bytes(4))
                         for stream in range(1, 4001, 2))
        self.assert_ends(client, flood, 1)

    def test_made_the_server_reset(self):
        """CVE-2025-8671: frames that make the server reset the stream."""
        client = self.raw()
        flood = b"".join(client.call_bytes(stream, self.message) +
                         frame(WINDOW_UPDATE, 0, stream, (0x7fffffff).to_bytes(4, "big"))
                         for stream in range(1, 4001, 2))
        self.assert_ends(client, flood, 1)

    def test_ping_flood(self):
        self.assert_ends(self.raw(), frame(PING, 0, 0, bytes(8)) * 1000, 100)

    def test_settings_flood(self):
        self.assert_ends(self.raw(), frame(SETTINGS, 0, 0, bytes([0, 4, 0, 0, 255, 255])) * 1000, 100)

    def test_settings_with_too_many_entries(self):
        self.assert_ends(self.raw(), frame(SETTINGS, 0, 0, bytes([0, 4, 0, 0, 255, 255]) * 2400), 1)

    def test_continuation_flood(self):
        client = self.raw()
        client.send(frame(HEADERS, 0, 1, client.encoder.encode(request_headers())))
        self.assert_ends(client, frame(CONTINUATION, 0, 1, b"\0\1a\1b") * 1000, 100)

    def test_empty_data_flood(self):
        client = self.raw()
        client.send(frame(HEADERS, END_HEADERS, 1, client.encoder.encode(request_headers())))
        self.assert_ends(client, frame(DATA, 0, 1) * 1000, 100)

    def test_priority_flood(self):
        self.assert_ends(self.raw(), frame(PRIORITY, 0, 1, bytes(5)) * 1000, 100)

    def test_header_table_bomb(self):
        """One large header put into the table, then referred to a thousand times."""
        client = self.raw()
        block = client.encoder.encode(request_headers() + [("x", "y" * 4000)])
        client.call(1, self.message)
        client.send(frame(HEADERS, END_HEADERS, 3, block + bytes([0xbe]) * 12000))
        client.send(frame(DATA, END_STREAM, 3, self.message))
        reply = client.reply(3)
        self.assertIn(reply.status, (8, None))
        self.assert_serves()

    def test_more_streams_than_allowed(self):
        client = self.raw()
        most = client.settings()[3]
        block = client.encoder.encode(request_headers())
        for number in range(most + 1):
            client.send(frame(HEADERS, END_HEADERS, 2 * number + 1, block))
        reply = client.reply(2 * most + 1)
        self.assertTrue(reply.reset == 7 or client.closed)  # REFUSED_STREAM
        self.assert_serves()

    def test_memory_does_not_grow(self):
        """Floods leave nothing behind."""
        if harness.has_address_sanitizer():
            self.skipTest("the sanitizer keeps freed memory")

        def private_kib():
            with open(f"/proc/{self.agent.process.pid}/smaps_rollup", encoding="ascii") as rollup:
                return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))

        self.test_rapid_reset()
        before = private_kib()
        for _ in range(5):
            self.test_rapid_reset()
            self.test_ping_flood()
        self.assertLess(private_kib() - before, 512)
