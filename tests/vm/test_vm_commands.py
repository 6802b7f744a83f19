# SPDX-License-Identifier: Apache-2.0
"""wlagent vm and wlagent volume on the system's libvirt, with guests that run."""

import json
import os

import host
from host import virsh


class VmCommands(host.VmTest):
    def agent(self, *words, check=True):
        return self.host.agent.run(*words, check=check)

    def output(self, *words):
        return self.agent(*words).stdout.decode()

    def plain_guest(self, name, acpi=False):
        """One that boots from a disk without encryption."""
        disk = host.write_disk(os.path.join(self.directory, f"{name}.raw"), f"plain {name}")
        guest = self.guest(name, disk)
        guest.acpi = acpi
        return guest.define()

    def definition(self, guest):
        return virsh("dumpxml", "--inactive", guest.name).stdout

    def boots_with(self, guest, text):
        guest.start()
        self.assertIn(f"disk 0: {text}\n", guest.wait_until_up())

    def stops(self, guest):
        guest.destroy()
        self.forgotten(guest)
        self.left_nothing()

    def layers(self):
        return {layer["vm"]: layer for layer in json.loads(self.output("volume", "list", "--json"))["layers"]}

    def test_a_guest_is_protected_and_unprotected(self):
        guest = self.plain_guest("web")
        former = self.definition(guest)
        image = self.image("encrypted web")

        told = self.output("vm", "protect", "--disk", "vda", "--image", image, "web")
        self.assertIn(f"It is {guest.volume()}, which wlagentd opens at each start.", told)
        self.boots_with(guest, "encrypted web")
        self.assertRegex(self.output("vm", "list"), f"web +running +vda +layer +{image}\n")
        self.assertIn(os.path.basename(guest.volume()), self.output("volume", "list"))
        refused = self.agent("volume", "remove", "--force", os.path.basename(guest.volume()), check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(f"VM {guest.uuid} runs (shut the VM down first".encode(), refused.stderr)
        self.assertIn("when it starts next", self.output("vm", "protect", "--disk", "vda", "--image", image, "--mode",
                                                         "ephemeral", "web"))
        self.output("vm", "protect", "--disk", "vda", "--image", image, "web")
        self.stops(guest)

        self.boots_with(guest, "kept encrypted web")
        self.stops(guest)
        self.output("volume", "remove", "--force", os.path.basename(guest.volume()))
        self.assertNotIn(guest.uuid, self.layers())
        self.boots_with(guest, "encrypted web")
        self.stops(guest)

        self.output("vm", "unprotect", "web")
        self.assertEqual(self.definition(guest), former)
        self.boots_with(guest, "plain web")
        guest.destroy()
        self.forgotten(guest)
        self.output("volume", "remove", "--force", os.path.basename(guest.volume()))

    def test_direct(self):
        guest = self.plain_guest("direct")
        self.output("vm", "protect", "--disk", "vda", "--image", self.image("encrypted direct"), "--mode", "direct",
                    "direct")
        self.boots_with(guest, "encrypted direct")
        self.stops(guest)
        self.boots_with(guest, "kept encrypted direct")
        self.stops(guest)

    @staticmethod
    def keeps_places():
        """Whether libvirt and QEMU know discard_no_unref."""
        with host.libvirt_connection() as connection:
            return connection.getLibVersion() >= 9005000 and connection.getVersion() >= 8002000

    def compat(self, guest):
        """The version of qcow2 in the layer of a guest that runs."""
        told = host.output("qemu-img", "info", "-U", "--output=json", "-f", "qcow2", guest.volume())
        return json.loads(told)["format-specific"]["data"]["compat"]

    def told_to_keep(self, guest):
        """QEMU, by libvirt."""
        with open(f"/proc/{guest.pid}/cmdline", encoding="utf-8") as file:
            return '"discard-no-unref":true' in file.read()

    def test_protected_once_more(self):
        """A layer of a domain that has been protected by a former version."""
        image = self.image("encrypted former")
        guest = self.guest("former").protected_disk(image).define()
        self.boots_with(guest, "encrypted former")
        self.assertEqual((self.compat(guest), self.told_to_keep(guest)), ("0.10", False))
        self.stops(guest)
        self.output("vm", "protect", "--disk", "vda", "--image", image, "former")
        self.boots_with(guest, "kept encrypted former")
        keeps = self.keeps_places()
        self.assertEqual((self.compat(guest), self.told_to_keep(guest)), ("1.1" if keeps else "0.10", keeps))
        self.stops(guest)
        self.boots_with(guest, "kept encrypted former")
        self.stops(guest)

    def test_a_disk_that_is_only_read(self):
        guest = self.guest("reads").disk(host.write_disk(os.path.join(self.directory, "reads.raw"), "plain reads"),
                                         readonly=True).define()
        image = self.image("encrypted reads")
        for mode in "layer", "ephemeral", "layer":
            self.output("vm", "protect", "--disk", "vda", "--image", image, "--mode", mode, "reads")
            self.assertIn("<readonly/>", self.definition(guest))
            self.assertNotIn("discard_no_unref", self.definition(guest))

    def test_a_saved_guest(self):
        guest = self.plain_guest("saved")
        image = self.image("encrypted saved")
        guest.start()
        virsh("managedsave", "saved")
        done = self.agent("vm", "protect", "--disk", "vda", "--image", image, "saved", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"domain saved is saved", done.stderr)
        virsh("managedsave-remove", "saved")
        self.output("vm", "protect", "--disk", "vda", "--image", image, "saved")

    def test_wlagentd_is_told_of_all_domains(self):
        guest = self.plain_guest("told")
        self.output("vm", "protect", "--disk", "vda", "--image", self.image("encrypted told"), "told")
        guest.start()
        self.stops(guest)
        self.assertRegex(self.output("vm", "reconcile"), r"wlagentd knows of \d+ domains\.\n")
        self.assertIsNone(self.layers()[guest.uuid]["orphan_since"])
        self.assertIn("told\n", self.output("complete", "--", "vm", "unprotect", ""))

        guest.undefine()
        self.output("vm", "reconcile")
        self.assertIsNotNone(self.layers()[guest.uuid]["orphan_since"])
        self.assertRegex(self.output("volume", "list"), f"wlagent-{guest.uuid}-vda +orphan")
        self.output("volume", "remove", "--force", f"wlagent-{guest.uuid}-vda")

    def test_a_disk_for_a_running_guest(self):
        guest = self.plain_guest("plug", acpi=True)
        guest.start()
        image = self.image("encrypted plug")
        device = self.output("volume", "open", "--vm", guest.uuid, "--disk", "vdb", "--image", image).strip()
        self.assertEqual(device, guest.volume("vdb"))
        virsh("attach-disk", "plug", device, "vdb", "--sourcetype", "block", "--driver", "qemu", "--subdriver", "qcow2",
              "--cache", "none")
        self.assertIn(device, virsh("domblklist", "plug").stdout)
        done = self.agent("volume", "close", device, check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        guest.destroy()
        self.left_nothing()
        self.forgotten(guest)
        self.output("volume", "remove", "--force", os.path.basename(device))
