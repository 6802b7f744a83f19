# SPDX-License-Identifier: Apache-2.0
"""wlagent image encrypt, next to qemu-img convert to LUKS and to a raw copy of the same file: all with direct
I/O on the same file system, rounds interleaved. Each figure is the median over the rounds; CPU is user and
system time of the process for each GiB. A sparse disk is held against a dense one of its data.

How fast a processor encrypts differs from machine to machine. So each round also measures what OpenSSL alone takes for
the cipher, and for cipher and seal, in memory: how much more than that wlagent takes is its own work and the kernel's.
The CPU seconds themselves have an aim and no target for the same reason."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time

import running
from preparation import BUILD, say

GIB = 1 << 30
MIB = 1 << 20
CIPHER_FLOOR = os.path.join(BUILD, "tests", "bench", "cipher_floor")
QEMU_IMG_TRIES = 10
CPU_AIM = 0.35
AT_LEAST = {"cpu_over_qemu_img": 11, "wall_over_copy": 0.9}
AT_MOST = {"rss_mib": 32, "sparse_over_dense": 1.5}


def add_arguments(parser):
    parser.add_argument("--gib", type=int, default=1, help="size of the dense disk (1)")
    parser.add_argument("--sparse-gib", type=int, default=100, help="size of the sparse disk, with as much data (100)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--directory", default="/var/tmp", help="on the file system to measure (/var/tmp)")
    parser.add_argument("--no-qemu-img", action="store_true", help="which takes the longest")


def fill(path, gib, spread=1):
    """Random data, in pieces of 1 MiB that lie spread times as far apart."""
    block = os.urandom(MIB)
    with open(path, "wb") as file:
        file.truncate(gib * GIB * spread)
        for number in range(gib * GIB // MIB):
            file.seek(number * MIB * spread)
            file.write(number.to_bytes(8, "little") + block[8:])
        file.flush()
        os.fsync(file.fileno())
    return path


def peak_of(pid):
    """MiB; that of wait4() would be at least what this process has, from before the program began."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return max((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")), default=0)
    except OSError:
        return 0


def run(command):
    """Wall and CPU seconds, peak resident set in MiB."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        peak = 0
        while True:
            peak = max(peak, peak_of(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)}: {errors.read().decode(errors='replace')}")
    return {"wall": time.monotonic() - start, "cpu": usage.ru_utime + usage.ru_stime, "rss_mib": peak}


class Bench:
    def __init__(self, directory):
        self.directory = directory
        self.key = self.path("key")
        self.config = self.path("wlagent.conf")
        self.out = self.path("out")
        with open(self.key, "wb") as file:
            file.write(os.urandom(32))
        with open(self.config, "w", encoding="ascii") as file:
            file.write("[Agent]\nAllowUnlockedMemory=yes\n")
        os.chmod(self.config, 0o600)

    def path(self, name):
        return os.path.join(self.directory, name)

    def wlagent(self, disk, *options):
        return run([running.WLAGENT, "--config", self.config, "image", "encrypt", disk, self.out, "--key", "bench",
                    "--key-file", self.key, *options])

    def wlagent_no_seal(self, disk):
        return self.wlagent(disk, "--no-seal")

    def copy(self, disk):
        return run(["dd", f"if={disk}", f"of={self.out}", "bs=1M", "iflag=direct", "oflag=direct", "conv=fsync"])

    def qemu_img(self, disk):
        """It times its key derivation first, and on a busy machine now and then gives up at that."""
        command = ["qemu-img", "convert", "-m", "16", "-W", "-t", "none", "-T", "none", "-f", "raw", "-O", "luks",
                   "--object", "secret,id=key,data=benchmark", "-o",
                   "key-secret=key,cipher-alg=aes-256,cipher-mode=xts,iter-time=10", disk, self.out]
        for _ in range(QEMU_IMG_TRIES):
            try:
                return run(command)
            except SystemExit as error:
                if "Unable to get accurate CPU usage" not in str(error):
                    raise
                self.clean()
        raise SystemExit("qemu-img cannot measure this machine's processor: leave it out with --no-qemu-img")

    def clean(self):
        for name in ("out", "out.header"):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))


def medians(rounds):
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def measure_rounds(bench, candidates, rounds):
    seen = {name: [] for name in candidates}
    for number in range(rounds):
        for name, measure in candidates.items():
            say(f"round {number + 1} of {rounds}: {name}")
            seen[name].append(measure())
            bench.clean()
    return {name: medians(found) for name, found in seen.items()}


def measure_all(arguments):
    directory = tempfile.mkdtemp(prefix="wlagent-bench.", dir=arguments.directory)
    try:
        bench = Bench(directory)
        say(f"writing disks to {directory}")
        dense = fill(bench.path("dense"), arguments.gib)
        sparse = fill(bench.path("sparse"), arguments.gib, arguments.sparse_gib // arguments.gib)
        gib = str(arguments.gib)
        candidates = {"raw copy": lambda: bench.copy(dense), "OpenSSL alone": lambda: run([CIPHER_FLOOR, gib, "seal"]),
                      "wlagent": lambda: bench.wlagent(dense),
                      "OpenSSL alone, no seal": lambda: run([CIPHER_FLOOR, gib]),
                      "wlagent, no seal": lambda: bench.wlagent_no_seal(dense),
                      "wlagent, sparse": lambda: bench.wlagent(sparse, "--compact")}
        if not arguments.no_qemu_img:
            candidates["qemu-img"] = lambda: bench.qemu_img(dense)
        found = measure_rounds(bench, candidates, arguments.rounds)
    finally:
        shutil.rmtree(directory)

    for figures in found.values():
        figures["cpu_per_gib"] = figures["cpu"] / arguments.gib
        figures["gib_per_second"] = arguments.gib / figures["wall"]
    ours = found["wlagent"]
    ratios = {"cpu": ours["cpu_per_gib"], "cpu_over_openssl": ours["cpu"] / found["OpenSSL alone"]["cpu"],
              "cpu_over_openssl_no_seal": found["wlagent, no seal"]["cpu"] / found["OpenSSL alone, no seal"]["cpu"],
              "wall_over_copy": found["raw copy"]["wall"] / ours["wall"],
              "rss_mib": max(ours["rss_mib"], found["wlagent, sparse"]["rss_mib"]),
              "sparse_over_dense": found["wlagent, sparse"]["wall"] / ours["wall"]}
    if "qemu-img" in found:
        ratios["cpu_over_qemu_img"] = found["qemu-img"]["cpu"] / ours["cpu"]
        ratios["wall_over_qemu_img"] = found["qemu-img"]["wall"] / ours["wall"]
    return {"gib": arguments.gib, "sparse_gib": arguments.sparse_gib, "rounds": arguments.rounds, "figures": found,
            "ratios": ratios, "aims": {"cpu": CPU_AIM, **AT_LEAST, **AT_MOST}}


def verdict(ratios, name, percent=False):
    met = ratios[name] >= AT_LEAST[name] if name in AT_LEAST else ratios[name] <= AT_MOST[name]
    target = AT_LEAST.get(name) or AT_MOST[name]
    return (f"({'at least' if name in AT_LEAST else 'at most'} {f'{100 * target:.0f} %' if percent else target}: "
            f"{'met' if met else 'MISSED'})")


def show(result):
    print(f"{result['gib']} GiB of data, {result['rounds']} rounds; sparse: in a disk of {result['sparse_gib']} GiB, --compact\n")
    print(f"{'':24}{'wall s':>9}{'GiB/s':>8}{'CPU s/GiB':>11}{'peak MiB':>10}")
    for name, figures in result["figures"].items():
        print(f"{name:24}{figures['wall']:9.2f}{figures['gib_per_second']:8.2f}{figures['cpu_per_gib']:11.3f}"
              f"{figures['rss_mib']:10.1f}")
    ratios = result["ratios"]
    print(f"\nCPU seconds for each GiB: {ratios['cpu']:.3f} (aim: at most {CPU_AIM})")
    print(f"CPU over that of OpenSSL alone: {ratios['cpu_over_openssl']:.2f}, without a seal "
          f"{ratios['cpu_over_openssl_no_seal']:.2f}")
    if "cpu_over_qemu_img" in ratios:
        print(f"CPU of qemu-img: {ratios['cpu_over_qemu_img']:.1f} times as much {verdict(ratios, 'cpu_over_qemu_img')}")
        print(f"wall time of qemu-img: {ratios['wall_over_qemu_img']:.1f} times as long")
    print(f"speed of a raw copy: {100 * ratios['wall_over_copy']:.0f} % {verdict(ratios, 'wall_over_copy', percent=True)}")
    print(f"peak memory: {ratios['rss_mib']:.1f} MiB {verdict(ratios, 'rss_mib')}")
    print(f"sparse over dense: {ratios['sparse_over_dense']:.2f} {verdict(ratios, 'sparse_over_dense')}")
