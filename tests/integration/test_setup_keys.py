# SPDX-License-Identifier: Apache-2.0
"""wlagent setup with Intel SecL's keys: binding-key, signing-key, their registration with HVS, and all tasks in a row.
The TPM is swtpm as a Trust Agent leaves it; the services are the double's."""

import base64
import json
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import harness
import intel_host
import running
from isecl_case import HARDWARE, double, spare_key, unb64
from setup_case import SetupCase, facts, read
from software_host import public_pem

KINDS = ("binding", "signing")
USER = "games"  # stands for tagent: each system has one
TASKS = ["download-ca-cert", "binding-key", "signing-key", "register-binding-key", "register-signing-key",
         "update-service-config"]


# What lasts, by command (TPM2_Load, TPM2_ReadPublic), and says nothing of a key.
LASTING = {"0x157": {"rc=0x101": "the TPM is in failure mode", "rc=0x98e": "has a password", "rc=0x9a2": "has a password",
                     "rc=0x921": "locked out", "rc=0x902": "no memory for another key", "rc=0x143": "does not implement",
                     "rc=0x1ff": "the TPM answered 0x", "garble=9": "the TPM answered 0x",
                     "truncate=20": "the connection to the TPM broke"},
           "0x173": {"rc=0x101": "the TPM is in failure mode", "rc=0x18b": "no storage key", "garble=20": "TPM",
                     "garble=60": "the TPM loads the binding key, which was made under another", "size=70000": "TPM"}}


class KeysCase(SetupCase):
    """One TPM for all of the class: nothing of a task stays in it."""

    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="wlagent-test-tpm.")
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.tpm = harness.Swtpm(cls.shared)
        intel_host.provision(cls.tpm)
        cls.tpm.start()
        cls.addClassCleanup(cls.tpm.stop)
        cls.tcti = cls.tpm.tcti

    def setUp(self):
        super().setUp()
        self.keys = os.path.join(self.directory, "keys")
        self.trust_agent = os.path.join(self.directory, "trustagent")
        os.mkdir(self.trust_agent)
        os.chmod(self.directory, 0o755)
        self.agent.write_config(WLS={"BindingKey": self.path("binding"), "SigningKey": self.path("signing")})
        self.certify_aik()
        self.answers.update(TRUSTAGENT_CONFIGURATION=self.trust_agent, TRUSTAGENT_USERNAME=USER,
                            BEARER_TOKEN=double.make_token(user="installer")["token"])

    def certify_aik(self):
        """As the Trust Agent has HVS do it."""
        made = double.add_host(hardware_uuid=HARDWARE, aik=read(intel_host.MADE, "aik.pem").decode())
        self.aik = made["aik_certificate"]
        with open(os.path.join(self.trust_agent, "aik.pem"), "w", encoding="ascii") as file:
            file.write(self.aik)

    def path(self, kind, ending=".json"):
        return os.path.join(self.keys, kind + "key" + ending)

    def secret(self, kind):
        name = kind + "-key-secret"
        done = subprocess.run(["systemd-creds", "decrypt", f"--name={name}", self.credential(kind), "-"],
                              env=self.environment(), capture_output=True, text=True, check=True)
        return done.stdout

    def credential(self, kind):
        return os.path.join(self.etc, "credstore.encrypted", kind + "-key-secret")

    def key(self, kind):
        return intel_host.KeyFile(self.path(kind))

    def trusts(self):
        os.makedirs(self.trust, exist_ok=True)
        shutil.copy(double.root_ca, os.path.join(self.trust, "root.pem"))

    def pair_works(self, kind):
        """The TPM takes this secret for this key: it opens, or signs."""
        key, secret = self.key(kind), self.secret(kind)
        self.assertRegex(secret, "^[0-9a-f]{40}$")
        public, private, context = (os.path.join(self.directory, name) for name in ("public", "private", "context"))
        for path, content in ((public, key.public), (private, key.private), (os.path.join(self.directory, "in"), b"x")):
            with open(path, "wb") as file:
                file.write(content)
        self.tpm.tool("tpm2_load", "-Q", "-C", "0x81000000", "-u", public, "-r", private, "-c", context)
        target = os.path.join(self.directory, "in")
        if kind == "signing":
            self.tpm.tool("tpm2_sign", "-Q", "-c", context, "-p", f"hex:{secret}", "-g", "sha256", "-s", "rsassa", "-o",
                          os.path.join(self.directory, "out"), target)
        else:
            modulus = int.from_bytes(key.public[-256:], "big")
            wrapped = rsa.RSAPublicNumbers(65537, modulus).public_key().encrypt(
                b"x", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"TPM2\0"))
            with open(target, "wb") as file:
                file.write(wrapped)
            out = os.path.join(self.directory, "out")
            self.tpm.tool("tpm2_rsadecrypt", "-Q", "-c", context, "-p", f"hex:{secret}", "-s", "oaep", "-l", "TPM2", "-o",
                          out, target)
            self.assertEqual(read(out), b"x")
        self.tpm.tool("tpm2_flushcontext", "-t")


class Keys(KeysCase):
    def test_made_as_the_original_does(self):
        for kind in KINDS:
            said = self.setup_task(kind + "-key")
            self.assertEqual(said.stdout.decode(),
                             f"{kind}-key: done: {self.path(kind)} has a new {kind} key; register it with "
                             f"'wlagent setup register-{kind}-key'\nTo take effect: systemctl try-restart wlagentd\n")
            self.assertIn(f"wlagent: the credential {kind}-key-secret is {self.credential(kind)}, encrypted\n",
                          said.stderr.decode())
            key = self.key(kind)
            self.assertEqual(key.usage, KINDS.index(kind))
            key.check_signature(serialization.load_pem_public_key(read(intel_host.MADE, "aik.pem")))
            self.pair_works(kind)
            self.assertEqual(stat.S_IMODE(os.stat(self.path(kind)).st_mode), 0o640)
            self.assertEqual(stat.S_IMODE(os.stat(self.credential(kind)).st_mode), 0o600)
        self.assertEqual(sorted(os.listdir(self.keys)), ["bindingkey.json", "signingkey.json"])
        self.assertNotIn("0x80", self.tpm.tool("tpm2_getcap", "handles-transient"))

    def test_second_run_changes_nothing(self):
        for kind, former in zip(KINDS, ("BindingKey", "SigningKey")):
            self.says(kind + "-key")
            self.unchanged(kind + "-key", self.path(kind), self.credential(kind))
            self.assertIn("unchanged", self.says(former))

    def test_force_makes_another(self):
        self.says("binding-key")
        first, secret = self.key("binding").public, self.secret("binding")
        self.assertIn("binding-key: done: ", self.says("BindingKey", "--force"))
        self.assertNotEqual(self.key("binding").public, first)
        self.assertNotEqual(self.secret("binding"), secret)
        self.pair_works("binding")

    def test_what_is_no_key_of_this_tpm_is_replaced(self):
        self.says("binding-key")
        good = read(self.path("binding"))
        members = json.loads(good)
        private = bytearray(base64.b64decode(members["PrivateKey"]))
        private[-1] ^= 1
        members["PrivateKey"] = base64.b64encode(private).decode()
        for content in (json.dumps(members, indent=4).encode() + b"\n", b"{}", b""):
            with open(self.path("binding"), "wb") as file:
                file.write(content)
            done = self.setup_task("binding-key")
            self.assertIn("binding-key: done: ", done.stdout.decode())
            self.assertIn("wlagent: the former binding key is of no use: ", done.stderr.decode())
            self.assertEqual("is kept" in done.stderr.decode(), content == b"{}")
            self.pair_works("binding")
        self.assertEqual(read(self.path("binding") + ".old"), b"{}")

    def test_what_is_no_key_is_kept(self):
        """Somebody may have named another file than he meant."""
        self.says("binding-key")
        other = b'{"somebody": "needs this"}'
        kept = self.path("binding") + ".old"
        for options in ([], ["--force"]):
            with open(self.path("binding"), "wb") as file:
                file.write(other)
            done = self.setup_task("binding-key", *options)
            self.assertIn(f"wlagent: the former binding key is kept: {kept}\n", done.stderr.decode())
            self.assertEqual(read(kept), other)
            self.pair_works("binding")
            with open(self.path("binding"), "wb") as file:
                file.write(other + b"\n")
            self.fails(f"{kept} is there already, and {self.path('binding')} would be kept as that\nhint: it may be",
                       "binding-key", *options)
            self.assertEqual((read(self.path("binding")), read(kept)), (other + b"\n", other))
            os.unlink(kept)
            self.says("binding-key", *options)
            os.unlink(kept)
        real = self.path("binding") + ".real"
        os.rename(self.path("binding"), real)
        os.symlink(real, self.path("binding"))
        self.says("binding-key", "--force")
        self.assertEqual((os.readlink(kept), os.path.islink(self.path("binding"))), (real, False))
        self.pair_works("binding")

    def kept(self, *kinds):
        return [(facts(path), read(path)) for kind in kinds for path in (self.path(kind), self.credential(kind))]

    def test_a_fault_of_the_tpm_costs_no_key(self):
        self.says("binding-key")
        before = self.kept("binding")
        proxy = harness.FaultProxy(self.tpm)
        self.addCleanup(proxy.stop)
        self.agent.write_config(TPM={"Device": proxy.tcti})
        passing = ("0x157:1:rc=0x1df", "0x157:1:rc=0x1d5", "0x157:1:rc=0x922", "0x157:1:drop", "0x157:1:lose", "0x173:1:reset")
        lasting = [(f"{command}:1-99:{fault}", text) for command, faults in LASTING.items() for fault, text in faults.items()]
        cases = [((fault,), None) for fault in passing] + [((fault,), text) for fault, text in lasting]
        # It is asked twice before a key is given up.
        cases.append((("0x157:1:rc=0x1df", "0x157:2:rc=0x101"), "the TPM is in failure mode"))
        for faults, text in cases:
            with self.subTest(faults=faults):
                proxy.start(*faults)
                if text is None:
                    self.assertIn("binding-key: unchanged: ", self.says("binding-key"))
                else:
                    self.fails(f"^wlagent: binding-key: trying {self.path('binding')}: .*{text}", "binding-key")
                self.assertEqual(self.kept("binding"), before)
        proxy.stop()
        self.fails(f"^wlagent: binding-key: trying {self.path('binding')}: .*no connection to the TPM", "binding-key")
        self.assertEqual(self.kept("binding"), before)
        self.agent.write_config(TPM={"Device": self.tcti})
        self.pair_works("binding")

    def test_two_settings_for_one_file(self):
        """Be it there already, by a name of its own or as a link, or neither it nor its directory."""
        one = "would be one file: "
        made = os.path.join(self.directory, "made.json")
        for binding, signing in ((self.path("x"), self.path("x")), (made, self.directory + "//made.json")):
            self.agent.write_config(WLS={"BindingKey": binding, "SigningKey": signing})
            for kind in KINDS:
                self.fails(f"^wlagent: {kind}-key: BindingKey= and SigningKey= {one}{binding} and {signing}\nhint: ",
                           kind + "-key", "--force")
                self.fails(one, f"register-{kind}-key")
        self.assertFalse(os.path.exists(self.keys) or os.path.exists(made))

        self.agent.write_config(WLS={"BindingKey": self.path("binding"), "SigningKey": self.path("signing")})
        for kind in KINDS:
            self.says(kind + "-key")
        before = self.kept(*KINDS)
        link = self.path("link")
        os.symlink(self.path("signing"), link)
        for path in (self.path("signing"), link):
            self.agent.write_config(WLS={"BindingKey": path})
            self.fails(f"BindingKey= and SigningKey= {one}", "binding-key", "--force")
        own = os.path.join(self.agent.state, "binding-key.json")
        self.agent.write_config(WLS={"BindingKey": self.path("binding"), "SigningKey": own})
        self.fails(f"SigningKey= and the binding key of 'wlagent setup' in StateDirectory= {one}", "signing-key", "--force")
        self.assertEqual(self.kept(*KINDS), before)
        self.assertFalse(os.path.exists(own))

    def setup_refuses(self, pattern, *options):
        done = self.agent.run("setup", *options, check=False)
        self.assertRegex(done.stderr.decode(), f"^wlagent: setting up this host: {pattern}")
        self.assertEqual(done.returncode, 1)

    def test_the_agents_own_key_takes_no_file_of_another(self):
        for kind in KINDS:
            self.says(kind + "-key")
        own = os.path.join(self.agent.state, "binding-key.json")
        own_pem = os.path.join(self.agent.state, "binding-key.pem")
        for kind, setting in zip(KINDS, ("BindingKey", "SigningKey")):
            refusal = (f"{setting}= and the binding key of 'wlagent setup' in StateDirectory= would be one file: {own} and "
                       f"{own}\nhint: ")
            for there in (True, False):
                if there:
                    shutil.copy(self.path(kind), own)
                self.agent.write_config(WLS={setting: own})
                for options in (["--replace"], []):
                    self.setup_refuses(refusal, *options)
                self.assertEqual(os.path.exists(own) and read(own), there and read(self.path(kind)))
                self.assertFalse(os.path.exists(own_pem))
                if there:
                    os.unlink(own)
            self.agent.write_config(WLS={setting: self.path(kind)})
        self.agent.output("setup", "--replace")
        for kind in KINDS:
            self.pair_works(kind)

    def test_its_public_key_takes_no_file_of_another(self):
        """Neither one that a setting names, nor the certificate of such a key."""
        own_pem = os.path.join(self.agent.state, "binding-key.pem")
        for kind, setting in zip(KINDS, ("BindingKey", "SigningKey")):
            public = f"the public key of 'wlagent setup' in StateDirectory= and the certificate of {setting}="
            self.says(kind + "-key")
            shutil.copy(self.path(kind), own_pem)
            os.link(own_pem, self.path(kind, ".pem"))
            before = read(own_pem)
            for options in (["--replace"], []):
                self.setup_refuses(f"{public} would be one file: {own_pem} and {self.path(kind, '.pem')}\nhint: ", *options)
            self.fails(f"{public} would be one file", f"register-{kind}-key")
            os.unlink(self.path(kind, ".pem"))
            self.agent.write_config(WLS={setting: own_pem})
            self.setup_refuses(f"{setting}= and the public key of 'wlagent setup' in StateDirectory= would be one file: "
                               f"{own_pem} and {own_pem}\nhint: ")
            self.assertEqual(read(own_pem), before)
            self.agent.write_config(WLS={setting: self.path(kind)})
            os.unlink(own_pem)
        self.assertFalse(os.path.exists(os.path.join(self.agent.state, "binding-key.json")))
        self.agent.output("setup")

    def test_what_may_be_the_key_of_somebody_is_left(self):
        for kind in KINDS:
            self.says(kind + "-key")
        before = self.kept(*KINDS)
        elsewhere = self.path("former-signing")
        shutil.copy(self.path("signing"), elsewhere)
        self.agent.write_config(WLS={"BindingKey": elsewhere})
        for force in ([], ["--force"]):
            self.fails(f"{elsewhere} holds a signing key, and a binding key is needed\nhint: BindingKey= and",
                       "binding-key", *force)
        os.rename(self.credential("binding"), self.credential("binding") + ".away")
        self.fails(f"{elsewhere} holds a signing key, and a binding key is needed", "binding-key", "--force")
        os.rename(self.credential("binding") + ".away", self.credential("binding"))
        self.assertEqual(read(elsewhere), read(self.path("signing")))
        self.assertEqual(self.kept(*KINDS), before)
        self.agent.write_config(WLS={"BindingKey": self.path("binding")})

        for change, pattern in ((lambda path: os.symlink(path + ".real", path), "is a symbolic link"),
                                (lambda path: shutil.copy(path + ".real", path), "may be changed by others")):
            os.rename(self.path("binding"), self.path("binding") + ".real")
            change(self.path("binding"))
            if not os.path.islink(self.path("binding")):
                os.chmod(self.path("binding"), 0o666)
            self.fails(f"{self.path('binding')} {pattern}", "binding-key")
            os.rename(self.path("binding") + ".real", self.path("binding"))
            self.assertEqual(self.kept(*KINDS), before)

    def without_secret(self, kind):
        """As Intel's agent leaves a host; returns what is in the files."""
        self.says(kind + "-key")
        os.unlink(self.credential(kind))
        with open(self.path(kind, ".pem"), "w", encoding="ascii") as file:
            file.write(self.aik)
        return read(self.path(kind)), self.aik.encode()

    def files(self, kind, ending=""):
        return read(self.path(kind, ".json" + ending)), read(self.path(kind, ".pem" + ending))

    def test_a_key_without_its_secret_is_refused(self):
        there = f"there is a signing key, {self.path('signing')}, and no credential signing-key-secret with its secret\n"
        former = self.without_secret("signing")
        self.fails(f"^wlagent: signing-key: {there}hint: bring its secret back; --force", "signing-key")
        for place in ("etc/workload-agent/config.yml", "opt/workload-agent"):
            os.makedirs(os.path.join(self.root, place))
            self.fails(f"{there}hint: its secret is in config.yml of Intel's agent: 'wlagent migrate --apply' takes",
                       "signing-key")
            os.rmdir(os.path.join(self.root, place))
        done = self.fails(there, "all")
        self.assertIn("register-signing-key: not-run", done.stdout.decode())
        self.assertEqual(self.files("signing"), former)
        self.assertFalse(os.path.exists(self.credential("signing")))

        # Whatever is in it: this may be the format of another release.
        with open(self.path("signing"), "wb") as file:
            file.write(b"{}")
        self.fails(there, "signing-key")
        self.assertEqual(read(self.path("signing")), b"{}")

    def test_a_key_without_its_secret_is_kept(self):
        former = self.without_secret("binding")
        done = self.setup_task("binding-key", "--force")
        self.assertIn(f"the former binding key is kept: {self.path('binding')}.old\n", done.stderr.decode())
        self.pair_works("binding")
        self.assertEqual(self.files("binding", ".old"), former)
        self.assertEqual(read(self.path("binding", ".pem")), former[1])

        # A pair is replaced, and the one that was kept stays.
        self.says("binding-key", "--force")
        self.assertEqual(self.files("binding", ".old"), former)
        os.unlink(self.credential("binding"))
        second = self.files("binding")
        self.fails(f"{self.path('binding')}.old is there already, and {self.path('binding')} would be kept as that\n"
                   "hint: it may be the only copy of a key", "binding-key", "--force")
        self.assertEqual((self.files("binding"), self.files("binding", ".old")), (second, former))

    def test_a_key_whose_certificate_cannot_be_kept(self):
        former, _ = self.without_secret("binding")
        os.unlink(self.path("binding", ".pem"))
        os.mkdir(self.path("binding", ".pem"))
        self.fails(f"{self.path('binding', '.pem')}: ", "binding-key", "--force")
        os.rmdir(self.path("binding", ".pem"))
        os.mkdir(self.path("binding", ".pem.old"))
        with open(self.path("binding", ".pem"), "w", encoding="ascii") as file:
            file.write(self.aik)
        self.fails(f"keeping {self.path('binding', '.pem')}: ", "binding-key", "--force")
        self.assertEqual(read(self.path("binding")), former)

    def test_killed_while_a_key_is_kept(self):
        """It is there under one of its names, and the next run needs no --force where there is none to lose."""
        former = self.without_secret("binding")
        states = set()

        def check():
            kept = os.path.exists(self.path("binding") + ".old")
            self.assertEqual(self.files("binding", ".old" if kept else ""), former)
            states.add(kept)

        preload = os.path.join(harness.BUILD, "tests", "integration", "libkill_at_step.so")
        for step in range(1, 200):
            kept = os.path.exists(self.path("binding") + ".old")
            done = self.setup_task("binding-key", *([] if kept else ["--force"]), check=False, LD_PRELOAD=preload,
                                   KILL_AT_STEP=str(step))
            check()
            if done.returncode == 0:
                break
            self.assertEqual(done.returncode, -9, done.stderr)
        self.assertEqual(states, {False, True})
        self.pair_works("binding")

    def test_for_the_daemons_group(self):
        preload = os.path.join(harness.BUILD, "tests", "integration", "libdaemon_user.so")
        if os.geteuid() or running.has_address_sanitizer():
            return
        self.says("binding-key", LD_PRELOAD=preload)
        found = os.stat(self.path("binding"))
        self.assertEqual((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)), (0, 4711, 0o640))

    def test_killed_at_each_step(self):
        """There is the old pair, or no key, and the next run makes a pair."""
        preload = os.path.join(harness.BUILD, "tests", "integration", "libkill_at_step.so")
        self.says("binding-key")
        old, secret = read(self.path("binding")), self.secret("binding")
        states = set()
        for step in range(1, 200):
            done = self.setup_task("binding-key", "--force", check=False, LD_PRELOAD=preload, KILL_AT_STEP=str(step))
            if done.returncode == 0:
                break
            self.assertEqual(done.returncode, -9, done.stderr)
            there = os.path.exists(self.path("binding"))
            if there:
                self.pair_works("binding")
                same = (read(self.path("binding")), self.secret("binding")) == (old, secret)
                states.add("old" if same else "new")
            else:
                states.add("none")
            self.assertIn(": unchanged: " if there else ": done: ", self.says("binding-key"))
            old, secret = read(self.path("binding")), self.secret("binding")
        self.pair_works("binding")
        self.assertLessEqual({"old", "none"}, states)
        self.assertGreater(step, 8)
        self.assertEqual([name for name in os.listdir(os.path.join(self.etc, "credstore.encrypted"))
                          if not name.startswith(".new-")], ["binding-key-secret"])

    def test_a_disk_that_is_full_from_each_change_on(self):
        """The old pair stays."""
        self.says("binding-key")
        old = read(self.path("binding")), self.secret("binding")

        def check():
            self.assertEqual((read(self.path("binding")), self.secret("binding")), old)

        self.assertGreater(self.full_from_each_step_on(check, "binding-key", "--force"), 5)
        self.assertNotEqual(read(self.path("binding")), old[0])
        self.pair_works("binding")

    def refused(self, kind, pattern, **answers):
        """And what was there is there."""
        before = [read(path) for path in (self.path(kind), self.credential(kind)) if os.path.exists(path)]
        self.fails(f"^wlagent: {kind}-key: {pattern}", kind + "-key", "--force", **answers)
        self.assertEqual([read(path) for path in (self.path(kind), self.credential(kind)) if os.path.exists(path)], before)

    def test_refusals_leave_the_old_pair(self):
        self.says("binding-key")
        self.refused("binding", "the Trust Agent's configuration /nonexistent: ", TRUSTAGENT_CONFIGURATION="/nonexistent")
        secret = os.path.join(self.trust_agent, "aiksecretkey")
        for text in ("", "a" * 200):
            with open(secret, "w", encoding="ascii") as file:
                file.write(text)
            self.refused("binding", f"{secret}: it has to have 1 to 128 bytes")
        os.unlink(secret)
        os.mkdir(self.path("binding") + ".new")
        self.refused("binding", "cannot write bindingkey.json.new: ")
        os.rmdir(self.path("binding") + ".new")
        store = os.path.dirname(self.credential("binding"))
        os.mkdir(os.path.join(store, ".binding-key-secret.new"))
        self.refused("binding", "writing .*/credstore.encrypted/binding-key-secret: ")
        os.rmdir(os.path.join(store, ".binding-key-secret.new"))
        self.agent.write_config(TPM={"Device": "swtpm:path=/nonexistent"})
        self.refused("binding", ".*/nonexistent")
        self.fails("^wlagent: binding-key: ", "binding-key")
        self.agent.write_config(TPM={"Device": self.tcti}, WLS={"BindingKey": os.path.join(self.keys, "key")})
        self.fails("BindingKey=.* does not end with .json", "binding-key")


class ForeignTpm(SetupCase):
    """One that no Trust Agent has set up, and one whose attestation key has a secret."""

    def start_tpm(self):
        tpm = harness.Swtpm(os.path.join(self.directory, "tpm")).start()
        self.addCleanup(tpm.stop)
        os.mkdir(os.path.join(self.directory, "trustagent"))
        self.answers["TRUSTAGENT_CONFIGURATION"] = os.path.join(self.directory, "trustagent")
        self.agent.write_config(TPM={"Device": tpm.tcti},
                                WLS={"BindingKey": os.path.join(self.directory, "bindingkey.json")})
        return tpm

    def test_without_a_trust_agent(self):
        self.start_tpm()
        self.fails("^wlagent: binding-key: .*0x81000000(.|\n)*hint: .*Trust Agent", "binding-key")
        self.assertFalse(os.path.exists(os.path.join(self.directory, "bindingkey.json")))

    def test_an_attestation_key_with_a_secret(self):
        tpm = self.start_tpm()
        work = os.path.join(self.directory, "trustagent")
        primary, public, private, aik = (os.path.join(work, name) for name in ("primary", "pub", "priv", "aik"))
        tpm.tool("tpm2_createprimary", "-Q", "-C", "o", "-G", "rsa2048:aes128cfb", "-c", primary)
        tpm.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", primary, "0x81000000")
        tpm.tool("tpm2_flushcontext", "-t")
        tpm.tool("tpm2_create", "-Q", "-C", "0x81000000", "-G", "rsa2048:rsassa-sha256:null", "-p", "hex:" + "ab" * 20, "-a",
                 "restricted|sign|userwithauth|fixedtpm|fixedparent|sensitivedataorigin", "-u", public, "-r", private)
        tpm.tool("tpm2_load", "-Q", "-C", "0x81000000", "-u", public, "-r", private, "-c", aik)
        tpm.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", aik, "0x81018000")
        tpm.tool("tpm2_flushcontext", "-t")
        self.fails("^wlagent: binding-key: ", "binding-key")
        with open(os.path.join(work, "aiksecretkey"), "w", encoding="ascii") as file:
            file.write("ab" * 20 + "\n")
        self.assertIn("binding-key: done: ", self.says("binding-key"))
        os.unlink(os.path.join(work, "aiksecretkey"))
        self.assertIn("binding-key: done: ", self.says("binding-key", "--force", AIK_SECRET="ab" * 20))

        # The key of another TPM is none here.
        key = os.path.join(self.directory, "bindingkey.json")
        shutil.copy(os.path.join(intel_host.MADE, "bindingkey.json"), key)
        done = self.setup_task("binding-key", AIK_SECRET="ab" * 20)
        self.assertRegex(done.stderr.decode(), "the former binding key is of no use: trying .* was made under another storage key")
        self.assertNotEqual(read(key), read(intel_host.MADE, "bindingkey.json"))


class Registration(KeysCase):
    def setUp(self):
        super().setUp()
        self.trusts()
        self.uid = pwd.getpwnam(USER).pw_uid
        for kind in KINDS:
            self.says(kind + "-key")
        double.reset_counters()

    def route(self, kind):
        return f"hvs.certify_{kind}_key"

    def certificate(self, kind):
        text = read(self.path(kind, ".pem"))
        self.assertEqual(text.count(b"-----BEGIN"), 1)
        self.assertTrue(text.startswith(b"-----BEGIN CERTIFICATE-----\n") and text.endswith(b"-----END CERTIFICATE-----\n"))
        return x509.load_pem_x509_certificate(text)

    def test_as_the_original_does(self):
        for kind in KINDS:
            task = f"register-{kind}-key"
            self.assertIn(f"{task}: done: HVS has certified the {kind} key: {self.path(kind, '.pem')}\n", self.says(task))
            request, = self.requests(self.route(kind))
            self.assertEqual((request["method"], request["target"], request["status"]),
                             ("POST", f"/hvs/v2/rpc/certify-host-{kind}-key", 201))
            headers = {name.lower(): value for name, value in request["headers"].items()}
            self.assertEqual((headers["accept"], headers["content-type"]), ("application/json",) * 2)
            self.assertEqual(headers["authorization"], "Bearer " + self.answers["BEARER_TOKEN"])

            numbers = self.certificate(kind).public_key().public_numbers()
            self.assertEqual((numbers.n.to_bytes(256, "big"), numbers.e), (self.key(kind).public[-256:], 65537))
            owner = self.uid if kind == "binding" else 0
            if os.geteuid() == 0:
                self.assertEqual(os.stat(self.path(kind, ".pem")).st_uid, owner)
            self.assertEqual(stat.S_IMODE(os.stat(self.path(kind, ".pem")).st_mode), 0o644)

    def test_second_run_changes_nothing(self):
        for kind, former in zip(KINDS, ("RegisterBindingKey", "RegisterSigningKey")):
            self.says(f"register-{kind}-key")
            self.unchanged(f"register-{kind}-key", self.path(kind, ".pem"), requests=self.route(kind))
            self.assertIn("unchanged", self.says(former, HVS_URL=None, BEARER_TOKEN=None))
            self.assertIn("done", self.says(former, "--force"))
            self.assertEqual(len(self.requests(self.route(kind))), 2)

    def test_a_new_key_is_registered_anew(self):
        self.says("register-binding-key")
        self.says("binding-key", "--force")
        self.assertIn("register-binding-key: done: ", self.says("register-binding-key"))
        self.assertEqual(self.certificate("binding").public_key().public_numbers().n.to_bytes(256, "big"),
                         self.key("binding").public[-256:])

    @unittest.skipIf(running.has_address_sanitizer(), "needs a module for LD_PRELOAD")
    def test_an_hvs_that_does_not_answer(self):
        for kind in KINDS:
            self.assertRegex(self.gives_up(f"register-{kind}-key", self.route(kind)),
                             f"^wlagent: register-{kind}-key: .*HVS https://.*: no answer in time")
            self.assertFalse(os.path.exists(self.path(kind, ".pem")))

    def test_addresses(self):
        for url in (double.urls["hvs"] + "/", double.urls["hvs"].replace("/hvs/v2", "/mtwilson/v2")):
            self.says("register-signing-key", "--force", HVS_URL=url)
        self.says("register-signing-key", "--force", HVS_URL=None, MTWILSON_API_URL=double.urls["hvs"])
        self.assertEqual([request["status"] for request in self.requests(self.route("signing"))], [201] * 3)

    @unittest.skipIf(os.geteuid(), "only root gives files to others")
    def test_the_trust_agent_can_read_it(self):
        os.chmod(self.keys, 0o700)
        said = self.setup_task("register-binding-key")
        self.assertIn(f"wlagent: {self.keys} can be entered by the Trust Agent now\n", said.stderr.decode())
        self.assertEqual(stat.S_IMODE(os.stat(self.keys).st_mode), 0o711)
        done = subprocess.run(["cat", self.path("binding", ".pem")], user=self.uid, capture_output=True, check=True)
        self.assertEqual(done.stdout, read(self.path("binding", ".pem")))
        os.chown(self.path("binding", ".pem"), 0, 0)
        self.assertIn("belongs to the Trust Agent's user now", self.says("register-binding-key"))
        self.assertEqual(os.stat(self.path("binding", ".pem")).st_uid, self.uid)
        self.assertEqual(len(self.requests(self.route("binding"))), 1)

    def test_in_a_container_it_stays_root(self):
        with open(os.path.join(self.root, ".container-env"), "w", encoding="ascii"):
            pass
        self.says("register-binding-key", TRUSTAGENT_USERNAME="nobody-of-that-name")
        self.assertEqual(os.stat(self.path("binding", ".pem")).st_uid, os.geteuid())

    def refused(self, pattern, kind="signing", **answers):
        done = self.fails(f"^wlagent: register-{kind}-key: {pattern}", f"register-{kind}-key", **answers)
        self.assertFalse(os.path.exists(self.path(kind, ".pem")))
        self.assertNotIn(self.answers["BEARER_TOKEN"], done.stderr.decode())

    def answers_with(self, pattern, **fault):
        double.clear_faults()
        double.fault(route=self.route("signing"), **fault)
        self.refused(pattern)

    def test_refusals_of_hvs(self):
        hvs = f"HVS {double.urls['hvs']}/rpc/certify-host-signing-key: "
        self.answers_with(hvs + "it does not understand the request: Error while decoding request body\nhint: something on "
                                "the way", status=400, body="Error while decoding request body\n")
        self.answers_with(hvs + "it does not certify the key: Error while certifying Signing Key\nhint: the attestation key "
                                "that certified this key", status=400, body="Error while certifying Signing Key\n")
        self.answers_with(hvs + "it does not accept the token\nhint: BEARER_TOKEN is invalid or has expired", status=401,
                          body="")
        self.answers_with(hvs + "it refuses: Insufficient privileges to access .*\nhint: the user of BEARER_TOKEN needs the role "
                                "HVS:Certifier", status=401, body="Insufficient privileges to access /hvs/v2/rpc\n")
        self.answers_with(hvs + "there is no such service there\nhint: HVS_URL must be the base URL of HVS", status=404, body="")
        self.answers_with(hvs + "it does not take the request's type: Invalid Accept type\nhint: ", status=415,
                          body="Invalid Accept type\n")
        self.answers_with(hvs + "it answered with status 500: Unknown Error\nhint: the log of HVS says why", status=500,
                          body="Unknown Error\n")
        self.answers_with(hvs + "it answered with status 503\nhint: the log of HVS", status=503, body="")
        self.answers_with(hvs + "it answered with status 200: .*\nhint: HVS_URL must", status=200)
        self.answers_with(hvs + "it answered with status 307", status=307, headers={"Location": "https://other/"}, body="")
        for cut in ("reset_at", "close_at", "drop_at"):
            self.answers_with(hvs + ".*\nhint: HVS has broken the connection off", **{cut: 30})

    def test_refusals_by_hvs_itself(self):
        """What the double judges, and no fault."""
        self.refused("HVS .*: it does not accept the token\n", BEARER_TOKEN="eyJhbGciOiJub25lIn0.e30.x")
        expired = double.make_token(user="installer", seconds=-10)["token"]
        self.refused("HVS .*: it does not accept the token\n", BEARER_TOKEN=expired)
        self.refused("HVS .*: it refuses: Insufficient privileges", BEARER_TOKEN=double.make_token(user="wla")["token"])
        self.refused("HVS .*: there is no such service there\n", HVS_URL=double.urls["hvs"] + "/nothing")
        # Signed by the key that certified this one, and by no HVS.
        aik = x509.load_pem_x509_certificate(self.aik.encode())
        other = (x509.CertificateBuilder(aik.issuer, aik.subject, aik.public_key(), 7, aik.not_valid_before,
                                         aik.not_valid_after).sign(spare_key(2), hashes.SHA256()))
        with open(os.path.join(self.trust_agent, "aik.pem"), "wb") as file:
            file.write(other.public_bytes(serialization.Encoding.PEM))
        self.refused("HVS .*: it does not certify the key: Error while certifying Signing Key\n")

    def test_certificates_that_are_not_stored(self):
        member = "signing_key_der_certificate"
        what = f"what HVS {double.urls['hvs']}/rpc/certify-host-signing-key answered: "
        self.says("register-signing-key")
        der = self.certificate("signing").public_bytes(serialization.Encoding.DER)
        os.unlink(self.path("signing", ".pem"))
        for fault, pattern in (
                ({"body": "<html>"}, ""), ({"body": ""}, ""), ({"body": "[]"}, f'there is no "{member}"'),
                ({"remove": [member]}, f'there is no "{member}"'), ({"json": {member: 7}}, f'there is no "{member}"'),
                ({"json": {member: ""}}, "it is no certificate"), ({"json": {member: "AAAA"}}, "it is no certificate"),
                ({"json": {member: "!"}}, f'"{member}": '),
                ({"json": {member: base64.b64encode(der + b"\0").decode()}}, "it is no certificate"),
                ({"json": {member: base64.b64encode(der[:-1]).decode()}}, "it is no certificate"),
                ({"duplicate": {member: "AAAA"}}, ""),
                ({"json": {member: self.certificate_for(public_key=spare_key(1).public_key())}},
                 "the certificate is for another key"),
                ({"json": {member: self.certificate_for(exponent=257)}},
                 "the certificate has the exponent 257 in place of 65537")):
            with self.subTest(pattern):
                self.answers_with(what + pattern + ".*(.|\n)*hint: nothing was stored", **fault)

    def certificate_for(self, public_key=None, exponent=65537):
        """DER in base64, of whatever issuer."""
        aik = x509.load_pem_x509_certificate(self.aik.encode())
        modulus = int.from_bytes(self.key("signing").public[-256:], "big")
        public_key = public_key or rsa.RSAPublicNumbers(exponent, modulus).public_key()
        made = x509.CertificateBuilder(aik.issuer, aik.subject, public_key, 7, aik.not_valid_before, aik.not_valid_after)
        return base64.b64encode(made.sign(spare_key(2), hashes.SHA256()).public_bytes(serialization.Encoding.DER)).decode()

    def test_an_old_certificate_stays_when_the_new_one_is_refused(self):
        self.says("register-binding-key")
        before = facts(self.path("binding", ".pem"))
        double.fault(route=self.route("binding"), status=500)
        self.fails("it answered with status 500", "register-binding-key", "--force")
        self.assertEqual(facts(self.path("binding", ".pem")), before)

    def test_killed_at_each_step(self):
        preload = os.path.join(harness.BUILD, "tests", "integration", "libkill_at_step.so")
        for step in range(1, 100):
            done = self.setup_task("register-signing-key", "--force", check=False, LD_PRELOAD=preload,
                                   KILL_AT_STEP=str(step))
            if os.path.exists(self.path("signing", ".pem")):
                self.certificate("signing")
            if done.returncode == 0:
                break
            self.assertEqual(done.returncode, -9, done.stderr)
        self.assertGreater(step, 3)
        self.assertIn("unchanged", self.says("register-signing-key"))

    def test_what_is_missing(self):
        self.refused("HVS_URL is not set\nhint: ", HVS_URL=None)
        self.refused("HVS_URL: ", HVS_URL="http://hvs:8443/hvs/v2")
        self.refused("BEARER_TOKEN is not set\nhint: ", BEARER_TOKEN=None)
        self.refused("the Trust Agent's configuration /nonexistent", TRUSTAGENT_CONFIGURATION="/nonexistent")
        self.refused("there is no user nobody-of-that-name, who reads the certificate for HVS\nhint: install the Trust Agent",
                     "binding", TRUSTAGENT_USERNAME="nobody-of-that-name")
        os.unlink(os.path.join(self.trust_agent, "aik.pem"))
        self.refused(f"{self.trust_agent}: aik.pem does not exist\nhint: set up the Trust Agent first")
        os.unlink(self.path("signing"))
        self.refused(f".*{self.path('signing')} does not exist\nhint: run 'wlagent setup binding-key' or signing-key first")

    def test_another_attestation_key(self):
        made = double.add_host(hardware_uuid=HARDWARE, aik=public_pem(spare_key(0)))["aik_certificate"]
        with open(os.path.join(self.trust_agent, "aik.pem"), "w", encoding="ascii") as file:
            file.write(made)
        self.refused("the attestation key of aik.pem has not certified this key: .*\nhint: the Trust Agent has a new")
        self.assertEqual(self.requests(self.route("signing")), [])
        with open(os.path.join(self.trust_agent, "aik.pem"), "w", encoding="ascii") as file:
            file.write("nothing")
        self.refused(f"{self.trust_agent}/aik.pem: there is no certificate in it")

    def test_another_chain(self):
        shutil.copy(os.path.join(double.directory, "privacy-ca.pem"), os.path.join(self.trust, "root.pem"))
        self.refused("HVS .*: its certificate is not to be trusted: ")
        self.assertEqual(self.requests(self.route("signing")), [])
        self.trusts()
        for fault in ("expired", "wrong_name", "self_signed"):
            double.tls(fault=fault)
            self.refused("HVS .*: its certificate is not to be trusted: ")
        double.tls()
        shutil.rmtree(self.trust)
        self.refused(f"TrustDirectory={self.trust}: ")
        os.mkdir(self.trust)
        self.refused(f"TrustDirectory={self.trust}: it is empty")


class All(KeysCase):
    def test_a_host_joins(self):
        """And the daemon opens a layer with what the tasks have left."""
        self.answers["KBS_BASE_URL"] = double.urls["kbs"]
        said = self.says("all").splitlines()
        self.assertEqual([line.split(": ")[:2] for line in said[:-1]], [[task, "done"] for task in TASKS])
        self.assertEqual(said[-1], "To take effect: systemctl daemon-reload && systemctl try-restart wlagentd")
        self.assertEqual([line.split(": ")[:2] for line in self.says("all").splitlines()],
                         [[task, "unchanged"] for task in TASKS])
        self.answers = {"TRUSTAGENT_USERNAME": USER}
        self.assertEqual(self.says("all").count(": unchanged: "), 6)
        self.opens_a_layer()

    def opens_a_layer(self):
        credentials = os.path.join(self.directory, "credentials")
        os.mkdir(credentials)
        for name in os.listdir(os.path.join(self.etc, "credstore.encrypted")):
            subprocess.run(["systemd-creds", "decrypt", f"--name={name}",
                            os.path.join(self.etc, "credstore.encrypted", name), os.path.join(credentials, name)],
                           env=self.environment(), check=True)
        self.agent.run("setup")
        self.agent.start(env={**os.environ, "CREDENTIALS_DIRECTORY": credentials})
        self.addCleanup(self.agent.stop)
        made = double.add_key()
        packet = harness.wrap_packet_isecl(made["key_url"], unb64(made["material"]), b"options")
        with harness.Client(self.agent.socket) as client:
            self.assertEqual(client.unwrap(packet), b"options")

    def test_stops_at_the_first_failure(self):
        double.fault(route="hvs.certify_binding_key", status=500)
        done = self.fails("^(wlagent: the credential .*\n)*wlagent: register-binding-key: HVS .*: it answered with status 500", "all")
        lines = [line.split(": ")[:2] for line in done.stdout.decode().splitlines()]
        self.assertEqual(lines[:6], [["download-ca-cert", "done"], ["binding-key", "done"], ["signing-key", "done"],
                                     ["register-binding-key", "failed"], ["register-signing-key", "not-run"],
                                     ["update-service-config", "not-run"]])
        self.assertFalse(os.path.exists(self.path("binding", ".pem")))
        double.clear_faults()
        lines = [line.split(": ")[1] for line in self.says("all").splitlines()[:6]]
        self.assertEqual(lines, ["unchanged"] * 3 + ["done"] * 3)

    def test_as_json(self):
        done = self.fails("CMS_BASE_URL is not set", "all", "--json", CMS_BASE_URL=None)
        found = json.loads(done.stdout)
        self.assertEqual([(task["task"], task["result"]) for task in found["tasks"]],
                         [(TASKS[0], "failed")] + [(task, "not-run") for task in TASKS[1:]])
        found = json.loads(self.says("all", "--json", "--force"))
        self.assertEqual({task["result"] for task in found["tasks"]}, {"done"})
        self.assertEqual(found["next"], ["systemctl daemon-reload", "systemctl try-restart wlagentd"])

    def test_secrets_stay_in_credentials(self):
        self.says("all")
        secrets = [self.secret("binding").encode(), self.secret("signing").encode(),
                   self.answers["BEARER_TOKEN"].encode(), self.answers["WLA_SERVICE_PASSWORD"].encode()]
        secrets += [bytes.fromhex(secret.decode()) for secret in secrets[:2]]
        for root, _, names in os.walk(self.directory):
            for name in names:
                content = read(root, name)
                self.assertFalse([secret for secret in secrets if secret in content], name)
