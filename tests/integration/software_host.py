# SPDX-License-Identifier: Apache-2.0
"""A host whose TPM is software in the test: keys, and what TPM2_Certify says of them, byte for byte as the TPM
2.0 library specification, part 2, lays it out."""

import base64
import hashlib
import struct

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

EXTRA_DATA = bytes.fromhex("00ff55aa")
DECRYPTS, SIGNS = 0x00020072, 0x00040072


def sized(data):
    return struct.pack(">H", len(data)) + data


def public_area(key, attributes=DECRYPTS):
    """TPM2B_PUBLIC of an RSA-2048 key."""
    modulus = key.public_key().public_numbers().n.to_bytes(256, "big")
    no_policy = sized(b"")
    return sized(struct.pack(">HHI", 0x0001, 0x000b, attributes) + no_policy +
                 struct.pack(">HHHI", 0x0010, 0x0010, 2048, 0) + sized(modulus))


def name_of(public):
    return b"\x00\x0b" + hashlib.sha256(public[2:]).digest()


def public_pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM,
                                         serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def new_key(bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


class SoftwareHost:
    def __init__(self, aik, key):
        self.aik = aik
        self.key = key
        self.public = public_area(self.key)

    def attest(self, kind=0x8017):
        """TPMS_ATTEST of the binding key."""
        signer = sized(b"\x00\x0b" + bytes(32))
        return (struct.pack(">IH", 0xff544347, kind) + signer + sized(EXTRA_DATA) + struct.pack(">QIIB", 1, 2, 3, 1) +
                struct.pack(">Q", 4) + sized(name_of(self.public)) + sized(b"\x00\x0b" + bytes(32)))

    def signature(self, attest, key=None):
        """TPMT_SIGNATURE: RSASSA with SHA-256."""
        signed = (key or self.aik).sign(attest, padding.PKCS1v15(), hashes.SHA256())
        return struct.pack(">HH", 0x0014, 0x000b) + sized(signed)

    def unwrap(self, wrapped, label=b"TPM2\0"):
        return self.key.decrypt(wrapped, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label))


def request_to_certify(public, attest, signature, aik_certificate):
    """The body of a request to certify a host's key, from bytes."""
    digest = b"\x22" + name_of(public) + bytes(34)
    fields = {"public_key_modulus": public, "tpm_certify_key": attest, "tpm_certify_key_signature": signature,
              "aik_der_certificate": aik_certificate, "name_digest": digest}
    return {**{name: base64.b64encode(value).decode() for name, value in fields.items()},
            "tpm_version": "2.0", "operating_system": "Linux"}
