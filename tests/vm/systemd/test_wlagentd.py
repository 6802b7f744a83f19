# SPDX-License-Identifier: Apache-2.0
"""The installed units of wlagentd, started by systemd as README.md says."""

import json
import os
import pwd
import re
import socket
import unittest

from host import output, run

SOCKETS = ["wlagentd.socket", "wlagentd-control.socket"]
CONTROL = "/run/workload-agent/control.sock"


def active(unit):
    return run("systemctl", "is-active", unit, check=False).stdout.strip()


class Wlagentd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        run("journalctl", "--update-catalog")
        run("wlagent", "setup")
        run("systemctl", "enable", *SOCKETS)

    def setUp(self):
        run("systemctl", "reset-failed", "wlagentd.service", *SOCKETS)  # and its count of starts
        run("systemctl", "start", *SOCKETS)
        self.addCleanup(self.keep_journal)
        self.addCleanup(run, "systemctl", "stop", *SOCKETS, "wlagentd.service")

    def keep_journal(self):
        result = self._outcome.result
        if any(test is self for test, _ in result.failures + result.errors):
            directory = os.path.join(os.environ["WLAGENT_TEST_LOGS"], self.id())
            os.makedirs(directory, exist_ok=True)
            with open(os.path.join(directory, "journal"), "w", encoding="utf-8") as file:
                file.write(output("journalctl", "-b", "--no-pager"))

    def test_first_request_starts_it(self):
        self.assertEqual(active("wlagentd.service"), "inactive")
        status = json.loads(output("wlagent", "status", "--json"))
        self.assertEqual(active("wlagentd.service"), "active")
        self.assertEqual(os.stat(f"/proc/{status['pid']}").st_uid, pwd.getpwnam("wlagent").pw_uid)

    def test_sandbox_lets_it_use_the_tpm(self):
        run("wlagent", "key", "create", "unit")
        self.addCleanup(run, "wlagent", "key", "remove", "--force", "unit")
        doctor = run("wlagent", "doctor", check=False).stdout
        self.assertRegex(doctor, r"ok +unbind")
        self.assertRegex(doctor, r"ok +daemon")

    def test_no_capability_is_left(self):
        pid = json.loads(output("wlagent", "status", "--json"))["pid"]
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = file.read()
        self.assertEqual(set(re.findall(r"Cap\w+:\s+(\w+)\n", status)), {"0" * 16})
        self.assertRegex(status, r"Seccomp:\s+2\n")
        self.assertRegex(status, r"NoNewPrivs:\s+1\n")

    def test_restart_keeps_the_sockets(self):
        first = json.loads(output("wlagent", "status", "--json"))["pid"]
        inode = os.stat(CONTROL).st_ino
        run("systemctl", "restart", "wlagentd.service")
        self.assertNotEqual(json.loads(output("wlagent", "status", "--json"))["pid"], first)
        self.assertEqual(os.stat(CONTROL).st_ino, inode)

    def test_reload_refuses_a_configuration_with_faults(self):
        output("wlagent", "status")
        run("systemctl", "reload", "wlagentd.service")
        config = "/etc/workload-agent/wlagent.conf"
        self.assertFalse(os.path.exists(config))
        self.addCleanup(os.unlink, config)
        with open(config, "w", encoding="utf-8") as file:
            file.write("[Agent]\nNoSuchOption=1\n")
        self.assertNotEqual(run("systemctl", "reload", "wlagentd.service", check=False).returncode, 0)
        self.assertEqual(active("wlagentd.service"), "active")

    def test_killed_it_comes_back(self):
        pid = json.loads(output("wlagent", "status", "--json"))["pid"]
        os.kill(pid, 9)
        self.assertNotEqual(json.loads(output("wlagent", "status", "--json"))["pid"], pid)

    def test_journal_has_its_catalog(self):
        output("wlagent", "status")
        self.assertIn("Subject: The workload agent has started",
                      output("journalctl", "-b", "--no-pager", "-x", "-u", "wlagentd.service"))

    def test_sockets_are_closed_to_others(self):
        with self.assertRaises(AssertionError):
            run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "wlagent", "status")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(CONTROL)
