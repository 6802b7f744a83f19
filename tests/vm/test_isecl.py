# SPDX-License-Identifier: Apache-2.0
"""VMs of images that Intel SecL's WLS knows, from their owner to a running guest: key of KBS, image, signed flavor, the
host that HVS trusts or not, and what it tells WLS of the VM; instances of Nova among them. The services are the double of
tests/doubles/isecl, the TPM is the VM's, and the host has joined by the tasks of wlagent setup."""

import datetime
import json
import os
import shutil
import subprocess
import tempfile
import types
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

import host
import running
from isecl_case import HARDWARE, JSON, Client, double
from report_checks import check_content, check_signature
from running import poll
from test_nova import Instance

MARKER = "a marker of the owner's disk"
WLS = "wls:///images/"
TPM = "device:/dev/tpmrm0"
STORAGE_KEY, ATTESTATION_KEY = "0x81000000", "0x81018000"
REPORT = "wls.create_report"


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuer_key, authority):
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True))
    return made.sign(issuer_key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)


def make_trust_agents_keys(directory):
    """What a Trust Agent leaves in the TPM: storage key and attestation key, whose public half is returned."""
    fixed = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth"
    context, public, private = (os.path.join(directory, part) for part in ("key.ctx", "key.pub", "key.priv"))
    host.run("tpm2_createprimary", "-Q", "-T", TPM, "-C", "o", "-g", "sha256", "-G", "rsa2048:aes128cfb", "-a",
             f"restricted|decrypt|{fixed}", "-c", context)
    host.run("tpm2_evictcontrol", "-Q", "-T", TPM, "-C", "o", "-c", context, STORAGE_KEY)
    host.run("tpm2_create", "-Q", "-T", TPM, "-C", STORAGE_KEY, "-g", "sha256", "-G", "rsa2048:rsassa-sha256:null", "-a",
             f"restricted|sign|{fixed}", "-u", public, "-r", private)
    host.run("tpm2_load", "-Q", "-T", TPM, "-C", STORAGE_KEY, "-u", public, "-r", private, "-c", context)
    host.run("tpm2_evictcontrol", "-Q", "-T", TPM, "-C", "o", "-c", context, ATTESTATION_KEY)
    host.run("tpm2_readpublic", "-Q", "-T", TPM, "-c", ATTESTATION_KEY, "-f", "pem", "-o", public)
    with open(public, encoding="ascii") as file:
        return file.read()


class Owner:
    """Who has the disk, an account at KBS and WLS, and a key to sign flavors with."""

    def __init__(self, directory):
        self.directory = directory
        self.home = os.path.join(directory, "home")
        self.roots = os.path.join(directory, "roots")
        self.signers = os.path.join(directory, "signers")
        for path in (self.roots, self.signers, os.path.join(self.home, ".config/wlagent")):
            os.makedirs(path)
        shutil.copyfile(double.root_ca, os.path.join(self.roots, "services.pem"))
        self.make_signer()
        self.write("home/.config/wlagent/owner.conf", "".join(f"{option}={value}\n" for option, value in {
            "KBS_BASE_URL": double.urls["kbs"], "AAS_API_URL": double.urls["aas"], "WPM_SERVICE_USERNAME": "owner",
            "WPM_SERVICE_PASSWORD": double.users["owner"], "TRUSTED_CA_DIRECTORY": self.roots}.items()).encode())

    def write(self, path, content):
        path = os.path.join(self.directory, path)
        with open(path, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(content)
        return path

    def make_signer(self):
        root, signer = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)
        self.key = self.write("signer.key", signer.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        for path, content in ((f"{self.roots}/owner.pem", certificate("owner", root, "owner", root, True)),
                              (f"{self.signers}/owner.pem", certificate("signer", signer, "owner", root, False))):
            with open(path, "wb") as file:
                file.write(content)

    def encrypts(self, plain, image, *options):
        """Gives image and flavor away: what it does on the services is as everybody does it."""
        flavor = image + ".flavor"
        done = subprocess.run([running.WLAGENT, "image", "encrypt", "--kbs", "configured", "--flavor", flavor,
                               "--flavor-key", self.key, "--label", str(uuid.uuid4()), *options, plain, image],
                              env={"PATH": os.environ["PATH"], "HOME": self.home}, capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stderr
        with open(flavor, encoding="utf-8") as file:
            signed = json.load(file)
        glance = str(uuid.uuid4())
        token = double.make_token(user="owner")["token"]
        with Client(timeout=60) as client:
            for path, body in (("flavors", signed), ("images", {"id": glance, "flavor_ids": [signed["flavor"]["meta"]["id"]]})):
                status, answer, _ = client.call("POST", f"/wls/v1/{path}", body, JSON, token)
                assert status == 201, answer
        return types.SimpleNamespace(path=image, id=glance, flavor=signed["flavor"]["meta"]["id"])


class Isecl(host.VmTest):
    """One host that is registered, with one owner."""

    owner = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory_of_all = tempfile.mkdtemp(dir="/var/lib")
        os.chmod(cls.directory_of_all, 0o755)
        cls.owner = Owner(cls.directory_of_all)
        cls.configure()
        cls.join()

    @classmethod
    def tearDownClass(cls):
        agent = host.VmTest.host.agent
        agent.stop()
        del agent.options["WLS"]
        agent.write_config(Keys={"CacheSeconds": 60})
        agent.start()
        shutil.rmtree(cls.directory_of_all)
        for handle in (STORAGE_KEY, ATTESTATION_KEY):
            host.run("tpm2_evictcontrol", "-Q", "-C", "o", "-c", handle, "-T", TPM)
        super().tearDownClass()

    @classmethod
    def configure(cls):
        """For an agent that is not root."""
        base = double.urls["cms"].removesuffix("/cms/v1")
        host.VmTest.host.agent.write_config(Keys={"CacheSeconds": 0}, WLS={
            "ServerURL": base + "/wls/v1", "TokenURL": double.urls["aas"], "ServiceUser": "wla",
            "BindingKey": cls.key("binding"), "SigningKey": cls.key("signing"), "TrustDirectory": cls.owner.roots,
            "FlavorTrustDirectory": cls.owner.signers, "HardwareUUID": HARDWARE})

    @classmethod
    def key(cls, kind):
        return os.path.join(cls.directory_of_all, kind + "key.json")

    @classmethod
    def join(cls):
        """As an operator has the host join, after its Trust Agent; and as systemd then starts wlagentd."""
        root, trust_agent, credentials = (os.path.join(cls.directory_of_all, name)
                                          for name in ("root", "trustagent", "credentials"))
        for path in (root, trust_agent, credentials):
            os.makedirs(path)
        with open(os.path.join(trust_agent, "aik.pem"), "w", encoding="ascii") as file:
            file.write(double.add_host(hardware_uuid=HARDWARE, aik=make_trust_agents_keys(root))["aik_certificate"])
        secret = os.path.join(root, "host-key")
        answers = {**os.environ, "HVS_URL": double.urls["hvs"], "BEARER_TOKEN": double.make_token(user="installer")["token"],
                   "TRUSTAGENT_CONFIGURATION": trust_agent, "TRUSTAGENT_USERNAME": "games",
                   "SYSTEMD_CREDENTIAL_SECRET": secret}
        agent = host.VmTest.host.agent
        for task in ("binding-key", "signing-key", "register-binding-key", "register-signing-key"):
            agent.run("setup", task, "--root", root, env=answers)
        store = os.path.join(root, "etc", "credstore.encrypted")
        for name in os.listdir(store):
            host.run("env", f"SYSTEMD_CREDENTIAL_SECRET={secret}", "systemd-creds", "decrypt", f"--name={name}", os.path.join(store, name),
                     os.path.join(credentials, name))
            os.chmod(os.path.join(credentials, name), 0o644)
        with open(os.path.join(credentials, "aas-password"), "w", encoding="utf-8") as file:
            file.write(double.users["wla"] + "\n")
        agent.stop()
        agent.start(env={**os.environ, "CREDENTIALS_DIRECTORY": credentials})

    def setUp(self):
        super().setUp()
        double.clear_faults()
        double.set_host(hardware_uuid=HARDWARE, trust=True)
        double.advance(seconds=301)  # WLS has forgotten what it knew of the host

    def protected(self, guest, *options):
        plain = host.write_disk(os.path.join(host.PLAIN, guest), MARKER)
        image = self.owner.encrypts(plain, os.path.join(self.directory, guest + ".img"), *options)
        os.unlink(plain)
        return image, self.guest(guest).protected_disk(image.path, key=WLS + image.id).define()

    def starts(self, guest):
        guest.start()
        self.assertIn(f"disk 0: {MARKER}", guest.wait_until_up())

    def refused(self, guest, pattern):
        done = guest.start(check=False)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stderr, pattern)
        self.left_nothing()
        self.assertEqual([vm["uuid"] for vm in self.host.agent.status()["vms"]], [])

    def reports(self, guest):
        return [report for report in double.reports()["reports"]
                if report["instance_manifest"]["instance_info"]["instance_id"] == guest.uuid]

    def report_state(self):
        return self.host.agent.status()["trust_reports"]

    def arrived(self, guest, count):
        state = self.report_state()
        return len(self.reports(guest)) >= count and state["waiting"] == state["unsigned"] == 0

    def reported(self, image, guest, count):
        """Once WLS has so many of the guest, and nothing waits: what it has, each of them right."""
        poll(lambda: self.arrived(guest, count), lambda: f"report {count}; {self.report_state()}", 60)
        found = self.reports(guest)
        for report in found:
            check_content(report, guest.uuid, image.id, image.flavor)
            check_signature(report, self.key("signing"))
        return found

    def flip(self, image, at):
        with open(image.path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
            os.fsync(file.fileno())

    def test_an_image_of_the_owner(self):
        image, guest = self.protected("isecl-vm")
        self.starts(guest)
        (vm,) = self.host.agent.status()["vms"]
        self.assertEqual(vm["disks"][0]["flavor"], {
            "id": image.flavor, "image": image.id, "encryption_required": True, "integrity_enforced": False,
            "signature_verified": True, "digest_verified": True})
        self.assertEqual(len(self.reported(image, guest, 1)), 1)
        self.assertEqual(self.host.plaintext(MARKER), [])
        guest.destroy()
        self.left_nothing()

        # The last byte of the image: neither header nor probe covers it.
        self.flip(image, os.path.getsize(image.path) - 1)
        self.refused(guest, f"is not the one that flavor {image.flavor} is for")
        self.flip(image, os.path.getsize(image.path) - 1)
        self.starts(guest)
        self.assertEqual(len(self.reported(image, guest, 2)), 2)
        guest.destroy()

        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused(guest, "HVS does not trust this host")
        self.assertEqual(len(self.reported(image, guest, 2)), 2)

    def test_flavors_that_are_not_the_owners(self):
        image, guest = self.protected("isecl-unsigned")
        double.fault(route="wls.flavor_key", json={"signature": ""})
        self.refused(guest, "the flavor is not signed")
        double.clear_faults()
        other = double.add_flavor(label=str(uuid.uuid4()), key_url="https://kbs.example/keys/x", digest="x")
        double.fault(route="wls.flavor_key", json={"signature": other["signed"]["signature"]})
        self.refused(guest, "is of none of the certificates")
        double.clear_faults()
        double.fault(route="wls.flavor_key", status=404,
                     body="Failed to retrieve Flavor and Key for Image - Backend Error\n")
        self.refused(guest, "WLS has no flavor for the image")
        double.clear_faults()
        self.assertEqual(self.reports(guest), [])

        # While WLS takes no report its start is held by nothing.
        double.fault(route=REPORT, status=503, body="")
        guest.start()
        poll(lambda: self.reports(guest), "the report to be refused", 60)
        self.assertEqual((guest.state(), self.report_state()["waiting"]), ("running", 1))
        double.clear_faults()
        self.assertIn(f"disk 0: {MARKER}", guest.wait_until_up())
        # The double has kept what it did not take, too: all one report.
        found = self.reported(image, guest, 2)
        self.assertEqual(len({report["data"] for report in found}), 1)
        self.assertIn(image.id, json.dumps(self.host.agent.status()["vms"]))

    def test_an_image_in_intels_format(self):
        image, guest = self.protected("isecl-format", "--output-format", "isecl")
        self.starts(guest)
        guest.destroy()
        self.left_nothing()
        # It has been converted; what stands there is what the flavor is for.
        self.flip(image, 70)
        self.refused(guest, f"is not the one that flavor {image.flavor} is for")
        self.flip(image, 70)
        self.starts(guest)
        self.assertEqual(self.host.plaintext(MARKER), [])

    def instance(self, image, name):
        found = Instance(image.id, name=name)
        self.addCleanup(shutil.rmtree, found.directory, ignore_errors=True)
        self.addCleanup(found.undefine, check=False)
        self.addCleanup(found.destroy, check=False)
        found.make_disk()
        return found.define()

    def known(self, name):
        """An image in Intel's format, with the qcow2 inside that owners have, in Nova's cache."""
        plain, disk = (os.path.join(host.PLAIN, name + end) for end in (".raw", ".qcow2"))
        host.write_disk(plain, MARKER)
        host.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", plain, disk)
        image = self.owner.encrypts(disk, os.path.join(self.directory, name), "--output-format", "isecl")
        for path in (plain, disk):
            os.unlink(path)
        os.makedirs(os.path.join(host.INSTANCES, "_base"), exist_ok=True)
        image.path = shutil.copy(image.path, Instance.base_of(image.id))
        self.addCleanup(os.unlink, image.path)
        self.host.agent.run("image", "register", image.id, "--wls")
        self.addCleanup(self.host.agent.run, "image", "unregister", image.id)
        return image

    @staticmethod
    def conversions():
        """Which files are there, and which of them are the same."""
        directory = os.path.join(host.LAYERS, "converted")
        return {entry.name: entry.inode() for entry in os.scandir(directory)} if os.path.isdir(directory) else {}

    def test_instances_of_an_image_in_intels_format(self):
        before = self.conversions()
        image = self.known("isecl-nova")
        first, second = (self.instance(image, f"isecl-nova-{number}") for number in (1, 2))
        self.starts(first)
        (converted,) = (name for name in self.conversions() if name not in before and name.endswith(".img"))
        mapping = "wlagent-image-" + converted.removesuffix(".img")
        self.assertEqual(first.backing(), ("/dev/mapper/" + mapping, "qcow2"))
        self.reported(image, first, 1)

        known = self.conversions()
        second.start()
        self.assertEqual((self.conversions(), self.host.mappings()), (known, [mapping]))
        for instance in (first, second):
            instance.destroy()
            self.assertEqual(instance.backing(), (image.path, "raw"))
        self.left_nothing()
        # What a guest has written is Nova's, in the clear; the image is nowhere.
        layers = [f"/srv{instance.path}" for instance in (first, second)]
        self.assertEqual([path for path in self.host.plaintext(MARKER) if path not in layers], [])

        # Another tag is another image, which is not converted; other content has another digest.
        for at, reason in ((os.path.getsize(image.path) - 1, "converting the image: "),
                           (70, f"is not the one that flavor {image.flavor} is for")):
            self.flip(image, at)
            self.refused(first, reason)
            self.flip(image, at)
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused(second, "HVS does not trust this host")
        self.assertEqual((self.conversions(), first.backing()), (known, (image.path, "raw")))
