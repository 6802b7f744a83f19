# SPDX-License-Identifier: Apache-2.0
"""A TPM that is absent, resets, is locked out or answers nonsense."""

import grpc
from grpc import StatusCode

import harness

KEY = bytes(range(32))
OPTIONS = b'{"symkey":"c2VjcmV0"}'
PACKET = harness.wrap_packet("local:///image", KEY, OPTIONS)
RSA_DECRYPT = "0x159"


class TpmTest(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.proxy = harness.FaultProxy(self.tpm)
        self.addCleanup(self.proxy.stop)
        self.agent.write_config(TPM={"Device": self.proxy.tcti}, Keys={"CacheSeconds": 0})
        self.client = self.agent.client()
        self.addCleanup(self.client.close)

    def start(self, *faults):
        self.proxy.start()
        self.agent.import_key("image", KEY)
        self.proxy.start(*faults)
        self.agent.start()

    def unwrap(self):
        return self.client.unwrap(PACKET)

    def assert_heals(self):
        """Once the TPM is well again the agent is, without a restart."""
        self.proxy.start()

        def works():
            try:
                return self.unwrap() == OPTIONS
            except grpc.RpcError:
                return False
        harness.poll(works, "the agent to use the TPM again")


class Passing(TpmTest):
    """Faults that the user does not see."""

    def assert_unseen(self, *faults):
        self.start(*faults)
        for _ in range(3):
            self.assertEqual(self.unwrap(), OPTIONS)

    def test_retry(self):
        self.assert_unseen(f"{RSA_DECRYPT}:1-2:rc=0x922")

    def test_testing(self):
        self.assert_unseen(f"{RSA_DECRYPT}:1:rc=0x90a")

    def test_reset_between_commands(self):
        self.assert_unseen(f"{RSA_DECRYPT}:2:reset")

    def test_key_flushed_by_others(self):
        self.assert_unseen(f"{RSA_DECRYPT}:2:flush")

    def test_connection_lost(self):
        self.assert_unseen(f"{RSA_DECRYPT}:1:drop")

    def test_answer_lost(self):
        self.assert_unseen(f"{RSA_DECRYPT}:1:lose")

    def test_host_reset(self):
        self.start()
        self.assertEqual(self.unwrap(), OPTIONS)
        self.tpm.reset()
        self.assertEqual(self.unwrap(), OPTIONS)

    def test_another_pcr_changes(self):
        self.assert_unseen(f"{RSA_DECRYPT}:2:extend=23")


class Lasting(TpmTest):
    """Faults that an operator has to hear about."""

    def assert_refused(self, code, pattern, *faults):
        self.start(*faults)
        self.refused(self.unwrap, code, pattern)
        self.assert_heals()

    def test_locked_out(self):
        self.assert_refused(StatusCode.FAILED_PRECONDITION, "the TPM is locked out", f"{RSA_DECRYPT}:1-99:rc=0x921")

    def test_failure_mode(self):
        self.assert_refused(StatusCode.FAILED_PRECONDITION, "the TPM is in failure mode", "0:1-9999:rc=0x101")

    def test_unknown_answer(self):
        self.assert_refused(StatusCode.FAILED_PRECONDITION, "the TPM answered 0x", f"{RSA_DECRYPT}:1-99:rc=0x1ff")

    def test_always_busy(self):
        self.assert_refused(StatusCode.UNAVAILABLE, "the TPM is busy", "0:1-9999:rc=0x922")

    def test_answer_cut_short(self):
        self.assert_refused(StatusCode.UNAVAILABLE, "TPM", f"{RSA_DECRYPT}:1-99:truncate=20")

    def test_answer_altered(self):
        """The session's HMAC covers it: never a wrong key."""
        self.assert_refused(StatusCode.FAILED_PRECONDITION, "altered on its way", f"{RSA_DECRYPT}:1-99:garble=20")

    def test_answer_with_a_wrong_size(self):
        self.assert_refused(StatusCode.UNAVAILABLE, "TPM", f"{RSA_DECRYPT}:1-99:size=70000")

    def test_hangs(self):
        self.agent.write_config(KeyProvider={"CallTimeoutSeconds": 5})
        self.assert_refused(StatusCode.DEADLINE_EXCEEDED, "the tpm|the TPM", f"{RSA_DECRYPT}:1-99:hang")

    def test_absent_from_the_start(self):
        self.proxy.start()
        self.agent.import_key("image", KEY)
        self.proxy.stop()
        self.agent.start()
        self.refused(self.unwrap, StatusCode.UNAVAILABLE, "no connection to the TPM")
        self.assert_heals()

    def test_another_tpm(self):
        self.start()
        other = harness.Swtpm(self.tpm.directory + "-other").start()
        self.addCleanup(other.stop)
        self.tpm.stop()
        self.proxy.tpm = other
        self.proxy.start()
        self.refused(self.unwrap, StatusCode.FAILED_PRECONDITION, "another TPM or a cleared one|another TPM")


class Pcrs(TpmTest):
    def setUp(self):
        super().setUp()
        self.proxy.start()
        self.agent.run("setup", "--replace", "--pcrs", "11,23")

    def test_changed_pcr(self):
        self.start()
        self.assertEqual(self.unwrap(), OPTIONS)
        self.tpm.tool("tpm2_pcrextend", "23:sha256=" + "11" * 32)
        self.refused(self.unwrap, StatusCode.PERMISSION_DENIED, "opening local:///image: .*PCR.*23")
        self.tpm.tool("tpm2_pcrreset", "23")
        self.assertEqual(self.unwrap(), OPTIONS)

    def test_changes_while_the_key_is_opened(self):
        self.start(f"{RSA_DECRYPT}:1:extend=11")
        self.refused(self.unwrap, StatusCode.PERMISSION_DENIED, "PCR")

    def test_an_unrelated_pcr_changes_while_the_key_is_opened(self):
        self.start(f"{RSA_DECRYPT}:1:extend=10")
        self.assertEqual(self.unwrap(), OPTIONS)
