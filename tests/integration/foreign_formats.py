# SPDX-License-Identifier: Apache-2.0
"""Volumes in formats that others made: images of Intel SecL's workload policy manager, LUKS2 volumes of its
agent."""

import os
import struct
import subprocess
import tempfile

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DATA_OFFSET = 16 * 1024 * 1024
SECTOR = 512


def write_isecl(path, plaintext, key, nonce=None):
    """An encrypted VM image as 'wpm create-image-flavor' writes it."""
    nonce = nonce or os.urandom(12)
    header = b"ISecL-VMC\0\0\0" + struct.pack("<I", 44) + b"V1\0\0" + nonce + b"GCM-256\0\0\0\0\0"
    with open(path, "wb") as file:
        file.write(header + AESGCM(key).encrypt(nonce, plaintext, None))
    return path


def flip(path, offset):
    """Changes one bit; a negative offset counts from the end."""
    with open(path, "r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def cryptsetup(*arguments, key=b"", check=True):
    # An empty key is one in a regular file only.
    with tempfile.NamedTemporaryFile() as file:
        file.write(key)
        file.flush()
        return subprocess.run(["cryptsetup", "-q", *arguments, "--key-file", file.name], check=check,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def opens(path, key):
    return cryptsetup("open", "--test-passphrase", path, key=key, check=False).returncode == 0


def volume_key(path, key):
    """As cryptsetup tells it to whoever has a key."""
    dump = cryptsetup("luksDump", "--dump-volume-key", path, key=key).stdout.decode()
    return bytes.fromhex("".join(dump.split("dump:")[1].split()))


def xts(key, data, encrypt):
    done = bytearray()
    for number in range(len(data) // SECTOR):
        cipher = Cipher(algorithms.AES(key), modes.XTS(struct.pack("<QQ", number, 0)))
        part = cipher.encryptor() if encrypt else cipher.decryptor()
        done += part.update(data[number * SECTOR:(number + 1) * SECTOR]) + part.finalize()
    return bytes(done)


def write_luks2(path, plaintext, key=b"", *options):
    """A volume as 'cryptsetup luksFormat' makes it, with these data; an empty key is what Intel's agent used.
    The key derivation is a cheap one unless the options say otherwise."""
    with open(path, "wb") as file:
        file.truncate(DATA_OFFSET + len(plaintext))
    cryptsetup("luksFormat", "--type", "luks2", "--sector-size", str(SECTOR), *(options or CHEAP), path, key=key)
    with open(path, "r+b") as file:
        file.seek(DATA_OFFSET)
        file.write(xts(volume_key(path, key), plaintext, True))
    return path


CHEAP = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")


def read_luks2(path, key):
    with open(path, "rb") as file:
        file.seek(DATA_OFFSET)
        return xts(volume_key(path, key), file.read(), False)
