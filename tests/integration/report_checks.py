# SPDX-License-Identifier: Apache-2.0
"""What a trust report that WLS has taken must be: its content, and whose signature it bears."""

import base64
import hashlib
import json
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

import intel_host
from isecl_case import HARDWARE, double


def check_content(report, vm, image, flavor):
    """Of an encrypted image with a flavor that was verified: UUIDs of all three."""
    text = base64.b64decode(report["data"], validate=True).decode()
    said = json.loads(text)
    assert json.dumps(said, separators=(",", ":")) == text, text

    def result(rule, marker, expected):
        return {"rule": {"rule_name": rule, "markers": [marker], "expected": {"name": expected, "value": True}},
                "flavor_id": flavor, "trusted": True}

    wanted = {
        "instance_manifest": {"instance_info": {"instance_id": vm, "host_hardware_uuid": HARDWARE, "image_id": image},
                              "image_encrypted": True},
        "policy_name": "Intel VM Policy",
        "results": [result("EncryptionMatches", "IMAGE", "encryption_required"),
                    result("FlavorIntegrityMatches", "flavorIntegrity", "flavor_trusted")],
        "trusted": True}
    assert said == wanted, f"{said} in place of {wanted}"


def check_signature(report, key_file):
    """By the TPM's signing key of that file, which HVS has certified in the file beside."""
    assert report["hash_alg"] == "SHA-256", report["hash_alg"]
    with open(key_file.removesuffix(".json") + ".pem", encoding="ascii") as file:
        assert report["cert"] == file.read(), report["cert"]
    certificate = x509.load_pem_x509_certificate(report["cert"].encode())
    key = certificate.public_key()
    key.verify(base64.b64decode(report["signature"]), base64.b64decode(report["data"]), padding.PKCS1v15(),
               hashes.SHA256())
    public = intel_host.KeyFile(key_file).public
    assert key.public_numbers().n.to_bytes(256, "big") == public[-256:]
    attest = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("2.5.4.133.3.2.41")).value.value
    assert b"\x00\x0b" + hashlib.sha256(public[2:]).digest() in attest
    with open(os.path.join(double.directory, "privacy-ca.pem"), "rb") as file:
        authority = x509.load_pem_x509_certificate(file.read()).public_key()
    authority.verify(certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(),
                     certificate.signature_hash_algorithm)
