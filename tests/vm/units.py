# SPDX-License-Identifier: Apache-2.0
"""What tests of the installed units stand on, in a VM that systemd has booted."""

import json
import os
import unittest

import host
from host import Guest, output, run
from running import poll

SOCKETS = ["wlagentd.socket", "wlagentd-control.socket", "wlagent-volumed.socket"]
SERVICES = ["wlagentd.service", "wlagent-volumed.service"]
RECONCILE = ["wlagent-reconcile.timer", "wlagent-reconcile.service"]


def active(unit):
    return run("systemctl", "is-active", unit, check=False).stdout.strip()


def daemon_pid():
    """Of wlagentd, which this starts."""
    return json.loads(output("wlagent", "status", "--json"))["pid"]


def findings(check):
    """Of doctor: pairs of result and text."""
    # Without container engines in its PATH: to ask each for its version takes long here.
    os.makedirs("/run/doctor", exist_ok=True)
    if not os.path.exists("/run/doctor/systemctl"):
        os.symlink("/usr/bin/systemctl", "/run/doctor/systemctl")
    report = json.loads(run("env", "PATH=/run/doctor", "/usr/bin/wlagent", "doctor", "--json", check=False).stdout)
    return [(finding["result"], finding["text"]) for finding in report["findings"] if finding["check"] == check]


def all_denials():
    return [line for line in output("dmesg").splitlines() if 'apparmor="DENIED"' in line]


class UnitTest(host.Power, unittest.TestCase):
    """The sockets listen, the services are not started yet; all are stopped after the test. AppArmor, which
    confines libvirt, may have denied nothing by then but what the test has asked denials() for."""

    @classmethod
    def setUpClass(cls):
        run("journalctl", "--update-catalog")
        if not os.path.exists("/var/lib/workload-agent/binding-key.pem"):
            run("wlagent", "setup")
            # Their first start reads the programs from outside, which takes longer than clients wait on a busy machine.
            run("systemctl", "start", *SERVICES)
            run("systemctl", "stop", *SOCKETS, *SERVICES)

    def setUp(self):
        self.denied = len(all_denials())
        self.addCleanup(lambda: self.assertEqual(self.denials(), []))
        run("systemctl", "reset-failed", *SERVICES, *SOCKETS)  # and their counts of starts
        run("systemctl", "start", *SOCKETS)
        self.addCleanup(self.keep_journal)
        self.addCleanup(run, "systemctl", "stop", *SOCKETS, *SERVICES)

    def denials(self):
        """What AppArmor has denied since this was called last."""
        lines = all_denials()
        new, self.denied = lines[self.denied:], len(lines)
        return new

    def keep_journal(self):
        """Of a failed test, in a directory of its name."""
        result = self._outcome.result
        if any(test is self for test, _ in result.failures + result.errors):
            directory = os.path.join(os.environ["WLAGENT_TEST_LOGS"], self.id())
            os.makedirs(directory, exist_ok=True)
            with open(os.path.join(directory, "journal"), "w", encoding="utf-8") as file:
                file.write(output("journalctl", "-b", "--no-pager"))


class ProtectedTest(UnitTest):
    """libvirtd runs, and VMs can have disks that are encrypted with the key "unit", by the commands of the
    README."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(run, "wlagent", "key", "remove", "--force", "unit")
        if cls.one_lost_power():
            return
        host.make_places_for_plaintext()
        cls.config = "/etc/workload-agent/wlagent.conf"
        with open(cls.config, "w", encoding="ascii") as config:
            config.write("[KeyProvider]\nAllowWrap=yes\n")
        cls.addClassCleanup(os.unlink, cls.config)
        run("wlagent", "key", "create", "unit")
        run("systemctl", "start", "libvirtd.service")
        run("/usr/libexec/wlagent/enable-libvirt")
        cls.addClassCleanup(run, "systemctl", "disable", "--now", *RECONCILE)

    def image(self, text, name="unit"):
        plain = host.write_disk(os.path.join(host.PLAIN, name), text)
        path = os.path.join(host.IMAGES, name)
        run("wlagent", "image", "encrypt", "--force", plain, path, "--key", "unit")
        return path, plain

    def protected(self, text, *modes, acpi=False):
        """A guest with an encrypted disk of each mode."""
        images = [self.image(text, f"unit-{mode}") for mode in modes]
        guest = Guest("unit")
        guest.acpi = acpi
        for _, plain in images:
            guest.disk(plain)
        guest.define()
        self.addCleanup(guest.undefine, check=False)
        self.addCleanup(guest.destroy, check=False)
        for number, (mode, (image, plain)) in enumerate(zip(modes, images)):
            run("wlagent", "vm", "protect", "unit", "--disk", f"vd{'abc'[number]}", "--image", image, "--mode", mode)
            os.unlink(plain)
        return guest

    def boots(self, guest, expected):
        guest.start()
        self.assertEqual(guest.wait_until_up(), expected)

    def gone(self):
        poll(lambda: not host.Host.leftovers(), lambda: f"nothing to be left; there is {host.Host.leftovers()}")
