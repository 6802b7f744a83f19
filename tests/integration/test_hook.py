# SPDX-License-Identifier: Apache-2.0
"""libvirt's hook: what it asks, what it makes of each answer and of none, and that it ends in time."""

import concurrent.futures
import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import harness

HOOKS = os.path.join(harness.BUILD, "hooks")
HOOK = os.path.join(HOOKS, "hook-below-cwd")
INSTALLED = os.path.join(HOOKS, "50-wlagent")

MAGIC, CONTROL_DOMAIN = 0x31414c57, 5
OK, INPUT, TIMEOUT, NOT_FOUND, DENIED, BUSY, TPM, UNSUPPORTED, SYSTEM, UNAVAILABLE = range(10)
PROTECTED = 0xffff
NUMBERS = {"prepare": 1, "start": 2, "started": 3, "stopped": 4, "release": 5, "migrate": 6, "restore": 7,
           "reconnect": 8}
DECIDING = ("prepare", "start", "migrate", "restore")
TOLD = ("stopped", "release", "reconnect")
XML_MAX = 1024 * 1024
SHORT = 12  # seconds: more than 2 or 4 on a busy machine, and less than 21

PLAIN = b"<domain type='kvm'><name>plain</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid></domain>"
MARKED = (b"<domain><metadata><w:protected xmlns:w=\"urn:wlagent:domain:1\"/></metadata></domain>",
          b"<domain><disk type='block'><source dev='/dev/mapper/wlagent-x-vda'/></disk></domain>")
IMAGE = "0f7a1e0c-5f6a-4a56-8f0e-3c0f5d6f9a11"
NOVA = ("<domain><metadata><nova:instance xmlns:nova=\"http://openstack.org/xmlns/libvirt/nova/1.1\">"
        "<nova:root type=\"image\" uuid=\"%s\"/></nova:instance></metadata></domain>")


def reply(code, text=b"", **changes):
    header = {"magic": MAGIC, "command": CONTROL_DOMAIN, "code": code, "size": len(text), **changes}
    return struct.pack("=IHHII", header["magic"], header["command"], header["code"], header["size"], 0) + text


class Peer:
    """A wlagentd that takes one strictly checked request and does with the connection as it is told."""

    def __init__(self, path, act):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.act = act
        self.requests = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        with connection:
            if self.act != "hang up at once":
                self.requests.append(self.receive(connection))
            if callable(self.act):
                self.act(connection)

    @staticmethod
    def receive(connection):
        with connection.makefile("rb") as stream:
            magic, command, code, size, reserved = struct.unpack("=IHHII", stream.read(16))
            operation, zero, xml_size = struct.unpack("=HHI", stream.read(8))
            xml = stream.read(xml_size)
        assert (magic, command, code, reserved, zero) == (MAGIC, CONTROL_DOMAIN, 0, 0, 0)
        assert size == 8 + xml_size == 8 + len(xml)
        connection.setblocking(False)
        try:
            assert not connection.recv(1), "bytes behind the request"
        except BlockingIOError:
            pass
        connection.setblocking(True)
        return operation, xml

    def close(self):
        # An accept() under way ends with shutdown() and not with close() (unix(7)).
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.listener.close()


def says(data):
    def act(connection):
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(data)
    return act


def waits_for_hang_up(connection):
    connection.settimeout(60)
    connection.recv(1)


class HookTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-hook.")
        self.addCleanup(shutil.rmtree, self.directory)

    def path(self):
        """The socket's, without what was there before."""
        path = os.path.join(self.directory, "control.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return path

    def peer(self, act):
        peer = Peer(self.path(), act)
        self.addCleanup(peer.close)
        return peer

    def run_hook(self, operation, xml=PLAIN, *, program=HOOK, seconds=40, **options):
        """Runs it as libvirt does; returns the finished process after checks that hold for every run."""
        done = subprocess.run([program, "plain", operation, "begin", "-"], input=xml, capture_output=True,
                              cwd=options.pop("cwd", self.directory), env={"LC_ALL": "C", "PATH": "/usr/bin"},
                              timeout=seconds, check=False, **options)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertEqual(done.stdout, b"")
        if done.returncode == 0:
            self.assertEqual(done.stderr, b"")
        else:
            self.assertRegex(done.stderr, rb"\Awlagent: [ -~]+\n\Z")
        return done

    def passes(self, *arguments, **options):
        self.assertEqual(self.run_hook(*arguments, **options).returncode, 0)

    def fails(self, pattern, *arguments, **options):
        done = self.run_hook(*arguments, **options)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), pattern)
        return done


class Asking(HookTest):
    def test_each_operation_reaches_the_agent(self):
        for operation, number in NUMBERS.items():
            with self.subTest(operation):
                peer = self.peer(says(reply(OK)))
                self.passes(operation)
                self.assertEqual(peer.requests, [(number, PLAIN)])

    def test_operations_that_are_none_of_its_business(self):
        peer = self.peer(says(reply(DENIED, b"no")))
        for operation in ("attach", "prepared", "", "-"):
            self.passes(operation, MARKED[0])
        self.assertEqual(peer.requests, [])
        for arguments in ([], ["plain"]):
            done = subprocess.run([HOOK, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_the_largest_definition(self):
        xml = MARKED[0] + b" " * (XML_MAX - len(MARKED[0]))
        peer = self.peer(says(reply(OK)))
        self.passes("prepare", xml)
        self.assertEqual(peer.requests, [(1, xml)])

    def test_a_definition_in_pieces(self):
        peer = self.peer(says(reply(OK)))
        with subprocess.Popen([HOOK, "plain", "prepare", "begin", "-"], stdin=subprocess.PIPE,
                              cwd=self.directory) as hook:
            for at in range(0, len(PLAIN), 7):
                hook.stdin.write(PLAIN[at:at + 7])
                hook.stdin.flush()
        self.assertEqual(hook.returncode, 0)
        self.assertEqual(peer.requests, [(1, PLAIN)])


class Answers(HookTest):
    def test_a_refusal_is_shown(self):
        for operation in DECIDING:
            for xml in (PLAIN, *MARKED):
                self.peer(says(reply(DENIED, b"key web: PCR 7 changed (run 'wlagent doctor')")))
                self.fails(r"^wlagent: key web: PCR 7 changed \(run 'wlagent doctor'\)\n$", operation, xml)

    def test_codes_that_say_nothing_of_the_domain(self):
        for code in (TIMEOUT, BUSY, UNSUPPORTED, SYSTEM, UNAVAILABLE):
            self.peer(says(reply(code, b"trouble")))
            self.passes("prepare")
            self.peer(says(reply(code, b"trouble")))
            self.fails("^wlagent: trouble$", "prepare", MARKED[0])
        for code in (INPUT, NOT_FOUND, DENIED, TPM):
            self.peer(says(reply(code, b"the image is not ours")))
            self.fails("^wlagent: the image is not ours$", "prepare")

    def test_a_domain_that_wlagentd_knows_to_be_protected(self):
        notice = reply(PROTECTED)
        for operation in DECIDING:
            for code in (TIMEOUT, BUSY, UNSUPPORTED, SYSTEM, UNAVAILABLE):
                self.peer(says(notice + reply(code, b"trouble")))
                self.fails("^wlagent: trouble$", operation)
            for rest in (b"", reply(OK)[:9], notice, reply(OK, b"fine")):
                self.peer(says(notice + rest))
                self.fails("cannot be asked for them", operation)
            self.peer(says(notice + reply(OK)))
            self.passes(operation)
        for operation in (*TOLD, "started"):
            self.peer(says(notice + reply(DENIED, b"no")))
            self.passes(operation, MARKED[0])
        self.peer(says(reply(PROTECTED, b"trouble")))
        self.passes("prepare")

    def test_such_a_domain_waits_for_the_answer(self):
        def act(connection):
            connection.sendall(reply(PROTECTED))
            time.sleep(4)  # twice as long as others wait
            connection.sendall(reply(UNAVAILABLE, b"trouble"))

        self.peer(act)
        self.fails("^wlagent: trouble$", "prepare")

    def test_control_characters(self):
        self.peer(says(reply(DENIED, b"a\x1b]0;x\x07b\nc\r\xc2\x9bd\x7f" + bytes(range(1, 32)) + b"e\0f")))
        self.fails(r"^wlagent: a\?]0;x\?b\?c\?\?\?d\?{32}e\n$", "prepare")

    def test_a_long_reason(self):
        self.peer(says(reply(DENIED, b"r" * 250_000)))
        done = self.fails("^wlagent: rrr", "prepare")
        self.assertLess(len(done.stderr), 1200)
        self.peer(says(reply(DENIED, b"")))
        self.fails("^wlagent: wlagentd refused without a reason$", "prepare")

    def test_started_only_heeds_a_denial(self):
        self.peer(says(reply(DENIED, b"the host is not trusted any more")))
        self.fails("^wlagent: the host is not trusted any more$", "started", MARKED[0])
        for code in (INPUT, NOT_FOUND, BUSY, TPM, SYSTEM, UNAVAILABLE, TIMEOUT, UNSUPPORTED):
            self.peer(says(reply(code, b"trouble")))
            self.passes("started", MARKED[0])

    def test_started_looks_at_what_qemu_has_open(self):
        self.peer(says(reply(OK, b"wlagent-x-vda\n")))
        self.fails("layer wlagent-x-vda to this host cannot be seen: No such file or directory$", "started", MARKED[0])
        for text in (b"wlagent-../../etc/passwd\n", b"wlagent-/\n"):
            self.peer(says(reply(OK, text)))
            self.fails("cannot be seen: its name is unusual$", "started", MARKED[0])

    def test_what_is_past_never_fails(self):
        for operation in TOLD:
            for code in range(1, 10):
                self.peer(says(reply(code, b"no")))
                self.passes(operation, MARKED[0])


class Garbage(HookTest):
    replies = {
        "nothing": b"",
        "half a header": reply(OK)[:9],
        "another magic": reply(OK, magic=0x57574757),
        "another command": reply(OK, command=1),
        "no code": reply(10, b"x"),
        "a text with OK": reply(OK, b"fine"),
        "too large": reply(DENIED, size=1 << 31),
        "a text cut short": reply(DENIED, b"no", size=40),
        "noise": bytes(range(256)) * 64,
    }

    def test_it_is_no_answer(self):
        for name, data in self.replies.items():
            with self.subTest(name):
                for operation in DECIDING:
                    self.peer(says(data))
                    self.passes(operation)
                    self.peer(says(data))
                    self.fails(r"cannot be asked for them: .*control\.sock: .+ \(start it with", operation, MARKED[0])
                for operation in (*TOLD, "started"):
                    self.peer(says(data))
                    self.passes(operation, MARKED[0])

    def test_hang_up_before_the_request(self):
        xml = MARKED[1] + b" " * 900_000
        self.peer("hang up at once")
        self.fails("cannot be asked for them", "prepare", xml)
        self.peer("hang up at once")
        self.passes("prepare", PLAIN + b" " * 900_000)

    def test_an_answer_before_the_whole_request(self):
        def act(connection):
            connection.recv(16)
            connection.sendall(reply(DENIED, b"too many connections"))
            connection.shutdown(socket.SHUT_RDWR)

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path())
            listener.listen()
            thread = threading.Thread(target=lambda: act(listener.accept()[0]))
            thread.start()
            self.fails("^wlagent: (too many connections|the domain has encrypted disks)", "prepare",
                       MARKED[0] + b" " * 900_000)
            thread.join()


class NoAgent(HookTest):
    def test_no_socket(self):
        for operation in DECIDING:
            self.passes(operation)
            for xml in MARKED:
                self.fails(r"control\.sock: No such file or directory \(start it with 'systemctl start wlagentd'",
                           operation, xml)
        for operation in (*TOLD, "started"):
            self.passes(operation, MARKED[0])

    def test_nobody_listens(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(self.directory, "control.sock"))
        self.passes("prepare")
        self.fails("Connection refused", "prepare", MARKED[0])

    def test_registered_images(self):
        xml = (NOVA % IMAGE).encode()
        self.passes("prepare", xml)
        images = os.path.join(self.directory, "images")
        os.mkdir(images)
        self.passes("prepare", xml)
        with open(os.path.join(images, f"{IMAGE}.header"), "wb"):
            pass
        self.fails("No such file", "prepare", xml)
        self.fails("No such file", "prepare", (NOVA % IMAGE.upper()).encode())
        self.passes("prepare", (NOVA % IMAGE.replace("0", "1")).encode())
        self.passes("prepare", f"<domain><uuid>{IMAGE}</uuid></domain>".encode())
        self.passes("stopped", xml)
        # A directory that cannot be looked into protects every domain of Nova's, and no other.
        shutil.rmtree(images)
        with open(images, "wb"):
            pass
        self.fails("No such file", "prepare", xml)
        self.passes("prepare")


class Time(HookTest):
    def timed(self, function, *arguments, **options):
        start = time.monotonic()
        function(*arguments, **options)
        return time.monotonic() - start

    def without_answer(self, operation, xml=PLAIN):
        """In a directory of its own, so that several wait at the same time: how it ended, and how long it took."""
        with tempfile.TemporaryDirectory(prefix="wlagent-hook.") as directory:
            peer = Peer(os.path.join(directory, "control.sock"), waits_for_hang_up)
            start = time.monotonic()
            done = self.run_hook(operation, xml, cwd=directory)
            took = time.monotonic() - start
            peer.close()
            return done, took

    def test_an_agent_that_never_answers(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            short = [pool.submit(self.without_answer, operation, MARKED[0]) for operation in TOLD]
            short += [pool.submit(self.without_answer, operation) for operation in ("started", "prepare")]
            refused = pool.submit(self.without_answer, "prepare", MARKED[0])
            # It may say that nobody copies a layer.
            waits = pool.submit(self.without_answer, "started", MARKED[0])
        for done, took in (run.result() for run in short):
            self.assertEqual(done.returncode, 0)
            self.assertLess(took, SHORT)
        for run, code, text in ((refused, 1, b"wlagentd does not answer"), (waits, 0, b"")):
            done, took = run.result()
            self.assertEqual(done.returncode, code)
            self.assertIn(text, done.stderr)
            self.assertGreater(took, 20)
            self.assertLess(took, 21 + SHORT)

    def test_started_waits_for_an_agent_that_is_slow(self):
        """Longer than for one that is not protected."""
        def act(connection):
            time.sleep(3)
            says(reply(DENIED, b"late"))(connection)

        self.peer(act)
        self.fails("^wlagent: late$", "started", MARKED[0])

    def test_an_agent_that_never_reads(self):
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
            listener.bind(self.path())
            listener.listen(0)
            self.assertLess(self.timed(self.passes, "prepare", PLAIN + b" " * 1_000_000), SHORT)
            # That connection still fills the queue, so not even another one is to be had.
            waiting.setblocking(False)
            self.assertRaises(BlockingIOError, waiting.connect, os.path.join(self.directory, "control.sock"))
            self.assertLess(self.timed(self.passes, "prepare"), SHORT)
            self.assertLess(self.timed(self.passes, "release", MARKED[0]), SHORT)

    def test_drops_of_an_answer(self):
        def act(connection):
            try:
                for byte in reply(DENIED, b"never" * 100):
                    connection.sendall(bytes([byte]))
                    time.sleep(0.1)
            except OSError:
                pass

        self.peer(act)
        self.assertLess(self.timed(self.passes, "prepare"), SHORT)

    def without_end(self, operation, code):
        start = time.monotonic()
        with subprocess.Popen([HOOK, "plain", operation, "begin", "-"], stdin=subprocess.PIPE,
                              stderr=subprocess.PIPE, cwd=self.directory) as hook:
            hook.stdin.write(PLAIN)
            hook.stdin.flush()
            self.assertEqual(hook.wait(40), code)
            self.assertLess(time.monotonic() - start, SHORT)
            self.assertEqual(bool(hook.stderr.read()), code == 1)
            hook.stdin.close()

    def test_a_definition_without_end(self):
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for run in [pool.submit(self.without_end, *what) for what in (("prepare", 1), ("stopped", 0), ("reconnect", 0))]:
                run.result()


class Definition(HookTest):
    def test_none_and_too_large(self):
        self.peer(says(reply(OK)))
        for operation in DECIDING:
            self.fails("libvirt gave none", operation, b"")
            self.fails("more than 1 MiB", operation, b" " * (XML_MAX + 1))
            self.fails("more than 1 MiB", operation, b" " * (3 * XML_MAX))
        for operation in ("started", *TOLD, "attach"):
            self.passes(operation, b"")
            self.passes(operation, b" " * (XML_MAX + 1))

    def test_unreadable(self):
        for operation, code in (("prepare", 1), ("release", 0)):
            fd = os.open(self.directory, os.O_RDONLY)
            try:
                done = subprocess.run([HOOK, "plain", operation, "begin", "-"], stdin=fd, capture_output=True,
                                      check=False)
            finally:
                os.close(fd)
            self.assertEqual(done.returncode, code)
            self.assertEqual(b"Is a directory" in done.stderr, code == 1)

    def test_standard_error_that_is_gone(self):
        read, write = os.pipe()
        os.close(read)
        with subprocess.Popen([HOOK, "plain", "prepare", "begin", "-"], stdin=subprocess.PIPE, stderr=write,
                              cwd=self.directory) as hook:
            os.close(write)
            hook.communicate(MARKED[0])
        self.assertNotEqual(hook.returncode, 0)


class Daemon(harness.AgentTest):
    def hook(self, operation, xml):
        return subprocess.run([HOOK, "plain", operation, "begin", "-"], input=xml, capture_output=True,
                              cwd=self.agent.run_directory, timeout=40, check=False)

    def test_unprotected_domains(self):
        self.agent.start()
        for operation in NUMBERS:
            done = self.hook(operation, PLAIN)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""), operation)
        large = PLAIN.replace(b"<name>", b"<description>" + b"x" * 900_000 + b"</description><name>")
        self.assertEqual(self.hook("prepare", large).returncode, 0)

    def test_a_protected_domain_without_volumes(self):
        self.agent.start()
        for xml in MARKED:
            done = self.hook("prepare", xml)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, rb"\Awlagent: [ -~]+\n\Z")
            self.assertEqual(self.hook("stopped", xml).returncode, 0)
            self.assertEqual(self.hook("release", xml).returncode, 0)

    def test_stopped_daemon(self):
        self.agent.start()
        self.agent.stop()
        self.assertEqual(self.hook("prepare", PLAIN).returncode, 0)
        self.assertEqual(self.hook("prepare", MARKED[0]).returncode, 1)


class Installed(HookTest):
    """The program that is installed, with an environment that wants something else of it."""

    hostile = {"LC_ALL": "C", "PATH": "/nonexistent", "LD_PRELOAD": "/nonexistent/evil.so", "HOME": "/tmp",
               "LD_LIBRARY_PATH": "/tmp", "TMPDIR": "/tmp", "MALLOC_CONF": "x", "GCONV_PATH": "/tmp"}
    allowed = {"execve", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlinkat",
               "readlink", "getrandom", "mprotect", "newfstatat", "prctl", "rt_sigaction", "rt_sigprocmask", "alarm",
               "read", "socket", "connect", "sendto", "recvfrom", "write", "exit_group"}

    def traced(self, operation, xml):
        trace = os.path.join(self.directory, "trace")
        done = subprocess.run(["/usr/bin/strace", "-f", "-o", trace, "-E", "LD_PRELOAD=/nonexistent/evil.so", INSTALLED,
                               "plain", operation, "begin", "-"], input=xml, capture_output=True, cwd=self.directory,
                              env={name: value for name, value in self.hostile.items() if name != "LD_PRELOAD"},
                              timeout=60, check=False)
        with open(trace, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        calls = [re.match(r"\d+ +(\w+)\((.*)", line) for line in lines]
        return done, [(call[1], call[2]) for call in calls if call]

    def test_what_it_touches(self):
        if harness.has_address_sanitizer():
            self.skipTest("the sanitizer opens files of its own")
        own = self.peer(says(reply(OK)))
        for xml in (PLAIN, MARKED[0]):
            done, calls = self.traced("prepare", xml)
            self.assertEqual(done.stdout, b"")
            self.assertEqual({name for name, _ in calls} - self.allowed, set())
            connects = [arguments for name, arguments in calls if name == "connect"]
            self.assertEqual(len(connects), 1)
            self.assertIn('sun_path="/run/workload-agent/control.sock"', connects[0])
        done, calls = self.traced("prepare", (NOVA % IMAGE).encode())
        opened = [arguments for name, arguments in calls if name in ("openat", "open")]
        self.assertEqual(len(opened), 1)
        self.assertIn('"/var/lib/workload-agent/images"', opened[0])
        self.assertEqual({name for name, _ in calls} - self.allowed - {"openat", "open", "faccessat"}, set())
        self.assertEqual(own.requests, [], "it asked what is in its working directory")

    def test_it_needs_no_library(self):
        if harness.has_address_sanitizer():
            self.skipTest("the sanitizer is a library")
        done = subprocess.run(["readelf", "--program-headers", INSTALLED], capture_output=True, check=True)
        self.assertIn(b"LOAD", done.stdout)
        self.assertNotIn(b"INTERP", done.stdout)
