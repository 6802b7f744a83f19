# SPDX-License-Identifier: Apache-2.0
"""Whom an image can make a host ask: nobody but the brokers that are listed, whatever stands where the URL of a key
stands. In a network of its own, where every address there is leads back to it and every packet is seen."""

import os
import select
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

from grpc import StatusCode

import harness
import hostile_urls
from isecl_case import Double, double
from running import TOP
from wls_case import WlsTest

INSIDE = "WLAGENT_TEST_IN_NETWORK"
REFUSALS = (StatusCode.INVALID_ARGUMENT, StatusCode.PERMISSION_DENIED, StatusCode.NOT_FOUND, StatusCode.UNIMPLEMENTED,
            StatusCode.RESOURCE_EXHAUSTED)
HOSTS = "127.0.0.1 localhost\n" + "".join(f"127.0.0.{2 + at} {name}\n"
                                          for at, name in enumerate(hostile_urls.NAMES_IN_HOSTS))
ETHERNET_HEADER = 14
ALL_PROTOCOLS = 3  # ETH_P_ALL


class Outside(unittest.TestCase):
    @unittest.skipUnless(os.geteuid() == 0, "needs root, for a network of its own")
    def test_in_a_network_of_its_own(self):
        done = subprocess.run(
            ["unshare", "--net", "--mount", "--propagation", "private", sys.executable,
             os.path.join(TOP, "tests", "suite.py"), os.path.join(TOP, "tests", "integration"), "KeyOrigins."],
            env={**os.environ, INSIDE: "1"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500,
            check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"\n4 ran, 0 failed")


def describe(packet):
    """(protocol, from, to, port from, port to) of what was on the wire; protocol None for what is no IP."""
    ip = packet[ETHERNET_HEADER:]
    if packet[12:14] == b"\x08\x00":
        size, protocol = (ip[0] & 15) * 4, ip[9]
        source, target = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
    elif packet[12:14] == b"\x86\xdd":
        size, protocol = 40, ip[6]
        source, target = (socket.inet_ntop(socket.AF_INET6, ip[at:at + 16]) for at in (8, 24))
    else:
        return None, "", "", 0, 0
    ports = ip[size:size + 4]
    return protocol, source, target, int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:4], "big")


class Watch(threading.Thread):
    """Sees every packet, and keeps those that are not from or to the one port of the broker."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        self.socket.bind(("lo", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self.strangers = []
        self.seen = 0
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.is_set() or select.select([self.socket], [], [], 0)[0]:
            if not select.select([self.socket], [], [], 0.05)[0]:
                continue
            self.seen += 1
            found = describe(self.socket.recv(200))
            if found[:3] != (socket.IPPROTO_TCP, "127.0.0.1", "127.0.0.1") or self.port not in found[3:]:
                self.strangers.append(found)

    def stop(self):
        """Packets of others, all of them: none is left unread, and none was lost."""
        self.ended.set()
        self.join()
        dropped = int.from_bytes(self.socket.getsockopt(263, 6, 8)[4:8], sys.byteorder)  # PACKET_STATISTICS
        assert dropped == 0, f"{dropped} packets were not seen"
        self.socket.close()
        return self.strangers


def bind_over(path, text, directory):
    """path has that text, in this mount namespace; returns the file that can be written."""
    file = os.path.join(directory, os.path.basename(path))
    with open(file, "w", encoding="ascii") as out:
        out.write(text)
    subprocess.run(["mount", "--bind", file, path], check=True)
    return file


@unittest.skipUnless(os.environ.get(INSIDE), "runs in the network that Outside makes")
class KeyOrigins(WlsTest):
    timeout = 10

    @classmethod
    def setUpClass(cls):
        for command in (["ip", "link", "set", "lo", "up"], ["ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo"],
                        ["ip", "-6", "route", "add", "local", "::/0", "dev", "lo"]):
            subprocess.run(command, check=command[1] != "-6")

    def setUp(self):
        super().setUp()
        self.hosts = bind_over("/etc/hosts", HOSTS, self.directory)
        self.addCleanup(subprocess.run, ["umount", "/etc/hosts"], check=True)
        bind_over("/etc/resolv.conf", "nameserver 192.0.2.53\n", self.directory)
        self.addCleanup(subprocess.run, ["umount", "/etc/resolv.conf"], check=True)
        self.port = urllib.parse.urlsplit(double.urls["wls"]).port
        self.opens(self.key())
        double.reset_counters()

    def watch(self):
        watch = Watch(self.port)
        self.addCleanup(watch.ended.set)
        return watch

    def test_the_watch_sees_what_it_has_to(self):
        for family, kind, target in ((socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
                                     (socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.53", 53)),
                                     (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 1)),
                                     (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.2", self.port))):
            watch = self.watch()
            with socket.socket(family, kind) as one:
                one.settimeout(5)
                one.connect_ex(target)
                if kind == socket.SOCK_DGRAM:
                    one.send(b"x")
            self.assertIn((target[0], target[1]), [(found[2], found[4]) for found in watch.stop()])
        watch = self.watch()
        self.opens(self.key())
        self.assertEqual(watch.stop(), [])
        self.assertGreater(watch.seen, 3)

    def test_urls_of_keys(self):
        key = self.key()
        urls = hostile_urls.urls("https://" + urllib.parse.urlsplit(key.url).netloc)
        self.assertGreater(len(urls), 500)
        watch = self.watch()
        for url in urls:
            with self.assertRaises(harness.grpc.RpcError, msg=url) as caught:
                self.client.unwrap(self.packet(key, url))
            self.assertIn(caught.exception.code(), REFUSALS, url)
        self.assertEqual((double.counters()["calls"], watch.stop()), ({}, []))
        self.opens(key)

    def test_redirects(self):
        watch = self.watch()
        for status in (300, 301, 302, 303, 307, 308):
            for place in ("https://evil.example/", "https://169.254.169.254/", "//127.0.0.2/", "http://localhost/",
                          f"https://loopback.evil.test:{self.port}/wls/v1/keys", "file:///etc/passwd"):
                double.fault(route="wls.keys", status=status, headers={
                    "Location": place, "Refresh": f"0; url={place}", "Alt-Svc": 'h2="evil.example:443"'})
                with self.assertRaises(harness.grpc.RpcError):
                    self.client.unwrap(self.packet(self.key()))
                double.clear_faults()
        self.assertEqual(watch.stop(), [])
        self.opens(self.key())

    def test_resolver_that_does_not_answer(self):
        """It costs a pull its time limit; once it answers, the next pull is served."""
        named = Double(os.path.join(self.directory, "named"), "--host", "wls.test")
        self.addCleanup(named.stop)
        self.agent.stop()
        options = self.section()
        with open(named.root_ca, "rb") as root, open(os.path.join(options["TrustDirectory"], "named.pem"), "wb") as file:
            file.write(root.read())
        self.agent.write_config(WLS={**options, "ServerURL": named.urls["wls"], "TokenURL": named.urls["aas"]})
        self.host.provide("aas-password", named.users["wla"])
        self.start()
        begun = time.monotonic()
        self.refused(lambda: self.client.unwrap(self.packet(self.key()), timeout=60), StatusCode.UNAVAILABLE,
                     "AAS https://wls.test:")
        self.assertTrue(self.timeout - 1 < time.monotonic() - begun < self.timeout + 20)
        with open(self.hosts, "a", encoding="ascii") as file:
            file.write("127.0.0.1 wls.test\n")
        with self.assertRaises(harness.grpc.RpcError):
            self.client.unwrap(self.packet(self.key()), timeout=60)  # that double knows no such host
        self.assertGreater(named.counters()["calls"]["wls.keys"], 0)
