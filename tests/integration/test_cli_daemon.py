# SPDX-License-Identifier: Apache-2.0
"""wlagent status, metrics and keyprovider: what they say with wlagentd and without."""

import json
import os
import re
import socket
import threading

import harness

KEY = bytes(range(32))
OPTIONS = b'{"symkey":"c2VjcmV0"}'


class DaemonTest(harness.AgentTest):
    def fake_daemon(self, answer):
        """Something else on the control socket; answers the first who asks."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.agent.control)
        listener.listen(1)

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)


class Down(DaemonTest):
    def test_every_command_says_so(self):
        for command in ("status", "metrics"):
            done = self.agent.run(command, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertEqual(done.stderr.decode().splitlines(), [
                f"wlagent: wlagentd is not running: {self.agent.control}: No such file or directory",
                "hint: start it with 'systemctl start wlagentd'; 'wlagent doctor' looks for what is in its way"])

    def test_keyprovider_says_it_in_one_line(self):
        done = self.agent.run("keyprovider", stdin=b"{}", check=False)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertEqual(done.stderr.decode(),
                         f"wlagent: wlagentd is not running: {self.agent.control}: No such file or directory (start it with "
                         "'systemctl start wlagentd'; 'wlagent doctor' looks for what is in its way)\n")

    def test_stale_socket(self):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(self.agent.control)
        self.fails(self.agent.run("status", check=False), "^wlagent: wlagentd is not running: .*: Connection refused\nhint: ")

    def test_something_else_answers(self):
        self.fake_daemon(b"HTTP/1.1 200 OK\r\n\r\n")
        self.fails(self.agent.run("status", check=False),
                   "^wlagent: what answers on .*control.sock does not speak wlagent's control protocol\n"
                   "hint: wlagent and wlagentd are of different versions: restart wlagentd\n$")

    def test_it_hangs_up(self):
        self.fake_daemon(b"")
        self.fails(self.agent.run("metrics", check=False),
                   "^wlagent: wlagentd closed the connection to .*control.sock without a whole answer\n"
                   "hint: it serves root, its own user and those of AllowUsers=; the journal says why: journalctl -u wlagentd\n$")


class Up(DaemonTest):
    def setUp(self):
        super().setUp()
        self.agent.import_key("web-1", KEY)
        self.agent.start()

    def test_status(self):
        status = json.loads(self.agent.output("status", "--json"))
        self.assertEqual(status["version"], "0.1.0")
        self.assertEqual(status["pid"], self.agent.process.pid)
        text = self.agent.output("status")
        self.assertIn("version: 0.1.0\n", text)
        self.assertIn("memory_locked: yes\n", text)
        self.assertRegex(text, f"\ntpm\n(  .*\n)*  binding_key: {status['tpm']['binding_key']}\n")

    def test_metrics(self):
        for line in self.agent.output("metrics").splitlines():
            self.assertTrue(line.startswith("# ") or re.match(r"^[a-z_]+(\{.*\})? [-+0-9.eInf]+$", line), line)

    def test_keyprovider(self):
        done = self.agent.run("keyprovider", stdin=harness.unwrap_request(
            harness.wrap_packet("local:///web-1", KEY, OPTIONS)))
        self.assertEqual(done.stderr, b"")
        self.assertEqual(harness.as_bytes(json.loads(done.stdout)["keyunwrapresults"]["optsdata"]), OPTIONS)

    def test_keyprovider_refusals(self):
        unknown = harness.unwrap_request(harness.wrap_packet("local:///nope", KEY, OPTIONS))
        for request, pattern in ((unknown, "local:///nope: .*no key named nope in .*\\(.*wlagent key create"),
                                 (b"", "."), (b"{", "."), (b'{"op":"keyunwrap"}', "."),
                                 (b"x" * 262145, "^wlagent: standard input holds more than 262144 bytes\n$")):
            done = self.agent.run("keyprovider", stdin=request, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertRegex(done.stderr.decode(), r"\Awlagent: [^\n]+\n\Z")
            self.assertRegex(done.stderr.decode(), pattern)

    def test_full_output(self):
        request = harness.unwrap_request(harness.wrap_packet("local:///web-1", KEY, OPTIONS))
        with open("/dev/full", "wb") as full:
            done = harness.subprocess.run([harness.WLAGENT, "--config", self.agent.config, "keyprovider"], input=request,
                                          stdout=full, stderr=harness.subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (1, b"wlagent: writing to standard output: No space left on device\n"))

    @harness.unittest.skipUnless(os.geteuid() == 0, "only root becomes another user")
    def test_strangers_are_refused(self):
        for path in (self.directory, self.agent.directory, self.agent.run_directory):
            os.chmod(path, 0o755)
        os.chmod(self.agent.config, 0o644)
        done = self.agent.run("status", check=False, user=65534, group=65534, extra_groups=[])
        self.fails(done, "^wlagent: asking wlagentd: .*control.sock: Permission denied\n"
                         "hint: run this as root, or as the user of wlagentd\n$")
