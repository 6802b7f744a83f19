# SPDX-License-Identifier: Apache-2.0
"""The image owner's side of Intel SecL's key broker: keys are made in KBS and fetched from it, and layers are wrapped
for ocicrypt's cmd transport. The services are the double of tests/doubles/isecl."""

import json
import os
import unittest
import uuid

import clock_ahead
import harness
import running
from isecl_case import double, unb64
from owner_case import OwnerTest, opened_packet

OPTIONS = b'{"symkey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}'


class WrapTest(OwnerTest):
    def wrap(self, *parameters, check=True, provider="isecl", **options):
        request = harness.wrap_request(OPTIONS, *parameters, provider=provider)
        return self.command("keyprovider", "--kbs", stdin=request, check=check, **options)

    def packet_of(self, done):
        """The one line that is printed, as the original has it, to the packet in it."""
        self.assertEqual(done.stdout.count(b"\n"), 1)
        reply = json.loads(done.stdout)
        self.assertEqual(list(reply), ["keywrapresults", "keyunwrapresults"])
        self.assertEqual(reply["keyunwrapresults"], {"optsdata": None})
        self.assertEqual(list(reply["keywrapresults"]), ["annotation"])
        return unb64(reply["keywrapresults"]["annotation"])

    def made(self):
        """What KBS was asked to make, as it describes it."""
        token = double.make_token(user="owner")["token"]
        return {each["key_information"]["id"]: each for each in self.list_keys(token)}

    def list_keys(self, token):
        from isecl_case import Client
        with Client() as client:
            status, body, _ = client.call("GET", "/kbs/v1/keys", headers={"Accept": "application/json"}, token=token)
        self.assertEqual(status, 200)
        return json.loads(body)


class Wraps(WrapTest):
    def test_with_a_key_that_exists(self):
        key = double.add_key()
        for text in (key["id"], key["id"].upper()):
            packet = self.packet_of(self.wrap(f"key-id:{text}"))
            self.assertEqual(opened_packet(packet, unb64(key["material"])), (OPTIONS, key["key_url"]))
        self.assertEqual(self.calls("kbs.create_key"), 0)

    def test_with_a_new_key(self):
        before = self.made()
        for words in (("any",), ("",), ("Enabled",), ("asset-tag:country:USA",), ("asset-tag:country:USA,site:DC1",)):
            self.packet_of(self.wrap(*words))
        new = [each for name, each in self.made().items() if name not in before]
        self.assertEqual(sorted(each["usage"] for each in new),
                         ["", "", "", "country:USA", "country:USA,site:DC1"])
        for each in new:
            self.assertEqual((each["key_information"]["algorithm"], each["key_information"]["key_length"]), ("AES", 256))

    def test_each_wrap_has_another_nonce(self):
        key = double.add_key()
        packets = {self.packet_of(self.wrap(f"key-id:{key['id']}")) for _ in range(2)}
        self.assertEqual(len(packets), 2)

    def test_no_two_slashes_are_sent(self):
        for base in (double.urls["kbs"], double.urls["kbs"] + "/", self.base + "//kbs//v1//"):
            self.configure(KBS_BASE_URL=base)
            self.wrap("any")
        for request in double.requests()["requests"]:
            self.assertNotIn("//", request["target"])

    def test_a_new_envelope_key_each_time(self):
        self.configure(ENVELOPE_PRIVATE_KEY=None)
        key = double.add_key()
        packet = self.packet_of(self.wrap(f"key-id:{key['id']}"))
        self.assertEqual(opened_packet(packet, unb64(key["material"]))[0], OPTIONS)

    def test_by_environment_alone(self):
        env = self.environment(HOME="/nonexistent", **self.settings)
        key = double.add_key()
        packet = self.packet_of(self.wrap(f"key-id:{key['id']}", env=env))
        self.assertEqual(opened_packet(packet, unb64(key["material"]))[0], OPTIONS)

    def test_under_another_name(self):
        self.configure(OCICRYPT_KEYPROVIDER_NAME="keys")
        self.packet_of(self.wrap("any", provider="keys"))
        self.refused(self.wrap("any", check=False), "no parameter for the provider keys")

    def test_a_token_that_has_ended_is_renewed_once(self):
        # After a second, for two tokens of one second are the same.
        for route in ("kbs.create_key", "kbs.envelope"):
            double.fault(route=route, times=1, status=401, body="", delay=1.1)
        self.packet_of(self.wrap("any"))
        self.assertEqual(self.calls("aas.token"), 3)

    def test_the_owner_is_no_other_user(self):
        """Whatever runs it: no root, and nothing of the agent's."""
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        for root, directories, files in os.walk(self.directory):
            for name in [root, *(os.path.join(root, each) for each in directories + files)]:
                os.chown(name, 65534, 65534)
        self.packet_of(self.wrap("any", user=65534, group=65534, extra_groups=[]))


class WrapsOfRelease3(Wraps):
    release = 3


class WrapsOfRelease5(Wraps):
    release = 5


class Routes(WrapTest):
    """Which of the routes for envelopes a release has is told by its answers."""

    def envelope_targets(self, release):
        double.release(number=release)
        double.reset_counters()
        key = double.add_key()
        self.wrap(f"key-id:{key['id']}")
        return [(each["target"].removeprefix(f"/kbs/v1/keys/{key['id']}"), each["status"])
                for each in double.requests()["requests"] if each["route"] != "aas.token"]

    def test_of_each_release(self):
        for release in (3, 4):
            self.assertEqual(self.envelope_targets(release), [("", 405), ("/transfer", 200)])
        self.assertEqual(self.envelope_targets(5), [("", 200)])

    def test_nothing_but_a_public_key_is_sent(self):
        for release in (3, 5):
            double.release(number=release)
            self.wrap("any")
        for request in double.requests()["requests"]:
            headers = {name.lower(): value for name, value in request["headers"].items()}
            if request["route"] == "kbs.create_key":
                self.assertEqual((headers["accept"], headers["content-type"]), ("application/json", "application/json"))
            elif request["route"] != "aas.token":
                self.assertEqual((headers["accept"], headers["content-type"]), ("application/json", "text/plain"))


class Refusals(WrapTest):
    def nothing_made(self, *words, pattern, **options):
        double.reset_counters()
        self.refused(self.wrap(*words, check=False, **options), pattern)
        self.assertEqual(self.calls("kbs.create_key"), 0)

    def test_words_that_are_not_understood_make_no_key(self):
        for word in ("asset-tag:", "asset-tag:country", "asset-tag:country:USA,", "asset-tag:country:U-S",
                     "asset-tag:country:USA,country:CAN", "anything", "key-id:", "key-id:1", "country:USA", "key=web"):
            self.nothing_made(word, pattern="asset tag|neither any|the key's id")
        self.nothing_made("any", "any", pattern="more than one parameter")
        self.nothing_made(pattern="no parameter for the provider isecl")
        self.assertEqual(self.calls("aas.token"), 0)

    def test_rubbish(self):
        for rubbish in (b"", b"{", b"[]", b'{"op":"keywrap"}', b'{"op":"other"}', b"\x00" * 100, b"[" * 5000):
            done = self.command("keyprovider", "--kbs", stdin=rubbish, check=False)
            self.refused(done, "^wlagent: ")
        self.assertEqual(double.requests()["requests"], [])

    def test_unwrapping_is_the_agents(self):
        config = self.write("wlagent.conf", f"[Agent]\nRuntimeDirectory={self.directory}\n".encode(), 0o600)
        done = self.command("--config", config, "keyprovider", "--kbs", stdin=harness.unwrap_request(b"{}"), check=False)
        self.refused(done, "wlagentd")
        self.assertEqual(double.requests()["requests"], [])

    def test_keys(self):
        self.refused(self.wrap(f"key-id:{uuid.uuid4()}", check=False), r"KBS has no such key \(status 404\)")
        for length, size in ((128, 16), (192, 24)):
            key = double.add_key(length=length)
            self.refused(self.wrap(f"key-id:{key['id']}", check=False), f"has {size} bytes, not 32")

    def test_logins(self):
        self.configure(WPM_SERVICE_PASSWORD="wrong")
        self.nothing_made("any", pattern=r"AAS does not accept the owner's user or password.*WPM_SERVICE_PASSWORD")
        self.assertEqual(self.calls("aas.token"), 1)
        double.ban(user="owner")
        self.configure(WPM_SERVICE_PASSWORD=double.users["owner"])
        self.nothing_made("any", pattern="AAS has banned the owner's user \\(AAS lifts a ban after 15 minutes")
        double.unban(user="owner")
        self.configure(AAS_API_URL=self.base + "/other")
        self.nothing_made("any", pattern=r"AAS answered with status 404.*AAS_API_URL")

    def test_rights(self):
        double.add_user(name="nobody", password="x", roles=["WLS:KeysCreator"])
        self.configure(WPM_SERVICE_USERNAME="nobody", WPM_SERVICE_PASSWORD="x")
        self.refused(self.wrap("any", check=False), r"the owner's user may not do that \(status 401\).*KBS:KeyManager")
        self.assertEqual((self.calls("kbs.create_key"), self.calls("aas.token")), (1, 1))
        double.add_user(name="manager", password="x", roles=["KBS:KeyManager"])
        self.configure(WPM_SERVICE_USERNAME="manager")
        self.packet_of(self.wrap("any"))

    def test_settings(self):
        for name in ("KBS_BASE_URL", "AAS_API_URL", "WPM_SERVICE_USERNAME", "WPM_SERVICE_PASSWORD"):
            kept = self.settings[name]
            self.configure(**{name: None})
            self.nothing_made("any", pattern=f"{name} is not set")
            self.configure(**{name: kept})
        for name in ("KBS_BASE_URL", "AAS_API_URL", "KBS_ENDPOINT_URL"):
            kept = self.settings.get(name)
            for url in ("http://localhost/kbs/v1", "https://", "https://u@localhost/", "https://localhost/?a"):
                self.configure(**{name: url})
                self.nothing_made("any", pattern="https://HOST")
            self.configure(**{name: kept})
        self.configure(mode=0o640)
        self.nothing_made("any", pattern="owner.conf is open to others")
        self.configure(OTHER="1")
        self.nothing_made("any", pattern=r"owner.conf:\d+: there is no such setting")

    def test_envelope_keys(self):
        self.configure(ENVELOPE_PRIVATE_KEY=self.path("none.pem"))
        self.nothing_made("any", pattern="the envelope key: .*none.pem does not exist")
        self.configure(ENVELOPE_PRIVATE_KEY=self.write("open.pem", b"x", 0o644))
        self.nothing_made("any", pattern="open.pem is open to others")
        self.configure(ENVELOPE_PRIVATE_KEY=self.write("none.pem", b"x", 0o600))
        self.nothing_made("any", pattern="none.pem: it is no PEM")

    def test_certificates(self):
        root = "its certificate is not to be trusted: .* \\(the root certificate that it leads to"
        for fault, pattern in (("wrong_ca", root), ("self_signed", root),
                               ("wrong_name", "its certificate is not to be trusted: .* \\(the URL has to have a name"),
                               ("expired", "its certificate is not to be trusted: .* \\(renew the service's certificate"),
                               ("tls12", ".* \\(see its log; where it has TLS 1.2 only, .*ALLOW_TLS12=yes")):
            double.tls(fault=fault)
            self.nothing_made("any", pattern=f"AAS https://.*: {pattern}")
            self.assertEqual(double.requests()["requests"], [])
        self.configure(ALLOW_TLS12="yes")
        self.packet_of(self.wrap("any"))
        double.tls()
        self.configure(TRUSTED_CA_DIRECTORY=None)
        self.nothing_made("any", pattern="certificate is not to be trusted")


class Answers(WrapTest):
    """What a KBS that is faulty, or none, answers."""

    def answer(self, route, words="any", **fault):
        double.clear_faults()
        double.reset_counters()
        double.fault(route=route, **fault)
        return self.wrap(words, check=False)

    def test_to_the_making_of_a_key(self):
        base, log = "KBS_BASE_URL must be", "see the log of KBS"
        for status, told, remedy in (
                (400, "KBS does not make such a key", "it does not know the transfer policy"),
                (403, "KBS refuses the owner's user", "give WPM_SERVICE_USERNAME the role KBS:KeyManager"),
                (404, "KBS does not know the address", base), (405, "KBS does not know the address", base),
                (415, "KBS does not speak this program's dialect", base), (429, "KBS is asked too often", log),
                (500, "with status 500", log), (503, "with status 503", log), (200, "with status 200", log),
                (401, "does not accept the owner's token", "KBS and AAS must share one AAS signing certificate")):
            pattern = rf"{told}.* \({remedy}"
            done = self.answer("kbs.create_key", status=status, body="secret words", delay=1.1 * (status == 401))
            self.refused(done, pattern)
            self.assertNotIn(b"secret words", done.stderr)
            self.assertEqual(self.calls("kbs.create_key"), 2 if status == 401 else 1)

    def test_to_the_fetching_of_a_key(self):
        """By the route of release 4; what that of 5 is told there, test_of_each_release shows."""
        key = double.add_key()["id"]
        base, log = "KBS_BASE_URL must be", "see the log of KBS"
        for status, body, told, remedy, requests in (
                (400, "Failed to decode public key", "KBS does not take the owner's public key", log, 1),
                (401, "Insufficient privileges to access /kbs/v1/keys", "the owner's user may not do that",
                 "give WPM_SERVICE_USERNAME the role KBS:KeyManager", 1),
                (401, "", "KBS does not accept the owner's token", "KBS and AAS must share one AAS signing certificate", 2),
                (403, "", "KBS refuses the owner's user", "give WPM_SERVICE_USERNAME the role KBS:KeyManager", 1),
                (404, "Key with specified id does not exist", "KBS has no such key", "see that the id is one of this KBS", 1),
                (404, "404 page not found", "KBS does not know the address", base, 1),
                (405, "", "KBS does not know the address", base, 1),
                (415, "Invalid Accept type", "KBS does not speak this program's dialect", base, 1),
                (429, "", "KBS is asked too often", log, 1), (500, "secret words", "KBS answered with status 500", log, 1),
                (201, "{}", "KBS answered with status 201", log, 1)):
            with self.subTest(status=status, body=body):
                done = self.answer("kbs.envelope", f"key-id:{key}", status=status, body=body,
                                   delay=1.1 if (status, body) == (401, "") else 0)
                said = told if "with status" in told else rf"{told} \(status {status}\)"
                self.refused(done, rf"^wlagent: key {key}: {said} \({remedy}")
                self.assertNotIn(b"secret words", done.stderr)
                self.assertEqual(self.calls("kbs.envelope"), requests)
        for body in ("", "{}", "[]", '{"wrapped_key":null}', '{"wrapped_key":"AAAA"}', "<html>"):
            with self.subTest(body=body):
                done = self.answer("kbs.envelope", f"key-id:{key}", status=200, body=body)
                self.refused(done, rf"^wlagent: key {key}: the (key in the )?answer of KBS.* \(see the log of KBS")

    def test_another_key(self):
        """A wrong key would encrypt all the same, and no host could open it."""
        key, other = double.add_key()["id"], double.add_key()["id"]
        for told in (other, other.upper(), "", None, 7):
            with self.subTest(id=told):
                done = self.answer("kbs.envelope", f"key-id:{key}", json={"id": told})
                self.refused(done, rf"^wlagent: key {key}: KBS answered with another key than it was asked for \(see the log")
        before = self.made()
        done = self.answer("kbs.envelope", json={"id": other})
        self.refused(done, f"key {(set(self.made()) - set(before)).pop()}, which KBS has made for this, stays there unused: ")
        for change in ({"json": {"id": key.upper()}}, {"remove": ["id"]}):
            double.clear_faults()
            double.fault(route="kbs.envelope", **change)
            self.packet_of(self.wrap(f"key-id:{key}"))

    def test_a_redirection_is_not_followed(self):
        for route in ("kbs.create_key", "kbs.envelope"):
            done = self.answer(route, status=307, headers={"Location": self.base + "/elsewhere"})
            self.refused(done, r"sends its client elsewhere \(status 307\)")
            self.assertEqual(self.calls("unmatched"), 1 if route == "kbs.envelope" else 0)
            self.assertNotIn("/elsewhere", [each["target"] for each in double.requests()["requests"]])

    def test_one_that_breaks_off(self):
        for fault in ({"reset_at": 0}, {"close_at": 0}, {"drop_at": 0}, {"drop_at": 100}):
            self.refused(self.answer("kbs.create_key", **fault), "KBS may have made a key all the same")
            self.assertEqual(self.calls("kbs.create_key"), 1)
        self.refused(self.answer("kbs.create_key", body_size=100000), "KBS may have made a key.*too long")

    @unittest.skipIf(running.has_address_sanitizer(), "needs a module for LD_PRELOAD")
    def test_services_that_do_not_answer(self):
        with open(self.write("request", harness.wrap_request(OPTIONS, f"key-id:{double.add_key()['id']}", provider="isecl")),
                  encoding="ascii") as request:
            for words, route, service in ((["kbs", "create"], "aas.token", "AAS"), (["kbs", "create"], "kbs.create_key", "KBS"),
                                          (["keyprovider", "--kbs"], "kbs.envelope", "KBS")):
                double.clear_faults()
                double.reset_counters()
                double.fault(route=route, delay=1000)
                said = clock_ahead.gives_up(self, [harness.WLAGENT, *words], self.environment(),
                                            lambda route=route: self.calls(route), stdin=request)
                self.assertRegex(said, f"^wlagent: .*{service} https://.*: no answer in time")

    def test_a_key_that_cannot_be_fetched_is_named(self):
        for fault in ({"status": 500}, {"status": 404, "body": "404 page not found\n"}, {"reset_at": 0},
                      {"json": {"payload": "AAAA"}}, {"json": {"payload": "A" * 512}}, {"body": "{}"}):
            before = self.made()
            done = self.answer("kbs.envelope", **fault)
            made = set(self.made()) - set(before)
            self.assertEqual(len(made), 1)
            self.refused(done, f"key {made.pop()}, which KBS has made for this, stays there unused: ")

    def test_links(self):
        """What images and flavors would carry has to lead to this KBS and this key."""
        other = uuid.uuid4()
        for link, pattern in ((f"https://elsewhere.example/kbs/v1/keys/{other}/transfer", "hosts would ask another server"),
                              (f"{double.urls['kbs']}/keys/{other}/transfer", "it names another key"),
                              (f"{double.urls['kbs']}/keys/1/transfer", "keys/UUID/transfer"),
                              ("http://localhost/x", "scheme"), ("local:///web", "no https URL"), ("", "characters"),
                              ("https://localhost:1/keys?x", "character")):
            done = self.answer("kbs.create_key", json={"transfer_link": link})
            self.refused(done, f"KBS has made key .* whose link is not usable: .*{pattern}")
            self.assertEqual(self.calls("kbs.envelope"), 0)

    def test_conditions_that_are_not_kept(self):
        """A key without its asset tags, or its policy, is every trusted host's: nothing is encrypted with it."""
        policy, other = str(uuid.uuid4()), str(uuid.uuid4())
        tags = ("--asset-tag", "country:USA,site:DC1")
        for words, what, faults in (
                (tags, "asset tags", ({"remove": ["usage"]}, {"json": {"usage": ""}}, {"json": {"usage": None}},
                                      {"json": {"usage": "country:USA"}}, {"json": {"usage": "a" * 300}})),
                (("--transfer-policy", policy), "transfer policy",
                 ({"remove": ["transfer_policy_id"]}, {"json": {"transfer_policy_id": other}},
                  {"json": {"transfer_policy_id": "00000000-0000-0000-0000-000000000000"}},
                  {"json": {"transfer_policy_id": 7}})),
                ((*tags, "--transfer-policy", policy), "transfer policy", ({"remove": ["transfer_policy_id"]},))):
            for fault in faults:
                double.clear_faults()
                double.fault(route="kbs.create_key", **fault)
                before = self.made()
                done = self.command("kbs", "create", *words, check=False)
                made = set(self.made()) - set(before)
                self.assertEqual(len(made), 1)
                self.refused(done, f"KBS has made key {made.pop()} without its {what}\nhint: delete it in KBS")
        self.refused(self.answer("kbs.create_key", words="asset-tag:country:USA", remove=["usage"]),
                     "KBS has made key .* without its asset tags")
        self.assertEqual(self.calls("kbs.envelope"), 0)
        double.clear_faults()
        self.command("kbs", "create", *tags, "--transfer-policy", policy.upper())
        double.fault(route="kbs.create_key", remove=["usage", "transfer_policy_id"])
        self.command("kbs", "create", "--label", "web")
        double.clear_faults()

    def test_a_link_with_two_slashes(self):
        key = json.loads(self.command("kbs", "create", "--json").stdout)["key"]
        double.fault(route="kbs.create_key", json={"transfer_link": key.replace("/keys/", "//keys//")})
        self.refused(self.wrap("any", check=False), "it names another key")
        double.clear_faults()

    def test_another_name_of_kbs(self):
        """A KBS that gives itself another name in its links: the owner says that it is right, or not."""
        port = self.base.rsplit(":", 1)[1]
        self.configure(KBS_ENDPOINT_URL="https://keys.example/kbs/v1")
        self.refused(self.wrap("any", check=False), "hosts would ask another server than https://keys.example:443")
        key = double.add_key()
        packet = self.packet_of(self.wrap(f"key-id:{key['id']}"))
        self.assertEqual(opened_packet(packet, unb64(key["material"]))[1],
                         f"https://keys.example:443/kbs/v1/keys/{key['id']}/transfer")
        self.configure(KBS_ENDPOINT_URL=f"https://localhost:{port}/")
        self.packet_of(self.wrap("any"))


class CreateKey(WrapTest):
    def test_a_key_for_a_whole_image(self):
        key = self.command("kbs", "create", "--asset-tag", "country:USA", "--label", "web ä").stdout.decode().strip()
        made = self.made()[key]
        self.assertEqual((made["usage"], made["label"]), ("country:USA", "web ä"))
        urls = {json.loads(self.packet_of(self.wrap(f"key-id:{key}")))["key_url"] for _ in range(2)}
        self.assertEqual(urls, {made["transfer_link"]})

    def test_json_and_policy(self):
        policy = str(uuid.uuid4())
        made = json.loads(self.command("kbs", "create", "--json", "--transfer-policy", policy).stdout)
        self.assertEqual(made["key"], double.urls["kbs"] + f"/keys/{made['id']}/transfer")
        self.assertEqual(self.made()[made["id"]]["transfer_policy_id"], policy)

    def test_another_kbs(self):
        self.configure(KBS_BASE_URL=None)
        self.command("kbs", "create", "--kbs", double.urls["kbs"])
        self.refused(self.command("kbs", "create", check=False), "KBS_BASE_URL is not set")

    def test_wrong_options_make_no_key(self):
        for words in (("--asset-tag", "country"), ("--asset-tag", ""), ("--asset-tag", "a:b,"), ("--label", ""),
                      ("--label", "x" * 129), ("--label", "a\nb"), ("--transfer-policy", "1")):
            done = self.command("kbs", "create", *words, check=False)
            self.assertEqual(done.returncode, 2, words)
        self.assertEqual(double.requests()["requests"], [])
