# SPDX-License-Identifier: Apache-2.0
"""What the tests of an image's owner stand on: wlagent of a user that has neither TPM nor agent, and the double of
Intel SecL's services."""

import base64
import functools
import json
import os
import shutil
import subprocess
import tempfile
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import harness
from isecl_case import double, unb64


@functools.cache
def envelope_pem():
    """An owner's envelope key as wpm writes it: PKCS#1 under the label of PKCS#8. Saves each run the making of one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL,
                            serialization.NoEncryption())
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{text}-----END PRIVATE KEY-----\n"


def opened_packet(packet, material):
    """(what a packet of Intel's form seals, key_url), by cryptography of others; the form has no room for more."""
    outer = json.loads(packet)
    assert list(outer) == ["key_url", "wrapped_key", "wrap_type"] and outer["wrap_type"] == "AES", outer
    inner = json.loads(unb64(outer["wrapped_key"]))
    assert list(inner) == ["cipher_text", "nonce"], inner
    return AESGCM(material).decrypt(unb64(inner["nonce"]), unb64(inner["cipher_text"]), None), outer["key_url"]


class OwnerTest(unittest.TestCase):
    release = 4

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-owner.")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        os.chmod(self.directory, 0o755)
        double.release(number=self.release)
        double.clear_faults()
        double.tls()
        double.unban(user="owner")
        double.reset_counters()
        trust = self.path("trust")
        os.mkdir(trust)
        shutil.copy(double.root_ca, trust)
        self.base = double.urls["cms"].removesuffix("/cms/v1")
        self.settings = {"KBS_BASE_URL": double.urls["kbs"] + "/", "AAS_API_URL": double.urls["aas"],
                         "WPM_SERVICE_USERNAME": "owner", "WPM_SERVICE_PASSWORD": double.users["owner"],
                         "TRUSTED_CA_DIRECTORY": trust,
                         "ENVELOPE_PRIVATE_KEY": self.write("envelope.pem", envelope_pem().encode(), 0o600)}
        self.configure()

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, content, mode=0o644):
        with open(self.path(name), "wb") as file:
            file.write(content)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def configure(self, mode=0o600, **settings):
        """Writes owner.conf; a setting that is None is left out."""
        self.settings.update(settings)
        os.makedirs(self.path("home/.config/wlagent"), exist_ok=True)
        self.write("home/.config/wlagent/owner.conf",
                   "".join(f"{name}={value}\n" for name, value in self.settings.items() if value is not None).encode(),
                   mode)

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "HOME": self.path("home"),
                **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}, **more}

    def command(self, *words, stdin=b"", check=True, env=None, **options):
        done = subprocess.run([harness.WLAGENT, *words], input=stdin, capture_output=True, timeout=120, check=False,
                              env=env or self.environment(), cwd=self.directory, **options)
        self.assertNotIn(b"Sanitizer", done.stderr)
        for secret in (double.users["owner"].encode(), b"eyJhbGci", b"-----BEGIN"):
            self.assertNotIn(secret, done.stderr + done.stdout)
        if check and done.returncode:
            raise AssertionError(f"wlagent {' '.join(words)}: {done.stderr.decode(errors='replace')}")
        return done

    def refused(self, done, pattern, code=1):
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertRegex(done.stderr.decode(), pattern)
        self.assertEqual(done.stdout, b"")

    def calls(self, route):
        return double.counters()["calls"].get(route, 0)

    def requests(self, route):
        return [each for each in double.requests()["requests"] if each["route"] == route]
