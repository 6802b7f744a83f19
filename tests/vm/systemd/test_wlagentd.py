# SPDX-License-Identifier: Apache-2.0
"""The installed units of wlagentd, started by systemd as README.md says."""

import glob
import os
import pwd
import re
import stat

import units
from host import output, run
from units import active, daemon_pid

CONTROL = "/run/workload-agent/control.sock"


class Wlagentd(units.UnitTest):
    def test_first_request_starts_it(self):
        self.assertEqual(active("wlagentd.service"), "inactive")
        pid = daemon_pid()
        self.assertEqual(active("wlagentd.service"), "active")
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, pwd.getpwnam("wlagent").pw_uid)

    def test_sandbox_lets_it_use_the_tpm(self):
        run("wlagent", "key", "create", "unit")
        self.addCleanup(run, "wlagent", "key", "remove", "--force", "unit")
        doctor = run("wlagent", "doctor", check=False).stdout
        self.assertRegex(doctor, r"ok +unbind")
        self.assertRegex(doctor, r"ok +daemon")

    def test_no_capability_is_left(self):
        pid = daemon_pid()
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = file.read()
        self.assertEqual(set(re.findall(r"Cap\w+:\s+(\w+)\n", status)), {"0" * 16})
        self.assertRegex(status, r"Seccomp:\s+2\n")
        self.assertRegex(status, r"NoNewPrivs:\s+1\n")

    def test_restart_keeps_the_sockets(self):
        first = daemon_pid()
        inode = os.stat(CONTROL).st_ino
        run("systemctl", "restart", "wlagentd.service")
        self.assertNotEqual(daemon_pid(), first)
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
        pid = daemon_pid()
        os.kill(pid, 9)
        self.assertNotEqual(daemon_pid(), pid)

    def test_journal_has_its_catalog(self):
        output("wlagent", "status")
        self.assertIn("Subject: The workload agent has started",
                      output("journalctl", "-b", "--no-pager", "-x", "-u", "wlagentd.service"))

    def test_sockets_are_closed_to_others(self):
        refused = run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "wlagent", "status", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stderr, "ermission denied")
        self.assertEqual(active("wlagentd.service"), "inactive")
        for path in glob.glob("/run/workload-agent/*.sock"):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660, path)
