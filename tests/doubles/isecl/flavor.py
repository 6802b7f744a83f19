# SPDX-License-Identifier: Apache-2.0
"""Image flavors: what their owner says of an image, signed over exactly the bytes that the services'
encoder makes of it."""

import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from .wire import b64, encode

DESCRIPTION = ("flavor_part", "source", "label", "ip_address", "bios_name", "bios_version", "os_name", "os_version",
               "vmm_name", "vmm_version", "tpm_version", "hardware_uuid", "comment")
FIELDS = {"meta": {"schema": {"uri": str}, "id": str, "author": {"email": str}, "realm": str,
                   "description": dict.fromkeys(DESCRIPTION, str)},
          "encryption_required": bool, "encryption": {"key_url": str, "digest": str}, "integrity_enforced": bool,
          "integrity": {"notary_url": str}}
SIGNED_FIELDS = {"flavor": FIELDS, "signature": str}


def in_order(flavor):
    """The members in the order, and with the omissions, of the services' encoder."""
    meta = flavor["meta"]
    head = {}
    if meta.get("schema"):
        head["schema"] = {"uri": meta["schema"].get("uri", "")}
    head["id"] = meta["id"]
    if meta.get("author"):
        head["author"] = {"email": meta["author"].get("email", "")}
    if meta.get("realm"):
        head["realm"] = meta["realm"]
    description = meta.get("description")
    head["description"] = description and {name: description[name] for name in DESCRIPTION if description.get(name)}
    ordered = {"meta": head, "encryption_required": flavor.get("encryption_required", False)}
    if flavor.get("encryption"):
        ordered["encryption"] = {name: flavor["encryption"].get(name, "") for name in ("key_url", "digest")}
    ordered["integrity_enforced"] = flavor.get("integrity_enforced", False)
    if flavor.get("integrity"):
        ordered["integrity"] = {"notary_url": flavor["integrity"].get("notary_url", "")}
    return ordered


def signed_bytes(flavor):
    return encode({"flavor": in_order(flavor)})


def sign(key, flavor):
    """{"flavor", "signature"} as it goes over the wire."""
    signature = key.sign(signed_bytes(flavor), padding.PKCS1v15(), hashes.SHA384())
    return {"flavor": in_order(flavor), "signature": b64(signature)}


def image_flavor(label, key_url=None, digest="", id_=None):
    """key_url: None for an image that is not encrypted."""
    flavor = {"meta": {"id": id_ or str(uuid.uuid4()), "description": {"flavor_part": "IMAGE", "label": label}},
              "encryption_required": key_url is not None}
    if key_url is not None:
        flavor["encryption"] = {"key_url": key_url, "digest": digest}
    return flavor
