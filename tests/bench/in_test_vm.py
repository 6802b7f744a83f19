# SPDX-License-Identifier: Apache-2.0
"""in_test_vm.py RESULT ROUNDS LUKS: the part of `tests/bench/run vm` that needs dm-crypt; runs in the test VM.

A start is measured as libvirt sees it, without libvirt and QEMU: the time of the hook at "prepare", from
before its start to behind its end. Everything in it is real: TPM, wlagentd, wlagent-volumed, dm-crypt. The TPM opens
the key at each start, as nothing is taken from one before.
All times are those of an emulated machine; what counts is how they compare.

LUKS is a directory with an ordinary LUKS2 header that was made outside (vm.py), and its passphrase."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import uuid

SOURCE = os.environ["SOURCE"]
for part in ("integration", "vm"):
    sys.path.insert(0, os.path.join(SOURCE, "tests", part))

import host
from host import output, run
from luks_header import key_derivation
from running import BUILD, poll
from slope import there_and_back

MIB = 1 << 20
GIB = 1 << 30
SIZES_GIB = (1, 10, 100, 1000)
SIZE_ROUNDS = 4      # as many as of each start, so many times
IMAGE_MIB = 64       # of the image that the predecessor decrypts, and we open
FLAVOR_GB = 1        # of the disk above it
PROGRAMS = os.path.join(BUILD, "tests", "bench")
KEY_ID = "local:///bench"
SECRETS = host.PLAIN  # a tmpfs

DOMAIN = """<domain type='kvm' id='1'>
  <name>bench</name>
  <uuid>{vm}</uuid>
  <metadata>
    <wlagent:protected xmlns:wlagent="urn:wlagent:domain:1">
      <wlagent:disk target="vda" mode="{mode}" image="{image}"/>
    </wlagent:protected>
  </metadata>
  <devices>
    <disk type='block' device='disk'>
      <driver name='qemu' type='{form}' cache='none'/>
      <source dev='/dev/mapper/wlagent-{vm}-vda'/>
      <target dev='vda' bus='virtio'/>
    </disk>
  </devices>
</domain>
"""


def say(text):
    print(text, flush=True)


def milliseconds(*program, stdin="/dev/null"):
    path = shutil.which(program[0])
    return float(output(os.path.join(PROGRAMS, "run_times"), "1", stdin, path, *program[1:]).split()[0]) / 1000


def median(values):
    return round(statistics.median(values), 2)


def calm():
    """Nothing goes on any more of what was measured last."""
    run("udevadm", "settle")


def last_launch(machine):
    """{field: microseconds} of the launch that wlagentd has logged last."""
    event = re.findall(r"are open .*", machine.agent.log_text())[-1]
    return {name: int(usec) for name, usec in re.findall(r"WLA_([A-Z]+)_USEC=(\d+)", event)}


class Domain:
    """A domain with one protected disk, as libvirt tells its hook of it."""

    def __init__(self, image, mode):
        self.vm = str(uuid.uuid4())
        self.xml = os.path.join(SECRETS, f"{self.vm}.xml")
        with open(self.xml, "w", encoding="ascii") as file:
            file.write(DOMAIN.format(vm=self.vm, mode=mode, image=image, form="raw" if mode == "direct" else "qcow2"))

    def hook(self, operation, suboperation="begin"):
        return milliseconds(host.HOOK_INSTALLED, "bench", operation, suboperation, "-", stdin=self.xml)

    def prepare(self):
        return self.hook("prepare")

    def release(self):
        self.hook("release", "end")
        poll(lambda: not host.Host.leftovers(), "the mapping to go", 20)
        calm()


def high_water_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1))


def memory_kib(machine):
    """The most that was ever resident: wlagentd, and the process of wlagent-volumed that holds a lease."""
    children = output("pgrep", "-P", str(machine.volumed.process.pid)).split()
    return {"wlagentd": high_water_kib(machine.agent.process.pid),
            "wlagent_volumed": max(high_water_kib(pid) for pid in children)}


def by_size(machine, kek, rounds):
    """Of images that take no space on the disk: {"sizes": {GiB: {"prepare_ms": .., "memory_kib": ..}},
    "rounds": [{GiB: ms}]}. The times of the rounds are wlagentd's own, from the request to the answer without the time
    for the key: neither the TPM nor what starts the hook knows how large the image is."""
    domains = {}
    for size in SIZES_GIB:
        image = os.path.join(host.IMAGES, f"sparse-{size}")
        subprocess.run([os.path.join(PROGRAMS, "sparse_image"), image, str(size * GIB), KEY_ID], input=kek, check=True)
        domains[size] = Domain(image, "direct")
    prepares = {size: [] for size in SIZES_GIB}
    launches = []
    memory = {}
    for _ in range(rounds * SIZE_ROUNDS + 1):
        times = {size: [] for size in SIZES_GIB}
        for size in there_and_back(SIZES_GIB):
            prepares[size].append(domains[size].prepare())
            launch = last_launch(machine)
            times[size].append((launch["DURATION"] - launch["KEY"]) / 1000)
            memory[size] = memory_kib(machine)
            domains[size].release()
        launches.append({size: statistics.mean(times[size]) for size in SIZES_GIB})
    return {"sizes": {size: {"prepare_ms": median(prepares[size][2:]), "memory_kib": memory[size]} for size in SIZES_GIB},
            "rounds": launches[1:]}


STAGES = ("inspect", "key", "open")


def stages(machine, image, rounds):
    """Where the time of a start goes: {mode: {stage: ms}}; what is left is the hook's own."""
    found = {}
    for mode in ("direct", "layer"):
        samples = []
        for number in range(rounds + 1):
            domain = Domain(image, mode)
            taken = domain.prepare()
            launch = last_launch(machine)
            domain.release()
            if number:
                sample = {stage: launch[stage.upper()] / 1000 for stage in STAGES}
                sample["reply and hook"] = taken - sum(sample.values())
                sample["all"] = taken
                samples.append(sample)
        found[mode] = {stage: median([sample[stage] for sample in samples]) for stage in samples[0]}
    return found


def starts(image, rounds):
    """Of a VM with a layer: the first, which makes it, and the second."""
    first, second = [], []
    for _ in range(rounds):
        domain = Domain(image, "layer")
        first.append(domain.prepare())
        domain.release()
        second.append(domain.prepare())
        domain.release()
    return {"first_ms": median(first), "second_ms": median(second)}


def cryptsetup_open(luks, rounds):
    """Opening an ordinary LUKS2 header with a key file of 32 bytes: the fastest way that cryptsetup knows, and
    its defaults. For those it measures the machine that makes the header, so that one comes from outside too."""
    key = os.path.join(luks, "passphrase")
    data = os.path.join(host.IMAGES, "luks")
    with open(data, "wb") as file:
        file.truncate(GIB)
    found = {}
    for name, options, count in (("tuned", ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"], rounds),
                                 ("defaults_inside", [], 2), ("defaults_outside", None, 2)):
        header = os.path.join(host.IMAGES, f"luks-{name}")
        if options is None:
            shutil.copyfile(os.path.join(luks, "header"), header)
        else:
            run("cryptsetup", "luksFormat", "--batch-mode", "--sector-size", "4096", "--key-file", key, "--header", header,
                *options, data, timeout=300)
        times = []
        for _ in range(count):
            times.append(milliseconds("cryptsetup", "open", "--key-file", key, "--header", header, data, "bench"))
            run("cryptsetup", "close", "bench")
            calm()
        found[name] = {"open_ms": median(times), "key_derivation": key_derivation(header)}
    return found


class Replay:
    """The predecessor's road, step by step with its tools and options: what its prepare runs when a VM
    starts. A replay and not the predecessor: that needs brokers of its own, and what it spends on them and
    on starting shells is left out, in its favour."""

    def __init__(self, directory):
        self.directory = directory
        self.key = os.path.join(SECRETS, "replay-key")
        self.ciphertext = os.path.join(directory, "image.enc")
        self.steps = {}
        self.loops = []
        with open(self.key, "wb") as file:
            file.write(os.urandom(32))
        self.crypt("encrypt", os.path.join(SECRETS, "plain"), self.ciphertext)

    def crypt(self, what, source, target):
        """The whole file in memory, one AES-256-GCM message."""
        run("python3", "-c", "import sys\nfrom cryptography.hazmat.primitives.ciphers.aead import AESGCM\n"
            "key = open(sys.argv[2], 'rb').read()\ndata = open(sys.argv[3], 'rb').read()\n"
            "open(sys.argv[4], 'wb').write(getattr(AESGCM(key), sys.argv[1])(bytes(12), data, None))",
            what, self.key, source, target)

    def step(self, name, *command):
        begin = time.monotonic()
        text = output(*command, timeout=300)
        self.steps[name] = self.steps.get(name, 0) + (time.monotonic() - begin) * 1000
        return text.strip()

    def open_volume(self, name, new):
        path = os.path.join(self.directory, f"{name}_sparse")
        mount = os.path.join(self.directory, name)
        if new:
            self.step("truncate", "truncate", "-s", f"{FLAVOR_GB}GB", path)
            os.makedirs(mount)
        loop = self.step("losetup", "losetup", "-f", "--show", path)
        self.loops.append(loop)
        if new:
            self.step("luksFormat", "cryptsetup", "-v", "--batch-mode", "luksFormat", loop, "--key-file", self.key)
        self.step("luksOpen", "cryptsetup", "-v", "luksOpen", loop, name, "--key-file", self.key)
        if new:
            self.step("mkfs.ext4", "mkfs.ext4", "-q", f"/dev/mapper/{name}")
        self.step("mount", "mount", f"/dev/mapper/{name}", mount)
        return mount

    def close(self):
        for name in ("bench-vm", "bench-image"):
            run("umount", os.path.join(self.directory, name))
            run("cryptsetup", "luksClose", name)
        for loop in self.loops:
            run("losetup", "-d", loop)
        self.loops = []

    def total(self):
        steps, self.steps = self.steps, {}
        return {"all_ms": round(sum(steps.values()), 2), "steps_ms": {name: round(ms, 2) for name, ms in steps.items()}}

    def first_start(self):
        plain = os.path.join(self.open_volume("bench-image", True), "image")
        begin = time.monotonic()
        self.crypt("decrypt", self.ciphertext, plain)
        self.steps["decrypt the file"] = (time.monotonic() - begin) * 1000
        overlay = os.path.join(self.directory, "disk")
        self.step("chmod, chown", "chown", "-R", "root:root", plain)
        self.step("qemu-img", "qemu-img", "info", plain)
        self.step("qemu-img", "qemu-img", "create", "-f", "qcow2", "-o", f"backing_file={plain},backing_fmt=raw", overlay)
        self.step("qemu-img", "qemu-img", "resize", overlay, f"{FLAVOR_GB}G")
        mount = self.open_volume("bench-vm", True)
        self.step("move the disk", "cp", overlay, mount)
        self.step("move the disk", "rm", overlay)
        self.step("move the disk", "ln", "-s", os.path.join(mount, "disk"), overlay)
        return self.total()

    def second_start(self):
        self.open_volume("bench-image", False)
        self.open_volume("bench-vm", False)
        return self.total()


def replay():
    directory = os.path.join(host.IMAGES, "replay")
    os.makedirs(directory)
    predecessor = Replay(directory)
    found = {"image_mib": IMAGE_MIB, "first": predecessor.first_start()}
    predecessor.close()
    found["second"] = predecessor.second_start()
    predecessor.close()
    return found


def make_images(machine, kek):
    """An image of IMAGE_MIB, encrypted; its plaintext stays for the replay."""
    plain = os.path.join(SECRETS, "plain")
    with open(plain, "wb") as file:
        for _ in range(IMAGE_MIB):
            file.write(os.urandom(MIB))
    machine.agent.import_key("bench", kek)
    image = os.path.join(host.IMAGES, "image")
    machine.agent.run("image", "encrypt", plain, image, "--key", "bench")
    return image


def main():
    result_path, rounds, luks = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    machine = host.Host()
    machine.agent.write_config()
    machine.agent.run("setup")
    machine.volumed.start()
    machine.agent.start()
    machine.install_hook()
    kek = os.urandom(32)
    image = make_images(machine, kek)
    result = {}
    for name, part in (("stages_ms", lambda: stages(machine, image, rounds)),
                       ("starts", lambda: starts(image, rounds)),
                       ("by_size_gib", lambda: by_size(machine, kek, rounds)),
                       ("cryptsetup_open", lambda: cryptsetup_open(luks, rounds)),
                       ("replay", replay)):
        begin = time.monotonic()
        result[name] = part()
        say(f"{name}: {time.monotonic() - begin:.0f} s")
    with open(result_path, "w", encoding="ascii") as file:
        json.dump(result, file)
    machine.agent.stop()
    machine.volumed.stop()


main()
