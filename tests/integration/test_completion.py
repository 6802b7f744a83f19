# SPDX-License-Identifier: Apache-2.0
"""The completion of bash, as bash runs it."""

import os
import subprocess

import harness

SCRIPT = os.path.join(harness.TOP, "packaging", "completion", "wlagent")
EXERCISE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_wlagent
[ ${#COMPREPLY[@]} = 0 ] || printf '%s\\n' "${COMPREPLY[@]}"
"""


class Completion(harness.AgentTest):
    def complete(self, *words, cwd=None):
        environment = {**os.environ, "PATH": os.path.dirname(harness.WLAGENT) + os.pathsep + os.environ["PATH"]}
        done = subprocess.run(["bash", "--norc", "-uc", EXERCISE, "bash", SCRIPT, "wlagent", *words], text=True,
                              env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def with_config(self, *words):
        return self.complete("--config", self.agent.config, *words)

    def test_commands(self):
        self.assertEqual(self.complete(""), ["setup", "migrate", "status", "metrics", "doctor", "key", "image", "kbs",
                                             "flavor", "vm", "volume", "keyprovider"])
        self.assertEqual(self.complete("s"), ["setup", "status"])
        self.assertEqual(self.complete("key", "re"), ["remove"])
        self.assertEqual(self.complete("complete", "x"), [])
        self.assertEqual(self.complete("fly", ""), ["--config", "--version", "--help"])

    def test_options(self):
        self.assertEqual(self.complete("--"), ["--config", "--version", "--help"])
        self.assertEqual(self.complete("setup", "--"), ["--pcrs", "--handle", "--replace", "--force", "--file",
                                                        "--root", "--json", "--help"])
        self.assertEqual(self.complete("key", "wrap", "--r"), ["--random"])
        self.assertEqual(self.complete("setup", "--pcrs", ""), [])
        self.assertEqual(self.complete("vm", "protect", "--mode", ""), ["layer", "direct", "ephemeral"])
        self.assertEqual(self.complete("vm", "protect", "--mode", "e"), ["ephemeral"])

    def test_tasks(self):
        self.assertEqual(self.complete("setup", "")[:2], ["all", "download-ca-cert"])
        self.assertEqual(self.complete("setup", "--force", "up"), ["update-service-config"])
        self.assertEqual(self.complete("setup", "all", "--fi"), ["--file"])

    def test_names_of_keys(self):
        for name in ("web-1", "web-2", "db"):
            self.agent.run("key", "create", name)
        self.assertEqual(self.with_config("key", "show", ""), ["db", "web-1", "web-2"])
        self.assertEqual(self.with_config("key", "remove", "--force", "web"), ["web-1", "web-2"])
        self.assertEqual(self.with_config("key", "create", "w"), [])
        self.assertEqual(self.with_config("image", "encrypt", "--key", "d"), ["db"])

    def test_files(self):
        for name in ("a.pem", "ab.json"):
            with open(os.path.join(self.directory, name), "w", encoding="utf-8"):
                pass
        self.assertEqual(sorted(self.complete("key", "import", "a", cwd=self.directory)), ["a.pem", "ab.json", "agent"])
        self.assertEqual(self.complete("key", "wrap", "--to", "a.", cwd=self.directory), ["a.pem"])
        self.assertEqual(self.complete("image", "encrypt", "ab.json", "a.", cwd=self.directory), ["a.pem"])
        self.assertEqual(self.complete("image", "encrypt", "--format", "q", cwd=self.directory), ["qcow2"])
        self.assertEqual(self.complete("image", "encrypt", "--format", "i", cwd=self.directory), ["isecl"])
        self.assertEqual(self.complete("--config", "ab", cwd=self.directory), ["ab.json"])

    def test_silence_without_a_store(self):
        self.assertEqual(self.complete("--config", "/nonexistent", "key", "show", ""), [])
