# SPDX-License-Identifier: Apache-2.0
"""wlagent setup download-ca-cert: the root of the brokers' certificates, from CMS."""

import datetime
import hashlib
import json
import os
import stat
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

import running
from isecl_case import double, spare_key
from setup_case import SetupCase, facts, read

TASK = "download-ca-cert"
ROUTE = "cms.ca_certificates"


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def certificate(name, is_ca=True, days=(-1, 1)):
    now = datetime.datetime.utcnow()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(
        subject, subject, spare_key(0).public_key(), x509.random_serial_number(),
        now + datetime.timedelta(days[0]), now + datetime.timedelta(days[1]))
    if is_ca is not None:
        made = made.add_extension(x509.BasicConstraints(is_ca, None), True)
    return made.sign(spare_key(0), hashes.SHA256())


class Downloaded(SetupCase):
    def setUp(self):
        super().setUp()
        with open(double.root_ca, "rb") as file:
            der = x509.load_pem_x509_certificate(file.read()).public_bytes(serialization.Encoding.DER)
        self.file = os.path.join(self.trust, hashlib.sha1(der).hexdigest()[:9] + ".pem")

    def stored(self):
        return os.listdir(self.trust) if os.path.exists(self.trust) else []

    def test_stored_as_the_original_does(self):
        said = self.says(TASK)
        self.assertRegex(said, f"^{TASK}: done: .*CN=.* is trusted from now on: {self.file}\n"
                               "To take effect: systemctl try-restart wlagentd\n$")
        self.assertEqual(read(self.file), read(double.root_ca))
        self.assertEqual(self.stored(), [os.path.basename(self.file)])
        for path in (self.trust, os.path.dirname(self.trust)):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o755)
        self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode), 0o644)

        request, = self.requests(ROUTE)
        self.assertEqual(request["target"], "/cms/v1/ca-certificates")
        headers = {name.lower(): value for name, value in request["headers"].items()}
        self.assertEqual(headers["accept"], "application/x-pem-file")
        self.assertNotIn("authorization", headers)

    def test_second_run_changes_nothing(self):
        self.says(TASK)
        self.unchanged(TASK, self.file, self.trust)
        self.unchanged("download-ca-cert", self.file)
        self.assertIn("unchanged", self.says("download_ca_cert"))
        # Nor does it need to be told anything.
        self.assertIn("unchanged", self.says(TASK, CMS_BASE_URL=None, CMS_TLS_CERT_SHA384=None))

    def test_force_does_it_again(self):
        self.says(TASK)
        before = facts(self.file)
        self.assertIn(": done: ", self.says("download_ca_cert", "--force"))
        self.assertNotEqual(facts(self.file), before)
        self.assertEqual(read(self.file), read(double.root_ca))
        self.assertEqual(len(self.requests(ROUTE)), 2)

    def test_killed_at_each_step(self):
        def check():
            self.assertIn([name for name in self.stored() if not name.startswith(".")],
                          ([], [os.path.basename(self.file)]))

        self.assertGreater(self.killed_at_each_step(check, TASK, "--force"), 3)
        self.assertEqual(read(self.file), read(double.root_ca))
        self.assertIn("unchanged", self.says(TASK))

    def test_as_json(self):
        found = json.loads(self.says(TASK, "--json"))
        self.assertEqual([(task["task"], task["result"]) for task in found["tasks"]], [(TASK, "done")])
        self.assertIn(self.file, found["tasks"][0]["text"])
        self.assertEqual(found["next"], ["systemctl try-restart wlagentd"])
        found = json.loads(self.says(TASK, "--json"))
        self.assertEqual(found["tasks"][0]["result"], "unchanged")
        self.assertEqual(found["next"], [])

    def test_ways_to_write_the_url(self):
        self.says(TASK, CMS_BASE_URL=double.urls["cms"] + "/")
        self.assertEqual(self.requests(ROUTE)[0]["target"], "/cms/v1/ca-certificates")

    def test_several_certificates(self):
        double.fault(route=ROUTE, body="text before\n" + pem(certificate("one")) + pem(certificate("two")))
        said = self.says(TASK)
        self.assertIn("CN=one is trusted", said)
        name, = self.stored()
        self.assertEqual([line for line in read(self.trust, name).decode().splitlines() if "BEGIN" in line],
                         ["-----BEGIN CERTIFICATE-----"] * 2)

    def refused(self, pattern, **answers):
        done = self.fails(f"^wlagent: {TASK}: {pattern}", TASK, **answers)
        self.assertEqual(done.stdout.decode(), f"{TASK}: failed\n")
        self.assertEqual(self.stored(), [])
        return done.stderr.decode()

    def test_wrong_pin_tells_both_digests(self):
        wrong = "0123456789abcdef" * 6
        said = self.refused(f"CMS {double.urls['cms']}/ca-certificates: the SHA-384 digest of its certificate is "
                            f"{self.digest}, not {wrong}\nhint: .*CMS_TLS_CERT_SHA384", CMS_TLS_CERT_SHA384=wrong)
        self.assertIn("somebody else answers in its place", said)
        self.assertEqual(self.requests(), [])

    def test_a_pin_that_is_none(self):
        for pin in ("", "abc", self.digest[:-1], self.digest + "0", self.digest[:-1] + "g"):
            pattern = "CMS_TLS_CERT_SHA384 is no SHA-384 in hex\nhint: " if pin else "CMS_TLS_CERT_SHA384 is not set"
            self.refused(pattern, CMS_TLS_CERT_SHA384=pin)
        self.assertIn("done", self.says(TASK, CMS_TLS_CERT_SHA384=self.digest.upper()))

    def test_addresses_that_are_none(self):
        for url in ("http://localhost:8445/cms/v1", "localhost:8445", "https://", "https://host/a?b"):
            self.refused("CMS_BASE_URL: ", CMS_BASE_URL=url)
        self.refused("CMS_BASE_URL is not set\nhint: set it in the environment, or in a file for --file",
                     CMS_BASE_URL=None)
        self.refused("CMS https://localhost:1/ca-certificates: ", CMS_BASE_URL="https://localhost:1/")

    def test_answers_that_are_none(self):
        for status in (400, 404, 406):
            double.clear_faults()
            double.fault(route=ROUTE, status=status)
            self.refused(f"CMS .*: it answered with status {status}\nhint: CMS_BASE_URL must be the base URL of CMS")
        for fault, pattern in (({"status": 500}, "it answered with status 500\nhint: the log of CMS says why"),
                               ({"reset_at": 40}, ".*\nhint: see its log, and that of the proxy"),
                               ({"drop_at": 400}, ".*\nhint: see its log, and that of the proxy"), ({"body_size": 1000000}, "its answer is too long")):
            double.clear_faults()
            double.fault(route=ROUTE, **fault)
            self.refused(f"CMS .*: {pattern}")

    @unittest.skipIf(running.has_address_sanitizer(), "needs a module for LD_PRELOAD")
    def test_one_that_does_not_answer(self):
        self.assertRegex(self.gives_up(TASK, ROUTE), "^wlagent: download-ca-cert: CMS https://.*: no answer in time")
        self.assertEqual(self.stored(), [])

    def test_certificates_that_are_none(self):
        good = pem(certificate("good"))
        damaged = good.replace("MII", "AAA", 1)
        key = spare_key(0).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption()).decode()
        for body, pattern in (
                ("", "there is no certificate in it"), ("<html>", "there is no certificate in it"),
                (damaged, "certificate 1: it is damaged"), (good + damaged, "certificate 2: it is damaged"),
                (good + good[:200], "certificate 2: it is no certificate"),
                (good + key, "certificate 2: it is no certificate"),
                (pem(certificate("leaf", is_ca=False)), "certificate 1: /CN=leaf is no certification authority"),
                (pem(certificate("old", is_ca=None)), "certificate 1: /CN=old is no certification authority"),
                (good + pem(certificate("leaf", is_ca=False)), "certificate 2: /CN=leaf is no certification authority"),
                (pem(certificate("past", days=(-3, -1))), "certificate 1: /CN=past has expired\nhint: .*clock"),
                (pem(certificate("future", days=(1, 3))), "certificate 1: /CN=future is not valid yet\nhint: .*clock")):
            with self.subTest(pattern):
                double.clear_faults()
                double.fault(route=ROUTE, body=body)
                self.refused(f"what CMS {double.urls['cms']} answered: {pattern}")

    def test_what_else_is_in_the_directory(self):
        self.says(TASK)
        os.rename(self.file, os.path.join(self.trust, "other.pem"))
        self.assertIn("unchanged", self.says(TASK))
        bad = os.path.join(self.trust, "bad.pem")
        with open(bad, "w", encoding="utf-8") as file:
            file.write("nothing")
        self.fails(f"^wlagent: {TASK}: storing the certificate of CMS: TrustDirectory={self.trust}: bad.pem: "
                   "there is no certificate in it", TASK)
        os.unlink(bad)
        self.assertIn("unchanged", self.says(TASK))

    @unittest.skipUnless(os.geteuid() == 0, "only root makes files of other users")
    def test_a_directory_that_others_could_change(self):
        """As Intel's installer gives /etc/workload-agent to the Trust Agent's user."""
        for path, exists in ((self.agent.directory, False), (os.path.dirname(self.trust), False), (self.trust, False),
                             (self.trust, True)):
            with self.subTest(path=path, exists=exists):
                os.makedirs(path, exist_ok=True)
                os.chown(path, 65534, 65534)
                self.refused(f"TrustDirectory={self.trust}: {path} belongs to user 65534, who could change what is in it\n"
                             "hint: make it root's: .*'wlagent migrate --apply'")
                os.chown(path, 0, 0)
                for mode in (0o775, 0o757):
                    os.chmod(path, mode)
                    self.refused(f"TrustDirectory={self.trust}: what is in {path} may be changed by others .mode 0{mode:o}.")
                os.chmod(path, 0o755)
        self.assertEqual(self.requests(), [])
        os.chmod(self.trust, 0o1777)
        self.says(TASK)
        self.assertEqual((os.stat(self.file).st_uid, os.stat(self.file).st_gid), (0, 0))

    def as_installed(self, *options, check=True, **popen):
        """With the user that wlagentd runs as, on this system."""
        environment = {**self.environment(), "LD_PRELOAD": os.path.join(running.BUILD, "tests", "integration",
                                                                        "libdaemon_user.so")}
        done = self.agent.run("setup", TASK, *options, check=check, env=environment, **popen)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    @unittest.skipIf(os.geteuid() or running.has_address_sanitizer(), "needs root, and a module for LD_PRELOAD")
    def test_what_wlagentd_could_not_read(self):
        """It is told before and after, and nothing that was closed is opened."""
        for path in (self.directory, self.agent.directory):
            os.chmod(path, 0o755)
        os.makedirs(self.trust)

        def refused(path, way):
            mode = os.stat(path).st_mode & 0o777
            for options in ((), ("--force",)):
                code, out, said = self.as_installed(*options, check=False)
                self.assertEqual((code, out), (1, f"{TASK}: failed\n"))
                self.assertRegex(said, rf"^wlagent: {TASK}: TrustDirectory={self.trust}: wlagentd may not {way} {path} "
                                       rf"\(mode 0{mode:o}\)\nhint: open it with 'chmod a\+rx'")
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode)

        for path, way in ((self.trust, "read"), (os.path.dirname(self.trust), "pass"), (self.directory, "pass")):
            os.chmod(path, 0o700)
            refused(path, way)
            os.chmod(path, 0o755)
        self.assertEqual(self.requests(), [])
        self.assertEqual(self.stored(), [])

        self.assertIn(": done: ", self.as_installed()[1])
        os.chmod(self.trust, 0o700)
        refused(self.trust, "read")
        os.chmod(self.trust, 0o711)
        refused(self.trust, "read")
        # For the daemon's group alone, and for itself.
        os.chown(self.trust, 0, 4711)
        os.chmod(self.trust, 0o750)
        self.assertIn(": unchanged: ", self.as_installed()[1])
        os.chmod(self.trust, 0o705)
        refused(self.trust, "read")
        os.chmod(self.trust, 0o755)
        os.chmod(self.file, 0o600)
        refused(self.file, "read")
        os.chown(self.file, 0, 4711)
        os.chmod(self.file, 0o640)
        self.assertIn(": unchanged: ", self.as_installed()[1])
        # Files of another system, whose users are not this one's.
        os.chmod(self.trust, 0o700)
        self.assertIn(": unchanged: ", self.as_installed("--root", self.root)[1])

    @unittest.skipIf(os.geteuid() or running.has_address_sanitizer(), "needs root, and a module for LD_PRELOAD")
    def test_by_a_root_who_shares_nothing(self):
        for path in (self.directory, self.agent.directory):
            os.chmod(path, 0o755)
        self.assertIn(": done: ", self.as_installed(umask=0o077)[1])
        for path, mode in ((self.trust, 0o755), (os.path.dirname(self.trust), 0o755), (self.file, 0o644)):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode)
        self.assertIn(": unchanged: ", self.as_installed()[1])

    def test_where_the_directory_cannot_be(self):
        with open(os.path.dirname(self.trust), "w", encoding="utf-8"):
            pass
        self.fails(f"^wlagent: {TASK}: TrustDirectory={self.trust}: looking at {self.trust}: "
                   "Not a directory", TASK)

