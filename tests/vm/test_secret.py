# SPDX-License-Identifier: Apache-2.0
"""Disks that libvirt and QEMU encrypt themselves, whose secret wlagentd gives the key while they start."""

import base64
import glob
import os
import shutil
import signal
import uuid

import libvirt

import host
import running
import stepwise
from host import virsh
from running import poll as wait

os.environ["WLAGENT_LIBEXEC"] = running.WLAGENT_LIBEXEC

TEXT_KEY = b"pK2mVq8XcZr5Yt1NwGh7LdJs9BfUe3Ra"  # QEMU takes text only
KEY_NAME = "luks"
KEY_ID = f"local:///{KEY_NAME}"


def secret_list():
    with host.libvirt_connection() as connection:
        return connection.listSecrets()


def undefine_secret(secret, check=True):
    try:
        with host.libvirt_connection() as connection:
            connection.secretLookupByUUIDString(secret).undefine()
    except libvirt.libvirtError:
        if check:
            raise


class Secrets(host.VmTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if KEY_NAME not in cls.host.agent.run("key", "list").stdout.decode():
            cls.host.agent.import_key(KEY_NAME, TEXT_KEY)

    def setUp(self):
        super().setUp()
        self.secret = str(uuid.uuid4())
        self.addCleanup(undefine_secret, self.secret, check=False)

    def paused(self, guest, *words):
        """As stepwise.paused(), whose hook costs tests that do not pause a shell at each step of libvirt's."""
        if not os.path.exists(stepwise.PAUSES):
            stepwise.install()
            self.addCleanup(stepwise.remove)
        return stepwise.paused(guest, *words)

    def agent(self, *words, check=True):
        return self.host.agent.run(*words, check=check)

    def luks(self, text="luks", name="disk.luks", key=TEXT_KEY):
        return host.write_luks_disk(os.path.join(self.directory, name), text, key)

    def encrypted_guest(self, name, *disks, secret=None, protect=True, key=KEY_ID):
        guest = self.guest(name)
        for disk in disks or [self.luks(name=f"{name}.luks")]:
            guest.disk(disk)
        guest.encrypt(secret or self.secret)
        guest.define()
        for number in range(len(guest.disks) if protect else 0):
            self.agent("vm", "protect", "--disk", f"vd{chr(ord('a') + number)}", "--secret", "--key", key, name)
        return guest

    def define_secret(self, ephemeral="yes", private="yes"):
        """As an owner does, without a value."""
        with host.libvirt_connection() as connection:
            connection.secretDefineXML(
                f"<secret ephemeral='{ephemeral}' private='{private}'><uuid>{self.secret}</uuid></secret>")

    def refuses(self, guest, *parts):
        """It does not start; what virsh says has these parts in one line."""
        done = guest.start(virsh_says=True)
        self.assertEqual(done.returncode, 1, done.stdout)
        lines = [line for line in done.stderr.splitlines() if parts[0] in line]
        self.assertEqual(len(lines), 1, done.stderr)
        for part in parts:
            self.assertIn(part, lines[0])
        self.assertFalse(self.state(guest))

    @staticmethod
    def keepers():
        return host.pids("wlagent-secret")

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
        copy = self.encrypted_guest("copy", self.luks(name="copy.luks"), protect=False)
        refused = copy.start(check=False)
        self.assertNotEqual(refused.returncode, 0, refused.stdout)
        copy.undefine()

    def test_start_and_stop(self):
        guest = self.encrypted_guest("luks")
        listed = self.agent("vm", "list").stdout.decode()
        self.assertRegex(listed, f"luks +shut off +vda +secret +{self.secret}\n")
        guest.start()
        self.is_gone()
        self.assertIn("disk 0: luks\n", guest.wait_until_up())
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
        self.assertIn("kept luks\n", guest.wait_until_up())
        guest.destroy()
        self.is_gone()

    def test_a_secret_of_the_owner_stays(self):
        self.define_secret()
        guest = self.encrypted_guest("owned")
        guest.start()
        wait(lambda: not self.keepers(), "the value to be overwritten")
        self.assertIn(self.secret, secret_list())
        self.has_no_value()
        guest.destroy()
        guest.start()
        guest.destroy()

    def test_two_disks_with_one_secret(self):
        guest = self.encrypted_guest("two", self.luks("first", "first.luks"), self.luks("second", "second.luks"))
        guest.start()
        console = guest.wait_until_up()
        self.assertIn("disk 0: first\n", console)
        self.assertIn("disk 1: second\n", console)
        self.is_gone()
        guest.destroy()

    def test_beside_a_disk_of_ours(self):
        guest = self.encrypted_guest("both")
        virsh("undefine", "both")
        encrypted = guest.metadata = (f"<wlagent:protected xmlns:wlagent='{host.NAMESPACE}'><wlagent:secret "
                                      f"target='vda' uuid='{self.secret}' key='{KEY_ID}'/></wlagent:protected>")
        guest.protected_disk(self.image("ours"))
        self.assertIn(encrypted[-30:], guest.metadata + encrypted)
        guest.define()
        guest.start()
        console = guest.wait_until_up()
        self.assertIn("disk 0: luks\n", console)
        self.assertIn("disk 1: ours\n", console)
        self.is_gone()
        guest.destroy()
        self.left_nothing()
        self.forgotten(guest)
        self.agent("volume", "remove", "--force", os.path.basename(guest.volume("vdb")))

    def test_keys_that_are_refused(self):
        disk = self.luks()
        missing = self.encrypted_guest("missing", disk, key="local:///missing")
        self.refuses(missing, "disk vda: its key", "missing")
        self.assertNotIn(self.secret, secret_list())
        missing.undefine()

        # Every other key of the host is bytes, which QEMU does not take.
        binary = self.encrypted_guest("binary", disk, key=f"local:///{host.KEY_NAME}")
        self.refuses(binary, "the key is not text", "openssl rand -base64 24")
        self.assertNotIn(self.secret, secret_list())

    def test_another_key_than_the_disks(self):
        guest = self.encrypted_guest("other", self.luks(key=TEXT_KEY[::-1]))
        self.assertNotEqual(guest.start(check=False).returncode, 0)
        self.is_gone()
        wait(lambda: not self.state(guest), "it to be forgotten")

    def test_secrets_of_other_kinds(self):
        guest = self.encrypted_guest("kinds")
        for ephemeral, private in (("no", "yes"), ("yes", "no"), ("no", "no")):
            with self.subTest(ephemeral=ephemeral, private=private):
                self.define_secret(ephemeral, private)
                self.refuses(guest, "is not both ephemeral and private", "virsh secret-undefine")
                self.assertFalse(glob.glob(f"/etc/libvirt/secrets/{self.secret}.base64"))
                if private == "no":
                    with host.libvirt_connection() as connection:
                        with self.assertRaisesRegex(libvirt.libvirtError, "does not have a value"):
                            connection.secretLookupByUUIDString(self.secret).value()
                done = self.agent("vm", "protect", "--disk", "vda", "--secret", "--key", KEY_ID, "kinds", check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"is not both ephemeral and private", done.stderr)
                undefine_secret(self.secret)

    def test_a_launch_that_another_hook_refuses(self):
        guest = self.encrypted_guest("failed")
        for operation in ("prepare", "start", "started"):
            with self.subTest(operation):
                with self.paused(guest, operation, "start", "failed") as start:
                    if operation != "started":
                        self.assertIn(self.secret, secret_list())
                    stepwise.refuse(guest, operation)
                self.assertNotEqual(start.finish()[0], 0)
                self.is_gone()
                wait(lambda: not self.state(guest), "it to be forgotten")

    def test_wlagentd_is_killed(self):
        guest = self.encrypted_guest("killed")
        for operation in ("prepare", "start"):
            with self.subTest(operation):
                with self.paused(guest, operation, "start", "killed") as start:
                    self.assertIn(self.secret, secret_list())
                    self.host.agent.stop(signal.SIGKILL)
                    self.is_gone()
                    self.host.agent.start()
                start.finish()
                guest.destroy(check=False)
                wait(lambda: not self.state(guest), "it to be forgotten")
                self.assertNotIn(self.secret, secret_list())

    def test_volumed_is_killed(self):
        guest = self.encrypted_guest("killed")
        with self.paused(guest, "prepare", "start", "killed") as start:
            self.assertIn(self.secret, secret_list())
            self.host.volumed.stop(signal.SIGKILL)
            self.is_gone()
            self.host.volumed.start()
        self.assertNotEqual(start.finish()[0], 0)
        wait(lambda: not self.state(guest), "it to be forgotten")

    def test_whoever_holds_the_value_is_killed(self):
        guest = self.encrypted_guest("killed")
        with self.paused(guest, "prepare", "start", "killed") as start:
            for pid in self.keepers():
                os.kill(pid, signal.SIGKILL)
            wait(lambda: not self.keepers(), "it to be dead")
            self.assertIn(self.secret, secret_list())
        self.assertEqual(start.finish()[0], 0)
        self.is_gone()
        guest.destroy()

    def test_all_are_killed_at_once(self):
        guest = self.encrypted_guest("killed")
        with self.paused(guest, "prepare", "start", "killed") as start:
            for pid in self.keepers():
                os.kill(pid, signal.SIGSTOP)
            self.host.agent.stop(signal.SIGKILL)
            self.host.volumed.stop(signal.SIGKILL)
            for pid in self.keepers():
                os.kill(pid, signal.SIGKILL)
            wait(lambda: not self.keepers(), "it to be dead")
            self.assertIn(self.secret, secret_list())
            self.host.volumed.start()
            self.host.agent.start()
            self.is_gone()
        self.assertNotEqual(start.finish()[0], 0)
        wait(lambda: not self.state(guest), "it to be forgotten")

    def test_libvirtd_starts_its_domains_itself(self):
        """It answers nobody meanwhile: a refusal, and nothing is set when it does."""
        guest = self.encrypted_guest("auto")
        virsh("autostart", "auto")
        shutil.rmtree("/run/libvirt/qemu/autostarted", ignore_errors=True)
        self.host.libvirt.stop()
        if os.path.exists("/run/libvirt/qemu/autostarted"):
            os.unlink("/run/libvirt/qemu/autostarted")
        self.host.libvirt.start()
        self.assertEqual(guest.state(), "shut off")
        with open("/var/log/libvirt/libvirtd.log", encoding="utf-8", errors="replace") as log:
            self.assertRegex(log.read(), f"libvirt has not answered about its secret {self.secret} in 8 s.*virtqemud")
        wait(lambda: not self.keepers(), "the clearing to have ended", 60)
        self.assertNotIn(self.secret, secret_list())
        virsh("autostart", "--disable", "auto")
        guest.start()
        guest.destroy()

    def test_what_is_written(self):
        """libvirt writes the value encrypted, and the key to that; nobody writes the value."""
        guest = self.encrypted_guest("written")
        guest.start()
        guest.wait_until_up()
        self.is_gone()
        for text in (TEXT_KEY, base64.b64encode(TEXT_KEY), TEXT_KEY.hex().encode()):
            self.assertEqual(self.host.plaintext(text.decode()), [])
        self.assertEqual(len(glob.glob("/var/lib/libvirt/qemu/domain-*-written/master-key.aes")), 1)
        with open("/var/log/libvirt/qemu/written.log", encoding="utf-8") as log:
            self.assertRegex(log.read(), '"keyid":"masterKey0","iv":"[^"]+"')
        guest.destroy()
        self.assertEqual(glob.glob("/var/lib/libvirt/qemu/domain-*-written/master-key.aes"), [])
