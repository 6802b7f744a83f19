# SPDX-License-Identifier: Apache-2.0
"""wlagent-volumed's processes: who is let in, how many, what they hold, and that they go together."""

import contextlib
import glob
import os
import pwd
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

from running import BUILD, open_to_all, poll

VOLUMED = os.path.join(BUILD, "agent", "volume", "wlagent-volumed")
CLIENT = open_to_all(os.path.join(BUILD, "tests", "vm", "volume-client"))
SESSIONS_MAX = 240
MAGIC = 0x35414C57
REQUEST_SIZE = 2984  # struct volumed_request
BUSY = 5  # enum wla_code


class Processes(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-volumed.")
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        self.config = os.path.join(self.directory, "wlagent.conf")
        self.socket = os.path.join(self.directory, "run", "volumed.sock")
        self.log = os.path.join(self.directory, "log")
        self.process = None
        self.addCleanup(self.stop)
        os.makedirs(os.path.join(self.directory, "images"))
        os.makedirs(os.path.dirname(self.socket))

    def write_config(self, **options):
        options = {"ImageRoots": self.directory + "/images", "LayerDirectory": self.directory + "/layers",
                   "AgentUser": "nobody", **options}
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"[Agent]\nRuntimeDirectory={self.directory}/run\n[Volumes]\n")
            file.write("".join(f"{name}={value}\n" for name, value in options.items()))
        os.chmod(self.config, 0o600)

    def start(self, **options):
        self.write_config(**options)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([VOLUMED, "--config", self.config], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        poll(lambda: "is ready" in self.log_text() or self.process.poll() is not None, "wlagent-volumed to listen")
        poll(lambda: self.process.poll() is not None or not self.sessions(), "it to have tidied up")
        return self

    def stop(self, number=signal.SIGTERM):
        if self.process:
            self.process.send_signal(number)
            process, self.process = self.process, None
            return process.wait(20)
        return None

    def log_text(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(connection.close)
        poll(lambda: connection.connect_ex(self.socket) == 0, "room in the backlog")
        connection.settimeout(20)
        return connection

    @staticmethod
    def ended(connection):
        """What comes at the end of a session."""
        try:
            return connection.recv(65536) == b""
        except ConnectionResetError:
            return True

    def sessions(self):
        """The processes of the sessions."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def layers(self, **options):
        return subprocess.run([CLIENT, self.socket, "layers"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False, **options)

    def test_the_agent_and_root_are_served(self):
        self.start()
        status = os.stat(self.socket)
        self.assertEqual((status.st_mode & 0o777, status.st_uid), (0o600, pwd.getpwnam("nobody").pw_uid))
        for user in ("root", "nobody"):
            self.assertEqual(self.layers(user=user).stdout, "done\n")
        refused = self.layers(user="daemon")
        self.assertRegex(refused.stdout, "^denied: asking wlagent-volumed")
        os.chmod(self.socket, 0o666)
        refused = self.layers(user="daemon")
        self.assertRegex(refused.stdout, "^unavailable: ")
        self.assertRegex(self.log_text(), f"user {pwd.getpwnam('daemon').pw_uid} .* may not use the volumed socket")

    def test_without_its_user_only_root_is_served(self):
        self.start(AgentUser="no-such-user")
        self.assertIn("AgentUser=: there is no user \"no-such-user\"", self.log_text())
        self.assertEqual(os.stat(self.socket).st_uid, 0)
        self.assertEqual(self.layers().stdout, "done\n")

    def test_sessions_are_limited(self):
        self.start()
        connections = []
        for _ in range(SESSIONS_MAX):
            connections.append(self.connect())
        poll(lambda: len(self.sessions()) == SESSIONS_MAX, "all sessions to be there")
        refused = self.connect().recv(65536)
        self.assertEqual(struct.unpack_from("=IHH", refused)[1:], (0, BUSY))
        self.assertIn(b"240 sessions already", refused)
        self.assertIn("240 sessions already", self.layers().stdout)
        connections.pop().close()
        poll(lambda: len(self.sessions()) < SESSIONS_MAX, "a session to end")
        self.assertEqual(self.layers().stdout, "done\n")
        for connection in connections:
            connection.close()
        poll(lambda: not self.sessions(), "all sessions to end")

    def test_a_session_holds_what_is_its_own(self):
        self.start()
        other = self.connect()
        first = poll(self.sessions, "the session")
        mine = self.connect()
        pid, = poll(lambda: set(self.sessions()) - set(first), "the second session")
        poll(lambda: len(self.held(pid)) == 4, lambda: f"it to close the rest of {self.held(pid)}")
        self.assertEqual(len([kind for kind in self.held(pid) if kind.startswith("socket:")]), 1, self.held(pid))
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        self.assertEqual(status["NoNewPrivs"], "1")
        page = os.sysconf("SC_PAGESIZE") // 1024
        poll(lambda: int(self.locked(pid)) == page, "the page for a request to be locked, and no other")
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            self.assertRegex(file.read(), r"Max core file size +0 +0 ")
        for connection in (other, mine):
            connection.close()

    @staticmethod
    def held(pid):
        """What its descriptors are of, but for the random numbers that libcryptsetup reads."""
        kinds = []
        for path in glob.glob(f"/proc/{pid}/fd/*"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                kinds.append(os.readlink(path))
        return [kind for kind in kinds if kind not in ("/dev/random", "/dev/urandom")]

    @staticmethod
    def locked(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return next(line.split()[1] for line in file if line.startswith("VmLck:"))

    def test_sessions_end_with_the_main_process(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number):
                self.start()
                connection = self.connect()
                pids = poll(self.sessions, "the session")
                code = self.stop(number)
                self.assertEqual(code, 0 if number == signal.SIGTERM else -number)
                self.assertTrue(self.ended(connection))
                # Whoever is process 1 here may leave what has ended for others to see, but without its program.
                poll(lambda gone=pids: not any(os.path.exists(f"/proc/{pid}/exe") for pid in gone), "the session to end")
                self.assertEqual(os.path.exists(self.socket), number == signal.SIGKILL)
                os.unlink(self.log)

    def test_a_wlagentd_of_before_is_refused(self):
        """It does not say what is below a layer, and nobody would look into that."""
        self.start()
        connection = self.connect()
        connection.send(struct.pack("=IHH", 0x32414C57, 7, 0).ljust(REQUEST_SIZE, b"\0"))
        reply = connection.recv(65536)
        self.assertEqual(struct.unpack_from("=I", reply)[0], MAGIC)
        self.assertIn(b"it is none of this version: restart wlagentd and wlagent-volumed", reply)
        self.assertTrue(self.ended(connection))
        self.assertEqual(self.layers().stdout, "done\n")

    def test_a_killed_session_is_noticed(self):
        self.start()
        connection = self.connect()
        os.kill(poll(self.sessions, "the session")[0], signal.SIGKILL)
        self.assertTrue(self.ended(connection))
        poll(lambda: "a session was killed" in self.log_text(), "the main process to notice")
        self.assertEqual(self.layers().stdout, "done\n")

    def test_a_hangup_signal_changes_nothing(self):
        self.start()
        connection = self.connect()
        self.process.send_signal(signal.SIGHUP)
        poll(lambda: "is read when wlagent-volumed starts again" in self.log_text(), "it to say so")
        self.assertEqual(self.layers().stdout, "done\n")
        poll(lambda: len(self.sessions()) == 1, "the first session to be left")
        connection.close()

    def test_rubbish_ends_a_session_and_nothing_else(self):
        self.start()
        sizes = [0, 1, 8, 100, 65000]
        generator = random.Random(1)
        for number in range(200):
            connection = self.connect()
            size = sizes[number % len(sizes)] or generator.randrange(1, 5000)
            head = struct.pack("=IHH", MAGIC, generator.randrange(0, 16), generator.choice([0, 32, 64, 65535]))
            connection.send((head + generator.randbytes(size))[:size])
            try:
                reply = connection.recv(65536)
            except ConnectionResetError:
                continue
            if reply:
                self.assertNotEqual(struct.unpack_from("=IHH", reply)[2], 0)
                self.assertTrue(self.ended(connection))
            connection.close()
        poll(lambda: not self.sessions(), "all sessions to end")
        self.assertNotIn("was killed", self.log_text())

    def test_it_says_why_it_does_not_start(self):
        def fails(pattern, **options):
            self.write_config(**options)
            done = subprocess.run([VOLUMED, "--config", self.config], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=20, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, pattern)

        fails("ImageRoots=: \"images\" is not an absolute path", ImageRoots="images")
        fails("opening its lock file", VolumeSocket="none/s")
        self.start()
        fails("serves it")
        for arguments, code in ((["--help"], 0), (["--version"], 0), (["--no-such"], 2), (["more"], 2)):
            done = subprocess.run([VOLUMED, *arguments], capture_output=True, text=True, timeout=20, check=False)
            self.assertEqual(done.returncode, code)
            self.assertIn("wlagent-volumed", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
