# SPDX-License-Identifier: Apache-2.0
"""Stops libvirt at a hook: a second hook, which runs after wlagent's, waits there until the test goes on."""

import contextlib
import os
import shutil
import subprocess

import host
from running import poll

PAUSES = "/run/pauses"
# Waits without using the processor, which is slow enough here: its end is that of a pipe. libvirt does not mind that
# nobody reads the domain.
HOOK = """#!/bin/sh
[ -p {0}/$1-$2 ] || exit 0
: >{0}/$1-$2.reached
cat {0}/$1-$2 2>/dev/null
[ ! -e {0}/$1-$2.refused ]
"""


def install():
    """libvirt looks into the directory of hooks at each call, once it has found one there at its start."""
    os.makedirs(PAUSES, exist_ok=True)
    path = os.path.join(os.path.dirname(host.HOOK_INSTALLED), "60-pause")
    with open(path, "w", encoding="ascii") as hook:
        hook.write(HOOK.format(PAUSES))
    os.chmod(path, 0o755)


def remove():
    os.unlink(os.path.join(os.path.dirname(host.HOOK_INSTALLED), "60-pause"))
    shutil.rmtree(PAUSES)


class Command:
    """A virsh command under way."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(["virsh", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)

    def finish(self, seconds=120):
        """Returns the exit code and what it said."""
        said, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, said

    def ended(self):
        return self.process.poll() is not None


def refuse(guest, operation):
    """Has the second hook refuse where it waits now."""
    with open(os.path.join(PAUSES, f"{guest.name}-{operation}.refused"), "w", encoding="ascii"):
        pass


@contextlib.contextmanager
def paused(guest, operation, *command):
    """Runs the command until wlagent's hook has returned from that operation; what is in the block happens
    there. Yields the Command, which ends after the block."""
    mark = os.path.join(PAUSES, f"{guest.name}-{operation}")
    os.mkfifo(mark)
    under_way = Command(*command)
    try:
        poll(lambda: os.path.exists(mark + ".reached") or under_way.ended(), f"{operation} of {guest.name}", 90)
        if not os.path.exists(mark + ".reached"):
            raise AssertionError(f"'virsh {' '.join(command)}' ended before {operation}: {under_way.finish()}")
        yield under_way
    finally:
        end = os.open(mark, os.O_RDWR)
        os.unlink(mark)
        os.close(end)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(mark + ".reached")
