# SPDX-License-Identifier: Apache-2.0
"""A host on which Intel's Trust Agent and workload agent have been set up: a software TPM with their keys, and
their files, as tests/integration/intel-host/make has made them with tpm2-tools. And a strict reader of such files
that shares nothing with the agent's."""

import base64
import json
import os
import shutil
import struct

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from isecl_case import HARDWARE, JSON, Client, double
from isecl import tpm as structures
from software_host import DECRYPTS, EXTRA_DATA, SIGNS, name_of, request_to_certify, sized

MADE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "intel-host")
KINDS = ("binding", "signing")
MEMBERS = ["Version", "Usage", "PublicKey", "PrivateKey", "KeySignature", "KeyAttestation", "KeyName"]


class KeyFile:
    """bindingkey.json or signingkey.json; raises AssertionError where a byte is not as Intel's agent writes it."""

    def __init__(self, path):
        with open(path, encoding="ascii") as file:
            text = file.read()
        members = json.loads(text)
        assert list(members) == MEMBERS, list(members)
        assert text == json.dumps(members, indent=4) + "\n", text
        assert members["Version"] == 2, members["Version"]
        self.usage = members["Usage"]
        self.public, self.private, self.signature, attestation, name = (
            base64.b64decode(members[member], validate=True) for member in MEMBERS[2:])
        self.check_public()
        assert struct.unpack(">H", self.private[:2])[0] == len(self.private) - 2
        self.attest = attestation[2:]
        self.check_attest(attestation)
        assert name == sized(name_of(self.public))
        assert self.signature[:6] == bytes.fromhex("0014000b0100") and len(self.signature) == 262

    def check_public(self):
        attributes = {0: DECRYPTS, 1: SIGNS}[self.usage]
        assert len(self.public) == 280
        assert self.public[:24] == struct.pack(">HHHIHHHHIH", 278, 0x0001, 0x000b, attributes, 0, 0x0010, 0x0010, 2048,
                                               0, 256)

    def check_attest(self, attestation):
        assert attestation == sized(self.attest) and len(self.attest) == 145
        attest = structures.Attest(self.attest)
        assert attest.extra_data == EXTRA_DATA
        assert attest.name == name_of(self.public)

    def check_signature(self, aik):
        structures.verify_attest(aik, self.attest, self.signature)

    def registration(self, aik_certificate):
        return request_to_certify(self.public, self.attest, self.signature, aik_certificate)


class IntelHost:
    """Files and credentials in a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.credentials = os.path.join(directory, "credentials")
        os.makedirs(self.credentials, mode=0o700)
        with open(os.path.join(MADE, "aik.pem"), "rb") as file:
            self.aik = file.read()
        with open(os.path.join(MADE, "secrets.json"), encoding="ascii") as file:
            self.secrets = json.load(file)
        for kind in KINDS:
            shutil.copy(os.path.join(MADE, kind + "key.json"), self.path(kind))
            self.provide(kind + "-key-secret", self.secrets[kind + "-key-secret"])

    def path(self, kind):
        return os.path.join(self.directory, kind + "key.json")

    def certificate(self, kind):
        """What HVS has issued for it; once the host is registered."""
        return os.path.join(self.directory, kind + "key.pem")

    def provide(self, name, secret):
        """What systemd would hand over as a credential."""
        with open(os.path.join(self.credentials, name), "w", encoding="utf-8") as file:
            file.write(secret + "\n")

    def options(self):
        """Of section [WLS]."""
        return {"BindingKey": self.path("binding"), "SigningKey": self.path("signing")}

    def environment(self):
        return {**os.environ, "CREDENTIALS_DIRECTORY": self.credentials}

    def register(self):
        """HVS gets to know the host, certifies its keys, and has them in what it says of the host; the certificates are
        beside the keys, as Intel's agent has them."""
        made = double.add_host(hardware_uuid=HARDWARE, aik=self.aik.decode())["aik_certificate"]
        aik = x509.load_pem_x509_certificate(made.encode()).public_bytes(serialization.Encoding.DER)
        token = double.make_token(user="installer")["token"]
        with Client() as client:
            for kind in KINDS:
                request = KeyFile(self.path(kind)).registration(aik)
                answer = client.call("POST", f"/hvs/v2/rpc/certify-host-{kind}-key", request, JSON, token)
                assert answer[0] == 201, answer
                der = base64.b64decode(json.loads(answer[1])[f"{kind}_key_der_certificate"], validate=True)
                with open(self.certificate(kind), "wb") as file:
                    file.write(x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM))


def provision(tpm):
    """To be called before the TPM is started: it becomes the host's."""
    os.makedirs(tpm.directory, exist_ok=True)
    shutil.copy(os.path.join(MADE, "tpm2-00.permall.bin"), os.path.join(tpm.directory, "tpm2-00.permall"))
