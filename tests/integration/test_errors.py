# SPDX-License-Identifier: Apache-2.0
"""Every gRPC status that the agent answers with, and the text that the user of a container engine reads."""

import base64
import concurrent.futures
import json
import os
import resource
import shutil

import grpc
from grpc import StatusCode

import harness

KEY = bytes(range(32))
OPTIONS = b'{"symkey":"c2VjcmV0"}'


def packet(name="image", key=KEY, **changes):
    return harness.wrap_packet(f"local:///{name}", key, OPTIONS, **changes)


class ErrorTest(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.agent.import_key("image", KEY)
        self.agent.write_config(Keys={"CacheSeconds": 0})
        self.agent.start()
        self.client = self.agent.client()
        self.addCleanup(self.client.close)

    def unwrap_refused(self, annotation, code, pattern):
        text = self.refused(lambda: self.client.unwrap(annotation), code, "^wlagent: " + pattern)
        self.assertEqual(self.client.unwrap(packet()), OPTIONS)  # the next one is served
        return text

    def key_file(self, name="image"):
        return os.path.join(self.agent.state, "keys", f"{name}.json")

    def edit_key_file(self, **changes):
        with open(self.key_file(), encoding="utf-8") as file:
            content = json.load(file)
        content.update(changes)
        with open(self.key_file(), "w", encoding="utf-8") as file:
            json.dump(content, file)


class InvalidArgument(ErrorTest):
    def bad(self, annotation, pattern):
        self.unwrap_refused(annotation, StatusCode.INVALID_ARGUMENT, pattern)

    def request_refused(self, body, pattern):
        self.refused(lambda: self.client.call(harness.UNWRAP, body), StatusCode.INVALID_ARGUMENT, pattern)

    def test_broken_protobuf(self):
        call = self.client.method(harness.UNWRAP)
        for message in (b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x08\x01\x0a\x05ab"):
            self.refused(lambda message=message: call(message, timeout=20), StatusCode.INVALID_ARGUMENT,
                         "not the protobuf message of a keyprovider")
        self.refused(lambda: call(b"", timeout=20), StatusCode.INVALID_ARGUMENT, "not proper JSON")

    def test_broken_json(self):
        for body in (b"", b"hello", b"{", b'{"op":}', b'{"op":"keyunwrap"}x', b"\xff\xfe", b'{"a":"\xc0\x80"}', b"[1,]"):
            self.request_refused(body, "the request is not proper JSON")

    def test_deep_json(self):
        self.request_refused(b'{"op":' + b"[" * 100000 + b"]" * 100000 + b"}", "not proper JSON")

    def test_duplicate_members(self):
        self.request_refused(b'{"op":"keyunwrap","op":"keywrap"}', "not proper JSON")
        self.bad(packet().replace(b'"kid"', b'"kid": "local:///other", "kid"'), ".*")

    def test_no_operation(self):
        for body in (b"{}", b'{"op":null}', b'{"op":"keyrelease"}', b"[]", b'"keyunwrap"'):
            self.request_refused(body, "names no operation that is known")

    def test_no_annotation(self):
        for params in ({}, {"annotation": None}, {"annotation": ""}, {"annotation": []}, {"annotation": 5},
                       {"annotation": "%%%"}, {"annotation": [256]}, {"annotation": [-1]}, {"annotation": {}}):
            self.request_refused(json.dumps({"op": "keyunwrap", "keyunwrapparams": params}).encode(),
                                 "the request's annotation")

    def test_annotation_that_is_no_packet(self):
        for annotation in (b"x", b"{}", b"[]", b'{"foo":1}', os.urandom(100), b'{"kid":"local:///image"}'):
            self.bad(annotation, ".*")

    def test_wrap_types(self):
        self.bad(packet(wrap_type="ROT13"), "the annotation's wrap_type is missing or unknown")
        self.bad(packet(wrap_type=None), "the annotation's wrap_type is missing or unknown")
        self.bad(packet(wrap_type=5), "the annotation's wrap_type is missing or unknown")

    def test_lengths(self):
        self.bad(packet(iv=base64.b64encode(bytes(11)).decode()), "the annotation's iv has 11 bytes, not 12")
        self.bad(packet(iv=base64.b64encode(bytes(13)).decode()), "the annotation's iv has 13 bytes, not 12")
        self.bad(packet(iv=""), "the annotation's iv has 0 bytes, not 12")
        self.bad(packet(wrapped_data=base64.b64encode(bytes(15)).decode()), ".*wrapped_data has 15 bytes: too short")

    def test_key_ids(self):
        for kid in ("", "local:///", "local:///../../etc/shadow", "local:///a/b", "local:///.hidden", "local:///a%2fb",
                    "local://host/name", "file:///etc/shadow", "http://169.254.169.254/", "unix:/run/x", "image",
                    "local:///a\nb", "local:///" + "a" * 65, "x" * 600, "kbs:///a", "ftp://x/y"):
            self.bad(packet().replace(b"local:///image", json.dumps(kid)[1:-1].encode()), "the annotation's kid")

    def test_key_file_of_another_host(self):
        other = harness.Swtpm(os.path.join(self.directory, "other-tpm")).start()
        self.addCleanup(other.stop)
        stranger = self.new_agent("stranger", other.tcti)
        stranger.run("setup")
        stranger.import_key("foreign", KEY)
        shutil.copy(os.path.join(stranger.state, "keys", "foreign.json"), self.key_file("foreign"))
        self.unwrap_refused(packet("foreign"), StatusCode.INVALID_ARGUMENT, "opening local:///foreign: it is wrapped for the binding key .*, and this host has ")

    def test_truncated_key_file(self):
        self.agent.run("key", "create", "damaged")
        with open(self.key_file("damaged"), "r+b") as file:
            file.truncate(100)
        self.bad(packet("damaged"), ".*keys/damaged.json")
        with open(self.key_file("damaged"), "wb"):
            pass
        self.bad(packet("damaged"), ".*keys/damaged.json")


class OtherStatuses(ErrorTest):
    def test_not_found(self):
        self.unwrap_refused(packet("missing"), StatusCode.NOT_FOUND,
                            "fetching local:///missing: no key named missing in .*wlagent key create")

    def test_no_source(self):
        for kid in ("https://kbs.example/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer", "kbs:///default/key/1"):
            self.unwrap_refused(harness.wrap_packet(kid, KEY, OPTIONS), StatusCode.NOT_FOUND,
                                f"no source is configured for {kid.split(':', maxsplit=1)[0]} keys")

    def test_denied_wrong_key(self):
        self.unwrap_refused(packet(key=bytes(32)), StatusCode.PERMISSION_DENIED,
                            "the annotation does not belong to the key local:///image")

    def test_denied_flipped_bits(self):
        good = json.loads(packet())
        for member in ("wrapped_data", "iv"):
            data = bytearray(base64.b64decode(good[member]))
            for at in (0, len(data) // 2, len(data) - 1):
                data[at] ^= 0x10
                self.unwrap_refused(json.dumps({**good, member: base64.b64encode(data).decode()}).encode(),
                                    StatusCode.PERMISSION_DENIED, "the annotation does not belong to the key")
                data[at] ^= 0x10

    def test_denied_key_file_that_others_may_read(self):
        os.chmod(self.key_file(), 0o644)
        self.refused(lambda: self.client.unwrap(packet()), StatusCode.PERMISSION_DENIED, "open to other users.*0644")

    def test_denied_key_file_that_is_a_link(self):
        os.rename(self.key_file(), self.key_file() + ".real")
        os.symlink(self.key_file() + ".real", self.key_file())
        self.refused(lambda: self.client.unwrap(packet()), StatusCode.PERMISSION_DENIED, "symbolic link")

    def test_denied_wrap(self):
        self.agent.stop()
        self.agent.write_config(KeyProvider={"AllowWrap": "no"})
        self.agent.start()
        self.refused(lambda: self.client.wrap(OPTIONS, "key=image"), StatusCode.PERMISSION_DENIED,
                     "this agent does not wrap keys .AllowWrap=yes in wlagent.conf")

    def test_unsupported(self):
        self.unwrap_refused(packet(wrap_type="A256CTR", iv=base64.b64encode(bytes(16)).decode()),
                            StatusCode.UNIMPLEMENTED, ".*A256CTR.*AllowUnauthenticatedWrap=yes")
        self.refused(lambda: self.client.call("/keyprovider.KeyProviderService/Nothing", b"{}"),
                     StatusCode.UNIMPLEMENTED, "unknown method")

    def test_resource_exhausted(self):
        self.refused(lambda: self.client.call(harness.UNWRAP, b"x" * 300000), StatusCode.RESOURCE_EXHAUSTED,
                     "above the limit of 262144")

    def test_internal(self):
        """Out of descriptors: the text for others is general, the journal says more."""
        self.client.unwrap(packet())
        pid = self.agent.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1, limits[1]))
        try:
            self.refused(lambda: self.client.unwrap(packet()), StatusCode.INTERNAL,
                         "^wlagent: internal error .see the journal of wlagentd.$")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        self.assertRegex(self.agent.log_text(), "Too many open files")
        self.assertEqual(self.client.unwrap(packet()), OPTIONS)

    def test_unavailable(self):
        self.tpm.stop()
        text = self.refused(lambda: self.client.unwrap(packet()), StatusCode.UNAVAILABLE,
                            "opening local:///image: .*no connection to the TPM")
        self.assertNotIn("connection refused", text)
        self.tpm.start()
        self.assertEqual(self.client.unwrap(packet()), OPTIONS)

    def test_deadline_exceeded(self):
        self.agent.stop()
        self.agent.write_config(KeyProvider={"CallTimeoutSeconds": 3})
        self.agent.start()
        self.tpm.freeze()
        self.refused(lambda: self.client.unwrap(packet()), StatusCode.DEADLINE_EXCEEDED, "^wlagent: .*TPM|tpm")
        self.tpm.thaw()
        harness.poll(self.works, "the TPM to serve again")

    def works(self):
        try:
            return self.client.unwrap(packet()) == OPTIONS
        except grpc.RpcError:
            return False

    def test_failed_precondition(self):
        self.agent.stop()
        proxy = harness.FaultProxy(self.tpm).start("0x159:1-99:rc=0x921")
        self.addCleanup(proxy.stop)
        self.agent.write_config(TPM={"Device": proxy.tcti})
        self.agent.start()
        self.refused(lambda: self.client.unwrap(packet()), StatusCode.FAILED_PRECONDITION,
                     "opening local:///image: .*the TPM is locked out.*tpm2_dictionarylockout")

    def test_five_thousand_recipients(self):
        """ocicrypt asks once for each of them; most are for others."""
        with self.agent.client() as client, concurrent.futures.ThreadPoolExecutor(16) as threads:
            before = self.agent.counts().tpm

            def ask(number):
                annotation = packet() if number == 4999 else harness.wrap_packet(f"local:///none-{number % 7}", KEY, b"x")
                try:
                    return client.unwrap(annotation)
                except grpc.RpcError as error:
                    return error.code()

            answers = list(threads.map(ask, range(5000)))
        self.assertEqual(answers[4999], OPTIONS)
        self.assertEqual(set(answers[:4999]), {StatusCode.NOT_FOUND})
        self.assertLessEqual(self.agent.counts().tpm - before, 1)

    def test_messages_keep_nothing_secret(self):
        """Refusals name keys and sizes, never what was in the request."""
        secret = "c2VjcmV0LWluLXRoZS1yZXF1ZXN0"
        for body in (harness.unwrap_request(packet("missing", unknown=secret), dc={"Parameters": {"privkeys": [secret]}}),
                     json.dumps({"op": secret}).encode(), json.dumps({"op": "keyunwrap", secret: secret}).encode(),
                     harness.unwrap_request(packet(iv=secret)), harness.unwrap_request(packet(wrap_type=secret))):
            with self.assertRaises(grpc.RpcError) as caught:
                self.client.call(harness.UNWRAP, body)
            self.assertNotIn(secret, caught.exception.details())
        self.assertNotIn(secret, self.agent.log_text())
