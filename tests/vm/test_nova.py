# SPDX-License-Identifier: Apache-2.0
"""Instances as Nova lays them out and describes them, over an image that only this host opens.

INSTANCES/UUID/disk is qcow2 over INSTANCES/_base/SHA1, which is Glance's file: ciphertext."""

import hashlib
import json
import os
import shutil
import subprocess
import uuid

import host
from host import INSTANCES, output, run, virsh
from running import poll

MARKER = "text of the image from Glance"
MIB = 1 << 20
LEAKED_CLUSTERS = 3  # an exit code of "qemu-img check": nothing is wrong but for these

# As nova/virt/libvirt/config.py writes it: metadata 1.1, the disks, a config drive.
XML = """<domain type='qemu'>
  <name>{name}</name>
  <uuid>{instance}</uuid>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:package version="27.1.0"/>
      <nova:name>web &amp; more</nova:name>
      <nova:creationTime>2026-01-15 09:12:33</nova:creationTime>
      <nova:flavor name="m1.small">
        <nova:memory>32</nova:memory>
        <nova:disk>1</nova:disk>
        <nova:swap>0</nova:swap>
        <nova:ephemeral>0</nova:ephemeral>
        <nova:vcpus>1</nova:vcpus>
      </nova:flavor>
      <nova:owner>
        <nova:user uuid="1f0c9a7b5d3e4f60a1b2c3d4e5f60718">alice</nova:user>
        <nova:project uuid="aa55aa55aa55aa55aa55aa55aa55aa55">shop</nova:project>
      </nova:owner>
      <nova:root type="image" uuid="{image}"/>
      <nova:ports>
        <nova:port uuid="9f1d3c5e-7b9a-4c2d-8e6f-0a1b2c3d4e5f">
          <nova:ip type="fixed" address="10.0.0.7" ipVersion="4"/>
        </nova:port>
      </nova:ports>
    </nova:instance>
  </metadata>
  <memory unit='KiB'>32768</memory>
  <vcpu placement='static'>1</vcpu>
  <sysinfo type='smbios'>
    <system>
      <entry name='manufacturer'>OpenStack Foundation</entry>
      <entry name='product'>OpenStack Nova</entry>
      <entry name='serial'>{instance}</entry>
      <entry name='uuid'>{instance}</entry>
      <entry name='family'>Virtual Machine</entry>
    </system>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <loader type='rom'>{firmware}</loader>
    <boot dev='hd'/>
    <smbios mode='sysinfo'/>
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='{directory}/disk'/>
      <target dev='vda' bus='virtio'/>
    </disk>
{disks}    <controller type='usb' model='none'/>
    <serial type='file'>
      <source path='{console}'/>
      <target port='0'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""

DISK = """    <disk type='file' device='{device}'>
      <driver name='qemu' type='{format}' cache='none'/>
      <source file='{path}'/>
      <target dev='{target}' bus='{bus}'/>{readonly}
    </disk>
"""


class Instance(host.Guest):
    def __init__(self, image, name="instance-0000002a"):
        super().__init__(name)
        self.image = image
        self.directory = os.path.join(INSTANCES, self.uuid)
        self.path = os.path.join(self.directory, "disk")
        self.base = self.base_of(image)
        os.makedirs(self.directory)

    @staticmethod
    def base_of(image):
        """Where Nova caches it."""
        return os.path.join(INSTANCES, "_base", hashlib.sha1(image.encode()).hexdigest())

    def more(self, name, driver, target, device="disk", bus="virtio"):
        """Another disk of the instance, beside the first."""
        self.disks.append(DISK.format(path=os.path.join(self.directory, name), format=driver, target=target,
                                      device=device, bus=bus,
                                      readonly="\n      <readonly/>" if device == "cdrom" else ""))

    def xml(self):
        return XML.format(firmware=host.FIRMWARE, name=self.name, instance=self.uuid, image=self.image,
                          directory=self.directory, console=self.console, disks="".join(self.disks))

    def make_disk(self, size=4 * MIB, base=None, form="raw"):
        """As Nova does."""
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"backing_file={base or self.base},backing_fmt={form}",
            self.path, str(size))

    def backing(self):
        """What the disk names: (file, format)."""
        found = json.loads(output("qemu-img", "info", "-U", "--output=json", self.path))
        return found["backing-filename"], found["backing-filename-format"]


class Nova(host.VmTest):
    def setUp(self):
        super().setUp()
        self.agent = self.host.agent
        self.agent.run("key", "create", "nova")
        self.addCleanup(self.agent.remove_key, "nova")
        self.image_id = str(uuid.uuid4())
        os.makedirs(os.path.join(INSTANCES, "_base"), exist_ok=True)

    def encrypt(self, name="image", text=MARKER, size=2 * MIB, *options):
        """Returns the ciphertext's path; its header is beside it."""
        plain = host.write_disk(os.path.join(host.PLAIN, "plain"), text, size)
        image = os.path.join(self.directory, name)
        self.agent.run("image", "encrypt", plain, image, "--key", "nova", *options)
        os.unlink(plain)
        return image

    def instance(self, image, **options):
        """Glance's file is in Nova's cache, and its header is known to this host."""
        found = Instance(self.image_id, **options)
        self.addCleanup(shutil.rmtree, found.directory, ignore_errors=True)
        self.addCleanup(lambda: os.path.exists(found.base) and os.unlink(found.base))
        self.addCleanup(found.undefine, check=False)
        self.addCleanup(found.destroy, check=False)
        shutil.copy(image, found.base)
        self.register(image)
        return found

    def register(self, image):
        self.agent.run("image", "register", self.image_id, "--header", image + ".header", "--force")

    def mapping(self, image):
        header = json.loads(self.agent.output("image", "info", "--json", image))
        return f"/dev/mapper/wlagent-image-{header['uuid']}"

    def assert_off(self, instance, leaks=False):
        """Nothing of it is open, and Nova finds the disk as it left it. A QEMU that was killed may leave clusters that
        nothing refers to, wlagent or not."""
        self.left_nothing()
        self.assertEqual(instance.backing(), (instance.base, "raw"))
        checked = run("qemu-img", "check", "-q", instance.path, check=False)
        self.assertIn(checked.returncode, (0, LEAKED_CLUSTERS) if leaks else (0,), checked.stderr)

    def assert_refused(self, instance, *texts):
        done = instance.start(check=False)
        self.assertNotEqual(done.returncode, 0)
        for text in texts:
            self.assertIn(text, done.stderr)
        self.left_nothing()
        return done.stderr

    def test_instance_starts_and_stops(self):
        image = self.encrypt()
        instance = self.instance(image)
        instance.make_disk()
        instance.define()
        for kept in ("", f"disk 0: kept {MARKER}\n"):
            instance.start()
            self.assertEqual(instance.wait_until_up(), f"disk 0: {MARKER}\n{kept}disk 0: written\nup\n")
            self.assertEqual(instance.backing(), (self.mapping(image), "raw"))
            instance.destroy()
            self.assert_off(instance)
        # The layer is plaintext on Nova's file system; the image is nowhere.
        self.assertEqual(self.host.plaintext(MARKER), [f"/srv{INSTANCES}/{instance.uuid}/disk"])

    def test_compact_image(self):
        image = self.encrypt("image", MARKER, 64 * MIB, "--compact")
        instance = self.instance(image)
        instance.make_disk(64 * MIB)
        instance.define().start()
        self.assertIn(f"disk 0: {MARKER}\ndisk 0: written\n", instance.wait_until_up())
        self.assertEqual(instance.backing(), (self.mapping(image), "qcow2"))
        instance.destroy()
        self.assert_off(instance)

    def test_other_disks_of_the_instance(self):
        """A config drive, an ephemeral disk over a base of its own and swap are Nova's."""
        image = self.encrypt()
        instance = self.instance(image)
        instance.make_disk()
        drive, swap = (os.path.join(instance.directory, name) for name in ("disk.config", "disk.swap"))
        ephemeral_base = os.path.join(INSTANCES, "_base", "ephemeral_1_40d1d2c")
        self.addCleanup(os.unlink, ephemeral_base)
        host.write_disk(ephemeral_base, "an ephemeral disk")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", ephemeral_base, "-F", "raw",
            os.path.join(instance.directory, "disk.eph0"), "1M")
        host.write_disk(drive, "a config drive")
        host.write_disk(swap, "swap")
        instance.more("disk.eph0", "qcow2", "vdb")
        instance.more("disk.swap", "raw", "vdc")
        instance.more("disk.config", "raw", "sda", "cdrom", "sata")
        instance.define().start()
        self.assertIn(MARKER, instance.wait_until_up())
        used = virsh("domblklist", instance.name).stdout.split()
        for name in ("disk", "disk.eph0", "disk.swap", "disk.config"):
            self.assertIn(os.path.join(instance.directory, name), used)
        self.assertEqual(self.host.mappings(), [os.path.basename(self.mapping(image))])
        instance.destroy()
        self.assert_off(instance)

    def test_two_instances_share_the_image(self):
        image = self.encrypt()
        first = self.instance(image, name="instance-1")
        second = self.instance(image, name="instance-2")
        for instance in (first, second):
            instance.make_disk()
            instance.define().start()
        for instance in (first, second):
            self.assertIn(MARKER, instance.wait_until_up())
        self.assertEqual(self.host.mappings(), [os.path.basename(self.mapping(image))])
        first.destroy()
        self.assertEqual(first.backing(), (first.base, "raw"))
        self.assertEqual(second.backing(), (self.mapping(image), "raw"))
        self.assertEqual(second.state(), "running")
        second.destroy()
        self.assert_off(second)

    def test_resize_of_the_flavor(self):
        """Nova makes the disk larger between two starts; what the guest wrote is still there."""
        instance = self.instance(self.encrypt())
        instance.make_disk()
        instance.define().start()
        instance.wait_until_up()
        instance.destroy()
        run("qemu-img", "resize", "-q", instance.path, "16M")
        instance.start()
        self.assertIn(f"disk 0: kept {MARKER}\n", instance.wait_until_up())
        self.assertIn("16777216", virsh("domblkinfo", instance.name, "vda").stdout)
        instance.destroy()
        self.assert_off(instance)

    def test_disk_made_anew(self):
        """A rebuild gives the instance a new disk over the same base; it is taken as it is."""
        instance = self.instance(self.encrypt())
        for _ in range(2):
            instance.make_disk()
            instance.define().start()
            self.assertIn(MARKER, instance.wait_until_up())
            instance.destroy()
            self.assert_off(instance)

    def test_killed_in_between(self):
        """The disk names the mapping, or the base, after the agent was killed: the next start takes both."""
        image = self.encrypt()
        instance = self.instance(image)
        instance.make_disk()
        instance.define().start()
        self.agent.stop(9)
        run("kill", "-9", str(instance.pid))
        poll(lambda: instance.state() == "shut off", "libvirt to see the end of QEMU")
        self.left_nothing()
        self.assertEqual(instance.backing(), (self.mapping(image), "raw"))
        self.agent.start()
        instance.start()
        self.assertIn(MARKER, instance.wait_until_up())
        instance.destroy()
        self.assert_off(instance, leaks=True)

    def test_the_end_of_one_of_two_is_missed(self):
        """Their image is open for the other one: QEMU's locks on the disks tell who runs."""
        image = self.encrypt()
        first = self.instance(image, name="instance-1")
        second = self.instance(image, name="instance-2")
        for instance in (first, second):
            instance.make_disk()
            instance.define().start()
        self.agent.stop(9)
        run("kill", "-9", str(first.pid))
        poll(lambda: first.state() == "shut off", "libvirt to see the end of QEMU")
        self.agent.start()
        poll(lambda: [vm["uuid"] for vm in self.agent.status()["vms"]] == [second.uuid], "the first one to be forgotten")
        self.assertEqual(first.backing(), (first.base, "raw"))
        self.assertEqual(second.backing(), (self.mapping(image), "raw"))
        self.assertEqual(second.state(), "running")
        second.destroy()
        self.assert_off(second)

    def test_refused_without_the_key(self):
        image = self.encrypt()
        instance = self.instance(image)
        instance.make_disk()
        instance.define()
        self.agent.remove_key("nova")
        self.assert_refused(instance, "no key")
        self.assert_off(instance)
        self.agent.run("key", "create", "nova")
        self.assert_refused(instance, "does not open")
        self.assert_off(instance)

    def test_refused_with_another_header(self):
        instance = self.instance(self.encrypt())
        instance.make_disk()
        instance.define()
        self.register(self.encrypt("other", "other text"))
        self.assert_refused(instance, "header")
        self.assert_off(instance)

    def test_disks_that_are_refused(self):
        instance = self.instance(self.encrypt())
        instance.define()
        self.assert_refused(instance, "does not exist")

        run("qemu-img", "create", "-q", "-f", "raw", instance.path, "4M")
        self.assert_refused(instance, "no qcow2 image")

        run("qemu-img", "create", "-q", "-f", "qcow2", instance.path, "4M")
        self.assert_refused(instance, "not a layer over its image")

        other = host.write_disk(os.path.join(INSTANCES, "_base", "0" * 40), "another image")
        self.addCleanup(os.unlink, other)
        instance.make_disk(base=other)
        self.assert_refused(instance, "not over its image")
        self.assertEqual(instance.backing(), (other, "raw"))

        instance.make_disk(MIB)
        self.assert_refused(instance, "its image has 2097152")

        os.unlink(instance.path)
        os.symlink(other, instance.path)
        self.assert_refused(instance, "symbolic link")
        os.unlink(instance.path)

    def test_refused_while_in_use(self):
        """By qemu-img of a snapshot, say."""
        instance = self.instance(self.encrypt())
        instance.make_disk()
        instance.define()
        with subprocess.Popen(["qemu-io", "-f", "qcow2", instance.path], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE) as user:
            self.assertEqual(user.stdout.read(8), b"qemu-io>")
            self.assert_refused(instance, "in use by another process")
            user.stdin.close()
        instance.start()
        instance.destroy()
        self.assert_off(instance)

    def test_base_is_gone(self):
        """Nova's image cache removes what no instance uses."""
        instance = self.instance(self.encrypt())
        instance.make_disk()
        instance.define()
        os.unlink(instance.base)
        self.assert_refused(instance, "does not exist")

    def test_images_that_are_not_registered(self):
        """Nobody asked for protection: the agent keeps out of it."""
        instance = Instance(self.image_id, name="instance-plain")
        self.addCleanup(shutil.rmtree, instance.directory, ignore_errors=True)
        self.addCleanup(os.unlink, instance.base)
        self.addCleanup(instance.undefine, check=False)
        self.addCleanup(instance.destroy, check=False)
        host.write_disk(instance.base, "an open image")
        instance.make_disk()
        instance.define().start()
        self.assertIn("disk 0: an open image", instance.wait_until_up())
        self.assertEqual(instance.backing(), (instance.base, "raw"))
        instance.destroy()
        self.assert_off(instance)
