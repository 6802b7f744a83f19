# SPDX-License-Identifier: Apache-2.0
"""Images under keys of Intel SecL's broker, from the owner to the host: skopeo encrypts through wlagent's cmd provider, on
whose side KBS makes the keys, and decrypts through wlagentd, for which WLS asks HVS and KBS. The services are the
double of tests/doubles/isecl; host and TPM are as Intel's agents have left them."""

import os
import shutil

import harness
from images import ENCRYPTED, ImageTools, make_image, read_manifest
from isecl_case import HARDWARE, double
from wls_case import WlsTest

ANNOTATION = "org.opencontainers.image.enc.keys.provider.isecl"


class IseclTest(ImageTools, WlsTest):
    def setUp(self):
        super().setUp()
        self.write_owner()
        self.configure_ocicrypt(isecl={"grpc": f"unix://{self.agent.socket}"})

    def write_owner(self):
        """The owner's configuration, where $HOME is the test's directory."""
        directory = self.path(".config/wlagent")
        os.makedirs(directory, mode=0o700, exist_ok=True)
        path = os.path.join(directory, "owner.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"KBS_BASE_URL={double.urls['kbs']}\nAAS_API_URL={double.urls['aas']}\n"
                       f"WPM_SERVICE_USERNAME=owner\nWPM_SERVICE_PASSWORD={double.users['owner']}\n"
                       f"TRUSTED_CA_DIRECTORY={self.path('trust')}\n")
        os.chmod(path, 0o600)

    def owner(self):
        """skopeo may run in another root, where wlagent's libraries are not: enter this process's."""
        return {"cmd": {"path": "/usr/bin/nsenter",
                        "args": [f"--mount=/proc/{os.getpid()}/ns/mnt", f"--root=/proc/{os.getpid()}/root",
                                 f"--wd=/proc/{os.getpid()}/cwd", harness.WLAGENT, "keyprovider", "--kbs"]}}

    def encrypts(self, layers, which, check=True):
        """As the owner, with that behind provider:isecl: ; returns the manifest of the plain image."""
        plain = make_image(self.path("plain"), layers)
        self.configure_ocicrypt(isecl=self.owner())
        self.done = self.encrypt("oci:plain:v1", "oci:encrypted:v1", "--encryption-key", f"provider:isecl:{which}",
                                 check=check)
        self.configure_ocicrypt(isecl={"grpc": f"unix://{self.agent.socket}"})
        return plain

    def decrypt(self, source, to, check=True):
        return self.skopeo("--decryption-key", "provider:isecl", source, to, check=check)

    def opens_image(self, plain):
        self.decrypt("oci:encrypted:v1", "oci:decrypted:v1")
        self.assert_same_layers(plain, "decrypted")

    def refuses_image(self, pattern):
        self.fails(self.decrypt("oci:encrypted:v1", "oci:refused:v1", check=False), pattern)
        self.assertFalse(os.path.exists(self.path("refused/index.json")))


class EachLayer(IseclTest):
    def test_a_key_of_its_own(self):
        plain = self.encrypts(3, "any")
        for each in read_manifest(self.path("encrypted"))["layers"]:
            self.assertEqual(each["mediaType"], ENCRYPTED)
            self.assertIn(ANNOTATION, each["annotations"])
        before = self.agent.counts()
        self.opens_image(plain)
        after = self.agent.counts()
        self.assertEqual((after.unwraps - before.unwraps, after.tpm - before.tpm, self.calls()), (3, 3, 3))


class EachLayerOfRelease5(EachLayer):
    release = 5


class AllLayers(IseclTest):
    def test_one_key(self):
        self.agent.stop()
        self.agent.write_config(Keys={"CacheSeconds": 60})
        self.start()
        made = self.agent.output("kbs", "create", env=self.environment()).strip()
        self.opens_image(self.encrypts(5, f"key-id:{made}"))
        self.assertEqual((self.agent.counts().tpm, self.calls()), (1, 1))
        self.show_durations("skopeo, a broker's key")

    def test_the_owner_reads_it_again(self):
        """The cmd provider asks wlagentd to unwrap: the owner is a host like others."""
        plain = self.encrypts(2, "any")
        provider = self.owner()
        provider["cmd"]["args"] = [*provider["cmd"]["args"][:-2], "--config", self.agent.config, "keyprovider", "--kbs"]
        self.configure_ocicrypt(isecl=provider)
        self.opens_image(plain)


class Refusals(IseclTest):
    def test_who_is_refused(self):
        plain = self.encrypts(2, "any")
        double.set_host(hardware_uuid=HARDWARE, trust=False)
        self.refuses_image("code = PermissionDenied desc = .*HVS does not trust this host")
        double.set_host(hardware_uuid=HARDWARE, trust=True)
        for service in ("hvs", "kbs"):
            double.down(service=service)
            self.refuses_image("code = (Unavailable|PermissionDenied) desc = .*(HVS cannot judge|KBS gave no key)")
            double.down(service=service, down=False)
        double.advance(seconds=301)
        self.opens_image(plain)

    def test_asset_tags(self):
        plain = self.encrypts(2, "asset-tag:country:USA")
        self.refuses_image("code = PermissionDenied desc = .*KBS gave no key")
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "CAN"})
        double.advance(seconds=301)
        self.refuses_image("code = PermissionDenied desc = .*KBS gave no key")
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "USA"})
        double.advance(seconds=301)
        self.opens_image(plain)

    def test_a_broker_that_is_not_listed(self):
        self.encrypts(2, "any")
        self.agent.stop()
        self.agent.write_config(WLS={"AllowedKeyOrigins": "https://kbs.example:9443"})
        self.start()
        self.refuses_image("code = PermissionDenied desc = .*AllowedKeyOrigins")
        self.assertEqual(self.calls(), 0)

    def test_another_hosts_tpm(self):
        """The files and secrets of this host, and a TPM that is not its own."""
        self.encrypts(2, "any")
        self.agent.stop()
        other = harness.Swtpm(self.path("other")).start()
        self.addCleanup(other.stop)
        self.agent.write_config(TPM={"Device": other.tcti})
        self.start()
        self.refuses_image("code = FailedPrecondition desc = .*this TPM has no storage key at 0x81000000")

    def test_what_asks_for_no_policy_by_mistake(self):
        """Intel's tool made keys without a policy of tags that it did not understand."""
        self.encrypts(1, "asset-tag:country:USA:x", check=False)
        self.fails(self.done, "asset tag 1 does not have the form NAME:VALUE")
        self.assertFalse(os.path.exists(self.path("encrypted/index.json")))


class Parameters(IseclTest):
    def test_none(self):
        """skopeo has a word of its own for it."""
        plain = make_image(self.path("plain"), 1)
        self.configure_ocicrypt(isecl=self.owner())
        self.encrypt("oci:plain:v1", "oci:encrypted:v1", "--encryption-key", "provider:isecl")
        self.configure_ocicrypt(isecl={"grpc": f"unix://{self.agent.socket}"})
        self.opens_image(plain)

    def test_several_asset_tags(self):
        """skopeo takes a comma for the end of a recipient, unless it is quoted as in CSV."""
        plain = make_image(self.path("plain"), 1)
        self.configure_ocicrypt(isecl=self.owner())
        recipient = "provider:isecl:asset-tag:country:USA,site:DC1"
        done = self.encrypt("oci:plain:v1", "oci:encrypted:v1", "--encryption-key", recipient, check=False)
        self.fails(done, "Provided protocol not recognized")
        self.encrypt("oci:plain:v1", "oci:encrypted:v1", "--encryption-key", f'"{recipient}"')
        self.configure_ocicrypt(isecl={"grpc": f"unix://{self.agent.socket}"})
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "USA"})
        self.refuses_image("code = PermissionDenied desc = .*KBS gave no key")
        double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "usa", "site": "DC1"})
        double.advance(seconds=301)
        self.opens_image(plain)

    def test_malformed_ones_make_neither_key_nor_image(self):
        for which in ("asset-tag:country", "asset-tag:country:U-S", "asset-tag:", "key-id:1", "other"):
            self.encrypts(1, which, check=False)
            self.fails(self.done, "Error while running command: .*stderr: .*wlagent: .*(asset tag 1|key's id|neither any)")
            self.assertFalse(os.path.exists(self.path("encrypted/index.json")))
            shutil.rmtree(self.path("plain"))
        self.assertEqual(self.calls("kbs.create_key"), 0)
