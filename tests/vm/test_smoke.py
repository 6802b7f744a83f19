# SPDX-License-Identifier: Apache-2.0
"""The test VM itself: it has a TPM, dm-crypt and libvirt, and a guest reads and writes its disk."""

import os

import host
from host import output, run, virsh


class Machine(host.VmTest):
    def test_tpm_makes_and_opens_keys(self):
        self.host.agent.run("key", "create", "smoke")
        self.addCleanup(self.host.agent.remove_key, "smoke")
        self.assertIn("smoke", self.host.agent.output("key", "list"))
        self.assertRegex(self.host.agent.run("doctor", check=False).stdout.decode(), "ok +tpm +device:/dev/tpmrm0")

    def test_dm_crypt_encrypts_a_file(self):
        image = os.path.join(self.directory, "encrypted")
        with open(image, "wb") as file:
            file.truncate(1 << 20)
        key = os.path.join(host.PLAIN, "key")
        with open(key, "wb") as file:
            file.write(os.urandom(64))
        run("cryptsetup", "open", "--type", "plain", "--cipher", "aes-xts-plain64", "--key-size", "512", "--key-file",
            key, image, "smoke")
        try:
            self.assertEqual(self.host.mappings(), ["smoke"])
            self.assertEqual(len(self.host.leftovers()), 2, self.host.leftovers())
            with open("/dev/mapper/smoke", "r+b") as disk:
                disk.write(b"a marker to be found nowhere".ljust(4096, b"\0"))
                os.fsync(disk.fileno())
        finally:
            run("cryptsetup", "close", "smoke")
        self.assertEqual(self.host.plaintext("marker to be found nowhere"), [])

    def test_guest_reads_and_writes(self):
        disk = host.write_disk(os.path.join(self.directory, "disk.raw"), "text of the disk")
        guest = self.guest("smoke", disk).define()
        guest.start()
        self.assertEqual(guest.wait_until_up(), "disk 0: text of the disk\ndisk 0: written\nup\n")
        self.assertEqual(guest.state(), "running")
        guest.destroy()
        with open(disk, "rb") as file:
            self.assertEqual(file.read(1536)[1024:].rstrip(b"\0"), b"text of the disk")
        self.assertEqual(self.host.plaintext("text of the disk"), ["/srv" + disk])
        guest.start()
        self.assertIn("disk 0: kept text of the disk\n", guest.wait_until_up())

    def test_versions(self):
        """For the log: what this run has proved it with."""
        for command in (["uname", "-r"], ["qemu-system-x86_64", "--version"], ["cryptsetup", "--version"]):
            print("      ", output(*command).splitlines()[0])
        print("       libvirt", virsh("--version").stdout.strip())
