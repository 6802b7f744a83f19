# SPDX-License-Identifier: Apache-2.0
"""A TPM that stops answering while skopeo pulls: no call outlives its bound, and nothing has to be
restarted afterwards."""

import harness
from images import ImageTest

LIMIT_SECONDS = 15  # by when all of skopeo's calls are there, and counted
LATE_SECONDS = 20   # for a loaded machine; a call without a bound ends with skopeo
PARALLEL = 6  # of skopeo, for one image
RSA_DECRYPT = "0x159"


class StalledTpm(ImageTest):
    def setUp(self):
        super().setUp()
        self.plain = self.encrypted_image(PARALLEL)
        self.source = f"docker://{self.enterContext(self.registry())}/image:v1"
        self.skopeo("oci:encrypted:v1", self.source)
        self.proxy = harness.FaultProxy(self.tpm)
        self.addCleanup(self.proxy.stop)
        self.agent.write_config(TPM={"Device": self.proxy.tcti}, KeyProvider={"CallTimeoutSeconds": LIMIT_SECONDS})

    def assert_times_out(self):
        pull = self.in_background(self.decrypt, self.source, "oci:refused:v1", False)
        self.agent.wait_for_keys(waiting=PARALLEL)
        self.fails(pull.result(60), "code = DeadlineExceeded desc = wlagent: ")
        calls = self.agent.events(operation="unwrap")
        self.assertEqual([call["error_code"] for call in calls], ["timed-out"] * PARALLEL)
        for call in calls:
            self.assertLess(int(call["duration_usec"]), (LIMIT_SECONDS + LATE_SECONDS) * 1000000)

    def assert_opens(self):
        pid = self.agent.process.pid
        self.decrypt(self.source, "oci:decrypted:v1")
        self.assert_same_layers(self.plain, "decrypted")
        self.assertEqual(self.agent.process.pid, pid)

    def test_never_answers(self):
        """The connection stays open and silent, until the TPM returns and connections to it are new ones."""
        self.proxy.start(f"{RSA_DECRYPT}:1-99:hang")
        self.fresh_agent()
        self.assert_times_out()
        self.proxy.start()
        self.assert_opens()

    def test_answers_too_late(self):
        self.proxy.start()
        self.fresh_agent()
        self.tpm.freeze()
        self.assert_times_out()
        self.tpm.thaw()
        self.assert_opens()
