# SPDX-License-Identifier: Apache-2.0
"""What an operator does with VMs that have encrypted disks, and what then must stay secret or start again."""

import os
import signal

import host
from host import output, run, virsh
from running import poll

TEXT = "text that only the guest may see"
BOOTED = f"disk 0: {TEXT}\ndisk 0: written\nup\n"
AGAIN = f"disk 0: {TEXT}\ndisk 0: kept {TEXT}\ndisk 0: written\nup\n"


class GuestsTest(host.VmTest):
    def protected(self, name="web", image=None):
        """A guest with one protected disk, defined."""
        return self.guest(name).protected_disk(image or self.image(TEXT, name)).define()

    def boots(self, guest, expected=BOOTED):
        guest.start()
        self.assertEqual(guest.wait_until_up(), expected)

    def refused(self, guest, pattern):
        """Returns what virsh says."""
        done = guest.start(check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(guest.state(), "shut off")
        return done.stderr

    def gone(self, seconds=10):
        poll(lambda: not self.host.leftovers(), f"nothing to be left; there is {self.host.leftovers()}", seconds)

    def no_plaintext(self):
        self.assertEqual(self.host.plaintext(TEXT), [])


class Secrets(GuestsTest):
    def test_of_a_layer(self):
        """Nothing of the text is on a disk, nothing of the key in the kernel's tables, and the image is as it
        was."""
        image = self.image(TEXT)
        before = output("sha256sum", image, image + ".header")
        guest = self.protected(image=image)
        self.boots(guest)
        for line in output("dmsetup", "table", "--showkeys", "--target", "crypt").splitlines():
            self.assertRegex(line, " aes-xts-plain64 :64:logon:")
        self.no_plaintext()
        guest.destroy()
        self.gone()
        self.assertEqual(output("sha256sum", image, image + ".header"), before)
        self.no_plaintext()

    def test_of_several_disks(self):
        first, second = self.image(TEXT, "first"), self.image("the second", "second")
        guest = self.guest("web").protected_disk(first).protected_disk(second, "direct").define()
        self.boots(guest, f"disk 0: {TEXT}\ndisk 0: written\ndisk 1: the second\ndisk 1: written\nup\n")
        self.assertEqual(len(self.host.mappings()), 3)
        self.no_plaintext()
        self.assertEqual(self.host.plaintext("the second"), [])


class Lifecycle(GuestsTest):
    def test_suspend_and_reset(self):
        guest = self.protected()
        self.boots(guest)
        virsh("suspend", "web")
        self.assertEqual(guest.state(), "paused")
        virsh("resume", "web")
        virsh("reset", "web")
        poll(lambda: guest.console_text() == BOOTED + AGAIN, "the guest to boot again", 60)

    def test_managed_save(self):
        guest = self.protected()
        self.boots(guest)
        virsh("managedsave", "web")
        self.gone()
        guest.start()
        self.assertEqual(guest.state(), "running")
        virsh("reset", "web")
        poll(lambda: guest.console_text().endswith(AGAIN), "the guest to boot again", 60)
        guest.destroy()

    def test_libvirtd_restarts(self):
        guest = self.protected()
        self.boots(guest)
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.host.libvirt.restart(number)
            self.assertEqual(guest.state(), "running")
        self.assertEqual(len(self.host.mappings()), 2)

    def test_renamed(self):
        """The layer is the domain's by its UUID."""
        guest = self.protected()
        self.boots(guest)
        guest.destroy()
        virsh("domrename", "web", "shop")
        self.addCleanup(virsh, "undefine", "shop", check=False)
        self.addCleanup(virsh, "destroy", "shop", check=False)
        virsh("start", "shop")
        poll(lambda: guest.console_text().endswith(AGAIN), "the renamed guest to boot", 60)

    def test_transient(self):
        guest = self.guest("web").protected_disk(self.image(TEXT))
        guest.create()
        self.assertEqual(guest.wait_until_up(), BOOTED)
        guest.destroy()
        self.gone()

class Refused(GuestsTest):
    def test_key_refused(self):
        """Also at the second start, after the first one got it."""
        guest = self.protected()
        self.boots(guest)
        guest.destroy()
        self.host.agent.remove_key(host.KEY_NAME)
        try:
            said = self.refused(guest, "no key named vm")
            self.assertLessEqual(said.count("\n"), 4, said)
            self.gone()
        finally:
            self.host.agent.import_key(host.KEY_NAME, host.KEY)
        self.boots(guest, AGAIN)

    def test_agent_is_down(self):
        disk = host.write_disk(os.path.join(self.directory, "plain.raw"), "plain")
        plain = self.guest("plain", disk).define()
        guest = self.protected()
        self.host.agent.stop()
        try:
            self.refused(guest, "wlagentd")
            self.gone()
            self.boots(plain, "disk 0: plain\ndisk 0: written\nup\n")
        finally:
            self.host.agent.start()
        self.boots(guest)

    def test_without_the_hook(self):
        """The disk does not exist: libvirt finds that out by itself."""
        guest = self.protected()
        os.rename(host.HOOK_INSTALLED, "/root/50-wlagent")
        try:
            self.host.libvirt.restart()
            self.refused(guest, guest.volume())
        finally:
            os.rename("/root/50-wlagent", host.HOOK_INSTALLED)
            self.host.libvirt.restart()
        self.boots(guest)

    def test_truncated_image(self):
        image = self.image(TEXT)
        guest = self.protected(image=image)
        os.truncate(image, os.path.getsize(image) - 4096)
        self.refused(guest, r"the image has \d+ bytes, its header says")
        self.gone()


class PowerLoss(GuestsTest):
    def test_while_it_runs(self):
        """A guest that ran has its layer, and its next start needs the key again."""
        guest = self.guest("web", fixed_uuid="5c2f7a3e-0d43-4d0c-9d5c-3f1f63c0f001")
        image = os.path.join(host.IMAGES, "power-loss")
        guest.protected_disk(image).define()
        if not self.power_lost_at:
            self.image(TEXT, "power-loss", directory=host.IMAGES)
            self.boots(guest)
            guest.destroy()
            guest.start()
            self.assertEqual(guest.wait_until_up(), AGAIN)
            self.lose_power("running")
        self.addCleanup(run, "rm", "-f", image, image + ".header")
        self.boots(guest, AGAIN)
