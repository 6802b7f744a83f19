# SPDX-License-Identifier: Apache-2.0
"""Intel SecL's keys of the host in the running agent: what it does with files and secrets that are missing, wrong,
mixed up, or of another TPM."""

import base64
import json
import os
import shutil

from grpc import StatusCode

import harness
import intel_host
from isecl_case import HARDWARE, JSON, Client, double, spare_key
from software_host import SoftwareHost, public_pem, request_to_certify
from test_residue import forms, mappings
from wls_case import OPTIONS, WlsTest


def edited(path, member, change):
    """Writes a member's bytes back as change() returns them."""
    with open(path, encoding="ascii") as file:
        members = json.load(file)
    members[member] = base64.b64encode(change(base64.b64decode(members[member]))).decode()
    with open(path, "w", encoding="ascii") as file:
        file.write(json.dumps(members, indent=4) + "\n")


def flip(at):
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


class HostKeyTest(WlsTest):
    def setUp(self):
        super().setUp()
        self.agent.import_key("image", bytes(32))
        self.broker_key = self.key()

    def refuses(self, pattern, code=StatusCode.FAILED_PRECONDITION):
        """Keys of the broker, but not those of the local store."""
        self.denied(self.broker_key, code, pattern)
        self.assertEqual(self.client.unwrap(harness.wrap_packet("local:///image", bytes(32), OPTIONS)), OPTIONS)

    def wrong_authorisations(self):
        """As the TPM has counted them; the agent has to be stopped."""
        text = self.tpm.tool("tpm2_getcap", "properties-variable")
        return int(text.partition("TPM2_PT_LOCKOUT_COUNTER:")[2].split()[0], 0)

    def unbinds(self):
        text = self.agent.output("metrics")
        return sum(int(line.split()[1]) for line in text.splitlines()
                   if line.startswith('wlagent_tpm_operations_total{operation="unbind"'))

    def restart(self):
        self.agent.stop()
        self.start()

    def restore(self, kind="binding"):
        shutil.copy(os.path.join(intel_host.MADE, kind + "key.json"), self.host.path(kind))


class Secret(HostKeyTest):
    def test_wrong_secret(self):
        self.host.provide("binding-key-secret", "ff" * 20)
        before = self.unbinds()
        for _ in range(4):
            self.denied(self.broker_key, StatusCode.FAILED_PRECONDITION,
                        "the TPM refuses the secret in the credential binding-key-secret .*wrong attempts lock a TPM")
        self.assertEqual(self.unbinds() - before, 1)
        self.refuses("the TPM refuses the secret")
        self.host.provide("binding-key-secret", self.host.secrets["binding-key-secret"])
        self.opens(self.broker_key)
        self.agent.stop()
        self.assertEqual(self.wrong_authorisations(), 1)

    def test_starting_costs_no_authorisation(self):
        self.host.provide("binding-key-secret", "ff" * 20)
        for _ in range(3):
            self.restart()
            harness.poll(lambda: "is ready" in self.agent.log_text(), "the TPM to be ready")
        self.agent.stop()
        self.assertEqual(self.wrong_authorisations(), 0)

    def test_missing_and_empty(self):
        os.unlink(os.path.join(self.host.credentials, "binding-key-secret"))
        self.restart()
        harness.poll(lambda: "keys of Intel SecL's broker will be refused" in self.agent.log_text(), "the warning")
        self.refuses("there is no credential binding-key-secret", StatusCode.NOT_FOUND)
        self.host.provide("binding-key-secret", "")
        self.refuses("the credential binding-key-secret has to have 1 to", StatusCode.INVALID_ARGUMENT)
        self.host.provide("binding-key-secret", self.host.secrets["binding-key-secret"])
        self.opens(self.broker_key)

    def test_where_it_is_afterwards(self):
        """Neither it nor a key of the broker is in a log; the key has left the memory, too."""
        self.opens(self.broker_key)
        harness.poll(lambda: not self.found(self.broker_key.bytes), "the key to be wiped")
        self.agent.stop()
        log = self.agent.log_text().encode()
        for secret in (self.broker_key.bytes, bytes.fromhex(self.host.secrets["binding-key-secret"])):
            for name, form in forms(secret):
                self.assertNotIn(form, log, name)

    def found(self, secret):
        return [(form, name) for name, _, data in mappings(self.agent.process.pid)
                for form, text in forms(secret) if text in data]


class Files(HostKeyTest):
    def test_missing(self):
        os.unlink(self.host.path("binding"))
        self.refuses("this host has no binding key of Intel SecL: .*does not exist .*wlagent setup binding-key",
                     StatusCode.NOT_FOUND)
        self.restore()
        self.opens(self.broker_key)

    def test_swapped(self):
        shutil.copy(self.host.path("signing"), self.host.path("binding"))
        self.refuses("it holds a signing key, and a binding key is needed")
        self.agent.stop()
        self.assertEqual(self.wrong_authorisations(), 0)

    def test_changed(self):
        path = self.host.path("binding")
        for member, change, pattern in (("PublicKey", flip(100), "KeyName is not that of PublicKey"),
                                        ("PublicKey", lambda data: data[:-1], "PublicKey"),
                                        ("KeyName", flip(20), "KeyName is not that of PublicKey"),
                                        ("KeyAttestation", flip(90), "KeyAttestation is of another key"),
                                        ("KeyAttestation", flip(120), "made under another storage key"),
                                        ("PrivateKey", flip(60), "the private half of the binding key is damaged")):
            with self.subTest(member=member, pattern=pattern):
                edited(path, member, change)
                self.refuses(pattern)
                self.restore()
        self.opens(self.broker_key)
        self.agent.stop()
        self.assertEqual(self.wrong_authorisations(), 0)

    def test_open_to_others(self):
        os.chmod(self.host.path("binding"), 0o666)
        self.restart()
        self.refuses("may be changed by others", StatusCode.PERMISSION_DENIED)

    def test_the_usual_mode_of_intels_agent(self):
        os.chmod(self.host.path("binding"), 0o600)
        self.restart()
        self.opens(self.broker_key)


class Tpm(HostKeyTest):
    def other(self, *commands):
        """What somebody else does with the TPM while the agent is stopped."""
        self.agent.stop()
        for command in commands:
            self.tpm.tool(*command)
        self.start()

    def test_no_storage_key(self):
        self.other(("tpm2_evictcontrol", "-C", "o", "-c", "0x81000000"))
        self.refuses("this TPM has no storage key at 0x81000000 .*provision-primary-key")

    def test_no_attestation_key(self):
        """It is needed to certify a key, and not to use one."""
        self.other(("tpm2_evictcontrol", "-C", "o", "-c", "0x81018000"))
        self.opens(self.broker_key)

    def test_another_tpm(self):
        """A Trust Agent has been there, too, but the files are of this host."""
        context = os.path.join(self.directory, "primary")
        self.other(("tpm2_clear",), ("tpm2_createprimary", "-C", "o", "-g", "sha256", "-G", "rsa2048:aes128cfb", "-a",
                                     "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth",
                                     "-c", context),
                   ("tpm2_evictcontrol", "-C", "o", "-c", context, "0x81000000"), ("tpm2_flushcontext", "-t"))
        self.denied(self.broker_key, StatusCode.FAILED_PRECONDITION,
                    "the binding key was made under another storage key than the one at 0x81000000 of this TPM")
        self.agent.stop()
        self.assertEqual(self.wrong_authorisations(), 0)

    def test_a_tpm_that_is_reset(self):
        self.opens(self.broker_key)
        self.tpm.reset()
        self.opens(self.broker_key)


class Registration(HostKeyTest):
    def test_hvs_knows_another_key(self):
        """What is wrapped to it is no use; the TPM is well, and not taken for broken."""
        host = SoftwareHost(spare_key(0), spare_key(1))
        aik = double.add_host(hardware_uuid=HARDWARE, aik=public_pem(host.aik))["aik_certificate"]
        attest = host.attest()
        der = base64.b64decode("".join(aik.splitlines()[1:-1]))
        with Client() as client:
            answer = client.call("POST", "/hvs/v2/rpc/certify-host-binding-key",
                                 request_to_certify(host.public, attest, host.signature(attest), der), JSON,
                                 double.make_token(user="installer")["token"])
        self.assertEqual(answer[0], 201, answer)
        double.advance(seconds=301)
        self.refuses("the TPM cannot open it: not wrapped for this host.*register-binding-key",
                     StatusCode.INVALID_ARGUMENT)
        self.host.register()
        double.advance(seconds=301)
        self.opens(self.broker_key)


class Alone(WlsTest):
    """A host that has keys of Intel SecL only."""

    prepared = False

    def test_it_serves_them(self):
        harness.poll(lambda: "is ready" in self.agent.log_text(), "the TPM to be ready")
        self.assertNotIn("not ready", self.agent.log_text())
        self.opens(self.key())
        self.assertNotIn("binding-key.json", os.listdir(self.agent.state))
