# SPDX-License-Identifier: Apache-2.0
"""Many keys of a key broker at once, as after a reboot: so many requests for as many keys in one burst through the
keyprovider's socket, with a TPM that is as slow as chips are (a proxy before swtpm) and a broker that takes a while for
each key. Next to that, what the TPM itself was busy with in the same run, than which nobody can be faster, and the same
burst for as many keys of the local store, which is what TPM and agent take without a broker.

What the TPM is busy with is from when it has all of a command to just before it sends the answer, as the proxy before it
notes. All that is between two commands counts for the agent: what the proxy takes to accept and to read, too, and the agent
to wake up. What that alone comes to, is measured with a program that only sends one command after the other. The proxy does
not sleep meanwhile, as a chip needs no processor that wakes up for its command.

Then the same with the broker away for a while in the middle. The broker is the test double, in Python, and a process on
the same cores: next to a fast TPM, on a busy machine, it is what is measured. As root, all of it goes before what
else runs here, the agent before the broker, which is another machine elsewhere, and the TPM and its proxy before both, as a
chip waits for no processor. No processor goes to sleep then: one of a virtual machine may come back milliseconds later."""

import contextlib
import os
import statistics
import subprocess
import time
import unittest

import harness
import herd_case
import relay
from isecl_case import double
from preparation import BUILD, say

RATIO_MOST = 1.05
CONNECTIONS_MOST = 16
RETURN_SECONDS = 2.0
GET_CAPABILITY = 0x17a
AWAKE_USEC = 200  # longer than it takes from an answer to the next command
PRIORITY, PRIORITY_OF_AGENT, PRIORITY_OF_TPM = 1, 2, 3


def add_arguments(parser):
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--tpm-ms", default="2.7,26,88", help="what a command costs at least (default: %(default)s)")
    parser.add_argument("--broker-ms", type=float, default=2, help="what a key costs the broker (default: %(default)s)")
    parser.add_argument("--away", type=float, default=30, metavar="SECONDS",
                        help="how long the broker is away in the middle; 0 leaves that out (default: %(default)s)")
    parser.add_argument("--away-tpm-ms", type=float, default=26)
    parser.add_argument("--http1", action="store_true", help="the broker speaks HTTP/1.1 only")


class Host(herd_case.HerdCase):
    """A host to measure, made and ended by hand."""

    timeout = 600
    tpm_awake_usec = AWAKE_USEC

    def runTest(self):
        pass


def set_priority(pid, priority):
    """Of all threads of that process."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))


def new_host(tpm_ms, arguments):
    host = Host()
    # harness.AgentTest asks the run that it belongs to how it went.
    host._outcome = unittest.case._Outcome(unittest.TestResult())
    host.tpm_usec = int(tpm_ms * 1000)
    host.broker_delay = arguments.broker_ms / 1000
    host.http2 = not arguments.http1
    try:
        host.setUp()
    except BaseException:
        host.doCleanups()
        raise
    if os.geteuid() == 0:
        for process in (host.proxy.process, host.tpm.process):
            set_priority(process.pid, PRIORITY_OF_TPM)
        set_priority(host.agent.process.pid, PRIORITY_OF_AGENT)
    host.warm_up()
    return host


def quantile(values, part):
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] if values else None


def milliseconds(seconds):
    return None if seconds is None else round(seconds * 1000, 1)


def tpm_busy(host, burst, until):
    """(seconds with our commands, seconds with others', [milliseconds of each decryption])"""
    commands = [command for command in host.commands(burst.begun) if command.begin <= until]
    ours = [command for command in commands if command.code != herd_case.PCR_EXTEND]
    spent = [command.end - command.begin for command in ours if command.code == herd_case.RSA_DECRYPT]
    return (sum(command.end - command.begin for command in ours),
            sum(command.end - command.begin for command in commands) - sum(one.end - one.begin for one in ours), spent)


def local_packets(host, count):
    """Packets for that many keys of the local store: copies of one, each with a name of its own."""
    host.agent.import_key("herd", bytes(32))
    directory = os.path.join(host.agent.state, "keys")
    with open(os.path.join(directory, "herd.json"), encoding="ascii") as file:
        text = file.read()
    for number in range(count):
        with open(os.path.join(directory, f"herd{number}.json"), "w", encoding="ascii",
                  opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text.replace('"herd"', f'"herd{number}"'))
    return [harness.wrap_packet(f"local:///herd{number}", bytes(32), herd_case.wls_case.OPTIONS) for number in range(count)]


def run_burst(host, packets, second_user=False):
    double.reset_counters()
    host.relay.count_anew()
    other = None
    if second_user:
        other = herd_case.OtherUser(host.proxy.socket, max(host.tpm_usec * 4e-6, 0.02))
        other.start()
    burst = host.burst(packets)
    answers = burst.collect(590)
    waits = [took for _, took in other.stop()] if other else []
    last = max((answer.end for answer in answers if answer), default=time.monotonic())
    ours, theirs, each = tpm_busy(host, burst, last)
    calls = host.calls_of_keys()
    return {"keys": len(packets), "failed": sum(not answer or answer.status != 0 for answer in answers),
            "seconds": round(last - burst.begun, 3), "tpm_seconds": round(ours, 3),
            "tpm_others_seconds": round(theirs, 3), "decrypt_ms": milliseconds(statistics.median(each)),
            "ratio": round((last - burst.begun - theirs) / ours, 3), "connections": host.relay.most,
            "calls": sum(calls.values()), "calls_of_one_key": max(calls.values(), default=0),
            "other_user": {"times": len(waits), "p50_ms": milliseconds(quantile(waits, 0.5)),
                           "p99_ms": milliseconds(quantile(waits, 0.99))} if other else None}


def peer_ratio(host, count):
    """Of tpm_peer, which has nothing to do between two commands."""
    proxy = harness.FaultProxy(host.tpm)
    proxy.socket += ".peer"
    times = os.path.join(host.directory, "peer-times")
    try:
        proxy.start(least=[f"{GET_CAPABILITY:#x}:{host.tpm_usec}"], times=times, awake=AWAKE_USEC)
        if os.geteuid() == 0:
            set_priority(proxy.process.pid, PRIORITY_OF_TPM)
        subprocess.run([os.path.join(BUILD, "tests", "bench", "tpm_peer"), proxy.socket, str(count)], check=True)
    finally:
        proxy.stop()
    commands = herd_case.read_times(times)
    return round((commands[-1].end - commands[0].begin) / sum(command.end - command.begin for command in commands), 3)


def measure_speed(tpm_ms, arguments):
    host = new_host(tpm_ms, arguments)
    try:
        peer = peer_ratio(host, arguments.keys)
        local = local_packets(host, arguments.keys)
        run_burst(host, local[:5])
        found = {"local": run_burst(host, local),
                 "alone": run_burst(host, host.make_packets(arguments.keys)),
                 "shared": run_burst(host, host.make_packets(arguments.keys), second_user=True)}
        found["peer_ratio"] = peer
        found["ratio_to_local"] = round(found["alone"]["seconds"] / found["local"]["seconds"], 3)
        return found
    finally:
        host.doCleanups()


def measure_away(arguments):
    """The broker goes when a third of the keys is open, and comes back after that time. Meanwhile connections to it are
    reset; tests/integration/test_herd.py also has them hang, and not come about."""
    host = new_host(arguments.away_tpm_ms, arguments)
    try:
        packets = host.make_packets(arguments.keys)
        double.reset_counters()
        burst = host.burst(packets)
        burst.collect(120, until=arguments.keys // 3)
        host.relay.change(relay.RESETS)
        burst.collect(arguments.away)
        looks, opened_before = host.relay.accepted, len(burst.answers)
        back = time.monotonic()
        host.relay.change(relay.PASSES)
        answers = burst.collect(590)
        ends = sorted(answer.end for answer in answers if answer and answer.end > back)
        calls = host.calls_of_keys()
        tpm = tpm_busy(host, burst, ends[-1])[2]
        return {"keys": arguments.keys, "away_seconds": arguments.away, "open_before": opened_before,
                "failed": sum(not answer or answer.status != 0 for answer in answers),
                "first_after_return": round(ends[0] - back, 3), "last_after_return": round(ends[-1] - back, 3),
                "tpm_seconds_after_return": round(statistics.median(tpm) * len(ends), 3),
                "calls_of_one_key": max(calls.values()), "connection_attempts_while_away": looks}
    finally:
        host.doCleanups()


@contextlib.contextmanager
def undisturbed():
    """What else runs on this machine shall not decide the figures."""
    if os.geteuid() != 0:
        yield
        return
    set_priority(os.getpid(), PRIORITY)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where processors have no such states
            latency = stack.enter_context(open("/dev/cpu_dma_latency", "wb", buffering=0))
            latency.write(bytes(4))  # in force as long as it is open
        yield


def measure_all(arguments):
    with undisturbed():
        return measure_each(arguments)


def measure_each(arguments):
    result = {"broker_ms": arguments.broker_ms, "http2": not arguments.http1, "speed": {}}
    for tpm_ms in (float(text) for text in arguments.tpm_ms.split(",")):
        say(f"{arguments.keys} keys, TPM {tpm_ms} ms")
        result["speed"][str(tpm_ms)] = measure_speed(tpm_ms, arguments)
    if arguments.away:
        say(f"broker away for {arguments.away} s")
        result["away"] = measure_away(arguments)
    return result


def verdict(good):
    return "good" if good else "MISSED"


def show(result):
    for tpm_ms, runs in result["speed"].items():
        print(f"TPM {tpm_ms} ms, as many commands without any work between them: {runs['peer_ratio']} x what the TPM took")
        print(f"TPM {tpm_ms} ms, {runs['local']['keys']} keys of the local store: {runs['local']['seconds']} s, "
              f"{runs['local']['ratio']} x the TPM's own {runs['local']['tpm_seconds']} s")
        for name in ("alone", "shared"):
            run = runs[name]
            print(f"TPM {tpm_ms} ms, {run['keys']} keys, {'the only user' if name == 'alone' else 'another user besides'}: "
                  f"{run['seconds']} s")
            print(f"  {run['ratio']} x the {run['tpm_seconds']} s that the TPM itself took (at most {RATIO_MOST}): "
                  f"{verdict(run['ratio'] <= RATIO_MOST)}")
            if name == "alone":
                print(f"  {runs['ratio_to_local']} x as many keys of the local store (at most {RATIO_MOST}): "
                      f"{verdict(runs['ratio_to_local'] <= RATIO_MOST)}")
            print(f"  {run['failed']} failed (0): {verdict(run['failed'] == 0)}; {run['connections']} connections to the "
                  f"broker (at most {CONNECTIONS_MOST}): {verdict(run['connections'] <= CONNECTIONS_MOST)}; "
                  f"{run['calls']} calls for {run['keys']} keys")
        other, decrypt = runs["shared"]["other_user"], runs["shared"]["decrypt_ms"]
        print(f"  the other user waited {other['p50_ms']} ms (median), {other['p99_ms']} ms (99 of 100 times; at most "
              f"{2 * decrypt:.1f}, two decryptions): {verdict(other['p99_ms'] <= 2 * decrypt)}; {other['times']} times")
    away = result.get("away")
    if away:
        over = away["last_after_return"] - away["tpm_seconds_after_return"]
        print(f"broker away for {away['away_seconds']} s with {away['open_before']} of {away['keys']} keys open:")
        print(f"  {away['failed']} failed (0): {verdict(away['failed'] == 0)}; first key {away['first_after_return']} s "
              f"after its return, last {away['last_after_return']} s, {over:.3f} s more than the TPM needed for them (at "
              f"most {RETURN_SECONDS}): {verdict(over <= RETURN_SECONDS)}")
        print(f"  {away['calls_of_one_key']} calls at most for one key (2): {verdict(away['calls_of_one_key'] <= 2)}; "
              f"{away['connection_attempts_while_away']} connections tried while it was away")
