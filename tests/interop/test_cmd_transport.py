# SPDX-License-Identifier: Apache-2.0
"""ocicrypt's cmd transport: wlagent keyprovider on standard input and output."""

import json
import os

import harness
from images import ImageTest


class CmdTransport(ImageTest):
    def setUp(self):
        super().setUp()
        # skopeo may run in another root, where wlagent's libraries are not: enter this process's.
        self.configure_ocicrypt(wlagent={"cmd": {
            "path": "/usr/bin/nsenter",
            "args": [f"--mount=/proc/{os.getpid()}/ns/mnt", f"--root=/proc/{os.getpid()}/root",
                     harness.WLAGENT, "--config", self.agent.config, "keyprovider"]}})

    def test_three_layers(self):
        plain = self.encrypted_image(3)
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")

    def test_both_transports_open_the_same_image(self):
        plain = self.encrypted_image(3)
        self.configure_ocicrypt(wlagent={"grpc": f"unix://{self.agent.socket}"})
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")

    def test_refusal_reaches_the_user(self):
        self.encrypted_image(1)
        self.agent.remove_key(self.key)
        self.agent.stop()
        self.agent.start()
        done = self.decrypt("oci:encrypted:v1", "oci:decrypted:v1", check=False)
        self.fails(done, f"Error while running command: .*stderr: .*{self.key}")

    def test_agent_down(self):
        self.encrypted_image(1)
        self.agent.stop()
        done = self.decrypt("oci:encrypted:v1", "oci:decrypted:v1", check=False)
        self.fails(done, "wlagentd")

    def test_rubbish(self):
        for rubbish in (b"", b"{", b"[]", b'{"op":"keyunwrap"}', b"\x00" * 100):
            done = self.agent.run("keyprovider", stdin=rubbish, check=False)
            self.assertNotEqual(done.returncode, 0, rubbish)
            self.assertEqual(done.stdout, b"")
            self.assertTrue(done.stderr.startswith(b"wlagent: "), done.stderr)

    def test_reply_is_one_json_object(self):
        with self.agent.client() as client:
            annotation = client.wrap(b"private options", f"key={self.key}")
        done = self.agent.run("keyprovider", stdin=harness.unwrap_request(annotation))
        reply = json.loads(done.stdout)
        self.assertEqual(harness.as_bytes(reply["keyunwrapresults"]["optsdata"]), b"private options")
