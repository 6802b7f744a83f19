# SPDX-License-Identifier: Apache-2.0
"""Protected VMs from start to end: libvirt with the hook, wlagentd, wlagent-volumed, dm-crypt and QEMU."""

import json
import os

import libvirt_qemu

import host
from running import poll


class LaunchTest(host.VmTest):
    def vms(self):
        return {vm["name"]: vm for vm in self.host.agent.status()["vms"]}

    def wait_for_state(self, guest, state):
        poll(lambda: self.vms().get(guest.name, {}).get("state") == state, f"{guest.name} to be {state}")

    def gone(self, guest):
        poll(lambda: guest.name not in self.vms(), f"{guest.name} to be forgotten")
        self.left_nothing()

    def refused(self, guest, pattern):
        done = guest.start(virsh_says=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, pattern)
        self.gone(guest)
        return done.stderr

    def protected(self, name, *modes, text=None):
        """A guest with a disk of each mode, each of an image of its own."""
        guest = self.guest(name)
        for number, mode in enumerate(modes):
            guest.protected_disk(self.image(text or f"marker of {name}", f"{name}-{number}"), mode)
        return guest.define()


class Starts(LaunchTest):
    def test_a_layer_is_kept_from_start_to_start(self):
        guest = self.protected("layer", "layer")
        guest.start()
        self.assertIn("disk 0: marker of layer\n", guest.wait_until_up())
        vm = self.vms()["layer"]
        self.assertEqual((vm["state"], vm["disks"][0]["mode"]), ("running", "layer"))
        self.assertEqual(len(self.host.mappings()), 2)
        guest.destroy()
        self.gone(guest)
        guest.start()
        self.assertIn("disk 0: kept marker of layer\n", guest.wait_until_up())
        guest.destroy()
        self.gone(guest)
        self.assertEqual(self.host.plaintext("marker of layer"), [])

    def test_ephemeral_and_direct(self):
        guest = self.protected("both", "ephemeral", "direct")
        guest.start()
        self.assertIn("disk 0: marker of both\n", guest.wait_until_up())
        guest.destroy()
        self.gone(guest)
        guest.start()
        text = guest.wait_until_up()
        self.assertNotIn("disk 0: kept", text)
        self.assertIn("disk 1: kept marker of both\n", text)
        guest.destroy()
        self.gone(guest)
        self.assertEqual(self.host.plaintext("marker of both"), [])

    def test_two_guests_on_one_image(self):
        image = self.image("marker of two")
        guests = [self.guest(name).protected_disk(image).define() for name in ("first", "second")]
        for guest in guests:
            guest.start()
            self.assertIn("disk 0: marker of two\n", guest.wait_until_up())
        self.assertEqual(len(self.host.mappings()), 3)
        guests[0].destroy()
        poll(lambda: len(self.host.mappings()) == 2, "the first layer to go")
        self.assertEqual(guests[1].state(), "running")
        guests[1].destroy()
        self.gone(guests[1])

    def test_a_guest_without_protection(self):
        guest = self.guest("plain", host.write_disk(os.path.join(self.directory, "disk.raw"), "nothing secret")).define()
        self.host.agent.stop()
        try:
            guest.start()
        finally:
            self.host.agent.start()
        guest.destroy()


class Discards(LaunchTest):
    SIZE = 1 << 20

    @staticmethod
    def monitor(domain, *commands):
        """Has QEMU do that to its first disk, as a guest would; what comes of it is in QEMU's log when it has ended."""
        device = Discards.statistics(domain)["qdev"]
        for command in commands:
            libvirt_qemu.qemuMonitorCommand(domain, f'qemu-io -d {device} "{command}"',
                                            libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)

    @staticmethod
    def statistics(domain):
        return json.loads(libvirt_qemu.qemuMonitorCommand(domain, '{"execute":"query-blockstats"}', 0))["return"][0]

    def guest_that_discards(self, name):
        """And whether QEMU gives the host back what is discarded. It hears of it in any case."""
        image = self.image(f"marker of {name}", name)
        guest = self.guest(name).protected_disk(image)
        guest.disks[0] = guest.disks[0].replace("cache='none'", "cache='none' discard='unmap'")
        guest.define()
        self.host.agent.run("vm", "protect", "--disk", "vda", "--image", image, name)
        keeps = "discard_no_unref='on'" in guest.ask(lambda domain: domain.XMLDesc())
        if not keeps:
            guest.define()
        return guest, keeps

    def test_a_guest_finds_room(self):
        """However often it discards and writes: the volume does not grow, and QEMU stays in the part of it that a disk
        takes which is written once."""
        guest, keeps = self.guest_that_discards("discards")
        layer = os.path.join(host.LAYERS, guest.uuid, "vda", "disk")
        log = f"/var/log/libvirt/qemu/{guest.name}.log"
        guest.start()
        guest.wait_until_up()
        commands = host.hostile_commands(self.SIZE)
        for pattern in 21, 22:
            commands += [f"discard 0 {self.SIZE}", f"write -P {pattern} 0 {self.SIZE}", f"read -P {pattern} 0 {self.SIZE}"]
        guest.ask(lambda domain: self.monitor(domain, *commands, "flush"))
        written = os.stat(layer).st_blocks * 512
        self.assertGreater(written, self.SIZE)
        guest.ask(lambda domain: self.monitor(domain, f"discard 0 {self.SIZE}", "flush"))
        freed = written - os.stat(layer).st_blocks * 512
        self.assertEqual(freed > self.SIZE // 2, keeps, freed)  # the file system's own blocks count as well
        highest = guest.ask(lambda domain: self.statistics(domain)["parent"]["stats"]["wr_highest_offset"])
        self.assertGreater(highest, self.SIZE)
        self.assertLessEqual(highest, os.path.getsize(layer) // 2)
        guest.destroy()
        self.gone(guest)

        with open(log, encoding="utf-8", errors="replace") as file:
            said = file.read()
        self.assertEqual(said.count("discard "), sum(command.startswith("discard ") for command in commands) + 1, said)
        self.assertEqual(said.count("wrote "), sum(command.startswith("write ") for command in commands), said)
        self.assertNotRegex(said, "failed|No space left")


class Refusals(LaunchTest):
    def test_reasons(self):
        guest = self.protected("refused", "layer")
        self.host.agent.remove_key(host.KEY_NAME)
        self.host.agent.stop()
        self.host.agent.start()
        try:
            self.refused(guest, r"local:///vm")
        finally:
            self.host.agent.import_key(host.KEY_NAME, host.KEY)
        self.host.volumed.stop()
        try:
            self.refused(guest, "wlagent-volumed is not running")
        finally:
            self.host.volumed.start()
        self.host.agent.stop()
        try:
            self.assertRegex(guest.start(virsh_says=True).stderr, "wlagentd is not running|wlagentd cannot be asked")
            self.left_nothing()
        finally:
            self.host.agent.start()
        guest.start()
        self.assertIn("marker of refused", guest.wait_until_up())
        guest.destroy()
        self.gone(guest)

    def test_a_header_of_another_image(self):
        guest = self.protected("swapped", "layer")
        other = self.image("another", "another")
        os.replace(other + ".header", os.path.join(self.directory, "swapped-0.header"))
        self.refused(guest, "disk vda")

    def test_a_line_without_its_disk(self):
        guest = self.guest("torn").protected_disk(self.image("marker of torn"))
        guest.disks = []
        guest.disk(host.write_disk(os.path.join(self.directory, "plain.raw"), "plain"))
        guest.define()
        self.refused(guest, "disk vda is protected, but its source is not")
