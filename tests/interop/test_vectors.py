# SPDX-License-Identifier: Apache-2.0
"""Annotations that other projects' tools have made, with the keys they were made with."""

import base64
import hashlib
import json

from grpc import StatusCode

import harness

COCO_SAMPLE = {
    "kid": "kbs:///default/key/1", "wrap_type": "A256GCM", "iv": "3PQMqtjbR4hxCr83",
    "wrapped_data":
        "KxAFgXwa0y72Xdygub9lF00RVMtSRbYzvakIEASgi3Gvt1wGLkhKPXf0S033Jdi6vAN6zBM7d0xZSDo2JCeew0FeKwTYgdJfdcPhuEpZ"
        "OpjhwIsidyeiunzp0J/crvI1tSPZJw4DPHZN2eQtg71rDzIbuDM5ATheiDM9/YJv+k+n6Nv6/pRb8qynNzbWFz7Q8wEo1ZZlL6UftOBJ"
        "6j9GuEOTM2k/B+5sMA2VhGHSzDsKA1mn0qzcn2HJg4GcmxwDpJwzm5n7B4iIJ3A0umrQAjQ="}
COCO_SAMPLE_KEY = base64.b64decode("2Zt3BbC6ehaClbOjNnJwsN2bNxv1FMqLm6fwozcR2uo=")
COCO_SAMPLE_OPTIONS = (
    b'{"symkey":"1jL2jJV0Oyz2nmPkLtqulW6cKcpIUN5FpILcVnP5Uqs=","digest":"sha256:'
    b'18be1897f9402f27c8c0eba7c86e0c00f5656db62961b5949d55f9565c42c6e7",'
    b'"cipheroptions":{"nonce":"r10F9oaCu+nWFXfod3l83g=="}}')

OWN = {
    "kid": "kbs:///default/key/2", "wrap_type": "A256GCM", "iv": "AAECAwQFBgcICQoL",
    "wrapped_data":
        "J3Au3idejpWew+uHZzYdfWQhryYNcu9SdWKf/vqxhNxUn0B4c1IRo7gior+OoEv2Sn6JtjJryqeKH2jAQtgQ22f9qWmevI7sZVvzQDtJ"
        "mKGzD6aKpn5jeFrrJGrlO511JB5gtRMELrTMb/TWhXodWrXJMEKmb1AAveOWKT0foWcq5bAILbBhrOGCdt1HhnjFVqOILfxGuxCY63Lm"
        "zIUpCKmMFX5TEEwTxDx6YugK9Z73LUPQ/t1jWe3/yrXqpId00mDqVs24XaXfYisKp959NDc="}
OWN_KEY = bytes(range(0x20, 0x40))
OWN_OPTIONS = (
    b'{"symkey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","digest":"sha256:'
    b'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",'
    b'"cipheroptions":{"nonce":"AAECAwQFBgcICQoLDA0ODw=="}}')

ISECL_URL = "https://kbs.example:9443/kbs/v1/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer"
ISECL_INNER = (
    b'{"cipher_text":"PCClYqiOp2Kve7XK8Kw7LPSHwXaXGBY/aQipwVxZT/Z5Ufy5x4xH3ib9J6rK7El/li4ExTLunvhCO12KwvqZ2P6msUwh'
    b'DS0ENg==","nonce":"AAECAwQFBgcICQoL"}')
ISECL_KEY = bytes(range(32))
ISECL_OPTIONS = b'{"symkey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}'


def isecl_packet(url):
    return json.dumps({"key_url": url, "wrapped_key": base64.b64encode(ISECL_INNER).decode(), "wrap_type": "AES"},
                      separators=(",", ":")).encode()


class Vectors(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.agent.start()
        self.client = self.agent.client()
        self.addCleanup(self.client.close)

    def opens(self, key, packet, options):
        self.agent.import_key("vector", key)
        self.assertEqual(self.client.unwrap(packet), options)

    def test_confidential_containers_sample(self):
        self.opens(COCO_SAMPLE_KEY, json.dumps({**COCO_SAMPLE, "kid": "local:///vector"}).encode(), COCO_SAMPLE_OPTIONS)

    def test_confidential_containers_form(self):
        self.opens(OWN_KEY, json.dumps({**OWN, "kid": "local:///vector"}).encode(), OWN_OPTIONS)

    def test_confidential_containers_second_form(self):
        packet = {**OWN, "kid": "local:///vector", "version": "0.1.0", "provider": "kbs", "provider_settings": {},
                  "annotations": {}}
        self.opens(OWN_KEY, json.dumps(packet).encode(), OWN_OPTIONS)

    def test_intel_secl(self):
        self.assertEqual(hashlib.sha256(isecl_packet(ISECL_URL)).hexdigest(),
                         "0067d4219996080a4e539d10bc415eb3d98c4d55e5ea3ad0d43f146ea9c1749b")
        self.opens(ISECL_KEY, isecl_packet("local:///vector"), ISECL_OPTIONS)

    def test_their_own_key_ids_have_no_source_yet(self):
        for packet, scheme in ((json.dumps(COCO_SAMPLE).encode(), "kbs"), (isecl_packet(ISECL_URL), "https")):
            self.refused(lambda packet=packet: self.client.unwrap(packet), StatusCode.NOT_FOUND,
                         f"no source is configured for {scheme} keys")
