# SPDX-License-Identifier: Apache-2.0
"""Each program is killed before any call of its that others can notice, while a disk is encrypted, converted,
adopted, opened for a VM and closed again: nothing stays open, no plaintext and no key is anywhere, nothing is lost,
and the next try works."""

import base64
import json
import os
import secrets
import shutil
import uuid

import foreign_formats
import host
import killing
import test_foreign
import test_nova
from host import run
from running import poll

KEY_NAME = "sweep"
KEY_ID = "local:///" + KEY_NAME
KEY = secrets.token_hex(16).encode()  # a text, for whoever looks for it
KEY_SHOWS = [KEY.decode(), KEY.hex(), base64.b64encode(KEY).decode().rstrip("=")]
MARKER = test_foreign.MARKER
RECORDS = "/run/workload-agent/vms"
SIZE = 64 << 10


class Sweep(test_foreign.Foreign):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.host.agent.stop()
        cls.host.volumed.stop()
        # Each time the key is opened by the TPM.
        cls.host.agent.write_config(Keys={"CacheSeconds": "0"})
        with killing.preloaded():
            cls.host.volumed.start()
            cls.host.agent.start()
        cls.addClassCleanup(cls.as_before)

    @classmethod
    def as_before(cls):
        cls.host.agent.stop()
        cls.host.volumed.stop()
        del cls.host.agent.options["Keys"]["CacheSeconds"]
        cls.host.agent.write_config()
        cls.host.volumed.start()
        cls.host.agent.start()

    def setUp(self):
        super().setUp()
        self.host.agent.import_key(KEY_NAME, KEY)
        self.addCleanup(self.host.agent.remove_key, KEY_NAME)
        self.before = self.conversions()

    def wlagent(self, *words):
        """Returns the exit code."""
        return self.host.agent.run(*words, check=False, env={**os.environ, "LD_PRELOAD": killing.library()}).returncode

    def idle(self):
        """What was cut off may be worked on for a while; and what tidies up is a process of volumed's, too."""
        volumed = str(self.host.volumed.process.pid)
        poll(lambda: run("pgrep", "-P", volumed, check=False).returncode, "volumed to have no session", 60)

    def killed(self, program, step, how, work):
        """Whether it was, in the course of the work."""
        killing.arm(program, step, how)
        code = work()
        reached = killing.disarm(program)
        if not reached:
            self.assertEqual(code, 0)
        elif how == "all":
            self.start_again(self.host.volumed)
        elif program == "wlagentd":
            self.start_again(self.host.agent)
        return reached

    @staticmethod
    def start_again(daemon):
        daemon.process.wait(20)
        with killing.preloaded():
            daemon.start()

    def plain_disk(self, *words, **options):
        return super().plain_disk(*words, filled=True, **options)

    def assert_nothing_shows(self):
        self.left_nothing()
        self.assertEqual(self.host.plaintext(MARKER, *KEY_SHOWS), [])

    def assert_no_vm(self):
        """None is known any more; the agent is told at once, or finds out."""
        poll(lambda: self.host.agent.status()["vms"] == [], lambda: f"{self.host.agent.status()['vms']} to be forgotten")
        self.assertEqual(os.listdir(RECORDS), [])

    def sweep(self, program, calls, work, after, before=lambda: None):
        """calls: how many the program makes at least."""
        count = 0
        ways = killing.ways(program)
        for step, how in ((step, how) for step in killing.steps(calls, 1) for how in ways):
            before()
            try:
                reached = self.killed(program, step, how, work)
                after()
            except BaseException as error:
                error.add_note(f"{program} was to be killed before its call {step}: {how}")
                raise
            if not reached:
                break
            count += 1
            if killing.STRIDE and count % 10 == 0:
                print(f"     {program} has been killed {count} times, and before its call {step}", flush=True)
        if not killing.STRIDE:
            self.assertEqual(count, 1)
        elif reached:
            print(f"     {program} was killed {count} times, and goes on after call {step}")
        else:
            print(f"     {program} was killed {count} times, and ended before call {step}")
            self.assertGreater(step, calls)

    def made(self):
        return sorted(name for name in self.conversions() if name not in self.before)

    def forget_conversions(self):
        for name in self.made():
            os.unlink(os.path.join(test_foreign.CONVERTED, name))

    def decrypted(self, image):
        plain = os.path.join(host.PLAIN, "decrypted")
        self.host.agent.run("image", "decrypt", "--force", image, plain)
        with open(plain, "rb") as file:
            content = file.read()
        os.unlink(plain)
        return content


class Encrypt(Sweep):
    def setUp(self):
        super().setUp()
        self.content = self.plain_disk(size=SIZE)
        self.plain = os.path.join(host.PLAIN, "plain")
        with open(self.plain, "wb") as file:
            file.write(self.content)
        self.out = os.path.join(self.directory, "out")

    def encrypt(self):
        return self.wlagent("image", "encrypt", "--force", self.plain, self.out, "--key", KEY_NAME)

    def whole_or_absent(self):
        """Where there is an image, it is whole and its header beside it; a header may be left alone."""
        if os.path.exists(self.out):
            self.assertEqual(self.decrypted(self.out), self.content)
        self.assert_nothing_shows()
        self.assertEqual(self.encrypt(), 0)
        self.assertEqual(self.decrypted(self.out), self.content)
        os.unlink(self.out)
        os.unlink(self.out + ".header")

    def test_wlagent(self):
        self.sweep("wlagent", 40, self.encrypt, self.whole_or_absent)

    def test_wlagentd(self):
        self.sweep("wlagentd", 6, self.encrypt, self.whole_or_absent)


class Convert(Sweep):
    """An image of Intel's format."""

    def setUp(self):
        super().setUp()
        self.content = self.plain_disk(size=SIZE)
        self.image = foreign_formats.write_isecl(os.path.join(self.directory, "web.enc"), self.content, KEY)
        with open(self.image, "rb") as file:
            self.ciphertext = file.read()

    def convert(self):
        return self.wlagent("volume", "prepare", self.image, "--key", KEY_ID)

    def whole_or_absent(self):
        self.idle()
        for name in self.made():
            if name.endswith(".img"):
                self.assertEqual(self.decrypted(os.path.join(test_foreign.CONVERTED, name)), self.content)
        self.assert_nothing_shows()
        self.assertEqual(self.convert(), 0)
        made = self.made()
        self.assertEqual(len(made), 2, made)
        self.assertEqual(self.decrypted(os.path.join(test_foreign.CONVERTED, made[0])), self.content)
        self.forget_conversions()
        with open(self.image, "rb") as file:
            self.assertEqual(file.read(), self.ciphertext)

    def test_wlagent(self):
        self.sweep("wlagent", 3, self.convert, self.whole_or_absent)

    def test_wlagentd(self):
        self.sweep("wlagentd", 13, self.convert, self.whole_or_absent)

    def test_volumed(self):
        self.sweep("wlagent-volumed", 15, self.convert, self.whole_or_absent)


class Adopt(Sweep):
    """A volume that has an empty passphrase."""

    def setUp(self):
        super().setUp()
        self.content = self.plain_disk(size=SIZE)
        self.image = foreign_formats.write_luks2(os.path.join(self.directory, "web.luks"), self.content)
        self.saved = os.path.join(host.PLAIN, "saved")
        run("cp", "--sparse=always", self.image, self.saved)
        self.addCleanup(os.unlink, self.saved)

    def adopt(self):
        return self.wlagent("volume", "adopt", self.image, "--key", KEY_ID)

    def whole_both_ways(self):
        self.idle()
        self.assert_nothing_shows()
        exposed = foreign_formats.opens(self.image, b"")
        self.assertEqual(foreign_formats.read_luks2(self.image, b"" if exposed else KEY), self.content)
        self.assertEqual(self.adopt(), 0)
        self.assertEqual(os.listdir(self.directory), ["web.luks"])
        self.assertFalse(foreign_formats.opens(self.image, b""))
        self.assertEqual(foreign_formats.read_luks2(self.image, KEY), self.content)
        run("cp", "--sparse=always", self.saved, self.image)

    def test_wlagent(self):
        self.sweep("wlagent", 3, self.adopt, self.whole_both_ways)

    def test_wlagentd(self):
        self.sweep("wlagentd", 13, self.adopt, self.whole_both_ways)

    def test_volumed(self):
        self.sweep("wlagent-volumed", 100, self.adopt, self.whole_both_ways)


class Launch(Sweep):
    """From an image that has to be converted to a guest that runs, and back."""

    def setUp(self):
        super().setUp()
        image = foreign_formats.write_isecl(os.path.join(self.directory, "web.enc"), self.plain_disk(), KEY)
        self.web = self.protected("sweep", image, key=KEY_ID)
        self.addCleanup(self.forget)

    def forget(self):
        """Whether there was a layer."""
        code = self.wlagent("volume", "remove", "--force", os.path.basename(self.web.volume()))
        self.forget_conversions()
        return code == 0

    def start(self):
        return self.web.start(check=False).returncode

    def stop(self):
        """Until everybody has heard of it."""
        code = 0 if self.web.destroy(check=False) else 1
        self.left_nothing()
        self.idle()
        return code

    def runs(self):
        self.web.start()
        self.assertIn(f"disk 0: {MARKER}\n", self.web.wait_until_up())

    def starts_again(self):
        if self.web.state() == "running":
            self.assertIn(f"disk 0: {MARKER}\n", self.web.wait_until_up())
            self.web.destroy()
        self.assert_nothing_shows()
        self.assert_no_vm()
        self.runs()
        self.assertEqual(len(self.made()), 2, self.made())
        self.assertEqual(os.listdir(os.path.join(host.LAYERS, self.web.uuid)), ["vda"])
        self.web.destroy()
        self.assert_nothing_shows()
        self.idle()
        self.assertTrue(self.forget())
        self.assertFalse(os.path.exists(os.path.join(host.LAYERS, self.web.uuid)))

    def stopped(self):
        self.assertEqual(self.web.state(), "shut off")
        self.assert_nothing_shows()
        self.assert_no_vm()
        self.idle()

    def test_start_wlagentd(self):
        self.sweep("wlagentd", 12, self.start, self.starts_again)

    def test_start_volumed(self):
        self.sweep("wlagent-volumed", 60, self.start, self.starts_again)

    def test_stop_wlagentd(self):
        self.sweep("wlagentd", 5, self.stop, self.stopped, self.runs)
        self.runs()
        self.web.destroy()


class NovaLaunch(Sweep):
    """A disk of Nova's, which wlagent-volumed points at the image, and back at the end."""

    def setUp(self):
        super().setUp()
        image_id = str(uuid.uuid4())
        image = self.image(MARKER, key=KEY_NAME, filled=True)
        self.host.agent.run("image", "register", image_id, "--header", image + ".header")
        os.makedirs(os.path.join(host.INSTANCES, "_base"), exist_ok=True)
        self.web = test_nova.Instance(image_id)
        self.addCleanup(shutil.rmtree, self.web.directory)
        self.addCleanup(os.unlink, self.web.base)
        self.addCleanup(self.web.undefine)
        self.addCleanup(self.web.destroy, check=False)
        shutil.copy(image, self.web.base)
        self.web.make_disk()
        self.web.define()
        information = json.loads(self.host.agent.output("image", "info", "--json", image))
        self.mapping = f"/dev/mapper/wlagent-image-{information['uuid']}"

    def assert_nothing_shows(self):
        """But in the layer, which Nova keeps as it is."""
        self.left_nothing()
        self.assertLessEqual(set(self.host.plaintext(MARKER)), {f"/srv{self.web.path}"})
        self.assertEqual(self.host.plaintext(*KEY_SHOWS), [])

    def start(self):
        return self.web.start(check=False).returncode

    def stop(self):
        """Until everybody has heard of it."""
        code = 0 if self.web.destroy(check=False) else 1
        self.left_nothing()
        poll(lambda: not killing.armed("wlagent-volumed") or self.web.backing()[0] == self.web.base, "the way back")
        self.idle()
        return code

    def runs(self):
        self.web.start()
        self.assertIn(f"disk 0: {MARKER}\n", self.web.wait_until_up())

    def either(self):
        """It is whole, and names one or the other."""
        if self.web.state() == "running":
            self.assertIn(f"disk 0: {MARKER}\n", self.web.wait_until_up())
            self.web.destroy()
        self.assert_nothing_shows()
        self.assert_no_vm()
        self.idle()
        self.assertIn(self.web.backing(), [(self.web.base, "raw"), (self.mapping, "raw")])

    def ends(self):
        self.web.destroy()
        self.left_nothing()
        poll(lambda: self.web.backing() == (self.web.base, "raw"), "the way back")
        run("qemu-img", "check", "-q", self.web.path)

    def starts_again(self):
        self.either()
        self.runs()
        self.ends()

    def test_start_volumed(self):
        self.sweep("wlagent-volumed", 20, self.start, self.starts_again)

    def test_stop_volumed(self):
        self.sweep("wlagent-volumed", 3, self.stop, self.either, self.runs)
        self.runs()
        self.ends()

    def test_stop_wlagentd(self):
        self.sweep("wlagentd", 5, self.stop, self.either, self.runs)
        self.runs()
        self.ends()


if __name__ == "__main__":
    import unittest
    unittest.main()
