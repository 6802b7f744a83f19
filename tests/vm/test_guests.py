# SPDX-License-Identifier: Apache-2.0
"""What an operator does with VMs that have encrypted disks, and what then must stay secret or start again."""

import base64
import itertools
import os
import secrets
import signal
import uuid

import host
import killing
import stepwise
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
        done = guest.start(virsh_says=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(guest.state(), "shut off")
        return done.stderr

    def gone(self):
        self.left_nothing()

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


    def test_of_the_key(self):
        """It is in no file, no argument and no environment, in no form; not before, while or after the VM runs."""
        key = secrets.token_hex(16).encode()
        forms = [key.decode(), key.hex(), base64.b64encode(key).decode().rstrip("=")]
        self.host.agent.import_key("text", key)
        self.addCleanup(self.host.agent.remove_key, "text")

        def shows():
            return [found for form in forms for found in self.host.plaintext(form)]

        guest = self.protected(image=self.image(TEXT, key="text"))
        stepwise.install()
        self.addCleanup(stepwise.remove)
        with stepwise.paused(guest, "prepare", "start", "web") as start:
            self.assertEqual(len(self.host.mappings()), 2)
            self.assertEqual(shows(), [])
        self.assertEqual(start.finish()[0], 0)
        self.assertIn(TEXT, guest.wait_until_up())
        self.assertEqual(shows(), [])
        guest.destroy()
        self.gone()
        self.assertEqual(shows(), [])

    def test_of_others(self):
        """Local users read neither the volumes nor the files below; and no VM writes to the image."""
        guest = self.protected()
        guest.start()
        for name in self.host.mappings():
            path = os.path.join("/dev/mapper", name)
            self.assertEqual(os.stat(path).st_mode & 0o007, 0, name)
            done = run("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "head", "-c1", path,
                       check=False)
            self.assertIn("Permission denied", done.stderr)
            self.assertEqual(output("blockdev", "--getro", path), "1\n" if "-image-" in name else "0\n")
        self.assertEqual(os.stat(host.LAYERS).st_mode & 0o777, 0o700)

    def test_of_each_volume(self):
        """Every image and every layer has a key of its own: the same plaintext in the same place is nowhere the same
        ciphertext, though one key releases them all."""
        def blocks(path):
            with open(path, "rb") as file:
                data = file.read(4096)
            return {data[at:at + 16] for at in range(0, 4096, 16)}

        first, second = self.image(TEXT, "first"), self.image(TEXT, "second")
        found = [blocks(first), blocks(second)]
        vms = [str(uuid.uuid4()) for _ in range(2)]
        for vm in (*vms, vms[0]):
            device = self.host.agent.output("volume", "open", "--vm", vm, "--disk", "vda", "--image", first).strip()
            self.host.agent.run("volume", "close", device)
            self.gone()
            found.append(blocks(os.path.join(host.LAYERS, vm, "vda", "disk")))
            self.host.agent.run("volume", "remove", "--force", os.path.basename(device))
        self.assertEqual(sum(map(len, found)), len(set().union(*found)))


class Lifecycle(GuestsTest):
    def test_suspend_and_reset(self):
        guest = self.protected()
        self.boots(guest)
        virsh("suspend", "web")
        self.assertEqual(guest.state(), "paused")
        virsh("resume", "web")
        virsh("reset", "web")
        poll(lambda: guest.console_text() == BOOTED + AGAIN, "the guest to boot again", 120)

    def test_managed_save(self):
        guest = self.protected()
        self.boots(guest)
        virsh("managedsave", "web")
        self.gone()
        guest.start()
        self.assertEqual(guest.state(), "running")
        virsh("reset", "web")
        poll(lambda: guest.console_text().endswith(AGAIN), "the guest to boot again", 120)
        guest.destroy()

    def test_libvirtd_restarts(self):
        guest = self.protected()
        guest.start()
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.host.libvirt.restart(number)
            self.assertEqual(guest.state(), "running")
        self.assertEqual(len(self.host.mappings()), 2)

    def test_renamed(self):
        """The layer is the domain's by its UUID."""
        guest = self.protected()
        self.boots(guest)
        self.assertNotEqual(virsh("domrename", "web", "shop", check=False).returncode, 0, "while it runs")
        self.assertEqual(guest.state(), "running")
        guest.destroy()
        self.gone()
        virsh("domrename", "web", "shop")
        self.addCleanup(virsh, "undefine", "shop", check=False)
        self.addCleanup(virsh, "destroy", "shop", check=False)
        virsh("start", "shop")
        poll(lambda: guest.console_text().endswith(AGAIN), "the renamed guest to boot", 120)

    def test_odd_names(self):
        """What would be options of qemu-img's, or mean something to whoever looks for "disk" in paths."""
        directory = os.path.join(self.directory, "disk,backing_file=disk", "a disk,size=1 (disk)")
        os.makedirs(directory)
        os.chmod(os.path.dirname(directory), 0o755)
        guest = self.protected(image=self.image(TEXT, "disk,preallocation=full disk", directory=directory))
        guest.start()
        guest.destroy()
        self.boots(guest)

    def test_migration_begins(self):
        """libvirt asks the host that it is to go to, which is this one."""
        guest = self.protected()
        guest.start()
        done = virsh("migrate", "--live", "--copy-storage-inc", "web", "qemu:///system", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("runs on this host", done.stderr)
        self.assertEqual(guest.state(), "running")

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
            plain.start()
        finally:
            self.host.agent.start()
        guest.start()

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
        guest.start()

    def test_truncated_image(self):
        image = self.image(TEXT)
        guest = self.protected(image=image)
        os.truncate(image, os.path.getsize(image) - 4096)
        self.refused(guest, r"the image has \d+ bytes, its header says")
        self.gone()


    def test_plaintext_in_the_place_of_an_image(self):
        """Whatever the file says it is, the domain says that it is protected."""
        image = self.image(TEXT)
        guest = self.protected(image=image)
        os.rename(image + ".header", image + ".kept")
        host.write_disk(image, "forged", os.path.getsize(image))
        said = self.refused(guest, "disk vda")
        self.assertIn(image, said)
        os.rename(image + ".kept", image + ".header")
        self.refused(guest, "disk vda")
        guest.destroy(check=False)
        self.gone()

    def test_another_image_in_its_place(self):
        """A larger one, say, under the same key: the layer is not made anew, and works again over its own image."""
        image = self.image(TEXT)
        guest = self.protected(image=image)
        self.boots(guest)
        guest.destroy()
        self.gone()
        plain = host.write_disk(os.path.join(host.PLAIN, "larger"), "another text", 4 << 20)
        larger = os.path.join(self.directory, "larger")
        self.host.agent.run("image", "encrypt", plain, larger, "--key", host.KEY_NAME)
        for name in (image, image + ".header"):
            os.rename(name, name + ".kept")
            os.rename(name.replace(image, larger), name)
        self.refused(guest, "made over another image")
        self.gone()
        for name in (image, image + ".header"):
            os.rename(name + ".kept", name)
        self.boots(guest, AGAIN)


class PowerLoss(GuestsTest):
    def test_while_it_runs(self):
        """A guest that ran has its layer, and its next start needs the key again: the TPM opens it anew."""
        guest = self.guest("web", fixed_uuid="5c2f7a3e-0d43-4d0c-9d5c-3f1f63c0f001")
        image = os.path.join(host.IMAGES, "power-loss")
        guest.protected_disk(image).define()
        if not self.power_lost_at:
            self.image(TEXT, "power-loss", directory=host.IMAGES)
            self.boots(guest)
            guest.destroy()
            guest.start()
            self.assertEqual(guest.wait_until_up(), AGAIN)
            self.assertNotEqual(self.host.leftovers(), [])
            self.lose_power("running")
        self.addCleanup(run, "rm", "-f", image, image + ".header")
        self.assertEqual(self.host.leftovers(), [])
        status = self.host.agent.status()
        self.assertEqual((status["vms"], status["keys"]["cached"], self.releases()), ([], 0, (0, 0)))
        self.host.agent.remove_key(host.KEY_NAME)
        try:
            self.refused(guest, "no key named vm")
        finally:
            self.host.agent.import_key(host.KEY_NAME, host.KEY)
        self.assertEqual(self.host.leftovers(), [])
        self.assertEqual(self.releases(), (0, 0))
        self.boots(guest, AGAIN)
        self.assertEqual(self.releases(), (1, 1))
        self.no_plaintext()

    def releases(self):
        """What the key store has given out since wlagentd has started, and what the TPM has opened."""
        given = self.host.agent.metrics().get('wlagent_source_fetches_total{source="local",code="ok"}', 0)
        return given, self.host.agent.counts().tpm

    def test_while_a_layer_is_made(self):
        """Whichever call of wlagent-volumed's is the last one: the layer is absent or whole, and the VM starts."""
        guest = self.guest("web", fixed_uuid="5c2f7a3e-0d43-4d0c-9d5c-3f1f63c0f002")
        image = os.path.join(host.IMAGES, "power-loss-layer")
        guest.protected_disk(image).define()
        if self.power_lost_at:
            steps = [int(step) for step in self.power_lost_at.split()[2:]]
            self.assertEqual(self.host.leftovers(), [])
            self.assertIn(f"disk 0: {TEXT}\n", self.boots_somehow(guest))
            self.host.agent.run("volume", "remove", "--force", os.path.basename(guest.volume()))
        else:
            steps = list(itertools.islice(killing.steps(30, 1), 200))
            self.image(TEXT, "power-loss-layer", directory=host.IMAGES)
            os.sync()
        if steps:
            self.cut_power(guest, steps)
        self.addCleanup(run, "rm", "-f", image, image + ".header")

    def boots_somehow(self, guest):
        guest.start()
        text = guest.wait_until_up()
        guest.destroy()
        self.gone()
        self.no_plaintext()
        return text

    def cut_power(self, guest, steps):
        self.host.volumed.stop()
        with killing.preloaded():
            self.host.volumed.start()
        self.expect_power_loss("at " + " ".join(map(str, steps)))
        killing.arm("wlagent-volumed", steps[0], "cut")
        guest.start()
        self.keep_power()
        killing.disarm("wlagent-volumed")
        self.host.volumed.stop()
        self.host.volumed.start()
        self.assertTrue(killing.STRIDE and steps[0] > 30, f"there is no call {steps[0]}")
        print(f"     there is no call {steps[0]}, the power was cut before each {killing.STRIDE} of those before it")
