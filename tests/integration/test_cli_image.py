# SPDX-License-Identifier: Apache-2.0
"""wlagent image: what it makes is judged by cryptography of others, by cryptsetup and by qemu-img."""

import base64
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import harness
import running

MIB = 1 << 20
KEY = bytes(range(7, 39))
GLANCE = "0c5e1f62-9f4e-4a5f-8c55-2a1c1b7e9d01"


def image_header(path):
    """UUID and token of an image's header."""
    with open(path + ".header", "rb") as file:
        content = file.read()
    return content[168:204].decode(), json.loads(content[4096:16384].split(b"\0")[0])["tokens"]["0"]


def volume_key(path, key):
    uuid, token = image_header(path)
    identity = "\n".join(["wlagent-image 1", uuid, token["key_id"], token["content"], token["size"],
                          token["virtual_size"], "sealed" if "seal" in token else "open", ""])
    return AESGCM(key).decrypt(base64.b64decode(token["nonce"]), base64.b64decode(token["wrapped_key"]),
                               identity.encode())


def decrypt(path, key):
    """The plaintext, as AES-XTS of another implementation has it."""
    secret = volume_key(path, key)
    plain = bytearray()
    with open(path, "rb") as file:
        for number, sector in enumerate(iter(lambda: file.read(4096), b"")):
            tweak = struct.pack("<QQ", number * 8, 0)
            plain += Cipher(algorithms.AES(secret), modes.XTS(tweak)).decryptor().update(sector)
    return bytes(plain)


def no_room():
    """No file may grow beyond a MiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))


def writes_unnamed(pid):
    """Whether the process has a large file without a name."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            status = os.stat(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:
            continue
        if status.st_nlink == 0 and status.st_size > MIB:
            return True
    return False


class ImageTest(unittest.TestCase):
    """Off any host: the key is in a file, no agent runs and nobody is root."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-test.")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        os.chmod(self.directory, 0o755)
        self.key = self.write("key", KEY)
        self.config = self.write("wlagent.conf", f"[Agent]\nStateDirectory={self.directory}/state\n".encode())
        os.chmod(self.config, 0o600)
        self.out = self.path("out")

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def run_image(self, *words, check=True, **options):
        done = subprocess.run([harness.WLAGENT, "--config", self.config, "image", *words], capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=120, check=False, **options)
        if check and done.returncode:
            raise AssertionError(f"wlagent image {' '.join(words)}: {done.stderr.decode(errors='replace')}")
        return done

    def encrypt(self, source, *options, out=None, **others):
        return self.run_image("encrypt", source, out or self.out, "--key", "web-1", "--key-file", self.key, *options,
                              **others)

    def decrypt(self, out=None, **options):
        back = self.path("back")
        self.run_image("decrypt", out or self.out, back, "--key-file", self.key, "--force", **options)
        with open(back, "rb") as file:
            return file.read()

    def fails(self, done, pattern):
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.decode(), pattern)
        self.assertNotIn("Sanitizer", done.stderr.decode())

    def left_over(self, *expected):
        """Nothing is in the directory but this."""
        self.assertEqual(sorted(set(os.listdir(self.directory)) - {"key", "wlagent.conf"}), sorted(expected))

    def disk(self, name="disk", size=3 * MIB + 5 * 512):
        return self.write(name, os.urandom(size))

    def sparse_disk(self, name="sparse", size=700 * MIB):
        """Data at the begin, in the middle, across the border of two L2 tables and at the end."""
        with open(self.path(name), "wb") as file:
            file.truncate(size)
            for at, length in ((0, 4096), (3 * MIB, 200000), (512 * MIB - 70000, 140000), (size - 512, 512)):
                file.seek(at)
                file.write(os.urandom(length))
        return self.path(name)

    def qemu_img(self, *words):
        """qemu-img gives up when the kernel has not seen how long its first key derivation took."""
        for _ in range(50):
            done = subprocess.run(["qemu-img", *words], capture_output=True, text=True, check=False)
            if "accurate CPU usage" not in done.stderr:
                break
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_without_root(self):
        """And with no device but the disk: a user who may do nothing else."""
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        disk = self.disk()
        for path in (self.directory, disk, self.key, self.config):
            os.chown(path, 65534, 65534)
        for options in ((), ("--compact",)):
            self.encrypt(disk, "--force", *options, **nobody)
            self.run_image("info", self.out, **nobody)
            self.run_image("verify", self.out, "--key-file", self.key, **nobody)
            self.run_image("decrypt", self.out, self.path("back"), "--key-file", self.key, "--force", **nobody)
            self.assertEqual(os.stat(self.out).st_uid, 65534)
            self.assertEqual(self.read("back"), self.read("disk"))

    def test_the_ciphertext_is_aes_xts(self):
        for size in (512, 4096, 4608, MIB, 3 * MIB + 5 * 512):
            disk = self.disk(size=size)
            self.encrypt(disk, "--force")
            plain = decrypt(self.out, KEY)
            self.assertEqual(len(plain) % 4096, 0)
            self.assertEqual(plain[:size], self.read("disk"))
            self.assertEqual(plain[size:], bytes(len(plain) - size))
            self.assertEqual(self.decrypt(), self.read("disk"))

    def test_a_size_that_is_no_multiple_of_a_sector(self):
        disk = self.write("disk", b"x" * 1000)
        self.encrypt(disk)
        self.assertEqual(self.decrypt(), b"x" * 1000 + bytes(24))

    def test_cryptsetup_reads_the_header(self):
        self.encrypt(self.disk())
        dump = subprocess.run(["cryptsetup", "luksDump", self.out + ".header"], capture_output=True, text=True, check=True)
        self.assertRegex(dump.stdout, r"(?s)cipher: aes-xts-plain64\s+sector: 4096.*wlagent-image")
        self.assertEqual(os.stat(self.out + ".header").st_size, 36864)

    def test_info(self):
        disk = self.disk()
        result = json.loads(self.encrypt(disk, "--json").stdout)
        info = json.loads(self.run_image("info", self.out, "--json").stdout)
        for name in ("uuid", "key", "content", "size", "virtual_size", "sealed"):
            self.assertEqual(info[name], result[name])
        self.assertEqual((info["key"], info["content"], info["sealed"]), ("local:///web-1", "raw", True))
        self.assertEqual(info["virtual_size"], 3 * MIB + 5 * 512)
        self.assertTrue(info["size_agrees"])
        text = self.run_image("info", self.out).stdout.decode()
        self.assertEqual(self.run_image("info", self.out + ".header").stdout.decode(), text)
        self.assertRegex(text, r"(?m)^Key:           local:///web-1$")
        os.truncate(self.out, 4096)
        self.assertIn("but the image has another size", self.run_image("info", self.out).stdout.decode())
        os.unlink(self.out)
        self.assertIn("but there is no image", self.run_image("info", self.out).stdout.decode())

    def test_holes_are_encrypted(self):
        """Ciphertext does not show where the disk is empty."""
        with open(self.path("disk"), "wb") as file:
            file.truncate(8 * MIB)
        self.encrypt(self.path("disk"))
        self.assertEqual(decrypt(self.out, KEY), bytes(8 * MIB))
        content = self.read("out")
        sectors = {content[at:at + 4096] for at in range(0, len(content), 4096)}
        self.assertEqual(len(sectors), 2048)
        self.assertEqual(self.decrypt(), bytes(8 * MIB))
        self.assertLess(os.stat(self.path("back")).st_blocks, 64)

    def test_compact(self):
        disk = self.sparse_disk()
        self.encrypt(disk, "--compact")
        self.assertLess(os.stat(self.out).st_size, 4 * MIB)
        inside = self.write("inside.qcow2", decrypt(self.out, KEY))
        self.qemu_img("check", "-f", "qcow2", inside)
        self.qemu_img("compare", "-f", "qcow2", "-F", "raw", inside, disk)
        self.run_image("verify", self.out, "--key-file", self.key)
        self.run_image("decrypt", self.out, self.path("back"), "--key-file", self.key)
        self.qemu_img("compare", "-f", "raw", "-F", "raw", self.path("back"), disk)

    def test_compact_is_deterministic(self):
        disk = self.sparse_disk()
        self.encrypt(disk, "--compact")
        self.encrypt(disk, "--compact", out=self.path("again"))
        self.assertEqual(decrypt(self.out, KEY), decrypt(self.path("again"), KEY))
        self.assertNotEqual(self.read("out"), self.read("again"))

    def test_compact_of_an_empty_and_of_a_full_disk(self):
        with open(self.path("empty"), "wb") as file:
            file.truncate(5 << 30)
        full = self.disk()
        for disk in (self.path("empty"), full):
            self.encrypt(disk, "--compact", "--force")
            inside = self.write("inside.qcow2", decrypt(self.out, KEY))
            self.qemu_img("check", "-f", "qcow2", inside)
            self.qemu_img("compare", "-f", "qcow2", "-F", "raw", inside, disk)

    def test_qcow2_of_every_kind(self):
        disk = self.sparse_disk(size=600 * MIB)
        for options in (("-o", "compat=0.10"), ("-o", "compat=1.1,cluster_size=512"), ("-o", "cluster_size=2M"), ("-c",),
                        ("-c", "-o", "compression_type=zstd"), ("-c", "-o", "compression_type=zstd,cluster_size=1M"),
                        ("-c", "-o", "cluster_size=4k"), ("-o", "preallocation=metadata"), ("-S", "0", "-o", "lazy_refcounts=on")):
            with self.subTest(options=options):
                image = self.path("disk.qcow2")
                self.qemu_img("convert", "-f", "raw", "-O", "qcow2", *options, disk, image)
                self.encrypt(image, "--compact", "--force")
                inside = self.write("inside.qcow2", decrypt(self.out, KEY))
                self.qemu_img("check", "-f", "qcow2", inside)
                self.qemu_img("compare", "-f", "qcow2", "-F", "raw", inside, disk)
                self.run_image("decrypt", self.out, self.path("back"), "--key-file", self.key, "--force")
                self.qemu_img("compare", "-f", "raw", "-F", "raw", self.path("back"), disk)

    def test_qcow2_becomes_raw(self):
        disk = self.disk()
        image = self.path("disk.qcow2")
        self.qemu_img("convert", "-f", "raw", "-O", "qcow2", "-c", disk, image)
        self.encrypt(image)
        self.assertEqual(json.loads(self.run_image("info", self.out, "--json").stdout)["content"], "raw")
        self.assertEqual(self.decrypt(), self.read("disk"))

    def test_the_format_can_be_said(self):
        image = self.path("disk.qcow2")
        self.qemu_img("convert", "-f", "raw", "-O", "qcow2", self.disk(), image)
        self.encrypt(image, "--format", "raw")
        self.assertEqual(self.decrypt(), self.read("disk.qcow2"))
        self.fails(self.encrypt(self.path("disk"), "--format", "qcow2", out=self.path("none"), check=False),
                   "this is no qcow2 image")
        done = self.encrypt(self.path("disk"), "--format", "vmdk", check=False)
        self.assertEqual(done.returncode, 2)

    def test_qcow2_that_needs_others_is_refused(self):
        disk = self.disk()
        with open(self.path("secret"), "wb") as file:
            file.write(b"secret")
        for text, words in (("needs a backing file", ("create", "-f", "qcow2", "-F", "raw", "-b", disk)),
                            ("features that are not known", ("create", "-f", "qcow2", "-o", f"data_file={self.path('data')}")),
                            ("encrypted already", ("create", "-f", "qcow2", "--object", "secret,id=s,data=x",
                                                   "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=100")),
                            ("features that are not known", ("create", "-f", "qcow2", "-o", "extended_l2=on"))):
            image = self.path("disk.qcow2")
            size = () if "-b" in words else ("10M",)
            self.qemu_img(*words, image, *size)
            self.fails(self.encrypt(image, check=False), text)
        self.assertFalse(os.path.exists(self.out))

    def test_verify(self):
        self.encrypt(self.disk(size=5 * MIB))
        self.assertIn("whole and unchanged", self.run_image("verify", self.out, "--key-file", self.key).stdout.decode())
        content = bytearray(self.read("out"))
        for at in (0, 65535, 65536, MIB - 1, MIB, 2 * MIB + 7, len(content) - 1):
            content[at] ^= 1
            self.write("out", content)
            self.fails(self.run_image("verify", self.out, "--key-file", self.key, check=False),
                       "the seal does not match|the header is not of this image")
            self.fails(self.run_image("decrypt", self.out, self.path("back"), "--key-file", self.key, check=False),
                       "the seal does not match|the header is not of this image")
            content[at] ^= 1
        self.assertFalse(os.path.exists(self.path("back")))

        # What a VM has written is the owner's, too.
        content[0] ^= 1
        self.write("out", content)
        self.run_image("decrypt", "--changed", self.out, self.path("back"), "--key-file", self.key)
        self.assertEqual(self.read("back")[4096:], self.read("disk")[4096:])
        self.assertNotEqual(self.read("back")[:4096], self.read("disk")[:4096])
        content[0] ^= 1

        swapped = content[:MIB] + content[2 * MIB:3 * MIB] + content[MIB:2 * MIB] + content[3 * MIB:]
        self.write("out", swapped)
        self.fails(self.run_image("verify", self.out, "--key-file", self.key, check=False), "the seal does not match")

    def test_without_a_seal(self):
        self.encrypt(self.disk(), "--no-seal")
        self.assertIn("no seal", self.run_image("verify", self.out, "--key-file", self.key).stdout.decode())
        content = bytearray(self.read("out"))
        content[MIB] ^= 1
        self.write("out", content)
        self.run_image("verify", self.out, "--key-file", self.key)
        content[0] ^= 1
        self.write("out", content)
        self.fails(self.run_image("verify", self.out, "--key-file", self.key, check=False),
                   "the header is not of this image")

    def test_what_does_not_belong_together(self):
        self.encrypt(self.disk())
        self.encrypt(self.path("disk"), out=self.path("other"))
        self.fails(self.run_image("verify", self.out, "--header", self.path("other.header"), "--key-file", self.key,
                                  check=False), "the header is not of this image")
        wrong = self.write("wrong", bytes(32))
        self.fails(self.run_image("verify", self.out, "--key-file", wrong, check=False),
                   "does not open with local:///web-1: the authentication tag does not match\nhint: the key is not the one")
        os.truncate(self.out, os.stat(self.out).st_size - 4096)
        self.fails(self.run_image("verify", self.out, "--key-file", self.key, check=False), "bytes where its header says")
        self.fails(self.run_image("verify", self.path("disk"), "--header", self.path("disk"), "--key-file", self.key,
                                  check=False), "this is no LUKS header")

    def test_nothing_is_replaced_unasked(self):
        disk = self.disk()
        for name in ("out", "out.header"):
            self.write(name, b"precious")
            self.fails(self.encrypt(disk, check=False), f"{self.path(name)} exists already\nhint: --force replaces it")
            self.assertEqual(self.read(name), b"precious")
            self.left_over("disk", name)
            os.unlink(self.path(name))
        self.fails(self.encrypt(disk, "--force", out=disk, check=False), "IN and OUT would be one file")
        self.encrypt(disk)
        before = self.read("out")
        self.encrypt(disk, "--force")
        self.assertNotEqual(self.read("out"), before)
        self.assertEqual(self.decrypt(), self.read("disk"))

    def test_what_is_written_is_no_other_file(self):
        """Whatever --force says, and by whichever name: nothing that is read is replaced, nor what has just been written."""
        disk = self.disk()
        self.encrypt(disk)
        os.link(disk, self.path("linked"))
        os.symlink("key", self.path("symbolic"))
        os.mkdir(self.path("below"))
        here = self.path("below/..")
        names = ("disk", "key", "out", "out.header")
        before = {name: (self.read(name), os.stat(self.path(name)).st_ino) for name in names}
        shutil.copy(self.path("out.header"), self.path("header"))
        key = ("--key-file", self.key, "--force")
        for words, roles in (
                (("encrypt", disk, self.path("linked"), "--key", "web-1", *key), "IN and OUT"),
                (("encrypt", disk, f"{here}/disk", "--key", "web-1", *key), "IN and OUT"),
                (("encrypt", self.path("out.header"), self.out, "--key", "web-1", *key), "IN and OUT.header"),
                (("encrypt", disk, self.path("symbolic"), "--key", "web-1", *key), "OUT and --key-file"),
                (("encrypt", disk, self.key, "--output-format", "isecl", *key), "OUT and --key-file"),
                (("decrypt", self.out, self.out, *key), "IN and OUT"),
                (("decrypt", self.out, f"{here}/out", *key), "IN and OUT"),
                (("decrypt", self.out, f"{self.out}.header", *key), "IN.header and OUT"),
                (("decrypt", self.out, self.path("header"), "--header", self.path("header"), *key), "--header and OUT"),
                (("decrypt", self.out, self.key, *key), "--key-file and OUT")):
            with self.subTest(words=words):
                self.fails(self.run_image(*words, check=False), f"wlagent: {roles} would be one file: .* and ")
                self.assertEqual({name: (self.read(name), os.stat(self.path(name)).st_ino) for name in names}, before)
        with open(self.key, "rb") as file:
            done = subprocess.run([harness.WLAGENT, "image", "decrypt", self.out, self.key, "--key-file", "-", "--force"],
                                  stdin=file, capture_output=True, check=False)
        self.fails(done, "--key-file and OUT would be one file: standard input and ")
        self.assertEqual(self.read("key"), KEY)

    def test_bad_words(self):
        disk = self.disk()
        for words in ((disk,), (), (disk, "a", "b")):
            done = self.run_image("encrypt", *words, "--key", "web-1", check=False)
            self.assertEqual(done.returncode, 2, words)
        self.assertEqual(self.run_image("encrypt", disk, self.out, check=False).returncode, 2)
        self.assertEqual(self.run_image("encrypt", disk, self.out, "--key", "no such key!", check=False).returncode, 2)
        for source, text in ((self.path("nothing"), "does not exist\nhint: name the disk "), (self.directory, "neither a file nor a block device"),
                             ("/dev/zero", "neither a file nor a block device"), (self.write("empty", b""), "the disk is empty")):
            self.fails(self.encrypt(source, check=False), text)
        self.fails(self.encrypt(disk, out=self.path("no/where"), check=False), "no does not exist\nhint: make that directory first")
        self.assertIn(b"UUID\nhint: the UUID is that of the image in Glance\nusage: wlagent image encrypt ",
                      self.run_image("encrypt", disk, self.out, "--key", "wls:///images/x", check=False).stderr)
        short = self.write("short", b"x" * 31)
        self.fails(self.run_image("encrypt", disk, self.out, "--key", "web-1", "--key-file", short, check=False),
                   "holds less than the 32 bytes of a raw key\nhint: make one with 'openssl rand -out FILE 32'\n$")
        self.assertFalse(os.path.exists(self.out))

    def test_cryptsetup_takes_the_key(self):
        """By the command in the manual, but for the device that takes a kernel with device-mapper."""
        self.encrypt(self.disk())
        with open(os.path.join(running.TOP, "man", "wlagent-image.1.scd"), encoding="utf-8") as manual:
            words = re.search("^(cryptsetup open .*) OUT NAME$", manual.read(), re.M).group(1).split()
        words = [word.replace("OUT", self.out).replace("KEY", self.path("volume-key")) for word in words]
        own = volume_key(self.out, KEY)
        for key, opens in ((own, True), (own[::-1], False), (KEY, False)):
            self.write("volume-key", key)
            done = subprocess.run([*words, "--test-passphrase", self.out], capture_output=True, check=False)
            self.assertEqual(done.returncode == 0, opens, done.stderr)

    def test_what_is_not_there(self):
        self.encrypt(self.disk())
        short = self.write("short", b"x" * 31)
        os.rename(self.path("out.header"), self.path("away"))
        for command, *words in (("info",), ("verify", "--key-file", self.key), ("decrypt", self.path("back"), "--key-file", self.key)):
            self.fails(self.run_image(command, self.path("none"), *words, check=False),
                       f"^wlagent: {self.path('none')} does not exist\nhint: .*'wlagent image list'")
            self.fails(self.run_image(command, self.out, *words, check=False),
                       f"^wlagent: {self.out}.header does not exist\nhint: .*--header.*'wlagent image list'")
            self.fails(self.run_image(command, self.out, *words, "--header", self.path("none"), check=False),
                       f"^wlagent: {self.path('none')} does not exist\nhint: name the header ")
        for command, *words in (("verify",), ("decrypt", self.path("back"))):
            self.fails(self.run_image(command, self.path("none"), *words, "--header", self.path("away"), "--key-file", self.key,
                                      check=False), "none does not exist\nhint: .*'wlagent image list'")
            self.fails(self.run_image(command, self.out, *words, "--header", self.path("away"), "--key-file", short, check=False),
                       "holds less than the 32 bytes of a raw key\nhint: name the file .* no other key opens it\n$")

    def test_without_an_agent(self):
        self.fails(self.run_image("encrypt", self.disk(), self.out, "--key", "web-1", check=False),
                   "wlagentd is not running.*\nhint: .*--key-file")

    def test_a_full_disk(self):
        disk = self.disk(size=8 * MIB)
        self.fails(self.encrypt(disk, check=False, preexec_fn=no_room), "there is no room for 8388608 bytes: File too large")
        self.fails(self.encrypt(disk, "--compact", check=False, preexec_fn=no_room), "there is no room")
        self.left_over("disk")

    @unittest.skipIf(os.geteuid(), "only root mounts a small disk")
    def test_a_small_disk(self):
        disk = self.disk(size=8 * MIB)
        small = self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", small], check=True)
        try:
            self.fails(self.encrypt(disk, out=os.path.join(small, "out"), check=False),
                       "there is no room for 8388608 bytes: No space left on device")
            self.assertEqual(os.listdir(small), [])
            self.encrypt(disk)
            self.fails(self.run_image("decrypt", self.out, os.path.join(small, "back"), "--key-file", self.key, check=False),
                       "No space left on device")
            self.assertEqual(os.listdir(small), [])
        finally:
            subprocess.run(["umount", small], check=True)

    def without_temporary_files(self):
        for name in os.listdir(self.directory):
            if name.startswith(".new-"):
                os.unlink(self.path(name))

    def test_killed_at_every_step(self):
        """An image is there only if it is whole and its header beside it."""
        disk = self.disk()
        preload = os.path.join(harness.BUILD, "tests", "integration", "libkill_at_step.so")
        found = []
        for step in range(1, 100):
            done = self.encrypt(disk, check=False, env={**os.environ, "LD_PRELOAD": preload, "KILL_AT_STEP": str(step)})
            found.append([name for name in ("out", "out.header") if os.path.exists(self.path(name))])
            if "out" in found[-1]:
                self.run_image("verify", self.out, "--key-file", self.key)
            if done.returncode != -signal.SIGKILL:
                break
            for name in os.listdir(self.directory):
                if name.startswith(".new-") and os.path.getsize(self.path(name)) == 0:
                    os.unlink(self.path(name))
            self.left_over("disk", *found[-1])
            if found[-1] == ["out.header"]:
                self.fails(self.encrypt(disk, check=False), "out.header exists already\nhint: --force replaces it")
                self.without_temporary_files()
                self.encrypt(disk, "--force")
                self.run_image("verify", self.out, "--key-file", self.key)
                self.left_over("disk", "out", "out.header")
            for name in ("out", "out.header"):
                if os.path.exists(self.path(name)):
                    os.unlink(self.path(name))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(step, 8)
        # Each is met on the way, so nothing above was left out.
        self.assertEqual([names for names, before in zip(found, [None, *found]) if names != before],
                         [[], ["out.header"], ["out", "out.header"]])
        self.assertEqual(self.decrypt(), self.read("disk"))

    def unharmed(self, old):
        """After a replacement that was killed: whether it is 'old' or 'new', or 'neither' until it is put back."""
        self.without_temporary_files()
        outcome = "neither"
        if os.path.exists(self.out):
            self.run_image("verify", self.out, "--key-file", self.key)
            outcome = "old" if self.read("out") == old else "new"
        else:
            done = self.run_image("verify", self.out, "--key-file", self.key, check=False)
            self.fails(done, r"out\.replaced is there")
            self.assertIn(b"'mv' the image and its header back", done.stderr)
        kept = [name for name in os.listdir(self.directory) if name.endswith(".replaced")]
        if kept:
            self.fails(self.encrypt(self.path("disk"), "--force", check=False), ".replaced is there")
        if outcome == "neither":
            for name in kept:
                self.assertIn(name, ("out.replaced", "out.header.replaced"))
                subprocess.run(["mv", self.path(name), self.path(name.removesuffix(".replaced"))], check=True)
            self.run_image("verify", self.out, "--key-file", self.key)
            self.assertEqual(self.read("out"), old)
        else:
            for name in kept:
                os.unlink(self.path(name))
        self.left_over("disk", "out", "out.header")
        return outcome

    def test_killed_while_replacing(self):
        disk = self.disk()
        preload = os.path.join(harness.BUILD, "tests", "integration", "libkill_at_step.so")
        outcomes = []
        self.encrypt(disk)
        for step in range(1, 100):
            old = self.read("out")
            done = self.encrypt(disk, "--force", check=False,
                                env={**os.environ, "LD_PRELOAD": preload, "KILL_AT_STEP": str(step)})
            outcomes.append(self.unharmed(old))
            if done.returncode != -signal.SIGKILL:
                break
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(set(outcomes), {"old", "neither", "new"})
        self.assertEqual(outcomes, sorted(outcomes, key=("old", "neither", "new").index))

    def test_what_has_the_name_of_a_replaced_image(self):
        disk = self.disk()
        self.encrypt(disk)
        before = (self.read("out"), self.read("out.header"))
        for name in ("out.replaced", "out.header.replaced"):
            with open(self.path(name), "wb") as file:
                file.write(b"mine")
            self.fails(self.encrypt(disk, "--force", check=False), f"{name} is there")
            self.assertEqual((self.read("out"), self.read("out.header"), self.read(name)), (*before, b"mine"))
            os.unlink(self.path(name))
        self.encrypt(disk, "--force")
        self.left_over("disk", "out", "out.header")
        self.assertNotEqual(self.read("out"), before[0])

    def test_interrupted(self):
        with open(self.path("disk"), "wb") as file:
            file.truncate(4 << 30)
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with subprocess.Popen([harness.WLAGENT, "--config", self.config, "image", "encrypt", self.path("disk"), self.out,
                                   "--key", "web-1", "--key-file", self.key], stdin=subprocess.DEVNULL) as process:
                harness.poll(lambda pid=process.pid: writes_unnamed(pid), "the image to be written")
                process.send_signal(signal_number)
                self.assertEqual(process.wait(), -signal_number)
            self.left_over("disk")

    def test_a_disk_that_changes(self):
        """Grown, cut off, written to while it is read."""
        def grow(file):
            file.truncate(5 << 30)

        def cut(file):
            file.truncate(4096)

        def touch(file):
            os.utime(file.fileno())

        for change in (grow, cut, touch):
            with open(self.path("disk"), "w+b") as file:
                file.truncate(3 << 30)
                with subprocess.Popen([harness.WLAGENT, "--config", self.config, "image", "encrypt", self.path("disk"),
                                       self.out, "--key", "web-1", "--key-file", self.key], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                    harness.poll(lambda pid=process.pid: writes_unnamed(pid), "the image to be written")
                    change(file)
                    _, errors = process.communicate()
            self.assertEqual(process.returncode, 1, errors)
            self.assertRegex(errors.decode(), "the disk has (changed|become shorter) while it was read")
            self.left_over("disk")

    def test_the_progress_is_shown_on_a_terminal_alone(self):
        with open(self.path("disk"), "wb") as file:
            file.truncate(1 << 30)
        self.assertEqual(self.encrypt(self.path("disk")).stderr, b"")
        master, slave = pty.openpty()
        with subprocess.Popen([harness.WLAGENT, "--config", self.config, "image", "encrypt", self.path("disk"), self.out,
                               "--key", "web-1", "--key-file", self.key, "--force"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=slave) as process:
            os.close(slave)
            shown = b""
            while process.poll() is None or select.select([master], [], [], 0)[0]:
                if not select.select([master], [], [], 0.1)[0]:
                    continue
                try:
                    data = os.read(master, 65536)
                except OSError:
                    break
                shown += data
            self.assertEqual(process.wait(), 0)
        os.close(master)
        self.assertRegex(shown.decode(), r"\r\x1b\[Kencrypting  \[[# ]{30}\] +\d+ %  \d\.\d of 1\.0 GiB  \d+\.\d GiB/s  \d+:\d\d left")
        self.assertTrue(shown.endswith(b"\r\x1b[K"))

    def test_memory_is_bounded(self):
        """Whatever the disk: the largest resident set of this process and of a ten times larger disk's."""
        with open(self.path("disk"), "wb") as file:
            file.truncate(100 << 30)
            file.seek(50 << 30)
            file.write(os.urandom(32 * MIB))
        measured = subprocess.run(["/usr/bin/env", "python3", "-c",
                                   "import resource,subprocess,sys\nsubprocess.run(sys.argv[1:],check=True,stdout=2)\n"
                                   "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)",
                                   harness.WLAGENT, "--config", self.config, "image", "encrypt", self.path("disk"), self.out,
                                   "--compact", "--key", "web-1", "--key-file", self.key],
                                  capture_output=True, text=True, check=True)
        if not harness.has_address_sanitizer():
            self.assertLess(int(measured.stdout), 32 * 1024)

    def test_registry(self):
        os.makedirs(self.path("state"))
        self.encrypt(self.disk())
        header = self.out + ".header"
        self.assertEqual(json.loads(self.run_image("list", "--json").stdout), {"images": []})
        self.assertIn("is registered", self.run_image("register", GLANCE.upper(), "--header", header).stdout.decode())
        stored = self.path(f"state/images/{GLANCE}.header")
        with open(stored, "rb") as file:
            self.assertEqual(file.read(), self.read("out.header"))
        self.assertEqual(os.stat(stored).st_mode & 0o777, 0o644)
        self.fails(self.run_image("register", GLANCE, "--header", header, check=False), "is registered already\nhint: --force")
        self.run_image("register", GLANCE, "--header", header, "--force")
        listed = json.loads(self.run_image("list", "--json").stdout)["images"]
        self.assertEqual([(image["image"], image["key"]) for image in listed], [(GLANCE, "local:///web-1")])
        self.assertRegex(self.run_image("list").stdout.decode(), f"(?m)^{GLANCE} +{3 * MIB + 5 * 512}  local:///web-1$")

        with open(stored, "r+b") as file:
            file.truncate(1000)
        self.fails(self.run_image("list", check=False), "1 of 1 headers cannot be used")
        self.run_image("unregister", GLANCE)
        self.fails(self.run_image("unregister", GLANCE, check=False), "is not registered")
        self.assertEqual(os.listdir(self.path("state/images")), [])

    def test_only_headers_are_registered(self):
        os.makedirs(self.path("state"))
        self.encrypt(self.disk())
        content = bytearray(self.read("out.header"))
        content[5000] ^= 1
        self.fails(self.run_image("register", GLANCE, "--header", self.write("damaged", content), check=False),
                   "the checksum of the first copy does not match")
        self.fails(self.run_image("register", GLANCE, "--header", self.out, check=False), "this is no LUKS header")
        self.fails(self.run_image("register", GLANCE, "--header", self.path("none"), check=False),
                   "does not exist\nhint: name the header ")
        self.assertEqual(self.run_image("register", GLANCE, check=False).returncode, 2)
        for name in ("", "../../etc/passwd", GLANCE + "0", GLANCE[:-1] + "g", "0" * 36):
            self.assertEqual(self.run_image("register", name, "--header", self.out + ".header", check=False).returncode, 2)
        self.assertFalse(os.path.exists(self.path("state/images")))


class ImageByAgentTest(harness.AgentTest):
    """On a host whose store has the key: wlagentd wraps and unwraps."""

    def setUp(self):
        super().setUp()
        self.disk = os.path.join(self.directory, "disk")
        self.out = os.path.join(self.directory, "out")
        with open(self.disk, "wb") as file:
            file.write(os.urandom(MIB))
        self.agent.import_key("web-1", KEY)

    def test_a_key_of_the_store(self):
        self.agent.start()
        self.agent.run("image", "encrypt", self.disk, self.out, "--key", "web-1")
        with open(self.disk, "rb") as file:
            self.assertEqual(decrypt(self.out, KEY), file.read())
        self.agent.run("image", "verify", self.out)
        back = os.path.join(self.directory, "back")
        self.agent.run("image", "decrypt", self.out, back)
        self.assertEqual(len(self.agent.events(operation="image", key_id="local:///web-1")), 3)

        key_file = os.path.join(self.directory, "key")
        with open(key_file, "wb") as file:
            file.write(KEY)
        self.agent.run("image", "verify", self.out, "--key-file", key_file)

    def test_refusals(self):
        self.agent.start()
        self.fails(self.agent.run("image", "encrypt", self.disk, self.out, "--key", "web-2", check=False), "no key named web-2")
        self.agent.run("image", "encrypt", self.disk, self.out, "--key", "web-1")
        self.agent.stop()
        self.agent.write_config(KeyProvider={"AllowWrap": "no"})
        self.agent.start()
        self.fails(self.agent.run("image", "encrypt", self.disk, self.out + "2", "--key", "web-1", check=False),
                   "this agent does not wrap keys")
        self.assertFalse(os.path.exists(self.out + "2"))
        self.agent.run("image", "verify", self.out)
        self.agent.remove_key("web-1")
        self.fails(self.agent.run("image", "verify", self.out, check=False), "no key named web-1")
        self.agent.import_key("web-1", bytes(32))
        self.fails(self.agent.run("image", "verify", self.out, check=False), "does not open with local:///web-1")

    def test_no_volume_key_is_left_in_the_daemon(self):
        self.agent.start()
        self.agent.run("image", "encrypt", self.disk, self.out, "--key", "web-1")
        secret = volume_key(self.out, KEY)
        for _, memory in harness.memory_of(self.agent.process.pid):
            self.assertNotIn(secret[:32], memory)
            self.assertNotIn(secret[32:], memory)


if __name__ == "__main__":
    unittest.main()
