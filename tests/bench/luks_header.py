# SPDX-License-Identifier: Apache-2.0
"""Ordinary LUKS2 headers, made by cryptsetup with its defaults."""

import json
import os
import subprocess

SIZE = 1 << 30  # of the disk
TRIES = 3


def key_derivation(header):
    """What opening costs by design: {"type": .., "time": .., "memory" in KiB, "cpus": .., "digest": iterations}."""
    dump = subprocess.run(["cryptsetup", "luksDump", "--dump-json-metadata", header], capture_output=True, check=True)
    metadata = json.loads(dump.stdout)
    found = {name: value for name, value in metadata["keyslots"]["0"]["kdf"].items() if name != "salt"}
    return {**found, "digest": metadata["digests"]["0"]["iterations"]}


def cost(derivation):
    return derivation.get("memory", 0) * derivation.get("time", 0)


def make(directory):
    """Makes the files passphrase and header there. cryptsetup takes a machine that is busy for a slow one and
    settles for less, so this is the costliest header of several."""
    key, disk, header = (os.path.join(directory, name) for name in ("passphrase", "disk", "header"))
    tried = [f"{header}-{number}" for number in range(TRIES)]
    with open(key, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(os.urandom(32))
    with open(disk, "wb") as file:
        file.truncate(SIZE)
    for path in tried:
        subprocess.run(["cryptsetup", "luksFormat", "--batch-mode", "--sector-size", "4096", "--key-file", key,
                        "--header", path, disk], check=True)
    os.rename(max(tried, key=lambda path: cost(key_derivation(path))), header)
    for path in [disk, *tried]:
        if os.path.exists(path):
            os.unlink(path)
