# SPDX-License-Identifier: Apache-2.0
"""wlagent-volumed by itself: what it opens, what it refuses, and that nothing is left of either."""

import glob
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

import host
from host import output, run
from running import BUILD, poll

CLIENT = os.path.join(BUILD, "tests", "vm", "volume-client")
LAYERS = "/var/lib/workload-agent-volumes"
MARKER = b"a marker of the volumes' test"
IMAGE = "0f6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e01"
VM = "5a6b3a52-c0b9-4a7f-9a0e-5b1f7c2d8e02"
SECTOR = 4096


class Session:
    """One connection to volumed, held by a process of its own."""

    def __init__(self, test, *steps, user=None):
        self.process = subprocess.Popen([CLIENT, test.host.volumed.socket, *map(str, steps)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, user=user)
        test.addCleanup(self.close)
        self.text = b""

    def wait(self, seconds=60):
        """Until all steps are done, or one was refused; returns the lines."""
        while not self.text.endswith(b"done\n") and select.select([self.process.stdout], [], [], seconds)[0]:
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


def device(name):
    return "/dev/mapper/" + name


class Volumes(host.VmTest):
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

    def gone(self, name):
        poll(lambda: name not in self.host.mappings(), f"{name} to go", 10)

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


if __name__ == "__main__":
    unittest.main()
