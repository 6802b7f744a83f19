# SPDX-License-Identifier: Apache-2.0
"""A grpc client of another family (grpc's C core, from python): forms of data, limits, deadlines."""

import base64
import concurrent.futures
import json
import signal

import grpc
from grpc import StatusCode

import harness

KEY = bytes(range(32))
OPTIONS = b'{"symkey":"c2VjcmV0"}'
PACKET = harness.wrap_packet("local:///image", KEY, OPTIONS)


class GrpcTest(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.agent.import_key("image", KEY)
        self.agent.start()
        self.client = self.agent.client()
        self.addCleanup(self.client.close)


class Forms(GrpcTest):
    def unwrap(self, encode):
        reply = self.client.call(harness.UNWRAP, harness.unwrap_request(PACKET, encode=encode))
        return reply["keyunwrapresults"]["optsdata"]

    def test_base64_text(self):
        self.assertEqual(harness.as_bytes(self.unwrap(None)), OPTIONS)

    def test_array_of_numbers(self):
        self.assertEqual(harness.as_bytes(self.unwrap(list)), OPTIONS)

    def test_bare_json_text(self):
        self.assertEqual(harness.as_bytes(self.unwrap(lambda data: data.decode())), OPTIONS)

    def test_reply_suits_both_families(self):
        """Rust's ocicrypt takes arrays of numbers only, Go's takes both."""
        self.assertEqual(self.unwrap(None), list(OPTIONS))

    def test_names_in_any_case(self):
        """As Go's decoder takes them."""
        body = json.dumps({"Op": "keyunwrap", "KeyUnwrapParams": {"Annotation": base64.b64encode(PACKET).decode()}})
        reply = self.client.call(harness.UNWRAP, body.encode())
        self.assertEqual(harness.as_bytes(reply["keyunwrapresults"]["optsdata"]), OPTIONS)

    def test_wrapped_by_us_opened_by_us(self):
        for size in (1, 2, 15, 16, 17, 190, 4000):
            options = bytes(number % 256 for number in range(size))
            annotation = self.client.wrap(options, "key=image")
            self.assertEqual(json.loads(annotation)["kid"], "local:///image")
            self.assertEqual(self.client.unwrap(annotation), options)

    def test_wrapped_by_us_opened_by_openssl(self):
        """What the annotation promises, checked with another implementation of AES-GCM."""
        packet = json.loads(self.client.wrap(OPTIONS, "key=image"))
        self.assertEqual(packet["wrap_type"], "A256GCM")
        opened = harness.AESGCM(KEY).decrypt(base64.b64decode(packet["iv"]), base64.b64decode(packet["wrapped_data"]), None)
        self.assertEqual(opened, OPTIONS)

    def test_never_the_same_nonce(self):
        nonces = {json.loads(self.client.wrap(OPTIONS, "key=image"))["iv"] for _ in range(200)}
        self.assertEqual(len(nonces), 200)

    def test_unauthenticated_packets_when_allowed(self):
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        nonce = bytes(range(16))
        encryptor = Cipher(algorithms.AES(KEY), modes.CTR(nonce)).encryptor()
        packet = json.dumps({"kid": "local:///image", "iv": base64.b64encode(nonce).decode(), "wrap_type": "A256CTR",
                             "wrapped_data": base64.b64encode(encryptor.update(OPTIONS)).decode()}).encode()
        self.refused(lambda: self.client.unwrap(packet), StatusCode.UNIMPLEMENTED, "AllowUnauthenticatedWrap=yes")
        self.agent.write_config(KeyProvider={"AllowUnauthenticatedWrap": "yes"})
        self.agent.process.send_signal(signal.SIGHUP)
        harness.poll(lambda: "was read again" in self.agent.log_text(), "the reload")
        self.assertEqual(self.client.unwrap(packet), OPTIONS)


class Limits(GrpcTest):
    def restart(self, **options):
        self.agent.stop()
        self.agent.write_config(KeyProvider=options, Keys={"CacheSeconds": 0})
        self.agent.start()

    def request_of(self, size):
        """An unwrap request of exactly size bytes, protobuf included."""
        plain = len(harness.protobuf(harness.unwrap_request(PACKET, dc={"Parameters": {"x": [""]}})))
        dc = {"Parameters": {"x": ["A" * (size - plain - 2)]}}  # the varint grows from two bytes to three or four
        request = harness.unwrap_request(PACKET, dc=dc)
        while len(harness.protobuf(request)) < size:
            dc["Parameters"]["x"][0] += "A"
            request = harness.unwrap_request(PACKET, dc=dc)
        self.assertEqual(len(harness.protobuf(request)), size)
        return request

    def test_largest_message(self):
        reply = self.client.call(harness.UNWRAP, self.request_of(262144))
        self.assertEqual(harness.as_bytes(reply["keyunwrapresults"]["optsdata"]), OPTIONS)
        self.refused(lambda: self.client.call(harness.UNWRAP, self.request_of(262145)), StatusCode.RESOURCE_EXHAUSTED,
                     "a request of 262145 bytes is above the limit of 262144")

    def test_largest_message_as_configured(self):
        self.restart(MaxMessageBytes=8192)
        self.client.call(harness.UNWRAP, self.request_of(8192))
        self.refused(lambda: self.client.call(harness.UNWRAP, self.request_of(8193)), StatusCode.RESOURCE_EXHAUSTED,
                     "above the limit of 8192")

    def test_time_of_a_call(self):
        """No client sets a deadline: the agent's own must hold."""
        self.restart(CallTimeoutSeconds=1)
        self.tpm.freeze()
        call = self.client.method(harness.UNWRAP)
        request = harness.protobuf(harness.unwrap_request(PACKET))
        self.refused(lambda: call(request), StatusCode.DEADLINE_EXCEEDED, "^wlagent: ")
        self.tpm.thaw()

    def test_time_that_the_client_gives(self):
        self.restart(CallTimeoutSeconds=60)
        self.tpm.freeze()
        with self.assertRaises(grpc.RpcError) as caught:
            self.client.unwrap(PACKET, timeout=0.5)
        self.assertEqual(caught.exception.code(), StatusCode.DEADLINE_EXCEEDED)
        self.agent.wait_for_keys(waiting=0)
        self.tpm.thaw()

    def test_more_calls_than_streams(self):
        """The client waits for a free stream; all are served."""
        self.restart(MaxStreams=4)
        calls = [self.in_background(self.client.unwrap, PACKET) for _ in range(64)]
        self.assertEqual({call.result(20) for call in calls}, {OPTIONS})

    def test_many_clients(self):
        def unwrap(_):
            with self.agent.client() as client:
                return client.unwrap(PACKET)
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            self.assertEqual(set(threads.map(unwrap, range(200))), {OPTIONS})

    def test_cancelled_by_the_client(self):
        self.restart(CallTimeoutSeconds=60)
        self.tpm.freeze()
        call = self.client.method(harness.UNWRAP).future(harness.protobuf(harness.unwrap_request(PACKET)))
        self.agent.wait_for_keys(waiting=1)
        call.cancel()
        self.agent.wait_for_keys(waiting=0)
        self.tpm.thaw()
        self.assertEqual(self.client.unwrap(PACKET), OPTIONS)

    def test_gzip(self):
        call = self.client.method(harness.UNWRAP)
        request = harness.protobuf(harness.unwrap_request(PACKET))
        self.refused(lambda: call(request, compression=grpc.Compression.Gzip, timeout=20), StatusCode.UNIMPLEMENTED,
                     "compressed messages are not supported")
