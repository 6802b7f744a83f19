# SPDX-License-Identifier: Apache-2.0
"""Instances of Nova whose images Intel's tool for owners has encrypted: Glance has the ISecL-VMC file, WLS key and flavor
under the same UUID, and wlagent-volumed converts it once. The services are the double of tests/doubles/isecl."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import types
import uuid

import foreign_formats
import harness
from isecl_case import HARDWARE, double
from test_flavors import WLS, FlavorTest, digest_of
from test_nova_domains import Instance
from vms import Domain, Image

SIZE = 65536
MARKER = b"plaintext of the image from Glance"


class IntelInstance(Instance):
    """Its image is what Glance has under that UUID, in Nova's cache."""

    def __init__(self, instances, glance, size="1M"):
        Domain.__init__(self, {})
        self.glance = glance
        self.path = os.path.join(instances, self.uuid, "disk")
        self.base = os.path.join(instances, "_base", hashlib.sha1(glance.encode()).hexdigest())
        for path in (self.path, self.base):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        self.make_disk(size)

    def make_disk(self, size="1M"):
        # Nova has the image first, and it is not there in all tests.
        subprocess.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", self.base, "-F", "raw", self.path, size],
                       check=True)

    def backing_format(self):
        found = subprocess.run(["qemu-img", "info", "-U", "--output=json", self.path], capture_output=True, check=True)
        return json.loads(found.stdout)["backing-filename-format"]


class NovaIsecl(FlavorTest):
    def setUp(self):
        super().setUp()
        self.instances = os.path.join(self.directory, "instances")
        self.instance = self.new_instance(str(uuid.uuid4()))
        self.put(MARKER.ljust(SIZE, b"."))
        self.register()

    def new_instance(self, glance, **options):
        return IntelInstance(self.instances, glance, **options)

    def put(self, plaintext, key=None, known=True):
        """What Nova fetches is what WLS has the flavor of."""
        # Nova writes another file and renames it.
        fetched = foreign_formats.write_isecl(self.instance.base + ".part", plaintext, key or self.secret.bytes)
        os.rename(fetched, self.instance.base)
        if known:
            self.describe(self.instance.glance)

    def describe(self, glance, **flavor):
        self.flavor = double.add_flavor(label=str(uuid.uuid4()), **{
            "key_id": self.secret.id, "digest": digest_of(self.instance.base), **flavor})
        double.add_image(flavor_ids=[self.flavor["id"]], id=glance)

    def register(self, glance=None, *options, **how):
        return self.agent.run("image", "register", glance or self.instance.glance, "--wls", *options, **how)

    def listed(self):
        return json.loads(self.agent.run("image", "list", "--json").stdout)["images"]

    def converted(self):
        """What is there of conversions, finished or not."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(os.path.join(self.volumed.directory, "converted")))
        return []

    def mapping(self):
        info = json.loads(self.agent.run("image", "info", "--json", self.instance.base).stdout)
        return "wlagent-image-" + info["uuid"]

    def starts(self, instance=None):
        instance = instance or self.instance
        self.volumed.forget_order()
        self.allowed("prepare", instance)
        self.assertEqual(instance.backing(), "/dev/mapper/" + self.mapping())
        self.allowed("start", instance)
        return self.volumed.order()

    def ends(self, instance=None):
        instance = instance or self.instance
        self.allowed("release", instance)
        self.assertEqual(instance.backing(), instance.base)
        self.forgotten(instance)

    def refused(self, code, pattern, instance=None):
        """Nothing is opened, changed, or left."""
        instance = instance or self.instance
        before = self.converted()
        text = self.refused_all(code, pattern, instance)
        self.assertEqual((self.volumed.held(), instance.backing()), ([], instance.base))
        self.assertEqual(self.converted(), before)
        return text

    def test_one_conversion_for_all_starts_and_instances(self):
        self.assertEqual(self.starts(), ["INSPECT_IMAGE", "CONVERT_IMAGE", "DIGEST_IMAGE", "OPEN_IMAGE", "REBASE"])
        (disk,) = self.vm(self.instance)["disks"]
        self.assertEqual((disk["mode"], disk["key_id"], disk["device"]),
                         ("nova", WLS + self.instance.glance, "/dev/mapper/" + self.mapping()))
        self.assertEqual(disk["flavor"], {
            "id": self.flavor["id"], "image": self.instance.glance, "encryption_required": True,
            "integrity_enforced": False, "signature_verified": True, "digest_verified": True})
        self.assertEqual(self.instance.backing_format(), "raw")

        second = self.new_instance(self.instance.glance)
        opened = ["INSPECT_IMAGE", "DIGEST_IMAGE", "OPEN_IMAGE", "REBASE"]
        self.assertEqual(self.starts(second), opened)
        self.assertEqual(self.volumed.held(), [self.mapping()])
        self.ends()
        self.assertEqual(second.backing(), "/dev/mapper/" + self.mapping())
        self.ends(second)
        self.assertEqual(self.starts(), opened)
        self.ends()

        # The key is asked for each time, and nothing is opened with an answer from before.
        self.assertEqual(self.calls("wls.flavor_key"), 3)
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused("denied", "HVS does not trust this host")
        self.assertEqual(len(self.converted()), 2)
        self.assertEqual(subprocess.run(["grep", "-rlaF", MARKER.decode(), self.directory], stdout=subprocess.PIPE,
                                        check=False).stdout, b"")

    def test_a_qcow2_inside(self):
        plain = os.path.join(self.directory, "plain.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", plain, "512k"], check=True)
        with open(plain, "rb") as file:
            self.put(file.read())
        self.starts()
        self.assertEqual(self.instance.backing_format(), "qcow2")
        self.ends()
        self.assertEqual(self.instance.backing_format(), "raw")

        self.instance.make_disk("256k")
        self.refused_start("prepare", self.instance, "input", "the instance's disk has 262144 bytes, its image has 524288")
        self.nothing_is_left(self.instance)
        self.assertEqual(self.instance.backing(), self.instance.base)

    def test_what_wls_says_of_it(self):
        stranger = self.new_instance(str(uuid.uuid4()))
        shutil.copy(self.instance.base, stranger.base)
        self.register(stranger.glance)
        self.refused("not-found", "WLS has no flavor for the image(?!, or)", stranger)

        self.describe(stranger.glance, digest=digest_of(__file__))
        # Its key is the right one, so it has been converted; it is not opened.
        text = self.refused_all("denied", f"is not the one that flavor {self.flavor['id']} is for", stranger)
        self.assertIn(stranger.base, text)
        self.answers(other_key=True)
        self.refused("denied", "the volume key does not open with", stranger)
        self.answers(json={"signature": ""})
        self.refused("denied", "the flavor is not signed")
        double.clear_faults()
        self.starts()
        self.ends()

    def test_what_does_not_verify(self):
        self.answers(other_key=True)
        self.refused("denied", "disk vda: the image .*: converting the image: .*(tag|authentic)")
        double.clear_faults()
        self.assertEqual(self.converted(), [])
        for at in (-1, 50):
            foreign_formats.flip(self.instance.base, at)
            self.describe(str(uuid.uuid4()))
            other = self.new_instance(str(uuid.uuid4()))
            shutil.copy(self.instance.base, other.base)
            self.describe(other.glance)
            self.register(other.glance)
            self.refused("denied", "converting the image: ", other)
            self.assertEqual(self.converted(), [])
            foreign_formats.flip(self.instance.base, at)
        self.starts()
        self.ends()

    def test_an_image_that_is_replaced(self):
        self.starts()
        self.ends()
        # In place, behind header and tag: the conversion is the same, the file is not.
        foreign_formats.flip(self.instance.base, 50)
        self.refused("denied", "is not the one that flavor")
        foreign_formats.flip(self.instance.base, 50)
        # By another one of the same owner and key.
        self.put(b"another image".ljust(SIZE, b"."), known=False)
        self.refused_all("denied", "is not the one that flavor", self.instance)
        self.assertEqual((self.volumed.held(), self.instance.backing()), ([], self.instance.base))
        # By one of our own, and by none at all.
        ours = Image(os.path.join(self.directory, "ours.img"), self.secret.url, self.secret.bytes)
        for name in ("", ".header"):
            os.rename(ours.path + name, self.instance.base + name)
        self.refused("unsupported", "registered without a header, and not in Intel's format")
        os.unlink(self.instance.base + ".header")
        self.refused("input", "registered as one in Intel's format: the image has no header.*image register --force")
        os.unlink(self.instance.base)
        self.refused("not-found", "does not exist")

    def test_one_file_under_two_names(self):
        """As when an image is uploaded once more: the conversion stays, each name has its own flavor."""
        self.starts()
        self.ends()
        again = self.new_instance(str(uuid.uuid4()))
        shutil.copy(self.instance.base, again.base)
        self.register(again.glance)
        self.describe(again.glance)
        self.assertNotIn("CONVERT_IMAGE", self.starts(again))
        self.assertEqual(self.vm(again)["disks"][0]["flavor"]["image"], again.glance)
        self.ends(again)

    def test_the_line_of_a_domain_names_the_key(self):
        """Whoever has opened the image the first time: nothing in it names one."""
        self.starts()
        self.ends()
        domain = Domain({"vda": (types.SimpleNamespace(path=self.instance.base), "layer")}, key=self.secret.url)
        double.reset_counters()
        self.allowed("prepare", domain)
        (disk,) = self.vm(domain)["disks"]
        self.assertEqual((disk["key_id"], disk.get("flavor")), (self.secret.url, None))
        self.assertEqual((self.calls("wls.keys"), self.calls("wls.flavor_key")), (1, 0))
        self.allowed("release", domain)
        self.forgotten(domain)

    def test_the_agent_is_killed_meanwhile(self):
        self.volumed.fault("CONVERT_IMAGE", "late", 1)
        start = self.ask("prepare", self.instance)
        harness.poll(lambda: len(self.converted()) == 2, "the conversion")
        self.agent.stop(9)
        start.hang_up()
        self.start()
        harness.poll(lambda: self.vm(self.instance) is None, "the instance to be forgotten")
        self.assertEqual(self.instance.backing(), self.instance.base)
        self.assertNotIn("CONVERT_IMAGE", self.starts())

        self.allowed("started", self.instance)
        self.volumed.qemu_opens(self.mapping())
        self.instance.runs()
        self.agent.stop(9)
        shutil.rmtree(os.path.join(self.agent.run_directory, "vms"))
        self.start()
        below = (f"<backingStore type='block'><format type='raw'/><source dev='/dev/mapper/{self.mapping()}'/>"
                 "<backingStore/></backingStore>")
        plain = self.instance.xml
        self.allowed("reconnect", self.instance)
        self.assertIsNone(self.vm(self.instance))
        self.assertIn("nothing says which image is below it", self.agent.log_text())
        self.instance.xml = lambda: plain(below)
        self.allowed("reconnect", self.instance)
        self.assertEqual(self.vm(self.instance)["disks"][0]["device"], "/dev/mapper/" + self.mapping())
        self.instance.dies()
        self.volumed.qemu_ends(self.mapping())
        self.ends()

    def test_a_conversion_that_takes_too_long(self):
        self.agent.stop()
        self.launch_seconds = 8
        self.start()
        self.volumed.fault("CONVERT_IMAGE", "hang", 1)
        self.refused("timeout", "it is being converted, which takes longer than a start can wait")
        self.agent.stop()
        self.launch_seconds = 60
        self.start()
        self.starts()
        self.ends()
        os.truncate(self.instance.base, (8 << 30) + 4096)
        self.refused("unsupported", "to convert 8589938688 bytes takes longer than a start can wait")
        self.assertNotIn("CONVERT_IMAGE", self.volumed.order())

    def test_registration(self):
        glance = self.instance.glance
        self.assertEqual(self.listed(), [{"image": glance, "wls": True, "format": "isecl", "key": WLS + glance}])
        self.assertRegex(self.agent.run("image", "list").stdout.decode(), f"{glance} +in Intel's format  {WLS}{glance}  .by WLS.")
        self.fails(self.register(check=False), r"is registered already\n.*--force")
        done = self.agent.run("image", "register", str(uuid.uuid4()), check=False)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr.decode(), "option --header is missing\n.*registered with --wls")
        self.fails(self.register("670f263e-b34e-1e07-a520-40ac9a89f62d", check=False), "UUIDs of version 4")

        # A registration that lost its marker is not one without a flavor.
        os.unlink(os.path.join(self.agent.state, "images", glance + ".wls"))
        self.refused("input", "is empty .*image register --force")
        self.assertEqual(self.agent.run("image", "list", check=False).returncode, 1)
        self.register(glance, "--force")
        self.starts()
        self.ends()
        self.agent.run("image", "unregister", glance)
        self.assertEqual(os.listdir(os.path.join(self.agent.state, "images")), [])
        self.allowed("prepare", self.instance)
        self.assertIsNone(self.vm(self.instance))


if __name__ == "__main__":
    harness.unittest.main()
