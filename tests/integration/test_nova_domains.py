# SPDX-License-Identifier: Apache-2.0
"""Instances of Nova over registered images: what wlagentd asks wlagent-volumed for, and in which order."""

import fcntl
import hashlib
import json
import os
import shutil
import struct
import subprocess
import uuid

import harness
from vms import Domain, VmTest

NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"


# As raw_open_common() and raw_apply_lock_bytes() in QEMU's block/file-posix.c have it.
F_OFD_SETLK = 37
QEMU_LOCKS = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0)


HOOK = os.path.join(harness.BUILD, "hooks", "hook-below-cwd")


class Instance(Domain):
    running = None

    def runs(self):
        """As far as others see it: QEMU has its disk open."""
        self.running = open(self.path, "r+b")
        fcntl.fcntl(self.running, F_OFD_SETLK, QEMU_LOCKS)

    def dies(self):
        self.running.close()

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


class NovaTest(VmTest):
    LIBVIRT = {"LaunchTimeoutSeconds": 15}

    def setUp(self):
        super().setUp()
        self.instance = Instance(os.path.join(self.directory, "instances"), self.image)
        self.mapping = "/dev/mapper/" + self.image.mapping
        self.register()

    def register(self):
        self.agent.run("image", "register", self.instance.glance, "--header", self.instance.base + ".header")


class Nova(NovaTest):
    def starts(self, instance=None):
        instance = instance or self.instance
        self.allowed("prepare", instance)
        self.assertEqual(instance.backing(), self.mapping)
        self.assertEqual(self.volumed.held(), [self.image.mapping])
        self.allowed("start", instance)
        self.volumed.qemu_opens(self.image.mapping)
        instance.runs()
        self.allowed("started", instance)
        harness.poll(lambda: not self.volumed.held(), "the lease to end")

    def another(self):
        """An instance of the same image, beside the first one."""
        other = Instance.__new__(Instance)
        Domain.__init__(other, {})
        other.image, other.glance, other.base = self.instance.image, self.instance.glance, self.instance.base
        other.path = self.instance.path.replace(self.instance.uuid, other.uuid)
        os.makedirs(os.path.dirname(other.path))
        other.make_disk()
        return other

    def stops(self):
        self.volumed.qemu_ends(self.image.mapping)
        self.instance.dies()
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
        self.instance.dies()
        self.assertEqual(self.instance.backing(), self.mapping)
        self.agent.start()
        self.nothing_is_left(self.instance)
        self.assertEqual(self.instance.backing(), self.instance.base)
        self.starts()
        self.stops()

    def test_the_agent_was_down_at_the_end_of_one_of_two(self):
        """The mapping is open for the other one, and says nothing."""
        other = self.another()
        self.starts()
        self.starts(other)
        self.agent.stop(9)
        self.instance.dies()
        self.agent.start()
        harness.poll(lambda: self.vm(self.instance) is None, "the instance to be forgotten", 10)
        self.assertEqual(self.instance.backing(), self.instance.base)
        self.assertEqual((self.vm(other)["state"], other.backing()), ("running", self.mapping))
        other.dies()
        self.allowed("release", other)
        self.assertEqual(other.backing(), other.base)

    def test_nobody_can_say_whether_it_runs(self):
        """Then it may: nothing is concluded."""
        self.starts()
        self.agent.stop(9)
        self.volumed.fault("REBASE", "lost", 1)
        self.agent.start()
        harness.poll(lambda: "still names the mapping" in self.agent.log_text(), "volumed to be asked")
        self.assertEqual(self.vm(self.instance)["state"], "running")
        self.stops()

    def test_something_else_has_its_disk_in_use(self):
        """volumed answers busy: then it may run, until somebody has asked again."""
        other = self.another()
        self.starts()
        self.starts(other)
        self.agent.stop(9)
        self.instance.dies()
        other.dies()
        self.volumed.fault("REBASE", "busy")
        self.agent.start()
        harness.poll(lambda: self.agent.log_text().count("still names the mapping") == 2, "volumed to be asked")
        self.assertEqual((self.vm(self.instance)["state"], self.vm(other)["state"]), ("running", "running"))
        self.volumed.fault()
        harness.poll(lambda: not self.vms(), "both to be forgotten", 45)
        self.assertEqual((self.instance.backing(), other.backing()), (self.instance.base, other.base))

    def test_it_ends_while_volumed_is_asked_whether_it_runs(self):
        other = self.another()
        self.starts()
        self.starts(other)
        self.agent.stop(9)
        self.volumed.fault("REBASE", "hang", 2)
        self.agent.start()
        harness.poll(lambda: self.volumed.order().count("FAULT") == 2, "volumed to hang")
        self.instance.dies()
        release = self.ask("release", self.instance)
        self.assertIn(release.answer().code, ("ok", "timeout"))
        harness.poll(lambda: self.instance.backing() == self.instance.base, "the disk to be given back", 15)
        self.assertEqual((self.vm(other)["state"], other.backing()), ("running", self.mapping))
        harness.poll(lambda: self.vm(self.instance) is None, "the instance to be forgotten", 10)

    def test_libvirt_finds_it_running_and_its_record_is_lost(self):
        self.starts()
        self.agent.stop(9)
        shutil.rmtree(os.path.join(self.agent.run_directory, "vms"))
        self.agent.start()
        self.allowed("reconnect", self.instance)
        vm = self.vm(self.instance)
        self.assertEqual((vm["state"], vm["disks"][0]["mode"], vm["disks"][0]["device"]), ("running", "nova", self.mapping))
        self.stops()

    def test_it_never_started(self):
        """libvirt was killed after prepare, and tells nothing."""
        self.agent.stop()
        self.agent.write_config(Libvirt={**self.LIBVIRT, "LeaseSeconds": 5})
        self.agent.start()
        self.allowed("prepare", self.instance)
        harness.poll(lambda: not self.volumed.held(), "the lease to end", 15)
        self.nothing_is_left(self.instance)
        self.assertEqual(self.instance.backing(), self.instance.base)

    def test_the_next_start_waits_for_the_return(self):
        self.starts()
        self.volumed.qemu_ends(self.image.mapping)
        self.instance.dies()
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


class BelowAnotherStateDirectory(NovaTest):
    """libvirt's hook finds no registered image where it looks for them: that one is below, it has from wlagentd."""

    LIBVIRT = {"LaunchTimeoutSeconds": 4}

    def hook(self, operation, domain=None):
        self.assertFalse(os.path.exists(os.path.join(self.agent.run_directory, "images")))
        return subprocess.run([HOOK, "instance-1", operation, "begin", "-"], cwd=self.agent.run_directory, check=False,
                              input=(domain or self.instance).xml(), capture_output=True, text=True)

    def refused_by_hook(self, operation, pattern):
        done = self.hook(operation)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(self.hook(operation, Domain({})).returncode, 0)

    def test_it_is_refused_whatever_is_wrong(self):
        self.volumed.fault("INSPECT_IMAGE", "hang")  # longer than a domain waits that nobody protects
        self.refused_by_hook("prepare", "^wlagent: .*not .* in time|wlagent-volumed")
        self.volumed.fault()
        self.volumed.stop()
        self.refused_by_hook("prepare", "wlagent-volumed is not running")
        shutil.move(self.instance.path, self.instance.path + ".elsewhere")
        self.instance.path += ".elsewhere"
        self.refused_by_hook("start", "image .* is encrypted: its root disk is not a file of this instance")

    def test_it_starts(self):
        self.assertEqual(self.hook("prepare").returncode, 0)
        self.assertEqual(self.hook("start").returncode, 0)
