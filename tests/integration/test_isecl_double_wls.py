# SPDX-License-Identifier: Apache-2.0
"""tests/doubles/isecl: that WLS is as strict as the service, in each of its dialects, and that the keys it hands
out open where they should: with openssl, and in a TPM."""

import base64
import hashlib
import json
import os
import subprocess
import tempfile
import unittest
import uuid

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

import harness
from isecl_case import HARDWARE, JSON, DoubleTest, double, unb64
from software_host import name_of, request_to_certify

from isecl import flavor, tpm

# Of release 5, which tells what its own client says: not what KBS or HVS has said, but the status of it.
SENDER = "clients/send_http_request.go"
OF_KBS = f"Failed to retrieve key : Error response from key transfer request: {SENDER}:SendNoAuthRequest() Error getting response"
OF_HVS = f"Failed to retrieve Key for Image - Failed to read HVS response: {SENDER}:SendRequest() Error getting response"
ANSWERED = f"{SENDER}:SendRequest() Error from response: HTTP Status"
UNREACHABLE = f"{SENDER}:GetHTTPResponse() Error from response"
UNTRUSTED = "Failed to retrieve Key for Image - Host is untrusted"
KEY_VECTOR = "eb61b2e9-c7cd-4476-ac5f-71582c892112"
FLAVOR_VECTOR = "dfa22f83-b6dd-4bf3-9b07-ff1fa01eb69f"
FLAVOR_HASH_VECTOR = ("00234b3aa9192020447a0f3c8b7806e9c4f337e439ff3cf9"
                      "745cb457b0dad26dd8c7a35cdd5b23b7d750f5a0521c858a")
DIGEST_VECTOR = "lOPONeU0mvyH+nU+FVwrzki6yR486rQ/V0Kx3bYxWcasYAIr9BP0VXWxusZGn7bx"


class WorkloadKeys(DoubleTest):
    def test_key_comes_wrapped_for_the_host(self):
        host, key = self.new_host(), double.add_key()
        for release, paths, status in ((3, ["/wls/keys"], 200), (4, ["/wls/v1/keys"], 200),
                                       (5, ["/wls/v1/keys", "/wls/v2/keys"], 201)):
            double.release(number=release)
            for path in paths:
                answer = self.keys(key["key_url"], path)
                kind = "application/x-pem-file" if release == 3 else "application/json"
                self.assertEqual((answer[0], answer[2]["Content-Type"]), (status, kind))
                wrapped = unb64(json.loads(answer[1])["key"])
                self.assertEqual((len(wrapped), host.unwrap(wrapped)), (256, unb64(key["material"])))

    def test_label_hash_vector(self):
        self.assertEqual(hashlib.sha256(tpm.LABEL).hexdigest(),
                         "3b2dfdacdc5cf1009610c645e8178c20c8590b02e9aa50d0144a0501bd3749c2")
        host, key = self.new_host(), double.add_key()
        wrapped = unb64(json.loads(self.keys(key["key_url"])[1])["key"])
        for label in (None, b"TPM2"):
            self.assertRaises(ValueError, host.unwrap, wrapped, label)

    def test_openssl_unwraps(self):
        host, key = self.new_host(), double.add_key()
        wrapped = unb64(json.loads(self.keys(key["key_url"])[1])["key"])
        private = host.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption())
        with tempfile.NamedTemporaryFile() as file:
            file.write(private)
            file.flush()
            done = subprocess.run(
                ["openssl", "pkeyutl", "-decrypt", "-inkey", file.name, "-pkeyopt", "rsa_padding_mode:oaep",
                 "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256",
                 "-pkeyopt", "rsa_oaep_label:54504d3200"], input=wrapped, capture_output=True, check=True)
        self.assertEqual(done.stdout, unb64(key["material"]))

    def test_paths_of_other_releases_and_headers(self):
        self.new_host()
        url = double.add_key()["key_url"]
        charset = {**JSON, "Content-Type": "application/json; charset=utf-8"}
        for release, path, headers, status, text in (
                (3, "/wls/v1/keys", JSON, 404, "404 page not found"), (4, "/wls/keys", JSON, 404, "404 page not found"),
                (4, "/wls/v2/keys", JSON, 404, "404 page not found"),
                (5, "/wls/v3/keys", JSON, 404, "404 page not found"),
                (4, "/wls/v1//keys", JSON, 404, "404 page not found"),
                (4, "/wls/v1/keys/", JSON, 404, "404 page not found"),
                (4, "/wls/v1/keys", charset, 404, "404 page not found"),
                (4, "/wls/v1/keys", {"Accept": "application/json"}, 404, "404 page not found"),
                (5, "/wls/v2/keys", {**JSON, "Accept": "*/*"}, 415, "Invalid Accept type"),
                (5, "/wls/v2/keys", {"Content-Type": "application/json"}, 415, "Invalid Accept type"),
                (5, "/wls/v2/keys", charset, 415, "Invalid Content-Type")):
            with self.subTest(release=release, path=path, headers=headers):
                double.release(number=release)
                self.refused(self.keys(url, path, headers=headers), status, text)
        double.release(number=4)
        self.refused(self.client.call("GET", "/wls/v1/keys", headers=JSON, token=self.token()), 405, "")

    def test_bodies(self):
        self.new_host()
        url = double.add_key()["key_url"]
        unknown_broker = "https://localhost:1/kbs/v1/keys/" + KEY_VECTOR
        unknown_key = double.urls["kbs"] + f"/keys/{KEY_VECTOR}/transfer"
        malformed = "Failed to retrieve Key for Image - KeyUrl is malformed"
        not_json = "Failed to retrieve key - JSON marshal error"
        for release, body, status, text in (
                (4, {"hardware_uuid": HARDWARE, "key_url": url, "more": 1}, 400, not_json), (4, "", 400, not_json),
                (4, {"hardware_uuid": "x", "key_url": url}, 400, "Invalid hardware UUID format"),
                (4, {"key_url": url}, 400, "Invalid hardware UUID format"),
                (5, {"hardware_uuid": HARDWARE}, 400, "keyUrl is empty"),
                *((release, {"hardware_uuid": HARDWARE, "key_url": text}, status, malformed)
                  for release, status in ((3, 400), (4, 400), (5, 500))
                  for text in (":x", "https://localhost:x/", "https://localhost/%zz", "https://local host/", "a\nb")),
                # It looks for no key, and yet asks for it.
                (4, {"hardware_uuid": HARDWARE, "key_url": "x"}, 500, "Failed to retrieve key "),
                (5, {"hardware_uuid": HARDWARE, "key_url": "x"}, 500,
                 f'{OF_KBS}: {UNREACHABLE}: Post "xkeys//transfer": unsupported protocol scheme ""'),
                (5, {"hardware_uuid": HARDWARE, "key_url": double.urls["kbs"] + "/keys/x/transfer"}, 500,
                 f"{OF_KBS}: {ANSWERED} :404"),
                (4, {"hardware_uuid": HARDWARE, "key_url": unknown_broker}, 500, "Failed to retrieve key "),
                (5, {"hardware_uuid": HARDWARE, "key_url": unknown_broker}, 500,
                 f'{OF_KBS}: {UNREACHABLE}: Post "{unknown_broker}/transfer": dial tcp localhost:1: connect: connection refused'),
                (4, {"hardware_uuid": HARDWARE, "key_url": unknown_key}, 500, "Failed to retrieve key "),
                (5, {"hardware_uuid": HARDWARE, "key_url": unknown_key}, 500, f"{OF_KBS}: {ANSWERED} :404"),
                (4, {"hardware_uuid": HARDWARE, "key_url": url.replace("/keys/", "//keys/")}, 500,
                 "Failed to retrieve key "),
                (5, {"hardware_uuid": HARDWARE, "key_url": url.replace("/keys/", "//keys/")}, 500,
                 f"{OF_KBS}: {ANSWERED} :404"),
                (4, {"hardware_uuid": str(uuid.uuid4()), "key_url": url}, 500,
                 "Failed to retrieve Key for Image - Failed to read HVS response"),
                (5, {"hardware_uuid": str(uuid.uuid4()), "key_url": url}, 500, f"{OF_HVS}: {ANSWERED} :400")):
            with self.subTest(release=release, body=body):
                double.release(number=release)
                path = {3: "/wls/keys", 4: "/wls/v1/keys", 5: "/wls/v2/keys"}[release]
                self.refused(self.client.call("POST", path, body, JSON, self.token()), status, text)
        double.release(number=4)
        status, body, headers = self.keys("")
        self.assertEqual((status, body, headers["Content-Length"]), (200, b"", "0"))

    def test_verdicts(self):
        self.new_host()
        url = double.add_key()["key_url"]
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused(self.keys(url), 500, UNTRUSTED)
        double.release(number=5)
        self.refused(self.keys(url, "/wls/v2/keys"), 500, UNTRUSTED)
        double.set_host(hardware_uuid=HARDWARE, trust=None)
        status, body, _ = self.keys(url, "/wls/v2/keys")
        self.assertEqual((status, len(unb64(json.loads(body)["key"]))), (201, 256))
        double.release(number=4)
        self.assertEqual(self.keys(url)[:2], (200, b'{"key":null}'))

    def test_broker_that_is_away_shows_when_the_cache_is_cold(self):
        self.new_host()
        first, second = double.add_key()["key_url"], double.add_key()["key_url"]
        kept = self.keys(first)[1]
        double.down(service="kbs")
        self.addCleanup(double.down, service="kbs", down=False)
        self.assertEqual(self.keys(first)[1], kept)
        self.refused(self.keys(second), 500, "Failed to retrieve key ")
        double.advance(seconds=301)
        self.refused(self.keys(first), 500, "Failed to retrieve key ")
        double.release(number=5)
        status, body, _ = self.keys(first, "/wls/v2/keys")
        self.assertEqual(status, 500)
        self.assertTrue(body.decode().startswith(f'{OF_KBS}: {UNREACHABLE}: Post "{first}": dial tcp localhost:'), body)

    def test_hosts_that_the_broker_refuses(self):
        self.new_host()
        url = double.add_key(usage="country:USA")["key_url"]
        self.refused(self.keys(url), 500, "Failed to retrieve key ")
        double.release(number=5)
        self.refused(self.keys(url, "/wls/v2/keys"), 500, f"{OF_KBS}: {ANSWERED} :401")

    def test_attestation_that_is_away(self):
        self.new_host()
        double.down(service="hvs")
        self.addCleanup(double.down, service="hvs", down=False)
        self.refused(self.keys(double.add_key()["key_url"]), 500,
                     "Failed to retrieve Key for Image - Failed to read HVS response")
        double.release(number=5)
        status, body, _ = self.keys(double.add_key()["key_url"], "/wls/v2/keys")
        self.assertEqual(status, 500)
        self.assertTrue(body.decode().startswith(f'{OF_HVS}: {UNREACHABLE}: Post "{double.urls["hvs"]}/reports": dial '), body)


class WorkloadImages(DoubleTest):
    def test_flavor_vector_is_signed_over_these_bytes(self):
        url = f"https://kbs.example:9443/kbs/v1/keys/{KEY_VECTOR}/transfer"
        signed = flavor.signed_bytes(flavor.image_flavor("vm1", url, DIGEST_VECTOR, FLAVOR_VECTOR))
        self.assertEqual(hashlib.sha384(signed).hexdigest(), FLAVOR_HASH_VECTOR)
        made = double.add_flavor(label="vm1", key_url=url, digest=DIGEST_VECTOR, id=FLAVOR_VECTOR)["signed"]
        with open(os.path.join(double.directory, "flavor-signing.pem"), "rb") as file:
            signer = x509.load_pem_x509_certificate(file.read()).public_key()
        signer.verify(unb64(made["signature"]), signed, padding.PKCS1v15(), hashes.SHA384())
        with self.assertRaises(InvalidSignature):
            signer.verify(unb64(made["signature"]), signed + b" ", padding.PKCS1v15(), hashes.SHA384())

    def test_html_is_escaped_where_it_is_signed(self):
        signed = flavor.signed_bytes(flavor.image_flavor("a&<>\u2028\u2029é", "https://h/", "", FLAVOR_VECTOR))
        self.assertIn('"label":"a\\u0026\\u003c\\u003e\\u2028\\u2029é"'.encode(), signed)

    def image(self, **members):
        made = double.add_flavor(label=str(uuid.uuid4()), **members)
        return double.add_image(flavor_ids=[made["id"]])["id"], made["signed"]

    def test_flavor_and_key(self):
        host, key = self.new_host(), double.add_key()
        image, signed = self.image(key_id=key["id"], digest=DIGEST_VECTOR)
        status, body, _ = self.flavor_key(image)
        answer = json.loads(body)
        self.assertEqual((status, answer["flavor"], answer["signature"]), (200, signed["flavor"], signed["signature"]))
        self.assertEqual(host.unwrap(unb64(answer["key"])), unb64(key["material"]))
        status, body, _ = self.client.call("GET", f"/wls/v1/images/{image}/flavors?flavor_part=IMAGE", headers=JSON,
                                           token=self.token())
        self.assertEqual((status, json.loads(body)), (200, signed))

    def test_verdicts(self):
        self.new_host()
        image, _ = self.image(key_id=double.add_key()["id"])
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused(self.flavor_key(image), 500, "Failed to retrieve Flavor/Key for Image - Host is untrusted")
        double.set_host(hardware_uuid=HARDWARE, trust=None)
        self.assertIsNone(json.loads(self.flavor_key(image)[1])["key"])

    def test_refusals(self):
        self.new_host()
        either, image = "Failed to retrieve Flavor/Key", str(uuid.uuid4())
        for release, answer, status, text in (
                (4, lambda: self.flavor_key(image), 404,
                 "Failed to retrieve Flavor and Key for Image - Backend Error"),
                (4, lambda: self.flavor_key("670f263e-b34e-1e07-a520-40ac9a89f62d"), 400, f"{either} - Invalid UUID"),
                (4, lambda: self.flavor_key(image, ""), 400, "Missing query parameters: [hardware_uuid]"),
                (4, lambda: self.flavor_key(image, "?hardware_uuid=x"), 400, f"{either} - Invalid hardware uuid"),
                (4, lambda: self.flavor_key(image, base="/wls"), 404, "404 page not found"),
                (5, lambda: self.flavor_key(image), 404, "404 page not found"),
                (5, lambda: self.flavor_key(image, base="/wls/v2"), 404, "404 page not found"),
                (4, lambda: self.client.call("GET", f"/wls/v1/images/{image}/flavors?flavor_part=IMAGE", headers=JSON,
                                             token=self.token()), 404,
                 "Failed to retrieve flavor - No flavor found for given image ID")):
            with self.subTest(release=release, text=text):
                double.release(number=release)
                self.refused(answer(), status, text)

    def test_plain_images(self):
        self.new_host()
        image, signed = self.image()
        self.refused(self.flavor_key(image), 500, "")
        double.release(number=3)
        status, body, _ = self.flavor_key(image, base="/wls")
        self.assertEqual((status, json.loads(body)), (200, {**signed, "key": None}))

    def test_owner_uploads(self):
        key = double.add_key()
        signed = double.add_flavor(label="upload", key_id=key["id"])["signed"]
        signed["flavor"]["meta"]["id"] = str(uuid.uuid4())
        signed["flavor"]["meta"]["description"]["label"] = "other"
        owner = {"headers": JSON, "token": self.token("owner")}
        first = self.client.call("POST", "/wls/v1/flavors", signed, **owner)
        self.assertEqual((first[0], json.loads(first[1])), (201, {"flavor": signed["flavor"]}))
        self.assertEqual(self.client.call("POST", "/wls/v1/flavors", signed, **owner)[0], 409)
        self.assertEqual(self.client.call("POST", "/wls/v1/flavors", {**signed, "signature": ""}, **owner)[0], 400)
        image = {"id": str(uuid.uuid4()), "flavor_ids": [signed["flavor"]["meta"]["id"]]}
        self.assertEqual(json.loads(self.client.call("POST", "/wls/v1/images", image, **owner)[1]), image)
        self.assertEqual(self.client.call("POST", "/wls/v1/images", image, **owner)[0], 409)
        self.assertEqual(self.client.call("POST", "/wls/v1/images", {**image, "id": "x"}, **owner)[0], 400)
        path = f"/wls/v1/images/{image['id']}/flavors/{image['flavor_ids'][0]}"
        self.assertEqual([self.client.call(method, path, **owner)[0] for method in ("DELETE", "PUT")], [204, 201])

    def test_version_needs_no_token(self):
        for release, path in ((3, "/wls/noauth/version"), (4, "/wls/v1/version"), (5, "/wls/v2/version")):
            double.release(number=release)
            self.assertEqual(self.client.call("GET", path)[0], 200)


class InstanceReports(DoubleTest):
    REPORT = ('{"instance_manifest":{"instance_info":{"instance_id":"7b280921-83f7-4f44-9f8d-2dcf36e7af33",'
              '"host_hardware_uuid":"59eed8f0-28c5-4070-91fc-f5e2e5443f6b",'
              '"image_id":"670f263e-b34e-4e07-a520-40ac9a89f62d"},"image_encrypted":true},'
              '"policy_name":"Intel VM Policy","results":[{"rule":{"rule_name":"EncryptionMatches","markers":["IMAGE"],'
              '"expected":{"name":"encryption_required","value":true}},'
              '"flavor_id":"dfa22f83-b6dd-4bf3-9b07-ff1fa01eb69f","trusted":true}],"trusted":true}').encode()

    def post(self, envelope, headers=None):
        return self.client.call("POST", "/wls/v1/reports", envelope, headers or JSON, self.token())

    def envelope(self, data):
        return {"data": base64.b64encode(data).decode(), "hash_alg": "SHA-256", "cert": "a\nb\n", "signature": "AAAA"}

    def test_report_is_kept_and_echoed(self):
        self.assertEqual(hashlib.sha256(self.REPORT).hexdigest(),
                         "f619e23bd259a3055bc99630fd65ab08120560700ac2d6a88b19ca574393f2fe")
        status, body, _ = self.post(self.envelope(self.REPORT))
        whole = {**json.loads(self.REPORT), **self.envelope(self.REPORT)}
        self.assertEqual((status, json.loads(body)), (201, whole))
        self.assertEqual(double.reports()["reports"][-1], whole)
        path = "/wls/v1/reports?instance_id="
        found = [json.loads(self.client.call("GET", path + wanted, headers=JSON, token=self.token("owner"))[1])
                 for wanted in ("7b280921-83f7-4f44-9f8d-2dcf36e7af33", str(uuid.uuid4()))]
        self.assertEqual(found, [[whole], []])

    def test_refusals(self):
        envelope = self.envelope(self.REPORT)
        for change in ({"more": 1}, {"data": "*"}, {"data": base64.b64encode(b"x").decode()}, {"cert": 1}):
            self.assertEqual(self.post({**envelope, **change})[0], 400, change)
        self.refused(self.post(envelope, {**JSON, "Content-Type": "application/json; charset=utf-8"}), 405, "")
        double.release(number=5)
        self.refused(self.post(envelope), 404, "404 page not found")


class RealTpm(DoubleTest):
    """A software TPM and tpm2-tools in the place of the host."""

    PARENT = "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth"
    AIK = "restricted|sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth"
    KEY = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|decrypt"

    def setUp(self):
        super().setUp()
        self.directory = tempfile.mkdtemp(prefix="wlagent-isecl-tpm.", dir=double.directory)
        self.tpm = harness.Swtpm(self.directory).start()
        self.addCleanup(self.tpm.stop)

    def path(self, name):
        return os.path.join(self.directory, name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def create(self, name, algorithm, attributes, *more):
        self.tpm.tool("tpm2_create", "-Q", "-C", "0x81000000", "-g", "sha256", "-G", algorithm, "-a", attributes,
                      "-u", self.path(name + ".pub"), "-r", self.path(name + ".priv"), *more)
        self.tpm.tool("tpm2_load", "-Q", "-C", "0x81000000", "-u", self.path(name + ".pub"),
                      "-r", self.path(name + ".priv"), "-c", self.path(name + ".ctx"))
        self.tpm.tool("tpm2_flushcontext", "-t")

    def provision(self):
        self.tpm.tool("tpm2_createprimary", "-Q", "-C", "o", "-g", "sha256", "-G", "rsa2048:null:aes128cfb",
                      "-a", self.PARENT, "-c", self.path("parent.ctx"))
        self.tpm.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", self.path("parent.ctx"), "0x81000000")
        self.tpm.tool("tpm2_flushcontext", "-t")
        self.create("aik", "rsa2048:rsassa-sha256:null", self.AIK)
        self.tpm.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", self.path("aik.ctx"), "0x81018000")
        self.tpm.tool("tpm2_readpublic", "-Q", "-c", "0x81018000", "-f", "pem", "-o", self.path("aik.pem"))

    def test_register_a_binding_key_and_open_a_key_with_it(self):
        secret = "hex:" + os.urandom(20).hex()
        self.provision()
        self.create("key", "rsa2048", self.KEY, "-p", secret)
        self.tpm.tool("tpm2_certify", "-Q", "-c", self.path("key.ctx"), "-C", "0x81018000", "-P", secret,
                      "-g", "sha256", "-f", "tss", "-o", self.path("attest"), "-s", self.path("signature"))
        attest, signature, public = self.read("attest"), self.read("signature"), self.read("key.pub")
        self.assertEqual((len(attest), len(signature), len(public)), (145, 262, 280))

        added = double.add_host(hardware_uuid=HARDWARE, aik=self.read("aik.pem").decode())["aik_certificate"]
        aik = x509.load_pem_x509_certificate(added.encode()).public_bytes(serialization.Encoding.DER)
        answer = self.certify(request_to_certify(public, attest, signature, aik))
        self.assertEqual(answer[0], 201, answer)
        self.assertEqual(attest[73:109], b"\x00\x22" + name_of(public))

        key = double.add_key()
        wrapped = unb64(json.loads(self.keys(key["key_url"])[1])["key"])
        with open(self.path("wrapped"), "wb") as file:
            file.write(wrapped)
        self.tpm.tool("tpm2_rsadecrypt", "-Q", "-c", self.path("key.ctx"), "-p", secret, "-s", "oaep", "-l", "TPM2",
                      "-o", self.path("opened"), self.path("wrapped"))
        self.assertEqual(self.read("opened"), unb64(key["material"]))


if __name__ == "__main__":
    unittest.main()
