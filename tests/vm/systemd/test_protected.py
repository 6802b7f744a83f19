# SPDX-License-Identifier: Apache-2.0
"""A VM with an encrypted disk on a host as the README leaves it: the installed programs, their units with
their sandboxes, and libvirt's own unit."""

import os
import re
import shutil

import host
import units
from host import output, run

TEXT = "text that only the guest may see"
BOOTED = f"disk 0: {TEXT}\ndisk 0: written\nup\n"
AGAIN = f"disk 0: {TEXT}\ndisk 0: kept {TEXT}\ndisk 0: written\nup\n"
CAPABILITIES = 1 << 21 | 1 << 1 | 1 << 0  # CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_CHOWN


class Protected(units.ProtectedTest):
    def test_start_stop_and_start(self):
        guest = self.protected(TEXT, "layer")
        self.boots(guest, BOOTED)
        self.assertEqual(len(host.Host.mappings()), 2)
        self.assertIn("unit", output("wlagent", "vm", "list"))

        pid = output("systemctl", "show", "-P", "MainPID", "wlagent-volumed.service").strip()
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = file.read()
        self.assertEqual({int(mask, 16) for mask in re.findall(r"Cap(?:Bnd|Eff):\s+(\w+)\n", status)}, {CAPABILITIES})
        self.assertRegex(status, r"Seccomp:\s+2\n")

        # The VM does not need them any more.
        run("systemctl", "stop", *units.SERVICES)
        self.assertEqual(guest.state(), "running")
        guest.destroy()
        self.gone()
        self.boots(guest, AGAIN)
        guest.destroy()
        self.gone()
        self.assertEqual(host.Host.plaintext(TEXT), [])

    def test_protect_tells_that_libvirt_does_not_run_the_hook(self):
        image, plain = self.image(TEXT)
        guest = host.Guest("unit").disk(plain).define()
        self.addCleanup(guest.undefine, check=False)

        def protect(*options):
            done = run("wlagent", "vm", "protect", "unit", "--disk", "vda", "--image", image, *options)
            self.assertTrue(done.stdout)
            return done.stderr

        away = "/root/50-wlagent"
        shutil.move(host.HOOK_INSTALLED, away)
        self.addCleanup(lambda: os.path.exists(away) and shutil.move(away, host.HOOK_INSTALLED))
        nothing = r"^wlagent: libvirt does not run wlagent's hook, and does not start domain unit: "
        self.assertRegex(protect(), nothing + r".*/50-wlagent does not exist\nhint: install wlagent's hook ")
        shutil.move(away, host.HOOK_INSTALLED)
        self.assertRegex(protect("--json"), nothing + r"libvirtd has not looked for hooks since .*\nhint: systemctl reload ")
        run("/usr/libexec/wlagent/enable-libvirt")
        self.assertEqual(protect(), "")
        os.unlink(plain)

    def test_they_come_before_libvirt(self):
        after = output("systemctl", "show", "-P", "After", "libvirtd.service").split()
        for unit in ["wlagentd-control.socket", "wlagent-volumed.socket", *units.SERVICES]:
            self.assertIn(unit, after)
