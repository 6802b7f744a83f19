# SPDX-License-Identifier: Apache-2.0
"""What a protected VM's start costs, and what an unprotected VM pays for the hook.

The hook of an unprotected domain is measured on this machine, next to /bin/true. The rest needs dm-crypt
and runs in the test VM, in one boot: starts by stage and by the size of the image, next to
`cryptsetup open` and to a replay of the predecessor's tools (in_test_vm.py). That machine is emulated: only
what its figures say about one another holds elsewhere.

cryptsetup makes its defaults as costly as the machine that formats can bear. In the test VM that is next to
nothing, but an owner formats on a real machine. So one header is made inside and one on this machine, and both
are opened inside, where cryptsetup pays for the emulation as everyone does. How much each costs is shown."""

import json
import os
import shutil
import subprocess
import tempfile

import harness
import luks_header
import slope
from preparation import BUILD, TOP, say

HOOK = os.path.join(BUILD, "hooks", "hook-below-cwd")
RUN_TIMES = os.path.join(BUILD, "tests", "bench", "run_times")
VM_SECONDS = 1500
SLOPE_MAX = 0.05  # ms/GiB
FASTER_MIN = {"open, cryptsetup's defaults (header made outside)": 200, "open, cryptsetup tuned": 1.5}
VM_MEMORY_MIB = 3072  # cryptsetup's defaults take 1 GiB
DOMAIN = """<domain type='kvm' id='1'>
  <name>plain</name>
  <uuid>3c2f6a0e-8d4b-4f5a-9e1c-7b6a5d4c3b2a</uuid>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/plain.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
  </devices>
</domain>
"""


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=5, help="of each start in the test VM (default: %(default)s)")
    parser.add_argument("--hooks", type=int, default=500, help="how often the hook is run (default: %(default)s)")


def run_times(count, stdin, *programs, cwd=None):
    """[(median, 99th percentile)] in milliseconds, of programs that are run in turn."""
    command = [RUN_TIMES, str(count), stdin]
    for program in programs:
        command += program + ["--"]
    done = subprocess.run(command[:-1], cwd=cwd, capture_output=True, text=True, check=True)
    return [tuple(round(float(figure) / 1000, 3) for figure in line.split()) for line in done.stdout.splitlines()]


def measure_hook(directory, count):
    """An unprotected domain, with wlagentd up and with nobody there."""
    tpm = harness.Swtpm(os.path.join(directory, "tpm")).start()
    agent = harness.Agent(os.path.join(directory, "agent"), tpm.tcti)
    definition = os.path.join(directory, "domain.xml")
    with open(definition, "w", encoding="ascii") as file:
        file.write(DOMAIN)
    programs = [["/bin/true"], [HOOK, "plain", "prepare", "begin", "-"]]
    try:
        agent.run("setup")
        agent.start()
        up = run_times(count, definition, *programs, cwd=agent.run_directory)
        agent.stop()
        down = run_times(count, definition, *programs, cwd=agent.run_directory)
    finally:
        agent.stop()
        tpm.stop()
    return {"true_ms": up[0][0], "hook_ms": up[1][0], "hook_p99_ms": up[1][1], "added_ms": round(up[1][0] - up[0][0], 3),
            "agent_down_added_ms": round(down[1][0] - down[0][0], 3)}


def measure_key(luks):
    """What the header that was made here costs here, without a device: no emulation, and no dm-crypt either."""
    header = os.path.join(luks, "header")
    command = [shutil.which("cryptsetup"), "open", "--test-passphrase", "--key-file", os.path.join(luks, "passphrase"),
               "--header", header, header, "bench"]
    return run_times(3, "/dev/null", command)[0][0]


def measure_in_vm(luks, rounds):
    out = os.path.join(BUILD, "bench-vm")
    script = os.path.join(BUILD, "bench-vm.sh")
    with open(script, "w", encoding="ascii") as file:
        file.write('exec python3 "$SOURCE/tests/bench/in_test_vm.py" "/out/$MACHINE/result.json" "$@"\n')
    done = subprocess.run([os.path.join(TOP, "tests", "vm", "run"), "--build", BUILD, "--out", out, "--seconds",
                           str(VM_SECONDS), "--shell-script", script, str(rounds), luks],
                          env={**os.environ, "VM_MEMORY": str(VM_MEMORY_MIB)}, stdout=subprocess.PIPE, text=True,
                          check=False)
    say(done.stdout.rstrip())
    if done.returncode:
        raise SystemExit(f"the test VM ended with {done.returncode}; {out}/vm1 has its logs")
    with open(os.path.join(out, "vm1", "result.json"), encoding="ascii") as result:
        return json.load(result)


def ratios(vm):
    """How many times faster a start is here; more is better."""
    replay, starts, direct = vm["replay"], vm["starts"], vm["stages_ms"]["direct"]
    peer = {name: figures["open_ms"] for name, figures in vm["cryptsetup_open"].items()}
    return {"first start, predecessor": round(replay["first"]["all_ms"] / starts["first_ms"], 1),
            "second start, predecessor": round(replay["second"]["all_ms"] / starts["second_ms"], 1),
            "open, cryptsetup's defaults (header made outside)": round(peer["defaults_outside"] / direct["open"], 1),
            "open, cryptsetup's defaults (header made in the VM)": round(peer["defaults_inside"] / direct["open"], 1),
            "open, cryptsetup tuned": round(peer["tuned"] / direct["open"], 1),
            "whole start, cryptsetup tuned": round(peer["tuned"] / direct["all"], 2)}


def measure_all(arguments):
    directory = tempfile.mkdtemp(prefix="wlagent-bench.")
    try:
        say("the hook, on this machine")
        result = {"hook": measure_hook(directory, arguments.hooks)}
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    say("cryptsetup's defaults, on this machine")
    luks = os.path.join(BUILD, "bench-luks")
    shutil.rmtree(luks, ignore_errors=True)
    os.mkdir(luks)
    luks_header.make(luks)
    result["cryptsetup_key_ms"] = measure_key(luks)
    say("starts, in the test VM")
    result["vm"] = measure_in_vm(luks, arguments.rounds)
    rounds = [{int(size): milliseconds for size, milliseconds in times.items()}
              for times in result["vm"]["by_size_gib"]["rounds"]]
    result["slope"] = {f"to {largest} GiB": slope.fit([{size: times[size] for size in times if size <= largest}
                                                       for times in rounds])
                       for largest in sorted(rounds[0])[-2:]}
    result["ratios"] = ratios(result["vm"])
    return result


def verdict(met, target):
    return f"({target}: {'met' if met else 'MISSED'})"


def show_steps(title, steps):
    print(f"{title}:")
    for name, milliseconds in steps.items():
        print(f"  {name:38} {milliseconds:>10}")


def show(result):
    hook, vm = result["hook"], result["vm"]
    print("On this machine, milliseconds:")
    print(f"  /bin/true {hook['true_ms']}, the hook of an unprotected domain {hook['hook_ms']} (99 %: {hook['hook_p99_ms']}): "
          f"{hook['added_ms']} more; with wlagentd down {hook['agent_down_added_ms']} more")
    print(f"  cryptsetup, its defaults, the key alone: {result['cryptsetup_key_ms']}")
    print()
    print("In the test VM, which is emulated, milliseconds:")
    for mode, stages in vm["stages_ms"].items():
        show_steps(f"  prepare of a new VM, mode {mode}", stages)
    show_steps("  prepare with a layer", vm["starts"])
    print("  prepare by the size of the image, and the most memory ever used:")
    for size, figures in vm["by_size_gib"]["sizes"].items():
        memory = figures["memory_kib"]
        print(f"  {size + ' GiB':>10} {figures['prepare_ms']:>10}   wlagentd {memory['wlagentd']} KiB, "
              f"wlagent-volumed {memory['wlagent_volumed']} KiB")
    for sizes, figures in result["slope"].items():
        low, high = figures["interval"]
        print(f"  slope {sizes}: {figures['ms_per_gib']} ms/GiB; with {figures['confidence']:.0%} confidence between "
              f"{low} and {high}, from {figures['rounds']} rounds")
    widest = list(result["slope"].values())[-1]["ms_per_gib"]
    print(f"  {verdict(widest <= SLOPE_MAX, f'at most {SLOPE_MAX} ms/GiB')}")
    print("  cryptsetup open:")
    for name, figures in vm["cryptsetup_open"].items():
        print(f"  {name:38} {figures['open_ms']:>10}   {figures['key_derivation']}")
    replay = vm["replay"]
    for name in ("first", "second"):
        show_steps(f"  replay of the predecessor, {replay['image_mib']} MiB image, {name} start, "
                   f"{replay[name]['all_ms']}", replay[name]["steps_ms"])
    print()
    print("Times faster here:")
    for name, ratio in result["ratios"].items():
        target = FASTER_MIN.get(name)
        print(f"  {name:54} {ratio:>10} {verdict(ratio >= target, f'at least {target}') if target else ''}".rstrip())
