# SPDX-License-Identifier: Apache-2.0
"""VMs whose images WLS knows by their UUID: key and flavor come together, and nothing is opened unless the flavor is
signed, for this image, and for its very bytes. The services are the double of tests/doubles/isecl."""

import base64
import copy
import hashlib
import json
import os
import uuid

import harness
from isecl_case import HARDWARE, double
from test_nova_domains import Instance
from wls_case import WlsTest
from vms import Domain, Image, Volumed, VmTest

WLS = "wls:///images/"
NEITHER = "Failed to retrieve Flavor/Key"
BOTH = "Failed to retrieve Flavor and Key for Image"
EITHER = "Failed to retrieve Flavor/Key for Image"


def digest_of(path):
    with open(path, "rb") as file:
        return base64.b64encode(hashlib.sha384(file.read()).digest()).decode()


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


class FlavorTest(WlsTest):
    launch_seconds = 15

    ask, tell, allowed, refused_start = VmTest.ask, VmTest.tell, VmTest.allowed, VmTest.refused_start
    vms, vm, records, nothing_is_left = VmTest.vms, VmTest.vm, VmTest.records, VmTest.nothing_is_left
    run_through, ends = VmTest.run_through, VmTest.ends

    def setUp(self):
        super().setUp()
        self.volumed = Volumed(os.path.join(self.directory, "volumed"),
                               os.path.join(self.agent.run_directory, "volumed.sock"))
        self.addCleanup(self.volumed.stop)
        self.volumed.start()
        double.set_host(hardware_uuid=HARDWARE, trust=True)
        self.secret = self.key(length=256)
        self.image = Image(os.path.join(self.directory, "base.img"), self.secret.url, self.secret.bytes)
        self.know()

    def section(self):
        signers = os.path.join(self.directory, "signers")
        os.makedirs(signers, exist_ok=True)
        double.add_flavor(label=str(uuid.uuid4()))  # makes the signer
        with open(os.path.join(os.path.dirname(double.root_ca), "flavor-signing.pem"), "rb") as certificate, \
                open(os.path.join(signers, "signer.pem"), "wb") as file:
            file.write(certificate.read())
        return {**super().section(), "FlavorTrustDirectory": signers}

    def start(self, **options):
        self.agent.options["Keys"].pop("CacheSeconds", None)  # as it is shipped
        self.agent.write_config(Libvirt={"LaunchTimeoutSeconds": self.launch_seconds})
        super().start(**options)

    def restart(self, **wls):
        self.agent.stop()
        self.agent.write_config(WLS={**self.section(), **wls})
        self.start()

    def know(self, **flavor):
        """WLS knows the image as self.glance."""
        self.flavor = double.add_flavor(label=str(uuid.uuid4()), **{
            "key_id": self.secret.id, "digest": digest_of(self.image.path), **flavor})
        self.glance = double.add_image(flavor_ids=[self.flavor["id"]])["id"]

    def domain(self, mode="layer", glance=None):
        return Domain({"vda": (self.image, mode)}, key=WLS + (glance or self.glance))

    def refused_all(self, code, pattern, domain=None):
        """And nothing of the image was opened."""
        domain = domain or self.domain()
        self.volumed.forget_order()
        answer = self.refused_start("prepare", domain, code, pattern)
        self.assertNotIn("OPEN_IMAGE", self.volumed.order())
        self.forgotten(domain)
        return answer.text

    def forgotten(self, domain):
        """Others may run."""
        harness.poll(lambda: self.vm(domain) is None, "the VM to be forgotten")
        self.assertNotIn(domain.uuid + ".json", self.records())
        self.assertEqual([name for name in self.volumed.held() if domain.uuid in name], [])

    def answers(self, **fault):
        double.clear_faults()
        double.fault(route="wls.flavor_key", **fault)


class FlavorStarts(FlavorTest):
    def verdict(self, domain):
        return self.vm(domain)["disks"][0]["flavor"]

    def test_a_start_and_the_next_one(self):
        domain = self.domain()
        self.run_through(domain)
        order = self.volumed.order()
        self.assertLess(order.index("DIGEST_IMAGE"), order.index("OPEN_IMAGE"))
        self.assertEqual(self.verdict(domain), {
            "id": self.flavor["id"], "image": self.glance, "encryption_required": True, "integrity_enforced": False,
            "signature_verified": True, "digest_verified": True})
        self.assertIn(f"WLA_FLAVOR={self.flavor['id']} ", self.agent.log_text())
        asked = [request for request in double.requests()["requests"] if request["route"] == "wls.flavor_key"]
        self.assertEqual([request["target"] for request in asked],
                         [f"/wls/v1/images/{self.glance}/flavor-key?hardware_uuid={HARDWARE}"])
        self.ends(domain)
        self.nothing_is_left(domain)

        # The key is released for each start anew, and the digest is known.
        self.run_through(domain)
        self.assertEqual(self.calls("wls.flavor_key"), 2)
        self.ends(domain)
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused_all("denied", "HVS does not trust this host")

    def test_a_record_is_read_again(self):
        domain = self.domain()
        self.run_through(domain)
        before = self.verdict(domain)
        self.agent.stop()
        self.start()
        self.assertEqual(self.verdict(domain), before)

    def test_an_image_that_was_changed(self):
        self.run_through(self.domain())
        flip(self.image.path, 40000)
        text = self.refused_all("denied", "disk vda: the image .*base.img is not the one that flavor .* is for")
        self.assertIn(self.flavor["id"], text)
        flip(self.image.path, 40000)
        self.run_through(self.domain())

    def test_a_header_of_another_key(self):
        other = self.key(length=256)
        self.know(key_id=other.id)
        self.refused_all("denied", "its header names another key than its flavor")

    def test_a_header_that_names_the_image_itself(self):
        named = str(uuid.uuid4())
        self.image = Image(os.path.join(self.directory, "own.img"), WLS + named, self.secret.bytes)
        flavor = double.add_flavor(label=str(uuid.uuid4()), key_id=self.secret.id, digest=digest_of(self.image.path))
        double.add_image(flavor_ids=[flavor["id"]], id=named)
        self.run_through(Domain({"vda": (self.image, "layer")}))

    def test_disks_that_can_have_none(self):
        self.refused_all("unsupported", "an image with a flavor cannot be written to", self.domain("direct"))
        domain = self.domain(glance="670f263e-b34e-1e07-a520-40ac9a89f62d")
        self.refused_all("input", "UUIDs of version 4", domain)
        self.assertEqual(self.calls("wls.flavor_key"), 0)

    def test_two_vms_at_once_share_one_answer(self):
        double.fault(route="wls.flavor_key", delay=1)
        domains = [self.domain(), self.domain()]
        asked = [self.ask("prepare", domain) for domain in domains]
        self.assertEqual([one.answer() for one in asked], [("ok", "")] * 2)
        self.assertEqual(self.calls("wls.flavor_key"), 1)
        for domain in domains:
            self.assertTrue(self.verdict(domain)["digest_verified"])

    def test_a_digest_that_takes_too_long(self):
        self.agent.stop()
        self.launch_seconds = 8
        self.start()
        self.volumed.fault("DIGEST_IMAGE", "slow")
        text = self.refused_all("timeout", "is being read, to hold it against flavor .*: 33 % of 65536 bytes so far")
        self.assertIn("start the VM again", text)
        self.volumed.fault()
        self.agent.stop()
        self.launch_seconds = 60
        self.start()
        self.run_through(self.domain())

    def test_a_digest_that_fails(self):
        self.volumed.fault("DIGEST_IMAGE", "refuse")
        self.refused_all("denied", "refused by the test")
        self.volumed.fault("DIGEST_IMAGE", "die")
        self.refused_all("unavailable", "asking wlagent-volumed")


class FlavorSignatures(FlavorTest):
    def changed(self, change):
        """The flavor, still with its old signature."""
        flavor = copy.deepcopy(self.flavor["signed"]["flavor"])
        change(flavor)
        self.answers(json={"flavor": flavor})

    def test_what_is_not_signed_by_a_trusted_signer(self):
        self.answers(json={"signature": ""})
        text = self.refused_all("denied", "the flavor is not signed")
        self.assertIn("flavor " + self.flavor["id"], text)
        other = double.add_flavor(label=str(uuid.uuid4()), key_id=self.secret.id, digest="AAAA")
        self.answers(json={"signature": other["signed"]["signature"]})
        self.refused_all("denied", "is of none of the certificates in")
        self.answers(json={"signature": "%%%"})
        self.refused_all("input", 'the flavor: member "signature"')
        self.answers(remove=["signature"])
        self.refused_all("input", 'the flavor: member "signature"')

        self.changed(lambda flavor: flavor["encryption"].update(digest=digest_of(__file__)))
        self.refused_all("denied", "is of none of the certificates in")
        self.changed(lambda flavor: flavor["meta"].update(id=str(uuid.uuid4())))
        self.refused_all("denied", "is of none of the certificates in")
        self.changed(lambda flavor: flavor.update(vendor="x"))
        self.refused_all("input", "there is a member that is not known")
        self.changed(lambda flavor: flavor.update(encryption_required=False))
        self.refused_all("denied", "the flavor says that the image is not encrypted")
        double.clear_faults()
        self.run_through(self.domain())

    def test_signers(self):
        signers = os.path.join(self.directory, "signers")
        os.rename(os.path.join(signers, "signer.pem"), os.path.join(self.directory, "signer.pem"))
        self.refused_all("not-found", "FlavorTrustDirectory=.* is empty")
        with open(os.path.join(signers, "root.pem"), "wb") as file, open(double.root_ca, "rb") as root:
            file.write(root.read())
        self.refused_all("denied", "is of none of the certificates in")
        os.rename(os.path.join(self.directory, "signer.pem"), os.path.join(signers, "signer.pem"))
        self.run_through(self.domain())

    def test_without_verification_the_rest_is_still_checked(self):
        self.restart(VerifyFlavors="no", FlavorTrustDirectory="/nowhere")
        self.answers(json={"signature": ""})
        domain = self.domain()
        self.run_through(domain)
        verdict = self.vm(domain)["disks"][0]["flavor"]
        self.assertEqual((verdict["signature_verified"], verdict["digest_verified"]), (False, True))
        self.changed(lambda flavor: flavor["encryption"].update(digest=digest_of(__file__)))
        self.refused_all("denied", "is not the one that flavor")
        self.changed(lambda flavor: flavor["meta"]["description"].update(flavor_part="CONTAINER_IMAGE"))
        self.refused_all("denied", "it is not for an image of VMs")
        self.changed(lambda flavor: flavor["encryption"].update(key_url="http" + self.secret.url[5:]))
        self.refused_all("denied", "its key_url is no key transfer link")
        self.changed(lambda flavor: flavor["encryption"].update(key_url=self.secret.url.replace("/transfer", "")))
        self.refused_all("denied", "its key_url is no key transfer link")


class FlavorRefusals(FlavorTest):
    """Each answer that WLS can give but the one with a key."""

    def test_statuses(self):
        rows = [
            (400, f"{NEITHER} - Invalid UUID", "input", "WLS does not take the image's UUID .*UUIDs of version 4"),
            (400, f"{NEITHER} - Invalid hardware uuid", "input", "WLS does not take this host's hardware UUID .*HardwareUUID="),
            (400, "Missing query parameters: [hardware_uuid]", "input", "WLS does not take the request .*on the way"),
            (401, "Insufficient privileges to access /wls", "denied",
             "the agent's user may not have flavors of images .*ServiceUser= the role WLS:FlavorsImageRetrieval"),
            (404, f"{BOTH} - Backend Error", "not-found",
             "WLS has no flavor for the image, or cannot read its database .*post the image's flavor to WLS"),
            (404, "404 page not found", "not-found", "WLS does not know the address of images .*ServerURL= must be"),
            (405, "", "not-found", "WLS does not know the address of images .*ServerURL= must be"),
            (500, f"{EITHER} - Host is untrusted", "denied", "HVS does not trust this host .*trust report in HVS"),
            (500, f"{EITHER} - SAML signature or certificate chain verification failed", "unavailable",
             "does not accept the reports of HVS .*SAML root certificate"),
            (500, "Failed to retrieve key ", "denied", "KBS gave no key .*log of KBS"),
            (500, "Failed to retrieve key https://kbs:404/kbs/v1/keys/404", "denied", "KBS gave no key .*log of KBS"),
            (302, "", "denied", r"WLS sends its client elsewhere \(status 302\).*ServerURL="),
        ]
        for status, body, code, pattern in rows:
            with self.subTest(body=body, status=status):
                self.answers(status=status, body=body + "\n" if body else "")
                double.reset_counters()
                self.refused_all(code, pattern)
                self.assertEqual(self.calls("wls.flavor_key"), 1)

    def test_what_may_pass_is_tried_once_more(self):
        for fault, code, pattern in (
                ({"status": 500, "body": f"{EITHER} - Failed to read HVS response\n"}, "unavailable",
                 "HVS cannot judge this host now .*HVS lists the host as CONNECTED"),
                ({"status": 500, "body": ""}, "unavailable", r"WLS answered with status 500 \(see the log of WLS"),
                ({"status": 500, "body": f"{BOTH}\n"}, "unavailable", r"WLS answered with status 500 \(see the log of WLS"),
                ({"close_at": 0}, "unavailable", r"WLS https://.* \(see its log, and that of the proxy"),
                ({"status": 401, "body": "", "delay": 1.1}, "denied",
                 "WLS does not accept the agent's token .*WLS and AAS must share one AAS signing certificate")):
            with self.subTest(fault=fault):
                double.reset_counters()
                self.answers(**fault)
                self.refused_all(code, pattern)
                self.assertEqual(self.calls("wls.flavor_key"), 2)
                if fault.get("status") == 401:
                    double.clear_faults()
                    double.expire_tokens()
                    double.advance(seconds=2)  # tokens of one second are the same
                else:
                    self.answers(times=1, **fault)
                domain = self.domain()
                self.run_through(domain)
                self.ends(domain)
                self.nothing_is_left(domain)

    def test_bodies(self):
        rows = [
            ({"body": ""}, "denied", "WLS answered without a flavor .*log of WLS"),
            ({"body": "{"}, "input", "the answer of WLS.*something else may stand at ServerURL="),
            ({"remove": ["key"]}, "denied", "WLS answered without a key .*HVS said nothing on the trust"),
            ({"json": {"key": None}}, "denied", "WLS answered without a key"),
            ({"json": {"key": ""}}, "denied", "WLS answered without a key"),
            ({"json": {"key": "AAAA"}}, "input", "the key in the answer of WLS"),
            ({"remove": ["flavor"]}, "input", "the answer of WLS: the flavor"),
            ({"duplicate": {"key": "AAAA"}}, "input", "the answer of WLS"),
            ({"body_size": 65536}, "input", "its answer is too long"),
            ({"ciphertext_size": 255}, "input", "the key in the answer of WLS.*log of WLS"),
            ({"ciphertext_size": 257}, "input", "the key in the answer of WLS.*log of WLS"),
            ({"other_host": True}, "input", "not wrapped for this host.*register-binding-key"),
            ({"other_key": True}, "denied", "the volume key does not open with .*the key is not the one that encrypted"),
            ({"key_size": 16}, "input", "the key has 16 bytes where AES-256 needs 32 .*AES key of 256 bits"),
        ]
        for fault, code, pattern in rows:
            with self.subTest(fault=fault):
                self.answers(**fault)
                domain = self.domain()
                answer = self.tell("prepare", domain)
                self.assertRegex(answer.code, f"^{code}$", answer.text)
                self.assertRegex(answer.text, pattern)
                self.nothing_is_left(domain)

    def test_hosts(self):
        double.set_host(hardware_uuid=HARDWARE, trust=None)
        self.refused_all("denied", "WLS answered without a key")
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused_all("denied", "HVS does not trust this host")
        double.set_host(hardware_uuid=HARDWARE, trust=True)
        for service, code, pattern in (("hvs", "unavailable", "HVS cannot judge"), ("kbs", "denied", "KBS gave no key")):
            double.advance(seconds=301)
            double.down(service=service)
            self.refused_all(code, pattern)
            double.down(service=service, down=False)
        double.remove_key(id=self.secret.id)
        double.advance(seconds=301)
        self.refused_all("denied", "KBS gave no key")

    def test_images_without_a_usable_flavor(self):
        self.refused_all("not-found", "WLS has no flavor for the image(?!, or)", self.domain(glance=str(uuid.uuid4())))
        self.assertEqual(self.calls("wls.image_flavor"), 1)
        broker = self.agent.status()["broker"]
        self.assertEqual((broker["last_result"], broker["requests"].get("ok")), ("not-found", None))
        plain = double.add_flavor(label=str(uuid.uuid4()))
        image = double.add_image(flavor_ids=[plain["id"]])["id"]
        double.reset_counters()
        self.refused_all("denied", "the flavor says that the image is not encrypted", self.domain(glance=image))
        # Release 4 panics over it, which tells nothing; the flavor alone does.
        self.assertEqual((self.calls("wls.flavor_key"), self.calls("wls.image_flavor")), (2, 1))
        for fault in ({"status": 404, "body": "Failed to retrieve flavor - No flavor found for given image ID\n"},
                      {"status": 500, "body": ""}, {"body": "{}"}, {"close_at": 0}, {"status": 401, "body": ""}):
            with self.subTest(fault=fault):
                double.clear_faults()
                double.fault(route="wls.flavor_key", status=404, body=f"{BOTH} - Backend Error\n")
                double.fault(route="wls.image_flavor", **fault)
                self.refused_all("not-found", "WLS has no flavor for the image")


class FlavorOldRelease(FlavorTest):
    release = 3

    def section(self):
        section = super().section()
        return {**section, "ServerURL": section["ServerURL"].rstrip("/"), "AllowTLS12": "yes"}

    def test_a_start_and_a_flavor_without_encryption(self):
        self.run_through(self.domain())
        plain = double.add_flavor(label=str(uuid.uuid4()))
        image = double.add_image(flavor_ids=[plain["id"]])["id"]
        self.refused_all("denied", "the flavor says that the image is not encrypted", self.domain(glance=image))


class FlavorNewRelease(FlavorTest):
    release = 5

    def test_there_are_no_images(self):
        self.refused_all("not-found", "WLS does not know the address of images.*WLS 5.x does not know images")


class FlavorNova(FlavorTest):
    def setUp(self):
        super().setUp()
        self.instance = Instance(os.path.join(self.directory, "instances"), self.image)
        self.image.path = self.instance.base
        double.add_image(flavor_ids=[self.flavor["id"]], id=self.instance.glance)
        self.header = self.instance.base + ".header"
        self.make_known("--wls")

    def make_known(self, *options):
        return self.agent.run("image", "register", self.instance.glance, "--header", self.header, *options)

    def listed(self):
        done = self.agent.run("image", "list", "--json")
        return {image["image"]: image["wls"] for image in json.loads(done.stdout)["images"]}

    def test_an_instance(self):
        self.allowed("prepare", self.instance)
        self.assertEqual(self.instance.backing(), "/dev/mapper/" + self.image.mapping)
        disk = self.vm(self.instance)["disks"][0]
        self.assertEqual((disk["key_id"], disk["flavor"]["digest_verified"]), (WLS + self.instance.glance, True))
        self.allowed("release", self.instance)
        self.nothing_is_left(self.instance)

        flip(self.instance.base, 5000)
        self.refused_all("denied", "is not the one that flavor", self.instance)
        self.assertEqual(self.instance.backing(), self.instance.base)

    def test_the_registration_says_whether_there_is_a_flavor(self):
        self.assertEqual(self.listed(), {self.instance.glance: True})
        done = self.agent.run("image", "register", self.instance.glance, "--header", self.header, check=False)
        self.fails(done, r"is registered already\n.*--force")
        self.assertEqual(self.listed(), {self.instance.glance: True})
        self.make_known("--force")
        self.assertEqual(self.listed(), {self.instance.glance: False})
        double.reset_counters()
        self.allowed("prepare", self.instance)
        self.assertEqual((self.calls("wls.keys"), self.calls("wls.flavor_key")), (1, 0))
        self.assertNotIn("flavor", self.vm(self.instance)["disks"][0])
        self.allowed("release", self.instance)
        self.nothing_is_left(self.instance)

        self.make_known("--force", "--wls")
        self.assertEqual(self.listed(), {self.instance.glance: True})
        self.agent.run("image", "unregister", self.instance.glance)
        self.assertEqual(os.listdir(os.path.join(self.agent.state, "images")), [])

    def test_what_cannot_be_registered_so(self):
        local = Image(os.path.join(self.directory, "local.img"), "local:///image", bytes(32))
        other = Image(os.path.join(self.directory, "other.img"), WLS + str(uuid.uuid4()), bytes(32))
        for image in (local, other):
            done = self.agent.run("image", "register", str(uuid.uuid4()), "--wls", "--header", image.path + ".header",
                                  check=False)
            self.fails(done, "WLS does not give the key that the header names")
        done = self.agent.run("image", "register", "670f263e-b34e-1e07-a520-40ac9a89f62d", "--wls", "--header",
                              self.header, check=False)
        self.fails(done, "UUIDs of version 4")
        self.assertEqual(self.listed(), {self.instance.glance: True})

        # A header that names another image is refused at the start.
        self.header = other.path + ".header"
        os.rename(other.path, self.instance.base)
        os.rename(self.header, self.instance.base + ".header")
        self.header = self.instance.base + ".header"
        self.make_known("--force")
        self.refused_all("denied", "its header names the key of the image", self.instance)
