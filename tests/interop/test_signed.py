# SPDX-License-Identifier: Apache-2.0
"""Encrypted images that are signed, on a host whose policy accepts no others."""

import json
import os

from images import ImageTest


class Signed(ImageTest):
    def setUp(self):
        super().setUp()
        self.plain = self.encrypted_image(3)
        self.registry_address = self.enterContext(self.registry())
        self.name = f"{self.registry_address}/image:v1"
        self.demand_signatures()
        self.skopeo("--sign-by-sigstore-private-key", "signer.private", "--sign-passphrase-file", "passphrase",
                    "--sign-identity", self.name, "oci:encrypted:v1", f"docker://{self.name}")
        self.fresh_agent()

    def demand_signatures(self):
        """What the engines find in their user's home goes before what is in /etc."""
        with open(self.path("passphrase"), "w", encoding="ascii") as out:
            out.write("passphrase")
        self.engine("skopeo", "generate-sigstore-key", "--output-prefix", "signer", "--passphrase-file", "passphrase")
        home = self.path(".config/containers")
        os.makedirs(os.path.join(home, "registries.d"))
        with open(os.path.join(home, "registries.d", "image.yaml"), "w", encoding="utf-8") as out:
            json.dump({"docker": {self.registry_address: {"use-sigstore-attachments": True}}}, out)
        signed = {"type": "sigstoreSigned", "keyPath": self.path("signer.pub"),
                  "signedIdentity": {"type": "matchRepository"}}
        anything = {"type": "insecureAcceptAnything"}
        with open(os.path.join(home, "policy.json"), "w", encoding="utf-8") as out:
            json.dump({"default": [{"type": "reject"}],
                       "transports": {"docker": {self.registry_address: [signed]}, "oci": {"": [anything]}}}, out)

    def test_podman_and_buildah_fail_before_any_key_is_asked_for(self):
        """A limit of the engines: the signature would not fit the decrypted image."""
        for engine in ("podman", "buildah"):
            done = self.engine(engine, "--root", self.path("storage"), "--runroot", self.path("runroot"),
                               "--storage-driver", "vfs", "pull", "--quiet", "--tls-verify=false",
                               "--decryption-key", "provider:wlagent", self.name, check=False)
            self.fails(done, "Would invalidate signatures")
        self.assertEqual(self.agent.counts().unwraps, 0)

    def test_skopeo_checks_the_signature_and_leaves_it_behind(self):
        done = self.decrypt(f"docker://{self.name}", "oci:refused:v1", check=False)
        self.fails(done, "Can not copy signatures")
        self.assertEqual(self.agent.counts().unwraps, 0)
        self.skopeo("--remove-signatures", "--decryption-key", "provider:wlagent", f"docker://{self.name}",
                    "oci:decrypted:v1")
        self.assert_same_layers(self.plain, "decrypted")
        self.assertEqual(self.agent.counts().unwraps, 3)

    def test_an_unsigned_image_is_refused_before_any_key_is_asked_for(self):
        other = f"{self.registry_address}/unsigned:v1"
        self.skopeo("oci:encrypted:v1", f"docker://{other}")
        done = self.skopeo("--remove-signatures", "--decryption-key", "provider:wlagent", f"docker://{other}",
                           "oci:decrypted:v1", check=False)
        self.fails(done, "signature was required")
        self.assertEqual(self.agent.counts().unwraps, 0)
