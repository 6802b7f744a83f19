# SPDX-License-Identifier: Apache-2.0
"""No key stays where it does not belong: not in the daemon's memory once the reply is sent and the cache
has ended, and never in a log or a file."""

import base64
import json
import os
import re

import harness
from raw_h2 import RawClient, grpc_message


def forms(secret):
    """The ways in which bytes turn up: (name, bytes)."""
    yield "raw", secret
    yield "reversed", secret[::-1]
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    yield "array of numbers", ",".join(str(byte) for byte in secret).encode()
    for shift in range(3):
        # base64 of the secret inside something longer: only whole groups of three bytes are the same.
        inner = secret[shift:shift + (len(secret) - shift) // 3 * 3]
        yield f"base64+{shift}", base64.b64encode(inner)
        yield f"base64url+{shift}", base64.urlsafe_b64encode(inner)


def mappings(pid):
    """(name, flags, bytes) of each readable mapping; flags as in VmFlags of smaps."""
    areas = []
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as smaps:
        for line in smaps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)", line)
            if match:
                areas.append([int(match[1], 16), int(match[2], 16), match[3], match[4], set()])
            elif line.startswith("VmFlags:"):
                areas[-1][4] = set(line.split()[1:])
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for start, end, access, name, flags in areas:
            if "r" not in access or name in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
                continue
            try:
                memory.seek(start)
                yield name, flags, memory.read(end - start)
            except OSError:
                continue


class Residue(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.key = os.urandom(32)
        self.layer_key = os.urandom(32)
        self.private_key = os.urandom(48)
        self.options = json.dumps({"symkey": base64.b64encode(self.layer_key).decode(), "digest": "sha256:00"}).encode()
        self.packet = harness.wrap_packet("local:///image", self.key, self.options)
        self.dc = {"Parameters": {"privkeys": [base64.b64encode(self.private_key).decode()]}}
        self.agent.import_key("image", self.key)

    def secrets(self):
        """(what, form, bytes)"""
        symkey = base64.b64encode(self.layer_key)
        for what, secret in (("key", self.key), ("layer key", self.layer_key), ("private key", self.private_key)):
            for form, data in forms(secret):
                yield what, form, data
        # The layer key's base64 is itself encoded again, inside optsdata and annotation.
        for form, data in forms(symkey[:42]):
            yield "layer key in base64", form, data

    def found_in_memory(self):
        """{(what, form, mapping, locked and left out of core dumps)}"""
        found = set()
        for name, flags, data in mappings(self.agent.process.pid):
            for what, form, secret in self.secrets():
                if secret in data:
                    found.add((what, form, name, {"lo", "dd"} <= flags))
        return found

    def found_in_files(self):
        found = set()
        places = [self.agent.directory, f"/proc/{self.agent.process.pid}/environ", f"/proc/{self.agent.process.pid}/cmdline"]
        paths = [path for path in places if os.path.isfile(path)]
        for root, _, names in os.walk(self.agent.directory):
            paths += [path for path in (os.path.join(root, name) for name in names) if os.path.isfile(path)]
        for path in paths:
            with open(path, "rb") as file:
                data = file.read()
            for what, form, secret in self.secrets():
                if secret in data:
                    found.add((what, form, path))
        return found

    def use(self):
        """Every way in which the daemon handles keys."""
        with self.agent.client() as client:
            for _ in range(5):
                self.assertEqual(client.unwrap(self.packet, dc=self.dc), self.options)
            self.assertEqual(client.unwrap(client.wrap(self.options, "key=image")), self.options)
        for encode in (list, lambda data: base64.b64encode(data).decode()):
            with RawClient(self.agent.socket) as client:
                client.call_large(1, grpc_message(harness.unwrap_request(self.packet, self.dc, encode)))
                self.assertEqual(client.reply(1).status, 0)
        done = self.agent.run("keyprovider", stdin=harness.unwrap_request(self.packet, self.dc))
        self.assertIn(b"keyunwrapresults", done.stdout)
        broken = harness.unwrap_request(self.packet, self.dc)[:-1]
        self.agent.run("keyprovider", stdin=broken, check=False)

    def test_the_search_finds_a_key_that_is_there(self):
        self.agent.write_config(Keys={"CacheSeconds": 3600}, Agent={"LogLevel": "debug"})
        self.agent.start()
        self.use()
        self.agent.wait_for_keys(cached=1, opening=0)  # what is to be wiped behind a reply is by then
        found = self.found_in_memory()
        self.assertIn("key", {what for what, _, _, _ in found})
        self.assertEqual({hit for hit in found if not hit[3]}, set(), "found outside of the secure heap")
        self.assertEqual({hit for hit in found if hit[0] != "key"}, set(), "found after the reply")
        self.assertEqual(self.found_in_files(), set())

    def test_nothing_is_left_when_the_cache_has_ended(self):
        self.agent.write_config(Keys={"CacheSeconds": 1}, Agent={"LogLevel": "debug"})
        self.agent.start()
        self.use()
        self.agent.wait_for_keys(cached=0)
        self.assertEqual(self.found_in_memory(), set())
        self.assertEqual(self.found_in_files(), set())

    def test_nothing_is_left_without_a_cache(self):
        self.agent.write_config(Keys={"CacheSeconds": 0}, Agent={"LogLevel": "debug"})
        self.agent.start()
        self.use()
        self.agent.wait_for_keys(cached=0, opening=0)
        self.assertEqual(self.found_in_memory(), set())
        self.assertEqual(self.found_in_files(), set())

    def test_nothing_is_left_when_the_client_goes_first(self):
        self.agent.write_config(Keys={"CacheSeconds": 0}, Agent={"LogLevel": "debug"})
        self.agent.start()
        self.tpm.freeze()
        for _ in range(3):
            client = RawClient(self.agent.socket)
            client.call_large(1, grpc_message(harness.unwrap_request(self.packet, self.dc)))
            self.agent.wait_for_keys(waiting=1)
            client.close()
            self.agent.wait_for_keys(waiting=0)
        self.tpm.thaw()
        self.agent.wait_for_keys(opening=0, queued=0)
        self.assertEqual(self.found_in_memory(), set())

    def test_nothing_is_left_of_half_a_request(self):
        self.agent.start()
        message = grpc_message(harness.unwrap_request(self.packet, self.dc))
        client = RawClient(self.agent.socket)
        self.addCleanup(client.close)
        whole = client.call_bytes(1, message)
        client.send(whole[:-20])
        client.send(b"")
        harness.poll(lambda: self.agent.status()["keyprovider"]["connections"] == 1, "the connection")
        harness.poll(lambda: "private key" in {what for what, _, _, _ in self.found_in_memory()}, "it to be read")
        client.close()
        harness.poll(lambda: self.agent.status()["keyprovider"]["connections"] == 0, "the end of the connection")
        self.assertEqual(self.found_in_memory(), set())
