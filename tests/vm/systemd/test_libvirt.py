# SPDX-License-Identifier: Apache-2.0
"""libvirtd as systemd starts it, with the hook as it is installed: that it is run, what it does to VMs, and
what doctor and enable-libvirt make of a libvirtd that does not know of it."""

import os
import shutil

import host
import units
from host import Guest, output, run
from running import poll

HOOK = "/etc/libvirt/hooks/qemu.d/50-wlagent"
AWAY = "/root/50-wlagent"
MARK = '<wlagent:protected xmlns:wlagent="urn:wlagent:domain:1"><wlagent:disk target="vda" mode="direct" ' \
       'image="/srv/images/none.img"/></wlagent:protected>'
VOLUME = "/dev/mapper/wlagent-5ae0a1f6-6e55-4bd5-9d8c-6e8b1e7a5f02-vda"


class Libvirt(units.UnitTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for path in (host.IMAGES, host.PLAIN, host.CONSOLES):
            os.makedirs(path, exist_ok=True)
        run("systemctl", "start", "libvirtd.service")
        cls.disk = host.write_disk(os.path.join(host.IMAGES, "plain.raw"), "plain")

    def guest(self, name, disk, metadata=""):
        guest = Guest(name).disk(disk)
        guest.metadata = metadata
        self.addCleanup(guest.undefine, check=False)
        self.addCleanup(guest.destroy, check=False)
        return guest.define()

    def stop_agent(self):
        run("systemctl", "stop", *units.SOCKETS, *units.SERVICES)

    def refused(self, guest, pattern):
        done = guest.start(virsh_says=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(guest.state(), "shut off")

    def test_unprotected(self):
        guest = self.guest("plain", self.disk)
        guest.start()
        self.assertEqual(units.active("wlagentd.service"), "active")

        # A hook that fails when libvirtd comes back, or takes its time, would end the VM.
        self.stop_agent()
        run("systemctl", "restart", "libvirtd.service")
        poll(lambda: guest.state() == "running", "libvirtd to find its VM again")
        guest.destroy(check=False)  # libvirtd, which is not done with it, may see the end of QEMU before it knows why
        poll(lambda: guest.state() == "shut off", "the VM to end")
        guest.start()
        self.assertEqual(guest.state(), "running")

    def test_protected(self):
        guest = self.guest("web", VOLUME, MARK)
        self.refused(guest, "exit status 1: wlagent: .+")
        self.stop_agent()
        self.refused(guest, r"wlagent: the domain has encrypted disks and wlagentd cannot be asked for them: "
                            r"/run/workload-agent/control.sock: .+ \(start it with 'systemctl start wlagentd'")

    def test_a_hook_that_libvirtd_does_not_run(self):
        shutil.move(HOOK, AWAY)
        self.addCleanup(lambda: os.path.exists(AWAY) and shutil.move(AWAY, HOOK))
        guest = self.guest("web", VOLUME, MARK)
        self.assertIn(("failure", f"{HOOK} does not exist"), units.findings("libvirt-hook"))

        run("systemctl", "restart", "libvirtd.service")
        poll(lambda: guest.state() == "shut off", "libvirtd to answer")
        shutil.copy(AWAY, HOOK)
        os.unlink(AWAY)
        # Without the hook it is the missing disk that keeps the VM down.
        self.refused(guest, VOLUME)
        self.assertIn(("failure", f"libvirtd has not looked for hooks since {HOOK} was installed or changed"),
                      units.findings("libvirt-hook"))

        self.addCleanup(run, "systemctl", "disable", "--now", *units.RECONCILE)
        self.assertIn("reloaded libvirtd.service", output("/usr/libexec/wlagent/enable-libvirt"))
        self.assertEqual(units.findings("libvirt-hook"), [("ok", f"{HOOK} was there when libvirtd looked for hooks")])
        self.refused(guest, "exit status 1: wlagent: .+")

        os.chmod(HOOK, 0o644)
        self.addCleanup(os.chmod, HOOK, 0o755)
        self.refused(guest, VOLUME)
        self.assertIn("is not executable, so libvirt starts VMs without it", str(units.findings("libvirt-hook")))
        self.assertNotEqual(run("/usr/libexec/wlagent/enable-libvirt", check=False).returncode, 0)
