# SPDX-License-Identifier: Apache-2.0
"""wlagent key, on a software TPM, and what it does to a running wlagentd."""

import base64
import json
import os
import pty
import resource
import signal
import stat
import subprocess
import unittest

import grpc

import harness

RAW = bytes(range(100, 132))
OPTIONS = b'{"symkey":"c2VjcmV0"}'


def little_room():
    """No file may grow beyond 100 bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


class KeyTest(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.keys = os.path.join(self.agent.state, "keys")
        self.pem = os.path.join(self.agent.state, "binding-key.pem")

    def path(self, name):
        return os.path.join(self.keys, f"{name}.json")

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name, content):
        with open(self.path(name), "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(content)

    def names(self):
        return [key["name"] for key in json.loads(self.agent.output("key", "list", "--json"))["keys"]]

    def wrap(self, *arguments, pem=None, **options):
        return self.agent.run("key", "wrap", "--to", pem or self.pem, *arguments, **options)

    def another_host(self):
        tpm = harness.Swtpm(os.path.join(self.directory, "other-tpm")).start()
        self.addCleanup(tpm.stop)
        agent = self.new_agent("other", tpm.tcti)
        agent.run("setup")
        return agent


class RoundTrips(KeyTest):
    def test_create_list_show_remove(self):
        self.assertEqual(self.agent.output("key", "create", "web-1"),
                         "Key web-1 is made; only the TPM of this host opens it.\n")
        self.agent.run("key", "create", "a.b_c-9")
        facts = os.stat(self.path("web-1"))
        self.assertEqual(stat.S_IMODE(facts.st_mode), 0o600)
        stored = json.loads(self.read("web-1"))
        self.assertEqual(list(stored), ["version", "name", "algorithm", "binding_key", "created", "wrapped_key"])
        self.assertEqual((stored["version"], stored["name"], stored["algorithm"]), (1, "web-1", "RSA-OAEP-SHA256"))
        self.assertEqual(len(base64.b64decode(stored["wrapped_key"], validate=True)), 256)

        self.assertRegex(self.agent.output("key", "list"),
                         r"^NAME     CREATED               OPENS HERE\na\.b_c-9  \S{20}  yes\nweb-1    \S{20}  yes\n$")
        listed = json.loads(self.agent.output("key", "list", "--json"))["keys"]
        expected = {"name": "web-1", "algorithm": "RSA-OAEP-SHA256", "binding_key": stored["binding_key"],
                    "created": stored["created"], "for_this_host": True}
        self.assertEqual(listed[1], expected)

        shown = json.loads(self.agent.output("key", "show", "web-1", "--json"))
        self.assertEqual(shown, {**expected, "id": "local:///web-1", "directory": self.keys})
        text = self.agent.output("key", "show", "web-1")
        self.assertIn(f"File:         {self.path('web-1')}\n", text)
        self.assertIn("Opens here:   yes\n", text)
        self.assertNotIn(stored["wrapped_key"], text)

        self.assertEqual(self.agent.output("key", "remove", "--force", "web-1"), "Key web-1 is removed.\n")
        self.assertEqual(self.names(), ["a.b_c-9"])
        self.fails(self.agent.run("key", "show", "web-1", check=False),
                   f"^wlagent: no key named web-1 in {self.keys}\nhint: make one with 'wlagent key create NAME', or fetch "
                   "one with 'wlagent key import FILE'; 'wlagent key list' shows what is there\n$")

    def test_two_keys_differ(self):
        wrapped = [json.loads(self.read(name))["wrapped_key"] for name in ("one", "two")
                   if self.agent.run("key", "create", name)]
        self.assertNotEqual(*wrapped)

    def test_created_key_encrypts_and_decrypts(self):
        self.agent.run("key", "create", "web-1")
        self.agent.start()
        with self.agent.client() as client:
            self.assertEqual(client.unwrap(client.wrap(OPTIONS, "key=web-1")), OPTIONS)

    def test_wrapped_elsewhere_opens_here(self):
        raw = os.path.join(self.directory, "raw")
        with open(raw, "wb") as file:
            file.write(RAW)
        output = os.path.join(self.directory, "web-1.key")
        # As the owner runs it: no TPM, no configuration, no state.
        done = subprocess.run([harness.WLAGENT, "key", "wrap", "--to", self.pem, "--name", "web-1", "--key-file", raw,
                               "--output", output], capture_output=True, check=True)
        self.assertEqual((done.stdout, done.stderr), (b"", b""))
        self.assertEqual(stat.S_IMODE(os.stat(output).st_mode), 0o600)
        self.assertEqual(self.agent.output("key", "import", output), "Key web-1 is in the store.\n")
        self.agent.start()
        with self.agent.client() as client:
            self.assertEqual(client.unwrap(harness.wrap_packet("local:///web-1", RAW, OPTIONS)), OPTIONS)

    def test_the_key_itself_is_nowhere(self):
        wrapped = self.wrap("--name", "web-1", "--key-file", "-", stdin=RAW).stdout
        self.agent.run("key", "import", "-", stdin=wrapped)
        for content in (wrapped, self.read("web-1"), self.agent.run("key", "show", "web-1").stdout):
            for form in (RAW, RAW.hex().encode(), base64.b64encode(RAW)):
                self.assertNotIn(form, content)

    def test_import_under_another_name(self):
        wrapped = self.wrap("--name", "web-1", "--random").stdout
        self.agent.run("key", "import", "--name", "web-2", "-", stdin=wrapped)
        self.assertEqual(self.names(), ["web-2"])
        self.assertEqual(json.loads(self.read("web-2"))["name"], "web-2")


class Refusals(KeyTest):
    def test_nothing_is_overwritten(self):
        self.agent.run("key", "create", "web-1")
        before = self.read("web-1")
        message = f"there is a key named web-1 in {self.keys} already\nhint: choose another name, or remove it first "
        self.fails(self.agent.run("key", "create", "web-1", check=False), f"^wlagent: creating key web-1: {message}")
        wrapped = self.wrap("--name", "web-1", "--random").stdout
        self.fails(self.agent.run("key", "import", "-", stdin=wrapped, check=False),
                   f"^wlagent: importing a key: {message}")
        self.assertEqual(self.read("web-1"), before)
        self.agent.run("key", "import", "--force", "-", stdin=wrapped)
        self.assertNotEqual(self.read("web-1"), before)

        output = os.path.join(self.directory, "precious")
        with open(output, "w", encoding="utf-8") as file:
            file.write("precious")
        self.fails(self.wrap("--name", "web-1", "--random", "--output", output, check=False),
                   f"^wlagent: wrapping key web-1: writing {output}: precious exists already\n$")

    def test_raw_keys_of_other_sizes(self):
        for size, word in ((0, "less"), (31, "less"), (33, "more"), (64, "more"), (1 << 20, "more")):
            self.fails(self.wrap("--name", "web-1", "--key-file", "-", stdin=b"x" * size, check=False),
                       f"^wlagent: wrapping key web-1: standard input holds {word} than the 32 bytes of a raw key\n"
                       "hint: make one with 'openssl rand -out FILE 32', or use --random\n$")

    def test_public_keys_that_are_none(self):
        for content in (b"", b"rubbish", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
            path = os.path.join(self.directory, "host.pem")
            with open(path, "wb") as file:
                file.write(content)
            self.fails(self.wrap("--name", "web-1", "--random", pem=path, check=False),
                       f"^wlagent: wrapping key web-1: public key {path}: .*\nhint: 'wlagent setup' on the host writes it")
        self.fails(self.wrap("--name", "web-1", "--random", pem="/nonexistent", check=False),
                   "^wlagent: wrapping key web-1: /nonexistent does not exist\n$")
        self.fails(self.wrap("--name", "web-1", "--random", pem="/dev/zero", check=False),
                   "^wlagent: wrapping key web-1: /dev/zero holds more than 16384 bytes\n$")

    def test_key_file_of_another_host(self):
        other = self.another_host()
        other.run("key", "create", "web-1")
        foreign = os.path.join(other.state, "keys", "web-1.json")
        self.fails(self.agent.run("key", "import", "/nonexistent", check=False),
                   "^wlagent: importing a key: /nonexistent does not exist\nhint: name the file that 'wlagent key wrap' has")
        self.fails(self.agent.run("key", "import", foreign, check=False),
                   "^wlagent: importing a key: key web-1 is wrapped for the host with binding key [0-9a-f]{16}\\.\\.\\., "
                   "and this host's is [0-9a-f]{16}\\.\\.\\.\nhint: have the key's owner run 'wlagent key wrap --to' ")
        self.assertEqual(self.names(), [])

        with open(foreign, "rb") as file:
            self.write("web-1", file.read())
        self.assertRegex(self.agent.output("key", "list"), "\nweb-1  \\S{20}  no\n$")
        self.assertIn("Opens here:   no, it was wrapped for another binding key\n", self.agent.output("key", "show", "web-1"))
        self.agent.start()
        with self.agent.client() as client:
            self.refused(lambda: client.unwrap(harness.wrap_packet("local:///web-1", RAW, OPTIONS)),
                         grpc.StatusCode.INVALID_ARGUMENT, "local:///web-1")

    def test_damaged_key_files(self):
        self.agent.run("key", "create", "web-1")
        self.agent.run("key", "create", "web-2")
        whole = self.read("web-1")
        for content, text in ((b"", "empty"), (whole[:-40], "not a whole JSON text: .*"), (b"[]", "not a JSON object"),
                              (whole.replace(b"web-1", b"web-7"), "the key in it is named web-7"),
                              (whole.replace(b'": 1', b'": 9'), "version 9 is not known, only version 1"),
                              (whole + b" " * 16384, "larger than 16 KiB, which no key file is"),
                              (b"\x00" * 100, "not a whole JSON text: .*")):
            self.write("web-1", content)
            message = f"key file {self.path('web-1')}: {text}\n"
            self.fails(self.agent.run("key", "show", "web-1", check=False), f"^wlagent: {message}hint: .*\n$")

            listed = self.agent.run("key", "list", check=False)
            self.fails(listed, "^wlagent: 1 of 2 key files cannot be used\nhint: 'wlagent doctor' has the remedy for each\n$")
            self.assertRegex(listed.stdout.decode(), f"\nweb-1  unreadable            {message}web-2  .*  yes\n$")
            listed = json.loads(self.agent.run("key", "list", "--json", check=False).stdout)["keys"]
            self.assertEqual(list(listed[0]), ["name", "error"])
            self.assertTrue(listed[1]["for_this_host"])

        self.agent.run("key", "remove", "--force", "web-1")
        self.assertEqual(self.names(), ["web-2"])

    def test_damaged_key_files_are_not_imported(self):
        wrapped = self.wrap("--name", "web-1", "--random").stdout
        for content, text in ((wrapped[:100], "key file standard input: not a whole JSON text: .*"),
                              (wrapped.replace(b"OAEP", b"PKCS"), "key file standard input: algorithm RSA-PKCS-SHA256 is "
                                                                  "not known, only RSA-OAEP-SHA256"),
                              (wrapped.replace(b'"created"', b'"name":"x","created"'),
                               "key file standard input: not a whole JSON text: .*"),
                              (wrapped.replace(b'"created"', b'"comment":"x","created"'),
                               'key file standard input: unknown member "comment"'),
                              (wrapped.replace(b"web-1", b"../../x"),
                               'key file standard input: member "name" is not a key name'),
                              (b"x" * 20000, "standard input holds more than 16384 bytes")):
            self.fails(self.agent.run("key", "import", "-", stdin=content, check=False),
                       f"^wlagent: importing a key: {text}\n")
        self.assertEqual(os.listdir(self.keys), [])

    def test_links_and_modes(self):
        self.agent.run("key", "create", "web-1")
        os.chmod(self.path("web-1"), 0o644)
        self.fails(self.agent.run("key", "show", "web-1", check=False),
                   "web-1.json: open to other users \\(mode 0644\\)\nhint: give it to the owner of its directory, with mode 0600")
        os.rename(self.path("web-1"), os.path.join(self.directory, "elsewhere"))
        os.symlink(os.path.join(self.directory, "elsewhere"), self.path("web-1"))
        self.fails(self.agent.run("key", "show", "web-1", check=False), "web-1.json: a symbolic link is not followed\n")
        os.chmod(self.keys, 0o777)
        self.fails(self.agent.run("key", "list", check=False), "keys may be written by others \\(mode 0777\\)\nhint: ")


class Durability(KeyTest):
    def test_no_room(self):
        self.agent.run("key", "create", "web-1")
        before = self.read("web-1")
        wrapped = self.wrap("--name", "web-1", "--random").stdout
        self.fails(self.agent.run("key", "create", "web-2", check=False, preexec_fn=little_room),
                   f"^wlagent: creating key web-2: storing key web-2 in {self.keys}: cannot write web-2.json: File too large\n"
                   "hint: nothing was changed; see whether the disk is full or read-only\n$")
        self.fails(self.agent.run("key", "import", "--force", "-", stdin=wrapped, check=False, preexec_fn=little_room),
                   "File too large\nhint: nothing was changed")
        self.assertEqual(os.listdir(self.keys), ["web-1.json"])
        self.assertEqual(self.read("web-1"), before)

    @unittest.skipUnless(os.geteuid() == 0, "only root mounts")
    def test_full_disk(self):
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", self.keys]
        if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("mounting a small disk is not allowed here")
        self.addCleanup(subprocess.run, ["umount", self.keys], check=True)
        self.agent.run("key", "create", "web-1")
        before = self.read("web-1")
        with open(os.path.join(self.keys, "filler"), "wb", buffering=0) as filler:
            with self.assertRaises(OSError):
                while True:
                    filler.write(b"x" * 4096)
        self.fails(self.agent.run("key", "create", "web-2", check=False), "No space left on device\nhint: nothing was changed")
        wrapped = self.wrap("--name", "web-1", "--random").stdout
        self.fails(self.agent.run("key", "import", "--force", "-", stdin=wrapped, check=False), "No space left on device\n")
        self.assertEqual(sorted(os.listdir(self.keys)), ["filler", "web-1.json"])
        self.assertEqual(self.read("web-1"), before)

    def killed_at_every_step(self, *command, stdin=b"", after):
        """Kills wlagent at each of its calls that change the disk in turn, until it gets through."""
        preload = os.path.join(harness.BUILD, "tests", "integration", "libkill_at_step.so")
        for step in range(1, 100):
            environment = {**os.environ, "LD_PRELOAD": preload, "KILL_AT_STEP": str(step)}
            done = self.agent.run(*command, stdin=stdin, check=False, env=environment)
            after()
            if done.returncode != -signal.SIGKILL:
                self.assertEqual(done.returncode, 0, done.stderr)
                return step
        raise AssertionError("it never got through")

    def test_killed_while_creating(self):
        def after():
            done = self.agent.run("key", "list", "--json")
            keys = json.loads(done.stdout)["keys"]
            self.assertTrue(all(key["for_this_host"] for key in keys))
            if keys:
                self.agent.run("key", "remove", "--force", "web-1")

        self.assertGreater(self.killed_at_every_step("key", "create", "web-1", after=after), 4)

    def test_killed_while_replacing(self):
        wrapped = self.wrap("--name", "web-1", "--random").stdout
        new = json.loads(wrapped)["wrapped_key"]
        self.agent.run("key", "create", "web-1")
        old = json.loads(self.read("web-1"))["wrapped_key"]
        seen = []

        def after():
            self.assertEqual(self.names(), ["web-1"])
            seen.append(json.loads(self.read("web-1"))["wrapped_key"])

        self.killed_at_every_step("key", "import", "--force", "-", stdin=wrapped, after=after)
        self.assertEqual((seen[0], seen[-1]), (old, new))
        self.assertTrue(set(seen) == {old, new})


class RunningDaemon(KeyTest):
    def test_replaced_and_removed_keys_are_not_used_from_the_cache(self):
        other = bytes(reversed(RAW))
        self.agent.import_key("web-1", RAW)
        self.agent.start()
        with self.agent.client() as client:
            self.assertEqual(client.unwrap(harness.wrap_packet("local:///web-1", RAW, OPTIONS)), OPTIONS)
            wrapped = self.wrap("--name", "web-1", "--key-file", "-", stdin=other).stdout
            self.agent.run("key", "import", "--force", "-", stdin=wrapped)
            self.assertEqual(client.unwrap(harness.wrap_packet("local:///web-1", other, OPTIONS)), OPTIONS)
            self.agent.run("key", "remove", "--force", "web-1")
            self.refused(lambda: client.unwrap(harness.wrap_packet("local:///web-1", other, OPTIONS)),
                         grpc.StatusCode.NOT_FOUND, "no key named web-1 in .*wlagent key create NAME")


class Removal(KeyTest):
    def answer(self, text):
        """Runs wlagent key remove on a terminal and types text."""
        leader, follower = pty.openpty()
        with subprocess.Popen([harness.WLAGENT, "--config", self.agent.config, "key", "remove", "web-1"],
                              stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            os.close(follower)
            os.write(leader, text)
            output, errors = process.communicate(timeout=30)
        os.close(leader)
        self.assertTrue(output.startswith(b"Remove key web-1?  Images that are encrypted with it cannot be opened on "))
        return process.returncode, errors.decode()

    def test_asks_on_a_terminal(self):
        self.agent.run("key", "create", "web-1")
        for no in (b"n\n", b"\n", b"\x04", b"no way\n"):
            self.assertEqual(self.answer(no), (1, "wlagent: key web-1 is still there\n"))
        self.assertEqual(self.names(), ["web-1"])
        self.assertEqual(self.answer(b"y\n"), (0, ""))
        self.assertEqual(self.names(), [])

    def test_does_not_guess_without_a_terminal(self):
        self.agent.run("key", "create", "web-1")
        self.fails(self.agent.run("key", "remove", "web-1", stdin=b"y\n", check=False),
                   "^wlagent: key web-1 is still there: there is no terminal to ask on\n"
                   "hint: add --force to remove it without a question\n$")
        self.fails(self.agent.run("key", "remove", "web-2", check=False), "^wlagent: no key named web-2 in ")
        self.assertEqual(self.names(), ["web-1"])


class OtherUsers(KeyTest):
    @unittest.skipUnless(os.geteuid() == 0, "only root becomes another user")
    def test_they_are_told_to_become_root(self):
        for path in (self.directory, self.agent.directory, self.agent.state):
            os.chmod(path, 0o755)
        os.chmod(self.agent.config, 0o644)
        nobody = {"user": 65534, "group": 65534, "extra_groups": [], "check": False}
        self.fails(self.agent.run("key", "list", **nobody),
                   f"^wlagent: opening the key store {self.keys}: Permission denied\n"
                   "hint: run wlagent as root; wlagentd needs to own the directory\n$")
        self.agent.write_config(Agent={"StateDirectory": os.path.join(self.agent.state, "new")})
        os.chmod(self.agent.config, 0o644)
        self.fails(self.agent.run("setup", **nobody),
                   "making the directory .*/new: Permission denied\n"
                   "hint: run wlagent as root, or as the user of wlagentd\n$")


class LockedMemory(KeyTest):
    @unittest.skipUnless(os.geteuid() == 0, "only root becomes another user")
    def test_refused_locking_stops_before_a_key_is_made(self):
        os.chmod(self.directory, 0o755)
        pem = os.path.join(self.directory, "host.pem")
        with open(self.pem, "rb") as file, open(pem, "wb") as copy:
            copy.write(file.read())

        def unlocked():
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))

        done = subprocess.run([harness.WLAGENT, "key", "wrap", "--to", pem, "--name", "x", "--random"], user=65534,
                              preexec_fn=unlocked, capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertRegex(done.stderr.decode(), "the kernel refuses to lock 256 KiB of memory for keys\nhint: raise LimitMEMLOCK=")
