# SPDX-License-Identifier: Apache-2.0
"""UnWrapKey through wlagentd and through a grpc-go server of the same service (tests/bench/peers/grpcgo),
side by side: the same requests, the same client, server and client each on a core of its own, rounds
interleaved. Each figure is the median over the rounds."""

import base64
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import harness
from preparation import BUILD, TOP, say

SERVER_CORE, CLIENT_CORE = "0", "1"  # --cores
# What else runs on this machine shall not decide the figures.
FIRST = ["chrt", "--fifo", "1"] if os.geteuid() == 0 else []
KEY_ID = "local:///bench"
STREAMS = 64
DISTINCT_KEYS = 5
STARTS = 10
# A layer's private options, as skopeo sends them.
OPTIONS = json.dumps({"symkey": base64.b64encode(bytes(32)).decode(), "digest": "sha256:" + "0" * 64,
                      "cipheroptions": {"nonce": base64.b64encode(bytes(16)).decode()}}).encode()
# name: (mode, streams, share of --calls)
LOADS = {"new connection": ("new", 1, 1), "new connection, one write": ("once", 1, 1), "warm, one at a time": ("warm", 1, 2),
         f"warm, {STREAMS} streams": ("warm", STREAMS, 4)}


def build_peer():
    subprocess.run(["go", "build", "-o", os.path.join(BUILD, "grpcgo"), "."], check=True,
                   cwd=os.path.join(TOP, "tests", "bench", "peers", "grpcgo"),
                   env={**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
                        "GOFLAGS": "-buildvcs=false", "GOCACHE": os.path.join(BUILD, "go-cache")})


@contextlib.contextmanager
def cores_awake():
    """Work of the lowest kind for both cores, which any other work displaces at once. Without it an idle
    core sleeps, and waking it, in a virtual machine above all, takes longer than a call."""
    spinners = []
    try:
        for core in (SERVER_CORE, CLIENT_CORE):
            spinners.append(subprocess.Popen(["chrt", "--idle", "0", "taskset", "-c", core, "sh", "-c",
                                              "while :; do :; done"], stdin=subprocess.DEVNULL))
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


class Server:
    """A process on the server's core, and what the kernel knows about it."""

    def __init__(self, name, socket, command, **options):
        self.name = name
        self.socket = socket
        self.command = [*FIRST, "taskset", "-c", SERVER_CORE, *command]
        self.options = options
        self.process = None

    def start(self):
        """Returns the milliseconds from fork to a socket that accepts."""
        begin = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, **self.options)
        while not harness.connects(self.socket):
            if self.process.poll() is not None or time.monotonic() - begin > 20:
                raise SystemExit(f"{self.name} does not start")
            time.sleep(0.0001)
        return (time.monotonic() - begin) * 1000

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None
            if os.path.exists(self.socket):
                os.unlink(self.socket)

    def cpu_seconds(self):
        total = 0
        tasks = f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/schedstat", encoding="ascii") as stat:
                total += int(stat.read().split()[0])
        return total / 1e9

    def memory_kib(self):
        found = {}
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as rollup:
            for line in list(rollup)[1:]:
                name, value = line.split(":")
                found[name] = int(value.split()[0])
        # Clean private pages are program and library files that nobody else has mapped just now: how
        # many depends on what else runs, and the kernel can drop them.
        return {"rss": found["Rss"], "private": found["Private_Dirty"], "private_files": found["Private_Clean"]}


def load(server, request, mode, streams, calls):
    before = server.cpu_seconds()
    done = subprocess.run([*FIRST, "taskset", "-c", CLIENT_CORE, os.path.join(BUILD, "tests", "bench", "unwrap_client"),
                           server.socket, mode, str(calls), str(streams)],
                          input=request, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{server.name}: {done.stderr.decode()}")
    figures = json.loads(done.stdout)
    return {"p50_us": figures["p50"], "p99_us": figures["p99"], "p999_us": figures["p999"],
            "per_second": calls / figures["seconds"],
            "cpu_ms_per_1000": (server.cpu_seconds() - before) * 1e6 / calls}


def round_trip_us():
    """What two processes on these cores need to say a kilobyte and hear it back."""
    done = subprocess.run([*FIRST, os.path.join(BUILD, "tests", "bench", "round_trip"), "20000", SERVER_CORE, CLIENT_CORE],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(servers, request, rounds, calls):
    """({server: {load: {figure: median}}}, the median of round trips)"""
    round_trips = []
    samples = {server.name: {name: [] for name in LOADS} for server in servers}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "warming up")
        round_trips.append(round_trip_us())
        for server in servers:
            for name, (mode, streams, share) in LOADS.items():
                figures = load(server, request, mode, streams, calls * share if number else 1000)
                if number:
                    samples[server.name][name].append(figures)
    return ({server: {name: {figure: round(statistics.median(sample[figure] for sample in got), 2)
                             for figure in got[0]} for name, got in loads.items()}
             for server, loads in samples.items()}, round(statistics.median(round_trips), 2))


def start_times(server):
    times = []
    for _ in range(STARTS):
        server.stop()
        times.append(server.start())
    return round(statistics.median(times), 2)


def tpm_operations(agent, key):
    """How many keys the TPM opens for DISTINCT_KEYS keys that are asked for over and over."""
    names = [f"distinct-{number}" for number in range(DISTINCT_KEYS)]
    for name in names:
        agent.import_key(name, key)
    before = agent.counts().tpm
    with agent.client() as client:
        for _ in range(20):
            for name in names:
                client.unwrap(harness.wrap_packet(f"local:///{name}", key, OPTIONS))
    return agent.counts().tpm - before


def bench(directory, rounds, calls):
    key = os.urandom(32)
    request = harness.unwrap_request(harness.wrap_packet(KEY_ID, key, OPTIONS))
    tpm = harness.Swtpm(os.path.join(directory, "tpm")).start()
    agent = harness.Agent(os.path.join(directory, "agent"), tpm.tcti)
    agent.write_config(Keys={"CacheSeconds": 3600})
    peer_socket = os.path.join(directory, "grpcgo.sock")
    ours = Server("wlagentd", agent.socket, [harness.WLAGENTD, "--config", agent.config])
    peer = Server("grpc-go", peer_socket, [os.path.join(BUILD, "grpcgo"), peer_socket, KEY_ID,
                                           base64.b64encode(key).decode()], env={**os.environ, "GOMAXPROCS": "1"})
    servers = [ours, peer]
    try:
        agent.run("setup")
        agent.import_key("bench", key)
        result = {server.name: {"start_ms": start_times(server)} for server in servers}
        for server in servers:
            with harness.Client(server.socket) as client:
                client.unwrap(harness.wrap_packet(KEY_ID, key, OPTIONS))
            result[server.name]["memory_idle_kib"] = server.memory_kib()
        result["wlagentd"]["tpm_operations"] = {"keys": DISTINCT_KEYS, "calls": DISTINCT_KEYS * 20,
                                                "opened": tpm_operations(agent, key)}
        with cores_awake():
            loads, result["round_trip_us"] = measure(servers, request, rounds, calls)
        for name in loads:
            result[name]["loads"] = loads[name]
        for server in servers:
            result[server.name]["memory_loaded_kib"] = server.memory_kib()
        return result
    finally:
        for server in servers:
            server.stop()
        tpm.stop()


def ratios(result):
    """How many times better wlagentd is than grpc-go; more is better in all of them."""
    found = {}
    for name in LOADS:
        ours, peer = (result[server]["loads"][name] for server in ("wlagentd", "grpc-go"))
        found[name] = {figure: round(ours[figure] / peer[figure] if figure == "per_second" else
                                     peer[figure] / ours[figure], 2) for figure in ours}
    return found


def show(result):
    row = "{:28} {:>12} {:>12} {:>9}"
    print(row.format("", "wlagentd", "grpc-go", "ratio"))
    units = {"p50_us": "p50, us", "p99_us": "p99, us", "p999_us": "p99.9, us", "per_second": "calls per second",
             "cpu_ms_per_1000": "CPU ms per 1000"}
    ours, peer = result["wlagentd"], result["grpc-go"]
    for name in LOADS:
        print(f"{name}:")
        for figure, unit in units.items():
            print(row.format("  " + unit, ours["loads"][name][figure], peer["loads"][name][figure],
                             result["ratios"][name][figure]))
    for when in ("idle", "loaded"):
        for kind in ("rss", "private", "private_files"):
            a, b = ours[f"memory_{when}_kib"][kind], peer[f"memory_{when}_kib"][kind]
            print(row.format(f"{kind} {when}, KiB", a, b, round(b / max(a, 1), 2)))
    print(row.format("start, ms", ours["start_ms"], peer["start_ms"],
                     round(peer["start_ms"] / ours["start_ms"], 2)))
    print("A bare round trip between these cores, the floor of every call: {round_trip_us} us".format(**result))
    print("TPM operations for {keys} keys in {calls} calls: {opened}".format(**ours["tpm_operations"]))


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=5000, help="calls of a round, each on a new connection")
    parser.add_argument("--cores", default="0,1", metavar="SERVER,CLIENT",
                        help="0,0 leaves out what it costs to wake another core (default: %(default)s)")


def measure_all(arguments):
    global SERVER_CORE, CLIENT_CORE
    SERVER_CORE, CLIENT_CORE = arguments.cores.split(",")
    build_peer()
    directory = tempfile.mkdtemp(prefix="wlagent-bench.")
    try:
        result = bench(directory, arguments.rounds, arguments.calls)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    result["ratios"] = ratios(result)
    return result
