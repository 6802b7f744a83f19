# SPDX-License-Identifier: Apache-2.0
"""containerd's stream processor for encrypted layers, ctd-decoder, through the agent.

containerd starts one such process for each layer, one after the other, with the layer on standard input
and what to do on descriptor 3."""

import json
import os
import subprocess

import harness
from images import ImageTest, read_manifest

PAYLOAD_TYPE = b"io.containerd.ocicrypt.v1.Payload"


def payload(descriptor):
    """A google.protobuf.Any with the JSON that imgcrypt reads."""
    value = json.dumps({"DecryptConfig": {"Parameters": None}, "Descriptor": descriptor}).encode()
    return b"".join(tag + harness.varint(len(data)) + data for tag, data in ((b"\x0a", PAYLOAD_TYPE), (b"\x12", value)))


class Decoder(ImageTest):
    def setUp(self):
        super().setUp()
        if not os.path.exists(os.path.join(self.root, "usr/bin/ctd-decoder")):
            self.skipTest("there is no ctd-decoder here")

    def blob(self, layout, descriptor):
        return self.path(f"{layout}/blobs/sha256/{descriptor['digest'].split(':')[1]}")

    def decode(self, descriptor):
        with open(self.path("payload"), "wb") as out:
            out.write(payload(descriptor))
        return subprocess.run(self.command("sh", "-c", 'exec ctd-decoder 3<"$1" <"$2"', "sh", self.path("payload"),
                                           self.blob("encrypted", descriptor)),
                              stdin=subprocess.DEVNULL, capture_output=True, env=self.environment(), timeout=60, check=False)

    def test_layers_are_decrypted(self):
        plain = self.encrypted_image(3)
        before = self.agent.counts().unwraps
        for encrypted, original in zip(read_manifest(self.path("encrypted"))["layers"], plain["layers"]):
            done = self.decode(encrypted)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(self.blob("plain", original), "rb") as blob:
                self.assertEqual(done.stdout, blob.read())
        self.assertEqual(self.agent.counts().unwraps - before, 3)

    def test_refusal_reaches_the_user(self):
        self.encrypted_image(1)
        self.agent.remove_key(self.key)
        done = self.decode(read_manifest(self.path("encrypted"))["layers"][0])
        self.fails(done, f"code = NotFound desc = .*{self.key}")
        self.assertEqual(done.stdout, b"")
