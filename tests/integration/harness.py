# SPDX-License-Identifier: Apache-2.0
"""What the tests of the running agent stand on: a software TPM, and an agent and a client of its
keyprovider. Nothing here waits for a fixed time: readiness is polled, with a limit."""

import base64
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import grpc
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import running
from running import BUILD, TOP, WLAGENT, WLAGENTD, connects, has_address_sanitizer, poll

UNWRAP = "/keyprovider.KeyProviderService/UnWrapKey"
WRAP = "/keyprovider.KeyProviderService/WrapKey"


class Swtpm:
    """A software TPM with state of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.socket = os.path.join(directory, "tpm.sock")
        self.process = None
        os.makedirs(directory, exist_ok=True)

    @property
    def tcti(self):
        return f"swtpm:path={self.socket}"

    def start(self):
        self.process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.directory}",
             "--server", f"type=unixio,path={self.socket}",
             "--ctrl", f"type=unixio,path={self.socket}.ctrl",
             "--flags", "not-need-init,startup-clear"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        poll(lambda: connects(self.socket) and connects(self.socket + ".ctrl"), "swtpm to listen")
        return self

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        for path in (self.socket, self.socket + ".ctrl"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def reset(self):
        """What a reboot does: volatile state gone, PCRs as at power-on."""
        self.stop()
        return self.start()

    def freeze(self):
        """It keeps its sockets and answers nothing until thaw()."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def tool(self, *command):
        """Runs a tpm2-tools command against it."""
        done = subprocess.run(command, env={**os.environ, "TPM2TOOLS_TCTI": self.tcti},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout


class FaultProxy:
    """tests/doubles/tpm_fault_proxy between the agent and a software TPM."""

    def __init__(self, tpm):
        self.tpm = tpm
        self.socket = tpm.socket + ".proxy"
        self.process = None

    @property
    def tcti(self):
        return f"swtpm:path={self.socket}"

    def start(self, *faults, least=(), times=None, awake=0):
        """least: what commands cost at least, as "0x159:26000"; times: the file of what they did cost; awake:
        microseconds for which it looks for another command without sleeping."""
        self.stop()
        words = [word for fault in faults for word in ("--fault", fault)]
        words += [word for pace in least for word in ("--least", pace)] + (["--times", times] if times else [])
        words += ["--awake", str(awake)] if awake else []
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "tests", "doubles", "tpm_fault_proxy"), "--listen", self.socket, "--tpm",
             self.tpm.socket, "--tpm-control", self.tpm.socket + ".ctrl", *words], stdin=subprocess.DEVNULL)
        poll(lambda: connects(self.socket), "tpm_fault_proxy")
        return self

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)


def wrap_packet(kid, kek, plaintext, nonce=None, **changes):
    """An annotation in the form of Confidential Containers."""
    nonce = nonce or os.urandom(12)
    packet = {"kid": kid, "wrapped_data": base64.b64encode(AESGCM(kek).encrypt(nonce, plaintext, None)).decode(),
              "iv": base64.b64encode(nonce).decode(), "wrap_type": "A256GCM"}
    packet.update(changes)
    return json.dumps({name: value for name, value in packet.items() if value is not None}).encode()


def wrap_packet_isecl(key_url, kek, plaintext, nonce=None):
    """An annotation in the form of Intel SecL."""
    nonce = nonce or os.urandom(12)
    inner = {"cipher_text": base64.b64encode(AESGCM(kek).encrypt(nonce, plaintext, None)).decode(),
             "nonce": base64.b64encode(nonce).decode()}
    return json.dumps({"key_url": key_url, "wrapped_key": base64.b64encode(json.dumps(inner).encode()).decode(),
                       "wrap_type": "AES"}).encode()


def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def protobuf(payload):
    """The one message of the protocol: field 1, bytes."""
    return b"\x0a" + varint(len(payload)) + payload


def unprotobuf(message):
    assert message[:1] == b"\x0a", message[:1]
    size = shift = 0
    for at in range(1, len(message)):
        size |= (message[at] & 0x7f) << shift
        shift += 7
        if not message[at] & 0x80:
            break
    body = message[at + 1:]
    assert len(body) == size
    return body


def unwrap_request(annotation, dc=None, encode=None):
    encode = encode or (lambda data: base64.b64encode(data).decode())
    return json.dumps({"op": "keyunwrap", "keywrapparams": {"ec": None, "optsdata": None},
                       "keyunwrapparams": {"dc": dc, "annotation": encode(annotation)}}).encode()


def wrap_request(optsdata, *parameters, provider="wlagent"):
    values = [base64.b64encode(value.encode()).decode() for value in parameters]
    return json.dumps({"op": "keywrap", "keywrapparams": {
        "ec": {"Parameters": {provider: values}, "DecryptConfig": {"Parameters": {}}},
        "optsdata": base64.b64encode(optsdata).decode()},
        "keyunwrapparams": {"dc": None, "annotation": None}}).encode()


def as_bytes(value):
    """base64 text or an array of numbers, as both families of ocicrypt write bytes."""
    return bytes(value) if isinstance(value, list) else base64.b64decode(value, validate=True)


class Client:
    """A gRPC client of the keyprovider: one channel."""

    def __init__(self, path, options=()):
        self.channel = grpc.insecure_channel(f"unix:{path}", options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), *options])

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def method(self, path):
        return self.channel.unary_unary(path, request_serializer=None, response_deserializer=None)

    def call(self, path, body, timeout=30, **options):
        """Returns the reply's JSON; raises grpc.RpcError."""
        return json.loads(unprotobuf(self.method(path)(protobuf(body), timeout=timeout, **options)))

    def unwrap(self, annotation, timeout=30, dc=None):
        reply = self.call(UNWRAP, unwrap_request(annotation, dc), timeout)
        return as_bytes(reply["keyunwrapresults"]["optsdata"])

    def wrap(self, optsdata, *parameters, timeout=30):
        reply = self.call(WRAP, wrap_request(optsdata, *parameters), timeout)
        return as_bytes(reply["keywrapresults"]["annotation"])


class Agent(running.Agent):
    def client(self, **options):
        return Client(self.socket, **options)


class AgentTest(unittest.TestCase):
    """A test with a software TPM and an agent that has been set up; start() starts the daemon."""

    prepared = True  # run wlagent setup

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-test.")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.addCleanup(self.keep_logs)
        self.tpm = Swtpm(os.path.join(self.directory, "tpm"))
        self.provision(self.tpm)
        self.tpm.start()
        self.addCleanup(self.tpm.stop)
        self.agent = self.new_agent("agent")
        if self.prepared:
            self.agent.run("setup")

    def provision(self, tpm):
        """What is in the TPM before the agent comes."""

    def new_agent(self, name, tcti=None, **options):
        agent = Agent(os.path.join(self.directory, name), tcti or self.tpm.tcti, **options)
        self.addCleanup(self.end, agent)
        return agent

    def end(self, agent):
        if agent.process:
            agent.process.kill()
            agent.process.wait()
        self.assertNotIn("Sanitizer", agent.log_text())

    def keep_logs(self):
        kept = os.environ.get("WLAGENT_TEST_LOGS")
        if not kept or not self.has_failed():
            return
        for root, _, names in os.walk(self.directory):
            for name in names:
                if name.endswith(".log"):
                    agent = os.path.basename(root)
                    with contextlib.suppress(OSError):
                        shutil.copy(os.path.join(root, name), os.path.join(kept, f"{self.id()}-{agent}-{name}"))

    def has_failed(self):
        result = self._outcome.result
        return any(test is self for test, _ in result.failures + result.errors)

    def in_background(self, function, *arguments):
        """Runs it on a thread; returns its future."""
        if not hasattr(self, "threads"):
            self.threads = concurrent.futures.ThreadPoolExecutor(64)
            self.addCleanup(self.threads.shutdown)
        return self.threads.submit(function, *arguments)

    def refused(self, call, code, pattern):
        """call must fail with this gRPC status and a message that matches; returns the message."""
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertRegex(caught.exception.details(), pattern)
        return caught.exception.details()

    def fails(self, done, pattern):
        """A command that must have failed and said this."""
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr.decode(), pattern)


def memory_of(pid):
    """Yields (name, bytes) for each readable mapping of a process."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S* \S+ \S+ \S+\s*(.*)", line)
            if not match or match[3] in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            try:
                memory.seek(start)
                yield match[3], memory.read(end - start)
            except OSError:
                continue
