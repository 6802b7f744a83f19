# SPDX-License-Identifier: Apache-2.0
"""wlagent volume: what it asks wlagentd, and what it says. The volumes themselves are in tests/vm."""

import json
import os
import pty
import shutil
import subprocess
import tempfile
import unittest

import fake_control
import running

VM = "6f0b6f6e-1d5e-4f3f-9d53-0123456789ab"
IMAGE = "00000000-0000-4000-8000-000000000001"
BASE = f"wlagent-image-{IMAGE}"
LAYER = f"wlagent-{VM}-vda"
VOLUMES = {
    "volumes": [{"name": BASE, "image": IMAGE, "device": f"/dev/mapper/{BASE}", "size": 10 << 30,
                 "allocated": 3 << 30, "open_count": 2,
                 "writable": False},
                {"name": LAYER, "vm": VM, "target": "vda", "known": True, "device": f"/dev/mapper/{LAYER}",
                 "size": 1536 << 20, "allocated": None, "open_count": 1, "writable": True}],
    "layers": [{"name": LAYER, "vm": VM, "target": "vda", "size": 1536 << 20, "allocated": 1000, "orphan_since": None},
               {"name": f"wlagent-{VM}-vdb", "vm": VM, "target": "vdb", "size": 0, "allocated": 4096,
                "orphan_since": 1790000000},
               {"name": f"wlagent-{VM}-vdc", "vm": VM, "target": "vdc", "size": None, "allocated": 0,
                "orphan_since": None}],
    "conversions": [],
}
CONVERSION = {"name": BASE, "image": IMAGE, "key": "https://kms.example/keys/1", "size": 1 << 30, "allocated": 3 << 20,
              "layers": 2, "last_used": 1767225600}


class Volumes(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-test.")
        self.addCleanup(shutil.rmtree, self.directory)
        self.config = os.path.join(self.directory, "wlagent.conf")
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(f"[Agent]\nRuntimeDirectory={self.directory}\n")
        os.chmod(self.config, 0o600)
        self.asked = None

    def run_agent(self, *words, **options):
        return subprocess.run([running.WLAGENT, "--config", self.config, *words], text=True, capture_output=True,
                              timeout=60, check=False, **{"stdin": subprocess.DEVNULL, **options})

    def ask(self, *words, reply=b"", code=0, **options):
        """Runs wlagent volume with a wlagentd that answers; self.asked is what it was asked."""
        control = fake_control.FakeControl(os.path.join(self.directory, "control.sock"), reply, code)
        done = self.run_agent("volume", *words, **options)
        control.finish()
        self.asked = None if control.command is None else (control.command, control.payload)
        return done

    def expect(self, done, stdout, code=0, stderr=""):
        self.assertEqual((done.returncode, done.stdout, done.stderr), (code, stdout, stderr))

    def test_list(self):
        done = self.ask("list", reply=json.dumps(VOLUMES).encode())
        self.assertEqual(self.asked, (fake_control.CONTROL_VOLUMES, None))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual([line.split() for line in done.stdout.splitlines()], [
            ["VOLUME", "ACCESS", "SIZE", "ON", "DISK", "OPENED", "BY"],
            [BASE, "read-only", "10.0", "GiB", "3.0", "GiB", "2"],
            [LAYER, "writable", "1.5", "GiB", "-", "1"],
            [],
            ["LAYER", "STATE", "SIZE", "ON", "DISK"],
            [LAYER, "open", "1.5", "GiB", "1000", "B"],
            [f"wlagent-{VM}-vdb", "orphan", "0", "B", "4.0", "KiB"],
            [f"wlagent-{VM}-vdc", "closed", "-", "0", "B"]])

        done = self.ask("list", "--json", reply=json.dumps(VOLUMES).encode())
        self.assertEqual(json.loads(done.stdout), VOLUMES)

        unknown = {**CONVERSION, "last_used": None}
        done = self.ask("list", reply=json.dumps({**VOLUMES, "conversions": [CONVERSION, unknown]}).encode(),
                        env={**os.environ, "TZ": "UTC"})
        self.assertEqual([line.split() for line in done.stdout.splitlines()][-4:], [
            [],
            ["CONVERTED", "IMAGE", "LAST", "USED", "ON", "DISK", "LAYERS", "KEY"],
            [BASE, "2026-01-01", "3.0", "MiB", "2", "https://kms.example/keys/1"],
            [BASE, "-", "3.0", "MiB", "2", "https://kms.example/keys/1"]])

        done = self.ask("list", reply=b"x")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("wlagent: the answer of wlagentd: ", done.stderr)

    def test_open(self):
        device = f"/dev/mapper/{LAYER}"
        reply = json.dumps({"device": device}).encode()
        self.expect(self.ask("open", "--vm", VM.upper(), "--disk", "vda", "--image", "/srv/web.img", reply=reply),
                    f"{device}\n")
        self.assertEqual(self.asked, (fake_control.CONTROL_VOLUME_OPEN, {
            "vm": VM, "target": "vda", "mode": "layer", "image": "/srv/web.img"}))

        self.expect(self.ask("open", "--vm", VM, "--disk", "vda", "--image", "./a b.img", "--header", "h", "--mode",
                             "direct", "--key", "local:///web", "--hold", "60", "--json", reply=reply,
                             cwd=self.directory), f'{{"device": "{device}"}}\n')
        self.assertEqual(self.asked, (fake_control.CONTROL_VOLUME_OPEN, {
            "vm": VM, "target": "vda", "mode": "direct", "image": f"{self.directory}/a b.img",
            "header": f"{self.directory}/h", "key": "local:///web", "hold_seconds": 60}))

        done = self.ask("open", "--vm", VM, "--disk", "vda", "--image", "/x", reply=b"key web is refused", code=4)
        self.expect(done, "", 1, "wlagent: key web is refused\n")
        done = self.ask("open", "--vm", VM, "--disk", "vda", "--image", "/x", reply=b"{}")
        self.assertEqual((done.returncode, done.stdout), (1, ""))

    def test_open_says_what_is_missing(self):
        for words, text in (
                ((), "option --vm is missing: for which VM?"),
                (("--vm", VM), "option --disk is missing: as which disk?"),
                (("--vm", VM, "--disk", "vda"), "option --image is missing: which image?"),
                (("--vm", "web", "--disk", "vda", "--image", "/x"), "option --vm: "),
                (("--vm", VM, "--disk", "../x", "--image", "/x"), "'../x' is not the target of a disk"),
                (("--vm", VM, "--disk", "vda", "--image", "/x", "--hold", "0"), "option --hold: '0' is no number"),
                (("--vm", VM, "--disk", "vda", "--image", "/x", "--hold", "1e3"), "option --hold: '1e3' is no number"),
                (("--vm", VM, "--disk", "vda", "--image", "/x", "--hold", "86401"), "option --hold: "),
                (("--vm", VM, "--disk", "vda", "--image", "/x", "--hold", ""), "option --hold: ")):
            done = self.ask("open", *words)
            self.assertIsNone(self.asked)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertTrue(done.stderr.startswith(f"wlagent: {text}"), done.stderr)

    def test_close(self):
        for word in (LAYER, f"/dev/mapper/{LAYER}", BASE):
            name = word.rsplit("/", maxsplit=1)[-1]
            self.expect(self.ask("close", word), f"{name} is closed.\n")
            self.assertEqual(self.asked, (fake_control.CONTROL_VOLUME_CLOSE, {"name": name}))
        self.expect(self.ask("close", LAYER, reply=b"it is in use", code=5), "", 1, "wlagent: it is in use\n")

        for word in ("", "vg-root", "../x", "/dev/sda", "wlagent-", f"{LAYER}/..", f"/dev/mapper//{LAYER}", "x" * 500):
            done = self.ask("close", word)
            self.assertIsNone(self.asked)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"wlagent: '{word[:80]}' is not the name of a volume\nhint: 'wlagent volume list'", done.stderr)

    def test_remove(self):
        self.expect(self.ask("remove", "--force", LAYER), f"The layer of disk vda of VM {VM} is removed.\n")
        self.assertEqual(self.asked, (fake_control.CONTROL_LAYER_REMOVE, {"vm": VM, "target": "vda"}))

        done = self.ask("remove", LAYER)
        self.assertIsNone(self.asked)
        self.expect(done, "", 1, f"wlagent: the layer of disk vda of VM {VM} is still there: there is no terminal to ask "
                                 "on\nhint: add --force to remove it without a question\n")
        self.expect(self.ask("remove", "--force", BASE), f"The converted image {IMAGE} is removed.\n")
        self.assertEqual(self.asked, (fake_control.CONTROL_LAYER_REMOVE, {"image": IMAGE}))
        done = self.ask("remove", BASE)
        self.assertIsNone(self.asked)
        self.assertIn(f"wlagent: the converted image {IMAGE} is still there", done.stderr)

    def test_remove_asks_first(self):
        for answer, code in (("y\n", 0), ("n\n", 1), ("\n", 1)):
            terminal, theirs = pty.openpty()
            os.write(terminal, answer.encode())
            done = self.ask("remove", LAYER, stdin=theirs)
            os.close(terminal)
            os.close(theirs)
            self.assertEqual((done.returncode, self.asked is None), (code, code != 0))
            self.assertIn("All that the VM has written to that disk is gone. [y/N]", done.stdout)

    def test_without_wlagentd(self):
        for words in (("list",), ("close", LAYER), ("remove", "--force", LAYER),
                      ("open", "--vm", VM, "--disk", "vda", "--image", "/x")):
            done = self.run_agent("volume", *words)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("wlagent: wlagentd is not running", done.stderr)

    def test_completion(self):
        for command, names in (("close", [BASE, LAYER]), ("remove", [LAYER, f"wlagent-{VM}-vdb", f"wlagent-{VM}-vdc"])):
            control = fake_control.FakeControl(os.path.join(self.directory, "control.sock"), json.dumps(VOLUMES).encode())
            done = self.run_agent("complete", "--", "--config", self.config, "volume", command, "")
            control.finish()
            self.expect(done, "".join(f"{name}\n" for name in names))
        self.expect(self.run_agent("complete", "--", "--config", self.config, "volume", "close", ""), "")
