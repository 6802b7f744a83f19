# SPDX-License-Identifier: Apache-2.0
"""A host of Intel SecL's workload agent, with keys in its TPM that HVS has certified, is moved by 'wlagent migrate --apply';
then wlagentd opens what Intel's agent opened, and HVS, AAS, WLS and KBS see the host that they know."""

import json
import os
import shutil
import subprocess
import unittest

import running
import test_migrate
import wls_case
from intel_host import KINDS
from isecl_case import HARDWARE, double

CREDENTIALS = ("aas-password", "binding-key-secret", "signing-key-secret")


@unittest.skipUnless(os.geteuid() == 0, "only root makes files of other users")
class MigratedHost(wls_case.WlsTest):
    template = test_migrate.RELEASE_4
    prepared = False  # by 'wlagent setup', which such a host does without

    def setUp(self):
        super().setUp()
        self.agent.stop()
        self.root = os.path.join(self.directory, "root")
        self.etc = os.path.join(self.root, "etc/workload-agent")
        self.make_host()
        self.before = self.files()

    def put(self, name, text, mode=0o600, owner=0):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        os.chown(path, owner, owner)

    def make_host(self):
        """What is of no matter to keys has its tests in test_migrate."""
        tagent = test_migrate.TAGENT
        for name in ("etc/systemd/system", "var/lib"):
            os.makedirs(os.path.join(self.root, name))
        self.put("etc/passwd", f"tagent:x:{tagent}:{tagent}::/:/sbin/nologin\nwlagent:x:990:990::/:/sbin/nologin\n")
        self.put("sys/devices/virtual/dmi/id/product_uuid", HARDWARE.upper() + "\n", 0o400)
        for kind in KINDS:
            for ending, path in ((".json", self.host.path(kind)), (".pem", self.host.certificate(kind))):
                with open(path, encoding="ascii") as file:
                    self.put(f"etc/workload-agent/{kind}key{ending}", file.read(), 0o600, tagent if ending == ".pem" else 0)
        with open(double.root_ca, encoding="ascii") as file:
            self.put("etc/workload-agent/certs/trustedca/3d4a1e9f0.pem", file.read(), 0o640, tagent)
        self.put("etc/workload-agent/config.yml", self.config())
        for name in ("certs/trustedca", "certs", ""):
            os.chmod(os.path.join(self.etc, name), 0o700)
            os.chown(os.path.join(self.etc, name), tagent, tagent)

    def config(self):
        base = double.urls["cms"].removesuffix("/cms/v1")
        text = self.template
        for old, new in ((test_migrate.BINDING, self.host.secrets["binding-key-secret"]),
                         (test_migrate.SIGNING, self.host.secrets["signing-key-secret"]),
                         (test_migrate.PASSWORD, double.users["wla"]), ("wla-service", "wla"),
                         ("https://aas.example:8444", base), ("https://wls.example:5000", base)):
            self.assertIn(old, text)
            text = text.replace(old, new)
        return text

    def environment(self):
        """With a key of the test for systemd-creds, and none of this machine's."""
        return {**os.environ, "SYSTEMD_CREDENTIAL_SECRET": os.path.join(self.directory, "host-key"),
                "SYSTEMD_LOG_LEVEL": "err"}

    def migrate(self, *options):
        done = subprocess.run([running.WLAGENT, "migrate", "--root", self.root, *options], capture_output=True, text=True,
                              env=self.environment(), stdin=subprocess.DEVNULL, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def files(self):
        found = {}
        for parent, _, names in os.walk(self.etc):
            for name in names:
                path = os.path.join(parent, name)
                with open(path, "rb") as file:
                    found[path] = (file.read(), os.stat(path).st_uid, os.stat(path).st_mode)
        return found

    def hand_over(self):
        """What systemd does for the unit."""
        shutil.rmtree(self.host.credentials)
        os.mkdir(self.host.credentials, 0o700)
        for name in CREDENTIALS:
            sealed, plain = (os.path.join(self.root, "etc", store, name) for store in ("credstore.encrypted", "credstore"))
            to = os.path.join(self.host.credentials, name)
            if os.path.exists(plain):
                shutil.copy(plain, to)
            else:
                subprocess.run(["systemd-creds", "decrypt", f"--name={name}", sealed, to], env=self.environment(), check=True)

    def configure(self):
        """All that migrate has written counts, and paths are those below the root."""
        self.agent.config = os.path.join(self.etc, "wlagent.conf")
        del self.agent.options["WLS"]
        self.agent.write_config()
        self.put("etc/workload-agent/wlagent.conf.d/90-root.conf", "[WLS]\n" + "".join(
            f"{option}={os.path.join(self.etc, name)}\n" for option, name in (
                ("TrustDirectory", "certs/trustedca"), ("BindingKey", "bindingkey.json"), ("SigningKey", "signingkey.json"))))

    def findings(self):
        """Of what a host of Intel SecL's has to do with; nothing of it is wrong."""
        done = self.agent.run("doctor", "--json", "--online", check=False, env=self.host.environment())
        found = json.loads(done.stdout)["findings"]
        self.assertEqual([each for each in found if each["result"] == "failure" and each["check"].startswith((
            "tpm", "binding-key", "unbind", "keys", "daemon", "keyprovider", "control", "wls-binding", "wls-config",
            "wls-trust", "wls-online"))], [])
        return {(each["check"], each["result"]) for each in found}

    def advised_to_start(self):
        """And not to run 'wlagent setup', for which there is no need."""
        os.rename(self.agent.state, self.agent.state + ".away")
        found = json.loads(self.agent.run("doctor", "--json", check=False).stdout)["findings"]
        os.rename(self.agent.state + ".away", self.agent.state)
        self.assertEqual({each["remedy"] for each in found if each["check"] == "state-directory"},
                         {"systemctl start wlagentd, for which systemd makes it"})
        self.assertNotIn("run 'wlagent setup'", [each["remedy"] for each in found])

    def test_it_opens_what_it_opened(self):
        double.reset_counters()
        self.migrate("--apply", "--allow-key-origin", double.urls["kbs"].removesuffix("/kbs/v1"))
        self.hand_over()
        self.configure()
        self.advised_to_start()
        self.start()
        for usage in (None, "country:USA"):
            double.set_host(hardware_uuid=HARDWARE, asset_tags={"country": "USA"})
            double.advance(seconds=301)
            self.opens(self.key(**({"usage": usage} if usage else {})))
        self.assertEqual(self.agent.status()["broker"]["host_trusted"], True)
        self.assertLessEqual({("wls-config", "ok"), ("wls-binding-key", "ok"), ("wls-certificate", "ok"), ("wls-trust", "ok"),
                              ("wls-online", "ok")}, self.findings())
        # It is the host that HVS knows: nothing was certified anew.
        self.assertEqual({route for route in double.counters()["calls"] if route.startswith("hvs.certify")}, set())

        self.agent.stop()
        self.migrate("--undo")
        now = self.files()
        self.assertEqual({path: now.get(path) for path in self.before}, self.before)
        self.assertEqual({os.path.basename(path) for path in now.keys() - self.before.keys()},
                         {"wlagent.conf", "90-root.conf"})


class MigratedHostOfRelease5(MigratedHost):
    release = 5
    template = test_migrate.RELEASE_5
