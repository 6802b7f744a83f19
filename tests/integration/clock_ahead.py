# SPDX-License-Identifier: Apache-2.0
"""Programs for which time passes as a test says, so that the longest time that they wait is known without waiting."""

import os
import struct
import subprocess

import running


class Clock:
    def __init__(self, path):
        self.path = path
        self.set(0)

    def set(self, seconds):
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as file:
            file.write(struct.pack("=q", seconds))

    def environment(self):
        return {"LD_PRELOAD": os.path.join(running.BUILD, "tests", "integration", "libclock_ahead.so"),
                "CLOCK_AHEAD": self.path}


def gives_up(test, command, environment, arrived, stdin=subprocess.DEVNULL, within=60):
    """What the command says on standard error when nobody answers it: not long before that many seconds have passed,
    and as soon as they have. arrived() is true when it has asked."""
    clock = Clock(os.path.join(test.directory, "clock"))
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**environment, **clock.environment()}) as process:
        try:
            running.poll(arrived, "the request")
            clock.set(within * 2 // 3)
            with test.assertRaises(subprocess.TimeoutExpired):
                process.wait(0.5)
            clock.set(within + 1)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    test.assertEqual(process.returncode, 1, errors)
    return errors.decode()
