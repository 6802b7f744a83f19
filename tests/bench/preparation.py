# SPDX-License-Identifier: Apache-2.0
"""What every benchmark needs before it can measure."""

import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "integration"))
BUILD = os.environ.setdefault("WLAGENT_BUILD", os.path.join(TOP, "build"))


def say(text):
    print(text, file=sys.stderr, flush=True)


def prepare(*purposes):
    """Installs the packages of these purposes, and builds."""
    subprocess.run([os.path.join(TOP, "packaging", "install-packages"), "build", "run", "test", *purposes],
                   check=True, stdout=sys.stderr)
    if not os.path.exists(os.path.join(BUILD, "build.ninja")):
        subprocess.run(["meson", "setup", BUILD, TOP], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", BUILD], check=True, stdout=subprocess.DEVNULL)
