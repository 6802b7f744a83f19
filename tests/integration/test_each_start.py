# SPDX-License-Identifier: Apache-2.0
"""Each start of a VM asks anew whether this host may have its keys, with the configuration that is shipped: nothing that
an earlier start, or a pull of layers, was given counts for the next."""

import os
import uuid

from isecl_case import HARDWARE, double
from test_flavors import FlavorTest
from test_volumes import VolumeTest
from vms import Domain, Image, VmTest

PCR = 23


class OfTheBroker(FlavorTest):
    def setUp(self):
        super().setUp()
        self.assertNotIn("CacheSeconds", self.agent.options["Keys"])

    def no_longer_trusted(self):
        double.set_host(hardware_uuid=HARDWARE, trust=False)

    def test_of_a_host_that_is_no_longer_trusted(self):
        domain = self.domain()
        self.run_through(domain)
        self.ends(domain)
        self.no_longer_trusted()
        self.refused_all("denied", "HVS does not trust this host", domain)
        self.refused_all("denied", "HVS does not trust this host", self.domain())
        self.assertEqual(self.calls("wls.flavor_key"), 3)

    def test_of_a_key_without_a_flavor(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        self.no_longer_trusted()
        self.refused_all("denied", "HVS does not trust this host", domain)

    def test_what_layers_were_given_counts_for_no_vm(self):
        self.opens(self.secret)
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.assertEqual(self.calls(), 2)
        self.opens(self.secret)
        self.assertEqual(self.calls(), 2)
        self.ends(domain)
        self.no_longer_trusted()
        self.refused_all("denied", "HVS does not trust this host", domain)

    def test_no_key_of_a_vm_is_kept(self):
        self.run_through(self.domain())
        self.assertEqual(self.agent.status()["keys"]["cached"], 0)

    def test_disks_of_one_start_share_one_answer(self):
        other = Image(os.path.join(self.directory, "other.img"), self.secret.url, self.secret.bytes)
        self.allowed("prepare", Domain({"vda": (self.image, "layer"), "vdb": (other, "layer")}))
        self.assertEqual(self.calls(), 1)


class OfThisHost(VmTest):
    def test_of_a_key_whose_file_was_removed(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        os.unlink(os.path.join(self.agent.state, "keys", "image.json"))
        self.refused_start("prepare", domain, "not-found", "disk vda: its key")
        self.nothing_is_left(domain)


class UnderAPcrPolicy(VolumeTest):
    def setUp(self):
        super().setUp()
        self.agent.stop()
        self.agent.remove_key("image")
        self.agent.run("setup", "--replace", "--pcrs", str(PCR))
        self.agent.import_key("image", self.KEK)
        self.agent.start()

    def extend(self):
        self.tpm.tool("tpm2_pcrextend", f"{PCR}:sha256=" + "11" * 32)

    def test_of_a_host_that_has_changed(self):
        domain = Domain({"vda": (self.image, "layer")})
        self.run_through(domain)
        self.ends(domain)
        self.extend()
        arriving = Domain({"vda": (self.image, "layer")})
        for operation, one in (("prepare", domain), ("migrate", arriving)):
            self.refused_start(operation, one, "denied", f"disk vda: its key: .*PCR.*{PCR}")
            self.nothing_is_left(one)

    def test_of_a_volume_that_is_opened_by_hand(self):
        vm = str(uuid.uuid4())
        self.done("volume-open", self.volume(vm))
        self.done("volume-close", {"name": f"wlagent-{vm}-vdb"})
        self.extend()
        self.refused_command("volume-open", self.volume(vm), "denied", f"PCR.*{PCR}")
