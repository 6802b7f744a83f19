# SPDX-License-Identifier: Apache-2.0
"""The host verification service: certificates for hosts' TPM keys, and what it finds of a host."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from . import saml, tpm, wire
from .certificates import der, subject_der
from .routes import Route
from .wire import Answer, Refusal, b64

CERTIFY = {"public_key_modulus": bytes, "tpm_certify_key": bytes, "tpm_certify_key_signature": bytes,
           "aik_der_certificate": bytes, "name_digest": bytes, "tpm_version": str, "operating_system": str}
SAML_TYPE = "application/samlassertion+xml"


class NoReport(Exception):
    """The host is unknown, or not to be reached."""


def routes(_release):
    base = "/(?:hvs|mtwilson)/v2"
    certifier = ("HVS", "host_signing_key_certificates:create:*")
    rpc = base + "/rpc/certify-host-"
    return [Route("hvs.certify_binding_key", "POST", rpc + "binding-key", certify_binding_key, certifier),
            Route("hvs.certify_signing_key", "POST", rpc + "signing-key", certify_signing_key, certifier),
            Route("hvs.reports", "POST", base + "/reports", reports, ("HVS", "reports:create:*")),
            Route("hvs.version", "GET", base + "/version", version)]


def version(_state, _request):
    return Answer(200, b"Host Verification Service\n", "text/plain")


def certify_binding_key(state, request):
    return certify(state, request, "Binding")


def certify_signing_key(state, request):
    return certify(state, request, "Signing")


def certify(state, request, kind):
    wire.require(request, (415, "Invalid Content-Type"), content_type=wire.JSON)
    wire.require(request, (415, "Invalid Accept type"), accept=wire.JSON)
    asked = wire.decode(request.body, CERTIFY, (400, "Error while decoding request body"))
    try:
        aik, key = proved(state, asked)
    except (ValueError, InvalidSignature) as error:
        raise Refusal(400, f"Error while certifying {kind} Key", reason=f"{type(error).__name__}: {error}") from None
    certificate = state.certificates.attested(f"{kind}_Key_Certificate", key, asked["tpm_certify_key"],
                                              asked["tpm_certify_key_signature"])
    if kind == "Binding":
        state.certified[subject_der(aik)] = certificate
    return wire.json_answer(201, {f"{kind.lower()}_key_der_certificate": b64(der(certificate))})


def proved(state, asked):
    """(certificate of the attestation key, the key it vouches for). Raises ValueError or InvalidSignature."""
    missing = [name for name in CERTIFY if not asked.get(name) and name not in ("tpm_version", "operating_system")]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    if asked.get("operating_system", "").lower() != "linux" or asked.get("tpm_version") != "2.0":
        raise ValueError("operating_system or tpm_version")
    attest = tpm.Attest(asked["tpm_certify_key"])
    aik = x509.load_der_x509_certificate(asked["aik_der_certificate"])
    state.certificates.privacy_ca.certificate.public_key().verify(
        aik.signature, aik.tbs_certificate_bytes, padding.PKCS1v15(), hashes.SHA256())
    if len(asked["tpm_certify_key_signature"]) <= tpm.MODULUS_SIZE:
        raise ValueError("tpm_certify_key_signature is no TPMT_SIGNATURE")
    tpm.verify_attest(aik.public_key(), asked["tpm_certify_key"], asked["tpm_certify_key_signature"])
    public = asked["public_key_modulus"]
    if tpm.name_of(public) != attest.name:
        raise ValueError("another key was attested")
    if asked["name_digest"] != tpm.padded_name_digest(attest.name):
        raise ValueError("name_digest")
    return aik, tpm.public_key(public)


def reports(state, request):
    wire.require(request, (415, "Invalid Content-Type"), content_type=wire.JSON)
    wire.require(request, (415, "Invalid Accept type"), accept=SAML_TYPE)
    fields = {"hardware_uuid": str, "host_id": str, "host_name": str}
    asked = wire.decode(request.body, fields, (400, "Unable to decode JSON request body"))
    try:
        return Answer(201, report(state, asked.get("hardware_uuid", "")).encode(), SAML_TYPE)
    except NoReport as error:
        raise Refusal(400, "Error while creating report", reason=str(error)) from None


def binding_certificate(state, host):
    """What the trust agent would read of the host: a certificate that the test set, or else the last one that
    the host's attestation key was behind."""
    return host.binding_certificate or state.certified.get(subject_der(host.aik))


def report(state, hardware_uuid):
    """A new signed report on the host, as after a fresh quote."""
    state.calls["hvs.report"] += 1
    host = state.hosts.get(hardware_uuid.lower())
    if not host or not host.connected:
        raise NoReport("no such host, or it is not connected")
    binding = binding_certificate(state, host)
    if not binding:
        raise NoReport("the host has no binding key, so it gives no quote")
    found = {"HardwareUUID": host.hardware_uuid, "TPMVersion": "2.0", "AIK_Certificate": b64(der(host.aik)),
             "Binding_Key_Certificate": b64(der(binding)), "TRUST_PLATFORM": host.trust or "NA",
             "TRUST_ASSET_TAG": "true" if host.asset_tags else "NA"}
    if host.trust is not None:
        found["TRUST_OVERALL"] = host.trust
    found.update({f"TAG_{name}": value for name, value in host.asset_tags.items()})
    return saml.make(state.certificates, state.now(), found)
