# SPDX-License-Identifier: Apache-2.0
"""wlagent-volumed and formats that others made, as far as they need no device-mapper: images of Intel SecL are
converted, volumes with an empty passphrase are refused and adopted, and it is killed at every step of both."""

import hashlib
import os
import pwd
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import unittest
import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import foreign_formats
from running import BUILD, connects, has_address_sanitizer, poll

VOLUMED = os.path.join(BUILD, "agent", "volume", "wlagent-volumed")
CLIENT = os.path.join(BUILD, "tests", "vm", "volume-client")
KILL_AT_STEP = os.path.join(BUILD, "tests", "integration", "libkill_at_step.so")
MARKER = b"a marker of the formats' test"
KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
KEY_ID = "local:///web"
KEY_PURPOSE = b"wlagent-isecl 1\n"
LARGEST = 32  # MiB of memory


def conversion_key(key, identity):
    """The volume key of such an image, converted under this key."""
    return HKDF(hashes.SHA256(), 64, None, KEY_PURPOSE + identity.encode()).derive(key)


class Volumed:
    def __init__(self, test, name, **environment):
        run_directory = os.path.join(test.directory, name)
        os.mkdir(run_directory)
        self.config = os.path.join(test.directory, name + ".conf")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"[Agent]\nStateDirectory={test.directory}\nRuntimeDirectory={run_directory}\n"
                       f"[Volumes]\nImageRoots={test.images}\nLayerDirectory={test.layers}\n"
                       f"DigestDirectory={test.directory}/digests\n"
                       f"AgentUser={pwd.getpwuid(os.geteuid()).pw_name}\n")
        os.chmod(self.config, 0o600)
        self.socket = os.path.join(run_directory, "volumed.sock")
        self.process = subprocess.Popen([VOLUMED, "--config", self.config], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={**os.environ, **environment})
        poll(lambda: self.has_ended() or connects(self.socket, socket.SOCK_SEQPACKET), "wlagent-volumed to listen")
        poll(lambda: self.has_ended() or not self.sessions(), "those who were asked whether it listens to end")

    def has_ended(self):
        return self.process.poll() is not None

    def sessions(self):
        """The processes of the sessions."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return children.read().split()

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        os.unlink(self.config)
        shutil.rmtree(os.path.dirname(self.socket))

    def ask(self, *steps):
        return subprocess.run([CLIENT, self.socket, *steps], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False)


class Formats(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-formats.")
        self.addCleanup(shutil.rmtree, self.directory)
        self.images = os.path.join(self.directory, "images")
        self.layers = os.path.join(self.directory, "layers")
        self.converted = os.path.join(self.layers, "converted")
        os.mkdir(self.images, 0o755)
        self.key = self.write("key", KEY)
        self.other_key = self.write("other-key", OTHER_KEY)
        self.volumed = Volumed(self, "run")
        self.addCleanup(self.volumed.stop)
        self.path = os.path.join(self.images, "web")

    def write(self, name, content):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def plaintext(self, size=200000):
        return (MARKER + b" ") * (size // len(MARKER)) + bytes(512 - size // len(MARKER) * (len(MARKER) + 1) % 512)

    def ask(self, *steps):
        done = self.volumed.ask("image", self.path, *steps)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def refused(self, *steps):
        done = self.volumed.ask("image", self.path, *steps)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stdout.splitlines()[-1]

    def memory_of(self, *steps):
        """The largest resident set, in MiB, of the session that takes them; and what was said."""
        with subprocess.Popen([CLIENT, self.volumed.socket, "image", self.path, *steps, "wait"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as client:
            said = client.stdout.readline() + client.stdout.readline()
            self.assertEqual(client.stdout.readline(), "waiting\n", said)
            session, = self.volumed.sessions()
            with open(f"/proc/{session}/status", encoding="ascii") as status:
                peak, = re.findall(r"VmHWM:\s+(\d+) kB", status.read())
            client.stdin.write("\n")
        return int(peak) >> 10, said

    def assert_bounded(self, peak):
        if not has_address_sanitizer():  # it keeps freed memory
            self.assertLess(peak, LARGEST)

    def assert_no_plaintext(self):
        for directory, _, names in os.walk(self.layers):
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    self.assertNotIn(MARKER, file.read(), name)

    def conversions(self):
        return sorted(os.listdir(self.converted)) if os.path.isdir(self.converted) else []


class Isecl(Formats):
    def setUp(self):
        super().setUp()
        foreign_formats.write_isecl(self.path, self.plaintext(), KEY)

    def test_it_is_converted_once(self):
        first = self.ask()
        self.assertIn("format=3", first)
        converted = self.ask("convert", self.key, KEY_ID)
        self.assertIn("format=1", converted)
        names = self.conversions()
        # What the mapping is called is known before, and does not change.
        name = f"name=wlagent-image-{names[0].removesuffix('.img')} "
        self.assertEqual((first + converted + self.ask()).count(name), 4)
        self.assertEqual(len(names), 2)
        self.assertTrue(names[0].endswith(".img") and names[1] == names[0] + ".header")
        before = os.stat(os.path.join(self.converted, names[0]))
        self.assertEqual(before.st_mode & 0o777, 0o600)
        self.assert_no_plaintext()

        self.assertIn(f"format=1 size={before.st_size} ", self.ask())
        self.assertIn("is not in Intel's format", self.refused("convert", self.key, KEY_ID))
        self.assertEqual(os.stat(os.path.join(self.converted, names[0])).st_ino, before.st_ino)

    def test_a_conversion_that_was_removed_meanwhile_is_not_opened(self):
        self.ask("convert", self.key, KEY_ID)
        name = self.conversions()[0].removesuffix(".img")
        key = self.write("volume-key", conversion_key(KEY, name))
        with subprocess.Popen([CLIENT, self.volumed.socket, "image", self.path, "wait", "open", key],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            self.assertIn("format=1", client.stdout.readline())
            self.assertEqual(client.stdout.readline(), "waiting\n")
            for name in self.conversions():
                os.unlink(os.path.join(self.converted, name))
            said, _ = client.communicate("\n", timeout=60)
        self.assertIn("busy: the image has just been replaced or removed", said)

    def test_conversions_are_listed(self):
        self.ask("convert", self.key, KEY_ID)
        name = self.conversions()[0].removesuffix(".img")
        status = os.stat(os.path.join(self.converted, name + ".img"))
        self.write("layers/converted/rubbish.img", b"")
        self.write("layers/converted/" + str(uuid.uuid4()) + ".img", b"")
        done = self.volumed.ask("conversions")
        self.assertEqual(len(done.stdout.splitlines()), 2, done.stdout)
        self.assertRegex(done.stdout, f"^name=wlagent-image-{name} format=3 size={status.st_size} "
                                      f"allocated={status.st_blocks * 512} .* inode={status.st_ino} .* open=0\n")

    def test_a_replaced_image_is_another_one(self):
        self.ask("convert", self.key, KEY_ID)
        foreign_formats.write_isecl(self.path, self.plaintext(), KEY)
        self.assertIn("format=3", self.ask())
        self.ask("convert", self.key, KEY_ID)
        self.assertEqual(len(self.conversions()), 4)

    def test_nothing_is_released_before_the_tag(self):
        for offset in (44, 100000, -17, -16, -1):
            foreign_formats.flip(self.path, offset)
            self.assertRegex(self.refused("convert", self.key, KEY_ID), "^denied: .*tag does not match")
            self.assertEqual(self.conversions(), [])
            foreign_formats.flip(self.path, offset)
        self.assertRegex(self.refused("convert", self.other_key, KEY_ID), "^denied: ")
        self.assertEqual(self.conversions(), [])
        self.ask("convert", self.key, KEY_ID)

    def test_it_is_not_opened_as_it_is(self):
        self.assertRegex(self.refused("open", self.key), "^unsupported: the image is in Intel's format")
        self.ask("convert", self.key, KEY_ID)
        self.assertRegex(self.refused("direct", "5a6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e02", "vda", self.key),
                         "cannot be written to")

    def test_a_refusal_leaves_the_path_to_the_caller(self):
        self.assertEqual(self.refused("header=" + self.path + ".none"),
                         f"not-found: header {self.path}.none: it does not exist")
        os.unlink(self.path)
        self.assertEqual(self.refused(), "not-found: it does not exist")
        self.write("images/web", b"")
        self.assertEqual(self.refused(), "invalid-input: it is empty")
        self.write("images/web", bytes(4096))
        self.assertRegex(self.refused(), "^invalid-input: the image has no header")

    def test_hostile_headers(self):
        with open(self.path, "rb") as file:
            good = file.read()
        for offset, value in ((12, struct.pack("<I", 0)), (12, struct.pack("<I", 43)), (12, b"\xff" * 4),
                              (12, struct.pack("<I", len(good) - 16)), (12, struct.pack("<I", len(good))),
                              (9, b"X"), (16, b"V2"), (32, b"CTR-256"), (39, b"X")):
            with open(self.path, "wb") as file:
                file.write(good[:offset] + value + good[offset + len(value):])
            self.assertRegex(self.refused(), "^(invalid-input|unsupported): ")
        for size in (9, 12, 43, 44, 59, 60):
            with open(self.path, "wb") as file:
                file.write(good[:size])
            self.assertRegex(self.refused(), "^invalid-input: ")

    def test_a_qcow2_that_reaches_out(self):
        head = bytearray(104)
        head[:4] = b"QFI\xfb"
        struct.pack_into(">IQII", head, 4, 3, 104, 11, 16)
        struct.pack_into(">QI", head, 24, 1 << 20, 0)
        struct.pack_into(">I", head, 100, 104)
        foreign_formats.write_isecl(self.path, bytes(head) + b"/etc/shadow" + bytes(262144), KEY)
        self.assertRegex(self.refused("convert", self.key, KEY_ID), "^unsupported: .* has a backing file")
        self.assertEqual(self.conversions(), [])

    def test_memory_is_bounded(self):
        """Neither the image nor the disk in it is in memory as a whole, not even once."""
        foreign_formats.write_isecl(self.path, self.plaintext(192 << 20), KEY)
        peak, said = self.memory_of("convert", self.key, KEY_ID)
        self.assertIn("format=1", said)
        self.assert_bounded(peak)

    def test_killed_at_every_step(self):
        for step in range(1, 1000):
            killed = Volumed(self, "killed", LD_PRELOAD=KILL_AT_STEP, KILL_AT_STEP=str(step))
            done = killed.ask("image", self.path, "convert", self.key, KEY_ID)
            killed.stop()
            self.assert_no_plaintext()
            if done.returncode == 0:
                break
            # Either there is no conversion, or a whole one.
            if "format=1" not in self.ask():
                self.ask("convert", self.key, KEY_ID)
            self.assertEqual(len(self.conversions()), 2)
            shutil.rmtree(self.converted)
        self.assertEqual(done.returncode, 0)
        self.assertGreater(step, 10)


class Digests(Formats):
    """What flavors are held against: of the file that stands there, whatever has been made of it."""

    WLS = "wls:///images/670f263e-b34e-4e07-a520-40ac9a89f62d"

    def setUp(self):
        super().setUp()
        foreign_formats.write_isecl(self.path, self.plaintext(), KEY)
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.images], check=True, capture_output=True, text=True)
        self.keeps = kind.stdout.strip() not in ("tmpfs", "ramfs", "overlayfs")

    def settle(self):
        """A digest is kept only of a file that was not changed just now."""
        poll(lambda: time.time() - os.stat(self.path).st_ctime > 2, "the image to come of age", 120)

    def expected(self):
        with open(self.path, "rb") as file:
            return hashlib.sha384(file.read()).hexdigest()

    def records(self):
        return os.listdir(os.path.join(self.directory, "digests"))

    def test_of_the_file_before_and_after_its_conversion(self):
        expected = self.expected()
        self.settle()
        self.assertIn(f" digest={expected}\n", self.ask("digest"))
        self.assertEqual(len(self.records()), int(self.keeps))
        self.assertIn(f" digest={expected}\n", self.ask("convert", self.key, KEY_ID, "digest"))
        self.assertIn(f" digest={expected}\n", self.ask("digest", "digest"))
        os.truncate(self.path, os.path.getsize(self.path))  # as good as new
        self.assertIn(f" digest={expected}\n", self.ask("digest"))
        self.assertEqual(len(self.records()), int(self.keeps))

    def test_the_conversion_leaves_it(self):
        self.settle()
        self.ask("convert", self.key, self.WLS)
        self.assertEqual(len(self.records()), int(self.keeps))
        for record in self.records():
            with open(os.path.join(self.directory, "digests", record), "rb") as file:
                self.assertIn(bytes.fromhex(self.expected()), file.read())
        self.assertIn(f" digest={self.expected()}\n", self.ask("digest"))

    def test_without_one_it_leaves_none(self):
        self.ask("convert", self.key, KEY_ID)
        self.assertFalse(os.path.exists(os.path.join(self.directory, "digests")))

    def test_what_is_changed_meanwhile_is_not_opened(self):
        self.ask("convert", self.key, self.WLS)
        key = self.write("volume-key", conversion_key(KEY, self.conversions()[0].removesuffix(".img")))
        with subprocess.Popen([CLIENT, self.volumed.socket, "image", self.path, "digest", "wait", "open", key],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            self.assertIn("format=1", client.stdout.readline())
            self.assertIn("digest=", client.stdout.readline())
            self.assertEqual(client.stdout.readline(), "waiting\n")
            os.utime(self.path)
            said, _ = client.communicate("\n", timeout=60)
        self.assertIn("denied: the image has been changed since its digest was computed", said)

    def test_it_is_finished_when_nobody_waits(self):
        size = 3 << 28
        os.truncate(self.path, size)
        self.settle()
        said = self.ask("digest")
        self.assertRegex(said, f"digested=[0-9]+ of={size} digest=\n")
        # Who comes meanwhile sees how far it is, and computes nothing.
        self.assertRegex(self.ask("digest"), f"digested=[0-9]+ of={size} digest=")
        poll(lambda: not self.volumed.sessions(), "the digest to be there", 120)
        if self.keeps:
            self.assertRegex(self.ask("digest"), f"digested={size} of={size} digest=[0-9a-f]{{96}}\n")

    def test_a_directory_that_is_open_to_others(self):
        os.mkdir(os.path.join(self.directory, "digests"), 0o755)
        os.chmod(os.path.join(self.directory, "digests"), 0o755)
        self.assertRegex(self.refused("digest"), "^denied: its digest: DigestDirectory=.* is open to others than root")


class Luks2(Formats):
    """The VM's volume has an empty passphrase."""

    def setUp(self):
        super().setUp()
        self.content = self.plaintext()

    def test_an_empty_passphrase_is_refused(self):
        foreign_formats.write_luks2(self.path, self.content)
        self.assertIn("format=2", self.ask())
        self.assertRegex(self.refused("open", self.key), "^denied: .*empty passphrase.*wlagent volume adopt")

    def test_a_slow_derivation_is_refused(self):
        foreign_formats.write_luks2(self.path, self.content, KEY, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations",
                                    "6000000")
        self.assertRegex(self.refused("open", self.key), "^unsupported: .*luksConvertKey")

    def test_another_key(self):
        foreign_formats.write_luks2(self.path, self.content, KEY)
        self.assertRegex(self.refused("open", self.other_key), "^denied: .*opens no keyslot")

    def test_adopted(self):
        foreign_formats.write_luks2(self.path, self.content)
        old = foreign_formats.volume_key(self.path, b"")
        os.chmod(self.path, 0o640)
        os.chown(self.path, 64055, 1)
        self.assertIn("it opened without a key", self.ask("adopt", self.key))
        self.assertEqual(os.listdir(self.images), ["web"])
        status = os.stat(self.path)
        self.assertEqual((status.st_mode & 0o777, status.st_uid, status.st_gid), (0o640, 64055, 1))
        self.assertFalse(foreign_formats.opens(self.path, b""))
        self.assertFalse(foreign_formats.opens(self.path, OTHER_KEY))
        self.assertNotEqual(foreign_formats.volume_key(self.path, KEY), old)
        self.assertEqual(foreign_formats.read_luks2(self.path, KEY), self.content)
        self.assertIn("there is nothing to do", self.ask("adopt", self.key))
        self.assertRegex(self.refused("adopt", self.other_key), "^denied: ")

    def test_memory_is_bounded(self):
        foreign_formats.write_luks2(self.path, self.content)
        with open(self.path, "ab") as file:
            file.write(os.urandom(192 << 20))
        peak, said = self.memory_of("adopt", self.key)
        self.assertIn("it opened without a key", said)
        self.assert_bounded(peak)

    def test_what_is_no_such_volume_is_not_touched(self):
        with open(self.path, "wb") as file:
            file.write(os.urandom(1 << 20))
        self.assertRegex(self.refused("adopt", self.key), "^invalid-input: ")
        foreign_formats.write_isecl(self.path, self.content, KEY)
        self.assertRegex(self.refused("adopt", self.key), "no ordinary LUKS2 volume")
        foreign_formats.write_luks2(self.path, self.content)
        with open(self.path + ".header", "wb") as header, open(self.path, "rb") as file:
            header.write(file.read(foreign_formats.DATA_OFFSET))
        self.assertRegex(self.refused("adopt", self.key), "^unsupported: ")
        self.assertEqual(foreign_formats.read_luks2(self.path, b""), self.content)

    def unchanged_when_killed_at(self, step, path):
        """Whether the volume is the one that it was, after an adoption was killed there."""
        before = os.stat(path)
        killed = Volumed(self, "killed", LD_PRELOAD=KILL_AT_STEP, KILL_AT_STEP=str(step))
        killed.ask("image", path, "adopt", self.key)
        killed.stop()
        after = os.stat(path)
        if after.st_ino == before.st_ino:
            self.assertEqual((after.st_mtime_ns, after.st_size), (before.st_mtime_ns, before.st_size))
        return after.st_ino == before.st_ino

    def count_steps(self):
        """Of an adoption until the volume is another one; on copies."""
        low, high = 1, 4096
        while low < high:
            copy = os.path.join(self.images, "copy")
            shutil.copyfile(self.path, copy)
            middle = (low + high) // 2
            if self.unchanged_when_killed_at(middle, copy):
                low = middle + 1
            else:
                high = middle
            for name in os.listdir(self.images):
                if name != "web":
                    os.unlink(os.path.join(self.images, name))
        return low - 1

    def test_killed_at_every_step(self):
        foreign_formats.write_luks2(self.path, self.content)
        count = self.count_steps()
        self.assertGreater(count, 20)
        # Most of them write zeros into the area of the keyslots.
        for step in [*range(1, count - 40, 29), *range(max(1, count - 40), count + 1)]:
            self.assertTrue(self.unchanged_when_killed_at(step, self.path), f"step {step} of {count}")
            self.assertLessEqual(len(os.listdir(self.images)), 2)
        self.assertTrue(foreign_formats.opens(self.path, b""))
        self.assertIn("it opened without a key", self.ask("adopt", self.key))
        self.assertFalse(foreign_formats.opens(self.path, b""))
        self.assertEqual(foreign_formats.read_luks2(self.path, KEY), self.content)
        self.assertEqual(os.listdir(self.images), ["web"])


if __name__ == "__main__":
    unittest.main()
