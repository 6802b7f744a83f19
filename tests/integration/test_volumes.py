# SPDX-License-Identifier: Apache-2.0
"""Volumes that are opened and closed by hand, and layers whose VM is gone."""

import json
import os
import signal
import time
import uuid

import harness
import running
from vms import Asking, Domain, VmTest, request


class VolumeTest(VmTest):
    def command(self, name, argument=None):
        payload = b"" if argument is None else json.dumps(argument).encode()
        return Asking(self.agent.control, request(name, payload)).answer()

    def done(self, name, argument=None):
        answer = self.command(name, argument)
        self.assertEqual(answer.code, "ok", answer.text)
        return json.loads(answer.text) if answer.text else None

    def refused_command(self, name, argument, code, pattern):
        answer = self.command(name, argument)
        self.assertEqual(answer.code, code, answer.text)
        self.assertRegex(answer.text, pattern)

    def volume(self, vm, target="vdb", mode="direct", **more):
        return {"vm": vm, "target": target, "image": self.image.path, "mode": mode, **more}


class ByHand(VolumeTest):
    def test_open_and_close(self):
        vm = str(uuid.uuid4())
        name = f"wlagent-{vm}-vdb"
        self.assertEqual(self.done("volume-open", self.volume(vm)), {"device": f"/dev/mapper/{name}"})
        self.assertEqual(self.volumed.held(), [name])
        disk = self.vms()[vm]["disks"][0]
        self.assertEqual((disk["by_hand"], disk["held"]), (True, True))
        self.done("volume-close", {"name": name})
        harness.poll(lambda: not self.volumed.held(), "the lease to end")
        self.assertEqual((self.vms(), self.records()), ({}, []))

    def test_a_disk_is_plugged_into_a_running_vm(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.done("volume-open", self.volume(domain.uuid, mode="ephemeral"))
        self.assertEqual((self.vm(domain)["state"], len(self.vm(domain)["disks"])), ("running", 2))
        self.volumed.qemu_opens(domain.mapping("vdb"))
        self.refused_command("volume-close", {"name": domain.mapping("vdb")}, "busy", "in use")
        self.volumed.qemu_ends(domain.mapping("vdb"))
        self.ends(domain)
        self.nothing_is_left(domain)

    def test_the_time_is_over(self):
        vm = str(uuid.uuid4())
        self.done("volume-open", self.volume(vm, hold_seconds=1))
        harness.poll(lambda: not self.volumed.held(), "the lease to end")
        harness.poll(lambda: not self.vms(), "the disk to be forgotten")

    def test_what_is_in_the_way(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.allowed("prepare", domain)
        self.refused_command("volume-open", self.volume(domain.uuid, "vda"), "busy", "open already")
        self.refused_command("volume-close", {"name": domain.mapping()}, "busy", "held for its start")
        self.refused_command("volume-close", {"name": f"wlagent-{uuid.uuid4()}-vda"}, "not-found", "not open")
        self.refused_command("volume-close", {"name": self.image.mapping}, "busy", "in use")
        self.volumed.fault("INSPECT_IMAGE", "hang", 1)
        other = Domain({"vda": (self.image, "layer")})
        asking = self.ask("prepare", other)
        harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
        self.refused_command("volume-open", self.volume(other.uuid), "busy", "are being opened")
        asking.hang_up()

    def test_a_start_takes_over(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.done("volume-open", self.volume(domain.uuid, "vda", "layer"))
        self.done("volume-open", self.volume(domain.uuid, "vdz"))
        self.allowed("prepare", domain)
        self.assertEqual({disk["target"]: disk["by_hand"] for disk in self.vm(domain)["disks"]},
                         {"vda": False, "vdz": True})
        self.allowed("started", domain)
        harness.poll(lambda: self.volumed.held() == [domain.mapping("vdz")], "the leases of the start to end")
        self.allowed("release", domain)
        self.nothing_is_left(domain)

    def test_the_vm_ends_meanwhile(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.volumed.fault("INSPECT_LAYER", "hang", 1)
        asking = Asking(self.agent.control, request("volume-open", json.dumps(
            self.volume(domain.uuid, mode="layer")).encode()))
        harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
        self.ends(domain)
        asking.hang_up()
        self.nothing_is_left(domain)

    def test_a_restart(self):
        vm = str(uuid.uuid4())
        self.done("volume-open", self.volume(vm))
        with self.volumed.qemu(f"wlagent-{vm}-vdb"):
            self.agent.stop(signal.SIGKILL)
            self.agent.start()
            harness.poll(lambda: self.vms()[vm]["state"] == "running", "volumed to be asked")
            self.assertTrue(self.vms()[vm]["disks"][0]["by_hand"])

    def test_faulty_requests(self):
        vm = str(uuid.uuid4())
        for change in ({"vm": "x"}, {"target": "../a"}, {"target": "a" * 16}, {"image": "relative"}, {"image": "/a/../b"},
                       {"mode": "copy"}, {"key": "file:///etc"}, {"header": ""}, {"hold_seconds": -1},
                       {"hold_seconds": 86401}, {"more": 1}, {"vm": 7}):
            self.refused_command("volume-open", {**self.volume(vm), **change}, "input", "the volume to open")
        for name in ("volume-open", "volume-close", "domains", "layer-remove"):
            self.assertEqual(self.command(name).code, "input")
            self.assertEqual(self.command(name, []).code, "input")
        for name in ("sda", "wlagent-x", "wlagent-../../sda", f"wlagent-{vm}-"):
            self.refused_command("volume-close", {"name": name}, "input", "the volume to close")
        self.assertEqual(self.volumed.order(), [])

    def test_volumed_is_down(self):
        self.volumed.stop()
        for name, argument in (("volumes", None), ("volume-close", {"name": self.image.mapping}),
                               ("domains", {"domains": []}), ("volume-open", self.volume(str(uuid.uuid4())))):
            self.refused_command(name, argument, "unavailable", "wlagent-volumed is not running")

    def test_who_asks_goes(self):
        for name, argument in (("volumes", None), ("domains", {"domains": []})):
            self.volumed.fault("LIST" if name == "volumes" else "LIST_LAYERS", "hang", 1)
            payload = b"" if argument is None else json.dumps(argument).encode()
            Asking(self.agent.control, request(name, payload)).hang_up()
            self.volumed.fault()
            self.done(name, argument)

    def test_stopping_while_volumed_hangs(self):
        self.agent.write_config(Libvirt={"LaunchTimeoutSeconds": 2})
        self.agent.stop()
        self.agent.start()
        self.volumed.fault("LIST", "hang")
        asking = Asking(self.agent.control, request("volumes"))
        harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
        self.assertEqual(self.agent.stop(), 0)
        self.assertEqual(asking.answer().code, "timeout")


class Listing(VolumeTest):
    def test_volumes_and_layers(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        stranger = f"wlagent-{uuid.uuid4()}-sda"
        with self.volumed.qemu(stranger, self.image.mapping):
            found = self.done("volumes")
        volumes = {volume["name"]: volume for volume in found["volumes"]}
        self.assertEqual(set(volumes), {domain.mapping(), stranger, self.image.mapping})
        self.assertEqual(volumes[domain.mapping()]["known"], True)
        self.assertEqual(volumes[stranger]["known"], False)
        self.assertEqual(volumes[self.image.mapping]["image"], self.image.uuid)
        self.assertEqual({name: volume["allocated"] for name, volume in volumes.items()},
                         {domain.mapping(): 4096, stranger: None, self.image.mapping: None})
        self.assertEqual(volumes[domain.mapping()]["device"], f"/dev/mapper/{domain.mapping()}")
        self.assertEqual([(layer["vm"], layer["target"], layer["orphan_since"]) for layer in found["layers"]],
                         [(domain.uuid, "vda", None)])
        self.assertEqual(found["conversions"], [])

    def test_converted_images(self):
        image = str(uuid.uuid4())
        name = f"wlagent-image-{image}"
        with open(os.path.join(self.volumed.directory, "conversions", name), "wb"):
            pass
        self.assertEqual(self.done("volumes")["conversions"], [
            {"name": name, "image": image, "key": "https://kms/isecl", "size": 1048576, "allocated": 4096,
             "layers": 1, "last_used": 1767225600}])
        with self.volumed.qemu(name):
            self.assertEqual([volume["allocated"] for volume in self.done("volumes")["volumes"]], [4096])
        self.assertIsNone(self.done("layer-remove", {"image": image}))
        self.assertEqual(self.done("volumes")["conversions"], [])
        self.refused_command("layer-remove", {"image": image}, "not-found", "there is no conversion")


class Removal(VolumeTest):
    """Of a layer, because somebody says so."""

    def test_a_layer_is_removed(self):
        domain = Domain({"vda": (self.image, "layer"), "vdb": (self.image, "layer")})
        layer = {"vm": domain.uuid, "target": "vda"}
        self.allowed("prepare", domain)
        self.refused_command("layer-remove", layer, "busy", f"VM {domain.uuid} is starting .*shut the VM down first, when")
        self.allowed("release", domain)
        self.nothing_is_left(domain)
        self.run_through(domain)
        self.refused_command("layer-remove", layer, "busy", f"VM {domain.uuid} runs .*shut the VM down first; if it has ended")
        self.allowed("stopped", domain)
        self.refused_command("layer-remove", layer, "busy", f"VM {domain.uuid} is just ending .*try again in a moment")
        self.ends(domain)
        self.assertEqual(sorted(self.volumed.layers()), sorted([domain.mapping("vda"), domain.mapping("vdb")]))
        self.assertIsNone(self.done("layer-remove", layer))
        self.assertEqual(self.volumed.layers(), [domain.mapping("vdb")])
        self.refused_command("layer-remove", layer, "not-found", "there is no layer")
        self.run_through(domain)
        self.assertEqual(sorted(self.volumed.layers()), sorted([domain.mapping("vda"), domain.mapping("vdb")]))
        self.ends(domain)

    def test_of_whose_end_the_hook_could_not_tell(self):
        """libvirt does not wait for it, and whoever has ended the VM may ask before it is through: the next try finds out."""
        domain = Domain({"vda": (self.image, "layer")})
        layer = {"vm": domain.uuid, "target": "vda"}
        self.run_through(domain)
        self.volumed.qemu_ends(domain.mapping())
        self.refused_command("layer-remove", layer, "busy", "if it has ended just now, try again in a moment")
        self.nothing_is_left(domain)
        self.assertIsNone(self.done("layer-remove", layer))
        self.assertEqual(self.volumed.layers(), [])

    def test_not_while_it_is_open_by_hand(self):
        vm = str(uuid.uuid4())
        layer = {"vm": vm, "target": "vda"}
        self.done("volume-open", self.volume(vm, "vda", "layer"))
        self.refused_command("layer-remove", layer, "busy", f"a disk of VM {vm} is open by hand .*volume close")
        self.done("volume-close", {"name": f"wlagent-{vm}-vda"})
        self.assertIsNone(self.done("layer-remove", layer))

    def test_what_somebody_else_has_open_stays(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        with self.volumed.qemu(domain.mapping()):
            self.refused_command("layer-remove", {"vm": domain.uuid, "target": "vda"}, "busy", "in use")
        self.assertEqual(self.volumed.layers(), [domain.mapping()])

    def test_not_while_it_is_being_opened(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.volumed.fault("INSPECT_IMAGE", "hang", 1)
        asking = self.ask("prepare", domain)
        harness.poll(lambda: "FAULT" in self.volumed.order(), "volumed to hang")
        self.refused_command("layer-remove", {"vm": domain.uuid, "target": "vda"}, "busy", "is starting")
        asking.hang_up()

    def test_faulty_requests(self):
        for layer in ({"vm": str(uuid.uuid4())}, {"vm": "x", "target": "vda"},
                      {"vm": str(uuid.uuid4()), "target": "../vda"},
                      {"image": "x"}, {"image": str(uuid.uuid4()), "vm": str(uuid.uuid4()), "target": "vda"},
                      {"image": str(uuid.uuid4()), "review": 1}, {"target": "vda"}, {},
                      {"vm": str(uuid.uuid4()), "target": "vda", "force": True},
                      {"vm": str(uuid.uuid4()), "target": "vda", "review": -1}):
            self.refused_command("layer-remove", layer, "input", "what is to be removed: ")


class Orphans(VolumeTest):
    LIBVIRT = {"OrphanSeconds": 2}

    def setUp(self):
        super().setUp()
        self.domain = Domain({"vda": (self.image, "layer")})
        self.run_through(self.domain)
        self.ends(self.domain)

    def keep_orphans(self, seconds):
        self.agent.stop()
        self.agent.write_config(Libvirt={"OrphanSeconds": seconds})
        self.agent.start()

    def told(self, *domains):
        return self.done("domains", {"domains": [{"uuid": domain.uuid, "active": False} for domain in domains]})

    def since(self):
        layers = self.done("volumes")["layers"]
        return layers[0]["orphan_since"] if layers else "gone"

    def chosen(self, *domains):
        """The answer to a list that has the layer removed, as soon as its time is over."""
        return harness.poll(lambda: (lambda told: told if told["orphans"] else None)(self.told(*domains)), "the time")

    def removal(self, told):
        return {**told["orphans"][0], "review": told["review"]}

    def stays(self):
        self.assertEqual(self.volumed.layers(), [self.domain.mapping()])

    def test_removed_when_confirmed_after_its_time(self):
        self.keep_orphans(3600)
        self.assertEqual(self.told()["orphans"], [])
        since = self.since()
        self.assertTrue(since)
        self.assertEqual(self.told()["orphans"], [])
        self.assertEqual(self.since(), since)
        self.keep_orphans(self.LIBVIRT["OrphanSeconds"])
        told = self.chosen()
        self.assertEqual(told["orphans"], [{"vm": self.domain.uuid, "target": "vda"}])
        self.stays()
        self.assertEqual(self.since(), "gone")
        self.done("layer-remove", self.removal(told))
        self.assertEqual(self.volumed.layers(), [])
        log = self.agent.log_text()
        self.assertRegex(log, f"has nobody who owns it.*WLA_VM_UUID={self.domain.uuid}")
        self.assertRegex(log, f"was removed.*WLA_VM_UUID={self.domain.uuid}")
        with open(os.path.join(self.agent.state, "orphans.json"), encoding="utf-8") as orphans:
            self.assertEqual(json.load(orphans)["layers"], [])
        self.refused_command("layer-remove", self.removal(told), "busy", "is not to be removed any more")

    def test_the_command_asks_both_times(self):
        """libvirt's test driver knows one domain, which is not this one."""
        def reconcile():
            return self.agent.output("vm", "reconcile", "--connect", "test:///default",
                                     env={**os.environ, "WLAGENT_LIBEXEC": running.WLAGENT_LIBEXEC})

        self.assertEqual(reconcile(), "wlagentd knows of 1 domains.\n")
        self.assertEqual(harness.poll(lambda: [line for line in reconcile().splitlines() if "removed" in line],
                                      "the time"),
                         [f"The layer of disk vda of VM {self.domain.uuid} is removed."])
        self.assertEqual(self.volumed.layers(), [])

    def test_a_start_between_the_two_questions(self):
        told = self.chosen()
        self.run_through(self.domain)
        self.refused_command("layer-remove", self.removal(told), "busy", f"VM {self.domain.uuid} runs")
        self.ends(self.domain)
        self.nothing_is_left(self.domain)
        self.refused_command("layer-remove", self.removal(told), "busy", "is not to be removed any more")
        self.stays()
        self.assertIsNone(self.since())

    def test_a_start_that_is_refused_counts_too(self):
        told = self.chosen()
        self.volumed.fault("OPEN_IMAGE", "deny")
        self.refused_start("prepare", self.domain, "denied", "refused by the test")
        self.nothing_is_left(self.domain)
        self.refused_command("layer-remove", self.removal(told), "busy", "is not to be removed any more")
        self.stays()

    def test_it_was_no_orphan_while_it_ran(self):
        """libvirt forgets a transient domain when it ends: no list need ever have had it."""
        self.chosen()
        self.run_through(self.domain)
        ended = int(time.time())
        self.ends(self.domain)
        self.nothing_is_left(self.domain)
        self.assertEqual(self.told()["orphans"], [])
        self.assertGreaterEqual(self.since(), ended)

    def test_defined_again_between_two_lists(self):
        first = self.chosen()
        self.assertEqual(self.told(self.domain)["orphans"], [])
        self.refused_command("layer-remove", self.removal(first), "busy", "is not to be removed any more")
        self.assertIsNone(self.since())

    def test_what_an_earlier_list_has_chosen(self):
        first = self.chosen()
        second = self.chosen()
        self.refused_command("layer-remove", self.removal(first), "busy", "is not to be removed any more")
        self.stays()
        self.done("layer-remove", self.removal(second))

    def test_a_choice_does_not_survive_a_restart(self):
        told = self.chosen()
        self.agent.stop(signal.SIGKILL)
        self.agent.start()
        self.assertTrue(self.since())
        self.refused_command("layer-remove", self.removal(told), "busy", "is not to be removed any more")
        self.stays()

    def test_a_start_while_it_is_removed(self):
        told = self.chosen()
        self.volumed.fault("REMOVE_LAYER", "hang")
        removal = Asking(self.agent.control, request("layer-remove", json.dumps(self.removal(told)).encode()))
        harness.poll(lambda: "REMOVE_LAYER" in self.volumed.order(), "volumed to be asked")
        self.refused_start("prepare", self.domain, "busy", f"{self.domain.mapping()} is just being removed")
        self.nothing_is_left(self.domain)
        self.volumed.fault()
        self.volumed.stop()
        self.volumed.start()
        self.assertEqual(removal.answer().code, "unavailable")
        # Nobody knows yet whether it stays.
        self.refused_start("prepare", self.domain, "busy", f"{self.domain.mapping()} is perhaps being removed")
        self.told(self.domain)
        self.run_through(self.domain)
        self.stays()

    def test_never_by_time_alone(self):
        self.told()
        since = self.since()
        harness.poll(lambda: time.time() > since + 3, "time to pass")
        self.assertEqual(self.since(), since)

    def test_known_again(self):
        self.told()
        self.told(self.domain)
        self.assertIsNone(self.since())

    def test_it_survives_a_restart(self):
        self.told()
        since = self.since()
        self.agent.stop(signal.SIGKILL)
        self.agent.start()
        self.assertEqual(self.since(), since)

    def test_a_vm_that_runs_has_an_owner(self):
        self.told()
        self.run_through(self.domain)
        for _ in range(3):
            self.told()
        self.assertIsNone(self.since())
        self.assertEqual(self.volumed.layers(), [self.domain.mapping()])

    def test_a_layer_that_is_in_use_stays(self):
        self.told()
        told = self.chosen()
        with self.volumed.qemu(self.domain.mapping()):
            self.refused_command("layer-remove", self.removal(told), "busy", "in use")
        self.assertTrue(self.since())
        self.stays()

    def test_a_faulty_list_means_nothing(self):
        for domains in ([{"uuid": "x", "active": True}], [{"uuid": self.domain.uuid}], [7],
                        [{"uuid": self.domain.uuid, "active": 1}]):
            self.refused_command("domains", {"domains": domains}, "input", "the list of domains")
        self.refused_command("domains", {}, "input", "the list of domains")
        self.assertIsNone(self.since())

    def test_a_damaged_file(self):
        self.told()
        self.agent.stop()
        for text in ("", "{", '{"reviewed_usec":1,"layers":[{}]}', '{"layers":[]}',
                     '{"reviewed_usec":1,"layers":[{"name":"sda","since":1,"age_usec":1}]}',
                     f'{{"reviewed_usec":1,"layers":[{{"name":"{self.domain.mapping()}","since":1}}]}}'):
            with open(os.path.join(self.agent.state, "orphans.json"), "w", encoding="utf-8") as orphans:
                orphans.write(text)
            self.agent.start()
            self.assertIsNone(self.since())
            self.agent.stop()

    def test_a_clock_that_was_wrong(self):
        self.agent.stop()
        self.agent.write_config(Libvirt={"OrphanSeconds": 3600})
        with open(os.path.join(self.agent.state, "orphans.json"), "w", encoding="utf-8") as orphans:
            json.dump({"reviewed_usec": time.monotonic_ns() // 1000, "layers": [
                {"name": self.domain.mapping(), "since": 1 << 40, "age_usec": 0}]}, orphans)
        self.agent.start()
        self.told()
        self.assertLess(self.since(), 1 << 33)

    def test_many_domains(self):
        self.told(*[Domain({}) for _ in range(8000)], self.domain)
        self.assertIsNone(self.since())
        self.assertEqual(self.told()["orphans"], [])
