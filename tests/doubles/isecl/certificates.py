# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates of the double, all made at its start: the certificate management service's root and
intermediates, the server's certificate, sound or with a fault, and who signs tokens, hosts' keys, reports and
flavors."""

import concurrent.futures
import datetime
import functools
import hashlib
import os
import ssl
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
ATTEST_OID = x509.ObjectIdentifier("2.5.4.133.3.2.41")
SIGNATURE_OID = x509.ObjectIdentifier("2.5.4.133.3.2.41.1")
INTERMEDIATES = ("TLS", "TLS-Client", "Signing")

TLS_FAULTS = ("expired", "not_yet_valid", "wrong_name", "wrong_usage", "wrong_ca", "self_signed", "tls12", "tls13",
              "rsa1024", "sha1", "wants_client", "no_close_notify", "no_handshake")


def pem(thing):
    return thing.public_bytes(serialization.Encoding.PEM)


def der(thing):
    return thing.public_bytes(serialization.Encoding.DER)


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def public_der(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@functools.lru_cache(64)
def subject_der(certificate):
    """Of the key that it is for. Kept, as saml.py says."""
    return public_der(certificate.public_key())


def rsa_key(bits):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def builder(subject, issuer, key, start=-1, days=10 * 365):
    today = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(issuer).public_key(key)
            .serial_number(x509.random_serial_number()).not_valid_before(today + start * DAY)
            .not_valid_after(today + (start + days) * DAY))


def key_usage(*uses):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{use: use in uses for use in names})


class Authority:
    """A CA: signs itself where it has no issuer."""

    def __init__(self, common_name, key, issuer=None, digest=None):
        self.key = key
        self.digest = digest or hashes.SHA384()
        parent = issuer or self
        subject = builder(common_name, issuer.certificate.subject if issuer else name(common_name), key.public_key())
        subject = subject.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        subject = subject.add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
        subject = subject.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        subject = subject.add_extension(parent.identifier(), critical=False)
        self.certificate = subject.sign(parent.key, self.digest)
        self.issuer = issuer

    def identifier(self):
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    def issue(self, subject, key, extensions=(), digest=None, **dates):
        """extensions: (extension, critical)"""
        made = builder(subject, self.certificate.subject, key, **dates)
        made = made.add_extension(self.identifier(), critical=False)
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(self.key, digest or self.digest)

    def chain(self):
        return [self.certificate] + (self.issuer.chain() if self.issuer else [])


class Certificates:
    def __init__(self, directory, names):
        self.directory = directory
        self.names = names
        with concurrent.futures.ThreadPoolExecutor() as pool:
            jwt, privacy, saml = pool.map(rsa_key, (3072, 2048, 2048))
        self.root = Authority("CMSCA", ec.generate_private_key(ec.SECP384R1()))
        self.intermediates = {kind: Authority(f"CMS {kind} CA", ec.generate_private_key(ec.SECP384R1()), self.root)
                              for kind in INTERMEDIATES}
        self.privacy_ca = Authority("HVS Privacy Certificate", privacy)
        self.jwt_key = jwt
        self.jwt_certificate = self.signing("AAS JWT Signing Certificate", jwt)
        self.saml_key = saml
        self.saml_certificate = self.signing("HVS SAML Certificate", saml)
        self.flavor_key = None
        self.flavor_certificate = None
        for file, certificates in (("root-ca", [self.root.certificate]), ("jwt-signing", [self.jwt_certificate]),
                                   ("privacy-ca", [self.privacy_ca.certificate]), ("saml", [self.saml_certificate])):
            self.write(f"{file}.pem", b"".join(pem(certificate) for certificate in certificates))

    def write(self, file, content):
        path = os.path.join(self.directory, file)
        with open(path, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            out.write(content)
        return path

    def signing(self, subject, key):
        return self.intermediates["Signing"].issue(subject, key.public_key(),
                                                   [(key_usage("digital_signature", "content_commitment"), True)])

    def flavor_signer(self):
        """Made when it is first asked for: most tests sign no flavor."""
        if not self.flavor_key:
            self.flavor_key = rsa_key(2048)
            self.flavor_certificate = self.signing("WPM Flavor Signing Certificate", self.flavor_key)
            chain = [self.flavor_certificate, self.intermediates["Signing"].certificate]
            self.write("flavor-signing.pem", b"".join(pem(certificate) for certificate in chain))
        return self.flavor_key

    def attested(self, subject, key, attest, signature):
        """The certificate of a host's binding or signing key."""
        return self.privacy_ca.issue(subject, key, [
            (key_usage("digital_signature", "key_encipherment"), True),
            (x509.UnrecognizedExtension(ATTEST_OID, attest), False),
            (x509.UnrecognizedExtension(SIGNATURE_OID, signature), False)])

    def aik(self, key):
        """What the trust agent gets for its attestation key."""
        return self.privacy_ca.issue("HVS AIK", key, digest=hashes.SHA256())

    def server(self, fault):
        """(private key, [leaf, intermediates...]) with the fault in them."""
        key = rsa_key(1024) if fault == "rsa1024" else ec.generate_private_key(ec.SECP256R1())
        issuer = self.intermediates["TLS"]
        if fault in ("wrong_ca", "self_signed"):
            issuer = Authority("CMSCA" if fault == "wrong_ca" else "CMS", ec.generate_private_key(ec.SECP384R1()))
        if fault == "self_signed":
            key = issuer.key
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if fault == "wrong_usage" else ExtendedKeyUsageOID.SERVER_AUTH
        names = [x509.DNSName("other.example")] if fault == "wrong_name" else self.names
        dates = {"expired": {"start": -30, "days": 29}, "not_yet_valid": {"start": 1}}.get(fault, {})
        extensions = [(x509.SubjectAlternativeName(names), False), (x509.ExtendedKeyUsage([usage]), False),
                      (key_usage("digital_signature", "key_encipherment"), True)]
        if fault == "sha1":
            leaf = self.signed_with_sha1(issuer, key, extensions)
        else:
            leaf = issuer.issue("CMS", key.public_key(), extensions, **dates)
        above = [] if fault == "self_signed" else issuer.chain()[:1]
        return key, [leaf, *above]

    def signed_with_sha1(self, issuer, key, extensions):
        """The openssl command still signs with SHA-1; the library here does not."""
        request = x509.CertificateSigningRequestBuilder().subject_name(name("CMS"))
        for extension, critical in [*extensions, (issuer.identifier(), False)]:
            request = request.add_extension(extension, critical)
        done = subprocess.run(
            ["openssl", "x509", "-req", "-sha1", "-days", "30", "-copy_extensions", "copyall", "-set_serial", "1",
             "-CA", self.write("sha1-ca.pem", pem(issuer.certificate)),
             "-CAkey", self.write("sha1-ca.key", private_pem(issuer.key))],
            input=pem(request.sign(key, hashes.SHA256())), capture_output=True, check=True)
        return x509.load_pem_x509_certificate(done.stdout)

    def server_context(self, fault=None):
        """(context, SHA-384 of the leaf) for new connections."""
        key, chain = self.server(fault)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if fault == "tls13" else ssl.TLSVersion.TLSv1_2
        if fault == "tls12":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if fault in ("rsa1024", "sha1"):
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
        if fault == "wants_client":
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=pem(self.root.certificate).decode())
        context.load_cert_chain(self.write("server.pem", b"".join(pem(certificate) for certificate in chain)),
                                self.write("server.key", private_pem(key)))
        return context, hashlib.sha384(der(chain[0])).hexdigest()
