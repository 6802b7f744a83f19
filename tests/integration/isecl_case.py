# SPDX-License-Identifier: Apache-2.0
"""What the tests of tests/doubles/isecl share: one double, started by the first of them, and hosts that it knows."""

import atexit
import base64
import functools
import http.client
import json
import os
import socket
import ssl
import sys
import tempfile
import unittest
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import serialization

import running
from software_host import SoftwareHost, new_key, public_pem, request_to_certify

sys.path.append(os.path.join(running.TOP, "tests", "doubles"))

from isecl.client import Double  # noqa: E402

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
PEM = {"Accept": "application/x-pem-file"}
HARDWARE = "59eed8f0-28c5-4070-91fc-f5e2e5443f6b"


@functools.cache
def started():
    directory = tempfile.TemporaryDirectory(prefix="wlagent-isecl.")
    made = Double(directory.name)
    atexit.register(directory.cleanup)
    atexit.register(made.stop)
    return made


class Shared:
    """The double, started when it is first asked for something."""

    def __getattr__(self, name):
        return getattr(started(), name)


@functools.cache
def spare_key(_number):
    """RSA keys take long to make, so tests share them."""
    return new_key()


double = Shared()


def unb64(text):
    return base64.b64decode(text, validate=True)


class Client:
    """Requests on one connection that is kept."""

    def __init__(self, timeout=20):
        port = urllib.parse.urlsplit(double.urls["cms"]).port
        context = ssl.create_default_context(cafile=double.root_ca)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        self.connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def call(self, method, path, body=None, headers=None, token=None):
        """(status, body, headers)"""
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if isinstance(body, dict):
            body = json.dumps(body)
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read(), answer.headers


class RawRequest:
    """A request whose answer is taken as it comes, and the end of the connection too."""

    def __init__(self):
        self.received, self.to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=double.root_ca)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        self.tls = context.wrap_bio(self.received, self.to_send, server_hostname="localhost")
        self.plain = socket.create_connection(("localhost", urllib.parse.urlsplit(double.urls["cms"]).port), timeout=20)
        self.do(self.tls.do_handshake)
        self.do(self.tls.write, b"GET /cms/v1/ca-certificates HTTP/1.1\r\nHost: x\r\n"
                                b"Accept: application/x-pem-file\r\n\r\n")

    def do(self, function, *arguments):
        while True:
            try:
                return function(*arguments)
            except ssl.SSLWantReadError:
                self.send()
                self.receive()
            finally:
                self.send()

    def send(self):
        if self.to_send.pending:
            self.plain.sendall(self.to_send.read())

    def receive(self):
        data = self.plain.recv(65536)
        if data:
            self.received.write(data)
        else:
            self.received.write_eof()

    def until_end(self):
        """(bytes, how it ended)"""
        found = b""
        try:
            while True:
                part = self.do(self.tls.read, 65536)
                if not part:
                    return found, "in order"
                found += part
        except ssl.SSLZeroReturnError:
            return found, "in order"
        except ConnectionResetError:
            return found, "reset"
        except ssl.SSLError as error:
            if error.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise
            return found, "without close_notify"


class DoubleTest(unittest.TestCase):
    def setUp(self):
        double.release(number=4)
        double.clear_faults()
        double.reset_counters()
        self.client = Client()
        self.addCleanup(self.client.connection.close)

    def token(self, user="wla"):
        return double.make_token(user=user)["token"]

    def refused(self, answer, status, text):
        """As plain text with a line feed, or with no text at all."""
        self.assertEqual((answer[0], answer[1].decode()), (status, text and text + "\n"))
        self.assertEqual(answer[2].get("Content-Type"), "text/plain; charset=utf-8" if text else None)

    def new_host(self, hardware_uuid=HARDWARE):
        """A host that the services know, with a binding key that is certified."""
        host = SoftwareHost(spare_key(0), spare_key(1))
        made = double.add_host(hardware_uuid=hardware_uuid, aik=public_pem(host.aik))["aik_certificate"]
        host.aik_certificate = x509.load_pem_x509_certificate(made.encode())
        answer = self.certify(self.request_of(host))
        self.assertEqual(answer[0], 201, answer)
        host.certificate = x509.load_der_x509_certificate(unb64(json.loads(answer[1])["binding_key_der_certificate"]))
        return host

    def request_of(self, host):
        attest = host.attest()
        return request_to_certify(host.public, attest, host.signature(attest),
                                  host.aik_certificate.public_bytes(serialization.Encoding.DER))

    def certify(self, body, kind="binding", **changes):
        return self.client.call("POST", f"/hvs/v2/rpc/certify-host-{kind}-key", body,
                                **{"headers": JSON, "token": self.token("installer"), **changes})

    def keys(self, key_url, path="/wls/v1/keys", hardware_uuid=HARDWARE, **changes):
        body = {"hardware_uuid": hardware_uuid, "key_url": key_url}
        return self.client.call("POST", path, body, **{"headers": JSON, "token": self.token(), **changes})

    def flavor_key(self, image, query=f"?hardware_uuid={HARDWARE}", base="/wls/v1"):
        return self.client.call("GET", f"{base}/images/{image}/flavor-key{query}", headers=JSON, token=self.token())
