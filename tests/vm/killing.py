# SPDX-License-Identifier: Apache-2.0
"""Kills a program of wlagent's before a chosen call, has that fail, or cuts the power there: see kill_program.c.

With VM_SWEEP=N,FROM,TO,WAY (tests/vm/run --sweep) tests go through all calls, or every Nth, or such of a part of
them."""

import contextlib
import functools
import itertools
import os
import random

from running import BUILD, open_to_all

DIRECTORY = "/run/kill"
STRIDE, FIRST, LAST, WAY = (os.environ.get("VM_SWEEP", "") + ",,,").split(",")[:4]
STRIDE, FIRST, LAST = (int(number or 0) for number in (STRIDE, FIRST, LAST))


@functools.cache
def library():
    """Not in a build without tests, whose programs nobody kills."""
    return open_to_all(os.path.join(BUILD, "tests", "vm", "libkill_program.so"))


def steps(calls, few):
    """Where to kill: in a sweep everywhere, until it is not reached any more; otherwise before a few of the first
    calls, other ones in each run. calls: how many the program makes at least."""
    if not STRIDE:
        return sorted(random.sample(range(1, calls + 1), few))
    first = FIRST or 1
    return range(first, LAST + 1, STRIDE) if LAST else itertools.count(first, STRIDE)


def ways(program):
    """Of wlagent-volumed a session can be killed alone, or with the main process and so all others: both in a sweep,
    otherwise one of them."""
    if program != "wlagent-volumed":
        return ["kill"]
    if STRIDE:
        return [WAY] if WAY else ["kill", "all"]
    return [random.choice(["kill", "all"])]


@contextlib.contextmanager
def preloaded():
    """What is started in the block can be killed."""
    os.makedirs(DIRECTORY, exist_ok=True)
    os.chmod(DIRECTORY, 0o777)  # the program removes the file, and wlagentd is not root's
    os.environ["LD_PRELOAD"] = library()
    try:
        yield
    finally:
        del os.environ["LD_PRELOAD"]


def arm(program, step, how="kill"):
    with open(os.path.join(DIRECTORY, program), "w", encoding="ascii") as file:
        file.write(f"{step} {how}")


def armed(program):
    """And has not come so far."""
    return os.path.exists(os.path.join(DIRECTORY, program))


def disarm(program):
    """Whether the program came that far."""
    try:
        os.unlink(os.path.join(DIRECTORY, program))
    except FileNotFoundError:
        return True
    return False
