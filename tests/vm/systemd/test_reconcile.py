# SPDX-License-Identifier: Apache-2.0
"""The installed wlagent-reconcile units: enable-libvirt has them run, and in its sandbox the service asks libvirt and
removes the layers of VMs that are gone, and no others."""

import os

import host
import units
from host import output, run
from running import poll

SERVICE = "wlagent-reconcile.service"
TIMER = "wlagent-reconcile.timer"
AT_ONCE = "/etc/workload-agent/wlagent.conf.d/orphans.conf"


class Reconcile(units.ProtectedTest):
    def reconcile(self, layer):
        """Runs the service, and tells whether there still is the layer."""
        run("systemctl", "reset-failed", SERVICE, check=False)  # and its count of starts
        run("systemctl", "start", SERVICE)
        self.assertEqual(output("systemctl", "show", "-P", "ConditionResult", SERVICE), "yes\n")
        self.assertEqual(output("systemctl", "show", "-P", "Result", SERVICE), "success\n")
        invocation = output("systemctl", "show", "-P", "InvocationID", SERVICE).strip()
        # What it says may take longer to the journal than the service takes to end.
        poll(lambda: "wlagentd knows of " in output("journalctl", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={invocation}"),
             "the service to say what it did")
        return os.path.exists(layer)

    def test_layers_of_vms_that_are_gone(self):
        os.makedirs(os.path.dirname(AT_ONCE), exist_ok=True)
        with open(AT_ONCE, "w", encoding="ascii") as config:
            config.write("[Libvirt]\nOrphanSeconds=0\n")
        self.addCleanup(os.unlink, AT_ONCE)
        run("systemctl", "restart", "wlagentd.service")
        guest = self.protected("text that only the guest may see", "layer")
        guest.start()
        guest.destroy()
        self.gone()

        layer = os.path.join("/var/lib/workload-agent-volumes", guest.uuid, "vda")
        for _ in range(3):
            self.assertTrue(self.reconcile(layer))
        guest.undefine()
        poll(lambda: not self.reconcile(layer), "the layer to be removed")

    def test_an_agent_that_was_stopped_stays_so(self):
        sockets = ["wlagentd.socket", "wlagentd-control.socket"]
        self.addCleanup(run, "systemctl", "start", *sockets)
        run("systemctl", "stop", *sockets, "wlagentd.service")
        run("systemctl", "start", SERVICE)
        self.assertEqual(output("systemctl", "show", "-P", "ConditionResult", SERVICE), "no\n")
        for unit in [*sockets, "wlagentd.service"]:
            self.assertEqual(output("systemctl", "show", "-P", "ActiveState", unit), "inactive\n")

    def test_they_are_enabled(self):
        self.assertEqual(units.findings("reconcile"), [("ok", f"{TIMER} has layers of VMs that are gone removed")])
        self.assertIn(SERVICE, output("systemctl", "show", "-P", "Wants", "libvirtd.service").split())
        self.assertIn(TIMER, output("systemctl", "show", "-P", "Wants", "timers.target").split())
        run("systemctl", "disable", "--now", TIMER, SERVICE)
        self.assertIn("not running", str(units.findings("reconcile")))
        run("systemctl", "enable", SERVICE)  # brings the other along
        self.assertIn("not running", str(units.findings("reconcile")))
        run("/usr/libexec/wlagent/enable-libvirt")
        self.assertEqual([result for result, _ in units.findings("reconcile")], ["ok"])
