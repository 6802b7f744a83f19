# SPDX-License-Identifier: Apache-2.0
"""VMs of images that Intel SecL's WLS knows, from their owner to a running guest: key of KBS, image, signed flavor, the
host that HVS trusts or not. The services are the double of tests/doubles/isecl, the TPM is the VM's."""

import base64
import datetime
import hashlib
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
from software_host import SoftwareHost, name_of, new_key, public_pem, request_to_certify, sized

MARKER = "a marker of the owner's disk"
WLS = "wls:///images/"
TPM = "device:/dev/tpmrm0"
STORAGE_KEY = "0x81000000"
SECRET = "00112233445566778899aabbccddeeff01234567"


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuer_key, authority):
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True))
    return made.sign(issuer_key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)


def make_binding_key(directory):
    """(TPM2B_PUBLIC, TPM2B_PRIVATE) below the Trust Agent's storage key, and that one's name."""
    fixed = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth"
    primary, public, private = (os.path.join(directory, part) for part in ("primary", "key.pub", "key.priv"))
    host.run("tpm2_createprimary", "-Q", "-T", TPM, "-C", "o", "-g", "sha256", "-G", "rsa2048:aes128cfb", "-a",
             f"restricted|decrypt|{fixed}", "-c", primary)
    host.run("tpm2_evictcontrol", "-Q", "-T", TPM, "-C", "o", "-c", primary, STORAGE_KEY)
    host.run("tpm2_create", "-Q", "-T", TPM, "-C", STORAGE_KEY, "-g", "sha256", "-G", "rsa2048:null:null", "-a",
             f"decrypt|{fixed}", "-p", "hex:" + SECRET, "-u", public, "-r", private)
    found = []
    host.run("tpm2_readpublic", "-Q", "-T", TPM, "-c", STORAGE_KEY, "-n", primary)
    for path in (public, private, primary):
        with open(path, "rb") as file:
            found.append(file.read())
    return found


def qualified(parent, key_name):
    """The qualified name below that of the parent, or below a hierarchy."""
    return b"\x00\x0b" + hashlib.sha256(parent + key_name).digest()


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
        cls.register()
        cls.configure()

    @classmethod
    def tearDownClass(cls):
        agent = host.VmTest.host.agent
        agent.stop()
        del agent.options["WLS"]
        agent.write_config(Keys={"CacheSeconds": 60})
        agent.start()
        shutil.rmtree(cls.directory_of_all)
        host.run("tpm2_evictcontrol", "-Q", "-C", "o", "-c", STORAGE_KEY, "-T", TPM)
        super().tearDownClass()

    @classmethod
    def register(cls):
        """HVS certifies a binding key of this TPM, made and kept as Intel's agent does; the attestation key is
        software's."""
        public, private, parent = make_binding_key(cls.directory_of_all)
        modulus = rsa.RSAPublicNumbers(65537, int.from_bytes(public[-256:], "big")).public_key()
        machine = SoftwareHost(new_key(), types.SimpleNamespace(public_key=lambda: modulus))
        assert machine.public == public
        attested = machine.attest()[:-34] + qualified(qualified(bytes.fromhex("40000001"), parent), name_of(public))
        with open(os.path.join(cls.directory_of_all, "bindingkey.json"), "w", encoding="ascii") as file:
            json.dump({"Version": 2, "Usage": 0, **{member: base64.b64encode(content).decode() for member, content in (
                ("PublicKey", public), ("PrivateKey", private), ("KeySignature", machine.signature(attested)),
                ("KeyAttestation", sized(attested)), ("KeyName", sized(name_of(public))))}}, file, indent=4)
            file.write("\n")
        made = double.add_host(hardware_uuid=HARDWARE, aik=public_pem(machine.aik))["aik_certificate"]
        aik = x509.load_pem_x509_certificate(made.encode()).public_bytes(serialization.Encoding.DER)
        with Client(timeout=60) as client:
            answer = client.call("POST", "/hvs/v2/rpc/certify-host-binding-key",
                                 request_to_certify(public, attested, machine.signature(attested), aik), JSON,
                                 double.make_token(user="installer")["token"])
        assert answer[0] == 201, answer

    @classmethod
    def configure(cls):
        """For an agent that is not root."""
        agent = host.VmTest.host.agent
        base = double.urls["cms"].removesuffix("/cms/v1")
        agent.write_config(Keys={"CacheSeconds": 0}, WLS={
            "ServerURL": base + "/wls/v1", "TokenURL": double.urls["aas"], "ServiceUser": "wla",
            "BindingKey": os.path.join(cls.directory_of_all, "bindingkey.json"), "TrustDirectory": cls.owner.roots, "FlavorTrustDirectory": cls.owner.signers, "HardwareUUID": HARDWARE})
        credentials = os.path.join(cls.directory_of_all, "credentials")
        os.makedirs(credentials)
        with open(os.path.join(credentials, "aas-password"), "w", encoding="utf-8") as file:
            file.write(double.users["wla"] + "\n")
        with open(os.path.join(credentials, "binding-key-secret"), "w", encoding="ascii") as file:
            file.write(SECRET + "\n")
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
        self.assertEqual(self.host.plaintext(MARKER), [])
        guest.destroy()
        self.left_nothing()

        # The last byte of the image: neither header nor probe covers it.
        self.flip(image, os.path.getsize(image.path) - 1)
        self.refused(guest, f"is not the one that flavor {image.flavor} is for")
        self.flip(image, os.path.getsize(image.path) - 1)
        self.starts(guest)
        guest.destroy()

        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refused(guest, "HVS does not trust this host")

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
        self.starts(guest)
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
