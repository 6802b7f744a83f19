# SPDX-License-Identifier: Apache-2.0
"""The key broker service: makes keys, gives them to their owner in an envelope, and to a trusted host wrapped
for its TPM."""

import base64
import functools
import os
import uuid

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import saml, tpm, wire
from .certificates import ATTEST_OID, SIGNATURE_OID
from .hvs import SAML_TYPE
from .routes import Route
from .state import Key
from .wire import Answer, Refusal, b64

NO_UUID = "00000000-0000-0000-0000-000000000000"
LENGTHS = (128, 192, 256, 2048, 3072, 4096, 7680)
PEM_TYPE = "application/x-pem-file"
INFORMATION = {"id": str, "algorithm": str, "key_length": int, "curve_type": str, "key_string": str, "kmip_key_id": str}
CREATE = {"key_information": INFORMATION, "usage": str, "label": str, "transfer_policy_id": str, "id": str,
          "transfer_link": str, "created_at": str}


def base(release):
    return "/kbs/v1" if release >= 5 else "/(?:kbs/)?v1"


def routes(release):
    keys = base(release) + "/keys"
    one = keys + f"/(?P<id>{wire.UUID4})"
    found = [Route("kbs.create_key", "POST", keys, create, ("KBS", "keys:create:*")),
             Route("kbs.search_keys", "GET", keys, search, ("KBS", "keys:search:*")),
             Route("kbs.retrieve_key", "GET", one, retrieve, ("KBS", "keys:retrieve:*")),
             Route("kbs.delete_key", "DELETE", one, delete, ("KBS", "keys:delete:*")),
             Route("kbs.add_saml_certificate", "POST", base(release) + "/saml-certificates", add_saml_certificate,
                   ("KBS", "saml_certificates:create:*")),
             Route("kbs.add_tpm_identity", "POST", base(release) + "/tpm-identity-certificates", add_privacy_ca,
                   ("KBS", "tpm_identity_certificates:create:*")),
             Route("kbs.version", "GET", base(release) + "/version", version)]
    if release >= 5:
        return found + [Route("kbs.envelope", "POST", one, envelope_v5, ("KBS", "keys:transfer:*")),
                        Route("kbs.transfer", "POST", one + "/transfer", transfer)]
    by_accept = {"accept": "application/octet-stream"}
    return found + [Route("kbs.transfer", "POST", one + "/transfer", transfer, None, by_accept),
                    Route("kbs.envelope", "POST", one + "/transfer", envelope_v4, ("KBS", "keys:transfer:*"))]


def version(_state, _request):
    return Answer(200, b"Key Broker Service\n", "text/plain")


def json_both_ways(request):
    wire.require(request, (415, "Invalid Content-Type"), content_type=wire.JSON)
    wire.require(request, (415, "Invalid Accept type"), accept=wire.JSON)


def described(state, key):
    about = {"id": key.id, "algorithm": key.algorithm, "key_length": key.length}
    if key.kmip_key_id:
        about["kmip_key_id"] = key.kmip_key_id
    return {"key_information": about, "transfer_policy_id": key.policy or NO_UUID,
            "transfer_link": state.key_url(key.id), "created_at": key.created, "label": key.label, "usage": key.usage}


def add_key(state, length=256, algorithm="AES", material=None, id_=None):
    key = Key(id_ or str(uuid.uuid4()), algorithm, length, os.urandom(length // 8) if material is None else material)
    state.keys[key.id] = key
    return key


def create(state, request):
    json_both_ways(request)
    asked = wire.decode(request.body, CREATE, (400, "Unable to decode JSON request body"))
    about = asked.get("key_information", {})
    if about.get("key_string") or about.get("kmip_key_id"):
        key = registered(state, about)
    elif about.get("algorithm") != "AES" or about.get("key_length") not in LENGTHS[:3]:
        raise Refusal(400, "Unsupported key algorithm or length", reason="this double makes AES keys only")
    else:
        key = add_key(state, about["key_length"])
    key.usage = asked.get("usage", "")
    key.label = asked.get("label", "")
    key.policy = asked.get("transfer_policy_id", "")
    return wire.json_answer(201, described(state, key))


def registered(state, about):
    """A key that its owner brings: as PEM to the directory of old releases, or by its name in a KMIP server,
    where this double makes one up."""
    if about.get("kmip_key_id"):
        key = add_key(state, about.get("key_length", 256), about.get("algorithm", "AES"))
        key.kmip_key_id = about["kmip_key_id"]
        return key
    lines = about["key_string"].strip().splitlines()
    try:
        if state.release >= 4 or not lines[0].startswith("-----BEGIN"):
            raise ValueError("no directory of keys, or no PEM")
        material = wire.unb64("".join(lines[1:-1]))
    except ValueError as error:
        raise Refusal(400, "Invalid key_string", reason=str(error)) from None
    return add_key(state, len(material) * 8, about.get("algorithm", "AES"), material)


def known(state, key_id):
    key = state.keys.get(key_id.lower())
    if not key:
        raise Refusal(404, "Key with specified id does not exist")
    return key


def search(state, request):
    wire.require(request, (415, "Invalid Accept type"), accept=wire.JSON)
    return wire.json_answer(200, [described(state, key) for key in state.keys.values()])


def retrieve(state, request):
    wire.require(request, (415, "Invalid Accept type"), accept=wire.JSON)
    return wire.json_answer(200, described(state, known(state, request.words["id"])))


def delete(state, request):
    del state.keys[known(state, request.words["id"]).id]
    return Answer(204)


def add_certificate(request, known_ones):
    wire.require(request, (415, "Invalid Content-Type"), content_type=PEM_TYPE)
    try:
        known_ones.append(x509.load_pem_x509_certificate(request.body))
    except ValueError as error:
        raise Refusal(400, "Unable to decode certificate", reason=str(error)) from None
    return wire.json_answer(201, {"id": str(uuid.uuid4())})


def add_saml_certificate(state, request):
    return add_certificate(request, state.saml_certificates)


def add_privacy_ca(state, request):
    return add_certificate(request, state.privacy_cas)


def in_envelope(state, request):
    """The key for whoever has the private half of the public key in the body."""
    wire.require(request, (415, "Invalid Content-Type"), content_type="text/plain")
    wire.require(request, (415, "Invalid Accept type"), accept=wire.JSON)
    key = known(state, request.words["id"])
    try:
        if not request.body.lstrip().startswith(b"-----BEGIN PUBLIC KEY-----"):
            raise ValueError("no PEM PUBLIC KEY")
        owner = serialization.load_pem_public_key(request.body)
        if not isinstance(owner, rsa.RSAPublicKey):
            raise ValueError("not RSA")
        return b64(owner.encrypt(key.material, padding.OAEP(padding.MGF1(hashes.SHA384()), hashes.SHA384(), None)))
    except ValueError as error:
        raise Refusal(400, "Failed to decode public key in request body", reason=str(error)) from None


def envelope_v4(state, request):
    return wire.json_answer(200, {"id": request.words["id"], "payload": in_envelope(state, request)})


def envelope_v5(state, request):
    return wire.json_answer(200, {"wrapped_key": in_envelope(state, request)})


def transfer(state, request):
    wire.require(request, (415, "Invalid Content-Type"), content_type=SAML_TYPE)
    wire.require(request, (415, "Invalid Accept type"), accept="application/octet-stream")
    wrapped = release_key(state, request.words["id"], request.body.decode(errors="replace"), request.fault)
    return Answer(200, wrapped, "application/octet-stream")


def release_key(state, key_id, report, fault=None):
    """The key, wrapped for the host of the report: if the key and the report are known, and the host is trusted."""
    key = known(state, key_id)
    refusal = 401, "Client not trusted by HVS"
    try:
        attributes = saml.attributes_of(report, state.saml_certificates)
    except (ValueError, SyntaxError) as error:
        raise Refusal(*refusal, reason=f"report: {error}") from None
    if attributes.get("TRUST_OVERALL", "true") != "true":
        raise Refusal(*refusal, reason="untrusted")
    try:
        binding = proved_binding_key(attributes["AIK_Certificate"], attributes["Binding_Key_Certificate"],
                                     tuple(state.privacy_cas))
    except (KeyError, ValueError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise Refusal(*refusal, reason=f"{type(error).__name__}: {error}") from None
    if key.usage and not has_tags(attributes, key.usage):
        raise Refusal(*refusal, reason=f"asset tags are not {key.usage}")
    state.calls["kbs.released"] += 1
    return fault.wrap(state, key, binding) if fault else tpm.wrap(binding, key.material)


@functools.lru_cache(16)
def proved_binding_key(aik_text, binding_text, authorities):
    """A pure function, kept as saml.py says."""
    aik, binding = (x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
                    for text in (aik_text, binding_text))
    for certificate in (aik, binding):
        if not any(issued(certificate, authority) for authority in authorities):
            raise ValueError("of no known privacy CA")
    attest, signature = (binding.extensions.get_extension_for_oid(oid).value.value
                         for oid in (ATTEST_OID, SIGNATURE_OID))
    tpm.Attest(attest)
    tpm.verify_attest(aik.public_key(), attest, signature)
    return binding.public_key()


def issued(certificate, authority):
    try:
        authority.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(),
                                      certificate.signature_hash_algorithm)
    except InvalidSignature:
        return False
    return True


def has_tags(attributes, usage):
    pairs = (pair.partition(":") for pair in usage.split(","))
    return attributes.get("TRUST_ASSET_TAG") == "true" and all(
        attributes.get(f"TAG_{name}", "").lower() == value.lower() for name, _, value in pairs)
