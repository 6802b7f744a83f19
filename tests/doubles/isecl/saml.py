# SPDX-License-Identifier: Apache-2.0
"""The host report that the attestation service signs and the key broker believes: a SAML assertion under an
enveloped XML signature, RSA-SHA256 over C14N 1.0 with comments.

The text is written in canonical form, so that its digest is one over these bytes; reading accepts only what
has this shape, after the broker's own trimming of spaces before tags and of newlines.

What has been computed once is not computed again: the services share two cores with the host that is tested, which
would wait for them and not for its TPM."""

import base64
import functools
import hashlib
import re
import time
import xml.etree.ElementTree
from xml.sax.saxutils import escape, quoteattr

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from .wire import b64

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"
VALID_SECONDS = 86400
SIGNATURE = re.compile(f'<Signature xmlns="{DSIG}">(<SignedInfo>.*?</SignedInfo>)'
                       "<SignatureValue>([^<]*)</SignatureValue>.*?</Signature>")


def timestamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def signed_info(digest):
    return (f'<SignedInfo><CanonicalizationMethod Algorithm="{C14N}"></CanonicalizationMethod>'
            '<SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></SignatureMethod>'
            f'<Reference URI="#MapAssertion"><Transforms><Transform Algorithm="{DSIG}enveloped-signature">'
            f'</Transform><Transform Algorithm="{C14N}"></Transform></Transforms>'
            '<DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></DigestMethod>'
            f"<DigestValue>{digest}</DigestValue></Reference></SignedInfo>")


def canonical(info):
    """SignedInfo by itself has the name spaces of what it stood in."""
    return info.replace("<SignedInfo>", f'<SignedInfo xmlns="{DSIG}" xmlns:saml2="{SAML}">', 1).encode()


@functools.lru_cache(16)
def signature(key, info):
    return key.sign(canonical(info), padding.PKCS1v15(), hashes.SHA256())


def make(certificates, now, attributes):
    """attributes: {name: value}"""
    listed = "".join(f"<saml2:Attribute Name={quoteattr(name)}><saml2:AttributeValue>{escape(value)}"
                     "</saml2:AttributeValue></saml2:Attribute>" for name, value in attributes.items())
    head = (f'<saml2:Assertion xmlns:saml2="{SAML}" ID="MapAssertion" IssueInstant="{timestamp(now)}" Version="2.0">'
            "<saml2:Issuer>AttestationService</saml2:Issuer>")
    rest = ('<saml2:Subject><saml2:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches">'
            f'<saml2:SubjectConfirmationData NotBefore="{timestamp(now)}" '
            f'NotOnOrAfter="{timestamp(now + VALID_SECONDS)}">'
            "</saml2:SubjectConfirmationData></saml2:SubjectConfirmation></saml2:Subject>"
            f"<saml2:AttributeStatement>{listed}</saml2:AttributeStatement></saml2:Assertion>")
    info = signed_info(b64(hashlib.sha256((head + rest).encode()).digest()))
    value = signature(certificates.saml_key, info)
    return f'{head}<Signature xmlns="{DSIG}">{info}<SignatureValue>{b64(value)}</SignatureValue></Signature>{rest}'


def attributes_of(text, signers):
    """{name: value} of a report that one of the signers' certificates signed. Raises ValueError."""
    return dict(pairs_of(text, tuple(signers)))


@functools.lru_cache(16)
def pairs_of(text, signers):
    text = re.sub(" +<", "<", text).replace("\r", "").replace("\n", "")
    found = SIGNATURE.search(text)
    if not found:
        raise ValueError("no signature of the one form")
    info, value = found.groups()
    rest = text[:found.start()] + text[found.end():]
    if info != signed_info(b64(hashlib.sha256(rest.encode()).digest())):
        raise ValueError("what was signed is not what it was")
    if not any(verifies(signer, info, value) for signer in signers):
        raise ValueError("no known signer")
    root = xml.etree.ElementTree.fromstring(rest)
    return tuple((attribute.get("Name"), attribute.findtext(f"{{{SAML}}}AttributeValue"))
                 for attribute in root.iter(f"{{{SAML}}}Attribute"))


def verifies(signer, info, value):
    try:
        signer.public_key().verify(base64.b64decode(value), canonical(info), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True
