# SPDX-License-Identifier: Apache-2.0
"""wlagent setup on a software TPM."""

import hashlib
import json
import os
import stat
import unittest

from cryptography.hazmat.primitives import serialization

import harness


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class Setup(harness.AgentTest):
    prepared = False

    def setUp(self):
        super().setUp()
        os.rmdir(self.agent.state)
        self.pem = os.path.join(self.agent.state, "binding-key.pem")

    def fingerprint_of_pem(self):
        with open(self.pem, "rb") as file:
            key = serialization.load_pem_public_key(file.read())
        self.assertEqual((key.key_size, key.public_numbers().e), (2048, 65537))
        return hashlib.sha256(key.public_bytes(serialization.Encoding.DER,
                                               serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    def test_first_run_makes_everything_and_says_so(self):
        said = self.agent.output("setup")
        self.assertRegex(said, f"^Made the binding key of this host in the TPM \\({self.tpm.tcti}\\)\\.\n")
        self.assertIn("It is not bound to PCRs: it works whatever software this host runs.\n", said)
        self.assertIn(f"its public key, {self.pem}\n", said)
        self.assertIn(f"Its fingerprint is {self.fingerprint_of_pem()}\n", said)
        self.assertEqual(mode(self.agent.state), 0o750)
        self.assertEqual(mode(os.path.join(self.agent.state, "keys")), 0o700)

    def test_second_run_changes_nothing(self):
        first = json.loads(self.agent.output("setup", "--json"))
        again = json.loads(self.agent.output("setup", "--json"))
        self.assertEqual(first, {"created": True, "device": self.tpm.tcti, "fingerprint": self.fingerprint_of_pem(),
                                 "pem_file": self.pem, "handle": None, "pcrs": [], "lost_keys": 0})
        self.assertEqual(again, {**first, "created": False})
        self.assertIn("already; nothing was changed.\n", self.agent.output("setup"))

    def test_pcrs(self):
        made = json.loads(self.agent.output("setup", "--pcrs", "11,7", "--json"))
        self.assertEqual(made["pcrs"], [7, 11])
        self.assertIn("It works only while PCRs 7,11 of the SHA-256 bank are as they were", self.agent.output("setup"))
        self.fails(self.agent.run("setup", "--pcrs", "7", check=False),
                   "^wlagent: setting up this host: this host has a binding key already, and it is bound to PCR 7 and 11\n"
                   "hint: 'wlagent setup --replace' makes a new one")

    def test_handle_from_the_command_line_and_from_the_configuration(self):
        made = json.loads(self.agent.output("setup", "--handle", "0x81000100", "--json"))
        self.assertEqual(made["handle"], "0x81000100")
        self.assertIn("The TPM keeps it at handle 0x81000100.\n", self.agent.output("setup"))
        self.agent.write_config(TPM={"BindingKeyHandle": "0x81000200"})
        made = json.loads(self.agent.output("setup", "--replace", "--json"))
        self.assertEqual((made["handle"], made["created"]), ("0x81000200", True))
        self.assertIn("0x81000200", self.tpm.tool("tpm2_getcap", "handles-persistent"))
        self.agent.output("key", "create", "web-1")

    def test_replace_tells_of_lost_keys(self):
        first = json.loads(self.agent.output("setup", "--json"))
        for name in ("web-1", "web-2"):
            self.agent.run("key", "create", name)
        self.assertIn("\n2 keys in the store are for another binding key, and cannot be opened: see 'wlagent key list'\n",
                      self.agent.output("setup", "--replace"))
        listed = json.loads(self.agent.output("key", "list", "--json"))["keys"]
        self.assertEqual([key["for_this_host"] for key in listed], [False, False])
        self.assertNotEqual(self.fingerprint_of_pem(), first["fingerprint"])

    def test_no_tpm(self):
        self.tpm.stop()
        self.fails(self.agent.run("setup", check=False), "^wlagent: setting up this host: .*tpm.sock.*\n(hint: .*\n)?$")

    def test_state_directory_that_cannot_be_made(self):
        self.agent.write_config(Agent={"StateDirectory": os.path.join(self.agent.state, "deep", "down")})
        self.fails(self.agent.run("setup", check=False),
                   "^wlagent: setting up this host: making the directory .*/deep/down: No such file or directory\n$")
        with open(self.agent.state, "w", encoding="utf-8"):
            pass
        self.agent.write_config(Agent={"StateDirectory": self.agent.state})
        self.fails(self.agent.run("setup", check=False),
                   "^wlagent: setting up this host: opening the directory .*/state: Not a directory\n$")

    @unittest.skipUnless(os.geteuid() == 0, "only root has another user's files")
    def test_existing_directories_keep_owner_and_mode(self):
        os.mkdir(self.agent.state, 0o700)
        os.chown(self.agent.state, 4711, 4711)
        self.agent.run("setup")
        self.agent.run("key", "create", "web-1")
        self.assertEqual((os.stat(self.agent.state).st_uid, mode(self.agent.state)), (4711, 0o700))

    def test_before_setup_every_command_says_to_run_it(self):
        for command in (("key", "create", "web-1"), ("key", "list"), ("key", "show", "web-1"),
                        ("key", "remove", "--force", "web-1")):
            done = self.agent.run(*command, check=False)
            self.fails(done, "^wlagent: .*\nhint: run 'wlagent setup'.*\n$")
            self.assertEqual((done.returncode, done.stdout), (1, b""))


@unittest.skipUnless(os.geteuid() == 0, "only root makes files for the daemon's user")
class ForTheDaemonsUser(harness.AgentTest):
    """root sets up, wlagentd runs as its own user."""

    prepared = False
    uid = 4711

    def setUp(self):
        super().setUp()
        os.rmdir(self.agent.state)
        preload = os.path.join(harness.BUILD, "tests", "integration", "libdaemon_user.so")
        self.assertTrue(os.path.exists(preload))
        self.environment = {**os.environ, "LD_PRELOAD": preload}

    def as_root(self, *arguments, **options):
        return self.agent.run(*arguments, env=self.environment, **options)

    def owners(self):
        return {os.path.relpath(path, self.agent.directory): (os.stat(path).st_uid, os.stat(path).st_gid)
                for root, _, files in os.walk(self.agent.state)
                for path in (root, *(os.path.join(root, name) for name in files))}

    def test_everything_becomes_the_daemons(self):
        self.as_root("setup")
        self.as_root("key", "create", "web-1")
        owners = self.owners()
        self.assertLessEqual({"state", "state/keys", "state/keys/web-1.json", "state/binding-key.json",
                              "state/binding-key.pem"}, set(owners))
        self.assertEqual(set(owners.values()), {(self.uid, self.uid)})

        findings = json.loads(self.as_root("doctor", "--json", check=False).stdout)["findings"]
        self.assertEqual([finding["result"] for finding in findings if finding["check"] in ("state-directory", "keys")],
                         ["ok"] * 3)
        os.chown(os.path.join(self.agent.state, "keys"), 0, 0)
        findings = json.loads(self.as_root("doctor", "--json", check=False).stdout)["findings"]
        self.assertIn(f"{self.agent.state}/keys belongs to user 0, not to wlagent",
                      [finding["text"] for finding in findings])

    def test_the_daemon_opens_what_root_made(self):
        self.as_root("setup")
        self.as_root("key", "create", "web-1")
        for path in (self.directory, self.agent.directory, self.tpm.directory):
            os.chmod(path, 0o755)
        os.chmod(self.agent.config, 0o644)
        os.chown(self.agent.run_directory, self.uid, self.uid)
        for path in (self.tpm.socket, self.tpm.socket + ".ctrl"):
            os.chmod(path, 0o666)
        self.agent.user = self.uid
        self.agent.start(group=self.uid, extra_groups=[])
        with self.agent.client() as client:
            self.assertEqual(client.unwrap(client.wrap(b"options", "key=web-1")), b"options")
        self.as_root("key", "create", "web-2")
        with self.agent.client() as client:
            self.assertEqual(client.unwrap(client.wrap(b"options", "key=web-2")), b"options")
