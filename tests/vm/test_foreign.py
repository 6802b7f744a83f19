# SPDX-License-Identifier: Apache-2.0
"""VMs on disks in formats that others made: images of Intel SecL, ordinary LUKS2 volumes, volumes of Intel's agent."""

import json
import os
import time

import foreign_formats
import host
from host import run

KEY_ID = "local:///" + host.KEY_NAME
CONVERTED = os.path.join(host.LAYERS, "converted")
MARKER = "a marker of the foreign disk"


class Foreign(host.VmTest):
    def plain_disk(self, text=MARKER, size=1 << 20, **disk):
        path = host.write_disk(os.path.join(host.PLAIN, "disk"), text, size, **disk)
        with open(path, "rb") as file:
            content = file.read()
        os.unlink(path)
        return content

    def isecl(self, name="web.enc", key=host.KEY, **options):
        return foreign_formats.write_isecl(os.path.join(self.directory, name), self.plain_disk(**options), key)

    def luks2(self, key=host.KEY, name="web.luks", *options):
        return foreign_formats.write_luks2(os.path.join(self.directory, name), self.plain_disk(), key, *options)

    def protected(self, name, image, mode="layer", key=KEY_ID):
        return self.guest(name).protected_disk(image, mode, key).define()

    def refused(self, guest):
        done = guest.start(virsh_says=True)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.host.leftovers(), [])
        return done.stderr

    def conversions(self):
        return sorted(os.listdir(CONVERTED)) if os.path.isdir(CONVERTED) else []

    def assert_no_plaintext(self):
        self.assertEqual(self.host.plaintext(MARKER), [])


class Isecl(Foreign):
    def setUp(self):
        super().setUp()
        self.before = self.conversions()

    def made(self):
        return [name for name in self.conversions() if name not in self.before]

    def test_it_boots_and_is_converted_once(self):
        image = self.isecl()
        first = self.protected("isecl-1", image)
        first.start()
        self.assertIn(f"disk 0: {MARKER}", first.wait_until_up())
        made = self.made()
        self.assertEqual(len(made), 2)
        inode = os.stat(os.path.join(CONVERTED, made[0])).st_ino

        # Another VM shares the conversion and its mapping.
        second = self.protected("isecl-2", image, "ephemeral")
        second.start()
        self.assertIn(f"disk 0: {MARKER}", second.wait_until_up())
        self.assertEqual(self.made(), made)
        self.assertEqual(os.stat(os.path.join(CONVERTED, made[0])).st_ino, inode)
        self.assert_no_plaintext()
        self.assertEqual(len([name for name in self.host.mappings() if name.startswith("wlagent-image-")]), 1)

        # What the first VM has written is there when the conversion was lost meanwhile.
        first.destroy()
        second.destroy()
        for name in made:
            os.unlink(os.path.join(CONVERTED, name))
        first.start()
        self.assertIn(f"disk 0: kept {MARKER}", first.wait_until_up())
        self.assertEqual(self.made(), made)
        self.assert_no_plaintext()

    def test_a_conversion_is_removed_when_nothing_needs_it(self):
        image = self.isecl()
        guest = self.protected("isecl-removed", image)
        passing = self.protected("isecl-passing", image, "ephemeral")
        guest.start()
        files = [os.path.join(CONVERTED, name) for name in self.made()]
        os.utime(files[1], (1, 1))
        name = "wlagent-image-" + os.path.basename(files[0]).removesuffix(".img")

        def listed():
            found = json.loads(self.host.agent.output("volume", "list", "--json"))["conversions"]
            return next((entry for entry in found if entry["name"] == name), None)

        def refused(reason):
            done = self.host.agent.run("volume", "remove", "--force", name, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(reason, done.stderr)

        self.assertEqual((listed()["layers"], listed()["key"], listed()["last_used"]), (1, KEY_ID, 1))
        refused(b"use")
        guest.destroy()
        self.left_nothing()
        refused(b"1 layers of VMs stand on it")
        self.assertTrue(all(os.path.exists(path) for path in files))

        guest.start()
        self.assertAlmostEqual(listed()["last_used"], time.time(), delta=100)
        guest.destroy()
        self.left_nothing()
        self.forgotten(guest)
        self.host.agent.run("volume", "remove", "--force", f"wlagent-{guest.uuid}-vda")
        passing.start()
        refused(b"use")
        passing.destroy()
        self.left_nothing()
        self.forgotten(passing)
        self.assertEqual(listed()["layers"], 0)
        self.host.agent.run("volume", "remove", "--force", name)
        self.assertIsNone(listed())
        self.assertEqual(self.made(), [])
        refused(b"has not been converted")
        guest.start()
        self.assertIn(f"disk 0: {MARKER}", guest.wait_until_up())

    def test_a_changed_image_does_not_start(self):
        image = self.isecl()
        guest = self.protected("isecl-changed", image)
        for offset in (44, 1 << 19, -1):
            foreign_formats.flip(image, offset)
            self.assertIn("tag does not match", self.refused(guest))
            self.assertEqual(self.made(), [])
            foreign_formats.flip(image, offset)
        self.assert_no_plaintext()
        guest.start()
        self.assertIn(f"disk 0: {MARKER}", guest.wait_until_up())

    def test_another_key_and_no_key(self):
        image = self.isecl(key=bytes(range(1, 33)))
        self.assertIn("tag does not match", self.refused(self.protected("isecl-other-key", image)))
        self.assertIn("nothing in it names its key", self.refused(self.protected("isecl-no-key", image, key=None)))
        self.assertIn("cannot be written to", self.refused(self.protected("isecl-direct", image, "direct")))
        self.assertEqual(self.made(), [])

    def test_a_large_one_is_converted_by_hand(self):
        image = self.isecl()
        with open(image, "r+b") as file:
            file.truncate((8 << 30) + 4096)
        guest = self.protected("isecl-large", image)
        self.assertIn("wlagent volume prepare", self.refused(guest))

    def test_prepared(self):
        image = self.isecl()
        self.assertIn("it has been converted", self.host.agent.output("volume", "prepare", image, "--key", KEY_ID))
        self.assertEqual(len(self.made()), 2)
        self.assertIn("nothing to do", self.host.agent.output("volume", "prepare", image, "--key", KEY_ID))
        foreign_formats.flip(image, -1)
        done = self.host.agent.run("volume", "prepare", image, "--key", KEY_ID, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"tag does not match", done.stderr)
        self.assertEqual(len(self.made()), 2)
        self.assert_no_plaintext()


class Luks2(Foreign):
    def test_a_keyslot_opens_it(self):
        image = self.luks2()
        guest = self.protected("luks2-layer", image)
        guest.start()
        self.assertIn(f"disk 0: {MARKER}", guest.wait_until_up())
        self.assert_no_plaintext()
        guest.destroy()
        self.left_nothing()
        guest.start()

        direct = self.protected("luks2-direct", self.luks2(name="direct.luks"), "direct")
        direct.start()
        self.assertIn(f"disk 0: {MARKER}", direct.wait_until_up())
        self.assert_no_plaintext()

    def test_another_key(self):
        guest = self.protected("luks2-other", self.luks2(bytes(range(1, 33))))
        self.assertIn("opens no keyslot", self.refused(guest))

    def test_what_is_in_it_is_not_guessed(self):
        """Whoever made it may have put a qcow2 there that leads to files of the host."""
        guest = self.guest("luks2-format").protected_disk(self.luks2(), "direct", KEY_ID)
        guest.disks = [disk.replace("type='raw'", "type='qcow2'") for disk in guest.disks]
        self.assertIn("has to be raw", self.refused(guest.define()))

    def test_an_exposed_volume_is_adopted(self):
        image = self.luks2(b"")
        guest = self.protected("luks2-exposed", image, "direct")
        self.assertIn("empty passphrase", self.refused(guest))

        # Open by whoever has it: not touched.
        with open(os.path.join(host.PLAIN, "empty"), "wb"):
            pass
        run("cryptsetup", "open", "--key-file", os.path.join(host.PLAIN, "empty"), image, "theirs")
        done = self.host.agent.run("volume", "adopt", image, "--key", KEY_ID, check=False)
        run("cryptsetup", "close", "theirs")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"it is open as /dev/loop", done.stderr)

        told = self.host.agent.output("volume", "adopt", image, "--key", KEY_ID)
        self.assertIn("it opened without a key", told)
        self.assertFalse(foreign_formats.opens(image, b""))
        guest.start()
        self.assertIn(f"disk 0: {MARKER}", guest.wait_until_up())
        self.assert_no_plaintext()

    def test_what_intels_agent_made(self):
        """With the defaults of luksFormat, as Intel's agent calls it."""
        image = os.path.join(self.directory, "vm_sparse")
        with open(image, "wb") as file:
            file.truncate(64 * 1000 * 1000)
        empty = os.path.join(host.PLAIN, "empty")
        with open(empty, "wb"):
            pass
        run("cryptsetup", "-v", "--batch-mode", "luksFormat", image, "--key-file", empty, "--pbkdf-memory", "300000",
            "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "1")
        guest = self.protected("intel", image, "direct")
        self.assertIn("wlagent volume adopt", self.refused(guest))
        self.assertIn("it opened without a key", self.host.agent.output("volume", "adopt", image, "--key", KEY_ID))
        self.assertTrue(foreign_formats.opens(image, host.KEY))
        self.assertFalse(foreign_formats.opens(image, b""))


if __name__ == "__main__":
    import unittest
    unittest.main()
