# SPDX-License-Identifier: Apache-2.0
"""tests/doubles/isecl: that CMS, AAS, HVS and KBS are as strict as the services that they stand in for, and
that their cryptography is theirs, as others compute it."""

import base64
import datetime
import hashlib
import json
import os
import socket
import ssl
import unittest
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import NameOID

from isecl_case import HARDWARE, JSON, PEM, DoubleTest, double, spare_key, unb64
from software_host import SoftwareHost, new_key, public_pem, request_to_certify

from isecl import tpm

TO_AAS = {"Accept": "application/jwt", "Content-Type": "application/json"}
ENVELOPE = {"Accept": "application/json", "Content-Type": "text/plain"}
SAML = "application/samlassertion+xml"
TRANSFER = {"Accept": "application/octet-stream", "Content-Type": SAML}


class CertificateManagement(DoubleTest):
    def test_root_and_intermediates(self):
        with open(double.root_ca, "rb") as file:
            root = file.read()
        for query, subject in (("", "CMSCA"), ("?issuingCa=root", "CMSCA"), ("?issuingCa=TLS", "CMS TLS CA"),
                               ("?issuingCa=TLS-Client", "CMS TLS-Client CA"),
                               ("?issuingCa=Signing", "CMS Signing CA")):
            status, body, headers = self.client.call("GET", "/cms/v1/ca-certificates" + query, headers=PEM)
            self.assertEqual((status, headers["Content-Type"]), (200, "application/x-pem-file"))
            self.assertEqual(x509.load_pem_x509_certificate(body).subject.rfc4514_string(), f"CN={subject}")
            self.assertEqual(body == root, subject == "CMSCA")

    def test_leaf_is_what_a_client_pins(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("localhost", self.client.connection.port)) as plain, \
                context.wrap_socket(plain) as tls:
            leaf = tls.getpeercert(binary_form=True)
        self.assertEqual(hashlib.sha384(leaf).hexdigest(), double.cms_tls_cert_sha384)

    def test_refusals(self):
        for path, headers, status, text in (
                ("/cms/v1/ca-certificates", {}, 406, "Accept type not supported"),
                ("/cms/v1/ca-certificates", {"Accept": "*/*"}, 406, "Accept type not supported"),
                ("/cms/v1/ca-certificates", {"Accept": "application/x-pem-file, */*"}, 406,
                 "Accept type not supported"),
                ("/cms/v1/ca-certificates?issuingCa=tls", PEM, 400, "Invalid issuingCa value"),
                ("/cms/v1//ca-certificates", PEM, 404, "404 page not found"),
                ("/cms/v1/ca-certificates/", PEM, 404, "404 page not found")):
            with self.subTest(path=path, headers=headers):
                self.refused(self.client.call("GET", path, headers=headers), status, text)


class Tokens(DoubleTest):
    def ask(self, user="wla", password=None, headers=None, body=None, path="/aas/v1/token"):
        body = {"username": user, "password": password or double.users.get(user, "")} if body is None else body
        return self.client.call("POST", path, body, TO_AAS if headers is None else headers)

    def test_token_is_signed_and_says_what_its_user_may(self):
        status, body, headers = self.ask()
        self.assertEqual((status, headers["Content-Type"]), (200, "application/jwt"))
        signed, _, signature = body.rpartition(b".")
        head, claims = (json.loads(base64.urlsafe_b64decode(part + b"==")) for part in signed.split(b"."))
        with open(os.path.join(double.directory, "jwt-signing.pem"), "rb") as file:
            signer = x509.load_pem_x509_certificate(file.read())
        signer.public_key().verify(base64.urlsafe_b64decode(signature + b"=="), signed, padding.PKCS1v15(),
                                   hashes.SHA384())
        self.assertEqual(head, {"alg": "RS384", "kid": signer.fingerprint(hashes.SHA1()).hex(), "typ": "JWT"})
        self.assertEqual((claims["sub"], claims["exp"] - claims["iat"]), ("wla", 7200))
        self.assertEqual(claims["permissions"], [{"service": "WLS", "context": "", "rules": [
            "image_flavors:retrieve:*", "reports:create:*", "keys:create:*"]}])

    def test_refusals(self):
        malformed = "Unable to decode JSON request body"
        for change, status, text in (
                ({"password": "wrong"}, 401, ""), ({"user": "nobody", "password": "x"}, 401, ""),
                ({"user": "no body", "password": "x"}, 401, ""), ({"user": "", "password": "x"}, 401, ""),
                ({"body": ""}, 400, malformed), ({"body": "{"}, 400, malformed), ({"body": "[]"}, 400, malformed),
                ({"body": {"username": "wla", "password": "x", "more": 1}}, 400, malformed),
                ({"body": {"username": 1, "password": "x"}}, 400, malformed),
                ({"headers": {"Accept": "application/jwt"}}, 415, "Invalid Content-Type"),
                ({"headers": {**TO_AAS, "Accept": "*/*"}}, 415, "Invalid Accept type"),
                ({"path": "/aas/token"}, 404, "404 page not found"),
                ({"path": "/aas/v1/token/"}, 404, "404 page not found")):
            with self.subTest(change=change):
                self.refused(self.ask(**change), status, text)
        double.unban(user="wla")

    def test_old_release_has_the_short_path_too(self):
        double.release(number=3)
        self.assertEqual([self.ask(path=path)[0] for path in ("/aas/token", "/aas/v1/token")], [200, 200])

    def test_five_wrong_passwords_ban_for_fifteen_minutes(self):
        double.add_user(name="banned", password="right", roles=["WLS:KeysCreator"])
        self.assertEqual([self.ask("banned", "wrong")[0] for _ in range(5)], [401] * 5)
        self.refused(self.ask("banned", "right"), 429, "Maximum login attempts exceeded for this user")
        double.advance(seconds=14 * 60)
        self.assertEqual(self.ask("banned", "right")[0], 429)
        double.advance(seconds=61)
        self.assertEqual(self.ask("banned", "right")[0], 200)
        double.ban(user="banned")
        self.assertEqual(self.ask("banned", "right")[0], 429)
        double.unban(user="banned")
        self.assertEqual(self.ask("banned", "right")[0], 200)

    def test_failures_that_are_far_apart_do_not_ban(self):
        double.add_user(name="slow", password="right", roles=[])
        for _ in range(6):
            self.assertEqual(self.ask("slow", "wrong")[0], 401)
            double.advance(seconds=100)

    def test_tokens_that_are_not_good(self):
        good = self.token()
        signed, _, signature = good.rpartition(".")
        other = signature[:-8] + ("AAAAAAAA" if signature[-8:] != "AAAAAAAA" else "BBBBBBBB")
        expired = double.make_token(user="wla", seconds=-1)["token"]
        for token in (None, "", "x", "a.b.c", f"{signed}.", f"{signed}.{other}", expired):
            with self.subTest(token=token):
                self.refused(self.keys("https://x", token=token), 401, "")
        for kind in ("bearer", "Basic"):
            answer = self.client.call("POST", "/wls/v1/keys", {}, {**JSON, "Authorization": f"{kind} {good}"})
            self.refused(answer, 401, "")

    def test_expiry_and_revocation(self):
        token = self.token()
        self.assertEqual(self.keys("", token=token)[0], 200)
        double.expire_tokens()
        self.refused(self.keys("", token=token), 401, "")
        token = self.token()
        double.advance(seconds=7201)
        self.refused(self.keys("", token=token), 401, "")

    def test_each_role_is_good_for_its_own(self):
        double.add_user(name="reporter", password="x", roles=["WLS:ReportCreator"])
        token = self.token("reporter")
        self.refused(self.keys("", token=token), 401, "Insufficient privileges to access /wls/v1/keys")
        self.assertEqual(self.client.call("POST", "/wls/v1/reports", {}, JSON, token)[0], 400)

    def test_permission_is_another_401(self):
        text = "Insufficient privileges to access /wls/v1/keys"
        self.refused(self.keys("", token=self.token("installer")), 401, text)
        self.refused(self.certify({}, token=self.token()), 401,
                     "Insufficient privileges to access /hvs/v2/rpc/certify-host-binding-key")


class Certification(DoubleTest):
    def test_certificate(self):
        host = self.new_host()
        made = host.certificate
        with open(os.path.join(double.directory, "privacy-ca.pem"), "rb") as file:
            authority = x509.load_pem_x509_certificate(file.read())
        authority.public_key().verify(made.signature, made.tbs_certificate_bytes, padding.PKCS1v15(), hashes.SHA384())
        self.assertEqual((made.subject.rfc4514_string(), made.issuer),
                         ("CN=Binding_Key_Certificate", authority.subject))
        self.assertEqual(made.public_key().public_numbers(), host.key.public_key().public_numbers())
        usage = made.extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.critical and usage.value.digital_signature and usage.value.key_encipherment)
        found = {extension.oid.dotted_string: (extension.critical, extension.value.value)
                 for extension in made.extensions if extension.oid.dotted_string.startswith("2.5.4.133.")}
        attest = host.attest()
        self.assertEqual(found, {"2.5.4.133.3.2.41": (False, attest),
                                 "2.5.4.133.3.2.41.1": (False, host.signature(attest))})
        self.assertEqual((len(attest), len(host.signature(attest)), len(host.public)), (145, 262, 280))

    def test_signing_key_and_old_path(self):
        host = self.new_host()
        answer = self.certify(self.request_of(host), "signing")
        made = x509.load_der_x509_certificate(unb64(json.loads(answer[1])["signing_key_der_certificate"]))
        self.assertEqual(made.subject.rfc4514_string(), "CN=Signing_Key_Certificate")
        answer = self.client.call("POST", "/mtwilson/v2/rpc/certify-host-binding-key", self.request_of(host), JSON,
                                  self.token("installer"))
        self.assertEqual(answer[0], 201)

    def test_name_digest_vector(self):
        name = bytes.fromhex("000b") + bytes.fromhex("d871f9df") + bytes(26) + bytes.fromhex("228b")
        digest = tpm.padded_name_digest(name)
        self.assertEqual((len(digest), digest), (69, b"\x22" + name + bytes(34)))
        whole = base64.b64decode("IgAL2HH53y05JGHsqBcxWQqRUWlqim73QNfm7kMi989TIosA")
        self.assertEqual(tpm.padded_name_digest(whole[1:35])[:36], whole[:36])

    def test_refusals(self):
        host, other = self.new_host(), SoftwareHost(spare_key(1), spare_key(2))
        attest, signature = host.attest(), host.signature(host.attest())
        aik = host.aik_certificate.public_bytes(serialization.Encoding.DER)
        sound = request_to_certify(host.public, attest, signature, aik)

        def with_bytes(name, data):
            return {**sound, name: base64.b64encode(data).decode()}

        quote = host.attest(kind=0x8018)
        stranger = self.self_signed(host.aik).public_bytes(serialization.Encoding.DER)
        digest = unb64(sound["name_digest"])
        for what, body in (
                ("another signer", with_bytes("tpm_certify_key_signature", host.signature(attest, other.aik))),
                ("no TPMT header", with_bytes("tpm_certify_key_signature", signature[6:])),
                ("a sized attest", with_bytes("tpm_certify_key", b"\x00\x91" + attest)),
                ("one byte changed", with_bytes("tpm_certify_key", attest[:-1] + b"\x01")),
                ("an attest that ends early", with_bytes("tpm_certify_key", attest[:-1])),
                ("a quote", request_to_certify(host.public, quote, host.signature(quote), aik)),
                ("another key", with_bytes("public_key_modulus", other.public)),
                ("only the modulus", with_bytes("public_key_modulus", host.public[-256:])),
                ("an AIK of another CA", with_bytes("aik_der_certificate", stranger)),
                ("no certificate", with_bytes("aik_der_certificate", b"x")),
                ("a digest without padding", with_bytes("name_digest", digest[:35])),
                ("another digest", with_bytes("name_digest", digest[:-35] + b"\xff" + bytes(34))),
                ("TPM 1.2", {**sound, "tpm_version": "1.2"}), ("Windows", {**sound, "operating_system": "Windows"}),
                *((f"no {name}", {key: value for key, value in sound.items() if key != name}) for name in sound)):
            with self.subTest(what):
                self.refused(self.certify(body), 400, "Error while certifying Binding Key")
        for what, body in (("an unknown field", {**sound, "more": ""}), ("no base64", {**sound, "name_digest": "*"}),
                           ("a number", {**sound, "name_digest": 1}), ("nothing", "")):
            with self.subTest(what):
                self.refused(self.certify(body), 400, "Error while decoding request body")
        self.refused(self.certify(sound, headers={"Accept": "application/json"}), 415, "Invalid Content-Type")
        self.refused(self.certify(sound, headers={**JSON, "Accept": "*/*"}), 415, "Invalid Accept type")
        self.refused(self.certify(sound, token=None), 401, "")
        self.assertEqual(self.certify({**sound, "operating_system": "LINUX"})[0], 201)

    @staticmethod
    def self_signed(key):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "HVS Privacy Certificate")])
        today = datetime.datetime.now(datetime.timezone.utc)
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
                .serial_number(1).not_valid_before(today).not_valid_after(today.replace(year=today.year + 1))
                .sign(key, hashes.SHA256()))


class Reports(DoubleTest):
    def report(self, hardware_uuid=HARDWARE, headers=None):
        headers = headers or {"Content-Type": "application/json", "Accept": SAML}
        body = {"hardware_uuid": hardware_uuid}
        return self.client.call("POST", "/hvs/v2/reports", body, headers, self.token("owner"))

    def transfer(self, report, key, **changes):
        headers = {**TRANSFER, **changes}
        return self.client.call("POST", f"/kbs/v1/keys/{key['id']}/transfer", report, headers)

    def test_report_carries_a_key_to_the_host_it_is_of(self):
        host, key = self.new_host(), double.add_key()
        status, report, headers = self.report()
        self.assertEqual((status, headers["Content-Type"]), (201, SAML))
        for release in (4, 5):
            double.release(number=release)
            status, wrapped, headers = self.transfer(report, key)
            self.assertEqual((status, headers["Content-Type"], len(wrapped)), (200, "application/octet-stream", 256))
            self.assertEqual(host.unwrap(wrapped), unb64(key["material"]))

    def test_reports_that_carry_nothing(self):
        self.new_host()
        key, report = double.add_key(), self.report()[1]
        self.assertEqual(self.transfer(report.replace(b"><", b">\n   <"), key)[0], 200)
        for what, changed in (("nothing", b""), ("another verdict", report.replace(b">true<", b">True<", 1)),
                              ("another signature", report.replace(b"<SignatureValue>", b"<SignatureValue>AAAA")),
                              ("a second verdict", report.replace(b"</saml2:Subject>", b"</saml2:Subject><x></x>"))):
            with self.subTest(what):
                self.assertNotEqual(changed, report)
                self.refused(self.transfer(changed, key), 401, "Client not trusted by HVS")
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused(self.transfer(self.report()[1], key), 401, "Client not trusted by HVS")
        self.refused(self.transfer(report, {"id": str(uuid.uuid4())}), 404, "Key with specified id does not exist")

    def test_headers(self):
        self.new_host()
        key, report = double.add_key(), self.report()[1]
        self.refused(self.transfer(report, key, Accept="*/*"), 401, "")
        self.refused(self.transfer(report, key, **{"Content-Type": "text/xml"}), 415, "Invalid Content-Type")
        double.release(number=5)
        self.refused(self.transfer(report, key, Accept="*/*"), 415, "Invalid Accept type")
        self.refused(self.report(headers=JSON), 415, "Invalid Accept type")

    def test_hosts_without_a_report(self):
        self.new_host()
        double.set_host(hardware_uuid=HARDWARE, connected=False)
        for hardware_uuid in (HARDWARE, str(uuid.uuid4())):
            self.refused(self.report(hardware_uuid), 400, "Error while creating report")

    def test_asset_tags(self):
        self.new_host()
        key = double.add_key(usage="country:USA,state:CA")
        for tags, status in (({}, 401), ({"country": "USA"}, 401), ({"country": "USA", "state": "NV"}, 401),
                             ({"country": "usa", "state": "CA", "city": "x"}, 200)):
            double.set_host(hardware_uuid=HARDWARE, asset_tags=tags)
            self.assertEqual(self.transfer(self.report()[1], key)[0], status, tags)


class KeyBroker(DoubleTest):
    def owner(self, method, path, body=None, headers=None):
        return self.client.call(method, path, body, JSON if headers is None else headers, self.token("owner"))

    def create(self, **more):
        return self.owner("POST", "/kbs/v1/keys", {"key_information": {"algorithm": "AES", "key_length": 256}, **more})

    def test_create_retrieve_delete(self):
        status, body, _ = self.create(usage="country:USA", label="l", transfer_policy_id=str(uuid.uuid4()))
        made = json.loads(body)
        key = made["key_information"]["id"]
        self.assertEqual((status, made["usage"], made["label"], made["key_information"]["key_length"]),
                         (201, "country:USA", "l", 256))
        self.assertEqual(made["transfer_link"], f"{double.urls['kbs']}/keys/{key}/transfer")
        self.assertEqual(json.loads(self.owner("GET", f"/kbs/v1/keys/{key}")[1]), made)
        self.assertIn(made, json.loads(self.owner("GET", "/kbs/v1/keys")[1]))
        self.assertEqual(self.owner("DELETE", f"/kbs/v1/keys/{key}")[0], 204)
        self.refused(self.owner("GET", f"/kbs/v1/keys/{key}"), 404, "Key with specified id does not exist")

    def test_envelopes(self):
        owner = new_key(3072)
        key = double.add_key()
        scheme = padding.OAEP(padding.MGF1(hashes.SHA384()), hashes.SHA384(), None)
        for release, path, member in ((3, "/v1/keys/{}/transfer", "payload"),
                                      (4, "/kbs/v1/keys/{}/transfer", "payload"),
                                      (5, "/kbs/v1/keys/{}", "wrapped_key")):
            double.release(number=release)
            status, body, _ = self.owner("POST", path.format(key["id"]), public_pem(owner), ENVELOPE)
            self.assertEqual(status, 200)
            self.assertEqual(owner.decrypt(unb64(json.loads(body)[member]), scheme), unb64(key["material"]))
        self.assertEqual(self.owner("POST", f"/v1/keys/{key['id']}", public_pem(owner), ENVELOPE)[0], 404)

    def test_refusals(self):
        key = double.add_key()["id"]
        path = f"/kbs/v1/keys/{key}/transfer"
        for body, headers, status, text in (
                ("x", ENVELOPE, 400, "Failed to decode public key in request body"),
                (public_pem(new_key()).replace("PUBLIC", "RSA PUBLIC"), ENVELOPE, 400,
                 "Failed to decode public key in request body"),
                ("x", {**ENVELOPE, "Content-Type": "text/plain; charset=utf-8"}, 415, "Invalid Content-Type"),
                ("x", {**ENVELOPE, "Accept": "*/*"}, 415, "Invalid Accept type")):
            with self.subTest(headers=headers):
                self.refused(self.owner("POST", path, body, headers), status, text)
        self.refused(self.create(more=1), 400, "Unable to decode JSON request body")
        self.refused(self.owner("GET", "/kbs/v1/keys/00000000-0000-1000-8000-000000000000"), 404, "404 page not found")
        self.refused(self.owner("POST", f"/kbs/v1//keys/{key}/transfer", "x", ENVELOPE), 404, "404 page not found")
        self.refused(self.client.call("GET", f"/kbs/v1/keys/{key}", headers=JSON, token=self.token()), 401,
                     f"Insufficient privileges to access /kbs/v1/keys/{key}")
        self.refused(self.owner("PATCH", f"/kbs/v1/keys/{key}"), 405, "")
        double.release(number=5)
        self.refused(self.owner("GET", f"/v1/keys/{key}"), 404, "404 page not found")


if __name__ == "__main__":
    unittest.main()
