# SPDX-License-Identifier: Apache-2.0
"""What the tests of 'wlagent setup TASK' share: an agent's configuration in a directory of its own, a root for
what systemd would read, and the double of Intel SecL's services."""

import os
import shutil
import tempfile
import unittest

import clock_ahead
import running
from isecl_case import HARDWARE, double

DIGEST_IN_USE = "cms_tls_cert_sha384"


def facts(path):
    """What a file that was not touched keeps."""
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns, found.st_mode, found.st_uid, found.st_gid


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


class SetupCase(unittest.TestCase):
    tcti = "swtpm:path=/nonexistent"

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-test.")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.root = os.path.join(self.directory, "root")
        self.etc = os.path.join(self.root, "etc")
        self.firmware = os.path.join(self.root, "sys", "class", "dmi", "id", "product_uuid")
        os.makedirs(os.path.dirname(self.firmware))
        with open(self.firmware, "w", encoding="ascii") as file:
            file.write(HARDWARE + "\n")
        self.agent = running.Agent(os.path.join(self.directory, "agent"), self.tcti)
        self.trust = os.path.join(self.agent.directory, "certs", "trustedca")
        self.agent.write_config(WLS={"TrustDirectory": self.trust})
        self.drop_in = os.path.join(self.agent.config + ".d", "50-intel-secl.conf")
        self.units = os.path.join(self.etc, "systemd", "system", "wlagentd.service.d")
        double.release(number=4)
        double.clear_faults()
        self.digest = double.tls()[DIGEST_IN_USE]
        self.addCleanup(double.tls)
        double.reset_counters()
        self.answers = {"CMS_BASE_URL": double.urls["cms"], "CMS_TLS_CERT_SHA384": self.digest,
                        "HVS_URL": double.urls["hvs"], "AAS_API_URL": double.urls["aas"],
                        "WLS_API_URL": double.urls["wls"], "WLA_SERVICE_USERNAME": "wla",
                        "WLA_SERVICE_PASSWORD": double.users["wla"]}

    def environment(self, **answers):
        """As root's shell would have it; None takes an answer away."""
        found = {"PATH": os.environ["PATH"], "SYSTEMD_CREDENTIAL_SECRET": os.path.join(self.root, "host-key"),
                 "SYSTEMD_LOG_LEVEL": "err", **{name: os.environ[name] for name in os.environ
                                                if name.startswith(("ASAN_", "UBSAN_", "LSAN_", "LD_", "KILL_"))},
                 **self.answers, **answers}
        return {name: value for name, value in found.items() if value is not None}

    def setup_task(self, task, *options, check=True, environment=None, **answers):
        return self.agent.run("setup", task, "--root", self.root, *options, check=check,
                              env=environment or self.environment(**answers))

    def says(self, task, *options, **answers):
        return self.setup_task(task, *options, **answers).stdout.decode()

    def fails(self, pattern, task, *options, code=1, **answers):
        done = self.setup_task(task, *options, check=False, **answers)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        self.assertRegex(done.stderr.decode(), pattern)
        self.assertNotIn(double.users["wla"], done.stderr.decode() + done.stdout.decode())
        return done

    def killed_at_each_step(self, check, task, *options, **answers):
        """Before each change of the disk, one run each; the last is not killed. Returns how many were."""
        preload = os.path.join(running.BUILD, "tests", "integration", "libkill_at_step.so")
        for step in range(1, 200):
            done = self.setup_task(task, *options, check=False, LD_PRELOAD=preload, KILL_AT_STEP=str(step), **answers)
            if done.returncode == 0:
                return step - 1
            self.assertEqual(done.returncode, -9, done.stderr)
            check()
        raise AssertionError("it never ends")

    def full_from_each_step_on(self, check, task, *options, **answers):
        """With a disk that is full from each change on, one run each; the last has room. Returns how many had not."""
        preload = os.path.join(running.BUILD, "tests", "integration", "libfull_disk.so")
        for step in range(1, 200):
            done = self.setup_task(task, *options, check=False, LD_PRELOAD=preload, FULL_AT_STEP=str(step), **answers)
            if done.returncode == 0:
                return step - 1
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(b"No space left on device", done.stderr)
            check()
        raise AssertionError("it never ends")

    def gives_up(self, task, route):
        """What it says when the service does not answer within a minute."""
        double.fault(route=route, delay=1000)
        self.addCleanup(double.clear_faults)
        return clock_ahead.gives_up(
            self, [running.WLAGENT, "--config", self.agent.config, "setup", task, "--root", self.root], self.environment(),
            lambda: double.counters()["calls"].get(route))

    def requests(self, route=None):
        return [request for request in double.requests()["requests"] if route in (None, request["route"])]

    def put(self, name, text, mode=0o600):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def unchanged(self, task, *paths, requests=None):
        """A second run says that there is nothing to do, and does nothing."""
        before = [facts(path) for path in paths]
        made = len(self.requests(requests))
        self.assertRegex(self.says(task), f"^{task}: unchanged: ")
        self.assertEqual([facts(path) for path in paths], before)
        self.assertEqual(len(self.requests(requests)), made)
