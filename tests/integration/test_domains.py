# SPDX-License-Identifier: Apache-2.0
"""Protected VMs from libvirt's prepare to its release, as the hook tells wlagentd."""

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import time
import types
import uuid

import foreign_formats
import harness
from vms import Answer, Asking, Domain, Image, VmTest, domain_request, request

SHORT = 6  # seconds: of a start that is to be cut off, after what comes before on a busy machine


class Lifecycle(VmTest):
    def test_a_vm_from_prepare_to_release(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        self.assertEqual(self.volumed.held(), sorted([domain.mapping(), self.image.mapping]))
        self.assertEqual(self.volumed.order(), ["INSPECT_IMAGE", "INSPECT_LAYER", "OPEN_IMAGE", "CREATE_LAYER"])
        self.assertEqual(self.vm(domain)["state"], "open")

        self.allowed("start", domain)
        self.volumed.qemu_opens(domain.mapping(), self.image.mapping)
        self.allowed("started", domain)
        harness.poll(lambda: not self.volumed.held(), "the lease to end")
        vm = self.vm(domain)
        self.assertEqual((vm["state"], vm["name"]), ("running", "web"))
        self.assertEqual(vm["disks"], [{
            "target": "vda", "image": self.image.path, "header_uuid": self.image.uuid, "mode": "layer",
            "key_id": "local:///image", "device": f"/dev/mapper/{domain.mapping()}", "by_hand": False, "arriving": False, "held": False}])
        self.assertAlmostEqual(vm["since"], time.time(), delta=60)
        self.assertRegex(self.agent.log_text(), rf"disk vda is in use.*WLA_VM_UUID={domain.uuid} .*"
                                                rf"WLA_HEADER_UUID={self.image.uuid} .*WLA_KEY_ID=local:///image")

        text = self.agent.output("status")
        self.assertRegex(text, rf"(?m)^vm web \({domain.uuid}\): running since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$")
        self.assertRegex(text, rf"(?m)^  vda: {self.image.path}, mode layer, key local:///image$")

        self.volumed.qemu_ends(domain.mapping(), self.image.mapping)
        self.allowed("stopped", domain)
        self.assertEqual(self.vm(domain)["state"], "stopping")
        self.allowed("release", domain)
        self.nothing_is_left(domain)

    def test_a_long_path_is_shown(self):
        directory = os.path.join(self.directory, *["d" * 200] * 4)
        os.makedirs(directory)
        image = Image(os.path.join(directory, "image"), "local:///image", self.KEK)
        domain = Domain({"vda": (image, "layer")})
        self.run_through(domain)
        self.assertIn(f"  vda: {image.path}, mode layer, key local:///image\n", self.agent.output("status"))
        self.ends(domain)
        self.nothing_is_left(domain)

    def test_the_layer_stays_for_the_next_start(self):
        domain = Domain({"vda": (self.image, "layer")})
        for expected in ("CREATE_LAYER", "OPEN_LAYER"):
            self.volumed.forget_order()
            self.run_through(domain)
            self.assertEqual([name for name in self.volumed.order() if name != "END"],
                             ["INSPECT_IMAGE", "INSPECT_LAYER", "OPEN_IMAGE", expected])
            self.ends(domain)
            self.assertEqual(self.volumed.layers(), [domain.mapping()])

    def test_how_a_layer_is_written_to(self):
        """What a layer has to be for that is volumed's business, which it needs to be told."""
        size = str(os.path.getsize(self.image.path))
        domain = Domain({"vda": (self.image, "layer")})
        for driver, expected in (("", ("CREATE_LAYER", size, "frees")),
                                 ("discard_no_unref='on'", ("OPEN_LAYER", size, "keeps")),
                                 ("discard_no_unref='off'", ("OPEN_LAYER", size, "frees"))):
            self.volumed.forget_order()
            domain.driver = driver
            self.run_through(domain)
            self.assertEqual(self.volumed.layer_requests(), [expected])
            self.ends(domain)
        domain = Domain({"vda": (self.image, "ephemeral")})
        domain.driver = "discard_no_unref='on'"
        self.volumed.forget_order()
        self.run_through(domain)
        self.assertEqual(self.volumed.layer_requests(), [("CREATE_LAYER", size, "keeps")])
        self.ends(domain)

    def test_an_ephemeral_layer_is_made_anew(self):
        domain = Domain({"vda": (self.image, "ephemeral")})
        for _ in range(2):
            self.run_through(domain)
            self.assertEqual(self.volumed.layers(), [])
            self.ends(domain)
        self.assertEqual(self.volumed.order().count("CREATE_LAYER"), 2)

    def test_direct(self):
        domain = Domain({"vda": (self.image, "direct")})
        self.run_through(domain)
        self.assertEqual(self.volumed.order()[:2], ["INSPECT_IMAGE", "OPEN_DIRECT"])
        self.ends(domain)
        self.nothing_is_left(domain)

    def test_several_disks(self):
        other = self.make_image("other", content="qcow2")
        domain = Domain({"vda": (self.image, "layer"), "vdb": (other, "ephemeral"), "vdc": (self.image, "layer")})
        self.run_through(domain)
        self.assertEqual([disk["target"] for disk in self.vm(domain)["disks"]], ["vda", "vdb", "vdc"])
        self.assertEqual(self.agent.metrics()["wlagent_volumes_open"], 3)
        self.ends(domain)
        self.nothing_is_left(domain)
        self.assertEqual(self.agent.metrics()['wlagent_vm_launches_total{result="ok"}'], 1)
        self.assertEqual(self.agent.metrics()["wlagent_vm_launch_seconds_count"], 1)

    def test_two_vms_on_one_image(self):
        first, second = (Domain({"vda": (self.image, "layer")}) for _ in range(2))
        self.run_through(first)
        self.run_through(second)
        self.ends(first)
        self.assertEqual(list(self.vms()), [second.uuid])
        self.ends(second)
        self.nothing_is_left(second)

    def test_eight_at_once(self):
        """Starts that wait for one key share one operation of the TPM."""
        domains = [Domain({"vda": (self.image, "layer")}) for _ in range(8)]
        self.tpm.freeze()
        askings = [self.ask("prepare", domain) for domain in domains]
        self.agent.wait_for_keys(waiting=8)
        self.tpm.thaw()
        for asking in askings:
            self.assertEqual(asking.answer(), Answer("ok", ""))
        self.assertEqual(len(self.volumed.held()), 9)
        self.assertEqual(self.agent.counts().tpm, 1)
        for domain in domains:
            self.allowed("started", domain)
            self.allowed("release", domain)
        self.nothing_is_left(domains[0])

    def test_a_domain_without_protection_costs_nothing(self):
        domain = Domain({})
        threads = len(os.listdir(f"/proc/{self.agent.process.pid}/task"))
        for operation in ("prepare", "start", "started", "stopped", "release", "migrate", "restore", "reconnect"):
            self.allowed(operation, domain)
        self.assertEqual(len(os.listdir(f"/proc/{self.agent.process.pid}/task")), threads)
        self.assertEqual(self.volumed.order(), [])

    def test_operations_that_always_pass(self):
        for payload in ("", "<broken", "<domain><uuid>x</uuid></domain>"):
            for operation in ("reconnect", "attach"):
                self.assertEqual(Asking(self.agent.control, domain_request(operation, payload)).answer().code, "ok")
        domain = Domain({"vda": (self.image, "layer")})
        for operation in ("stopped", "release", "release", "started", "reconnect"):
            self.allowed(operation, domain)
        self.nothing_is_left(domain)

    def test_a_failed_start_is_cleaned_up(self):
        """QEMU could not be started: libvirt calls stopped and release without started."""
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        self.allowed("stopped", domain)
        self.assertTrue(self.volumed.held())
        self.allowed("release", domain)
        self.nothing_is_left(domain)

    def test_protection_was_taken_away(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        domain.disks = {}
        self.allowed("prepare", domain)
        self.nothing_is_left(domain)


class OtherUsers(VmTest):
    FILL = ("import socket,sys\nheld=[socket.socket(socket.AF_UNIX) for _ in range(40)]\n"
            "for s in held: s.connect(sys.argv[1])\nprint('full',flush=True)\nsys.stdin.read()\n")

    def test_nobody_keeps_vms_from_starting(self):
        self.agent.stop()
        self.agent.user = None
        for directory in (self.directory, self.agent.directory, self.agent.run_directory):
            os.chmod(directory, 0o755)
        self.agent.write_config(KeyProvider={"AllowUsers": "root nobody"}, Libvirt=self.LIBVIRT)
        self.agent.start()
        os.chmod(self.agent.control, 0o666)
        with subprocess.Popen(["/usr/bin/python3", "-c", self.FILL, self.agent.control], user="nobody",
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as greedy:
            self.assertEqual(greedy.stdout.readline(), b"full\n")
            harness.poll(lambda: "the control socket turned a connection away: user " in self.agent.log_text(), "its share")
            for _ in range(3):
                domain = Domain({"vda": (self.image, "layer")})
                self.run_through(domain)
            greedy.stdin.close()


class Refusals(VmTest):
    def test_keys(self):
        self.refused_start("prepare", Domain({"vda": (self.make_image("a", "unknown"), "layer")}), "not-found",
                           "disk vda: its key: .*local:///unknown")
        wrong = Domain({"vda": (self.make_image("b", kek=bytes(32)), "layer")})
        self.refused_start("prepare", wrong, "denied", "disk vda: the image ")
        self.nothing_is_left(wrong)
        self.assertNotIn("OPEN_IMAGE", self.volumed.order())

    def test_a_key_that_was_taken_away_is_refused_at_the_second_start(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        self.agent.remove_key("image")
        self.refused_start("prepare", domain, "not-found", "its key")
        self.nothing_is_left(domain)
        self.assertEqual(self.volumed.layers(), [domain.mapping()])

    def test_another_key_than_the_domain_names(self):
        domain = Domain({"vda": (self.image, "layer")}, key="local:///other")
        self.refused_start("prepare", domain, "denied", "its header names another key than the domain")

    def test_images(self):
        image = self.image
        os.truncate(image.path, 4096)
        domain = Domain({"vda": (image, "layer")})
        self.refused_start("prepare", domain, "input", "it has 4096 bytes, but its header is for 65536")
        os.unlink(image.path)
        self.refused_start("prepare", domain, "not-found", "does not exist")
        self.nothing_is_left(domain)

    def test_a_direct_disk_of_another_format(self):
        image = self.make_image("q", content="qcow2")
        domain = Domain({"vda": (image, "direct")})
        self.refused_start("prepare", domain, "input", "has to be qcow2")
        with self.subTest("that has no room for what the VM writes"):
            raw = domain.xml()
            domain.xml = lambda: raw.replace("type='raw'", "type='qcow2'")
            self.refused_start("prepare", domain, "unsupported", "it is compact, without room.*choose mode layer")
            self.assertNotIn("OPEN_DIRECT", self.volumed.order())

    def test_a_header_of_another_image(self):
        other = self.make_image("other")
        os.replace(other.path + ".header", self.image.path + ".header")
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)  # volumed's probe would tell, which the double has not
        self.ends(domain)
        self.make_image("base")
        self.refused_start("prepare", domain, "denied", "made over another image.*remove its layer")
        self.assertEqual(self.volumed.layers(), [domain.mapping()])

    def test_layers_of_others(self):
        first, second = (Domain({"vda": (self.image, "layer")}) for _ in range(2))
        self.run_through(first)
        self.ends(first)
        layers = os.path.join(self.volumed.directory, "layers")
        os.rename(os.path.join(layers, first.mapping() + ".header"), os.path.join(layers, second.mapping() + ".header"))
        self.refused_start("prepare", second, "denied", "not that of this disk's layer")
        second.disks = {"vda": (self.image, "ephemeral")}
        self.refused_start("prepare", second, "input", "choose mode layer")

    def test_hostile_definitions(self):
        domain = Domain({"vda": (self.image, "layer")})
        bomb = '<!DOCTYPE d [<!ENTITY a "b">]><domain/>'
        for xml in (bomb, "<domain/>", domain.xml().replace("</domain>", ""), "x" * 1000, "",
                    domain.xml().replace(domain.mapping(), "sda")):
            answer = Asking(self.agent.control, domain_request("prepare", xml)).answer()
            self.assertEqual(answer.code, "input", xml)
        self.assertEqual(self.volumed.order(), [])
        self.assertNotIn("ENTITY", self.agent.log_text())

    def test_start_without_prepare(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.refused_start("start", domain, "unavailable", "disk vda is not open any more.*start the VM again")


class Faults(VmTest):
    """A start has a minute, so that the machine may be busy, where the test does not wait for the end of its time."""

    LIBVIRT = {"LaunchTimeoutSeconds": 60}

    def limit_launches(self, seconds):
        self.agent.write_config(Libvirt={"LaunchTimeoutSeconds": seconds})
        self.agent.stop()
        self.agent.start()

    def test_volumed_is_down(self):
        self.volumed.stop()
        domain = Domain({"vda": (self.image, "layer")})
        self.refused_start("prepare", domain, "unavailable", "wlagent-volumed is not running")
        self.nothing_is_left(domain)
        self.volumed.start()
        self.allowed("prepare", domain)

    def test_volumed_hangs(self):
        for operation in ("INSPECT_IMAGE", "INSPECT_LAYER", "OPEN_IMAGE", "CREATE_LAYER"):
            domain = Domain({"vda": (self.image, "layer")})
            self.volumed.fault(operation, "hang")
            self.limit_launches(SHORT)
            started = time.monotonic()
            self.refused_start("prepare", domain, "timeout", "wlagent-volumed has not answered")
            self.assertLess(time.monotonic() - started, 20)
            self.volumed.fault()
            self.nothing_is_left(domain)
            self.limit_launches(60)
            self.allowed("prepare", domain)
            self.allowed("release", domain)
            self.nothing_is_left(domain)

    def test_volumed_dies_or_refuses(self):
        for action, code in (("die", "unavailable"), ("refuse", "denied")):
            for operation in ("INSPECT_IMAGE", "INSPECT_LAYER", "OPEN_IMAGE", "CREATE_LAYER"):
                domain = Domain({"vda": (self.image, "layer")})
                self.volumed.fault(operation, action)
                self.refused_start("prepare", domain, code, "disk vda")
                self.volumed.fault()
                self.nothing_is_left(domain)

    def test_a_mapping_that_is_still_going(self):
        for operation in ("INSPECT_IMAGE", "INSPECT_LAYER", "OPEN_IMAGE", "CREATE_LAYER"):
            domain = Domain({"vda": (self.image, "layer")})
            self.volumed.forget_order()
            self.volumed.fault(operation, "busy", 3)
            self.allowed("prepare", domain)
            self.assertEqual(self.volumed.order().count(operation), 4)
            self.assertEqual(len(self.volumed.leases()), 2)
            self.allowed("release", domain)
            self.nothing_is_left(domain)

    def isecl_image(self, name):
        content = name.encode().ljust(65536, b".")
        path = foreign_formats.write_isecl(os.path.join(self.directory, name), content, self.KEK)
        return types.SimpleNamespace(path=path)

    def isecl_domain(self, image, mode="layer"):
        return Domain({"vda": (image, mode)}, key="local:///image")

    def is_converted(self, image):
        domain = self.isecl_domain(image, "ephemeral")
        self.allowed("prepare", domain)
        self.allowed("release", domain)
        self.nothing_is_left(domain)

    REPLACED = "disk vda: the image /.* was replaced meanwhile \\(start the VM again; .* look who writes"

    def test_another_image_under_the_same_key_meanwhile(self):
        """One of Intel's that has been converted, and one of our own."""
        intel, other = self.isecl_image("intel"), self.isecl_image("other")
        self.is_converted(other)
        conversions = self.volumed.names("converted")
        waiting = os.path.join(self.volumed.directory, "next")
        for mode in ("layer", "ephemeral"):
            domain = self.isecl_domain(self.isecl_image("place"), mode)
            shutil.copy(other.path, waiting)
            self.volumed.forget_order()
            self.volumed.fault("CONVERT_IMAGE", "replaced", 1)
            self.refused_start("prepare", domain, "denied", self.REPLACED)
            self.assertFalse(os.path.exists(waiting))
            self.assertNotIn("OPEN_IMAGE", self.volumed.order())
            self.nothing_is_left(domain)
            self.assertEqual((self.volumed.layers(), self.volumed.names("converted")), ([], conversions))
        domain = self.isecl_domain(intel)
        os.rename(self.image.path + ".header", intel.path + ".header")
        os.rename(self.image.path, waiting)
        self.volumed.fault("CONVERT_IMAGE", "replaced", 1)
        self.refused_start("prepare", domain, "denied", self.REPLACED)
        self.nothing_is_left(domain)
        self.assertEqual(self.volumed.layers(), [])

    def test_an_image_that_another_start_converts_meanwhile(self):
        image = self.isecl_image("intel")
        self.is_converted(image)
        converted = os.path.join(self.volumed.directory, "converted")
        os.rename(converted, converted + ".next")
        domain = self.isecl_domain(image)
        self.volumed.forget_order()
        self.volumed.fault("CONVERT_IMAGE", "replaced", 1)
        self.allowed("prepare", domain)
        self.assertEqual([name for name in self.volumed.order() if name not in ("END", "FAULT")],
                         ["INSPECT_IMAGE", "INSPECT_LAYER", "CONVERT_IMAGE", "INSPECT_IMAGE", "INSPECT_LAYER",
                          "OPEN_IMAGE", "CREATE_LAYER"])
        self.allowed("release", domain)
        self.nothing_is_left(domain)

    def test_a_conversion_that_is_removed_meanwhile(self):
        image = self.isecl_image("intel")
        self.is_converted(image)
        conversions = self.volumed.names("converted")
        os.mkdir(os.path.join(self.volumed.directory, "converted.next"))
        domain = self.isecl_domain(image)
        self.volumed.fault("OPEN_IMAGE", "replaced", 1)
        self.refused_start("prepare", domain, "unavailable",
                           "disk vda: the conversion of the image /.* was removed meanwhile .*start the VM again")
        self.nothing_is_left(domain)
        self.assertEqual((self.volumed.layers(), self.volumed.names("converted")), ([], []))
        self.allowed("prepare", domain)
        self.assertEqual(self.volumed.names("converted"), conversions)
        self.allowed("release", domain)
        self.nothing_is_left(domain)

    def test_a_mapping_that_stays(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.limit_launches(SHORT)
        with self.volumed.qemu(domain.mapping()):
            self.refused_start("prepare", domain, "busy", "disk vda")
        self.nothing_is_left(domain)

    def test_volumed_dies_between_prepare_and_start(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        self.volumed.kill_sessions()
        harness.poll(lambda: not self.volumed.leases(), "leases to end")
        self.refused_start("start", domain, "unavailable", "not open any more")
        harness.poll(lambda: self.vm(domain) is None, "the VM to be forgotten")
        self.nothing_is_left(domain)
        self.allowed("prepare", domain)

    def test_the_hook_is_killed(self):
        for operation in ("INSPECT_IMAGE", "CREATE_LAYER"):
            domain = Domain({"vda": (self.image, "layer")})
            self.volumed.fault(operation, "hang")
            self.volumed.forget_order()
            asking = self.ask("prepare", domain)
            harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
            asking.hang_up()
            harness.poll(lambda: self.vm(domain) is None, "the launch to end")
            self.volumed.fault()
            self.nothing_is_left(domain)
            self.allowed("prepare", domain)
            self.allowed("release", domain)

    def test_containers_do_not_wait_for_volumes(self):
        self.agent.import_key("pull", bytes(32))
        self.volumed.fault("INSPECT_IMAGE", "hang")
        asking = [self.ask("prepare", Domain({"vda": (self.image, "layer")})) for _ in range(20)]
        with self.agent.client() as client:
            started = time.monotonic()
            client.unwrap(harness.wrap_packet("local:///pull", bytes(32), b"{}"))
            self.assertLess(time.monotonic() - started, 30)
        for one in asking:
            one.hang_up()

    def test_a_tpm_that_hangs(self):
        self.limit_launches(SHORT)
        self.tpm.freeze()
        domain = Domain({"vda": (self.image, "layer")})
        self.refused_start("prepare", domain, "timeout", "disk vda: its key")
        self.tpm.thaw()
        self.nothing_is_left(domain)
        self.limit_launches(60)
        self.allowed("prepare", domain)

    def test_stopping_in_the_middle(self):
        self.limit_launches(SHORT)
        self.volumed.fault("OPEN_IMAGE", "hang")
        asking = self.ask("prepare", Domain({"vda": (self.image, "layer")}))
        harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
        self.assertEqual(self.agent.stop(), 0)
        self.assertEqual(asking.answer().code, "timeout")


class Leases(VmTest):
    """They are as long as ever, where the test does not wait for their end."""

    SHORTEST, LONG = 5, 60

    def limit_leases(self, seconds):
        self.agent.write_config(Libvirt={"LeaseSeconds": seconds, "MigrateLeaseSeconds": seconds})
        before = self.agent.log_text().count("read again")
        self.agent.process.send_signal(signal.SIGHUP)
        harness.poll(lambda: self.agent.log_text().count("read again") > before, "the reload")

    def test_a_start_that_goes_nowhere(self):
        self.limit_leases(self.SHORTEST)
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        harness.poll(lambda: not self.volumed.held(), "the lease to end")
        harness.poll(lambda: self.vm(domain) is None, "the VM to be forgotten")
        self.nothing_is_left(domain)
        self.assertIn("its time is over", self.agent.log_text())

    def test_a_start_that_takes_longer(self):
        """QEMU has the disks by then; the VM is not lost."""
        self.limit_leases(self.SHORTEST)
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        with self.volumed.qemu(domain.mapping()):
            harness.poll(lambda: self.vm(domain)["state"] == "running", "volumed to be asked")
            self.allowed("started", domain)
            self.assertEqual(self.vm(domain)["state"], "running")

    def test_migration_to_here(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("migrate", domain)
        self.assertEqual(len(self.volumed.leases()), 2)
        self.volumed.forget_order()
        self.allowed("prepare", domain)
        self.assertEqual((self.volumed.order(), len(self.volumed.leases())), ([], 2))
        self.allowed("start", domain)
        self.assertEqual(self.ask("started", domain).answer(), Answer("ok", domain.mapping() + "\n"))
        self.allowed("started", domain)
        harness.poll(lambda: not self.volumed.held(), "the lease to end")

    def review(self, *known):
        """What libvirt knows, as 'wlagent vm reconcile' tells."""
        domains = [{"uuid": domain.uuid, "active": False} for domain in known]
        answer = Asking(self.agent.control, request("domains", json.dumps({"domains": domains}).encode())).answer()
        self.assertEqual(answer.code, "ok", answer.text)

    def its_layer_is_in_the_way(self, domain):
        self.volumed.forget_order()
        answer = self.refused_start("migrate", domain, "denied", "disk vda: the layer: one is on this host already")
        self.assertRegex(answer.text, "'wlagent vm reconcile'.*'wlagent volume remove'")
        self.assertNotIn("REMOVE_LAYER", self.volumed.order())
        self.assertEqual(self.volumed.layers(), [domain.mapping()])
        self.nothing_is_left(domain)

    def test_migration_to_where_its_layer_is(self):
        """It may have run here last: the layer holds its newest data then."""
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        self.its_layer_is_in_the_way(domain)
        self.review(domain)
        self.its_layer_is_in_the_way(domain)
        with self.subTest("it started again after libvirt had not known it"):
            self.review()
            self.volumed.forget_order()
            self.run_through(domain)
            self.assertIn("OPEN_LAYER", self.volumed.order())
            self.ends(domain)
            self.its_layer_is_in_the_way(domain)

    def test_migration_back_to_what_it_has_left(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        self.review()
        self.volumed.forget_order()
        self.allowed("migrate", domain)
        self.assertEqual([name for name in self.volumed.order() if name != "END"],
                         ["INSPECT_IMAGE", "INSPECT_LAYER", "OPEN_IMAGE", "REMOVE_LAYER", "INSPECT_LAYER", "CREATE_LAYER"])

    def test_migration_back_to_where_the_old_layer_stays(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        self.review()
        self.volumed.fault("REMOVE_LAYER", "fail")
        self.assertRegex(self.ask("migrate", domain).answer().text, "disk vda: removing its old layer: ")
        self.nothing_is_left(domain)
        self.assertEqual(self.volumed.layers(), [domain.mapping()])

    def test_migration_of_a_direct_disk(self):
        """Whether its file is one that both hosts see, or is copied, is libvirt's to know."""
        domain = Domain({"vda": (self.image, "direct")})
        for operation in ("migrate", "prepare", "start", "started"):
            self.allowed(operation, domain)

    def test_migration_of_what_runs_here(self):
        """libvirt refuses it too, but asks before."""
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.assertRegex(self.ask("migrate", domain).answer().text, "runs on this host")
        bare = Domain({})
        bare.uuid = domain.uuid
        self.allowed("migrate", bare)
        self.assertEqual(self.vm(domain)["state"], "running")
        self.ends(domain)

    def test_migration_of_what_starts_here(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.volumed.fault("CREATE_LAYER", "hang", 1)
        starting = self.ask("prepare", domain)
        harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
        self.refused_start("migrate", domain, "busy", "starts on this host")
        starting.hang_up()
        self.nothing_is_left(domain)
        self.allowed("prepare", domain)
        self.refused_start("migrate", domain, "busy", "starts on this host")
        self.assertEqual(len(self.volumed.leases()), 2)
        self.allowed("start", domain)

    def comes_late(self, domain):
        """What was made for it is empty, and nobody may start with that unseen."""
        self.limit_leases(self.SHORTEST)
        self.allowed("migrate", domain)
        harness.poll(lambda: self.vm(domain)["state"] == "expected", "the lease to end")
        self.limit_leases(self.LONG)
        harness.poll(lambda: not self.volumed.held(), "leases to end")
        self.refused_start("prepare", domain, "denied", "was to come from another host.*volume remove")
        # libvirt cleans up after a start that was refused.
        self.allowed("stopped", domain)
        self.allowed("release", domain)
        self.refused_start("prepare", domain, "denied", "was to come from another host")

    def test_migration_that_comes_too_late(self):
        for mode in ("layer", "ephemeral"):
            with self.subTest(mode):
                domain = Domain({"vda": (self.image, mode), "vdb": (self.make_image(mode), "direct")})
                self.comes_late(domain)
                self.assertEqual([disk["target"] for disk in self.vm(domain)["disks"]], ["vda"])
                self.assertIn("expected since", self.agent.output("status"))
                self.allowed("migrate", domain)
                self.allowed("prepare", domain)
                self.allowed("start", domain)
                self.assertEqual(self.ask("started", domain).answer(), Answer("ok", domain.mapping() + "\n"))
                self.allowed("release", domain)
                self.nothing_is_left(domain)

    def test_migration_that_never_comes(self):
        for mode, code in (("layer", "ok"), ("ephemeral", "not-found")):
            with self.subTest(mode):
                domain = Domain({"vda": (self.image, mode)})
                self.comes_late(domain)
                layer = json.dumps({"vm": domain.uuid, "target": "vda"}).encode()
                self.assertEqual(Asking(self.agent.control, request("layer-remove", layer)).answer().code, code)
                self.nothing_is_left(domain)
                self.allowed("prepare", domain)
                self.allowed("release", domain)

    def test_migration_of_another_layer_than_the_empty_one(self):
        domain = Domain({"vdb": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        both = Domain({"vda": (self.make_image("other"), "layer")})
        both.uuid = domain.uuid
        self.comes_late(both)
        both.disks |= domain.disks
        for _ in range(2):
            self.refused_start("migrate", both, "denied", "the layer: one is on this host already")
            self.assertIn(domain.mapping("vdb"), self.volumed.layers())
            self.refused_start("prepare", both, "denied", "was to come from another host")

    def test_migration_that_fails_after_one_that_never_came(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.comes_late(domain)
        for operation in ("OPEN_IMAGE", "REMOVE_LAYER", "CREATE_LAYER"):
            self.volumed.fault(operation, "refuse")
            self.refused_start("migrate", domain, "denied", "disk vda")
            self.volumed.fault()
            self.refused_start("prepare", domain, "denied", "was to come from another host")
        self.allowed("migrate", domain)
        self.allowed("prepare", domain)


class Again(VmTest):
    """A start whose earlier one was never said to have ended."""

    def test_prepare_twice(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        self.allowed("prepare", domain)
        harness.poll(lambda: len(self.volumed.leases()) == 2, "the older sessions to end")
        self.assertEqual(self.volumed.order().count("OPEN_IMAGE"), 2)
        self.allowed("start", domain)

    def test_prepare_while_prepare_is_under_way(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.volumed.fault("CREATE_LAYER", "hang", 1)
        first = self.ask("prepare", domain)
        harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
        second = self.ask("prepare", domain)
        self.assertEqual(first.answer().code, "busy")
        self.assertEqual(second.answer().code, "ok")
        harness.poll(lambda: len(self.volumed.leases()) == 2, "the older session to end")
        order = self.volumed.order()
        self.assertLess(order.index("FAULT"), len(order) - 1 - order[::-1].index("INSPECT_IMAGE"))

    def test_the_newest_of_many_wins(self):
        domain = Domain({"vda": (self.image, "layer")})
        askings = [self.ask("prepare", domain) for _ in range(10)]
        codes = [asking.answer().code for asking in askings]
        self.assertEqual(codes[-1], "ok")
        self.assertLessEqual(set(codes), {"ok", "busy"})
        harness.poll(lambda: len(self.volumed.leases()) == 2, "the older sessions to end")


class Restart(VmTest):
    def restart(self, signal_number=signal.SIGKILL):
        self.agent.stop(signal_number)
        harness.poll(lambda: not self.volumed.held(), "leases to end")
        self.agent.start()

    def test_between_prepare_and_start(self):
        domain = Domain({"vda": (self.image, "layer")})
        for signal_number in (signal.SIGKILL, signal.SIGTERM):
            self.allowed("prepare", domain)
            self.restart(signal_number)
            self.refused_start("start", domain, "unavailable", "start the VM again")
            harness.poll(lambda: self.vm(domain) is None, "the VM to be forgotten")
            self.nothing_is_left(domain)

    def test_between_start_and_started(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        self.allowed("start", domain)
        self.volumed.qemu_opens(domain.mapping(), self.image.mapping)
        self.restart()
        harness.poll(lambda: self.vm(domain)["state"] == "running", "volumed to be asked")
        self.allowed("started", domain)
        self.assertEqual(self.vm(domain)["disks"][0]["key_id"], "local:///image")
        self.ends(domain)
        self.volumed.qemu_ends(self.image.mapping)
        self.nothing_is_left(domain)

    def test_between_migrate_and_prepare(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("migrate", domain)
        for _ in range(2):
            self.restart()
            harness.poll(lambda: self.vm(domain)["state"] == "expected", "volumed to be asked")
            self.refused_start("prepare", domain, "denied", "was to come from another host")
        self.allowed("migrate", domain)
        self.allowed("prepare", domain)

    def test_between_start_and_started_of_a_migration(self):
        domain = Domain({"vda": (self.image, "layer")})
        for operation in ("migrate", "prepare", "start"):
            self.allowed(operation, domain)
        self.volumed.qemu_opens(domain.mapping(), self.image.mapping)
        self.restart()
        harness.poll(lambda: self.vm(domain)["state"] == "running", "volumed to be asked")
        self.assertEqual(self.ask("started", domain).answer(), Answer("ok", domain.mapping() + "\n"))
        self.restart()
        self.assertFalse(self.vm(domain)["disks"][0]["arriving"])
        self.ends(domain)
        self.volumed.qemu_ends(self.image.mapping)
        self.nothing_is_left(domain)

    def test_while_a_vm_runs(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        before = self.vm(domain)
        self.restart()
        self.assertEqual(self.vm(domain), before)
        self.allowed("reconnect", domain)
        self.ends(domain)
        self.nothing_is_left(domain)

    def lose_the_records(self):
        """The mappings stay, and QEMU."""
        self.agent.stop(signal.SIGKILL)
        shutil.rmtree(os.path.join(self.agent.run_directory, "vms"))
        self.agent.start()

    def test_libvirt_finds_a_vm_whose_record_is_lost(self):
        domain = Domain({"vda": (self.image, "layer"), "vdb": (self.make_image("data"), "direct")})
        self.run_through(domain)
        self.lose_the_records()
        self.assertIsNone(self.vm(domain))
        self.allowed("reconnect", domain)
        for _ in range(2):
            vm = self.vm(domain)
            self.assertEqual((vm["name"], vm["state"], vm["since_reconnect"]), ("web", "running", True))
            self.assertEqual([(disk["target"], disk["image"], disk["mode"], disk["device"], disk["held"])
                              for disk in vm["disks"]],
                             [("vda", self.image.path, "layer", f"/dev/mapper/{domain.mapping()}", False),
                              ("vdb", domain.disks["vdb"][0].path, "direct", f"/dev/mapper/{domain.mapping('vdb')}", False)])
            self.assertIn("running since ", self.agent.run("status").stdout.decode())
            self.assertIn(", when libvirt found it", self.agent.run("status").stdout.decode())
            self.assertEqual(self.records(), [f"{domain.uuid}.json"])
            # Its record is one like any other.
            self.restart()
            self.allowed("reconnect", domain)
        self.ends(domain)
        self.nothing_is_left(domain)
        self.run_through(domain)
        self.assertFalse(self.vm(domain)["since_reconnect"])

    def test_libvirt_finds_a_vm_that_has_nothing_open(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("reconnect", domain)
        self.nothing_is_left(domain)

    def test_libvirt_finds_a_vm_that_could_not_start(self):
        domain = Domain({"vda": (self.image, "layer")})
        plain = domain.xml()
        domain.xml = lambda: plain.replace('mode="layer"', 'mode="thin"')
        self.allowed("reconnect", domain)
        self.assertEqual((self.vms(), self.records()), ({}, []))
        self.assertIn("what it has open is not known here", self.agent.log_text())

    def test_a_vm_that_ended_meanwhile(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.agent.stop(signal.SIGKILL)
        self.volumed.qemu_ends(domain.mapping())
        self.agent.start()
        harness.poll(lambda: self.vm(domain) is None, "the VM to be forgotten")
        self.nothing_is_left(domain)
        self.allowed("stopped", domain)
        self.allowed("release", domain)

    def test_without_volumed_nothing_is_forgotten(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.agent.stop(signal.SIGKILL)
        self.volumed.stop()
        self.agent.start()
        harness.poll(lambda: "is not known" in self.agent.log_text(), "the attempt to ask")
        self.assertEqual(self.vm(domain)["state"], "running")
        self.volumed.start()
        self.volumed.qemu_ends(domain.mapping())
        harness.poll(lambda: self.vm(domain) is None, "the VM to be forgotten")

    def test_a_thousand_vms_are_shown(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.agent.stop()
        self.volumed.stop()  # which would say that they have nothing open
        directory = os.path.join(self.agent.run_directory, "vms")
        with open(os.path.join(directory, self.records()[0]), encoding="utf-8") as record:
            text = record.read()
        others = {str(uuid.uuid4()) for _ in range(999)}
        for other in others:
            with open(os.path.join(directory, other + ".json"), "w", encoding="utf-8") as record:
                record.write(text.replace(domain.uuid, other))
        self.agent.start()
        self.assertEqual(set(self.vms()), others | {domain.uuid})
        self.assertEqual(self.agent.output("status").count(f"  vda: {self.image.path}, mode layer"), 1000)

    def test_records_that_are_not_understood(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.agent.stop()
        directory = os.path.join(self.agent.run_directory, "vms")
        with open(os.path.join(directory, self.records()[0]), encoding="utf-8") as record:
            good = record.read()
        other = str(uuid.uuid4())
        bad = ["", "{", "[]", "{}", good[:-20], good, good.replace("running", "flying"),
               json.dumps({**json.loads(good), "disks": [{}]}), json.dumps({**json.loads(good), "since": -1}), "\0" * 100]
        for number, text in enumerate(bad):
            name = other[:-2] + f"{number:02}.json"
            with open(os.path.join(directory, name), "w", encoding="utf-8") as record:
                record.write(text)
        self.agent.start()
        self.assertEqual(list(self.vms()), [domain.uuid])
        self.assertEqual(len([name for name in os.listdir(directory) if name.startswith(".bad-")]), len(bad))
        self.assertIn("set aside", self.agent.log_text())

    def test_killed_before_each_change_of_the_disk(self):
        """Between any two steps: the next life knows what is there, and the next start succeeds."""
        self.agent.stop()
        module = os.path.join(harness.BUILD, "tests", "integration", "libkill_at_step.so")
        step = 0
        while True:
            step += 1
            domain = Domain({"vda": (self.image, "layer")})
            self.agent.start(env={**os.environ, "LD_PRELOAD": module, "KILL_AT_STEP": str(step)}, wait=False)
            alive = self.run_until_killed(domain)
            self.agent.stop(signal.SIGTERM if alive else signal.SIGKILL)
            with contextlib.suppress(FileNotFoundError):
                self.volumed.qemu_ends(domain.mapping())
            harness.poll(lambda: not self.volumed.held(), "leases to end")
            self.agent.start()
            harness.poll(lambda: not self.vms(), "everything to be forgotten")
            self.run_through(domain)
            self.ends(domain)
            self.nothing_is_left(domain)
            self.agent.stop()
            if alive:
                break
        self.assertGreater(step, 5)

    def run_until_killed(self, domain):
        try:
            harness.poll(self.agent.ready, "wlagentd to listen")
            for operation in ("prepare", "start", "started", "stopped", "release"):
                if operation == "started":
                    self.volumed.qemu_opens(domain.mapping())
                if operation == "stopped":
                    self.volumed.qemu_ends(domain.mapping())
                self.tell(operation, domain)
        except (OSError, AssertionError, struct.error):
            return False
        return self.agent.process.poll() is None


class Reload(VmTest):
    def test_times_change_and_nothing_else(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        self.agent.write_config(Libvirt={"LeaseSeconds": 5})
        self.agent.process.send_signal(signal.SIGHUP)
        harness.poll(lambda: "read again" in self.agent.log_text(), "the reload")
        other = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", other)
        harness.poll(lambda: self.vm(other) is None, "the shorter lease to end")
        self.assertEqual(self.vm(domain)["state"], "open")
