# SPDX-License-Identifier: Apache-2.0
"""wlagent-volumed by itself: what it opens, what it refuses, and that nothing is left of either."""

import glob
import hashlib
import json
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import time
import unittest
import uuid

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import host
import killing
from host import output, run
from running import BUILD, poll

CLIENT = os.path.join(BUILD, "tests", "vm", "volume-client")
LAYERS = host.LAYERS
MARKER = b"a marker of the volumes' test"
WRITTEN = b"what a guest has written to its disk"
IMAGE = "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"
VM = "5a6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e02"
SECTOR = 4096
LOOP_MADE = ": detected capacity change from 0 to "  # what the kernel says of each
NO_DEVICE_MAPPER = "/etc/modprobe.d/no-device-mapper.conf"
# Of a layer of 16 MiB: header, refcounts and their table, L1, L2, the disk.
LEAST = (1 + 2 + 1 + 1 + 256) << 16


def unload_device_mapper():
    """With the targets that other tests have had the kernel load."""
    holders = "/sys/module/dm_mod/holders"
    targets = os.listdir(holders) if os.path.isdir(holders) else []
    return run("modprobe", "-r", *targets, "dm_mod", check=False)


class Session:
    """One connection to volumed, held by a process of its own."""

    def __init__(self, test, *steps, user=None):
        self.process = subprocess.Popen([CLIENT, test.host.volumed.socket, *map(str, steps)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, user=user)
        test.addCleanup(self.close)
        self.text = b""

    def wait(self, word=b"done\n", seconds=60):
        """Until all steps are done, or one was refused, or the word has come; returns the lines."""
        while not self.text.endswith(word) and select.select([self.process.stdout], [], [], seconds)[0]:
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                break
            self.text += more
        return self.lines

    @property
    def lines(self):
        return self.text.decode(errors="replace").splitlines()

    def opened(self):
        """The fields of the last reply, as a dictionary."""
        lines = self.wait()
        if not lines or lines[-1] != "done":
            raise AssertionError(f"the session was refused: {lines}")
        return self.fields()[-1]

    def fields(self):
        return [dict(pair.split("=", 1) for pair in line.split(" ")) for line in self.lines if line.startswith("name=")]

    def refused(self):
        lines = self.wait()
        if not lines or lines[-1] == "done":
            raise AssertionError(f"the session was not refused: {lines}")
        return lines[-1]

    def go_on(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return self

    def close(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()
            self.process.wait(20)
            self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.process.wait(20)
        self.process.stdin.close()
        self.process.stdout.close()


def edit_header(path, edit):
    """Changes the JSON of both copies and makes the checksums right again."""
    with open(path, "r+b") as file:
        size = struct.unpack(">Q", file.read(16)[8:])[0]
        for at in (0, size):
            file.seek(at)
            copy = bytearray(file.read(size))
            document = json.loads(copy[4096:].rstrip(b"\0"))
            edit(document)
            copy[4096:] = json.dumps(document, separators=(",", ":")).encode().ljust(size - 4096, b"\0")
            copy[448:512] = bytes(64)
            copy[448:480] = hashlib.sha256(copy).digest()
            file.seek(at)
            file.write(copy)


def in_memory(pid, text):
    """Whether the process holds these bytes, anywhere."""
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split(" ", 1)[0].split("-"))
            if not line.split(" ")[1].startswith("r") or "[v" in line:
                continue
            try:
                memory.seek(start)
                if text in memory.read(end - start):
                    return True
            except (OSError, ValueError, OverflowError):
                continue
    return False


def device(name):
    return "/dev/mapper/" + name


class VolumesTest(host.VmTest):
    def setUp(self):
        super().setUp()
        self.key = self.new_key("key")
        self.raw = os.path.join(host.PLAIN, "raw")
        with open(self.raw, "wb") as file:
            for number in range(64):
                file.write(MARKER + b" %d" % number + bytes(SECTOR - len(MARKER) - len(b" %d" % number)))
        self.image = self.make_image("image", IMAGE)
        self.name = f"wlagent-image-{IMAGE}"

    def new_key(self, name):
        path = os.path.join(host.PLAIN, name)
        with open(path, "wb") as file:
            file.write(os.urandom(64))
        return path

    def make_image(self, name, header, key=None, raw=None):
        path = os.path.join(self.directory, name)
        run(CLIENT, "make", raw or self.raw, path, key or self.key, header)
        return path

    def session(self, *steps, **options):
        return Session(self, *steps, **options)

    def held(self):
        """What the main process has open."""
        return [os.readlink(path) for path in glob.glob(f"/proc/{self.host.volumed.process.pid}/fd/*")]

    def gone(self, name):
        poll(lambda: name not in self.host.mappings(), f"{name} to go")


class Volumes(VolumesTest):
    def test_an_image_opens_and_closes(self):
        session = self.session("image", self.image, "open", self.key)
        opened = session.opened()
        self.assertEqual(opened["name"], self.name)
        self.assertEqual(opened["writable"], "0")
        with open(self.raw, "rb") as raw, open(device(self.name), "rb") as shown:
            self.assertEqual(shown.read(), raw.read())
        self.assertEqual(output("blockdev", "--getro", device(self.name)), "1\n")
        table = output("dmsetup", "table", "--showkeys", self.name)
        self.assertRegex(table, rf"^0 512 crypt aes-xts-plain64 :64:logon:cryptsetup:{IMAGE}-d0 0 7:\d+ 0 "
                                r"1 sector_size:4096$")
        with open(self.key, "rb") as key:
            self.assertNotIn(key.read(16).hex(), table)
        with open("/proc/keys", encoding="ascii") as keys:
            self.assertNotRegex(keys.read(), "logon|cryptsetup")
        loop = json.loads(output("losetup", "--json", "-l", "-O", "+AUTOCLEAR,RO,DIO,LOG-SEC"))["loopdevices"]
        self.assertEqual([(l["autoclear"], l["ro"], l["dio"], l["log-sec"]) for l in loop], [(True, True, True, 4096)])
        self.assertIn("DEFERRED REMOVE", output("dmsetup", "info", self.name))
        session.close()
        self.gone(self.name)

    def test_cryptsetup_shows_the_same(self):
        run("cryptsetup", "open", "--header", self.image + ".header", "--volume-key-file", self.key, "--key-size", "512",
            "--readonly", self.image, "judge")
        try:
            with open(self.raw, "rb") as raw, open(device("judge"), "rb") as shown:
                self.assertEqual(shown.read(), raw.read())
        finally:
            run("cryptsetup", "close", "judge")

    def test_no_scanner_of_the_host_looks_inside(self):
        """udev says what it finds on a disk, and has file systems, volume groups and arrays taken up; the guest's disk
        is none of the host's, of whatever kind the mapping is."""
        def properties(name):
            return output("udevadm", "info", "--query=property", "--name", device(name))

        run("mkswap", self.raw)
        image = self.make_image("swap", str(uuid.uuid4()))
        with open(image + ".header", "rb") as header:
            name = "wlagent-image-" + header.read(204)[168:204].decode()
        for steps, opened in ((("open", self.key), name), (("direct", VM, "vda", self.key), f"wlagent-{VM}-vda")):
            session = self.session("image", image, *steps)
            session.opened()
            run("udevadm", "settle")
            self.assertIn("DM_UDEV_DISABLE_OTHER_RULES_FLAG=1", properties(opened))
            self.assertNotIn("ID_FS_TYPE", properties(opened))
            session.close()
            self.gone(opened)
        # It would, if nobody had said so.
        run("cryptsetup", "open", "--header", image + ".header", "--volume-key-file", self.key, "--key-size", "512",
            "--readonly", image, "judge")
        try:
            run("udevadm", "settle")
            self.assertIn("ID_FS_TYPE=swap", properties("judge"))
        finally:
            run("cryptsetup", "close", "judge")

    def test_wrong_keys_and_headers_are_refused(self):
        other_key = self.new_key("other-key")
        second_raw = os.path.join(host.PLAIN, "second")
        with open(second_raw, "wb") as file:
            file.write(os.urandom(64 * SECTOR))
        second = self.make_image("second", str(uuid.uuid4()), raw=second_raw)
        third = self.make_image("third", str(uuid.uuid4()), key=other_key)

        with self.subTest("another key"):
            refused = self.session("image", self.image, "open", other_key).refused()
            self.assertRegex(refused, "^denied: the key does not open the header")
        with self.subTest("half a key"):
            with open(other_key, "rb") as whole, open(other_key + ".half", "wb") as half:
                half.write(whole.read(32))
            refused = self.session("image", self.image, "open", other_key + ".half").refused()
            self.assertRegex(refused, "^invalid-input: a volume key of 32 bytes, not 64")
        with self.subTest("the header of another image under the same key"):
            refused = self.session("image", self.image, f"header={second}.header", "open", self.key).refused()
            self.assertRegex(refused, "^denied: ")
        with self.subTest("the header of another image under another key"):
            refused = self.session("image", self.image, f"header={third}.header", "open", other_key).refused()
            self.assertRegex(refused, "^denied: ")
        with self.subTest("direct as well"):
            refused = self.session("image", self.image, f"header={second}.header", "direct", VM, "vda",
                                   self.key).refused()
            self.assertRegex(refused, "^denied: ")
        with self.subTest("both, at last, with their own"):
            self.session("image", second, "open", self.key).opened()
            self.session("image", third, "open", other_key).opened()

    def test_altered_headers_are_refused(self):
        def null_cipher(document):
            document["segments"]["0"]["encryption"] = "cipher_null-ecb"

        def reencrypt(document):
            document["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}

        def second_segment(document):
            document["segments"]["1"] = dict(document["segments"]["0"], offset="4096", size="4096")

        def other_sectors(document):
            document["segments"]["0"]["sector_size"] = 512

        def other_offset(document):
            document["segments"]["0"]["iv_tweak"] = "8"

        header = self.image + ".header"
        for edit in (null_cipher, reencrypt, second_segment, other_sectors, other_offset):
            with self.subTest(edit.__name__):
                altered = os.path.join(self.directory, edit.__name__)
                shutil.copy(header, altered)
                edit_header(altered, edit)
                for way in (f"header={altered}", f"attach={altered}"):
                    refused = self.session("image", self.image, way, "open", self.key).refused()
                    self.assertRegex(refused, "^(invalid-input|unsupported): ")
        with self.subTest("a byte"):
            altered = os.path.join(self.directory, "a byte")
            shutil.copy(header, altered)
            with open(altered, "r+b") as file:
                file.seek(4200)
                file.write(b"~")
            self.assertRegex(self.session("image", self.image, f"header={altered}").refused(), "^invalid-input: ")
        with self.subTest("shortened"):
            altered = os.path.join(self.directory, "shortened")
            shutil.copy(header, altered)
            os.truncate(altered, 20000)
            self.assertRegex(self.session("image", self.image, f"header={altered}").refused(), "^invalid-input: ")

    def test_images_of_another_size_are_refused(self):
        for name, change in (("shorter", -SECTOR), ("longer", SECTOR), ("a byte longer", 1), ("half a sector", -512)):
            with self.subTest(name):
                path = os.path.join(self.directory, "sized")
                shutil.copy(self.image, path)
                shutil.copy(self.image + ".header", path + ".header")
                os.truncate(path, os.path.getsize(path) + change)
                self.assertRegex(self.session("image", path).refused(), "^invalid-input: .* bytes, its header says")

    def test_the_inspected_file_is_opened(self):
        """Not what has taken its name since."""
        session = self.session("image", self.image, "wait", "open", self.key)
        session.wait(b"waiting\n")
        with open(self.image + ".new", "wb") as file:
            file.write(os.urandom(64 * SECTOR))
        os.rename(self.image + ".new", self.image)
        shutil.copy(self.image + ".header", self.image + ".header.new")
        os.rename(self.image + ".header.new", self.image + ".header")
        session.go_on().opened()
        with open(self.raw, "rb") as raw, open(device(self.name), "rb") as shown:
            self.assertEqual(shown.read(), raw.read())

    def test_a_lease_ends_with_the_client(self):
        session = self.session("image", self.image, "open", self.key)
        session.opened()
        self.assertEqual(self.host.mappings(), [self.name])
        session.kill()
        self.gone(self.name)
        self.left_nothing()

    def test_a_lease_ends_with_volumed(self):
        session = self.session("image", self.image, "open", self.key)
        session.opened()
        self.host.volumed.stop(signal.SIGKILL)
        self.gone(self.name)
        self.left_nothing()
        session.close()
        self.host.volumed.start()

    def test_a_mapping_in_use_outlives_its_lease(self):
        session = self.session("image", self.image, "open", self.key)
        session.opened()
        with open(device(self.name), "rb") as user:
            session.close()
            self.host.volumed.stop(signal.SIGKILL)
            self.host.volumed.start()
            self.assertEqual(user.read(len(MARKER)), MARKER)
            self.assertEqual(self.host.mappings(), [self.name])
            listed = self.session("list")
            inode = str(os.stat(self.image).st_ino)
            self.assertEqual([(f["name"], f["open"], f["inode"], f["allocated"]) for f in [listed.opened()]],
                             [(self.name, "1", inode, "0")])
            self.assertRegex(self.session("close", self.name).refused(), "^busy: ")
            with self.subTest("and is taken up again"):
                again = self.session("image", self.image, "open", self.key)
                again.opened()
                again.close()
                self.assertEqual(user.read(1), b" ")
        self.left_nothing()

    def test_several_share_an_image(self):
        """One of them makes what all of them use, and a loop device is made once."""
        made = output("dmesg").count(LOOP_MADE)
        sessions = [self.session("image", self.image, "open", self.key) for _ in range(8)]
        numbers = {session.opened()["minor"] for session in sessions}
        self.assertEqual(len(numbers), 1)
        self.assertEqual(output("dmesg").count(LOOP_MADE), made + 1)
        self.assertEqual(len([name for name in self.host.leftovers() if name.startswith("loop")]), 1)
        for session in sessions[1:]:
            session.close()
        with open(device(self.name), "rb") as shown:
            self.assertEqual(shown.read(len(MARKER)), MARKER)
        sessions[0].close()

    def test_what_has_the_name_only_is_not_shared(self):
        """An owner who writes another image's UUID into his header gets nothing of it."""
        other_key = self.new_key("other-key")
        self.session("image", self.image, "open", self.key).opened()
        with self.subTest("another file"):
            copy = self.make_image("copy", IMAGE)
            self.assertRegex(self.session("image", copy, "open", self.key).refused(), "^denied: .*shows another file")
        with self.subTest("the same file under a key of his own"):
            forged = self.make_image("forged", IMAGE, key=other_key)
            run(CLIENT, "forge", self.image, other_key, IMAGE, forged + ".header")
            refused = self.session("image", self.image, f"header={forged}.header", "open", other_key).refused()
            self.assertRegex(refused, "^denied: .*has another key")

    def test_an_image_in_use_is_not_written_to(self):
        self.session("image", self.image, "open", self.key).opened()
        self.assertRegex(self.session("image", self.image, "direct", VM, "vda", self.key).refused(), "^busy: ")

    def test_no_key_stays_in_memory(self):
        """Of the process that holds the lease, or the main one."""
        with open(self.key, "rb") as file:
            key = file.read()
        session = self.session("image", self.image, "open", self.key)
        session.opened()
        pids = [self.host.volumed.process.pid]
        with open(f"/proc/{pids[0]}/task/{pids[0]}/children", encoding="ascii") as file:
            pids += [int(pid) for pid in file.read().split()]
        self.assertEqual(len(pids), 2)
        for pid in pids:
            self.assertEqual([part for part in range(0, 64, 16) if in_memory(pid, key[part:part + 16])], [])
        # It is found where it is: in the client, which read it from a file.
        self.assertTrue(in_memory(session.process.pid, IMAGE.encode()))

    def test_a_foreign_device_of_that_name_is_left_alone(self):
        run("dmsetup", "create", self.name, "--table", "0 8 zero")
        try:
            self.assertRegex(self.session("image", self.image, "open", self.key).refused(), "^denied: ")
            self.assertIn("zero", output("dmsetup", "table", self.name))
        finally:
            run("dmsetup", "remove", self.name)

    def test_device_mapper_comes_later(self):
        """The main process holds nothing of it, and what it has not found there sessions look for themselves."""
        self.host.volumed.stop()
        poll(lambda: unload_device_mapper().returncode == 0, "device-mapper to be idle")
        with open(NO_DEVICE_MAPPER, "w", encoding="ascii") as file:
            file.write("install dm_mod /bin/false\ninstall dm_crypt /bin/false\n")
        try:
            self.host.volumed.start()
            self.assertRegex(self.session("image", self.image, "open", self.key).refused(),
                             "^system-error: the kernel's device-mapper does not answer .*modprobe dm-crypt")
            run("sed", "-i", "/dm_mod/d", NO_DEVICE_MAPPER)
            run("modprobe", "dm_mod")
            self.assertRegex(self.session("image", self.image, "open", self.key).refused(),
                             "^system-error: .*this kernel has no dm-crypt, or cannot load it .*modprobe dm_crypt")
        finally:
            os.unlink(NO_DEVICE_MAPPER)
            run("modprobe", "dm_crypt")
        session = self.session("image", self.image, "open", self.key)
        session.opened()
        session.close()
        self.gone(self.name)
        self.host.volumed.stop()
        self.host.volumed.start()
        poll(lambda: "/dev/urandom" in self.held(), "the main process to rehearse")
        poll(lambda: "/dev/mapper/control" not in self.held(), "it to let go of device-mapper")

    def test_only_the_agent_is_served(self):
        refused = self.session("list", user="nobody").refused()
        self.assertRegex(refused, "^(denied|unavailable): ")
        os.chmod(self.host.volumed.socket, 0o666)
        refused = self.session("list", user="nobody").refused()
        self.assertRegex(refused, "^unavailable: ")
        self.session("list", user="wlagent").wait()
        with open(self.host.volumed.log, encoding="utf-8") as log:
            self.assertIn("may not use the volumed socket", log.read())


class Disks(VolumesTest):
    """Writable ones."""

    def setUp(self):
        super().setUp()
        self.disk = f"wlagent-{VM}-vda"

    def write(self, name, text, at=0):
        with open(device(name), "r+b") as disk:
            disk.seek(at)
            disk.write(text.ljust(SECTOR, b"\0"))
            os.fsync(disk.fileno())

    def test_direct(self):
        session = self.session("image", self.image, "direct", VM, "vda", self.key)
        self.assertEqual(session.opened()["writable"], "1")
        self.assertIn(" 2 allow_discards sector_size:4096", output("dmsetup", "table", self.disk))
        self.write(self.disk, WRITTEN)
        self.write(self.disk, b"at the end", 63 * SECTOR)
        with self.subTest("no second time under another name"):
            refused = self.session("image", self.image, "direct", VM, "vdb", self.key).refused()
            self.assertRegex(refused, "^busy: ")
        with self.subTest("nor as an image"):
            self.assertRegex(self.session("image", self.image, "open", self.key).refused(), "^(busy|denied): ")
        with self.subTest("no second time under this name"):
            refused = self.session("image", self.image, "direct", VM, "vda", self.key).refused()
            self.assertRegex(refused, "^busy: ")
        session.close()
        self.left_nothing()

        with self.subTest("again, though the probe does not match any more"):
            session = self.session("image", self.image, "direct", VM, "vda", self.key)
            session.opened()
            with open(device(self.disk), "rb") as disk:
                self.assertEqual(disk.read(len(WRITTEN)), WRITTEN)
            session.close()
            self.left_nothing()
        with self.subTest("but not as an image"):
            self.assertRegex(self.session("image", self.image, "open", self.key).refused(), "^denied: ")
        with self.subTest("nor another file"):
            copy = os.path.join(self.directory, "copy")
            shutil.copy(self.image, copy)
            shutil.copy(self.image + ".header", copy + ".header")
            self.assertRegex(self.session("image", copy, "direct", VM, "vda", self.key).refused(), "^denied: ")
        self.assertEqual(self.host.plaintext(WRITTEN.decode()), [])

    def test_a_replaced_disk_is_not_written_to(self):
        """What a VM writes to a file that has lost its name would be gone when it stops."""
        session = self.session("image", self.image, "wait", "direct", VM, "vda", self.key)
        session.wait(b"waiting\n")
        shutil.copy(self.image, self.image + ".new")
        os.rename(self.image + ".new", self.image)
        self.assertRegex(session.go_on().refused(), "^busy: .*replaced or removed")
        self.left_nothing()

    def test_a_name_that_goes_away_is_waited_for(self):
        session = self.session("image", self.image, "direct", VM, "vda", self.key)
        session.opened()
        user = subprocess.Popen(["sleep", "60"], stdin=open(device(self.disk), "rb"))
        session.close()
        time.sleep(0.2)
        again = self.session("image", self.image, "direct", VM, "vda", self.key)
        time.sleep(0.3)
        user.kill()
        user.wait()
        again.opened()


class Layers(VolumesTest):
    """A layer of a VM's own over an image."""

    def setUp(self):
        super().setUp()
        self.disk = f"wlagent-{VM}-vda"
        self.layer_key = self.new_key("layer-key")
        self.directory_of_layer = os.path.join(LAYERS, VM, "vda")
        self.addCleanup(shutil.rmtree, os.path.join(LAYERS, VM), ignore_errors=True)

    def create(self, kind="kept", target="vda", size=16 << 20, key=None):
        return self.session("layer", VM, target, "create", IMAGE, size, "raw", key or self.layer_key, kind)

    def reopen(self, target="vda", key=None):
        return self.session("layer", VM, target, "open", key or self.layer_key)

    def qemu_io(self, *commands):
        """On the layer over its base, which has to be open."""
        arguments = [part for command in commands for part in ("-c", command)]
        return output("qemu-io", "-f", "qcow2", *arguments, device(self.disk))

    def check_layer(self):
        """qemu-img wants the base as well."""
        base = self.session("image", self.image, "open", self.key)
        base.opened()
        self.assertIn("No errors were found", output("qemu-img", "check", "-f", "qcow2", device(self.disk)))
        base.close()

    def test_a_layer_is_made_and_opened_again(self):
        base = self.session("image", self.image, "open", self.key)
        base.opened()
        session = self.create()
        opened = session.opened()
        self.assertEqual((opened["name"], opened["writable"]), (self.disk, "1"))
        information = json.loads(output("qemu-img", "info", "--output=json", "-f", "qcow2", device(self.disk)))
        self.assertEqual(information["virtual-size"], 16 << 20)
        self.assertEqual(information["backing-filename"], device(self.name))
        self.assertEqual(information["backing-filename-format"], "raw")
        self.assertIn("No errors were found", output("qemu-img", "check", "-f", "qcow2", device(self.disk)))
        self.assertEqual(os.listdir(os.path.join(LAYERS, VM)), ["vda"])
        self.assertLess(os.stat(os.path.join(self.directory_of_layer, "disk")).st_blocks * 512, 4 << 20)
        # All of the guest's disk fits, and what qcow2 needs besides: image/layer_room.h.
        self.assertEqual(os.path.getsize(os.path.join(self.directory_of_layer, "disk")), 2 * LEAST)
        self.assertEqual(information["format-specific"]["data"]["compat"], "0.10")

        self.assertIn("wrote 65536/65536", self.qemu_io("write -P 0x77 1M 64k", "flush"))
        self.assertIn("read 4096/4096", self.qemu_io("read 0 4096"))
        session.close()
        self.gone(self.disk)
        again = self.reopen()
        again.opened()
        self.assertIn("read 65536/65536", self.qemu_io("read -P 0x77 1M 64k"))
        with self.subTest("no second session meanwhile"):
            self.assertRegex(self.reopen().refused(), "^busy: .*another session works on this disk")
        again.close()
        self.gone(self.disk)
        with self.subTest("a wrong key"):
            self.assertRegex(self.reopen(key=self.key).refused(), "^denied: .*the key does not open the header")
        with self.subTest("the layer of another disk"):
            shutil.copytree(self.directory_of_layer, os.path.join(LAYERS, VM, "vdb"))
            refused = self.reopen("vdb").refused()
            self.assertRegex(refused, "^denied: .*header is that of another disk")
        with self.subTest("listed"):
            listed = self.session("layers")
            listed.opened()
            # Other tests leave layers as well.
            self.assertEqual(sorted(f["name"] for f in listed.fields() if VM in f["name"]),
                             [self.disk, f"wlagent-{VM}-vdb"])

    def rewrite(self, change):
        """The qcow2 header in the layer, as whoever has taken QEMU over may."""
        with open(self.layer_key, "rb") as file:
            cipher = Cipher(algorithms.AES(file.read()), modes.XTS(bytes(16)))
        with open(os.path.join(self.directory_of_layer, "disk"), "r+b") as disk:
            header = bytearray(cipher.decryptor().update(disk.read(SECTOR)))
            change(header)
            disk.seek(0)
            disk.write(cipher.encryptor().update(bytes(header)))
            os.fsync(disk.fileno())

    def hostile(self, **options):
        """How many of a guest's writes found no room."""
        image = json.dumps({"driver": "qcow2", "discard": "unmap", **options, "file": {
            "driver": "host_device", "discard": "unmap", "filename": device(self.disk)}})
        commands = host.hostile_commands(16 << 20) + ["flush", ""]
        said = run("qemu-io", "-d", "unmap", f"json:{image}", stdin="\n".join(commands), check=False)
        text = said.stdout + said.stderr
        self.assertIn(f"read {16 << 20}/{16 << 20}", text)
        self.assertNotIn("Pattern verification failed", text)
        return text.count("No space left")

    def test_a_guest_that_discards_finds_room(self):
        base = self.session("image", self.image, "open", self.key)
        base.opened()
        session = self.create()
        session.opened()
        self.assertEqual(self.hostile(), 0)
        session.close()
        self.gone(self.disk)
        with self.subTest("as a domain does that has discard_no_unref"):
            again = self.session("layer", VM, "vda", "open-keeping", self.layer_key)
            again.opened()
            information = json.loads(output("qemu-img", "info", "--output=json", "-f", "qcow2", device(self.disk)))
            self.assertEqual(information["format-specific"]["data"]["compat"], "1.1")
            self.assertEqual(information["backing-filename"], device(self.name))
            self.assertIn("No errors were found", output("qemu-img", "check", "-f", "qcow2", device(self.disk)))
            self.assertIn(f"read {16 << 20}/{16 << 20}", self.qemu_io("read -P 16 0 16M"))
            version = re.search(r"version (\d+)\.(\d+)", output("qemu-io", "--version"))
            if (int(version[1]), int(version[2])) >= (8, 2):
                self.assertEqual(self.hostile(**{"discard-no-unref": True}), 0)
            again.close()
            self.gone(self.disk)

    def test_a_layer_of_an_older_version_gets_room(self):
        path = os.path.join(self.directory_of_layer, "disk")
        base = self.session("image", self.image, "open", self.key)
        base.opened()
        session = self.create("kept-keeping")
        session.opened()
        self.qemu_io("write -P 0x77 1M 3M", "discard 2M 1M", "flush")
        session.close()
        self.gone(self.disk)
        os.truncate(path, LEAST)
        with self.subTest("not for another key"):
            self.assertRegex(self.reopen(key=self.key).refused(), "^denied: ")
            self.assertEqual(os.path.getsize(path), LEAST)
        for attempt in "lengthens it", "finds it so":
            with self.subTest(attempt):
                again = self.reopen()
                again.opened()
                self.assertEqual(os.path.getsize(path), 2 * LEAST)
                self.assertEqual(int(output("blockdev", "--getsize64", device(self.disk))), 2 * LEAST)
                self.assertIn("read 1048576/1048576", self.qemu_io("read -P 0x77 1M 1M", "read -P 0 2M 1M"))
                again.close()
                self.gone(self.disk)
        self.check_opened_layer()
        with self.subTest("one that was cut off stays as it is"):
            os.truncate(path, LEAST - SECTOR)
            self.assertRegex(self.reopen().refused(), f"^invalid-input: .*its file has {LEAST - SECTOR} bytes")
            self.assertEqual(os.path.getsize(path), LEAST - SECTOR)

    def check_opened_layer(self):
        again = self.reopen()
        again.opened()
        self.assertIn("No errors were found", output("qemu-img", "check", "-f", "qcow2", device(self.disk)))
        again.close()
        self.gone(self.disk)

    def test_a_layer_that_leads_to_another_file(self):
        """libvirt would give the VM what the layer says is below it."""
        def names(path):
            def change(header):
                struct.pack_into(">QI", header, 8, 512 if path else 0, len(path))
                header[512:1024] = path.encode().ljust(512, b"\0")
            return change

        def another_format(header):
            names(device(self.name))(header)
            struct.pack_into(">I8s", header, 116, 5, b"qcow2")

        def raw(header):
            struct.pack_into(">I8s", header, 116, 3, b"raw")

        # Where things are in version 3.
        def external_data(header):
            header[79] |= 4

        session = self.create("kept-keeping")
        session.opened()
        session.close()
        self.gone(self.disk)
        for change, opens in ((names("/etc/shadow"), False), (names(device("wlagent-image-" + VM)), False),
                              (another_format, False), (raw, True), (external_data, False)):
            with self.subTest(change.__name__):
                self.rewrite(change)
                session = self.reopen()
                if opens:
                    session.opened()
                else:
                    self.assertRegex(session.refused(), "^denied: .*(which is not its image|another format than its image|external data file)")
                session.close()
                self.gone(self.disk)
        with self.subTest("nothing, as blockpull leaves it"):
            self.rewrite(lambda header: (names("")(header), header.__setitem__(79, 0)))
            session = self.reopen()
            session.opened()
            session.close()
            self.gone(self.disk)
        with self.subTest("shortened"):
            os.truncate(os.path.join(self.directory_of_layer, "disk"), 2 * SECTOR)
            self.assertRegex(self.reopen().refused(), "^invalid-input: .*its file has 8192 bytes")
            self.rewrite(lambda header: struct.pack_into(">I", header, 0, 0))
            self.assertRegex(self.reopen().refused(), "^invalid-input: .*too short for a layer")
            self.gone(self.disk)

    def test_a_layer_is_removed(self):
        session = self.create()
        session.opened()
        self.assertRegex(self.session("remove", VM, "vda").refused(), "^busy: ")
        with open(device(self.disk), "rb"):
            session.close()
            self.assertRegex(self.session("remove", VM, "vda").refused(), "^busy: .* is in use")
        self.gone(self.disk)
        removal = self.session("remove", VM, "vda")
        removal.opened()
        removal.close()
        self.assertFalse(os.path.exists(os.path.join(LAYERS, VM)))
        self.assertRegex(self.session("remove", VM, "vda").refused(), "^not-found: ")
        self.assertEqual(self.session("layer", VM, "vda").opened()["format"], "0")

    def test_an_ephemeral_layer_leaves_nothing(self):
        session = self.create("ephemeral")
        session.opened()
        self.check_layer()
        with open(device(self.disk), "rb") as user:
            session.close()
            self.assertEqual(user.read(3), b"QFI")
            self.assertFalse(os.path.exists(os.path.join(LAYERS, VM)))
        self.left_nothing()
        self.assertEqual(self.session("layer", VM, "vda").opened()["format"], "0")

    def test_a_full_disk_makes_no_layer(self):
        run("mount", "-t", "tmpfs", "-o", "size=128k,mode=700", "tmpfs", LAYERS)
        try:
            self.assertRegex(self.create().refused(), "^system-error: ")
            self.left_nothing()
            session = self.session("layer", VM, "vda")
            self.assertEqual(session.opened()["format"], "0")
            session.close()
            self.assertEqual(os.listdir(os.path.join(LAYERS, VM)), [])
        finally:
            poll(lambda: not run("umount", LAYERS, check=False).returncode, "the layers to be unused")

    def test_power_loss(self):
        """A layer that volumed has answered for is there; so is what a guest has made durable, and nothing else."""
        lost = "/srv/lost"
        if not self.power_lost_at:
            self.create().opened()
            shutil.copy(self.layer_key, "/srv/layer-key")
            with open(device(self.disk), "r+b") as disk:
                disk.seek(1 << 20)
                disk.write(b"durable".ljust(SECTOR, b"\0"))
                os.fsync(disk.fileno())
            os.sync()
            with open(lost, "w", encoding="ascii") as file:
                file.write("not durable")
            self.lose_power("created")
        self.assertFalse(os.path.exists(lost) and os.path.getsize(lost))
        session = self.reopen(key="/srv/layer-key")
        session.opened()
        with open(device(self.disk), "rb") as disk:
            disk.seek(1 << 20)
            self.assertEqual(disk.read(7), b"durable")

    def stopped_at(self, step, how, *steps):
        """Whether the session came that far before it was killed, or a call of it failed."""
        # What tidies up after the one before is a process of volumed's, too.
        volumed = str(self.host.volumed.process.pid)
        poll(lambda: run("pgrep", "-P", volumed, check=False).returncode, "volumed to have no session")
        killing.arm("wlagent-volumed", step, how)
        session = self.session(*steps)
        lines = session.wait()
        reached = killing.disarm("wlagent-volumed")
        if reached:
            # Some failures do no harm, and are for nobody to hear of.
            self.assertRegex(lines[-1], "^(done$|[a-z-]+: )" if how == "fail" else "^unavailable: ")
        else:
            self.assertEqual(lines[-1], "done")
        session.close()
        if reached and how == "all":
            self.host.volumed.process.wait(20)
            self.start_preloaded()
        return reached

    def start_preloaded(self):
        with killing.preloaded():
            self.host.volumed.start()

    def sweep(self, ways, calls, *steps, after):
        """Kills the session before a call of its, or has that fail; then nothing is left, and after() is so. calls: how
        many it makes at least."""
        self.host.volumed.stop()
        self.start_preloaded()
        self.addCleanup(self.restart_volumed)
        count = 0
        for step, how in ((step, how) for step in killing.steps(calls, 3) for how in ways):
            if not self.stopped_at(step, how, *steps):
                self.assertGreater(step, calls)
                break
            count += 1
            self.left_nothing()
            if how != "fail":
                poll(lambda: not glob.glob(LAYERS + "/*/*.*"), "what was cut off to be tidied up")
            after()
        if killing.STRIDE:
            print(f"     it was stopped {count} times ({', '.join(ways)}), and came to its call {step}")

    def restart_volumed(self):
        self.host.volumed.stop()
        self.host.volumed.start()

    def whole_or_absent(self):
        """The layer opens, or another can be made."""
        session = self.session("layer", VM, "vda")
        if session.opened()["format"] == "0":
            session.close()
            session = self.create()
        else:
            session.close()
            session = self.reopen()
        session.opened()
        self.check_layer()
        session.close()
        self.gone(self.disk)
        removal = self.session("remove", VM, "vda")
        removal.opened()
        removal.close()
        self.assertFalse(os.path.exists(os.path.join(LAYERS, VM)))

    def stop_making(self, ways):
        self.sweep(ways, 65, "layer", VM, "vda", "create", IMAGE, 1 << 20, "raw", self.layer_key, "kept",
                   after=self.whole_or_absent)

    def test_killed_while_a_layer_is_made(self):
        self.stop_making(killing.ways("wlagent-volumed"))

    def test_failing_while_a_layer_is_made(self):
        self.stop_making(["fail"])

    def made(self):
        session = self.create()
        session.opened()
        session.close()
        self.gone(self.disk)

    def made_anew(self):
        self.whole_or_absent()
        self.made()

    def stop_removing(self, ways):
        self.made()
        self.sweep(ways, 14, "remove", VM, "vda", after=self.made_anew)

    def test_killed_while_a_layer_is_removed(self):
        self.stop_removing(killing.ways("wlagent-volumed"))

    def test_failing_while_a_layer_is_removed(self):
        self.stop_removing(["fail"])

    def older_layer(self):
        """As a former version made it, after a guest has written to it. Returns its path, and that of a copy."""
        base = self.session("image", self.image, "open", self.key)
        base.opened()
        session = self.create()
        session.opened()
        self.qemu_io("write -P 0x77 1M 64k", "flush")
        session.close()
        self.gone(self.disk)
        base.close()
        self.gone(self.name)
        path = os.path.join(self.directory_of_layer, "disk")
        saved = os.path.join(self.directory, "saved")
        os.truncate(path, LEAST)
        run("cp", "--sparse=always", path, saved)
        return path, saved

    def stop_opening_older(self, ways):
        """It is lengthened and becomes one of version 3: at the next opening at the latest, and nothing is lost."""
        path, saved = self.older_layer()

        def whole():
            base = self.session("image", self.image, "open", self.key)
            base.opened()
            again = self.session("layer", VM, "vda", "open-keeping", self.layer_key)
            again.opened()
            self.assertEqual(os.path.getsize(path), 2 * LEAST)
            information = json.loads(output("qemu-img", "info", "--output=json", "-f", "qcow2", device(self.disk)))
            self.assertEqual(information["format-specific"]["data"]["compat"], "1.1")
            self.assertIn("No errors were found", output("qemu-img", "check", "-f", "qcow2", device(self.disk)))
            self.assertIn("read 65536/65536", self.qemu_io("read -P 0x77 1M 64k"))
            again.close()
            self.gone(self.disk)
            base.close()
            self.gone(self.name)
            run("cp", "--sparse=always", saved, path)

        self.sweep(ways, 30, "layer", VM, "vda", "open-keeping", self.layer_key, after=whole)

    def test_killed_while_an_older_layer_is_opened(self):
        self.stop_opening_older(killing.ways("wlagent-volumed"))

    def test_failing_while_an_older_layer_is_opened(self):
        self.stop_opening_older(["fail"])

    def test_killed_while_an_image_is_opened(self):
        self.sweep(killing.ways("wlagent-volumed"), 30, "image", self.image, "open", self.key, after=self.opens)

    def test_failing_while_an_image_is_opened(self):
        self.sweep(["fail"], 30, "image", self.image, "open", self.key, after=self.opens)

    def test_failing_while_a_disk_is_opened(self):
        self.sweep(["fail"], 18, "image", self.image, "direct", VM, "vda", self.key, after=self.opens_for_writing)

    def opens_for_writing(self):
        session = self.session("image", self.image, "direct", VM, "vda", self.key)
        session.opened()
        session.close()
        self.gone(self.disk)

    def opens(self):
        session = self.session("image", self.image, "open", self.key)
        session.opened()
        session.close()
        self.gone(self.name)


if __name__ == "__main__":
    unittest.main()
