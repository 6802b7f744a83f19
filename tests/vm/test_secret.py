# SPDX-License-Identifier: Apache-2.0
"""Disks that libvirt and QEMU encrypt themselves, whose secret wlagentd gives the key while they start."""

import os
import uuid

import host
import running
import stepwise
from host import output, run, virsh
from running import poll as wait

os.environ["WLAGENT_LIBEXEC"] = running.WLAGENT_LIBEXEC

TEXT_KEY = b"pK2mVq8XcZr5Yt1NwGh7LdJs9BfUe3Ra"  # QEMU takes text only
KEY_NAME = "luks"
KEY_ID = f"local:///{KEY_NAME}"
SECRETS = ("virsh", "-c", "secret:///system")


def secrets(*words, **options):
    return run(*SECRETS, *words, **options)


def secret_list():
    return output(*SECRETS, "secret-list")


class Secrets(host.VmTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if KEY_NAME not in cls.host.agent.run("key", "list").stdout.decode():
            cls.host.agent.import_key(KEY_NAME, TEXT_KEY)

    def setUp(self):
        super().setUp()
        self.secret = str(uuid.uuid4())
        self.addCleanup(secrets, "secret-undefine", self.secret, check=False)
        stepwise.install()
        self.addCleanup(stepwise.remove)

    def agent(self, *words, check=True):
        return self.host.agent.run(*words, check=check)

    def luks(self, text, name="disk.luks", key=TEXT_KEY):
        """A LUKS disk as an owner makes it with qemu-img."""
        plain = host.write_disk(os.path.join(host.PLAIN, name), text)
        key_file = os.path.join(host.PLAIN, name + ".key")
        with open(key_file, "wb") as file:
            file.write(key)
        path = os.path.join(self.directory, name)
        run("qemu-img", "convert", "-f", "raw", "-O", "luks", "--object", f"secret,id=s,file={key_file}",
            "-o", "key-secret=s,iter-time=10", plain, path)
        os.unlink(plain)
        os.unlink(key_file)
        return path

    def encrypted_guest(self, name, *disks, secret=None, protect=True, key=KEY_ID):
        guest = self.guest(name)
        for disk in disks or [self.luks(f"luks {name}", f"{name}.luks")]:
            guest.disk(disk)
        encryption = f"<encryption format='luks'><secret type='passphrase' uuid='{secret or self.secret}'/></encryption>"
        guest.disks = [disk.replace("<target", encryption + "<target") for disk in guest.disks]
        guest.define()
        for number in range(len(guest.disks) if protect else 0):
            self.agent("vm", "protect", "--disk", f"vd{chr(ord('a') + number)}", "--secret", "--key", key, name)
        return guest

    def define_secret(self, ephemeral="yes", private="yes"):
        """As an owner does, without a value."""
        path = os.path.join(self.directory, "secret.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"<secret ephemeral='{ephemeral}' private='{private}'><uuid>{self.secret}</uuid></secret>")
        secrets("secret-define", path)

    def refuses(self, guest, *parts):
        """It does not start; what virsh says has these parts in one line."""
        done = guest.start(check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        lines = [line for line in done.stderr.splitlines() if parts[0] in line]
        self.assertEqual(len(lines), 1, done.stderr)
        for part in parts:
            self.assertIn(part, lines[0])
        self.assertFalse(self.state(guest))

    @staticmethod
    def keepers():
        return [int(pid) for pid in run("pidof", "wlagent-secret", check=False).stdout.split()]

    def state(self, guest):
        """What wlagentd says of its disks, or None."""
        for vm in self.host.agent.status()["vms"]:
            if vm["uuid"] == guest.uuid:
                return vm
        return None

    def is_gone(self):
        """The secret was defined by wlagent, and with it its value."""
        wait(lambda: self.secret not in secret_list(), "the secret to be gone")

    def has_no_value(self):
        """Nobody can read it, so another domain tries to start with it."""
        copy = self.encrypted_guest("copy", self.luks("copy", "copy.luks"), protect=False)
        refused = copy.start(check=False)
        self.assertNotEqual(refused.returncode, 0, refused.stdout)
        copy.undefine()

    def test_start_and_stop(self):
        guest = self.encrypted_guest("luks")
        listed = self.agent("vm", "list").stdout.decode()
        self.assertRegex(listed, f"luks +shut off +vda +secret +{self.secret}\n")
        guest.start()
        self.is_gone()
        self.assertIn("disk 0: luks luks\n", guest.wait_until_up())
        self.has_no_value()
        vm = self.state(guest)
        self.assertEqual(vm["state"], "running")
        self.assertEqual(vm["disks"], [{"target": "vda", "mode": "secret", "secret": self.secret, "key_id": KEY_ID,
                                        "held": False}])
        self.assertIn(f"vda: libvirt's secret {self.secret}, key {KEY_ID}, not set",
                      self.agent("status").stdout.decode())

        self.host.libvirt.restart()
        self.assertEqual(guest.state(), "running")
        self.assertNotIn(self.secret, secret_list())
        guest.destroy()
        wait(lambda: not self.state(guest), "it to be forgotten")
        guest.start()
        self.assertIn("kept luks luks\n", guest.wait_until_up())
        guest.destroy()
        self.is_gone()
