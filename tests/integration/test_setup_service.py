# SPDX-License-Identifier: Apache-2.0
"""wlagent setup update-service-config: what wlagentd has to know of Intel SecL's services, and its password; and how
tasks get their answers."""

import json
import os
import re
import shutil
import stat
import subprocess
import unittest

import running
from isecl_case import HARDWARE, double
from setup_case import SetupCase, facts, read

TASK = "update-service-config"
OTHER = 65534  # a user who is not root
FAKE_SYSTEMD_CREDS = """#!/bin/sh
echo "$@" >"$SYSTEMD_FAKE/arguments"
tr '\\0' '\\n' </proc/$PPID/environ >"$SYSTEMD_FAKE/parent"
tr '\\0' '\\n' </proc/$$/environ >"$SYSTEMD_FAKE/own"
exec tr a-z n-za-m
"""


class ServiceCase(SetupCase):
    def setUp(self):
        super().setUp()
        self.base = double.urls["cms"].removesuffix("/cms/v1")
        self.encrypted = os.path.join(self.etc, "credstore.encrypted", "aas-password")
        self.plain = os.path.join(self.etc, "credstore", "aas-password")

    def options(self):
        """{"Section.Key": value} of the configuration in force, as wlagentd reads it."""
        done = subprocess.run([running.WLAGENTD, "--config", self.agent.config, "--dump-config"],
                              capture_output=True, text=True, check=True)
        found, section = {}, None
        for line in done.stdout.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif "=" in line:
                key, value = line.split("=", 1)
                found[f"{section}.{key}"] = value
        return found

    def decrypted(self):
        done = subprocess.run(["systemd-creds", "decrypt", "--name=aas-password", self.encrypted, "-"],
                              env=self.environment(), capture_output=True, text=True, check=True)
        return done.stdout

    def without_encryption(self):
        """A PATH in which systemd-creds is not found, though all else is."""
        directory = os.path.join(self.directory, "bin")
        os.makedirs(directory, exist_ok=True)
        return {"PATH": directory}


class Service(ServiceCase):
    def test_wlagentd_knows_the_services(self):
        said = self.setup_task(TASK)
        self.assertEqual(said.stdout.decode(),
                         f"{TASK}: done: wlagentd knows the services by {self.drop_in}\n"
                         "To take effect: systemctl daemon-reload && systemctl try-restart wlagentd\n")
        found = self.options()
        self.assertEqual((found["WLS.ServerURL"], found["WLS.TokenURL"], found["WLS.ServiceUser"]),
                         (double.urls["wls"], double.urls["aas"], "wla"))
        self.assertEqual((found["WLS.AllowedKeyOrigins"], found["WLS.HardwareUUID"]), ("none", HARDWARE))
        self.assertIn("no key can be used until AllowedKeyOrigins= of section [WLS] names", said.stderr.decode())
        self.assertEqual(stat.S_IMODE(os.stat(self.drop_in).st_mode), 0o644)
        self.assertNotIn(double.users["wla"].encode(), read(self.drop_in))

    def test_the_password_is_an_encrypted_credential(self):
        said = self.setup_task(TASK).stderr.decode()
        self.assertIn(f"wlagent: the credential aas-password is {self.encrypted}, encrypted\n", said)
        self.assertEqual(self.decrypted(), double.users["wla"])
        self.assertEqual(stat.S_IMODE(os.stat(self.encrypted).st_mode), 0o600)
        self.assertFalse(os.path.exists(self.plain))

    def test_or_one_for_root_alone(self):
        said = self.setup_task(TASK, **self.without_encryption()).stderr.decode()
        self.assertIn(f"wlagent: the credential aas-password is {self.plain}, for root and not encrypted, because "
                      "systemd-creds is not installed\n", said)
        self.assertEqual(read(self.plain).decode(), double.users["wla"])
        self.assertEqual(stat.S_IMODE(os.stat(self.plain).st_mode), 0o600)
        self.assertIn(b"[Service]\nLoadCredential=aas-password\n", read(self.units, "credential-aas-password.conf"))
        self.assertIn(": done: ", self.says(TASK, "--force"))
        self.assertFalse(os.path.exists(self.plain))
        self.assertEqual(self.decrypted(), double.users["wla"])

    def test_the_password_is_nowhere_else(self):
        """Neither in an argument, nor in the environment of wlagent or of what it starts, nor in a file."""
        directory = os.path.join(self.directory, "bin")
        os.makedirs(directory)
        program = os.path.join(directory, "systemd-creds")
        with open(program, "w", encoding="utf-8") as file:
            file.write(FAKE_SYSTEMD_CREDS)
        os.chmod(program, 0o755)
        self.says(TASK, PATH=f"{directory}:{os.environ['PATH']}", SYSTEMD_FAKE=self.directory,
                  WLA_SERVICE_PASSWORD="swordfish", BEARER_TOKEN="trout")
        self.assertEqual(read(self.directory, "arguments").decode().split(),
                         ["encrypt", "--name=aas-password", "--tpm2-pcrs=", "-", "-"])
        self.assertEqual(read(self.encrypted), b"fjbeqsvfu")
        parent = read(self.directory, "parent").decode()
        self.assertIn("WLA_SERVICE_USERNAME=wla\n", parent)
        self.assertNotIn("WLA_SERVICE_PASSWORD", read(self.directory, "own").decode())
        for root, _, names in os.walk(self.directory):
            for name in names:
                content = read(root, name)
                self.assertNotIn(b"swordfish", content, name)
                self.assertNotIn(b"trout", content, name)

    def test_the_unit_gets_a_network_once(self):
        path = os.path.join(self.units, "intel-secl.conf")
        said = self.setup_task(TASK).stderr.decode()
        self.assertIn(f"{path} gives wlagentd.service a network", said)
        self.assertIn(b"\n[Service]\nPrivateNetwork=no\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n", read(path))
        with open(path, "w", encoding="utf-8") as file:
            file.write("[Service]\nIPAddressAllow=192.0.2.0/24\n")
        before = facts(path)
        self.says(TASK, "--force")
        self.assertEqual(facts(path), before)

    def test_a_network_that_is_missing_is_given_again(self):
        path = os.path.join(self.units, "intel-secl.conf")
        self.says(TASK)
        os.unlink(path)
        self.assertEqual(self.says(TASK), f"{TASK}: done: wlagentd knows the services already; the password is stored "
                         "again with --force\n"
                         "To take effect: systemctl daemon-reload && systemctl try-restart wlagentd\n")
        self.assertIn(b"PrivateNetwork=no\n", read(path))
        self.assertIn("unchanged", self.says(TASK))

    @unittest.skipUnless(os.geteuid() == 0, "only root makes files of other users")
    def test_a_configuration_that_others_could_change(self):
        """And nothing of it is written, the password neither."""
        etc = os.path.dirname(self.agent.config)
        self.addCleanup(os.chown, etc, 0, 0)
        os.chown(etc, OTHER, OTHER)
        self.fails(f"^wlagent: {TASK}: {etc} belongs to user {OTHER}, who could change what is in it\nhint: make it "
                   "root's: .*'wlagent migrate --apply'", TASK)
        self.assertFalse(os.path.exists(self.drop_in))
        self.assertFalse(os.path.exists(self.encrypted))
        os.chown(etc, 0, 0)
        os.makedirs(os.path.dirname(self.drop_in))
        os.chmod(os.path.dirname(self.drop_in), 0o775)
        self.fails(f"what is in {os.path.dirname(self.drop_in)} may be changed by others .mode 0775.\nhint: ", TASK)
        os.chmod(os.path.dirname(self.drop_in), 0o755)
        # Whoever it belongs to, the file is root's.
        os.makedirs(self.units)
        os.chown(self.units, OTHER, OTHER)
        self.says(TASK)
        self.assertEqual({os.stat(path).st_uid for path in (self.drop_in, os.path.join(self.units, "intel-secl.conf"))},
                         {0})

    def test_systemd_takes_the_unit_with_its_drop_ins(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("needs systemd-analyze")
        self.setup_task(TASK, **self.without_encryption())
        unit = os.path.join(os.path.dirname(self.units), "wlagentd.service")
        with open(os.path.join(running.BUILD, "packaging", "systemd", "wlagentd.service"), encoding="utf-8") as file:
            text = file.read()
        with open(unit, "w", encoding="utf-8") as file:
            file.write(re.sub("=/.*/wlagentd", f"={running.WLAGENTD}", text))
        self.assertEqual(sorted(os.listdir(self.units)), ["credential-aas-password.conf", "intel-secl.conf"])
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False,
                              env={**os.environ, "SYSTEMD_UNIT_PATH": os.path.dirname(unit) + ":"})
        self.assertEqual([line for line in done.stderr.splitlines() if "wlagent" in line], [])

    def test_second_run_changes_nothing(self):
        self.says(TASK)
        network = os.path.join(self.units, "intel-secl.conf")
        self.unchanged(TASK, self.drop_in, self.encrypted, network)
        self.assertIn("unchanged", self.says("update_service_config"))
        before = [facts(path) for path in (self.drop_in, self.encrypted)]
        self.answers = {}
        self.assertIn("unchanged", self.says(TASK))
        self.assertEqual([facts(path) for path in (self.drop_in, self.encrypted)], before)
        self.assertIn("the password is stored again with --force", self.says(TASK, WLA_SERVICE_PASSWORD="other"))
        self.assertEqual(self.decrypted(), double.users["wla"])

    def test_killed_at_each_step(self):
        """Every file is the old one or the new one, and the next run mends the rest."""
        first, second = double.urls["wls"], "https://wls.example:5000/wls/v1"
        self.says(TASK)

        def check():
            seen.add((self.options()["WLS.ServerURL"] == second, self.decrypted() == "swordfish"))

        seen = set()
        new = {"WLS_API_URL": second, "WLA_SERVICE_PASSWORD": "swordfish"}
        self.assertGreater(self.killed_at_each_step(check, TASK, "--force", **new), 6)
        self.assertLessEqual({(False, False), (True, True)}, seen)
        self.assertEqual((self.options()["WLS.ServerURL"], self.decrypted()), (second, "swordfish"))
        self.assertIn("done", self.says(TASK, WLS_API_URL=first))
        self.assertIn("unchanged", self.says(TASK))

    def test_a_disk_that_is_full_from_each_change_on(self):
        first, second = double.urls["wls"], "https://wls.example:5000/wls/v1"
        self.says(TASK)

        def check():
            self.assertIn(self.options()["WLS.ServerURL"], (first, second))
            self.assertIn(self.decrypted(), (double.users["wla"], "swordfish"))

        new = {"WLS_API_URL": second, "WLA_SERVICE_PASSWORD": "swordfish"}
        self.assertGreater(self.full_from_each_step_on(check, TASK, "--force", **new), 5)
        self.assertEqual((self.options()["WLS.ServerURL"], self.decrypted()), (second, "swordfish"))

    def test_killed_while_the_kind_of_the_credential_changes(self):
        def check():
            plain = os.path.exists(os.path.join(self.units, "credential-aas-password.conf"))
            self.assertEqual(read(self.plain).decode() if plain else self.decrypted(), double.users["wla"])

        self.says(TASK)
        self.killed_at_each_step(check, TASK, "--force", **self.without_encryption())
        self.assertFalse(os.path.exists(self.encrypted))
        self.killed_at_each_step(check, TASK, "--force")
        self.assertFalse(os.path.exists(self.plain))

    def test_what_is_told_anew_is_changed_and_the_rest_stays(self):
        self.says(TASK, LOG_LEVEL="error", KBS_BASE_URL="https://kbs.example:9443/v1")
        self.answers = {}
        self.assertIn("done", self.says(TASK, WLS_API_URL="https://wls.example:5000/wls/v1/"))
        found = self.options()
        self.assertEqual(found["WLS.ServerURL"], "https://wls.example:5000/wls/v1")
        self.assertEqual((found["WLS.TokenURL"], found["WLS.ServiceUser"]), (double.urls["aas"], "wla"))
        self.assertEqual(found["WLS.AllowedKeyOrigins"], "https://kbs.example:9443")
        self.assertEqual(found["Agent.LogLevel"], "err")
        self.assertEqual(self.decrypted(), double.users["wla"])
        self.assertIn("done", self.says(TASK, "--force", WLA_SERVICE_PASSWORD="swordfish"))
        self.assertEqual(self.decrypted(), "swordfish")
        self.assertEqual(self.options(), found)

    def test_what_wlagent_conf_says_already(self):
        self.agent.write_config(WLS={"ServerURL": double.urls["wls"] + "/", "TokenURL": double.urls["aas"],
                                     "ServiceUser": "wla", "AllowedKeyOrigins": "https://kbs.example:9443",
                                     "HardwareUUID": HARDWARE})
        self.assertIn("done: the password of ", self.says(TASK))
        self.assertFalse(os.path.exists(self.drop_in))
        self.assertIn("done", self.says(TASK, KBS_BASE_URL="https://other.example:9443/kbs/v1"))
        self.assertEqual(self.options()["WLS.AllowedKeyOrigins"], "https://kbs.example:9443 https://other.example:9443")
        self.assertIn("unchanged", self.says(TASK, KBS_BASE_URL="https://kbs.example:9443/v1"))

    def test_a_later_file_that_says_otherwise(self):
        os.makedirs(os.path.dirname(self.drop_in))
        with open(os.path.join(os.path.dirname(self.drop_in), "90-local.conf"), "w", encoding="utf-8") as file:
            file.write("[WLS]\nServiceUser=somebody\n")
        self.fails(f"\nwlagent: {TASK}: ServiceUser= is written to {self.drop_in}, and not in force\nhint: another file",
                   TASK)

    def test_log_levels(self):
        for theirs, ours in (("panic", "err"), ("warning", "warning"), ("DEBUG", "debug"), ("trace", "debug"),
                             ("info", "info")):
            self.says(TASK, LOG_LEVEL=theirs)
            self.assertEqual(self.options()["Agent.LogLevel"], ours)
        self.fails("LOG_LEVEL is one of panic, ", TASK, LOG_LEVEL="loud")

    def test_a_firmware_that_has_no_uuid(self):
        for text in (None, "", "Not Settable\n"):
            os.unlink(self.firmware)
            if text is not None:
                with open(self.firmware, "w", encoding="ascii") as file:
                    file.write(text)
            said = self.setup_task(TASK, "--force").stderr.decode()
            self.assertIn("wlagent: set HardwareUUID= of section [WLS] to the UUID by which HVS knows this host", said)
            self.assertEqual(self.options()["WLS.HardwareUUID"], "auto")
            self.put(self.firmware, "")
        self.agent.write_config(WLS={"HardwareUUID": HARDWARE})
        self.assertNotIn("HardwareUUID", self.setup_task(TASK, "--force").stderr.decode())

    def test_signatures_of_flavors(self):
        for skip, verify in (("true", "no"), ("FALSE", "yes")):
            self.says(TASK, SKIP_FLAVOR_SIGNATURE_VERIFICATION=skip)
            self.assertEqual(self.options()["WLS.VerifyFlavors"], verify)

    def test_what_has_no_counterpart(self):
        said = self.setup_task(TASK, LOG_ENTRY_MAXLENGTH="300", WLA_ENABLE_CONSOLE_LOG="true").stderr.decode()
        for name in ("LOG_ENTRY_MAXLENGTH", "WLA_ENABLE_CONSOLE_LOG"):
            self.assertIn(f"wlagent: {name} has no counterpart: wlagentd logs to the journal", said)
        self.fails("SKIP_FLAVOR_SIGNATURE_VERIFICATION is true or false", TASK,
                   SKIP_FLAVOR_SIGNATURE_VERIFICATION="perhaps")

    def test_what_is_missing(self):
        for name in ("WLS_API_URL", "AAS_API_URL", "WLA_SERVICE_USERNAME", "WLA_SERVICE_PASSWORD"):
            done = self.fails(f"^wlagent: {TASK}: {name} is not set\nhint: set it in the environment, or in a file", TASK,
                              **{name: None})
            self.assertEqual(done.stdout.decode(), f"{TASK}: failed\n")
            self.assertFalse(os.path.exists(self.drop_in))

    def test_values_that_are_none(self):
        for name, value in (("WLS_API_URL", "http://wls:5000/wls/"), ("AAS_API_URL", "https://aas:8444/a b"),
                            ("KBS_BASE_URL", "kbs"), ("WLA_SERVICE_USERNAME", "wla\nx=y"),
                            ("WLA_SERVICE_USERNAME", "a" * 121), ("WLA_SERVICE_PASSWORD", "a" * 1025)):
            with self.subTest(f"{name}={value}"):
                self.fails(f"^wlagent: {TASK}: .*({name}|credential aas-password)", TASK, **{name: value})
                self.assertFalse(os.path.exists(self.drop_in))

    def test_a_line_that_is_too_long(self):
        self.fails(f"^wlagent: {TASK}: the line ServerURL= would have more than 196 bytes", TASK,
                   WLS_API_URL="https://wls.example/" + "a" * 200)
        self.assertFalse(os.path.exists(self.drop_in))
        self.assertIn("done", self.says(TASK))

    def test_who_may_not(self):
        if os.geteuid():
            return
        os.chmod(self.directory, 0o755)
        done = subprocess.run([running.WLAGENT, "--config", self.agent.config, "setup", TASK, "--root", self.root],
                              env=self.environment(), user=4711, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("wlagent: ", done.stderr)


class Answers(ServiceCase):
    def test_from_a_file(self):
        lines = "".join(f"export {name}='{value}'\n" for name, value in self.answers.items())
        path = self.put("trustagent.env", "# of the trust agent\nGRUB_FILE=/boot/grub.cfg\nTYPO=1\n" + lines)
        self.answers = {}
        done = self.setup_task(TASK, "-f", path)
        self.assertIn(": done: ", done.stdout.decode())
        self.assertIn(f"wlagent: {path}:3: TYPO is no setting of Intel SecL's agents; it is ignored\n"
                      f"wlagent: {path}: these have no use here and are ignored: GRUB_FILE\n", done.stderr.decode())
        self.assertEqual(self.decrypted(), double.users["wla"])
        self.assertIn("unchanged", self.says(TASK, "--file", path))
        self.assertEqual(self.options()["WLS.ServerURL"], double.urls["wls"])

    def test_the_file_counts_more_than_the_environment(self):
        path = self.put("answers", "WLA_SERVICE_USERNAME=other\n")
        self.says(TASK, f"--file={path}")
        self.assertEqual(self.options()["WLS.ServiceUser"], "other")

    def test_files_that_are_not_taken(self):
        path = self.put("answers", "WLA_SERVICE_PASSWORD=two words\n")
        done = self.fails(f"^wlagent: {path}:1: WLA_SERVICE_PASSWORD: a shell would not take the value as it is\n"
                          "hint: write it in single quotes", TASK, "-f", path)
        self.assertNotIn("two", done.stderr.decode())
        self.fails("^wlagent: .*answers may be changed by others \\(mode 0666\\)\nhint: run 'chmod go-w'", TASK, "-f",
                   self.put("answers", "", 0o666))
        self.fails("^wlagent: /nonexistent does not exist", TASK, "-f", "/nonexistent")
        os.symlink(self.put("answers", "", 0o600), os.path.join(self.directory, "link"))
        self.fails("is a symbolic link", TASK, "-f", os.path.join(self.directory, "link"))
        said = self.setup_task(TASK, "-f", self.put("answers", "WLA_SERVICE_PASSWORD=x\n", 0o644)).stderr.decode()
        self.assertIn("holds a password, and others may read it (mode 0644): run 'chmod 600' on it", said)

    def test_command_lines_that_are_none(self):
        for words, pattern in ((("nothing",), "there is no task nothing"),
                               ((TASK, "all"), "'all' is one word too many"),
                               ((TASK, "--pcrs", "7"), "option --pcrs is for 'wlagent setup' without a task"),
                               ((TASK, "--replace"), "option --replace is for 'wlagent setup' without a task"),
                               (("--force",), "option --force is for tasks of 'wlagent setup'"),
                               (("-f", "x"), "option --file is for tasks of 'wlagent setup'"),
                               ((TASK, "-f"), "option -f needs a value"),
                               ((TASK, "-f", "a", "--file", "b"), "option --file is given twice")):
            done = self.agent.run("setup", *words, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"wlagent: {pattern}\nusage: wlagent setup ", done.stderr.decode())

    def test_one_at_a_time(self):
        pause = os.path.join(self.directory, "bin")
        os.makedirs(pause)
        program = os.path.join(pause, "systemd-creds")
        with open(program, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\necho >{self.directory}/began\ncat <{self.directory}/wait\ncat\n")
        os.chmod(program, 0o755)
        os.mkfifo(os.path.join(self.directory, "wait"))
        first = subprocess.Popen([running.WLAGENT, "--config", self.agent.config, "setup", TASK, "--root", self.root],
                                 env=self.environment(PATH=f"{pause}:{os.environ['PATH']}"), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        running.poll(lambda: os.path.exists(os.path.join(self.directory, "began")), "systemd-creds")
        self.fails("^wlagent: another 'wlagent setup' or 'wlagent migrate' is at work\nhint: wait for its end", TASK)
        with open(os.path.join(self.directory, "wait"), "w", encoding="utf-8"):
            pass
        first.communicate(timeout=60)
        self.assertEqual(first.returncode, 0)
        self.assertIn("unchanged", self.says(TASK))

    def test_as_json(self):
        found = json.loads(self.says(TASK, "--json"))
        self.assertEqual(found["tasks"], [{"task": TASK, "result": "done",
                                           "text": f"wlagentd knows the services by {self.drop_in}"}])
        self.assertEqual(found["next"], ["systemctl daemon-reload", "systemctl try-restart wlagentd"])
        done = self.fails("LOG_LEVEL", TASK, "--json", LOG_LEVEL="loud")
        self.assertEqual(json.loads(done.stdout)["tasks"], [{"task": TASK, "result": "failed", "text": None}])
