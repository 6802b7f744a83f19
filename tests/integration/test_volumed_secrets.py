# SPDX-License-Identifier: Apache-2.0
"""wlagent-volumed and the process that keeps a key in libvirt, with another program in the place of
wlagent-secret."""

import os
import signal
import subprocess
import unittest

import test_volumed
from running import poll

SECRET = "6f0b6f6e-1d5e-4f3f-9d53-0123456789ab"
KEY = b"pK2mVq8XcZr5Yt1NwGh7LdJs9BfUe3Ra"

# Does what the file "mode" beside it says, and notes what it has been told in the file "log".
PROGRAM = """#!/usr/bin/python3
import os, socket, struct, sys, time
here = os.path.dirname(os.path.abspath(__file__))
def note(*words):
    with open(os.path.join(here, "log"), "a") as log:
        log.write(" ".join(words) + "\\n")
mode = open(os.path.join(here, "mode")).read()
end = socket.socket(fileno=0)
magic, is_set, secret = struct.unpack("=IB37s2x", end.recv(4096))
secret = secret.rstrip(b"\\0").decode()
assert magic == 0x31534c57
if not is_set:
    note("clear", secret)
    end.send(struct.pack("=I768s", 0, b""))
    sys.exit(0)
size, key = struct.unpack("=H64s", end.recv(4096))
note("set", secret, key[:size].decode(), str(len(sys.argv)), ",".join(os.environ),
     os.readlink("/proc/self/fd/3").rsplit("/", 1)[-1], str(os.getpid()))
if mode == "hang":
    time.sleep(60)
if mode == "die":
    sys.exit(1)
if mode == "refuse":
    end.send(struct.pack("=I768s", 4, b"libvirt's secret is of another kind"))
else:
    end.send(struct.pack("=I768s", 0, b""))
    assert end.recv(1) == b""
while mode == "slow" and os.path.exists(os.path.join(here, "mode")):
    time.sleep(0.01)
note("end", secret)
"""


class Secrets(unittest.TestCase):
    write_config = test_volumed.Processes.write_config
    start = test_volumed.Processes.start
    stop = test_volumed.Processes.stop
    sessions = test_volumed.Processes.sessions
    log_text = test_volumed.Processes.log_text

    def setUp(self):
        test_volumed.Processes.setUp(self)
        self.key = os.path.join(self.directory, "key")
        with open(self.key, "wb") as file:
            file.write(KEY)
        self.libexec = os.path.join(self.directory, "libexec")
        os.makedirs(self.libexec)
        self.program = os.path.join(self.libexec, "wlagent-secret")
        with open(self.program, "w", encoding="utf-8") as file:
            file.write(PROGRAM)
        os.chmod(self.program, 0o755)
        self.set_mode("work")
        os.environ["WLAGENT_LIBEXEC"] = self.libexec
        self.addCleanup(os.environ.pop, "WLAGENT_LIBEXEC")
        self.start()

    def set_mode(self, mode):
        with open(os.path.join(self.libexec, "mode"), "w", encoding="utf-8") as file:
            file.write(mode)

    def told(self):
        try:
            with open(os.path.join(self.libexec, "log"), encoding="utf-8") as log:
                return [line.split(" ") for line in log.read().splitlines()]
        except FileNotFoundError:
            return []

    def words(self):
        return [line[0] for line in self.told()]

    def is_told(self, *words):
        poll(lambda: self.words() == list(words), f"{words}; it was {self.words()}")

    def client(self, *steps):
        process = subprocess.Popen([test_volumed.CLIENT, self.socket, *steps], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def set(self):
        """The client that holds it."""
        client = self.client("set-secret", SECRET, self.key, "wait")
        self.assertTrue(client.stdout.readline().startswith("name= "))
        self.assertEqual(client.stdout.readline(), "waiting\n")
        return client

    @staticmethod
    def is_dead(pid):
        """Its session looks after it only at its own end."""
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"

    def refused(self):
        client = self.client("set-secret", SECRET, self.key)
        return client.communicate(timeout=60)[0]

    def test_a_session_is_the_lease(self):
        client = self.set()
        _, secret, key, arguments, environment, lock, _ = self.told()[0]
        self.assertEqual((secret, key, arguments), (SECRET, KEY.decode(), "1"))
        self.assertLessEqual(set(environment.split(",")), {"LC_ALL", "LC_CTYPE"})
        self.assertEqual(lock, "lock")
        client.kill()
        self.is_told("set", "end")

    def test_the_key_is_in_no_command_line(self):
        self.set()
        pid = self.told()[0][-1]
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                self.assertNotIn(KEY, file.read())

    def test_refusals_come_through(self):
        self.set_mode("refuse")
        self.assertRegex(self.refused(), "^denied: libvirt's secret is of another kind")
        poll(lambda: not self.sessions(), "the session to end")
        os.unlink(self.program)
        said = poll(lambda: [text for text in [self.refused()] if not text.startswith("busy")], "it to let go")[0]
        self.assertRegex(said, "^unsupported: .*wlagent-secret is not installed .*-Dlibvirt=disabled")

    def test_one_that_hangs_is_not_waited_for(self):
        self.set_mode("hang")
        self.assertRegex(self.refused(), "^timed-out: wlagent-secret has not answered")

    def test_one_that_dies_is_followed_by_another(self):
        self.set_mode("die")
        self.assertRegex(self.refused(), "^unavailable: wlagent-secret has not answered")
        self.is_told("set", "clear")

    def test_one_that_is_killed_is_followed_by_another(self):
        client = self.set()
        pid = int(self.told()[0][-1])
        os.kill(pid, signal.SIGKILL)
        poll(lambda: self.is_dead(pid), "it to be dead")
        client.kill()
        self.is_told("set", "clear")

    def test_it_hears_of_a_session_that_was_killed(self):
        self.set()
        for pid in self.sessions():
            os.kill(pid, signal.SIGKILL)
        self.is_told("set", "end")

    def test_it_hears_of_the_end_of_volumed(self):
        self.set()
        self.stop(signal.SIGKILL)
        self.is_told("set", "end")

    def test_one_after_another(self):
        self.set_mode("slow")
        client = self.set()
        self.assertRegex(self.refused(), f"^busy: another start uses libvirt's secret {SECRET}")
        client.kill()
        client.wait()
        self.assertRegex(self.refused(), "^busy: ")
        self.assertEqual(self.words(), ["set"])
        os.unlink(os.path.join(self.libexec, "mode"))  # lets it end
        self.is_told("set", "end")
        self.set_mode("refuse")
        said = poll(lambda: [text for text in [self.refused()] if not text.startswith("busy")], "it to let go")[0]
        self.assertRegex(said, "^denied: ")

    def test_clearing_by_command(self):
        client = self.client("clear-secret", SECRET)
        client.stdin.close()
        self.assertTrue(client.stdout.readline().startswith("name= "))
        self.is_told("clear")
