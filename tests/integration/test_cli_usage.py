# SPDX-License-Identifier: Apache-2.0
"""wlagent's command line itself: help, mistakes, configuration; needs neither TPM nor daemon."""

import os
import re
import subprocess
import tempfile
import unittest

import harness


def run(*arguments, **options):
    return subprocess.run([harness.WLAGENT, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, check=False, **options)


def offered(*words):
    return run("complete", "--", *words).stdout.split()


def commands(*path):
    """Every command below path, as the table has them."""
    for name in offered(*path, ""):
        yield (*path, name)
        if (*path, name) in (("key",), ("image",), ("vm",), ("volume",)):
            yield from commands(name)


class Usage(unittest.TestCase):
    def expect(self, done, code, *lines):
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.splitlines(), list(lines))

    def test_version(self):
        done = run("--version")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "wlagent 0.1.0\n", ""))

    def test_the_words_of_intels_agent(self):
        """Alone only: as a word of a command they are what that takes them for."""
        for word, option in (("-v", "--version"), ("version", "--version"), ("-h", "--help"), ("help", "--help")):
            done, same = run(word), run(option)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, same.stdout, ""))
        self.assertEqual(run("version", "now").returncode, 2)
        self.assertEqual(run("key", "help").returncode, 2)
        self.assertEqual(run("vers").returncode, 2)

    def test_the_commands_are_those_documented(self):
        self.assertEqual(offered(""), ["setup", "migrate", "status", "metrics", "doctor", "key", "image", "kbs",
                                       "flavor", "vm", "volume", "keyprovider"])
        self.assertEqual(offered("vm", ""), ["protect", "unprotect", "list", "reconcile"])
        self.assertEqual(offered("volume", ""), ["list", "open", "close", "remove", "prepare", "adopt"])
        self.assertEqual(offered("key", ""), ["create", "import", "wrap", "list", "show", "remove"])

    def test_help_of_every_command(self):
        for path in ((), *commands()):
            with self.subTest(path=path):
                done = run(*path, "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                lines = done.stdout.splitlines()
                self.assertTrue(lines[0].startswith(f"usage: {' '.join(('wlagent', *path))}"), lines[0])
                self.assertTrue(lines[2].endswith("."), lines[2])
                self.assertIn("  --help", done.stdout)
                for option in offered(*path, "--"):
                    self.assertIn(f"  {option}", done.stdout)
                for line in lines[1:]:
                    self.assertLessEqual(len(line), 110, line)

    def test_what_may_be_left_out(self):
        """It stands in brackets, and nothing else does."""
        for command, needed in (
                ("vm protect", "--disk TARGET --image FILE|--secret"), ("key wrap", "--to FILE --name NAME --key-file FILE|--random"),
                ("volume open", "--vm UUID --disk TARGET --image FILE"), ("volume prepare", "--key KEYID"),
                ("volume adopt", "--key KEYID"), ("flavor create", "--label TEXT --flavor-key FILE"), ("setup", ""),
                ("image info", ""), ("key import", ""), ("vm unprotect", "")):
            with self.subTest(command=command):
                usage = run(*command.split(), "--help").stdout.splitlines()[0].removeprefix(f"usage: wlagent {command}")
                words = re.sub(r" \[[^]]*\]", "", usage).split()
                self.assertEqual(words[:len(needed.split())], needed.split())
                self.assertNotIn("-", " ".join(words[len(needed.split()):]))

    def test_mistakes(self):
        usage = "usage: wlagent [--config FILE] [--version] COMMAND"
        self.expect(run(), 2, "wlagent: the command is missing", usage)
        self.expect(run("fly"), 2, "wlagent: there is no command fly", usage)
        self.expect(run("--fly"), 2, "wlagent: there is no option --fly here", usage)
        self.expect(run("--config"), 2, "wlagent: option --config needs a value", usage)
        self.expect(run("key"), 2, "wlagent: the command is missing", "usage: wlagent key COMMAND")
        self.expect(run("key", "fly"), 2, "wlagent: there is no command fly", "usage: wlagent key COMMAND")
        self.expect(run("status", "now"), 2, "wlagent: 'now' is one word too many", "usage: wlagent status [--json]")
        self.expect(run("key", "show"), 2, "wlagent: the name of the key is missing",
                    "usage: wlagent key show [--json] NAME")
        self.expect(run("setup", "--pcrs", "7,24"), 2, "wlagent: '7,24' is not a list of PCRs",
                    "hint: write numbers of 0..23, like 7,11",
                    "usage: wlagent setup [--pcrs LIST] [--handle HANDLE] [--replace] [--force] [--file FILE] "
                    "[--root DIR] [--json] [TASK]")
        for handle in ("0x81000001", "0x81800000", "0x80000000"):
            done = run("setup", "--handle", handle)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"wlagent: handle {handle} is not for binding keys\nhint: write one of 0x8", done.stderr)
        for handle in ("81000100", "0x8100010", "0x810001000", "0x8100010g"):
            done = run("setup", "--handle", handle)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"wlagent: '{handle}' is not a handle\n", done.stderr)

    def test_names_with_path_characters(self):
        hint = "hint: a key name has up to 64 letters, digits, '.', '_' or '-' and begins with a letter or digit"
        for name in ("../x", "/x", "a/b", "a/../b", ".", "..", ".x", "-", "", "a b", "a\nb", "ä", "x" * 65):
            for command in (("create", name), ("show", name), ("remove", "--force", name),
                            ("import", "--name", name, "/dev/null"),
                            ("wrap", "--to", "x", "--random", "--name", name)):
                with self.subTest(command=command):
                    done = run("key", *command)
                    self.assertEqual((done.returncode, done.stdout), (2, ""))
                    self.assertTrue(done.stderr.startswith(f"wlagent: '{name}' is not a key name\n{hint}\nusage: "),
                                    done.stderr)

    def test_wrap_says_what_is_missing(self):
        for given, text in (((), "option --to is missing: for which host?"),
                            (("--to", "x"), "option --name is missing: what shall the host call the key?"),
                            (("--to", "x", "--name", "x"), "exactly one of --key-file and --random is needed"),
                            (("--to", "x", "--name", "x", "--random", "--key-file", "-"),
                             "exactly one of --key-file and --random is needed")):
            done = run("key", "wrap", *given)
            self.assertEqual(done.returncode, 2)
            self.assertTrue(done.stderr.startswith(f"wlagent: {text}\n"), done.stderr)

    def test_full_output(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([harness.WLAGENT, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "wlagent: writing to standard output: No space left on device\n")

    def test_configuration_faults_all_at_once(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "wlagent.conf")
            with open(path, "w", encoding="utf-8") as out:
                out.write("[Agent]\nStateDirektory=/x\n[TPM]\nDevice=\n[Nowhere]\nx=1\n")
            os.chmod(path, 0o600)
            done = run("--config", path, "key", "list")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"wlagent: {path}:2: ", done.stderr)
            self.assertIn(f"wlagent: {path}:5: ", done.stderr)

            done = run("--config", os.path.join(directory, "none.conf"), "key", "list")
            self.assertEqual(done.returncode, 1)
            self.assertIn("none.conf", done.stderr)
