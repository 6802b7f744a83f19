# SPDX-License-Identifier: Apache-2.0
"""Images of wlagent, made without device-mapper, are what dm-crypt and cryptsetup make of the same key."""

import base64
import json
import os
import unittest

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import host
from host import run

MIB = 1 << 20


def volume_key(image):
    """The image's own key, unwrapped with cryptography of others."""
    with open(image + ".header", "rb") as file:
        header = file.read()
    token = json.loads(header[4096:16384].split(b"\0")[0])["tokens"]["0"]
    identity = "\n".join(["wlagent-image 1", header[168:204].decode(), token["key_id"], token["content"], token["size"],
                          token["virtual_size"], "sealed" if "seal" in token else "open", ""])
    return AESGCM(host.KEY).decrypt(base64.b64decode(token["nonce"]), base64.b64decode(token["wrapped_key"]),
                                    identity.encode())


class Image(host.VmTest):
    def encrypt(self, plain, *options):
        image = os.path.join(self.directory, "image")
        self.host.agent.run("image", "encrypt", plain, image, "--key", host.KEY_NAME, *options)
        return image

    def mapped(self, image, *options):
        """The path of the plaintext that cryptsetup maps; it is gone after the test."""
        key = os.path.join(host.PLAIN, "volume-key")
        with open(key, "wb") as file:
            file.write(volume_key(image))
        name = f"wlagent-test-{len(self.host.mappings())}"
        run("cryptsetup", "open", "--readonly", *(word.replace("KEY", key) for word in options), image, name)
        os.unlink(key)
        self.addCleanup(run, "cryptsetup", "close", name)
        return os.path.join("/dev/mapper", name)

    def mappings_of(self, image):
        yield self.mapped(image, "--type", "plain", "--cipher", "aes-xts-plain64", "--key-size", "512", "--sector-size",
                          "4096", "--key-file", "KEY")
        yield self.mapped(image, "--type", "luks2", "--header", image + ".header", "--key-size", "512", "--volume-key-file",
                          "KEY")

    def plain(self, size):
        path = os.path.join(host.PLAIN, "disk")
        with open(path, "wb") as file:
            file.write(os.urandom(min(size, 3 * MIB)))
            file.truncate(size)
        self.addCleanup(os.unlink, path)
        return path

    def test_dm_crypt_reads_what_wlagent_encrypts(self):
        plain = self.plain(4 * MIB + 4096)
        for device in self.mappings_of(self.encrypt(plain)):
            run("cmp", plain, device)

    def test_dm_crypt_reads_compact_images(self):
        plain = self.plain(600 * MIB)
        for device in self.mappings_of(self.encrypt(plain, "--compact")):
            run("qemu-img", "check", "-f", "qcow2", device)
            run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", plain, device)

    def test_wlagent_reads_what_dm_crypt_writes(self):
        """The way back: dm-crypt writes over the whole image with the same key; the disk is what it wrote."""
        zeros = self.plain(2 * MIB)
        os.truncate(zeros, 0)
        os.truncate(zeros, 2 * MIB)
        image = self.encrypt(zeros)
        with open(image, "rb") as file:
            before = file.read()
        key = os.path.join(host.PLAIN, "volume-key")
        with open(key, "wb") as file:
            file.write(volume_key(image))
        os.truncate(image, 0)
        os.truncate(image, 2 * MIB)
        run("cryptsetup", "open", "--type", "plain", "--cipher", "aes-xts-plain64", "--key-size", "512", "--sector-size",
            "4096", "--key-file", key, image, "wlagent-test-w")
        try:
            run("dd", f"if={zeros}", "of=/dev/mapper/wlagent-test-w", "bs=1M", "oflag=direct")
        finally:
            run("cryptsetup", "close", "wlagent-test-w")
            os.unlink(key)
        with open(image, "rb") as file:
            self.assertEqual(file.read(), before)
        self.host.agent.run("image", "verify", image)


if __name__ == "__main__":
    unittest.main()
