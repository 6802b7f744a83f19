# SPDX-License-Identifier: Apache-2.0
"""What the services know of TPM 2.0 structures, and how the key broker wraps keys for a TPM."""

import hashlib
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

MAGIC = 0xff544347
ATTEST_CERTIFY = 0x8017
SHA256 = b"\x00\x0b"
MODULUS_SIZE = 256
LABEL = b"TPM2\0"


class Attest:
    """TPMS_ATTEST of TPM2_Certify. Raises ValueError."""

    def __init__(self, data):
        self.data = data
        self.at = 0
        magic, kind = self.take(">IH")
        if magic != MAGIC or kind != ATTEST_CERTIFY:
            raise ValueError(f"magic {magic:#x}, type {kind:#x}")
        self.qualified_signer = self.sized()
        self.extra_data = self.sized()
        self.take(">QIIB")
        self.take(">Q")
        self.name = self.sized()
        self.qualified_name = self.sized()
        if self.at != len(data):
            raise ValueError(f"{len(data) - self.at} bytes after the structure")

    def take(self, layout):
        try:
            found = struct.unpack_from(layout, self.data, self.at)
        except struct.error as error:
            raise ValueError(str(error)) from None
        self.at += struct.calcsize(layout)
        return found

    def sized(self):
        size, = self.take(">H")
        return self.take(f">{size}s")[0]


def name_of(public):
    """The name of the object whose TPM2B_PUBLIC this is."""
    return SHA256 + hashlib.sha256(public[2:]).digest()


def padded_name_digest(name):
    """name_digest of a request to certify a key: the low byte of the size, the name, and 34 zero bytes."""
    return bytes([len(name)]) + name + bytes(34)


def public_key(public):
    """From the last 256 bytes of a TPM2B_PUBLIC; the exponent is 65537 whatever is written there."""
    if len(public) <= MODULUS_SIZE:
        raise ValueError(f"a public area of {len(public)} bytes")
    return rsa.RSAPublicNumbers(65537, int.from_bytes(public[-MODULUS_SIZE:], "big")).public_key()


def verify_attest(key, attest, signature):
    """The last 256 bytes of a TPMT_SIGNATURE count. Raises cryptography.exceptions.InvalidSignature."""
    key.verify(signature[-MODULUS_SIZE:], attest, padding.PKCS1v15(), hashes.SHA256())


def wrap(key, plaintext, label=LABEL):
    """RSAES-OAEP with SHA-256 in both places. TPM2_RSA_Decrypt counts the label's NUL."""
    return key.encrypt(plaintext, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label))
