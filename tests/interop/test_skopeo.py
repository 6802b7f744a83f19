# SPDX-License-Identifier: Apache-2.0
"""skopeo of Debian 13 encrypts and decrypts through the agent."""

import os
import signal
import subprocess

from images import ANNOTATION, ENCRYPTED, PLAIN, ImageTest, make_image, read_manifest


class Copies(ImageTest):
    def check_layout(self, layers):
        plain = self.encrypted_image(layers)
        for each in read_manifest(self.path("encrypted"))["layers"]:
            self.assertEqual(each["mediaType"], ENCRYPTED)
            self.assertIn(ANNOTATION, each["annotations"])
        before = self.agent.counts()
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")
        after = self.agent.counts()
        self.assertEqual(after.unwraps - before.unwraps, layers)
        return after.tpm - before.tpm

    def test_one_layer(self):
        self.check_layout(1)

    def test_three_layers(self):
        self.check_layout(3)

    def test_twenty_layers_cost_one_tpm_operation(self):
        make_image(self.path("plain"), 20)
        self.encrypt("oci:plain:v1", "oci:encrypted:v1")
        self.fresh_agent()
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assertEqual(self.agent.counts().unwraps, 20)
        self.assertEqual(self.agent.counts().tpm, 1)
        self.show_durations("skopeo, one after another")

    def test_parallel_from_a_registry(self):
        plain = self.encrypted_image(20)
        self.fresh_agent()
        with self.registry() as registry:
            self.skopeo("oci:encrypted:v1", f"docker://{registry}/image:v1")
            self.decrypt(f"docker://{registry}/image:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")
        self.assertEqual(self.agent.counts().unwraps, 20)
        self.assertEqual(self.agent.counts().tpm, 1)
        self.show_durations("skopeo, six at once")

    def test_some_layers_only(self):
        plain = make_image(self.path("plain"), 3)
        self.encrypt("oci:plain:v1", "oci:encrypted:v1", "--encryption-key",
                     f"provider:wlagent:key={self.key}", "--encrypt-layer", "0", "--encrypt-layer", "-1")
        self.assertEqual([each["mediaType"] for each in read_manifest(self.path("encrypted"))["layers"]],
                         [ENCRYPTED, PLAIN, ENCRYPTED])
        before = self.agent.counts().unwraps
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")
        self.assertEqual(self.agent.counts().unwraps - before, 2)

    def test_two_keys_in_one_image(self):
        """Layers under different keys: one TPM operation each."""
        plain = make_image(self.path("plain"), 2)
        self.agent.run("key", "create", "second")
        self.encrypt("oci:plain:v1", "oci:half:v1", "--encryption-key", f"provider:wlagent:key={self.key}",
                     "--encrypt-layer", "0")
        self.encrypt("oci:half:v1", "oci:encrypted:v1", "--encryption-key", "provider:wlagent:key=second",
                     "--encrypt-layer", "1")
        self.fresh_agent()
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")
        self.assertEqual(self.agent.counts().tpm, 2)


class Recipients(ImageTest):
    def test_two_values_are_refused(self):
        make_image(self.path("plain"), 1)
        done = self.encrypt("oci:plain:v1", "oci:encrypted:v1",
                            "--encryption-key", f"provider:wlagent:key={self.key}",
                            "--encryption-key", "provider:wlagent:key=other", check=False)
        self.fails(done, "code = InvalidArgument desc = .*key=NAME")

    def test_no_value_is_refused(self):
        make_image(self.path("plain"), 1)
        done = self.encrypt("oci:plain:v1", "oci:encrypted:v1", "--encryption-key", "provider:wlagent",
                            check=False)
        self.fails(done, "code = InvalidArgument desc = .*key=NAME")

    def test_a_missing_key_is_not_made(self):
        make_image(self.path("plain"), 1)
        done = self.encrypt("oci:plain:v1", "oci:encrypted:v1", "--encryption-key",
                            "provider:wlagent:key=missing", check=False)
        self.fails(done, "code = NotFound desc = .*missing")
        self.assertNotIn("missing", self.agent.output("key", "list"))

    def test_wrapping_is_off_by_default(self):
        make_image(self.path("plain"), 1)
        self.agent.stop()
        del self.agent.options["KeyProvider"]["AllowWrap"]
        self.agent.write_config()
        self.agent.start()
        done = self.encrypt("oci:plain:v1", "oci:encrypted:v1", check=False)
        self.fails(done, "code = (Unimplemented|PermissionDenied) desc = .*AllowWrap")

    def test_beside_a_jwe_recipient(self):
        subprocess.run(["openssl", "genrsa", "-out", self.path("private.pem"), "2048"], check=True,
                       capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", self.path("private.pem"), "-pubout", "-out",
                        self.path("public.pem")], check=True, capture_output=True)
        plain = self.encrypted_image(3, "--encryption-key", f"provider:wlagent:key={self.key}",
                                     "--encryption-key", "jwe:public.pem")
        self.decrypt("oci:encrypted:v1", "oci:by-agent:v1")
        self.assert_same_layers(plain, "by-agent")
        # The order of recipients is random: with the agent down the private key must do every time.
        self.agent.stop()
        self.skopeo("--decryption-key", "private.pem", "oci:encrypted:v1", "oci:by-key:v1")
        self.assert_same_layers(plain, "by-key")

    def test_a_second_provider_that_is_down(self):
        self.configure_ocicrypt(wlagent={"grpc": f"unix://{self.agent.socket}"},
                                other={"grpc": f"unix://{self.path('nobody.sock')}"})
        plain = self.encrypted_image(3)
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")

    def test_private_keys_in_the_request_are_not_logged(self):
        """ocicrypt sends every decryption secret of the caller along."""
        subprocess.run(["openssl", "genrsa", "-out", self.path("private.pem"), "2048"], check=True,
                       capture_output=True)
        self.encrypted_image(1)
        self.skopeo("--decryption-key", "private.pem", "--decryption-key", "provider:wlagent",
                    "oci:encrypted:v1", "oci:decrypted:v1")
        with open(self.path("private.pem"), encoding="ascii") as private:
            line = private.read().splitlines()[5]
        self.assertNotIn(line, self.agent.log_text())
        self.assertNotIn("PRIVATE", self.agent.log_text())


class Refusals(ImageTest):
    def refusal(self, pattern):
        done = self.decrypt("oci:encrypted:v1", "oci:decrypted:v1", check=False)
        self.fails(done, pattern)
        self.assertFalse(os.path.exists(self.path("decrypted/index.json")))

    def test_unknown_key(self):
        self.encrypted_image(1)
        self.agent.remove_key(self.key)
        self.fresh_agent()
        self.refusal(f"code = NotFound desc = .*{self.key}")

    def test_agent_down(self):
        self.encrypted_image(1)
        self.agent.stop()
        self.refusal("code = Unavailable desc = .*no such file")

    def test_another_tpm(self):
        self.encrypted_image(1)
        self.agent.stop()
        self.tpm.stop()
        for name in os.listdir(self.tpm.directory):
            os.unlink(os.path.join(self.tpm.directory, name))
        self.tpm.start()
        self.agent.start()
        self.refusal("code = FailedPrecondition desc = ")

    def test_changed_pcr(self):
        self.agent.stop()
        self.agent.run("setup", "--replace", "--pcrs", "16")
        self.agent.remove_key(self.key)
        self.agent.run("key", "create", self.key)
        self.agent.start()
        plain = self.encrypted_image(1)
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")
        subprocess.run(["rm", "-r", self.path("decrypted")], check=True)
        self.agent.stop()
        self.tpm.tool("tpm2_pcrextend", "16:sha256=" + "11" * 32)
        self.agent.start()
        self.refusal("code = PermissionDenied desc = .*PCR")

    def test_agent_returns_after_it_was_down(self):
        plain = self.encrypted_image(3)
        self.agent.stop()
        self.refusal("code = Unavailable")
        self.agent.start()
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")

    def test_agent_is_killed_during_a_call(self):
        plain = self.encrypted_image(1)
        self.fresh_agent()
        self.tpm.freeze()
        copy = self.in_background(self.decrypt, "oci:encrypted:v1", "oci:decrypted:v1", False)
        self.agent.wait_for_keys(waiting=1)
        self.agent.stop(signal.SIGKILL)
        self.fails(copy.result(30), "code = Unavailable desc = error reading from server: EOF")
        self.tpm.thaw()
        self.agent.start()
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")
