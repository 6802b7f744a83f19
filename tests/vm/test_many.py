# SPDX-License-Identifier: Apache-2.0
"""Several at once, one after the other in a hurry, disks inside images, and a host that is full."""

import concurrent.futures
import contextlib
import json
import os
import subprocess
import uuid

import host
import running
import stepwise
from host import run, virsh
from running import poll

TEXT = "what all of them may see"


class Many(host.VmTest):
    def test_eight_start_at_once(self):
        image = self.image(TEXT)
        guests = [self.guest(f"herd{number}").protected_disk(image, "ephemeral" if number % 2 else "layer").define()
                  for number in range(8)]
        stepwise.install()
        self.addCleanup(stepwise.remove)
        # QEMU starts slowly here, so most of them go no further than this.
        with contextlib.ExitStack() as all_paused, concurrent.futures.ThreadPoolExecutor(8) as pool:
            pauses = [stepwise.paused(guest, "prepare", "start", guest.name) for guest in guests]
            starts = list(pool.map(all_paused.enter_context, pauses))
            # One mapping of the image, one of each layer.
            self.assertEqual(len(self.host.mappings()), 9, self.host.mappings())
            for guest in guests[2:]:
                stepwise.refuse(guest, "prepare")
        for number, start in enumerate(starts):
            code, said = start.finish()
            self.assertEqual(code == 0, number < 2, said)
        for guest in guests[:2]:
            self.assertIn(f"disk 0: {TEXT}\n", guest.wait_until_up(120))
        poll(lambda: len(self.host.mappings()) == 3, "the layers of those that were refused to go")
        guests[1].destroy()
        poll(lambda: len(self.host.mappings()) == 2, "the layer of the one that ended to go")
        self.assertEqual(guests[0].state(), "running")
        guests[0].destroy()
        self.left_nothing()
        self.assertEqual(self.host.plaintext(TEXT), [])

    def test_start_while_it_stops(self):
        guest = self.guest("hasty").protected_disk(self.image(TEXT)).define()
        stepwise.install()
        self.addCleanup(stepwise.remove)
        guest.start()
        with stepwise.paused(guest, "release", "destroy", "hasty") as destroy:
            again = stepwise.Command("start", "hasty")
        self.assertEqual(destroy.finish()[0], 0)
        code, said = again.finish()
        self.assertTrue(code == 0 or "already active" in said, said)
        if code:
            guest.start()
        self.assertIn(f"disk 0: {TEXT}\n", guest.wait_until_up())
        guest.destroy()
        guest.start()


class DiskInside(host.VmTest):
    """A qcow2 inside an image is QEMU's to read: it may not lead to files of the host."""

    def test_compact(self):
        plain = host.write_disk(os.path.join(host.PLAIN, "disk"), TEXT, 64 << 20)
        image = os.path.join(self.directory, "compact")
        self.host.agent.run("image", "encrypt", "--compact", plain, image, "--key", host.KEY_NAME)
        os.unlink(plain)
        self.assertLess(os.stat(image).st_size, 1 << 20)
        guest = self.guest("compact").protected_disk(image).define()
        guest.start()
        self.assertIn(f"disk 0: {TEXT}\n", guest.wait_until_up())
        guest.destroy()
        guest.start()
        self.assertIn(f"disk 0: kept {TEXT}\n", guest.wait_until_up())

    def hostile(self, *options):
        """An image of a qcow2 that leads to a file of the host: its path."""
        disk = os.path.join(self.directory, "disk.qcow2")
        image = os.path.join(self.directory, "hostile")
        run("qemu-img", "create", "-q", "-f", "qcow2", *options, disk, "1M")
        subprocess.run([os.path.join(running.BUILD, "tests", "doubles", "sample_image"), image, "4194304", "1048576",
                        f"local:///{host.KEY_NAME}", "qcow2", disk], input=host.KEY, capture_output=True, check=True)
        return image

    def test_backing_file(self):
        guest = self.guest("hostile").protected_disk(self.hostile("-u", "-b", "/etc/shadow", "-F", "raw")).define()
        done = guest.start(check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "the disk inside: .*backing file")
        self.left_nothing()

    def test_what_leads_out_is_opened_in_no_mode(self):
        records = os.path.join(host.LAYERS, "direct")
        before = os.listdir(records) if os.path.isdir(records) else []
        data = os.path.join(self.directory, "data")
        for options, reason in ((("-u", "-b", "/etc/shadow", "-F", "raw"), b"backing file"),
                                (("-o", f"data_file={data}"), b"keeps its data in another file")):
            image = self.hostile(*options)
            for mode in ("layer", "direct"):
                done = self.host.agent.run("volume", "open", "--vm", str(uuid.uuid4()), "--disk", "vda", "--image", image,
                                           "--mode", mode, check=False)
                self.assertEqual(done.returncode, 1, mode)
                self.assertRegex(done.stderr, b"the disk inside: .*" + reason)
        self.assertEqual(os.listdir(records) if os.path.isdir(records) else [], before)
        self.left_nothing()


class Room(host.VmTest):
    def setUp(self):
        super().setUp()
        self.small = os.path.join("/srv", "small")
        self.filler = os.path.join(host.LAYERS, "filler")
        run("truncate", "-s", "24M", self.small)
        self.addCleanup(os.unlink, self.small)
        run("mkfs.ext4", "-q", "-m", "0", self.small)
        run("mount", "-o", "loop", self.small, host.LAYERS)
        self.addCleanup(run, "umount", host.LAYERS)
        self.addCleanup(self.closed)
        os.chmod(host.LAYERS, 0o700)
        self.image_path = self.image(TEXT)

    def closed(self):
        poll(lambda: not self.host.mappings(), "the mappings to go")

    def fill(self):
        run("dd", "if=/dev/zero", f"of={self.filler}", "bs=4096", check=False)

    @staticmethod
    def write(guest):
        """Behind all that the guest has written to its first disk; whether QEMU could."""
        def failed():
            known = json.loads(virsh("qemu-monitor-command", guest.name, '{"execute":"query-blockstats"}').stdout)
            disk = known["return"][0]
            return disk["qdev"], disk["stats"]["failed_wr_operations"], disk["stats"]["wr_operations"]

        device, before, written = failed()
        for command in ("aio_write -P 0x77 512k 64k", "aio_flush"):
            virsh("qemu-monitor-command", guest.name, "--hmp", f'qemu-io -d {device} "{command}"')
        poll(lambda: failed()[1:] != (before, written), "the write to end")
        return failed()[1] == before

    def test_room_for_the_layer(self):
        """The disk below is full while the layer grows: the guest hears of it, and loses nothing that it has."""
        guest = self.guest("cramped").protected_disk(self.image_path).define()
        guest.start()
        self.assertIn(f"disk 0: {TEXT}\n", guest.wait_until_up())
        self.fill()
        self.assertFalse(self.write(guest))
        self.assertEqual(guest.state(), "running")
        guest.destroy()
        self.closed()
        guest.start()
        self.assertIn(f"disk 0: kept {TEXT}\n", guest.wait_until_up())
        self.assertFalse(self.write(guest))
        os.unlink(self.filler)
        self.assertTrue(self.write(guest))
        guest.destroy()
        self.closed()
        guest.start()
        self.assertIn(f"disk 0: kept {TEXT}\n", guest.wait_until_up())
        guest.destroy()

    def test_no_room_for_a_layer(self):
        guest = self.guest("late").protected_disk(self.image_path).define()
        self.fill()
        done = guest.start(check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "may be full|No space left on device")
        self.closed()
        os.unlink(self.filler)
        guest.start()
        self.assertIn(f"disk 0: {TEXT}\n", guest.wait_until_up())
        guest.destroy()
