# SPDX-License-Identifier: Apache-2.0
"""The installed units of wlagent-volumed: its sandbox lets it do what it has to, and no more."""

import os
import pwd
import re
import subprocess
import tempfile

import host
import units
from host import output, run
from running import BUILD, poll
from units import active

CLIENT = os.path.join(BUILD, "tests", "vm", "volume-client")
SOCKET = "/run/workload-agent/volumed.sock"
IMAGE = "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"
VM = "5a6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e02"
DISK = f"wlagent-{VM}-vda"


class Volumed(units.UnitTest):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory(dir=host.IMAGES)
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        os.chmod(self.directory, 0o755)
        self.key = os.path.join("/run", "volume-key")
        self.addCleanup(os.unlink, self.key)
        with open(self.key, "wb") as file:
            file.write(os.urandom(64))
        self.raw = os.path.join(self.directory, "raw")
        with open(self.raw, "wb") as file:
            file.write(b"a disk".ljust(1 << 20, b"."))
        self.image = os.path.join(self.directory, "image")
        run(CLIENT, "make", self.raw, self.image, self.key, IMAGE)
        run("chown", "libvirt-qemu:", self.image, self.image + ".header")

    def session(self, *steps, user=None):
        """The lines, and the process that holds it."""
        process = subprocess.Popen([CLIENT, SOCKET, *steps], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   user=user, group=user)
        self.addCleanup(process.communicate)
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if lines[-1] == "done":
                break
        return lines, process

    def opened(self, *steps, **options):
        lines, process = self.session(*steps, **options)
        self.assertEqual(lines[-1:], ["done"], lines)
        return process

    def gone(self, name):
        poll(lambda: not os.path.exists("/dev/mapper/" + name), f"{name} to go")

    def test_an_image_a_disk_and_a_layer(self):
        self.assertEqual(active("wlagent-volumed.service"), "inactive")
        base = self.opened("image", self.image, "open", self.key, user="wlagent")
        self.assertEqual(active("wlagent-volumed.service"), "active")
        with open(f"/dev/mapper/wlagent-image-{IMAGE}", "rb") as device:
            self.assertEqual(device.read(6), b"a disk")
        layer = self.opened("layer", VM, "vda", "create", IMAGE, "1048576", "raw", self.key, "kept", user="wlagent")
        with open("/dev/mapper/" + DISK, "r+b") as device:
            self.assertEqual(device.read(4), b"QFI\xfb")
            os.fsync(device.fileno())
        for process in (layer, base):
            process.communicate()
        self.gone(DISK)
        self.gone(f"wlagent-image-{IMAGE}")
        self.opened("remove", VM, "vda").communicate()
        direct = self.opened("image", self.image, "direct", VM, "vda", self.key)
        with open("/dev/mapper/" + DISK, "r+b") as device:
            device.write(b"written".ljust(4096, b"\0"))
            os.fsync(device.fileno())
        direct.communicate()
        self.gone(DISK)

    def test_restart_ends_leases_and_keeps_the_socket(self):
        process = self.opened("image", self.image, "open", self.key)
        inode = os.stat(SOCKET).st_ino
        run("systemctl", "restart", "wlagent-volumed.service")
        self.gone(f"wlagent-image-{IMAGE}")
        process.communicate()
        self.assertEqual(os.stat(SOCKET).st_ino, inode)
        self.opened("list").communicate()

    def test_capabilities(self):
        self.opened("list").communicate()
        pid = output("systemctl", "show", "-P", "MainPID", "wlagent-volumed.service").strip()
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = file.read()
        # CAP_SYS_ADMIN, CAP_DAC_OVERRIDE and CAP_CHOWN.
        self.assertEqual(set(re.findall(r"Cap(?:Prm|Eff|Bnd):\s+(\w+)\n", status)), {f"{1 << 21 | 1 << 1 | 1:016x}"})
        self.assertRegex(status, r"Seccomp:\s+2\n")

    def test_a_volume_of_another_user_is_adopted(self):
        volume = os.path.join(self.directory, "volume")
        key = os.path.join(self.directory, "key")
        empty = os.path.join(self.directory, "empty")
        with open(empty, "wb"):
            pass
        with open(volume, "wb") as file:
            file.truncate(20 << 20)
        run("cryptsetup", "luksFormat", "--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
            "--key-file", empty, volume)
        with open(key, "wb") as file:
            file.write(os.urandom(32))
        owner = pwd.getpwnam("libvirt-qemu")
        os.chown(volume, owner.pw_uid, owner.pw_gid)
        os.chmod(volume, 0o640)
        before = os.stat(volume)
        self.opened("image", volume, "adopt", key).communicate()
        after = os.stat(volume)
        self.assertNotEqual(after.st_ino, before.st_ino)
        self.assertEqual((after.st_uid, after.st_gid, after.st_mode), (before.st_uid, before.st_gid, before.st_mode))
        run("cryptsetup", "open", "--test-passphrase", "--key-file", key, volume)

    def test_others_are_kept_out(self):
        lines, process = self.session("list", user="daemon")
        process.communicate()
        self.assertRegex(lines[-1], "^denied: asking wlagent-volumed")
