# SPDX-License-Identifier: Apache-2.0
"""Whoever dies, and whenever: no mapping, loop or key stays, nothing is lost, and the next start works.

The tests of a class have one VM: the next start is that of the next test, and at last that of the end."""

import os
import shutil
import signal
import tempfile

import host
import stepwise
from host import virsh
from running import poll

TEXT = "what only the guest may see"


class DeathsTest(host.VmTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stepwise.install()
        cls.addClassCleanup(stepwise.remove)
        directory = tempfile.mkdtemp(dir=host.IMAGES)
        os.chmod(directory, 0o755)
        cls.addClassCleanup(shutil.rmtree, directory)
        cls.web = host.Guest("web").protected_disk(cls.encrypted(os.path.join(directory, "web"), TEXT)).define()
        cls.addClassCleanup(cls.web.undefine, check=False)
        cls.addClassCleanup(cls.web.destroy, check=False)

    @classmethod
    def tearDownClass(cls):
        cls.starts()
        cls.web.destroy()

    @classmethod
    def starts(cls):
        """With its disk, which it finds in the state of the start before if there was one."""
        cls.web.start()
        console = cls.web.wait_until_up()
        if f"disk 0: {TEXT}\n" not in console:
            raise AssertionError(f"the guest said: {console}")
        poll(lambda: [vm["state"] for vm in cls.host.agent.status()["vms"]] == ["running"],
             "the agent to know of the VM")

    def check_end(self):
        """What every test ends with."""
        if self.web.state() != "shut off":
            self.web.destroy()
        self.left_nothing()
        self.assertEqual(self.host.plaintext(TEXT), [])
        poll(lambda: self.host.agent.status()["vms"] == [], "the agent to forget the VM")

    def kill_agent(self):
        self.host.agent.stop(signal.SIGKILL)
        self.host.agent.start()

    def kill_volumed(self):
        self.host.volumed.stop(signal.SIGKILL)
        self.host.volumed.start()

    def kill_both(self):
        self.host.volumed.stop(signal.SIGKILL)
        self.host.agent.stop(signal.SIGKILL)
        self.host.volumed.start()
        self.host.agent.start()

    def refused_after(self, operation, kill):
        """Before QEMU has its disks open, they are gone with whoever held them."""
        with stepwise.paused(self.web, operation, "start", "web") as start:
            kill()
            poll(lambda: not self.host.mappings(), "the mappings to go")
        code, said = start.finish()
        self.assertNotEqual(code, 0, said)
        self.left_nothing()

    def runs_on_after(self, operation, kill, *command):
        with stepwise.paused(self.web, operation, *command) as under_way:
            kill()
        code, said = under_way.finish()
        self.assertEqual(code, 0, said)


class WhileStarting(DeathsTest):
    def test_agent_after_prepare(self):
        self.refused_after("prepare", self.kill_agent)
        self.check_end()

    def test_agent_after_start(self):
        self.refused_after("start", self.kill_agent)
        self.check_end()

    def test_volumed_after_prepare(self):
        self.refused_after("prepare", self.kill_volumed)
        self.check_end()

    def test_volumed_after_start(self):
        self.refused_after("start", self.kill_volumed)
        self.check_end()

    def test_both_after_start(self):
        self.refused_after("start", self.kill_both)
        self.check_end()

    def test_each_after_started(self):
        for kill in (self.kill_agent, self.kill_volumed, self.kill_both):
            with self.subTest(kill.__name__):
                self.runs_on_after("started", kill, "start", "web")
                self.assertIn(TEXT, self.web.wait_until_up())
                poll(lambda: [vm["state"] for vm in self.host.agent.status()["vms"]] == ["running"],
                     "the agent to know of the VM")
                self.check_end()

    def test_qemu_after_started(self):
        with stepwise.paused(self.web, "started", "start", "web") as start:
            os.kill(self.web.pid, signal.SIGKILL)
        start.finish()
        poll(lambda: self.web.state() == "shut off", "libvirt to hear of it")
        self.check_end()

    def test_libvirtd_after_prepare(self):
        with stepwise.paused(self.web, "prepare", "start", "web") as start:
            self.host.libvirt.stop(signal.SIGKILL)
        start.finish()
        self.host.libvirt.start()
        # Nobody tells that this start is over: its lease has to end, or the next start.
        self.starts()
        self.check_end()


class WhileStopping(DeathsTest):
    def test_each_after_stopped_and_release(self):
        for operation in ("stopped", "release"):
            for kill in (self.kill_agent, self.kill_volumed):
                with self.subTest(f"{kill.__name__} after {operation}"):
                    self.web.start()
                    self.runs_on_after(operation, kill, "destroy", "web")
                    self.check_end()

    def test_agent_and_volumed_are_away(self):
        self.starts()
        self.host.agent.stop(signal.SIGKILL)
        self.host.volumed.stop(signal.SIGKILL)
        self.web.destroy()
        self.left_nothing()
        code = self.web.start(check=False).returncode
        self.assertNotEqual(code, 0)
        self.left_nothing()
        self.host.volumed.start()
        self.host.agent.start()
        self.check_end()


class WhileRunning(DeathsTest):
    def setUp(self):
        super().setUp()
        self.starts()

    def kill_qemu(self):
        os.kill(self.web.pid, signal.SIGKILL)

    def test_qemu(self):
        self.kill_qemu()
        self.left_nothing()
        poll(lambda: self.web.state() == "shut off", "libvirt to hear of it")
        self.check_end()

    def test_libvirtd(self):
        pid = self.web.pid
        self.host.libvirt.restart(signal.SIGKILL)
        self.assertEqual(self.web.state(), "running")
        self.assertEqual(self.web.pid, pid)
        self.assertEqual([vm["state"] for vm in self.host.agent.status()["vms"]], ["running"])
        self.check_end()

    def test_libvirtd_and_qemu(self):
        self.host.libvirt.stop(signal.SIGKILL)
        self.kill_qemu()
        self.left_nothing()
        self.host.libvirt.start()
        poll(lambda: self.web.state() == "shut off", "libvirt to hear of it")
        self.check_end()

    def test_everybody_but_qemu(self):
        self.host.libvirt.stop(signal.SIGKILL)
        self.host.agent.stop(signal.SIGKILL)
        self.host.volumed.stop(signal.SIGKILL)
        self.assertEqual(len([name for name in self.host.mappings() if name.startswith("wlagent-")]), 2)
        self.host.volumed.start()
        self.host.agent.start()
        self.host.libvirt.start()
        self.assertEqual(self.web.state(), "running")
        poll(lambda: [vm["state"] for vm in self.host.agent.status()["vms"]] == ["running"],
             "the agent to know of the VM")
        self.check_end()

    def test_everybody(self):
        self.host.libvirt.stop(signal.SIGKILL)
        self.host.agent.stop(signal.SIGKILL)
        self.host.volumed.stop(signal.SIGKILL)
        self.kill_qemu()
        self.left_nothing()
        self.host.volumed.start()
        self.host.agent.start()
        self.host.libvirt.start()
        poll(lambda: self.web.state() == "shut off", "libvirt to hear of it")
        self.check_end()

    def test_undefined_while_it_runs(self):
        virsh("undefine", "web")
        self.assertEqual(self.web.state(), "running")
        self.web.destroy()
        self.left_nothing()
        self.assertEqual(self.host.agent.status()["vms"], [])
        self.web.define()
        self.check_end()
