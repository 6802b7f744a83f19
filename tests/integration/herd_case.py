# SPDX-License-Identifier: Apache-2.0
"""Many keys at once: an agent whose TPM is as slow as a chip and whose broker is reached through a relay, requests for
them all in one burst through the keyprovider's socket, and another user of the TPM meanwhile."""

import collections
import os
import selectors
import socket
import struct
import threading
import time
import urllib.parse

import harness
import raw_h2
import relay
import wls_case
from isecl_case import double

RSA_DECRYPT = 0x159
PCR_EXTEND = 0x182
STREAMS = 30  # on one connection; the default of MaxStreams= is 32

Answer = collections.namedtuple("Answer", "end status message")  # end: CLOCK_MONOTONIC


class Burst:
    """Requests that are all sent before the first answer is read."""

    def __init__(self, path, packets):
        self.clients = []
        self.answers = {}
        self.open = {}
        messages = [raw_h2.grpc_message(harness.unwrap_request(packet)) for packet in packets]
        outs = []
        for start in range(0, len(messages), STREAMS):
            client = raw_h2.RawClient(path, seconds=600)
            client.settings()
            self.clients.append(client)
            outs.append(b"".join(client.call_bytes(2 * at + 1, message)
                                 for at, message in enumerate(messages[start:start + STREAMS])))
            self.open[client] = {2 * at + 1: start + at for at in range(len(messages[start:start + STREAMS]))}
        self.begun = time.monotonic()
        for client, out in zip(self.clients, outs):
            client.send(out)

    def collect(self, seconds, until=None):
        """Reads until all, or that many, have been answered: [Answer], in the order of the packets, None where none
        has come."""
        wanted = until or sum(len(streams) for streams in self.open.values()) + len(self.answers)
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for client, streams in self.open.items():
                if streams:
                    selector.register(client.socket, selectors.EVENT_READ, client)
            while len(self.answers) < wanted and time.monotonic() < end:
                for key, _ in selector.select(1):
                    self.read(key.data)
        return [self.answers.get(number) for number in range(sum(map(len, self.open.values())) + len(self.answers))]

    def read(self, client):
        client.read_frame()
        while len(client.received) >= 9 and len(client.received) >= 9 + int.from_bytes(client.received[:3], "big"):
            client.read_frame()
        now = time.monotonic()
        streams = self.open[client]
        for stream in [stream for stream in streams if client.closed or client.replies.get(stream, raw_h2.Reply()).ended]:
            reply = client.replies.get(stream, raw_h2.Reply())
            self.answers[streams.pop(stream)] = Answer(now, -1 if reply.status is None else reply.status, reply.message)

    def close(self):
        for client in self.clients:
            client.close()


class OtherUser(threading.Thread):
    """Extends a PCR every now and then, as IMA or a measuring boot tool does, on a connection of its own, and notes
    when each began and how long it took."""

    def __init__(self, path, pause):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.pause = pause
        self.waits = []
        self.ended = threading.Event()

    def run(self):
        authorisation = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
        digests = struct.pack(">IH", 1, 0x000b) + bytes(32)
        body = struct.pack(">II", 16, len(authorisation)) + authorisation + digests
        command = struct.pack(">HII", 0x8002, 10 + len(body), PCR_EXTEND) + body
        while not self.ended.wait(self.pause):
            begun = time.monotonic()
            self.socket.sendall(command)
            answer = self.socket.recv(4096)
            self.waits.append((begun, time.monotonic() - begun))
            assert answer[6:10] == bytes(4), answer.hex()

    def stop(self):
        self.ended.set()
        self.join()
        self.socket.close()
        return self.waits


Command = collections.namedtuple("Command", "code connection begin end")


def read_times(path):
    """What tpm_fault_proxy has written there."""
    with open(path, encoding="ascii") as file:
        lines = [line.split() for line in file.read().rstrip("\0").splitlines()]
    return [Command(int(code, 16), int(connection), int(begin) / 1e6, int(end) / 1e6)
            for code, connection, begin, end in lines]


def relay_to_broker():
    return relay.Relay(("127.0.0.1", urllib.parse.urlsplit(double.urls["wls"]).port))


def through(made, section):
    """Section [WLS] with the services behind a relay; the origin of keys stays, as nobody connects to it."""
    base = double.urls["cms"].removesuffix("/cms/v1")
    there = f"https://localhost:{made.port}"
    return {**section, "ServerURL": section["ServerURL"].replace(base, there),
            "TokenURL": section["TokenURL"].replace(base, there)}


class HerdCase(wls_case.WlsTest):
    """AgentTest's setUp with a relay before the broker and a proxy before the TPM."""

    broker_delay = 0.002
    tpm_usec = 2700
    tpm_awake_usec = 0

    def setUp(self):
        self.relay = relay_to_broker()
        self.addCleanup(self.relay.stop)
        super().setUp()
        if self.broker_delay:
            double.fault(route="wls.keys", delay=self.broker_delay)

    def section(self):
        return through(self.relay, super().section())

    def start(self, **options):
        self.times = os.path.join(self.directory, "tpm-times")
        self.proxy = harness.FaultProxy(self.tpm)
        self.proxy.start(least=[f"{RSA_DECRYPT:#x}:{self.tpm_usec}"], times=self.times, awake=self.tpm_awake_usec)
        self.addCleanup(self.proxy.stop)
        self.agent.write_config(TPM={"Device": self.proxy.tcti})
        super().start(**options)

    def restart_with(self, tpm_usec):
        self.agent.stop()
        self.proxy.stop()
        self.tpm_usec = tpm_usec
        self.start()

    def commands(self, since=0.0):
        """What the TPM has done: [Command], times in seconds of CLOCK_MONOTONIC."""
        return [command for command in read_times(self.times) if command.begin >= since]

    def make_packets(self, count):
        return [self.packet(self.key()) for _ in range(count)]

    def burst(self, packets):
        made = Burst(self.agent.socket, packets)
        self.addCleanup(made.close)
        return made

    def warm_up(self):
        """The agent has its token and connection, and the TPM its keys."""
        self.opens(self.key())
        double.reset_counters()

    def calls_of_keys(self):
        """How often WLS was asked for each key."""
        return collections.Counter(request["body"] for request in double.requests()["requests"]
                                   if request["route"] == "wls.keys")
