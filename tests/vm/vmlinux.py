# SPDX-License-Identifier: Apache-2.0
"""vmlinux.py VMLINUZ VMLINUX: the kernel as it is inside of a bzImage. It starts by the note of Xen's PVH that
Debian's kernels have, and does not unpack itself: in the test VM that takes longer than the rest of its boot.

Linux, Documentation/arch/x86/boot.rst: setup_sects, and payload_offset from where the setup ends."""

import lzma
import os
import struct
import subprocess
import sys

XZ = b"\xfd7zXZ\0"
ZSTD = b"\x28\xb5\x2f\xfd"


def payload(image):
    """What is in the bzImage; its length is that of the compressed data and 4 bytes."""
    start = (image[0x1f1] + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    return image[start + offset:start + offset + length]


def unpacked(data):
    if data.startswith(XZ):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data)
    if data.startswith(ZSTD):
        return subprocess.run(["zstd", "-dcq"], input=data[:-4], stdout=subprocess.PIPE, check=True).stdout
    raise ValueError("neither xz nor zstd")


def main():
    with open(sys.argv[1], "rb") as file:
        kernel = unpacked(payload(file.read()))
    if not kernel.startswith(b"\x7fELF"):
        raise ValueError("no ELF file in it")
    with open(sys.argv[2] + ".new", "wb") as file:
        file.write(kernel)
    os.rename(sys.argv[2] + ".new", sys.argv[2])


main()
