# SPDX-License-Identifier: Apache-2.0
"""wlagent doctor on a host whose keys come from Intel SecL's broker: the services are the double, the TPM is swtpm."""

import datetime
import json
import os
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

import running
import wls_case
from isecl_case import JSON, Client, double, spare_key, unb64
from intel_host import KeyFile


def certificate(key, public=None, days=3650, authority=False):
    """By key, for public or key itself, that ends so many days from now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public or key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(days=9000))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class DoctorWls(wls_case.WlsTest):
    environment = {}

    def setUp(self):
        super().setUp()
        self.pem = self.host.path("binding").replace(".json", ".pem")
        self.write(self.pem, self.issued())
        os.chmod(self.directory, 0o755)
        os.chmod(self.host.directory, 0o755)
        double.reset_counters()

    def write(self, path, text):
        with open(path, "wb") as file:
            file.write(text)

    def issued(self):
        """What HVS certifies the binding key with."""
        host = KeyFile(self.host.path("binding"))
        made = double.add_host(hardware_uuid=wls_case.HARDWARE, aik=self.host.aik.decode())["aik_certificate"]
        aik = x509.load_pem_x509_certificate(made.encode()).public_bytes(serialization.Encoding.DER)
        with Client() as client:
            answer = client.call("POST", "/hvs/v2/rpc/certify-host-binding-key", host.registration(aik), JSON,
                                 double.make_token(user="installer")["token"])
        self.assertEqual(answer[0], 201, answer)
        der = unb64(json.loads(answer[1])["binding_key_der_certificate"])
        return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)

    def findings(self, *arguments):
        done = self.agent.run("doctor", "--json", *arguments, check=False,
                              env={**self.host.environment(), **self.environment})
        self.assertNotIn(double.users["wla"].encode(), done.stdout + done.stderr)
        return [(found["result"], found["check"], found["text"], found["remedy"])
                for found in json.loads(done.stdout)["findings"] if found["check"].startswith("wls-")]

    def finds(self, result, check, pattern, *arguments, remedy=None):
        found = [finding for finding in self.findings(*arguments) if finding[:2] == (result, check)]
        self.assertRegex("\n".join(finding[2] for finding in found), pattern)
        if remedy:
            self.assertRegex("\n".join(finding[3] for finding in found), remedy)

    def test_a_host_that_is_set_up(self):
        found = {(result, check): text for result, check, text, _ in self.findings()}
        self.assertRegex(found["ok", "wls-config"], "the user wla, keys come from https://")
        self.assertRegex(found["ok", "wls-binding-key"], "bindingkey.json is a key of this TPM; its secret")
        self.assertRegex(found["ok", "wls-certificate"], "HVS has certified the binding key in ")
        self.assertRegex(found["ok", "wls-trust"], "^1 root certificates")
        self.assertNotIn(("ok", "wls-online"), found)
        self.assertEqual(double.counters()["connections"], 0)

    def test_the_binding_key_of_the_local_store_is_lost(self):
        """Where there are keys that it opens, it is missed."""
        path = os.path.join(self.agent.state, "binding-key.json")
        os.rename(path, path + ".lost")
        self.assertEqual(self.binding_key(), "ok")
        os.rename(path + ".lost", path)
        self.agent.import_key("local", bytes(32))
        os.unlink(path)
        self.assertEqual(self.binding_key(), "failure")

    def binding_key(self):
        found = json.loads(self.agent.run("doctor", "--json", check=False).stdout)["findings"]
        return next(each["result"] for each in found if each["check"] == "binding-key")

    def test_online(self):
        found = [finding for finding in self.findings("--online") if finding[1] == "wls-online"]
        self.assertEqual([finding[0] for finding in found], ["ok", "ok"], found)
        self.assertEqual(self.calls("aas.token"), 1)

        self.host.provide("aas-password", "wrong")
        self.finds("failure", "wls-online", "AAS does not accept the agent's user or password", "--online")
        self.assertEqual(self.calls("aas.token"), 2)
        double.unban(user="wla")

        double.tls(fault="wrong_name")
        found = [finding for finding in self.findings("--online") if finding[1] == "wls-online"]
        self.assertEqual([finding[0] for finding in found], ["failure", "failure"], found)
        self.assertRegex(found[0][2], "WLS https://.*certificate is not to be trusted")
        self.assertEqual(self.calls("aas.token"), 2)

    def test_the_certificate(self):
        key = KeyFile(self.host.path("binding"))
        modulus = int.from_bytes(key.public[-256:], "big")
        own = rsa.RSAPublicNumbers(65537, modulus).public_key()
        for text, result, pattern in ((certificate(spare_key(0)), "failure", "is of another key than"),
                                      (certificate(spare_key(0), own, -1), "failure", "has expired"),
                                      (certificate(spare_key(0), own, 20), "warning", "expires within 30 days"),
                                      (certificate(spare_key(0), own), "ok", "HVS has certified"),
                                      (b"nothing\n", "failure", "holds no certificate")):
            with self.subTest(pattern=pattern):
                self.write(self.pem, text)
                self.finds(result, "wls-certificate", pattern)
        os.unlink(self.pem)
        self.finds("failure", "wls-certificate", "without it the Trust Agent's whole report of this host fails",
                   remedy="register-binding-key")
        self.write(self.pem, self.issued())
        os.chmod(self.host.directory, 0o700)
        os.chown(self.pem, 65534, 65534)
        self.finds("failure", "wls-certificate", r"the Trust Agent may not pass .* \(mode 0700\)")

    def test_roots(self):
        trust = os.path.join(self.directory, "trust")
        for text, result, pattern in ((certificate(spare_key(1), days=-1, authority=True), "failure", "pem has expired"),
                                      (certificate(spare_key(1), days=20, authority=True), "warning", "expires within"),
                                      (certificate(spare_key(1)), "warning", "no certification authority's"),
                                      (certificate(spare_key(1), authority=True), "ok", "^2 root certificates")):
            with self.subTest(pattern=pattern):
                self.write(os.path.join(trust, "other.pem"), text)
                self.finds(result, "wls-trust", pattern)

    def test_who_could_change_the_roots(self):
        trust = os.path.join(self.directory, "trust")
        self.assertNotIn("wls-trust-owner", [finding[1] for finding in self.findings() if finding[0] != "ok"])
        self.addCleanup(os.chown, self.directory, 0, 0)
        for path in (trust, self.directory):
            os.chown(path, 65534, 65534)
            self.finds("failure", "wls-trust-owner", f"TrustDirectory={trust}: {path} belongs to user 65534",
                       remedy="'wlagent migrate --apply'")
            os.chown(path, 0, 0)
        os.chmod(trust, 0o775)
        self.finds("failure", "wls-trust-owner", f"what is in {trust} may be changed by others .mode 0775.")
        os.chmod(trust, 0o755)
        self.finds("ok", "wls-trust-owner", f"only root can change what is in {trust}")

    @unittest.skipIf(os.geteuid() or running.has_address_sanitizer(), "needs root, and a module for LD_PRELOAD")
    def test_roots_that_wlagentd_could_not_read(self):
        trust = os.path.join(self.directory, "trust")
        self.environment = {"LD_PRELOAD": os.path.join(running.BUILD, "tests", "integration", "libdaemon_user.so")}
        self.assertNotIn("wls-trust-access", [finding[1] for finding in self.findings()])
        for path, way in ((trust, "read"), (self.directory, "pass"), (os.path.join(trust, "root.pem"), "read")):
            mode = os.stat(path).st_mode & 0o777
            os.chmod(path, 0o700)
            self.finds("failure", "wls-trust-access",
                       rf"^TrustDirectory={trust}: wlagentd may not {way} {path} \(mode 0700\)$",
                       remedy="open it with 'chmod a.rx'")
            os.chmod(path, mode)
        self.assertNotIn("wls-trust-access", [finding[1] for finding in self.findings()])

    def test_a_key_of_another_tpm(self):
        other = wls_case.harness.Swtpm(os.path.join(self.directory, "other-tpm")).start()
        self.addCleanup(other.stop)
        self.agent.write_config(TPM={"Device": other.tcti})
        self.finds("failure", "wls-binding-key", "bindingkey.json: ")
