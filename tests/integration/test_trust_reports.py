# SPDX-License-Identifier: Apache-2.0
"""What the workload service is told of VMs that run: reports that the TPM signs, which wait for a service that is
away. The services are the double of tests/doubles/isecl; the TPM is swtpm, with keys that Intel's agent could have
made; libvirt is this test, and volumes are those of the double of wlagent-volumed."""

import contextlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import harness
from harness import poll
from isecl_case import double
from report_checks import check_content, check_signature
from test_flavors import FlavorTest
from vms import Domain, Image

ROUTE = "wls.create_report"
ROLES = ["WLS:FlavorsImageRetrieval", "WLS:KeysCreator", "WLS:ReportCreator"]


class ReportTest(FlavorTest):
    """Nothing but the start of a VM is in the way of its report."""

    def again(self, **environment):
        self.agent.stop()
        self.agent.start(env={**self.host.environment(), **environment})

    def started(self):
        domain = self.domain()
        self.run_through(domain)
        return domain

    def reports(self, domain):
        return [report for report in double.reports()["reports"]
                if report["instance_manifest"]["instance_info"]["instance_id"] == domain.uuid]

    def wait_for_report(self, domain):
        return poll(lambda: self.reports(domain), "the report", 60)[0]

    def state(self):
        return self.agent.status()["trust_reports"]

    def wait_for_state(self, **wanted):
        poll(lambda: wanted.items() <= self.state().items(), lambda: f"{wanted}, not {self.state()}", 60)

    def files(self):
        return sorted(os.listdir(os.path.join(self.agent.state, "reports")))

    def posts(self):
        return self.calls(ROUTE)


class Reports(ReportTest):
    def test_of_a_start(self):
        domain = self.started()
        report = self.wait_for_report(domain)
        check_content(report, domain.uuid, self.glance, self.flavor["id"])
        check_signature(report, self.host.path("signing"))
        self.wait_for_state(state="on", unsigned=0, waiting=0, posted=1, refused=0, given_up=0, problem=None)
        self.assertEqual(self.files(), [])
        self.assertTrue(self.vm(domain)["disks"][0]["reported"])
        metrics = self.agent.metrics()
        self.assertEqual(metrics['wlagent_trust_reports_total{fate="posted"}'], 1)
        self.assertEqual(metrics["wlagent_trust_reports_waiting"], 0)
        self.assertIn("trust_reports\n  state: on\n", self.agent.output("status"))

        # Once a start, whatever restarts and libvirt's reconnect say of it.
        self.allowed("reconnect", domain)
        self.again()
        self.allowed("reconnect", domain)
        self.allowed("started", domain)
        other = self.started()
        self.wait_for_report(other)
        self.assertEqual(len(self.reports(domain)), 1)
        self.ends(domain)
        self.run_through(domain)
        poll(lambda: len(self.reports(domain)) == 2, "the report of the second start", 60)

    def test_of_nothing_that_has_no_flavor(self):
        self.agent.import_key("local", bytes(32))
        image = Image(os.path.join(self.directory, "local.img"), "local:///local", bytes(32))
        local = Domain({"vda": (image, "layer")})
        self.run_through(local)
        described = self.started()
        self.wait_for_report(described)
        self.assertEqual(self.reports(local), [])
        self.assertNotIn("reported", self.vm(local)["disks"][0])

    def test_switched_off(self):
        self.restart(Reports="no")
        self.started()
        self.assertEqual(self.state()["state"], "off")
        self.assertEqual(self.posts(), 0)


class Service(ReportTest):
    """What becomes of reports that WLS does not take, and of VMs then."""

    def test_away_and_back(self):
        """Across restarts of the agent, in order and by force; each is posted as it was signed."""
        double.fault(route=ROUTE, status=503, body="")
        domains = [self.started() for _ in range(3)]
        self.wait_for_state(waiting=3)
        signed = {name: self.read_report(name) for name in self.files()}
        self.assertEqual(len(signed), 3)
        self.agent.stop(signal.SIGKILL)
        self.again()
        self.wait_for_state(waiting=3)
        self.again()
        self.assertEqual({name: self.read_report(name) for name in self.files()}, signed)
        double.clear_faults()
        self.wait_for_state(waiting=0)
        data = {report["data"] for domain in domains for report in self.reports(domain)}
        self.assertEqual(data, {json.loads(text)["data"] for text in signed.values()})
        self.assertEqual(self.files(), [])

    def read_report(self, name):
        path = os.path.join(self.agent.state, "reports", name)
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)
        with open(path, encoding="ascii") as file:
            return file.read()

    def test_refused(self):
        double.fault(route=ROUTE, status=400, times=1, body="Failed to create report - JSON marshal error\n")
        domain = self.started()
        self.wait_for_state(waiting=0, refused=1)
        self.assertRegex(self.agent.log_text(), f"the trust report of VM {domain.uuid} with image {self.glance} is "
                                                r"refused: WLS does not take the report \(status 400\)")
        self.assertEqual((self.posts(), self.files()), (1, []))
        self.again()
        self.assertEqual((self.vm(domain)["state"], self.state()["waiting"]), ("running", 0))

    def test_user_without_rights(self):
        double.add_user(name="wla", password=double.users["wla"], roles=ROLES[:2])
        try:
            self.started()
            poll(lambda: self.state()["problem"], "the refusal", 60)
            self.assertRegex(self.state()["problem"], r"may not post reports \(status 401\) \(give ServiceUser= the role "
                                                      "WLS:ReportCreator in AAS")
            self.assertEqual((self.posts(), self.calls("aas.token")), (1, 1))
            self.assertEqual(self.state()["waiting"], 1)
        finally:
            double.add_user(name="wla", password=double.users["wla"], roles=ROLES)
        self.again()
        self.wait_for_state(waiting=0, posted=1)

    def test_tokens(self):
        """One new token where one was refused; where that is refused as well nothing is tried in a loop."""
        domain = self.domain()
        self.allowed("prepare", domain)
        self.allowed("start", domain)
        double.expire_tokens()
        double.advance(seconds=2)  # tokens of one second are the same
        self.volumed.qemu_opens(domain.mapping())
        self.allowed("started", domain)
        self.wait_for_report(domain)
        self.assertEqual((self.posts(), self.calls("aas.token")), (2, 2))

        self.wait_for_state(waiting=0)
        double.advance(seconds=2)
        double.reset_counters()
        double.fault(route=ROUTE, status=401, body="")
        self.started()
        self.wait_for_state(waiting=1)
        poll(lambda: self.state()["problem"], "the refusal", 60)
        self.assertEqual(self.posts(), 2)

    def test_without_the_route(self):
        double.fault(route=ROUTE, status=404, body="404 page not found\n")
        self.started()
        self.wait_for_state(state="no-route", waiting=1)
        self.started()
        self.wait_for_state(waiting=2)
        self.assertEqual(self.posts(), 1)
        self.assertEqual(self.agent.log_text().count("trust reports are switched off"), 1)
        double.clear_faults()
        self.agent.process.send_signal(signal.SIGHUP)
        self.wait_for_state(state="on", waiting=0, posted=2)

    def test_what_each_status_means(self):
        """Each is told with what to do, and the report is kept; those that mean that it is wrong end it."""
        no_route = "WLS 5 takes no reports: set Reports=no"
        before = "see the log of WLS, or of the proxy that stands before it"
        double.fault(route=ROUTE, status=405, body="")
        self.started()
        for status, state, told, remedy in (
                (405, "no-route", "WLS has no route for reports", no_route),
                (404, "no-route", "WLS has no route for reports", no_route),
                (415, "no-route", "WLS does not speak this agent's dialect", no_route),
                (403, "on", "WLS refuses this host", before), (429, "on", "WLS is asked too often", before),
                (200, "on", "WLS answered with status 200", "see the log of WLS"),
                (500, "on", "WLS answered with status 500", "see the log of WLS")):
            with self.subTest(status=status):
                double.clear_faults()
                double.fault(route=ROUTE, status=status, body="")
                self.agent.process.send_signal(signal.SIGHUP)
                self.wait_for_problem(told, status, remedy)
                self.wait_for_state(state=state, waiting=1, posted=0, refused=0)
        double.clear_faults()
        double.fault(route=ROUTE, status=413, body="")
        self.agent.process.send_signal(signal.SIGHUP)
        self.wait_for_problem("WLS does not take the report", 413, "see the log of WLS")
        self.wait_for_state(waiting=0, posted=0, refused=1)

    def wait_for_problem(self, told, status, remedy):
        pattern = f"{told}( .status {status}.)? .{remedy}"
        poll(lambda: re.search(pattern, self.state()["problem"] or "") and str(status) in self.state()["problem"],
             lambda: f"{pattern}, not {self.state()}", 60)

    def test_that_hangs(self):
        """It keeps neither keys from others nor the agent from stopping."""
        double.fault(route=ROUTE, delay=1000, times=1)
        self.started()
        poll(lambda: self.posts() == 1, "the call to hang")
        self.started()
        self.assertEqual(self.posts(), 1)
        self.wait_for_state(unsigned=0, waiting=2)
        begun = time.monotonic()
        self.assertEqual(self.agent.stop(), 0)
        self.assertLess(time.monotonic() - begun, 60)
        self.again()
        self.wait_for_state(waiting=0, posted=2)

    def test_answer_that_is_lost(self):
        """Each report arrives at least once: again when nobody knows whether it did."""
        double.fault(route=ROUTE, reset_at=0, times=1)
        domain = self.started()
        self.wait_for_state(waiting=0, posted=1)
        reports = self.reports(domain)
        self.assertEqual(len(reports), 2)
        self.assertEqual(reports[0], reports[1])


class Signing(ReportTest):
    def test_without_a_key(self):
        for name in (self.host.certificate("signing"), self.host.path("signing")):
            with self.subTest(name=name):
                os.rename(name, name + ".away")
                domains = [self.started(), self.started()]
                self.wait_for_state(unsigned=0)
                problem = poll(lambda: self.state()["problem"], "the problem")
                self.assertIn("wlagent setup signing-key", problem)
                self.assertIn(name, problem)
                self.assertEqual([self.vm(domain)["state"] for domain in domains], ["running", "running"])
                self.assertEqual(self.agent.log_text().count("trust reports of VMs are not made"), 1)
                self.assertEqual(self.posts(), 0)

                # What runs is reported when there is one.
                os.rename(name + ".away", name)
                self.agent.stop()
                os.unlink(self.agent.log)
                self.again()
                for domain in domains:
                    self.wait_for_report(domain)
                double.reset_counters()

    def test_with_the_certificate_of_another_key(self):
        shutil.copy(self.host.certificate("binding"), self.host.certificate("signing"))
        self.started()
        problem = poll(lambda: self.state()["problem"], "the problem")
        self.assertIn("is not the certificate of this host's signing key", problem)
        self.assertEqual(self.posts(), 0)

    def lockout_counter(self):
        text = self.tpm.tool("tpm2_getcap", "properties-variable")
        return int(re.search(r"TPM2_PT_LOCKOUT_COUNTER: (0x[0-9A-Fa-f]+)", text)[1], 16)

    def test_with_a_wrong_secret(self):
        """It is not repeated, because the TPM counts."""
        self.agent.stop()
        self.host.provide("signing-key-secret", "ff" * 20)
        self.again()
        domain = self.started()
        poll(lambda: self.state()["problem"], "the problem")
        self.started()
        self.agent.process.send_signal(signal.SIGHUP)
        poll(lambda: "read again" in self.agent.log_text(), "the reload")
        self.started()
        self.wait_for_state(unsigned=3, waiting=0)
        self.assertEqual(self.vm(domain)["state"], "running")
        self.agent.stop()
        self.assertEqual(self.lockout_counter(), 1)


class Killed(ReportTest):
    def test_at_each_step(self):
        """Between any two changes of the disk from "started" on: the report of the start arrives, at most twice."""
        self.agent.stop()
        module = os.path.join(harness.BUILD, "tests", "integration", "libkill_at_step.so")
        armed = os.path.join(self.directory, "armed")
        step = -2
        alive = False
        while not alive:
            step += 3  # every third; which ones they are moves with the threads
            domain = self.domain()
            self.again(LD_PRELOAD=module, KILL_AT_STEP=str(step), KILL_WHEN=armed)
            self.allowed("prepare", domain)
            self.allowed("start", domain)
            self.volumed.qemu_opens(domain.mapping())
            alive = self.lives_through(domain, armed)
            self.agent.stop(signal.SIGKILL)
            os.unlink(armed)
            self.again()
            self.wait_for_report(domain)
            poll(lambda: self.state()["waiting"] == self.state()["unsigned"] == 0, "the queue to be empty")
            reports = self.reports(domain)
            self.assertEqual([report["data"] for report in reports], [reports[0]["data"]] * len(reports))
            self.assertLessEqual(len(reports), 2, step)
            self.assertEqual(self.files(), [])
            poll(lambda: self.vm(domain)["disks"][0]["reported"], "the record to say so")
            self.ends(domain)
            self.agent.stop()
        self.assertGreater(step, 10)

    def lives_through(self, domain, armed):
        with open(armed, "wb"):
            pass
        with contextlib.suppress(OSError, AssertionError, struct.error):
            self.tell("started", domain)
            poll(lambda: self.agent.process.poll() is not None or self.reports(domain) and not self.files() and
                 self.state()["posted"] == 1, "the report, or the end")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.agent.process.wait(2)
        return self.agent.process.poll() is None
