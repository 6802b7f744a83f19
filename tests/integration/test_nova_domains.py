# SPDX-License-Identifier: Apache-2.0
"""Instances of Nova over registered images: what wlagentd asks wlagent-volumed for, and in which order."""

import hashlib
import json
import os
import subprocess
import uuid

import harness
from vms import Domain, VmTest

NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"


class Instance(Domain):
    def __init__(self, instances, image):
        super().__init__({})
        self.image = image
        self.glance = str(uuid.uuid4())
        self.path = os.path.join(instances, self.uuid, "disk")
        self.base = os.path.join(instances, "_base", hashlib.sha1(self.glance.encode()).hexdigest())
        for path in (self.path, self.base):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(image.path, self.base)
        os.rename(image.path + ".header", self.base + ".header")
        self.make_disk()

    def make_disk(self, size="1M"):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.base, "-F", "raw", self.path, size],
                       check=True)

    def backing(self):
        found = subprocess.run(["qemu-img", "info", "-U", "--output=json", self.path], capture_output=True, check=True)
        # None: it was read while it was changed.
        return json.loads(found.stdout).get("backing-filename")

    def xml(self, below="", root="image"):
        return (f"<domain type='kvm'><name>instance-1</name><uuid>{self.uuid}</uuid><metadata>"
                f"<nova:instance xmlns:nova='{NOVA}'><nova:root type='{root}' uuid='{self.glance}'/></nova:instance>"
                f"</metadata><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                f"<source file='{self.path}'/>{below}<target dev='vda' bus='virtio'/></disk></devices></domain>")


class Nova(VmTest):
    LIBVIRT = {"LaunchTimeoutSeconds": 15}

    def setUp(self):
        super().setUp()
        self.instance = Instance(os.path.join(self.directory, "instances"), self.image)
        self.mapping = "/dev/mapper/" + self.image.mapping
        self.register()

    def register(self):
        self.agent.run("image", "register", self.instance.glance, "--header", self.instance.base + ".header")

    def starts(self):
        self.allowed("prepare", self.instance)
        self.assertEqual(self.instance.backing(), self.mapping)
        self.assertEqual(self.volumed.held(), [self.image.mapping])
        self.allowed("start", self.instance)
        self.volumed.qemu_opens(self.image.mapping)
        self.allowed("started", self.instance)
        harness.poll(lambda: not self.volumed.held(), "the lease to end")

    def stops(self):
        self.volumed.qemu_ends(self.image.mapping)
        self.allowed("stopped", self.instance)
        self.allowed("release", self.instance)
        # libvirt, and Nova after it, hear of the end when the disk is Nova's again.
        self.assertEqual(self.instance.backing(), self.instance.base)
        self.nothing_is_left(self.instance)

    def test_from_prepare_to_release(self):
        for _ in range(2):
            self.starts()
            vm = self.vm(self.instance)
            self.assertEqual((vm["state"], vm["disks"][0]["mode"], vm["disks"][0]["device"]), ("running", "nova", self.mapping))
            self.stops()
        self.assertEqual(self.volumed.order()[:5], ["INSPECT_IMAGE", "OPEN_IMAGE", "REBASE", "END", "REBASE"])

    def test_libvirt_names_the_image_below(self):
        below = (f"<backingStore type='block'><format type='raw'/><source dev='{self.mapping}'/>"
                 "<backingStore/></backingStore>")
        self.allowed("prepare", self.instance)
        plain = self.instance.xml
        self.instance.xml = lambda: plain(below)
        self.allowed("start", self.instance)
        self.instance.xml = lambda: plain(below, root="volume")
        self.refused_start("start", self.instance, "input", "is not registered")
        self.instance.xml = plain
        self.allowed("release", self.instance)

    def test_images_that_are_not_registered(self):
        os.unlink(os.path.join(self.agent.state, "images", self.instance.glance + ".header"))
        self.allowed("prepare", self.instance)
        self.assertEqual(self.volumed.order(), [])
        self.assertEqual(self.instance.backing(), self.instance.base)

    def test_refused(self):
        os.unlink(self.instance.path)
        self.refused_start("prepare", self.instance, "not-found", "the disk does not exist")
        self.nothing_is_left(self.instance)
        self.instance.make_disk("32k")
        self.refused_start("prepare", self.instance, "input", "has 32768 bytes, its image has 65536")
        self.nothing_is_left(self.instance)
        plain = self.instance.xml
        self.instance.xml = lambda: plain().replace(self.instance.path, "/dev/disk")
        self.refused_start("prepare", self.instance, "unsupported", "not a file of this instance")
        self.instance.xml = lambda: plain().replace("</metadata>", (
            '<w:protected xmlns:w="urn:wlagent:domain:1"><w:disk target="vda" mode="layer" '
            f'image="{self.instance.base}"/></w:protected></metadata>')).replace("</devices>", (
                f"<disk type='block'><driver type='qcow2'/><source dev='/dev/mapper/{self.instance.mapping()}'/>"
                "<target dev='vda'/></disk></devices>"))
        self.refused_start("prepare", self.instance, "input", "disk vda is there twice")
        self.assertEqual(self.instance.backing(), self.instance.base)

    def test_the_agent_is_restarted_while_it_runs(self):
        self.starts()
        self.agent.stop()
        self.agent.start()
        harness.poll(lambda: self.vm(self.instance), "the record to be read")
        self.stops()

    def test_the_agent_was_down_at_its_end(self):
        self.starts()
        self.agent.stop(9)
        self.volumed.qemu_ends(self.image.mapping)
        self.assertEqual(self.instance.backing(), self.mapping)
        self.agent.start()
        self.starts()
        self.stops()

    def test_the_next_start_waits_for_the_return(self):
        self.starts()
        self.volumed.qemu_ends(self.image.mapping)
        self.allowed("stopped", self.instance)
        self.volumed.fault("REBASE", "hang", 1)
        release = self.ask("release", self.instance)
        harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
        self.volumed.forget_order()
        self.starts()
        self.assertEqual(self.volumed.order()[:3], ["INSPECT_IMAGE", "OPEN_IMAGE", "REBASE"])
        self.assertEqual(release.answer().code, "timeout")
        self.stops()

    def test_what_was_done_without_an_answer_is_undone(self):
        self.volumed.fault("REBASE", "late", 1)
        start = self.ask("prepare", self.instance)
        harness.poll(lambda: self.instance.backing() == self.mapping, "the disk to name the mapping")
        start.hang_up()
        self.nothing_is_left(self.instance)
        self.assertEqual(self.instance.backing(), self.instance.base)

        self.volumed.fault("REBASE", "lost", 1)
        self.refused_start("prepare", self.instance, "unavailable", "hung up")
        self.assertEqual(self.instance.backing(), self.instance.base)
        self.nothing_is_left(self.instance)
        self.starts()
        self.stops()

    def test_volumed_refuses_in_between(self):
        self.volumed.fault("REBASE", "refuse")
        self.refused_start("prepare", self.instance, "denied", "refused by the test")
        self.nothing_is_left(self.instance)
        self.assertEqual(self.instance.backing(), self.instance.base)
        self.volumed.fault()
        self.starts()
        self.stops()


if __name__ == "__main__":
    harness.unittest.main()
