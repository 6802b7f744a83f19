# SPDX-License-Identifier: Apache-2.0
"""What the services know: users, hosts, keys, flavors, images, reports, and what has been asked of them."""

import collections
import threading
import time

REQUESTS_KEPT = 1000


class Host:
    def __init__(self, hardware_uuid, aik):
        self.hardware_uuid = hardware_uuid
        self.aik = aik
        self.trust = "true"
        self.connected = True
        self.asset_tags = {}
        self.binding_certificate = None


class Key:
    def __init__(self, id_, algorithm, length, material):
        self.id = id_
        self.algorithm = algorithm
        self.length = length
        self.material = material
        self.usage = ""
        self.label = ""
        self.policy = ""
        self.kmip_key_id = ""
        self.created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class User:
    def __init__(self, password, roles):
        self.password = password
        self.roles = roles
        self.failures = []
        self.banned_until = 0


class State:
    def __init__(self, certificates, url, release):
        self.certificates = certificates
        self.url = url
        self.release = release
        self.lock = threading.RLock()
        self.clock_offset = 0
        self.users = {}
        self.token_seconds = 120 * 60
        self.expired_tokens = set()
        self.tokens = set()
        self.hosts = {}
        self.certified = {}
        self.saml_certificates = [certificates.saml_certificate]
        self.privacy_cas = [certificates.privacy_ca.certificate]
        self.keys = {}
        self.flavors = {}
        self.images = {}
        self.reports = []
        self.key_cache = {}
        self.down = set()
        self.faults = []
        self.reset_counters()

    def reset_counters(self):
        self.calls = collections.Counter()
        self.traffic = collections.Counter()
        self.requests = collections.deque(maxlen=REQUESTS_KEPT)

    def now(self):
        return time.time() + self.clock_offset

    @property
    def kbs_url(self):
        return self.url + "/kbs/v1"

    def key_url(self, key_id):
        return f"{self.kbs_url}/keys/{key_id}/transfer"
