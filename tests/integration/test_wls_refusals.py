# SPDX-License-Identifier: Apache-2.0
"""What each answer of Intel SecL's services means: the code that programs see, and the text that tells an operator which
of the services to look at, and for what. Statuses and bodies are those of releases 3.0 to 5.1; the services are the
double of tests/doubles/isecl."""

import os
import unittest.mock

from grpc import StatusCode

from isecl_case import HARDWARE, double
from wls_case import WlsTest

DENIED, MISSING, BAD = StatusCode.PERMISSION_DENIED, StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT
AWAY, NO_AES = StatusCode.UNAVAILABLE, StatusCode.UNIMPLEMENTED

KEYS = "Failed to retrieve Key for Image"
HVS = r"see that HVS and the host's trust agent run and that HVS lists the host as CONNECTED"
BASE = "ServerURL= must be the base URL of WLS"
CHANGED = "something on the way has changed the request, or this WLS is none of versions 3.0 to 5.1"
BEFORE = "see the log of WLS, or of the proxy that stands before it"
LINK = "the owner has to encrypt the image with the transfer link that KBS gave"
KBS_TAGS = "the key's usage in KBS may ask for asset tags"
KBS_AWAY = "see that KBS runs at the address that the key's URL has, and that WLS trusts its certificate"
SENDER = "clients/send_http_request.go"
OF_KBS = f"Failed to retrieve key : Error response from key transfer request: {SENDER}:SendNoAuthRequest() Error getting response"
ANSWERED = f"{SENDER}:SendRequest() Error from response: HTTP Status"
UNREACHABLE = f"{SENDER}:GetHTTPResponse() Error from response"
BEHIND_WLS = "see the log of KBS: the key does not exist, its policy refuses this host, or KBS is down"

# status, body, code, what is told, what to do, requests that are made of it
STATUSES = (
    (400, f"{KEYS} - JSON marshal error", BAD, "WLS does not take the request", CHANGED, 1),
    (400, "Failed to retrieve key - JSON marshal error", BAD, "WLS does not take the request", CHANGED, 1),
    (400, "Invalid hardware UUID format", BAD, "WLS does not take this host's hardware UUID", "set HardwareUUID=", 1),
    (400, "keyUrl is empty", BAD, "WLS does not take the request", CHANGED, 1),
    (400, f"{KEYS} - KeyUrl is malformed", BAD, "WLS does not take the key's URL", LINK, 1),
    (500, f"{KEYS} - KeyUrl is malformed", BAD, "WLS does not take the key's URL", LINK, 1),
    (401, "Insufficient privileges to access /wls/v1/keys", DENIED, "the agent's user may not have keys",
     "give ServiceUser= the role WLS:KeysCreator in AAS", 1),
    (401, "", DENIED, "WLS does not accept the agent's token", "WLS and AAS must share one AAS signing certificate", 2),
    (403, "", DENIED, "WLS refuses this host", BEFORE, 1),
    (404, "404 page not found", MISSING, "WLS does not know the address", BASE, 1),
    (405, "", MISSING, "WLS does not know the address", BASE, 1),
    (415, "Invalid Accept type", BAD, "WLS does not speak this agent's dialect", "ServerURL= must be .* WLS 4.x or 5.x", 1),
    (429, "", AWAY, "WLS is asked too often", BEFORE, 1),
    (302, "", DENIED, "WLS sends its client elsewhere", BASE, 1),
    (204, "", DENIED, "WLS answered with status 204", "see the log of WLS", 1),
    (500, f"{KEYS} - Host is untrusted", DENIED, "HVS does not trust this host", "look at the host's trust report in HVS", 1),
    (500, f"{KEYS} - Host is untrusted: {ANSWERED} :404", DENIED,
     "HVS does not trust this host", "look at the host's trust report in HVS", 1),
    (500, f"{KEYS} - Failed to read HVS response", AWAY, "HVS cannot judge this host now", HVS, 2),
    (500, f"{KEYS} - SAML signature or certificate chain verification failed", AWAY,
     "WLS does not accept the reports of HVS", "WLS needs the SAML root certificate of HVS", 1),
    (500, "Failed to retrieve key ", DENIED, "KBS gave no key", BEHIND_WLS, 1),
    (500, f"{OF_KBS}: {ANSWERED} :401", DENIED, "KBS does not give the key to this host", KBS_TAGS, 1),
    (500, f"{OF_KBS}: {ANSWERED} :404", MISSING, "KBS has no such key", "the key was deleted, or the image is for another KBS", 1),
    (500, f"{OF_KBS}: {ANSWERED} :400", DENIED, "KBS gave no key", "see the log of KBS", 1),
    (500, f"{OF_KBS}: {ANSWERED} :500", DENIED, "KBS gave no key", "see the log of KBS", 1),
    (500, f'{OF_KBS}: {UNREACHABLE}: Post "https://kbs:9443/kbs/v1/keys/404/transfer": dial tcp: connect: connection refused',
     AWAY, "WLS does not reach KBS", KBS_AWAY, 2),
    (500, "Error while instantiating HVS client", AWAY, "WLS answered with status 500", "see the log of WLS", 2),
    (500, "Unknown Error", AWAY, "WLS answered with status 500", "see the log of WLS", 2),
    (500, "", AWAY, "WLS answered with status 500", "see the log of WLS", 2),
)

STRANGER = "see the log of WLS; something else may stand at ServerURL="
NO_VERDICT = "WLS does so when HVS said nothing on the trust of the host"

# Of a status that says that all is well.
BODIES = (
    ({"body": ""}, DENIED, "WLS answered without a key", STRANGER),
    ({"body": "{}"}, DENIED, "WLS answered without a key", NO_VERDICT),
    ({"body": "null"}, DENIED, "WLS answered without a key", NO_VERDICT),
    ({"json": {"key": None}}, DENIED, "WLS answered without a key", NO_VERDICT),
    ({"json": {"key": ""}}, DENIED, "WLS answered without a key", NO_VERDICT),
    ({"json": {"key": 7}}, BAD, "the key in the answer of WLS: ", STRANGER),
    ({"json": {"key": "%%%%"}}, BAD, "the key in the answer of WLS: ", STRANGER),
    ({"duplicate": {"key": "AAAA"}}, BAD, "the answer of WLS: ", STRANGER),
    ({"body": "<html>Welcome</html>"}, BAD, "the answer of WLS: ", STRANGER),
    ({"body": "Host is untrusted"}, BAD, "the answer of WLS: ", STRANGER),
    ({"body_size": 40000}, BAD, "WLS https://.*: its answer is too long", "something else than this service"),
    *(({"ciphertext_size": size}, BAD, "the key in the answer of WLS: ", STRANGER) for size in (1, 128, 255, 257, 512)),
)

AAS_CHANGED = "something on the way has changed the request, or this AAS is none of versions 3.0 to 5.1"
TOKEN_URL = "TokenURL= must be the base URL of AAS"
LOGINS = (
    ({"status": 400, "body": "Unable to decode JSON request body"}, BAD, r"AAS does not take the login \(status 400\)", AAS_CHANGED),
    ({"status": 415}, BAD, r"AAS does not take the login \(status 415\)", AAS_CHANGED),
    ({"status": 404}, BAD, "AAS answered with status 404", TOKEN_URL),
    ({"status": 307, "headers": {"Location": "https://127.0.0.1:1/"}}, BAD, "AAS answered with status 307", TOKEN_URL),
    ({"status": 500}, AWAY, "AAS answered with status 500", "see the log of AAS"),
    ({"body": ""}, BAD, "what AAS answered is no token", TOKEN_URL),
    ({"body": '{"token":"e30.e30."}'}, BAD, "what AAS answered is no token", TOKEN_URL),
    ({"body_size": 100_000}, BAD, "AAS https://.*: its answer is too long", "something else than this service"),
)
# Each ends the logins for a while, for AAS bans users.
LAST_LOGINS = (
    (401, "AAS does not accept the agent's user or password", "set ServiceUser= and the credential aas-password right"),
    (429, "AAS has banned the agent's user", "AAS lifts a ban after 15 minutes"),
)


class Answers(WlsTest):
    def answered(self, route, knobs):
        double.clear_faults()
        double.reset_counters()
        double.fault(route=route, **knobs)

    def test_statuses(self):
        key = self.key()
        for status, body, code, told, remedy, requests in STATUSES:
            with self.subTest(status=status, body=body):
                # Tokens of one second are the same, so that the second one is a second later.
                self.answered("wls.keys", {"status": status, "body": body and body + "\n",
                                           "delay": 1.1 if (status, body) == (401, "") else 0})
                said = rf": {told}" + ("" if "status" in told else rf" \(status {status}\)")
                text = self.denied(key, code, rf"{said}.* \({remedy}")
                self.assertIn(key.url, text)
                self.assertEqual(self.calls(), requests)
        double.clear_faults()
        self.opens(key)

    def test_bodies(self):
        key = self.key()
        for knobs, code, told, remedy in BODIES:
            with self.subTest(**knobs):
                self.answered("wls.keys", knobs)
                self.denied(key, code, rf"{told}.* \({remedy}|{told} \({remedy}")
                self.assertEqual(self.calls(), 1)
        double.clear_faults()
        double.advance(seconds=301)
        self.opens(key)

    def test_keys_of_other_sizes(self):
        """What the TPM opens is no key of AES-256."""
        key = self.key()
        for size in (1, 16, 24, 31, 33, 64):
            with self.subTest(size=size):
                self.answered("wls.keys", {"key_size": size})
                self.denied(key, NO_AES, rf"{size} bytes.* \(keys for container images are AES-256 keys")
        double.clear_faults()
        double.advance(seconds=301)
        self.opens(key)

    def test_logins(self):
        key = self.key()
        for knobs, code, told, remedy in LOGINS:
            with self.subTest(**knobs):
                self.answered("aas.token", knobs)
                self.denied(key, code, rf": {told} \({remedy}")
                self.assertEqual((self.calls("aas.token"), self.calls()), (1, 0))
        for status, told, remedy in LAST_LOGINS:
            with self.subTest(status=status):
                self.agent.stop()
                self.start()
                self.answered("aas.token", {"status": status, "body": ""})
                for _ in range(3):
                    self.denied(key, DENIED, rf": {told} \({remedy}")
                self.assertEqual((self.calls("aas.token"), self.calls()), (1, 0))
        double.clear_faults()
        self.agent.stop()
        self.start()
        self.opens(key)

    def test_certificates_of_wls(self):
        """By when there is a token: the connection that was kept is lost, and the next one is to somebody else."""
        key = self.key()
        for fault, remedy in (("expired", "renew the service's certificate"), ("wrong_name", "the URL has to have a name"),
                              ("wrong_ca", "the root certificate that it leads to has to be in the directory of trusted ones")):
            with self.subTest(fault=fault):
                self.opens(key)
                self.answered("wls.keys", {"close_at": 0, "times": 1})
                double.tls(fault=fault, http2=self.http2)
                self.denied(key, DENIED, rf": WLS https://.*: its certificate is not to be trusted: .* \({remedy}")
                self.assertLessEqual(self.calls(), 1)
                double.tls(http2=self.http2)


class Unreachable(WlsTest):
    timeout = 10

    def restart(self, **options):
        self.agent.stop()
        self.agent.write_config(WLS={**self.section(), **options})
        self.start()

    def test_services(self):
        key = self.key()
        with self.subTest("nobody listens"):
            self.restart(TokenURL="https://localhost:1/aas/v1")
            self.denied(key, AWAY, r": AAS https://localhost:1/aas/v1 .* \(see that it runs, and that no firewall or proxy")
            self.restart()
            self.opens(key)
        with self.subTest("no such name"):
            # Where there is no resolver either, that shows within the time of a call.
            with unittest.mock.patch.dict(os.environ, RES_OPTIONS="attempts:1 timeout:1"):
                self.restart(TokenURL="https://aas.invalid/aas/v1")
            self.denied(key, AWAY, r": AAS https://aas.invalid:443/aas/v1 .* \(look at the name in its URL")
        with self.subTest("a proxy before it"):
            self.restart()
            self.opens(key)
            double.fault(route="*", status=503, body="")
            self.denied(key, AWAY, r": WLS https://.* out of reach since .*: WLS answered with status 503 "
                                   r"\(a proxy or load balancer reaches nobody behind it")
            double.clear_faults()
            self.opens(key)

    def test_tls12(self):
        """What services of release 3 may have is refused unless it is allowed."""
        key = self.key()
        double.tls(fault="tls12", http2=self.http2)
        self.restart()
        self.denied(key, AWAY, r": AAS https://.* \(see its log; where it has TLS 1.2 only, AllowTLS12=yes")
        self.assertEqual((self.calls("aas.token"), self.calls()), (0, 0))
        self.restart(AllowTLS12="yes")
        self.opens(key)


class Verdicts(WlsTest):
    """What the services find by themselves, with no fault in an answer."""

    refused_by_kbs = DENIED, rf": KBS gave no key \(status 500\) \({BEHIND_WLS}"
    unknown_to_kbs = kbs_is_away = refused_by_kbs

    def test_hvs(self):
        for host, code, pattern in (
                ({"trust": False}, DENIED, r": HVS does not trust this host \(status 500\) \(look at the host's trust report"),
                ({"connected": False}, AWAY, rf": HVS cannot judge this host now \(status 500\) \({HVS}")):
            with self.subTest(**host):
                double.set_host(hardware_uuid=HARDWARE, **host)
                self.denied(self.key(), code, pattern)
                double.set_host(hardware_uuid=HARDWARE, trust=True, connected=True)
                self.opens(self.key())
        double.down(service="hvs")
        self.denied(self.key(), AWAY, rf": HVS cannot judge this host now \(status 500\) \({HVS}")

    def test_no_verdict(self):
        double.set_host(hardware_uuid=HARDWARE, trust=None)
        self.denied(self.key(), DENIED, rf": WLS answered without a key \({NO_VERDICT}")

    def test_host_that_hvs_does_not_know(self):
        self.agent.stop()
        self.agent.write_config(WLS={**self.section(), "HardwareUUID": "00000000-0000-4000-8000-000000000001"})
        self.start()
        self.denied(self.key(), AWAY, rf": HVS cannot judge this host now \(status 500\) \({HVS}")

    def test_kbs(self):
        key = self.key(usage="country:USA")
        self.denied(key, *self.refused_by_kbs)
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "CAN"})
        self.denied(key, *self.refused_by_kbs)
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "USA"})
        self.opens(key)
        gone = self.key()
        double.remove_key(id=gone.id)
        self.denied(gone, *self.unknown_to_kbs)
        double.down(service="kbs")
        self.denied(self.key(), *self.kbs_is_away)
        double.down(service="kbs", down=False)
        self.opens(self.key())

    def test_users(self):
        roles = ["WLS:FlavorsImageRetrieval", "WLS:KeysCreator", "WLS:ReportCreator"]
        self.addCleanup(double.add_user, name="wla", password=double.users["wla"], roles=roles)
        double.add_user(name="wla", password=double.users["wla"], roles=[roles[0], roles[2]])
        self.denied(self.key(), DENIED, r": the agent's user may not have keys \(status 401\) \(give ServiceUser= the role "
                                        "WLS:KeysCreator in AAS")
        self.assertEqual((self.calls("aas.token"), self.calls()), (1, 1))


class VerdictsOfRelease5(Verdicts):
    release = 5
    refused_by_kbs = DENIED, r": KBS does not give the key to this host \(status 500\) \(the key's usage in KBS may ask"
    kbs_is_away = AWAY, rf": WLS does not reach KBS \(status 500\) \({KBS_AWAY}"
    unknown_to_kbs = MISSING, r": KBS has no such key \(status 500\) \(the key was deleted"

    def test_kbs_that_comes_back(self):
        key = self.key()
        double.fault(route="wls.keys", times=1, status=500, body=f"{OF_KBS}: {UNREACHABLE}: EOF\n")
        self.opens(key)
        self.assertEqual(self.calls(), 2)

    def test_no_verdict(self):
        """WLS asks KBS all the same, which judges by the keys of the host alone then."""
        double.set_host(hardware_uuid=HARDWARE, trust=None)
        self.opens(self.key())
        self.assertEqual(double.counters()["calls"]["kbs.released"], 1)
