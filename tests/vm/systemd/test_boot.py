# SPDX-License-Identifier: Apache-2.0
"""A host that starts again after its power was cut: VMs with encrypted disks that libvirt starts by itself."""

import os
import shutil

import host
import units
from host import output, virsh

TEXT = "text that only the guest may see"
NEXT_ROOT = "/srv/root"  # see tests/vm/guest/init
UNITS = "/etc/systemd/system"
DAEMONS = ["libvirtd.service", "wlagentd.service"]  # of multi-user.target, which this VM does not reach


def microseconds(unit, what):
    return int(output("systemctl", "show", "-P", what + "TimestampMonotonic", unit))


class Boot(units.ProtectedTest):
    def test_autostart(self):
        if not self.power_lost_at:
            guest = self.protected(TEXT, "layer")
            self.boots(guest, f"disk 0: {TEXT}\ndisk 0: written\nup\n")
            virsh("autostart", guest.name)
            shutil.copytree("/etc/libvirt/qemu", NEXT_ROOT + "/etc/libvirt/qemu", symlinks=True)
            shutil.copytree("/etc/apparmor.d/local", NEXT_ROOT + "/etc/apparmor.d/local")
            os.makedirs(f"{NEXT_ROOT}{UNITS}/vm.target.wants")
            for unit in DAEMONS:
                os.symlink(f"/lib/systemd/system/{unit}", f"{NEXT_ROOT}{UNITS}/vm.target.wants/{unit}")
            os.makedirs(NEXT_ROOT + host.CONSOLES)
            os.sync()
            self.lose_power("running")
        self.addCleanup(shutil.rmtree, NEXT_ROOT)

        guest = host.Guest("unit")
        self.addCleanup(guest.undefine, check=False)
        self.addCleanup(guest.destroy, check=False)
        self.assertEqual(guest.wait_until_up(150), f"disk 0: {TEXT}\ndisk 0: kept {TEXT}\ndisk 0: written\nup\n")
        started = microseconds("libvirtd.service", "ExecMainStart")
        for unit in [*units.SOCKETS[1:], "wlagentd.service"]:
            self.assertTrue(0 < microseconds(unit, "ActiveEnter") < started, unit)
