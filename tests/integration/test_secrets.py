# SPDX-License-Identifier: Apache-2.0
"""Disks that libvirt encrypts: the secret has the key from prepare to started, and no longer."""

import os
import signal
import uuid

import harness
from vms import Domain, VmTest


class EncryptedDomain:
    """{"vda": (secret, key id)}"""

    def __init__(self, disks, name="web", more=("", "")):
        self.uuid = str(uuid.uuid4())
        self.name = name
        self.disks = disks
        self.more = more

    def xml(self):
        lines = "".join(f'<w:secret target="{target}" uuid="{secret}" key="{key}"/>'
                        for target, (secret, key) in self.disks.items())
        disks = "".join(f"<disk type='file'><source file='/x'><encryption format='luks'><secret type='passphrase' "
                        f"uuid='{secret}'/></encryption></source><target dev='{target}'/></disk>"
                        for target, (secret, _) in self.disks.items())
        return (f"<domain type='kvm'><name>{self.name}</name><uuid>{self.uuid}</uuid><metadata>"
                f'<w:protected xmlns:w="urn:wlagent:domain:1">{lines}{self.more[0]}</w:protected></metadata>'
                f"<devices>{disks}{self.more[1]}</devices></domain>")


class Secrets(VmTest):
    KEY = "local:///image"

    def setUp(self):
        super().setUp()
        self.secret = str(uuid.uuid4())
        self.domain = EncryptedDomain({"vda": (self.secret, self.KEY)})

    def configure(self, **options):
        self.agent.stop()
        self.agent.write_config(Libvirt=options)
        self.agent.start()

    def values(self):
        """Of the secrets that have one."""
        found = {}
        for name in self.volumed.leases():
            if name.startswith("secret-"):
                with open(os.path.join(self.volumed.directory, "leases", name), "rb") as file:
                    found[name.removeprefix("secret-").rsplit(".", 1)[0]] = file.read()
        return found

    def is_cleared(self):
        harness.poll(lambda: not self.values(), "the value to be cleared")

    def cleared_by_command(self):
        return self.volumed.order().count("CLEAR_SECRET")

    def test_from_prepare_to_release(self):
        self.allowed("prepare", self.domain)
        self.assertEqual(self.values(), {self.secret: self.KEK})
        self.assertEqual(self.volumed.order(), ["SET_SECRET"])
        vm = self.vm(self.domain)
        self.assertEqual(vm["state"], "open")
        self.assertEqual(vm["disks"], [{"target": "vda", "mode": "secret", "secret": self.secret, "key_id": self.KEY,
                                        "held": True}])
        self.assertRegex(self.agent.output("status"), rf"(?m)^  vda: libvirt's secret {self.secret}, key {self.KEY}, set$")
        self.allowed("start", self.domain)
        self.allowed("started", self.domain)
        self.is_cleared()
        self.assertFalse(self.vm(self.domain)["disks"][0]["held"])
        self.assertIn("not set", self.agent.output("status"))
        self.assertRegex(self.agent.log_text(), f"WLA_SECRET={self.secret}")
        self.allowed("stopped", self.domain)
        self.allowed("release", self.domain)
        self.nothing_is_left(self.domain)

    def test_a_disk_of_each_kind(self):
        line = f'<w:disk target="vdb" mode="direct" image="{self.image.path}"/>'
        device = f"wlagent-{self.domain.uuid}-vdb"
        self.domain.more = (line, f"<disk type='block'><source dev='/dev/mapper/{device}'/><target dev='vdb'/></disk>")
        self.allowed("prepare", self.domain)
        self.assertEqual(self.values(), {self.secret: self.KEK})
        self.allowed("start", self.domain)
        self.volumed.qemu_opens(device)
        self.allowed("started", self.domain)
        self.is_cleared()
        self.volumed.qemu_ends(device)
        self.allowed("release", self.domain)
        self.nothing_is_left(self.domain)

    def test_two_disks_with_one_secret(self):
        self.domain.disks["vdb"] = self.domain.disks["vda"]
        self.allowed("prepare", self.domain)
        self.assertEqual(self.volumed.order(), ["SET_SECRET"])
        self.assertEqual([disk["held"] for disk in self.vm(self.domain)["disks"]], [True, True])
        self.allowed("start", self.domain)
        self.allowed("started", self.domain)
        self.is_cleared()
        self.allowed("release", self.domain)
        self.nothing_is_left(self.domain)

    def test_a_start_that_fails(self):
        self.allowed("prepare", self.domain)
        self.allowed("stopped", self.domain)
        self.allowed("release", self.domain)
        self.is_cleared()
        self.nothing_is_left(self.domain)

    def test_a_key_that_is_refused(self):
        self.domain.disks["vda"] = (self.secret, "local:///nothing")
        self.refused_start("prepare", self.domain, "not-found", "^disk vda: its key: .*nothing")
        self.assertEqual(self.volumed.order(), [])
        self.nothing_is_left(self.domain)

    def test_one_of_two_is_refused(self):
        other = str(uuid.uuid4())
        self.domain.disks["vdb"] = (other, self.KEY)
        self.volumed.fault("SET_SECRET", "refuse", 0)
        self.domain.more = (f'<w:disk target="vdc" mode="direct" image="{self.image.path}"/>',
                            f"<disk type='block'><source dev='/dev/mapper/wlagent-{self.domain.uuid}-vdc'/>"
                            "<target dev='vdc'/></disk>")
        self.volumed.fault("OPEN_DIRECT", "refuse")
        self.refused_start("prepare", self.domain, "denied", "disk vdc: .*refused by the test")
        self.assertEqual(self.volumed.order().count("SET_SECRET"), 2)
        self.is_cleared()
        self.nothing_is_left(self.domain)

    def test_volumed_hangs_or_dies(self):
        for action, code in (("hang", "timeout"), ("die", "unavailable"), ("lost", "unavailable")):
            with self.subTest(action):
                self.configure(LaunchTimeoutSeconds="6" if action == "hang" else "60")
                self.volumed.fault("SET_SECRET", action)
                self.refused_start("prepare", self.domain, code, "^disk vda: ")
                self.volumed.fault()
                self.is_cleared()
                self.nothing_is_left(self.domain)
                self.assertGreaterEqual(self.cleared_by_command(), 1)
                self.volumed.forget_order()

    def test_the_lease_ends(self):
        self.configure(LeaseSeconds="5")
        self.allowed("prepare", self.domain)
        self.is_cleared()
        self.refused_start("start", self.domain, "unavailable", "disk vda is not open any more")
        self.nothing_is_left(self.domain)

    def test_another_start_of_the_same(self):
        self.allowed("prepare", self.domain)
        self.allowed("prepare", self.domain)
        self.assertEqual(self.values(), {self.secret: self.KEK})
        self.allowed("release", self.domain)
        self.is_cleared()

    def test_two_domains_with_one_secret(self):
        other = EncryptedDomain({"vda": (self.secret, self.KEY)}, "other")
        self.allowed("prepare", self.domain)
        waiting = self.ask("prepare", other)
        self.allowed("started", self.domain)
        self.assertEqual(waiting.answer().code, "ok")
        self.assertEqual(self.values(), {self.secret: self.KEK})
        self.allowed("started", other)
        self.is_cleared()

    def test_after_a_kill_of_wlagentd(self):
        self.allowed("prepare", self.domain)
        self.agent.stop(signal.SIGKILL)
        self.is_cleared()
        self.agent.start()
        harness.poll(lambda: self.cleared_by_command() == 1, "what may be left to be cleared")
        self.nothing_is_left(self.domain)
        self.refused_start("start", self.domain, "unavailable", "disk vda is not open any more")

    def test_after_a_kill_while_it_runs(self):
        self.allowed("prepare", self.domain)
        self.allowed("started", self.domain)
        self.is_cleared()
        self.agent.stop(signal.SIGKILL)
        self.agent.start()
        self.assertEqual(self.vm(self.domain)["state"], "running")
        self.allowed("release", self.domain)
        self.nothing_is_left(self.domain)

    def test_its_record_is_lost(self):
        """libvirt is started again, and finds it running."""
        self.allowed("reconnect", self.domain)
        vm = self.vm(self.domain)
        self.assertEqual((vm["state"], vm["disks"][0]["secret"]), ("running", self.secret))
        self.assertNotIn("SET_SECRET", self.volumed.order())
        self.allowed("release", self.domain)
        self.nothing_is_left(self.domain)

    def test_sessions_are_killed(self):
        """Whoever holds the value goes without clearing it: wlagentd has it cleared."""
        self.allowed("prepare", self.domain)
        self.volumed.kill_sessions()
        harness.poll(lambda: self.cleared_by_command() >= 1, "the value to be cleared by command")
        self.nothing_is_left(self.domain)

    def test_clearing_is_tried_until_it_works(self):
        self.volumed.fault("CLEAR_SECRET", "refuse", 2)
        self.allowed("prepare", self.domain)
        self.volumed.kill_sessions()
        harness.poll(lambda: self.cleared_by_command() == 3, "three attempts")
        self.nothing_is_left(self.domain)

    def test_set_without_an_answer_and_killed(self):
        """Nobody has seen it cleared: that is not forgotten."""
        self.volumed.faults(("SET_SECRET", "lost"), ("CLEAR_SECRET", "refuse"))
        self.refused_start("prepare", self.domain, "unavailable", "^disk vda: ")
        harness.poll(lambda: self.cleared_by_command() >= 3, "some attempts")
        self.assertNotEqual(self.vm(self.domain)["state"], "running")
        self.agent.stop(signal.SIGKILL)
        self.volumed.fault()
        self.volumed.forget_order()
        self.agent.start()
        harness.poll(lambda: self.cleared_by_command() == 1, "the value to be cleared")
        self.nothing_is_left(self.domain)

    def test_it_is_seen_cleared_while_it_runs(self):
        self.allowed("prepare", self.domain)
        self.volumed.fault("CLEAR_SECRET", "refuse", 1)
        self.allowed("started", self.domain)
        harness.poll(lambda: self.cleared_by_command() == 2, "the value to be cleared for sure")
        self.assertEqual(self.vm(self.domain)["state"], "running")
        self.allowed("release", self.domain)
        self.nothing_is_left(self.domain)
        self.assertEqual(self.cleared_by_command(), 2)

    def test_it_is_seen_cleared_after_a_start_that_failed(self):
        self.allowed("prepare", self.domain)
        self.volumed.fault("CLEAR_SECRET", "refuse", 1)
        self.allowed("release", self.domain)
        self.nothing_is_left(self.domain)
        self.assertEqual(self.cleared_by_command(), 2)

    def test_one_that_cannot_be_cleared_holds_up_nobody_else(self):
        other = Domain({"vda": (self.image, "direct")}, "other")
        self.allowed("prepare", self.domain)
        self.run_through(other)
        self.agent.stop(signal.SIGKILL)
        self.volumed.qemu_ends(other.mapping())
        self.volumed.fault("CLEAR_SECRET", "refuse")
        self.agent.start()
        harness.poll(lambda: self.vm(other) is None, "the end of the other one to be noticed")
        self.assertRegex(self.agent.log_text(), f"not every secret of libvirt has been cleared: .*{self.secret}.*refused")
        self.assertEqual(self.vm(self.domain)["disks"][0]["secret"], self.secret)
        self.volumed.fault()
        harness.poll(lambda: self.vm(self.domain) is None, "the value to be cleared")
        self.assertEqual(self.records(), [])

    def test_one_that_hangs_lets_others_have_their_turn(self):
        other = EncryptedDomain({"vda": (str(uuid.uuid4()), self.KEY)}, "other")
        self.allowed("prepare", self.domain)
        self.allowed("prepare", other)
        self.agent.stop(signal.SIGKILL)
        self.is_cleared()
        self.volumed.forget_order()
        self.volumed.fault("CLEAR_SECRET", "hang", 1)
        self.agent.start()
        harness.poll(lambda: not self.vms(), "both to be cleared")
        with open(os.path.join(self.volumed.directory, "order"), encoding="utf-8") as lines:
            order = [line.split()[1] for line in lines if line.startswith("CLEAR_SECRET ")]
        self.assertEqual(len(order), 3)
        self.assertEqual((order[0], order[0] != order[1]), (order[2], True))

    def test_migration_to_this_host(self):
        self.allowed("migrate", self.domain)
        self.assertEqual(self.values(), {self.secret: self.KEK})
        self.allowed("prepare", self.domain)
        self.assertEqual(self.volumed.order(), ["SET_SECRET"])
        self.allowed("start", self.domain)
        self.allowed("started", self.domain)
        self.is_cleared()
        self.allowed("release", self.domain)
        self.nothing_is_left(self.domain)

    def test_migration_of_disks_with_one_secret_and_a_layer(self):
        """The second disk has no lease of its own; the layer is looked at all the same."""
        device = f"wlagent-{self.domain.uuid}-vdc"
        self.domain.disks["vdb"] = self.domain.disks["vda"]
        self.domain.more = (f'<w:disk target="vdc" mode="layer" image="{self.image.path}"/>',
                            f"<disk type='block'><driver name='qemu' type='qcow2'/><source dev='/dev/mapper/{device}'/>"
                            "<target dev='vdc'/></disk>")
        self.allowed("migrate", self.domain)
        self.volumed.forget_order()
        self.allowed("prepare", self.domain)
        self.assertEqual(self.volumed.order(), [])
        self.allowed("start", self.domain)
        self.assertEqual(self.ask("started", self.domain).answer().text, device + "\n")

    def test_encryption_that_is_not_ours(self):
        self.domain.more = ("", "")
        xml = self.domain.xml()
        start, end = xml.index("<metadata>"), xml.index("</metadata>") + len("</metadata>")

        class Foreign:
            uuid = self.domain.uuid

            @staticmethod
            def xml():
                return xml[:start] + xml[end:]
        self.allowed("prepare", Foreign)
        self.assertEqual(self.volumed.order(), [])
