# SPDX-License-Identifier: Apache-2.0
"""wlagent-volumed points a Nova disk at the mapping of its image, and back at the cached file."""

import hashlib
import json
import os
import uuid

import host
import test_volumes
from host import output, run

GLANCE = "70a599e0-31e7-49b7-b260-868f441e862b"
SIZE = 64 * test_volumes.SECTOR


class NovaDisk(host.VmTest):
    def setUp(self):
        super().setUp()
        self.name = f"wlagent-image-{test_volumes.IMAGE}"
        self.base = os.path.join(self.directory, "_base", hashlib.sha1(GLANCE.encode()).hexdigest())
        os.mkdir(os.path.dirname(self.base))
        self.key, raw = (os.path.join(host.PLAIN, name) for name in ("key", "raw"))
        with open(self.key, "wb") as file:
            file.write(os.urandom(64))
        with open(raw, "wb") as file:
            file.write(test_volumes.MARKER.ljust(SIZE, b"\0"))
        run(test_volumes.CLIENT, "make", raw, self.base, self.key, test_volumes.IMAGE)
        instance = os.path.join(self.directory, str(uuid.uuid4()))
        os.mkdir(instance)
        self.disk = os.path.join(instance, "disk")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", self.base, "-F", "raw", self.disk, "1M")

    def rebase(self, to, disk=None, name=None, size=SIZE):
        return test_volumes.Session(self, "rebase", disk or self.disk, GLANCE, name or self.name, to,
                                    *(["raw", size] if to == "mapping" else []))

    def backing(self):
        return json.loads(output("qemu-img", "info", "-U", "--output=json", self.disk))["backing-filename"]

    def test_there_and_back(self):
        mapping = test_volumes.Session(self, "image", self.base, "open", self.key)
        mapping.opened()
        for _ in range(2):
            self.rebase("mapping").opened()
            self.assertEqual(self.backing(), test_volumes.device(self.name))
        pattern = f"read -P {test_volumes.MARKER[0]} 0 1"
        run("qemu-io", "-r", "-f", "qcow2", "-c", pattern, self.disk)
        for _ in range(2):
            self.rebase("base").opened()
            self.assertEqual(self.backing(), self.base)
        run("qemu-img", "check", "-q", self.disk)
        mapping.close()

    def test_refused(self):
        other = "wlagent-image-" + str(uuid.uuid4())
        self.rebase("mapping", name=other).opened()
        self.assertRegex(self.rebase("mapping").refused(), "^invalid-input: .*not over its image")
        self.rebase("base", name=other).opened()
        self.assertRegex(self.rebase("mapping", size=2 << 20).refused(), "^invalid-input: .*its image has 2097152")
        self.assertRegex(self.rebase("mapping", disk=self.base).refused(), "^invalid-input: .*not the root disk")
        self.assertRegex(self.rebase("mapping", disk=f"/etc/{uuid.uuid4()}/disk").refused(), "^denied: ")
        gone = os.path.join(self.directory, str(uuid.uuid4()), "disk")
        self.assertRegex(self.rebase("mapping", disk=gone).refused(), "^not-found: ")
        os.mkdir(os.path.dirname(gone))
        os.symlink(self.disk, gone)
        self.assertRegex(self.rebase("mapping", disk=gone).refused(), "^denied: .*symbolic link")
        os.unlink(gone)
        os.mkfifo(gone)
        self.assertRegex(self.rebase("mapping", disk=gone).refused(), "^invalid-input: .*not a regular file")
        self.assertEqual(self.backing(), self.base)
