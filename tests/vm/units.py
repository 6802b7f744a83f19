# SPDX-License-Identifier: Apache-2.0
"""What tests of the installed units stand on, in a VM that systemd has booted."""

import json
import os
import unittest

from host import output, run

SOCKETS = ["wlagentd.socket", "wlagentd-control.socket", "wlagent-volumed.socket"]
SERVICES = ["wlagentd.service", "wlagent-volumed.service"]


def active(unit):
    return run("systemctl", "is-active", unit, check=False).stdout.strip()


def daemon_pid():
    """Of wlagentd, which this starts."""
    return json.loads(output("wlagent", "status", "--json"))["pid"]


class UnitTest(unittest.TestCase):
    """The sockets listen, the services are not started yet; all are stopped after the test."""

    @classmethod
    def setUpClass(cls):
        run("journalctl", "--update-catalog")
        if not os.path.exists("/var/lib/workload-agent/binding-key.pem"):
            run("wlagent", "setup")

    def setUp(self):
        run("systemctl", "reset-failed", *SERVICES, *SOCKETS)  # and their counts of starts
        run("systemctl", "start", *SOCKETS)
        self.addCleanup(self.keep_journal)
        self.addCleanup(run, "systemctl", "stop", *SOCKETS, *SERVICES)

    def keep_journal(self):
        """Of a failed test, in a directory of its name."""
        result = self._outcome.result
        if any(test is self for test, _ in result.failures + result.errors):
            directory = os.path.join(os.environ["WLAGENT_TEST_LOGS"], self.id())
            os.makedirs(directory, exist_ok=True)
            with open(os.path.join(directory, "journal"), "w", encoding="utf-8") as file:
                file.write(output("journalctl", "-b", "--no-pager"))
