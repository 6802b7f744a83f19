# SPDX-License-Identifier: Apache-2.0
"""Disks that their owner encrypts with keys of Intel SecL's broker, in either format, and their flavors. What is made is
judged by cryptography of others and by the double of tests/doubles/isecl."""

import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import harness
from isecl_case import HARDWARE, JSON, Client, double, unb64
from owner_case import OwnerTest
from test_cli_image import decrypt, image_header, no_room, writes_unnamed
from wls_case import WlsTest

from isecl import flavor as flavors

MIB = 1 << 20


@functools.cache
def signer():
    return rsa.generate_private_key(public_exponent=65537, key_size=3072)


def signer_pem():
    return signer().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption())


def opened_isecl(content, material):
    """What is in a file of Intel's format, by its description."""
    assert content[:12] == b"ISecL-VMC\0\0\0" and content[12:16] == b"\x2c\0\0\0" and content[16:20] == b"V1\0\0"
    assert content[32:44] == b"GCM-256\0\0\0\0\0"
    return AESGCM(material).decrypt(content[20:32], content[44:], None)


class ImagesTest(OwnerTest):
    def setUp(self):
        super().setUp()
        self.signing_key = self.write("signer.pem", signer_pem(), 0o600)
        self.disk = self.write("disk", os.urandom(3 * MIB + 512))
        self.before = set(os.listdir(self.directory))

    def encrypt(self, *options, out="out", check=True, **others):
        return self.command("image", "encrypt", self.disk, self.path(out), *options, check=check, **others)

    def left_over(self, *expected):
        self.assertEqual(sorted(set(os.listdir(self.directory)) - self.before), sorted(expected))

    def keys(self):
        """All that KBS has: {id: what it says of the key}."""
        token = double.make_token(user="owner")["token"]
        with Client() as client:
            status, body, _ = client.call("GET", "/kbs/v1/keys", headers={"Accept": "application/json"}, token=token)
        self.assertEqual(status, 200)
        return {each["key_information"]["id"]: each for each in json.loads(body)}

    def material(self, key):
        """The key itself, as KBS hands it to its owner."""
        mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = mine.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        double.release(number=4)
        with Client() as client:
            status, body, _ = client.call("POST", f"/kbs/v1/keys/{key}/transfer", pem,
                                          {"Accept": "application/json", "Content-Type": "text/plain"},
                                          double.make_token(user="owner")["token"])
        self.assertEqual(status, 200)
        return mine.decrypt(unb64(json.loads(body)["payload"]),
                            padding.OAEP(padding.MGF1(hashes.SHA384()), hashes.SHA384(), None))

    def checked_flavor(self, name="flavor", image="out", encrypted=True):
        """The flavor, whose signature and digest are right."""
        document = json.loads(self.read(name))
        self.assertEqual(list(document), ["flavor", "signature"])
        signer().public_key().verify(unb64(document["signature"]), flavors.signed_bytes(document["flavor"]),
                                     padding.PKCS1v15(), hashes.SHA384())
        self.assertEqual(document["flavor"]["encryption_required"], encrypted)
        self.assertEqual(document["flavor"]["meta"]["description"]["flavor_part"], "IMAGE")
        if encrypted:
            self.assertEqual(unb64(document["flavor"]["encryption"]["digest"]), hashlib.sha384(self.read(image)).digest())
        return document["flavor"]

    def with_flavor(self, label="web"):
        return "--flavor", self.path("flavor"), "--flavor-key", self.signing_key, "--label", label


class OurFormat(ImagesTest):
    def test_with_a_key_that_exists(self):
        key = double.add_key()
        done = self.encrypt("--kbs-key", key["id"])
        self.assertIn(f"encrypted under {key['key_url']}".encode(), done.stdout)
        self.assertEqual(image_header(self.path("out"))[1]["key_id"], key["key_url"])
        self.assertEqual(decrypt(self.path("out"), unb64(key["material"]))[:3 * MIB + 512], self.read("disk"))
        self.left_over("out", "out.header")

    def test_with_a_new_key(self):
        before = self.keys()
        done = self.encrypt("--kbs", "configured", "--asset-tag", "country:USA,site:DC1", "--label", "web", "--json")
        answer = json.loads(done.stdout)
        made = set(self.keys()) - set(before)
        self.assertEqual(len(made), 1)
        key = made.pop()
        self.assertIn(f"KBS has made key {key}".encode(), done.stderr)
        described = self.keys()[key]
        self.assertEqual((described["usage"], described["label"]), ("country:USA,site:DC1", "web"))
        self.assertEqual((answer["key"], answer["key_made"], answer["format"]),
                         (described["transfer_link"], True, "wlagent"))
        self.assertEqual(decrypt(self.path("out"), self.material(key))[:3 * MIB + 512], self.read("disk"))

    def test_back_with_the_key_of_kbs(self):
        self.encrypt("--kbs", double.urls["kbs"])
        self.assertIn(b"whole and unchanged", self.command("image", "verify", self.path("out"), "--kbs", "configured").stdout)
        self.command("image", "decrypt", self.path("out"), self.path("back"), "--kbs", double.urls["kbs"])
        self.assertEqual(self.read("back"), self.read("disk"))
        other = double.add_key()
        self.refused(self.command("image", "verify", self.path("out"), "--kbs-key", other["id"], check=False),
                     "does not open with")
        self.configure(KBS_ENDPOINT_URL="https://elsewhere.example/kbs/v1")
        self.refused(self.command("image", "verify", self.path("out"), "--kbs", "configured", check=False),
                     "the image's key: .*hosts would ask another server")

    def test_flavor(self):
        """Its digest is made in the same pass, by several threads."""
        for size in (512, MIB, 20 * MIB + 512):
            self.write("disk", os.urandom(size))
            answer = json.loads(self.encrypt("--kbs", "configured", *self.with_flavor(), "--force", "--json").stdout)
            found = self.checked_flavor()
            self.assertEqual(found["encryption"]["key_url"], answer["key"])
            self.assertEqual(found["encryption"]["digest"], answer["digest"])
            self.assertEqual(found["meta"]["description"]["label"], "web")
        self.left_over("out", "out.header", "flavor")

    def test_compact_with_flavor(self):
        self.encrypt("--kbs", "configured", "--compact", *self.with_flavor("a&<>é"))
        self.assertEqual(self.checked_flavor()["meta"]["description"]["label"], "a&<>é")


class IntelsFormat(ImagesTest):
    def test_what_is_made(self):
        key = double.add_key()
        for size in (1, MIB - 1, MIB, 5 * MIB + 3):
            self.write("disk", os.urandom(size))
            done = self.encrypt("--kbs-key", key["id"], "--output-format", "isecl", "--force", *self.with_flavor())
            self.assertIn(f"with {key['key_url']}, in the format of Intel SecL".encode(), done.stdout)
            self.assertEqual(opened_isecl(self.read("out"), unb64(key["material"])), self.read("disk"))
            self.assertEqual(self.checked_flavor()["encryption"]["key_url"], key["key_url"])
        self.left_over("out", "flavor")

    def test_a_nonce_is_not_used_twice(self):
        key = double.add_key()
        for out in ("one", "two"):
            self.encrypt("--kbs-key", key["id"], "--output-format", "isecl", out=out)
        self.assertNotEqual(self.read("one")[20:32], self.read("two")[20:32])

    def test_with_the_key_itself(self):
        key = self.write("key", bytes(range(32)), 0o600)
        self.encrypt("--key-file", key, "--output-format", "isecl")
        self.assertEqual(opened_isecl(self.read("out"), bytes(range(32))), self.read("disk"))
        self.assertEqual(double.requests()["requests"], [])

    def test_by_the_shorter_option(self):
        """--format says what IN is; isecl is what only OUT can be."""
        key = self.write("key", bytes(range(32)), 0o600)
        for more in ((), ("--output-format", "isecl")):
            self.encrypt("--key-file", key, "--format", "isecl", *more, "--force")
            self.assertEqual(opened_isecl(self.read("out"), bytes(range(32))), self.read("disk"))
        done = self.encrypt("--key-file", key, "--format", "isecl", "--output-format", "wlagent", "--force", check=False)
        self.refused(done, "--format isecl and --output-format wlagent exclude each other", code=2)

    def test_reading_them(self):
        key = double.add_key()
        answer = json.loads(self.encrypt("--kbs-key", key["id"], "--output-format", "isecl", "--json").stdout)
        self.assertEqual((answer["format"], answer["header"], answer["size"]), ("isecl", None, 3 * MIB + 512))
        info = json.loads(self.command("image", "info", self.path("out"), "--json").stdout)
        self.assertEqual((info["format"], info["size"]), ("isecl", 3 * MIB + 512))
        self.assertIn(b"ISecL-VMC", self.command("image", "info", self.path("out")).stdout)
        raw = self.write("raw.key", unb64(key["material"]), 0o600)
        for words in (("--kbs-key", key["id"]), ("--key-file", raw)):
            self.assertIn(b"whole and unchanged", self.command("image", "verify", self.path("out"), *words).stdout)
            self.command("image", "decrypt", self.path("out"), self.path("back"), "--force", *words)
            self.assertEqual(self.read("back"), self.read("disk"))
            self.assertEqual(os.stat(self.path("back")).st_mode & 0o777, 0o600)
        for verb in (("verify", self.path("out")), ("decrypt", self.path("out"), self.path("none"))):
            self.refused(self.command("image", *verb, check=False), "does not tell its key")
            self.refused(self.command("image", *verb, "--kbs", "configured", check=False), "--kbs-key is missing")
            other = double.add_key()
            self.refused(self.command("image", *verb, "--kbs-key", other["id"], check=False), "tag does not match")
        content = bytearray(self.read("out"))
        for at in (20, 44, MIB, len(content) - 1):
            content[at] ^= 1
            self.write("out", content)
            self.refused(self.command("image", "decrypt", self.path("out"), self.path("none"), "--key-file", raw,
                                      check=False), "tag does not match")
            content[at] ^= 1
        self.assertFalse(os.path.exists(self.path("none")))

    def test_too_large(self):
        """Said at once: nothing is written, and no key is made."""
        with open(self.path("disk"), "wb") as file:
            file.truncate((1 << 36) - 31)
        done = self.encrypt("--kbs", "configured", "--output-format", "isecl", check=False)
        self.refused(done, "68719476705 bytes are more than the format ISecL-VMC can hold")
        self.assertEqual(double.requests()["requests"], [])
        self.left_over()

    def test_a_disk_that_reaches_out(self):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", self.path("disk"), "1M"],
                       check=True)
        done = self.encrypt("--kbs", "configured", "--output-format", "isecl", check=False)
        self.refused(done, "backing file")
        self.assertEqual(double.requests()["requests"], [])

    def test_memory_is_bounded(self):
        with open(self.path("disk"), "wb") as file:
            file.truncate(256 * MIB)
        key = self.write("key", bytes(32), 0o600)
        done = subprocess.run(["/usr/bin/env", "python3", "-c",
                               "import resource,subprocess,sys\nsubprocess.run(sys.argv[1:],check=True,stdout=2)\n"
                               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)", harness.WLAGENT, "image",
                               "encrypt", self.disk, self.path("out"), "--output-format", "isecl", "--key-file", key],
                              capture_output=True, text=True, check=True)
        if not harness.has_address_sanitizer():
            self.assertLess(int(done.stdout), 32 * 1024)
        self.assertEqual(os.stat(self.path("out")).st_size, 256 * MIB + 60)


class Failures(ImagesTest):
    def test_a_key_that_was_made_for_nothing_is_named(self):
        for output in ("wlagent", "isecl"):
            before = self.keys()
            done = self.encrypt("--kbs", "configured", "--output-format", output, *self.with_flavor(), check=False,
                                preexec_fn=no_room)
            made = (set(self.keys()) - set(before)).pop()
            self.refused(done, f"key {made}, which KBS has made for this, stays there unused: .*"
                               "(File too large|there is no room)")
            self.left_over()

    def test_a_key_that_exists_is_not_told_of(self):
        key = double.add_key()
        done = self.encrypt("--kbs-key", key["id"], check=False, preexec_fn=no_room)
        self.refused(done, "^wlagent: encrypting .*(File too large|there is no room)")

    def test_kbs_refuses(self):
        double.fault(route="kbs.envelope", status=500)
        self.refused(self.encrypt("--kbs", "configured", check=False), "which KBS has made for this, stays there unused")
        self.refused(self.encrypt("--kbs-key", str(uuid.uuid4()), check=False), "status 500")
        double.clear_faults()
        self.refused(self.encrypt("--kbs-key", str(uuid.uuid4()), check=False), "KBS has no such key")
        self.left_over()

    def test_killed(self):
        """Nothing has a name, and the key that was made is known all the same."""
        with open(self.path("disk"), "wb") as file:
            file.truncate(1 << 30)
        for output in ("wlagent", "isecl"):
            process = subprocess.Popen([harness.WLAGENT, "image", "encrypt", self.disk, self.path("out"), "--kbs",
                                        "configured", "--output-format", output, *self.with_flavor()],
                                       env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            harness.poll(lambda process=process: writes_unnamed(process.pid), "wlagent to write", 120)
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
            self.assertEqual(out, b"")
            self.assertIn(re.search(r"KBS has made key (\S+) for", err.decode())[1], self.keys())
            self.left_over()

    def test_what_stays_in_memory(self):
        """While the disk is encrypted neither the key of KBS is there any more, nor the password."""
        if harness.has_address_sanitizer():
            self.skipTest("the sanitizer keeps what was freed, and more than can be read")
        with open(self.path("disk"), "wb") as file:
            file.truncate(1 << 30)
        key = double.add_key()
        material = unb64(key["material"])
        process = subprocess.Popen([harness.WLAGENT, "image", "encrypt", self.disk, self.path("out"), "--kbs-key", key["id"]],
                                   env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            harness.poll(lambda: writes_unnamed(process.pid), "wlagent to write", 120)
            process.send_signal(signal.SIGSTOP)
            seen = 0
            for name, memory in harness.memory_of(process.pid):
                seen += len(memory)
                for what, secret in (("the key", material), ("the key", key["material"].encode()),
                                     ("the key", material.hex().encode()),
                                     ("the password", double.users["owner"].encode())):
                    self.assertNotIn(secret, memory, f"{what} is in {name or 'the heap'}")
            self.assertGreater(seen, MIB)
        finally:
            process.kill()
            process.wait()

    def test_before_a_key_is_made(self):
        self.write("there", b"x")
        self.write("signer-open.pem", signer_pem())
        self.write("signer-none.pem", b"x", 0o600)
        os.mkdir(self.path("sealed"), 0o500)
        for words, pattern in ((("out=there",), "there exists already"), (("out=none/out",), "none"),
                               (("--flavor", self.path("there"), "--flavor-key", self.signing_key, "--label", "a"),
                                "there exists already"),
                               (("--flavor", self.path("f"), "--flavor-key", self.path("signer-open.pem"), "--label", "a"),
                                "signer-open.pem is open to others"),
                               (("--flavor", self.path("f"), "--flavor-key", self.path("signer-none.pem"), "--label", "a"),
                                "the signing key of flavors"),
                               (("--flavor", self.path("none/f"), "--flavor-key", self.signing_key, "--label", "a"), "none")):
            out = {"out": words[0].removeprefix("out=")} if words[0].startswith("out=") else {}
            self.refused(self.encrypt("--kbs", "configured", *([] if out else words), check=False, **out), pattern)
        self.assertEqual(double.requests()["requests"], [])

    def test_files_that_would_be_one(self):
        """Neither the disk nor a key is replaced by a flavor, and no key is made for it."""
        read = {name: self.read(name) for name in ("disk", "signer.pem")}
        for flavor, output, roles in (("disk", "wlagent", "IN and --flavor"), ("./disk", "isecl", "IN and --flavor"),
                                      ("out", "wlagent", "OUT and --flavor"), ("out", "isecl", "OUT and --flavor"),
                                      ("out.header", "wlagent", "OUT.header and --flavor"),
                                      ("out.header", "isecl", "OUT.header and --flavor"),
                                      ("signer.pem", "wlagent", "--flavor and --flavor-key")):
            for force in ((), ("--force",)):
                done = self.encrypt("--kbs", "configured", "--flavor", flavor, "--flavor-key", self.signing_key, "--label",
                                    "web", "--output-format", output, *force, check=False)
                self.refused(done, f"wlagent: {roles} would be one file: .*\nhint: what is written needs a name of its own")
        self.refused(self.encrypt("--kbs", "configured", "--force", *self.with_flavor(), out="signer.pem", check=False),
                     "OUT and --flavor-key would be one file")
        self.assertEqual(double.requests()["requests"], [])
        self.assertEqual({name: self.read(name) for name in read}, read)
        self.left_over()

    def test_files_of_the_configuration(self):
        """What owner.conf names, by whichever name, is neither an image, a header, a flavor nor a disk afterwards."""
        self.encrypt("--kbs-key", double.add_key()["id"], out="image")
        os.symlink("envelope.pem", self.path("linked"))
        certificate, = os.listdir(self.path("trust"))
        os.symlink(f"trust/{certificate}", self.path("root"))
        self.write("kept.header", self.read("envelope.pem"), 0o600)
        double.reset_counters()
        files = {name: self.read(name) for name in ("home/.config/wlagent/owner.conf", "envelope.pem", "kept.header",
                                                    f"trust/{certificate}", "disk", "signer.pem")}
        cases = [("home/.config/wlagent/owner.conf", "owner.conf"), ("envelope.pem", "ENVELOPE_PRIVATE_KEY"),
                 ("linked", "ENVELOPE_PRIVATE_KEY"), ("home/../envelope.pem", "ENVELOPE_PRIVATE_KEY")]
        cases += [(name, "TRUSTED_CA_DIRECTORY") for name in (f"trust/{certificate}", "trust/new", "root")]
        for name, role in cases:
            flavor = ("--flavor", self.path(name), "--flavor-key", self.signing_key, "--label", "web")
            for done, output in ((self.encrypt("--kbs", "configured", "--force", out=name, check=False), "OUT"),
                                 (self.encrypt("--kbs", "configured", "--force", *flavor, check=False), "--flavor"),
                                 (self.command("image", "decrypt", self.path("image"), self.path(name), "--kbs", "configured",
                                               "--force", check=False), "OUT")):
                with self.subTest(name=name, output=output):
                    self.refused(done, f"wlagent: (.*: )?{role} and {output} would be one file: .*\n"
                                       "hint: what is written needs a name of its own")
        # By a header's name, and as the environment has it.
        kept = self.environment(ENVELOPE_PRIVATE_KEY=self.path("kept.header"))
        self.refused(self.encrypt("--kbs", "configured", "--force", out="kept", check=False, env=kept),
                     "ENVELOPE_PRIVATE_KEY and OUT.header would be one file")
        self.refused(self.encrypt("--kbs", "configured", "--force", out="kept.header", check=False, env=kept),
                     "ENVELOPE_PRIVATE_KEY and OUT would be one file")
        self.assertEqual(double.requests()["requests"], [])
        self.assertEqual({name: self.read(name) for name in files}, files)
        self.assertEqual(os.listdir(self.path("trust")), [certificate])
        self.left_over("image", "image.header", "linked", "root", "kept.header")
        # A name in their neighbourhood is one like any other.
        self.encrypt("--kbs-key", double.add_key()["id"], out="home/.config/wlagent/image")

    def test_the_configuration_of_the_command(self):
        config = self.write("wlagent.conf", b"[Agent]\n", 0o600)
        for verb in ("encrypt", "decrypt"):
            done = self.command("--config", config, "image", verb, self.disk, config, "--key-file", self.signing_key,
                                *(("--key", "web") if verb == "encrypt" else ()), "--force", check=False)
            self.refused(done, "wlagent: --config and OUT would be one file")
        done = self.command("--config", config, "flavor", "create", self.disk, config, "--plaintext", "--flavor-key",
                            self.signing_key, "--label", "web", "--force", check=False)
        self.refused(done, "wlagent: --config and OUT would be one file")
        self.assertEqual(self.read("wlagent.conf"), b"[Agent]\n")

    def test_an_old_header(self):
        key = double.add_key()
        self.encrypt("--kbs-key", key["id"])
        done = self.encrypt("--kbs-key", key["id"], "--output-format", "isecl", "--force", check=False)
        self.refused(done, "out.header is the header of another image")

    def test_options_that_do_not_fit(self):
        flavor = ("--flavor", "f", "--flavor-key", self.signing_key)
        for words in (("--kbs", "configured", "--key", "web"), ("--kbs", "configured", "--key-file", "k"), (),
                      ("--asset-tag", "country"), ("--asset-tag", "country:USA,"), ("--asset-tag", ""),
                      ("--kbs-key", "1"), ("--kbs-key", str(uuid.uuid4()), "--asset-tag", "a:b"),
                      ("--kbs-key", str(uuid.uuid4()), "--transfer-policy", str(uuid.uuid4())),
                      ("--kbs", "configured", "--transfer-policy", "x"), ("--kbs", "configured", "--label", ""),
                      ("--kbs", "configured", *flavor), ("--kbs", "configured", "--flavor", "f", "--label", "a"),
                      ("--kbs", "configured", "--flavor-key", "f"), ("--key", "web", *flavor, "--label", "a"),
                      ("--key", "web", "--label", "a"), ("--output-format", "isecl"),
                      ("--output-format", "isecl", "--key", "web"), ("--kbs", "configured", "--output-format", "qcow2"),
                      ("--kbs", "configured", "--output-format", "isecl", "--compact"),
                      ("--kbs", "configured", "--output-format", "isecl", "--no-seal"),
                      ("--kbs", "configured", "--format", "isecl", "--compact"), ("--format", "isecl"),
                      ("--kbs", "configured", "--output-format", "isecl", "--format", "raw")):
            done = self.encrypt(*words, check=False)
            self.assertEqual(done.returncode, 2, (words, done.stderr))
        for verb in (("verify", self.path("out")), ("decrypt", self.path("out"), self.path("back"))):
            for words in (("--kbs", "configured", "--key-file", "k"), ("--kbs-key", "1")):
                self.assertEqual(self.command("image", *verb, *words, check=False).returncode, 2)
        self.assertEqual(double.requests()["requests"], [])
        self.left_over()


class Flavors(ImagesTest):
    def create(self, *options, image="out", check=True):
        return self.command("flavor", "create", self.path(image), self.path("flavor"), "--flavor-key", self.signing_key,
                            "--label", "web", *options, check=check)

    def test_of_our_format(self):
        key = double.add_key()
        self.encrypt("--kbs-key", key["id"])
        self.create()
        self.assertEqual(self.checked_flavor()["encryption"]["key_url"], key["key_url"])
        self.refused(self.create(check=False), "exists already")
        self.create("--force", "--key", key["key_url"])
        other = double.add_key()
        self.refused(self.create("--force", "--key", other["key_url"], check=False), "says that its key is")
        self.refused(self.create("--force", "--plaintext", check=False), "is an encrypted image")
        os.truncate(self.path("out"), 4096)
        self.refused(self.create("--force", check=False), "where its header says")

    def test_no_other_file_is_replaced(self):
        self.encrypt("--kbs-key", double.add_key()["id"])
        read = {name: self.read(name) for name in ("disk", "out", "out.header", "signer.pem")}
        for image, out, roles in (("out", "out", "IN and OUT"), ("out", "./out.header", "IN.header and OUT"),
                                  ("out", "signer.pem", "OUT and --flavor-key")):
            done = self.command("flavor", "create", self.path(image), out, "--flavor-key", self.signing_key, "--label", "web",
                                "--force", check=False)
            self.refused(done, f"wlagent: {roles} would be one file")
        done = self.command("flavor", "create", "disk", self.disk, "--plaintext", "--flavor-key", self.signing_key, "--label",
                            "web", "--force", check=False)
        self.refused(done, "wlagent: IN and OUT would be one file")
        self.assertEqual({name: self.read(name) for name in read}, read)

    def test_of_intels_format(self):
        key = double.add_key()
        self.encrypt("--kbs-key", key["id"], "--output-format", "isecl")
        self.refused(self.create(check=False), "--key is missing")
        self.refused(self.create("--plaintext", check=False), "is an encrypted image")
        self.create("--key", key["key_url"])
        self.assertEqual(self.checked_flavor()["encryption"]["key_url"], key["key_url"])

    def test_of_no_encrypted_image(self):
        self.refused(self.create(image="disk", check=False), "is no encrypted image")
        self.create("--plaintext", image="disk")
        self.assertNotIn("encryption", self.checked_flavor(encrypted=False))

    def test_with_a_local_key(self):
        key = self.write("key", bytes(32), 0o600)
        self.encrypt("--key", "web", "--key-file", key)
        self.refused(self.create(check=False), "a flavor cannot name the key local:///web")
        done = self.create("--key", "local:///web", check=False)
        self.assertEqual(done.returncode, 2)

    def test_wls_takes_it(self):
        """From the owner's disk to the flavor that WLS hands out for the image."""
        token = double.make_token(user="owner")["token"]
        self.encrypt("--kbs", "configured", "--output-format", "isecl", *self.with_flavor(str(uuid.uuid4())))
        document = self.read("flavor")
        image = str(uuid.uuid4())
        with Client() as client:
            status, body, _ = client.call("POST", "/wls/v1/flavors", document, JSON, token)
            self.assertEqual(status, 201, body)
            made = json.loads(document)["flavor"]["meta"]["id"]
            status, body, _ = client.call("POST", "/wls/v1/images", {"id": image, "flavor_ids": [made]}, JSON, token)
            self.assertEqual(status, 201, body)
            status, body, _ = client.call("GET", f"/wls/v1/images/{image}/flavors?flavor_part=IMAGE", headers=JSON, token=token)
        self.assertEqual((status, json.loads(body)), (200, json.loads(document)))


class OnTheHost(WlsTest):
    """What the owner has made is opened by a host's agent, which asks WLS by the link in the header."""

    def test_a_disk_of_its_owner(self):
        env = {**os.environ, "HOME": self.directory, "KBS_BASE_URL": double.urls["kbs"], "AAS_API_URL": double.urls["aas"],
               "WPM_SERVICE_USERNAME": "owner", "WPM_SERVICE_PASSWORD": double.users["owner"],
               "TRUSTED_CA_DIRECTORY": os.path.join(self.directory, "trust")}
        disk, out = os.path.join(self.directory, "disk"), os.path.join(self.directory, "out")
        with open(disk, "wb") as file:
            file.write(os.urandom(MIB))
        self.agent.run("image", "encrypt", disk, out, "--kbs", "configured", "--asset-tag", "country:USA", env=env)
        done = self.agent.run("image", "verify", out, check=False)
        self.assertRegex(done.stderr.decode(), "KBS gave no key")
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "USA"})
        double.advance(seconds=301)
        self.assertIn(b"whole and unchanged", self.agent.run("image", "verify", out).stdout)
        self.assertGreater(self.calls(), 0)
