# SPDX-License-Identifier: Apache-2.0
"""Start, reload, stop, and running short of what a process needs."""

import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess

import grpc
from grpc import StatusCode

import harness
from raw_h2 import RawClient, grpc_message

KEY = bytes(range(32))
OPTIONS = b'{"symkey":"c2VjcmV0"}'
PACKET = harness.wrap_packet("local:///image", KEY, OPTIONS)
NOBODY = pwd.getpwnam("nobody")


class LifecycleTest(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.agent.import_key("image", KEY)

    def unwrap(self):
        with self.agent.client() as client:
            return client.unwrap(PACKET)

    def fails_to_start(self, agent, pattern, **options):
        agent.start(wait=False, **options)
        self.assertNotEqual(agent.process.wait(20), 0)
        agent.process = None
        self.assertRegex(agent.log_text(), pattern)


class Start(LifecycleTest):
    def test_sockets_are_closed_to_others(self):
        self.agent.start()
        for path in (self.agent.socket, self.agent.control):
            self.assertFalse(os.stat(path).st_mode & 0o007)

    def test_stale_sockets_are_replaced(self):
        for path in (self.agent.socket, self.agent.control):
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(path)
        self.agent.start()
        self.assertEqual(self.unwrap(), OPTIONS)

    def test_after_a_kill(self):
        self.agent.start()
        self.agent.stop(signal.SIGKILL)
        self.agent.start()
        self.assertEqual(self.unwrap(), OPTIONS)

    def test_two_at_once(self):
        self.agent.start()
        second = self.new_agent("second")
        second.write_config(Agent={"RuntimeDirectory": self.agent.run_directory})
        self.fails_to_start(second, "another wlagentd serves it")
        self.assertEqual(self.unwrap(), OPTIONS)

    def test_ready_is_told_to_systemd(self):
        path = os.path.join(self.directory, "notify.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(20)
            self.agent.start(wait=False, env={**os.environ, "NOTIFY_SOCKET": path})
            self.assertIn(b"READY=1", notify.recv(4096))
            self.assertTrue(harness.connects(self.agent.socket))
            self.agent.process.send_signal(signal.SIGHUP)
            self.assertIn(b"RELOADING=1", notify.recv(4096))
            self.assertIn(b"READY=1", notify.recv(4096))
            self.agent.process.send_signal(signal.SIGTERM)
            self.assertIn(b"STOPPING=1", notify.recv(4096))
        self.assertEqual(self.agent.process.wait(20), 0)

    def test_sockets_from_systemd(self):
        """The first connection starts it, with the listening sockets as its descriptors."""
        self.agent.process = subprocess.Popen(
            ["systemd-socket-activate", "--listen", self.agent.socket, "--listen", self.agent.control,
             "--fdname=keyprovider:control", harness.WLAGENTD, "--config", self.agent.config],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.poll(self.agent.ready, "systemd-socket-activate to listen")
        self.assertEqual(self.unwrap(), OPTIONS)
        self.assertEqual(self.agent.status()["pid"], self.agent.process.pid)
        self.assertEqual(self.agent.stop(), 0)
        self.assertTrue(os.path.exists(self.agent.socket))  # it is systemd's to remove

    def test_without_setup(self):
        fresh = self.new_agent("fresh")
        fresh.start()
        with fresh.client() as client:
            self.refused(lambda: client.unwrap(PACKET), StatusCode.NOT_FOUND, "wlagent setup")

    def test_process_is_hardened(self):
        self.agent.start()
        with open(f"/proc/{self.agent.process.pid}/limits", encoding="ascii") as limits:
            self.assertRegex(limits.read(), r"Max core file size\s+0 ")
        self.assertRegex(self.agent.output("status", "--json"), '"memory_locked": ?true')


class Unprivileged(LifecycleTest):
    """As a user without rights, and where the kernel refuses to lock memory."""

    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o755)
        os.chmod(self.tpm.directory, 0o755)
        for root, directories, files in os.walk(self.agent.directory):
            for name in directories + files + [""]:
                os.chown(os.path.join(root, name), NOBODY.pw_uid, NOBODY.pw_gid)
        self.give_configuration()
        for path in (self.tpm.socket, self.tpm.socket + ".ctrl"):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        self.agent.user = "nobody"

    def give_configuration(self, **sections):
        """Root's, for all to read."""
        self.agent.write_config(**sections)
        os.chown(self.agent.config, 0, 0)
        os.chmod(self.agent.config, 0o644)

    @staticmethod
    def lock_nothing():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))

    def test_as_nobody(self):
        self.agent.start()
        self.assertEqual(self.unwrap(), OPTIONS)
        # Not dumpable: its files in /proc belong to root, and not to whom it runs as.
        self.assertEqual([os.stat(f"/proc/{self.agent.process.pid}/{name}").st_uid for name in ("mem", "environ")], [0, 0])

    def test_refuses_to_run_without_locked_memory(self):
        self.fails_to_start(self.agent, "cannot start: .*lock.*AllowUnlockedMemory", preexec_fn=self.lock_nothing)

    def test_runs_without_locked_memory_when_allowed(self):
        self.give_configuration(Agent={"AllowUnlockedMemory": "yes"})
        self.agent.start(preexec_fn=self.lock_nothing)
        self.assertEqual(self.unwrap(), OPTIONS)
        self.assertFalse(self.agent.status()["memory_locked"])

    def test_other_users_are_turned_away(self):
        self.agent.user = None
        os.chmod(self.agent.directory, 0o755)
        os.chmod(self.agent.run_directory, 0o755)
        self.agent.start()
        os.chmod(self.agent.socket, 0o666)
        script = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.settimeout(20)\ns.connect(sys.argv[1])\n"
                  "try: d=s.recv(100)\nexcept ConnectionResetError: d=b''\nsys.exit(0 if d==b'' else 1)\n")
        subprocess.run(["/usr/bin/python3", "-c", script, self.agent.socket], user="nobody", check=True)
        harness.poll(lambda: re.search(f"(uid|user) {NOBODY.pw_uid}", self.agent.log_text()), "a line in the log")
        self.agent.write_config(KeyProvider={"AllowUsers": "root nobody"})
        self.agent.process.send_signal(signal.SIGHUP)
        harness.poll(lambda: "was read again" in self.agent.log_text(), "the reload")
        done = subprocess.run(["/usr/bin/python3", "-c", script, self.agent.socket], user="nobody", check=False)
        self.assertEqual(done.returncode, 1)


    def test_who_is_let_in_no_more_has_to_leave(self):
        """Also who is in already: the others stay."""
        self.agent.user = None
        os.chmod(self.agent.directory, 0o755)
        os.chmod(self.agent.run_directory, 0o755)
        self.give_configuration(KeyProvider={"AllowUsers": "root nobody"})
        self.agent.start()
        os.chmod(self.agent.socket, 0o666)
        script = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.settimeout(20)\ns.connect(sys.argv[1])\n"
                  "s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'+bytes([0,0,0,4,0,0,0,0,0]))\n"
                  "assert s.recv(9)\nprint('in',flush=True)\nwhile s.recv(100): pass\n")
        with RawClient(self.agent.socket) as staying:
            staying.settings()
            with subprocess.Popen(["/usr/bin/python3", "-c", script, self.agent.socket], user="nobody",
                                  stdout=subprocess.PIPE) as leaving:
                self.assertEqual(leaving.stdout.readline(), b"in\n")
                self.give_configuration(KeyProvider={"AllowUsers": "root"})
                self.agent.process.send_signal(signal.SIGHUP)
                self.assertEqual(leaving.wait(20), 0)
            staying.call(1, grpc_message(harness.unwrap_request(PACKET)))
            self.assertEqual(staying.reply(1).status, 0)


class Reload(LifecycleTest):
    def reload(self, pattern):
        before = len(re.findall(pattern, self.agent.log_text()))
        self.agent.process.send_signal(signal.SIGHUP)
        harness.poll(lambda: len(re.findall(pattern, self.agent.log_text())) > before, pattern)

    def test_good(self):
        self.agent.write_config(KeyProvider={"AllowWrap": "no"})
        self.agent.start()
        with self.agent.client() as client:
            self.refused(lambda: client.wrap(OPTIONS, "key=image"), StatusCode.PERMISSION_DENIED, "AllowWrap=yes")
            self.agent.write_config(KeyProvider={"AllowWrap": "yes"})
            self.reload("the configuration was read again")
            client.wrap(OPTIONS, "key=image")
            self.assertEqual(client.unwrap(PACKET), OPTIONS)

    def test_bad_keeps_the_old(self):
        self.agent.start()
        self.agent.write_config(text="[KeyProvider]\nAllowWrap=maybe\nNothing=1\n")
        self.reload("the configuration stays as it was")
        log = self.agent.log_text()
        self.assertRegex(log, r"wlagent\.conf:2: .*maybe.* is neither yes nor no")
        self.assertRegex(log, r"wlagent\.conf:3: .*Nothing=")
        with self.agent.client() as client:
            client.wrap(OPTIONS, "key=image")

    def test_missing_keeps_the_old(self):
        self.agent.start()
        os.unlink(self.agent.config)
        self.reload("the configuration stays as it was")
        self.assertEqual(self.unwrap(), OPTIONS)

    def test_a_shorter_cache_takes_effect(self):
        self.agent.start()
        self.unwrap()
        self.agent.wait_for_keys(cached=1)
        self.agent.write_config(Keys={"CacheSeconds": 0})
        self.reload("the configuration was read again")
        self.agent.wait_for_keys(cached=0)

    def test_what_needs_a_restart_is_named_and_stays(self):
        self.agent.start()
        device = json.loads(self.agent.output("status", "--json"))["tpm"]["device"]
        self.agent.write_config(TPM={"Device": "swtpm:path=/nowhere"})
        for _ in range(2):
            self.reload("Device= has changed and takes effect after a restart")
        self.assertEqual(json.loads(self.agent.output("status", "--json"))["tpm"]["device"], device)
        self.assertEqual(self.unwrap(), OPTIONS)

    def test_under_load(self):
        self.agent.start()
        with self.agent.client() as client:
            calls = [self.in_background(client.unwrap, PACKET) for _ in range(200)]
            for _ in range(5):
                self.reload("the configuration was read again")
            for call in calls:
                self.assertEqual(call.result(20), OPTIONS)


class Stop(LifecycleTest):
    def test_what_is_under_way_is_finished(self):
        self.agent.write_config(Keys={"CacheSeconds": 0})
        self.agent.start()
        with self.agent.client() as client:
            self.assertEqual(client.unwrap(PACKET), OPTIONS)
            self.tpm.freeze()
            call = self.in_background(client.unwrap, PACKET)
            self.agent.wait_for_keys(waiting=1)
            self.agent.process.send_signal(signal.SIGTERM)
            harness.poll(lambda: not harness.connects(self.agent.socket), "the socket to close")
            self.tpm.thaw()
            self.assertEqual(call.result(20), OPTIONS)
            self.assertEqual(self.agent.process.wait(20), 0)

    def test_a_reload_comes_too_late(self):
        self.agent.write_config(Keys={"CacheSeconds": 0})
        self.agent.start()
        with self.agent.client() as client:
            self.assertEqual(client.unwrap(PACKET), OPTIONS)
            self.tpm.freeze()
            call = self.in_background(client.unwrap, PACKET)
            self.agent.wait_for_keys(waiting=1)
            self.agent.process.send_signal(signal.SIGTERM)
            harness.poll(lambda: not harness.connects(self.agent.socket), "the socket to close")
            self.agent.process.send_signal(signal.SIGHUP)
            harness.poll(lambda: "it is stopping" in self.agent.log_text(), "the reload")
            self.tpm.thaw()
            self.assertEqual(call.result(20), OPTIONS)
            self.assertEqual(self.agent.process.wait(20), 0)

    def test_idle_connections_do_not_hold_it_up(self):
        self.agent.start()
        with RawClient(self.agent.socket) as client:
            client.settings()
            self.assertEqual(self.agent.stop(), 0)
            client.read_to_end()

    def test_it_does_not_wait_for_ever(self):
        self.agent.write_config(Agent={"StopTimeoutSeconds": 1}, Keys={"CacheSeconds": 0})
        self.agent.start()
        self.tpm.freeze()
        with self.agent.client() as client:
            call = self.in_background(client.unwrap, PACKET)
            self.agent.wait_for_keys(waiting=1)
            self.agent.stop(seconds=10)
            self.assertIsInstance(call.exception(20), grpc.RpcError)
        self.tpm.thaw()

    def test_interrupt(self):
        self.agent.start()
        self.assertEqual(self.agent.stop(signal.SIGINT), 0)

    def test_nothing_is_left(self):
        self.agent.start()
        self.unwrap()
        self.agent.stop()
        self.assertEqual([name for name in os.listdir(self.agent.run_directory) if name.endswith(".sock")], [])


class Clients(LifecycleTest):
    def test_one_that_vanishes(self):
        """Its queued work is dropped: the TPM is not asked for nobody."""
        self.agent.write_config(Keys={"CacheSeconds": 0})
        self.agent.start()
        self.assertEqual(self.unwrap(), OPTIONS)
        for number in range(10):
            self.agent.import_key(f"other-{number}", KEY)
        before = self.agent.counts().tpm
        self.tpm.freeze()
        clients = [RawClient(self.agent.socket) for _ in range(10)]
        for number, client in enumerate(clients):
            client.call(1, grpc_message(harness.unwrap_request(
                harness.wrap_packet(f"local:///other-{number}", KEY, OPTIONS))))
        self.agent.wait_for_keys(waiting=10)
        for client in clients:
            client.close()
        self.agent.wait_for_keys(waiting=0)
        self.tpm.thaw()
        self.agent.wait_for_keys(opening=0, queued=0)
        self.assertEqual(self.unwrap(), OPTIONS)
        self.assertLessEqual(self.agent.counts().tpm - before, 6)  # the workers that had begun, and the last

    def test_one_that_hangs(self):
        self.agent.write_config(KeyProvider={"IdleTimeoutSeconds": 5, "CallTimeoutSeconds": 5})
        self.agent.start()
        silent = RawClient(self.agent.socket, greet=False)
        half = RawClient(self.agent.socket)
        half.settings()
        half.send(half.call_bytes(1, grpc_message(harness.unwrap_request(PACKET)))[:-5])
        self.assertEqual(self.unwrap(), OPTIONS)
        silent.read_to_end()
        self.assertEqual(half.reply(1).status, 4)
        half.read_to_end()

    def test_one_that_does_not_read(self):
        self.agent.start()
        greedy = RawClient(self.agent.socket, seconds=2)
        message = grpc_message(harness.unwrap_request(PACKET))
        try:
            for stream in range(1, 20001, 2):
                greedy.call(stream, message)
        except OSError:
            pass  # the daemon has stopped to read, or has closed
        self.assertEqual(self.unwrap(), OPTIONS)
        greedy.close()

    def test_too_many_connections(self):
        self.agent.write_config(KeyProvider={"MaxConnections": 4})
        self.agent.start()
        clients = [RawClient(self.agent.socket) for _ in range(4)]
        for client in clients:
            client.settings()
        with RawClient(self.agent.socket, greet=False) as fifth:
            fifth.read_to_end()
        clients[0].close()
        harness.poll(lambda: self.agent.status()["keyprovider"]["connections"] < 4, "a place")
        self.assertEqual(self.unwrap(), OPTIONS)
        for client in clients:
            client.close()

    def test_out_of_descriptors(self):
        """It neither spins nor dies, and serves again when there are some."""
        self.agent.write_config(KeyProvider={"MaxConnections": 1000})
        self.agent.start()
        pid = self.agent.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 4, limits[1]))
        clients = [RawClient(self.agent.socket, greet=False) for _ in range(30)]
        closed = sum(1 for client in clients[10:] if client.read_to_end() is None)
        self.assertGreater(closed, 10)
        for client in clients:
            client.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        self.assertEqual(self.unwrap(), OPTIONS)

    def test_one_flight_for_many(self):
        """Requests for the same key share one operation of the TPM, also without a cache."""
        self.agent.write_config(Keys={"CacheSeconds": 0})
        self.agent.start()
        with self.agent.client() as client:
            self.assertEqual(client.unwrap(PACKET), OPTIONS)
            before = self.agent.counts().tpm
            self.tpm.freeze()
            calls = [self.in_background(client.unwrap, PACKET) for _ in range(20)]
            self.agent.wait_for_keys(waiting=20)
            self.tpm.thaw()
            self.assertEqual({call.result(20) for call in calls}, {OPTIONS})
        self.assertEqual(self.agent.counts().tpm - before, 1)

    def test_one_operation_for_each_key_in_flight(self):
        self.agent.write_config(Keys={"CacheSeconds": 0})
        for number in range(5):
            self.agent.import_key(f"other-{number}", KEY)
        self.agent.start()
        packets = [harness.wrap_packet(f"local:///other-{number}", KEY, OPTIONS) for number in range(5)]
        with self.agent.client() as client:
            self.tpm.freeze()
            calls = [self.in_background(client.unwrap, packet) for packet in packets * 4]
            self.agent.wait_for_keys(waiting=20)
            self.tpm.thaw()
            self.assertEqual({call.result(20) for call in calls}, {OPTIONS})
        self.assertEqual(self.agent.counts().tpm, 5)


class Disk(LifecycleTest):
    def test_full(self):
        """A key that cannot be written is not half there, and the others stay."""
        script = ('mount -t tmpfs -o size=64k tmpfs "$1" && cp -a "$2/." "$1/" && '
                  '{ dd if=/dev/zero of="$1/filler" bs=1k 2>/dev/null; shift 2; "$@"; '
                  'echo "exit code $?"; "$1" "$2" "$3" key list; "$1" "$2" "$3" key show image; }')
        copy = os.path.join(self.directory, "copy")
        shutil.copytree(self.agent.state, copy)
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", self.agent.state, copy,
             harness.WLAGENT, "--config", self.agent.config, "key", "create", "new"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertRegex(done.stderr, "No space left on device")
        self.assertIn("exit code 1", done.stdout)
        self.assertIn("image", done.stdout)
        self.assertNotRegex(done.stdout, r"\bnew\b")


class Configuration(LifecycleTest):
    def check(self, text):
        self.agent.write_config(text=text)
        return subprocess.run([harness.WLAGENTD, "--config", self.agent.config, "--check-config"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def test_all_faults_at_once(self):
        done = self.check("[Agent]\nStateDirectory=relative\nLogLevel=loud\n[Nowhere]\nA=b\n[KeyProvider]\n"
                          "AllowUsers=nobody-of-that-name\nMaxMessageBytes=-1\nAllowWrap=yes\nAllowWrap=no\nrubbish\n")
        self.assertEqual(done.returncode, 1)
        for line, text in ((2, "absolute path"), (3, "loud"), (4, "Nowhere"), (7, "nobody-of-that-name"),
                           (8, "MaxMessageBytes"), (10, "already set in line 9"), (11, "Key=Value")):
            self.assertRegex(done.stderr, rf"(?m)wlagent\.conf:{line}: .*{text}")

    def test_good(self):
        done = self.check("[Keys]\nCacheSeconds=5\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_dump_is_a_configuration(self):
        done = subprocess.run([harness.WLAGENTD, "--config", self.agent.config, "--dump-config"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        self.assertIn(f"StateDirectory={self.agent.state}", done.stdout)
        self.assertEqual(self.check(done.stdout).returncode, 0)

    def test_drop_in_without_a_main_file(self):
        """Nobody has to write wlagent.conf for what stands in wlagent.conf.d to count."""
        etc = os.path.join(self.directory, "etc")
        os.makedirs(os.path.join(etc, "workload-agent/wlagent.conf.d"))
        shutil.copy("/etc/passwd", etc)
        with open(os.path.join(etc, "workload-agent/wlagent.conf.d/10-cache.conf"), "w", encoding="ascii") as out:
            out.write("[Keys]\nCacheSeconds=7\n")
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$1" /etc && "$2" --dump-config',
             "sh", etc, harness.WLAGENTD],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("CacheSeconds=7\n", done.stdout)

    def test_file_that_others_may_write(self):
        os.chmod(self.agent.config, 0o666)
        self.fails_to_start(self.agent, "wlagent.conf.*(writ|0666)")

    def test_missing_file(self):
        os.unlink(self.agent.config)
        self.fails_to_start(self.agent, "wlagent.conf does not exist")
