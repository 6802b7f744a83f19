# SPDX-License-Identifier: Apache-2.0
"""podman and buildah of Debian 13 push and pull encrypted images through the agent."""

import json

from images import ENCRYPTED, ImageTest, make_image, read_manifest


class Engines(ImageTest):
    def storage(self, engine, *words, check=True):
        return self.engine(engine, "--root", self.path("storage"), "--runroot", self.path("runroot"),
                           "--storage-driver", "vfs", *words, check=check)

    def pull(self, engine, source, check=True):
        return self.storage(engine, "pull", "--quiet", "--tls-verify=false", "--decryption-key",
                            "provider:wlagent", source, check=check)

    def diff_ids(self, image):
        done = self.storage("podman", "image", "inspect", "--format", "{{json .RootFS.Layers}}", image)
        return json.loads(done.stdout)

    def expected_diff_ids(self, manifest):
        digest = manifest["config"]["digest"].split(":")[1]
        with open(self.path(f"plain/blobs/sha256/{digest}"), encoding="utf-8") as config:
            return json.load(config)["rootfs"]["diff_ids"]

    def check_round_trip(self, engine, layers):
        """Pulls a plain image, pushes it encrypted, removes it, pulls it back decrypted."""
        manifest = make_image(self.path("plain"), layers)
        with self.registry() as registry:
            name = f"{registry}/image:v1"
            self.storage(engine, "pull", "--quiet", f"oci:{self.path('plain')}:v1")
            image = self.storage(engine, "images", "--quiet").stdout.decode().split()[0]
            self.storage(engine, "push", "--quiet", "--tls-verify=false", "--encryption-key",
                         f"provider:wlagent:key={self.key}", image, f"docker://{name}")
            self.storage(engine, "rmi", "--force", image)
            self.skopeo(f"docker://{name}", "oci:pushed:v1")
            self.assertEqual({each["mediaType"] for each in read_manifest(self.path("pushed"))["layers"]},
                             {ENCRYPTED})
            self.fresh_agent()
            self.pull(engine, name)
            self.assertEqual(self.diff_ids(name), self.expected_diff_ids(manifest))
        self.assertEqual(self.agent.counts(), (layers, 1))
        self.show_durations(engine)

    def test_podman_one_layer(self):
        self.check_round_trip("podman", 1)

    def test_podman_three_layers(self):
        self.check_round_trip("podman", 3)

    def test_podman_twenty_layers(self):
        self.check_round_trip("podman", 20)

    def test_buildah_one_layer(self):
        self.check_round_trip("buildah", 1)

    def test_buildah_three_layers(self):
        self.check_round_trip("buildah", 3)

    def test_buildah_twenty_layers(self):
        self.check_round_trip("buildah", 20)

    def pushed(self, registry, layers):
        """An encrypted image in the registry; returns its digest."""
        self.encrypted_image(layers)
        self.skopeo("--digestfile", self.path("digest"), "oci:encrypted:v1", f"docker://{registry}/image:v1")
        with open(self.path("digest"), encoding="ascii") as digest:
            return digest.read().strip()

    def test_pull_by_digest_fails_before_any_key_is_asked_for(self):
        """A limit of the engines: the manifest would have to change under its digest."""
        with self.registry() as registry:
            digest = self.pushed(registry, 3)
            before = self.agent.counts().unwraps
            for engine in ("podman", "buildah"):
                done = self.pull(engine, f"{registry}/image@{digest}", check=False)
                self.fails(done, "should be decrypted, but we can.t modify the manifest")
            self.assertEqual(self.agent.counts().unwraps, before)

    def test_refusal_reaches_the_user(self):
        with self.registry() as registry:
            self.pushed(registry, 3)
            self.agent.remove_key(self.key)
            self.fresh_agent()
            for engine in ("podman", "buildah"):
                done = self.pull(engine, f"{registry}/image:v1", check=False)
                self.fails(done, f"code = NotFound desc = .*{self.key}")

    def test_pulled_again_asks_again(self):
        with self.registry() as registry:
            self.pushed(registry, 3)
            before = self.agent.counts().unwraps
            self.pull("podman", f"{registry}/image:v1")
            self.pull("podman", f"{registry}/image:v1")
            self.assertEqual(self.agent.counts().unwraps - before, 6)
