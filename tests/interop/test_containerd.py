# SPDX-License-Identifier: Apache-2.0
"""containerd of Debian 13 pulls encrypted images through its CRI, as kubelet has it do; ctd-decoder asks
the agent for each layer's key."""

import contextlib
import os
import shutil
import subprocess
import unittest

import grpc

import harness
from images import ImageTest, file_of_layer, read_manifest

CONTAINERD_HOST = os.path.join(harness.TOP, "tests", "interop", "containerd-host")
OCICRYPT = os.path.join(harness.TOP, "packaging", "ocicrypt")
LIST_IMAGES = "/runtime.v1.ImageService/ListImages"
PULL_IMAGE = "/runtime.v1.ImageService/PullImage"

# Sections that are not here are containerd's defaults, its stream processors among them.
CONFIG = """version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
"""


class ContainerdTest(ImageTest):
    """An encrypted image in a registry, and a containerd that has not seen it."""

    layers = 3

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not os.path.exists(os.path.join(cls.root, "usr/bin/ctd-decoder")):
            raise unittest.SkipTest("this distribution has no ctd-decoder")

    def setUp(self):
        super().setUp()
        self.encrypted_image(self.layers)
        self.name = f"{self.enterContext(self.registry())}/image"
        self.skopeo("--digestfile", "digest", "oci:encrypted:v1", f"docker://{self.name}:v1")
        self.fresh_agent()
        self.channel = self.enterContext(self.containerd())

    @contextlib.contextmanager
    def containerd(self):
        """Yields a channel to its CRI."""
        directory = self.path("containerd")
        listens = os.path.join(directory, "containerd.sock")
        os.mkdir(directory)
        with open(os.path.join(directory, "config.toml"), "w", encoding="utf-8") as out:
            out.write(CONFIG.format(directory=directory))
        # Where containerd runs, this source tree may not be.
        packaging = shutil.copytree(OCICRYPT, self.path("packaging"))
        host = shutil.copy(CONTAINERD_HOST, self.directory)
        with open(self.path("containerd.log"), "wb") as log:
            process = subprocess.Popen(self.command(host, directory, packaging, self.agent.run_directory),
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            # A channel that finds no socket is in no hurry to try again.
            harness.poll(lambda: process.poll() is not None or harness.connects(listens), "containerd to listen")
            with grpc.insecure_channel(f"unix:{listens}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                harness.poll(lambda: process.poll() is not None or serves(channel), "containerd's CRI")
                self.assertIsNone(process.poll(), "containerd has ended, see its log")
                yield channel
        finally:
            process.terminate()
            process.wait()

    def pull(self, suffix=":v1"):
        """As crictl pull does."""
        request = harness.protobuf(harness.protobuf(f"{self.name}{suffix}".encode()))
        self.channel.unary_unary(PULL_IMAGE)(request, timeout=60)

    def refusal(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.pull()
        return caught.exception.details()

    def refused_pulls(self, pattern):
        """How many pulls failed until the message had this. About one in ten has none: containerd may see the
        end of ctd-decoder's output before its exit code, and then blames the layer."""
        for pulls in range(1, 11):
            message = self.refusal()
            if "wrong diff id calculated on extraction" not in message:
                break
        self.assertRegex(message, pattern)
        return pulls

    def unpacked(self):
        """The files of the image in containerd's last snapshot."""
        snapshots = self.path("containerd/root/io.containerd.snapshotter.v1.native/snapshots")
        last = max(os.listdir(snapshots), key=int)
        found = {}
        for name in os.listdir(os.path.join(snapshots, last)):
            with open(os.path.join(snapshots, last, name), "rb") as file:
                found[name] = file.read()
        return found

    def assert_unpacked(self):
        self.assertEqual(self.unpacked(), dict(file_of_layer(number) for number in range(self.layers)))


def serves(channel):
    try:
        channel.unary_unary(LIST_IMAGES)(b"", timeout=20)
    except grpc.RpcError:
        return False
    return True


class Pulls(ContainerdTest):
    def test_each_layer_is_a_process_and_a_call(self):
        self.pull()
        self.assert_unpacked()
        self.assertEqual(self.agent.counts(), (self.layers, 1))
        events = self.agent.events(operation="unwrap", error_code="ok")
        self.assertEqual(len({event["peer_pid"] for event in events}), self.layers)

    def test_pulled_again_asks_nobody(self):
        """A limit of containerd: what it has unpacked needs no key any more."""
        self.pull()
        self.fresh_agent()
        self.pull()
        self.assertEqual(self.agent.counts().unwraps, 0)

    def test_by_digest(self):
        """Other than CRI-O and podman, containerd keeps the encrypted blobs, and so their digests."""
        with open(self.path("digest"), encoding="ascii") as digest:
            self.pull(f"@{digest.read().strip()}")
        self.assert_unpacked()
        self.assertEqual(self.agent.counts().unwraps, self.layers)


class ManyLayers(ContainerdTest):
    layers = 20

    def test_twenty_layers_cost_one_tpm_operation(self):
        self.pull()
        self.assert_unpacked()
        self.assertEqual(self.agent.counts(), (self.layers, 1))
        self.show_durations("containerd")


class Refusals(ContainerdTest):
    def test_unknown_key(self):
        """The agent's text is what kubectl describe shows. Layers wait for each other: one call ends a pull."""
        self.agent.remove_key(self.key)
        self.fresh_agent()
        pulls = self.refused_pulls(f"missing private key needed for decryption(.|\n)*code = NotFound desc = .*{self.key}")
        self.assertEqual(self.agent.counts().unwraps, pulls)

    def test_agent_returns_after_it_was_down(self):
        self.agent.stop()
        self.refused_pulls("code = Unavailable desc = .*/run/workload-agent/wlagent.sock")
        self.agent.start()
        self.pull()
        self.assert_unpacked()


class OwnersTool(ContainerdTest):
    """ctr-imgcrypt, upstream's ctr-enc: images that are encrypted where containerd keeps them."""

    def ctr(self, *words):
        self.engine("ctr-imgcrypt", "--address", self.path("containerd/containerd.sock"), "images", *words)

    def image(self, name):
        return f"{os.path.dirname(self.name)}/{name}:v1"

    def pull(self, name, *options):
        self.ctr("pull", "--plain-http", "--snapshotter", "native", *options, name)

    def test_encrypts_for_skopeo(self):
        self.skopeo("oci:plain:v1", f"docker://{self.image('plain')}")
        self.pull(self.image("plain"))
        self.ctr("encrypt", "--recipient", f"provider:wlagent:key={self.key}", self.image("plain"), self.image("made"))
        self.ctr("push", "--plain-http", self.image("made"))
        self.decrypt(f"docker://{self.image('made')}", "oci:decrypted:v1")
        self.assert_same_layers(read_manifest(self.path("plain")), "decrypted")
        self.assertEqual(self.agent.counts(), (self.layers, 1))

    def test_decrypts_what_skopeo_encrypted(self):
        self.pull(self.image("image"), "--key", "provider:wlagent")
        self.assert_unpacked()
        self.ctr("decrypt", "--key", "provider:wlagent", self.image("image"), self.image("opened"))
        self.ctr("push", "--plain-http", self.image("opened"))
        self.skopeo(f"docker://{self.image('opened')}", "oci:opened:v1")
        self.assert_same_layers(read_manifest(self.path("plain")), "opened")
        self.assertEqual(self.agent.counts().tpm, 1)
