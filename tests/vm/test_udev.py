# SPDX-License-Identifier: Apache-2.0
"""When udev is not done with a device, ever: whoever waits is told, and no mapping, loop or session stays."""

import contextlib
import os
import signal

import host
from host import output, run
from running import poll
from test_volumes import VM, VolumesTest

LAUNCH_TIMEOUT = 12
REASON = "^timed-out: the kernel or udev has not finished with a device for 9.0 seconds .*systemd-udevd"
NOTIFIER = "/run/udev/rules.d/95-dm-notify.rules"


@contextlib.contextmanager
def stopped_udev():
    pids = [int(pid) for pid in output("pidof", "systemd-udevd").split()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        run("udevadm", "settle")


@contextlib.contextmanager
def lost_cookies():
    """udev makes the links, and tells nobody."""
    os.makedirs(os.path.dirname(NOTIFIER), exist_ok=True)
    os.symlink("/dev/null", NOTIFIER)
    run("udevadm", "control", "--reload")
    try:
        yield
    finally:
        os.unlink(NOTIFIER)
        run("udevadm", "control", "--reload")


def configure(test, **options):
    """With these options of [Libvirt]."""
    for program in (test.host.agent, test.host.volumed):
        program.stop()
    test.host.agent.options["Libvirt"] = options
    test.host.agent.write_config()
    test.host.volumed.start()
    test.host.agent.start()


class Sessions(VolumesTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(configure, self)
        configure(self, LaunchTimeoutSeconds=LAUNCH_TIMEOUT)

    def refused_and_undone(self, *steps, number=1):
        sessions = [self.session(*steps) for _ in range(number)]
        for session in sessions:
            self.assertRegex(session.refused(), REASON)
        poll(lambda: not self.sessions(), "all sessions to end")
        self.left_nothing()

    def sessions(self):
        pid = self.host.volumed.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return file.read().split()

    def opens_again(self):
        session = self.session("image", self.image, "open", self.key)
        session.opened()
        session.close()
        self.left_nothing()

    def test_udev_is_stopped(self):
        with stopped_udev():
            self.refused_and_undone("image", self.image, "open", self.key, number=2)  # the second waits for the first
            self.refused_and_undone("image", self.image, "direct", VM, "vda", self.key)
        with open(self.host.volumed.log, encoding="utf-8") as log:
            text = log.read()
        self.assertIn("a session waited for a device in vain; what it has left is tidied up", text)
        self.assertIn(f"{self.name} had been left behind", text)
        self.assertIn("udev does not answer: 'systemctl status systemd-udevd'", text)
        self.opens_again()

    def test_cookies_are_lost(self):
        with lost_cookies():
            self.refused_and_undone("image", self.image, "open", self.key)
        self.opens_again()


class Guests(host.VmTest):
    def test_a_start_is_refused_with_the_reason(self):
        self.addCleanup(configure, self)
        configure(self, LaunchTimeoutSeconds=LAUNCH_TIMEOUT)
        web = self.guest("web").protected_disk(self.image("the disk of a VM")).define()
        with stopped_udev():
            refused = web.start(check=False)
            self.assertIn("the kernel or udev has not finished with a device", refused.stderr)
            self.left_nothing()
        web.start()
        self.assertIn("the disk of a VM", web.wait_until_up())
        web.destroy()
        self.left_nothing()
