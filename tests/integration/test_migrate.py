# SPDX-License-Identifier: Apache-2.0
"""wlagent migrate: hosts of Intel SecL's Workload Agent, as trees below --root."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest
import uuid

import running

TAGENT, WLAGENT = 981, 990
PASSWORD = "S3cret-of-the-service"
BINDING, SIGNING, AIK = "0123456789abcdef" * 2 + "01234567", "89abcdef" * 5, "fedcba98" * 5
VM, IMAGE = "7b280921-83f7-4f44-9f8d-2dcf36e7af33", "670f263e-b34e-4e07-a520-40ac9a89f62d"
HARDWARE = "59eed8f0-28c5-4070-91fc-f5e2e5443f6b"
KBS = "https://kbs.example:9443"
MINE = "etc/workload-agent/wlagent.conf.d/40-migrated.conf"
NETWORK = "etc/systemd/system/wlagentd.service.d/intel-secl.conf"
BACKUP = "var/lib/workload-agent-migration"
ETC = "etc/workload-agent"
ISECL = "ISecL-VMC\0\0\0,\0\0\0V1\0\0"
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # many fsync()

RELEASE_4 = f"""\
bindingkeysecret: {BINDING}
signingkeysecret: {SIGNING}
cmstlscertdigest: {"ab" * 48}
hvs:
  apiurl: https://hvs.example:8443/hvs/v2
wls:
  apiurl: https://wls.example:5000/wls/v1
wla:
  apiusername: wla-service
  apipassword: {PASSWORD}
trustagent:
  configdir: /opt/trustagent/configuration
  aikpemfile: /opt/trustagent/configuration/aik.pem
  user: tagent
aas:
  baseurl: https://aas.example:8444/aas/v1/
cms:
  baseurl: https://cms.example:8445/cms/v1
skipflavorsignatureverification: true
loglevel: debug
logmaxlength: 300
logenablestdout: false
configcomplete: true
"""
RELEASE_5 = f"""\
aas:
  base-url: https://aas.example:8444/aas/v1
binding-key-secret: {BINDING}
cms:
  base-url: https://cms.example:8445/cms/v1
  tls-cert-sha384: {"ab" * 48}
hvs:
  api-url: https://hvs.example:8443/hvs/v2
log:
  enable-stdout: true
  level: info
  max-length: 3000
signing-key-secret: {SIGNING}
skip-flavor-signature-verification: false
trustagent:
  aik-pem-file: /etc/trustagent/aik.pem
  config-dir: /etc/trustagent
  user: tagent
wla:
  api-password: {PASSWORD}
  api-user-name: wla-service
wls:
  api-url: https://wls.example:5000/wls/v2
"""
HOOK = """\
#!/bin/bash
domxml=$(cat -)
if [ "$2" == "prepare" ]; then
    wlagent prepare-vm "'$domxml'" || exit 1
elif [ "$2" == "start" ]; then
    wlagent start-vm "'$domxml'"
    if [ $? -ne 0 ]; then
        exit 1
    fi
elif [ "$2" == "stopped" ]; then
    wlagent stop-vm "'$domxml'"
fi
exit 0
"""
MOUNTS = f"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
95 22 253:0 / /mnt/workload-agent/crypto/{IMAGE} rw,relatime shared:60 - ext4 /dev/mapper/{IMAGE} rw
"""


@unittest.skipUnless(os.geteuid() == 0, "only root makes files of other users")
class MigrateTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="wlagent-migrate.", dir=MEMORY)
        self.addCleanup(shutil.rmtree, self.root)
        self.keys = tempfile.mkdtemp(prefix="wlagent-migrate-key.", dir="/var/tmp")  # none is kept in memory
        self.addCleanup(shutil.rmtree, self.keys)
        os.chmod(self.root, 0o755)
        self.put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                 f"tagent:x:{TAGENT}:{TAGENT}::/opt/trustagent:/sbin/nologin\n"
                 f"wlagent:x:{WLAGENT}:{WLAGENT}::/var/lib/workload-agent:/sbin/nologin\n")
        for directory in ("etc/systemd/system/multi-user.target.wants", "run", "usr/local/bin", "var/lib"):
            self.make(directory)
        self.link("var/run", "/run")
        self.put("sys/devices/virtual/dmi/id/product_uuid", HARDWARE.upper() + "\n", 0o400)

    def path(self, name):
        return os.path.join(self.root, name)

    def make(self, name, mode=0o755, owner=0):
        os.makedirs(self.path(name), exist_ok=True)
        os.chmod(self.path(name), mode)
        os.chown(self.path(name), owner, owner)

    def put(self, name, text, mode=0o644, owner=0):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chown(self.path(name), owner, owner)
        os.chmod(self.path(name), mode)
        os.utime(self.path(name), ns=(10**18, 10**18 + 123456789))

    def link(self, name, target):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        os.symlink(target, self.path(name))
        os.utime(self.path(name), ns=(10**18, 10**18 + 987654321), follow_symlinks=False)

    def text(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def facts(self, name):
        found = os.lstat(self.path(name))
        return (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))

    def intel(self, config, mode=0o600, programs=True):
        """What the installer and the setup of every release leave."""
        for name, key in (("bindingkey", 0), ("signingkey", 1)):
            self.put(f"{ETC}/{name}.json", json.dumps({"Version": 2, "Usage": key}, indent=4) + "\n", 0o600)
            self.put(f"{ETC}/{name}.pem", "-----BEGIN CERTIFICATE-----\n", 0o600, TAGENT if key == 0 else 0)
        self.put(f"{ETC}/certs/trustedca/3d4a1e9f0.pem", "-----BEGIN CERTIFICATE-----\n", 0o600, TAGENT)
        self.put(f"{ETC}/certs/flavorsign/flavor.pem", "-----BEGIN CERTIFICATE-----\n", 0o640, TAGENT)
        self.put(f"{ETC}/config.yml", config, mode)
        for directory in (f"{ETC}/certs/trustedca", f"{ETC}/certs/flavorsign", f"{ETC}/certs", ETC):
            self.make(directory, 0o700, TAGENT)
        if programs:
            self.put("opt/workload-agent/bin/wlagent", "\x7fELF", 0o755, TAGENT)
            self.put("opt/workload-agent/wlagent.service", "[Service]\nExecStart=/usr/local/bin/wlagent runservice\n")
            self.link("usr/local/bin/wlagent", "/opt/workload-agent/bin/wlagent")
            self.link("etc/systemd/system/wlagent.service", "/opt/workload-agent/wlagent.service")
            self.link("etc/systemd/system/multi-user.target.wants/wlagent.service",
                      "/opt/workload-agent/wlagent.service")

    def host_4(self):
        """Release 4.2, with VMs."""
        self.intel(RELEASE_4)
        self.put("etc/libvirt/hooks/qemu", HOOK, 0o755)
        self.put("opt/trustagent/configuration/aik.pem", "-----BEGIN CERTIFICATE-----\n", 0o640, TAGENT)
        self.put("run/workload-agent/image_vm_association",
                 f"{IMAGE}:\n  imagepath: /var/lib/nova/instances/_base/b9\n  vmcount: 2\n", 0o600)
        self.link(f"var/lib/nova/instances/{VM}/disk", f"/mnt/workload-agent/crypto/{VM}/disk")
        self.put(f"var/lib/nova/instances/{VM}/{VM}_sparse", "LUKS\xba\xbe")
        self.put("var/lib/nova/instances/_base/b9_sparseFile", "LUKS\xba\xbe")
        self.put("proc/1/mountinfo", MOUNTS)

    def host_5(self):
        """Release 5.1, for containers."""
        self.intel(RELEASE_5, 0o640)
        self.put("etc/ocicrypt-wlagent.json", json.dumps(
            {"key-providers": {"isecl": {"grpc": "unix:///var/run/workload-agent/wlagent.sock"}}}))

    def environment(self, **more):
        """With a key of the test, so that none of this machine is made or used; None takes one away."""
        found = {**os.environ, "SYSTEMD_CREDENTIAL_SECRET": os.path.join(self.keys, "key"),
                 "SYSTEMD_LOG_LEVEL": "err", **more}
        return {name: value for name, value in found.items() if value is not None}

    def migrate(self, *arguments, check=True, **options):
        options.setdefault("env", self.environment())
        done = subprocess.run([running.WLAGENT, "migrate", "--root", self.root, *arguments], capture_output=True,
                              timeout=120, check=False, text=True, stdin=subprocess.DEVNULL, **options)
        for secret in (PASSWORD, BINDING, SIGNING, AIK):
            self.assertNotIn(secret, done.stdout + done.stderr)
        if check:
            # Where systemd-creds cannot encrypt, that is said.
            said = [line for line in done.stderr.splitlines() if "is not encrypted, only closed" not in line]
            self.assertEqual((done.returncode, said), (0, []), done.stdout)
        return done

    def plan(self, *arguments):
        return json.loads(self.migrate("--json", *arguments).stdout)

    def changes(self, *arguments):
        return {(change["action"], change["path"].lstrip("/")) for change in self.plan(*arguments)["changes"]}

    def notes(self, kind, *arguments):
        return {note["subject"]: note["text"] for note in self.plan(*arguments)[kind]}

    def refused(self, pattern, *arguments, hint=None, code=1):
        before = self.snapshot()
        done = self.migrate(*arguments, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertRegex(done.stderr, pattern)
        if hint:
            self.assertRegex(done.stderr, hint)
        self.assertEqual(self.snapshot(), before)

    def snapshot(self, directory_times=True):
        """Everything there is to know of the tree."""
        found = {}
        for parent, directories, files in os.walk(self.root):
            for name in directories + files + [""]:
                path = os.path.join(parent, name)
                facts = os.lstat(path)
                content = None
                if stat.S_ISLNK(facts.st_mode):
                    content = os.readlink(path)
                elif stat.S_ISREG(facts.st_mode):
                    with open(path, "rb") as file:
                        content = file.read()
                times = directory_times or not stat.S_ISDIR(facts.st_mode)
                found[os.path.relpath(path, self.root)] = (
                    facts.st_mode, facts.st_uid, facts.st_gid, content, facts.st_mtime_ns if times else None)
        return found

    def same(self, before):
        now = self.snapshot(directory_times=False)
        self.assertEqual({name: (before.get(name), now.get(name)) for name in before.keys() | now.keys()
                          if before.get(name) != now.get(name)}, {})

    def killed(self, step, *arguments):
        """Dies before its change number step of the disk; false when it has fewer."""
        preload = os.path.join(running.BUILD, "tests", "integration", "libkill_at_step.so")
        environment = self.environment(LD_PRELOAD=preload, KILL_AT_STEP=str(step))
        code = self.migrate(*arguments, check=False, env=environment).returncode
        self.assertIn(code, (0, -signal.SIGKILL))
        return code != 0

    def settled(self):
        """What an --apply has to come to; ciphertexts are never the same."""
        return {name: facts[:3] + (None if "credstore" in name else facts[3],)
                for name, facts in self.snapshot().items() if BACKUP not in name}

    def place(self, name):
        sealed = f"etc/credstore.encrypted/{name}"
        return sealed if os.path.exists(self.path(sealed)) else f"etc/credstore/{name}"

    def credential(self, name):
        sealed, plain = self.path(f"etc/credstore.encrypted/{name}"), self.path(f"etc/credstore/{name}")
        if os.path.exists(plain):
            with open(plain, encoding="utf-8") as file:
                return file.read()
        with open(sealed, encoding="utf-8") as file:
            self.assertNotIn(PASSWORD, file.read())
        return subprocess.run(["systemd-creds", "decrypt", f"--name={name}", sealed, "-"], check=True,
                              capture_output=True, text=True, env=self.environment()).stdout

    def no_secrets_but_in(self, *names):
        for name, (_, _, _, content, _) in self.snapshot().items():
            if isinstance(content, bytes) and name not in names:
                for secret in (PASSWORD, BINDING, SIGNING):
                    self.assertNotIn(secret.encode(), content, name)


class Plan(MigrateTest):
    def test_it_changes_nothing(self):
        for host in (self.host_4, self.host_5):
            with self.subTest(host.__name__):
                host()
                before = self.snapshot()
                self.migrate()
                self.migrate("--json", "--allow-key-origin", KBS)
                self.assertEqual(self.snapshot(), before)
                self.setUp()

    def test_release_4(self):
        self.host_4()
        plan = self.plan("--allow-key-origin", f"{KBS} https://other.example")
        self.assertEqual(list(plan), ["version", "config", "release", "applied", "changes", "problems", "by_hand",
                                      "dropped", "kept"])
        self.assertEqual((plan["release"], plan["applied"], plan["problems"]), ("4", False, []))
        changes = {change["path"].lstrip("/"): change for change in plan["changes"]}
        self.assertEqual(changes[MINE]["content"].splitlines()[2:], [
            "[Agent]", "LogLevel=debug", "", "[WLS]", "ServerURL=https://wls.example:5000/wls/v1",
            "TokenURL=https://aas.example:8444/aas/v1", "ServiceUser=wla-service",
            "AllowedKeyOrigins=https://kbs.example:9443 https://other.example:443",
            "TrustDirectory=/etc/workload-agent/certs/trustedca", f"HardwareUUID={HARDWARE}"])
        self.assertEqual({(change["action"], path) for path, change in changes.items()}, {
            ("write", MINE), ("write", NETWORK), ("credential", "etc/credstore.encrypted/aas-password"),
            ("credential", "etc/credstore.encrypted/binding-key-secret"),
            ("credential", "etc/credstore.encrypted/signing-key-secret"),
            ("access", f"{ETC}/bindingkey.json"), ("access", f"{ETC}/signingkey.json"),
            ("access", f"{ETC}/signingkey.pem"), ("access", f"{ETC}/bindingkey.pem"),
            ("access", f"{ETC}/certs/trustedca/3d4a1e9f0.pem"), ("access", f"{ETC}/certs/flavorsign/flavor.pem"),
            ("access", f"{ETC}/certs/trustedca"), ("access", f"{ETC}/certs/flavorsign"), ("access", f"{ETC}/certs"),
            ("access", ETC), ("remove", "etc/systemd/system/multi-user.target.wants/wlagent.service"),
            ("remove", "etc/systemd/system/wlagent.service"), ("remove", "etc/libvirt/hooks/qemu"),
            ("remove", "usr/local/bin/wlagent")})
        self.assertEqual({note["subject"] for note in plan["dropped"]}, {
            "hvs.apiurl", "cms.baseurl", "cmstlscertdigest", "logmaxlength", "logenablestdout",
            "skipflavorsignatureverification"})

    def test_what_is_left_of_vms(self):
        self.host_4()
        notes = self.notes("by_hand")
        instance = f"/var/lib/nova/instances/{VM}"
        self.assertRegex(notes[f"{instance}/{VM}_sparse"], f"wlagent volume adopt --key KEYID {instance}/{VM}_sparse")
        self.assertRegex(notes[f"{instance}/disk"], "does not start")
        self.put("proc/1/mountinfo", MOUNTS + MOUNTS.splitlines()[1].replace(IMAGE, VM) + "\n")
        self.assertRegex(self.notes("by_hand")[f"{instance}/disk"], "is mounted, .*shut the VM off first")
        self.assertRegex(notes[f"/mnt/workload-agent/crypto/{IMAGE}"], f"cryptsetup close {IMAGE}")
        self.assertRegex(notes["/run/workload-agent/image_vm_association"], f"counts 2 VMs with image {IMAGE}")
        self.assertIn("/var/lib/nova/instances/_base/*_sparseFile", notes)
        self.assertNotIn("/var/lib/nova/instances/_base/b9", notes)
        cached = "/var/lib/nova/instances/_base/" + 20 * "b9"
        for text in ("ISecL-VMC", "ISecL-VMD\0\0\0", "\0\0\0ISecL-VMC\0\0\0"):
            self.put(cached[1:], text)
            self.assertNotIn(cached, self.notes("by_hand"))
        self.put(cached[1:], ISECL)
        self.assertRegex(self.notes("by_hand")[cached], "wlagent image register --wls UUID.*wlagent-nova.7")

    def test_images_in_intels_format(self):
        """Named after their UUIDs, which are where instances, or Intel's agent, have them."""
        self.host_4()
        other, registered = "9c5cbf04-2a35-4c3c-9d0b-64c9a1c1b0a1", "dfa22f83-b6dd-4bf3-9b07-ff1fa01eb69f"
        paths = {}
        for image in (IMAGE, other, registered):
            paths[image] = "/var/lib/nova/instances/_base/" + hashlib.sha1(image.encode()).hexdigest()
            self.put(paths[image][1:], ISECL)
        nova = 'xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"'
        for name, image, namespace in (("a.xml", other, nova), ("b.xml", registered, nova), ("c.xml", VM, nova), ("d.txt", VM, nova)):
            self.put(f"etc/libvirt/qemu/{name}", f"<domain><nova:root {namespace} type='image' uuid='{image.upper()}'/></domain>")
        self.put(f"var/lib/workload-agent/images/{registered}.header", "")
        notes = self.notes("by_hand")
        for image in (IMAGE, other):
            self.assertRegex(notes[paths[image]], f"'wlagent image register --wls {image}'; see wlagent-nova.7")
        self.assertNotIn(paths[registered], notes)

        # One that no instance here has, and not one of Nova's.
        self.put("etc/libvirt/qemu/a.xml", f"<domain><uuid>{other}</uuid></domain>")
        self.assertRegex(self.notes("by_hand")[paths[other]], "no instance on this host has.* --wls UUID'")
        self.put(paths[other][1:], "QFI")
        self.assertNotIn(paths[other], self.notes("by_hand"))

    def test_release_5(self):
        self.host_5()
        plan = self.plan()
        self.assertEqual((plan["release"], plan["problems"]), ("5", []))
        changes = {change["path"].lstrip("/"): change for change in plan["changes"]}
        self.assertEqual(changes[MINE]["content"].splitlines()[2:], [
            "[WLS]", "ServerURL=https://wls.example:5000/wls/v2", "TokenURL=https://aas.example:8444/aas/v1",
            "ServiceUser=wla-service", "TrustDirectory=/etc/workload-agent/certs/trustedca",
            f"HardwareUUID={HARDWARE}"])
        self.assertEqual(changes[f"{ETC}/config.yml"]["mode"], "0600")
        self.assertEqual((changes[f"{ETC}/bindingkey.pem"]["uid"], changes[f"{ETC}/bindingkey.pem"]["gid"]),
                         (TAGENT, WLAGENT))
        self.assertIn("/etc/ocicrypt-wlagent.json", {note["subject"] for note in plan["kept"]})
        self.assertRegex({note["subject"]: note["text"] for note in plan["by_hand"]}["AllowedKeyOrigins="],
                         "^no key broker is allowed")

    def test_release_3(self):
        config = RELEASE_4.replace("hvs:\n", "mtwilson:\n").replace("/wls/v1", "/wls/").replace("/hvs/", "/mtwilson/")
        self.intel(config)
        for text in (AIK + "\n", "of another form\n", ""):
            self.put("opt/trustagent/configuration/aiksecretkey", text, 0o600, TAGENT)
            self.assertEqual(self.notes("problems"), {})
            self.assertRegex(self.notes("kept")["/opt/trustagent/configuration/aiksecretkey"],
                             "'wlagent setup' reads it there itself")
            self.assertEqual({path for action, path in self.changes() if action == "credential"}, {
                f"etc/credstore.encrypted/{name}" for name in ("aas-password", "binding-key-secret",
                                                               "signing-key-secret")})
        self.assertRegex(self.notes("by_hand")["ServerURL="], "its path has no /v1")

    def test_text(self):
        self.host_4()
        out = self.migrate().stdout
        self.assertRegex(out, "^/etc/workload-agent/config.yml: names of release 4\n\nchanges\n")
        self.assertIn("                | ServiceUser=wla-service\n", out)
        # By its path, as /usr/local/bin/wlagent is Intel's.
        self.assertEqual(self.told_command(out, "nothing was changed; this carries it out:"),
                         f"{running.WLAGENT} migrate --root {self.root} --apply")

    def told_command(self, out, after):
        found = re.search(f"\n\n{after}\n\n    ([^\n]+)\n$", out)
        self.assertIsNotNone(found, out)
        return found.group(1)

    def test_commands_that_are_told(self):
        """A shell takes each as it stands, and it is for this host and with what was said for the first."""
        self.host_4()
        odd = self.root + " of $HOME's"
        os.rename(self.root, odd)
        os.mkdir(self.root)
        self.addCleanup(shutil.rmtree, odd)
        self.root = odd
        before = self.snapshot(directory_times=False)
        command = self.told_command(self.migrate("--allow-key-origin", f"{KBS} https://other.example").stdout,
                                    "nothing was changed; this carries it out:")
        done = subprocess.run(["sh", "-c", command], env=self.environment(), check=True, capture_output=True, text=True,
                              timeout=120)
        with open(self.path(MINE), encoding="utf-8") as file:
            self.assertIn(f"\nAllowedKeyOrigins={KBS} https://other.example:443\n", file.read())
        self.assertTrue(self.migrate().stdout.endswith("\n\nnothing was changed, and there is nothing to change\n"))
        undo = self.told_command(done.stdout, "done; this puts everything back:")
        self.assertNotIn("origin", undo)
        subprocess.run(["sh", "-c", undo], env=self.environment(), check=True, capture_output=True, timeout=120)
        self.same(before)

    def test_what_cannot_be_carried_out_is_not_said_to_be(self):
        self.host_4()
        self.put(f"{ETC}/wlagent.conf.d/60-site.conf/x", "")
        out = self.migrate().stdout
        self.assertIn("problems", out)
        self.assertTrue(out.endswith("\n\nnothing was changed, and nothing can be before the problems are mended\n"), out)

    def test_no_hardware_uuid(self):
        self.host_5()
        for text in ("none\n", None):
            os.unlink(self.path("sys/devices/virtual/dmi/id/product_uuid"))
            if text:
                self.put("sys/devices/virtual/dmi/id/product_uuid", text)
            self.assertRegex(self.notes("by_hand")["HardwareUUID="], "cannot be read here")

    def test_a_network_that_was_narrowed(self):
        self.host_5()
        self.put(NETWORK, "[Service]\nPrivateNetwork=no\nIPAddressAllow=192.0.2.0/24\n")
        self.assertNotIn(("write", NETWORK), self.changes())

    def test_unknown_names(self):
        self.intel(RELEASE_4 + f"site: {PASSWORD}\nnest:\n  in: {PASSWORD}\n")
        self.assertLessEqual({"site", "nest", "nest.in"}, set(self.notes("dropped")))

    def cached(self, image):
        path = "/var/lib/nova/instances/_base/" + hashlib.sha1(image.encode()).hexdigest()
        self.put(path[1:], ISECL)
        return path

    def told_images(self):
        return {path: text for path, text in self.notes("by_hand").items() if "in Intel's format" in text}

    def test_images_that_no_instance_has(self):
        """Those that are registered are not told, and hide none; nor is what Nova names in no such way."""
        self.host_4()
        for _ in range(8):
            image = str(uuid.uuid4())
            self.cached(image)
            self.put(f"var/lib/workload-agent/images/{image}.header", "")
        self.assertEqual(self.told_images(), {})
        for name in ("\x1b[31m", 39 * "a", 41 * "a", 40 * "A", 39 * "a" + "\x1b", 40 * "a" + "_20"):
            self.put("var/lib/nova/instances/_base/" + name, ISECL)
        self.assertEqual(self.told_images(), {})
        path = self.cached(str(uuid.uuid4()))
        self.assertEqual(list(self.told_images()), [path])

    def test_many_images_of_instances(self):
        self.host_4()
        images = {}
        for _ in range(70):
            image = str(uuid.uuid4())
            images[self.cached(image)] = image
        self.put("run/workload-agent/image_vm_association",
                 "".join(f"{image}:\n  imagepath: {path}\n  vmcount: 1\n" for path, image in images.items()), 0o600)
        told = self.told_images()
        self.assertEqual(set(told), set(images))
        for path, image in images.items():
            self.assertIn(f"'wlagent image register --wls {image}'", told[path])


class Hooks(MigrateTest):
    def test_of_the_site(self):
        self.host_4()
        added = HOOK.replace("exit 0\n", "/usr/local/sbin/site\n")
        for text, kind, pattern in ((added, "by_hand", "it runs Intel's agent"),
                                    ("#!/bin/sh\n/usr/local/sbin/site\n", "kept", "site's own hook")):
            self.put("etc/libvirt/hooks/qemu", text, 0o755)
            self.assertNotIn(("remove", "etc/libvirt/hooks/qemu"), self.changes())
            self.assertRegex(self.notes(kind)["/etc/libvirt/hooks/qemu"], pattern)
            self.migrate("--apply")
            self.assertEqual(self.text("etc/libvirt/hooks/qemu"), text)

    def test_a_link(self):
        self.host_4()
        self.put("srv/hook", HOOK, 0o755)
        os.unlink(self.path("etc/libvirt/hooks/qemu"))
        self.link("etc/libvirt/hooks/qemu", "/srv/hook")
        self.assertRegex(self.notes("by_hand")["/etc/libvirt/hooks/qemu"], "leads to Intel's hook, /srv/hook")
        self.migrate("--apply")
        self.assertEqual(os.readlink(self.path("etc/libvirt/hooks/qemu")), "/srv/hook")
        self.put("srv/hook", HOOK + "/usr/local/sbin/site\n", 0o755)
        self.assertRegex(self.notes("by_hand")["/etc/libvirt/hooks/qemu"], "it runs Intel's agent")
        self.put("srv/hook", "#!/bin/sh\n/usr/local/sbin/site\n", 0o755)
        self.assertRegex(self.notes("kept")["/etc/libvirt/hooks/qemu"], "site's own hook")

    def test_one_that_cannot_be_read(self):
        self.host_4()
        hook = "etc/libvirt/hooks/qemu"
        self.put(hook, HOOK + 70000 * "# a remark of the site\n", 0o755)
        self.assertRegex(self.notes("problems")[f"/{hook}"], "larger than 1048576 bytes")
        os.unlink(self.path(hook))
        self.link(hook, "/srv/nothing")
        self.assertRegex(self.notes("problems")[f"/{hook}"], "does not exist")
        os.unlink(self.path(hook))
        self.make(hook)
        self.assertRegex(self.notes("problems")[f"/{hook}"], "not a regular file")
        self.refused("has to be mended first", "--apply")

    def test_of_more_than_16_kib(self):
        self.host_4()
        self.put("etc/libvirt/hooks/qemu", HOOK + 1000 * "# a remark of the site\n", 0o755)
        self.assertIn(("remove", "etc/libvirt/hooks/qemu"), self.changes())

    def test_a_program(self):
        self.host_4()
        self.put("etc/libvirt/hooks/qemu", "\x7fELF\0wlagent\0", 0o755)
        self.assertRegex(self.notes("by_hand")["/etc/libvirt/hooks/qemu"], "it runs Intel's agent")

    def test_links_of_others(self):
        self.host_4()
        os.unlink(self.path("usr/local/bin/wlagent"))
        self.put("usr/local/bin/wlagent", "#!/bin/sh\n", 0o755)
        os.unlink(self.path("etc/systemd/system/wlagent.service"))
        self.link("etc/systemd/system/wlagent.service", "/srv/wlagent.service")
        self.assertRegex(self.notes("by_hand")["/usr/local/bin/wlagent"], "no symbolic link, so it is left alone")
        self.assertRegex(self.notes("kept")["/etc/systemd/system/wlagent.service"], "not Intel's agent")


class Apply(MigrateTest):
    def test_release_4(self):
        self.host_4()
        self.migrate("--apply", "--allow-key-origin", KBS)
        self.assertEqual(self.credential("aas-password"), PASSWORD)
        self.assertEqual(self.credential("binding-key-secret"), BINDING)
        self.assertEqual(self.credential("signing-key-secret"), SIGNING)
        shared = (0, WLAGENT, 0o640)
        for name, facts in {f"{ETC}/bindingkey.json": shared, f"{ETC}/signingkey.json": shared,
                            f"{ETC}/signingkey.pem": shared, f"{ETC}/bindingkey.pem": (TAGENT, WLAGENT, 0o640),
                            ETC: (0, 0, 0o755), f"{ETC}/certs": (0, 0, 0o755), f"{ETC}/config.yml": (0, 0, 0o600),
                            f"{ETC}/certs/trustedca/3d4a1e9f0.pem": (0, 0, 0o644), MINE: (0, 0, 0o644),
                            NETWORK: (0, 0, 0o644), BACKUP: (0, 0, 0o700)}.items():
            self.assertEqual(self.facts(name), facts, name)
        for name in ("usr/local/bin/wlagent", "etc/libvirt/hooks/qemu", "etc/systemd/system/wlagent.service"):
            self.assertFalse(os.path.lexists(self.path(name)), name)
        self.no_secrets_but_in(f"{ETC}/config.yml")
        self.assertEqual(self.changes(), set())

    def test_our_configuration_reads_it(self):
        self.host_5()
        self.migrate("--apply", "--allow-key-origin", KBS)
        main = self.path(f"{ETC}/wlagent.conf")
        self.put(f"{ETC}/wlagent.conf", "[Agent]\n")
        done = subprocess.run([running.WLAGENTD, "--config", main, "--dump-config"], capture_output=True, text=True,
                              check=True)
        self.assertIn("AllowedKeyOrigins=https://kbs.example:9443\n", done.stdout)
        self.assertIn("ServerURL=https://wls.example:5000/wls/v2\n", done.stdout)

    def test_again(self):
        self.host_4()
        before = self.snapshot(directory_times=False)
        self.migrate("--apply", "--allow-key-origin", KBS)
        once = self.snapshot()
        self.assertEqual(self.changes(), set())
        # The brokers of the first run stay where the second names none, and others replace them.
        self.migrate("--apply")
        self.assertIn(KBS, self.text(MINE))
        self.migrate("--apply", "--allow-key-origin", "https://other.example")
        self.assertIn("AllowedKeyOrigins=https://other.example:443\n", self.text(MINE))
        self.assertEqual(once[f"{ETC}/config.yml"], self.snapshot()[f"{ETC}/config.yml"])
        self.migrate("--undo")
        self.same(before)

    def test_another_host(self):
        """Its own key is not here, and what another one has encrypted would keep wlagentd from starting."""
        self.host_4()
        before = self.snapshot(directory_times=False)
        elsewhere = self.environment(SYSTEMD_CREDENTIAL_SECRET=None)
        plan = json.loads(self.migrate("--json", "--apply", env=elsewhere).stdout)
        self.assertNotIn("credential", {change["action"] for change in plan["changes"]})
        left = {note["subject"]: note["text"] for note in plan["by_hand"]}
        for name in ("aas-password", "binding-key-secret", "signing-key-secret"):
            self.assertRegex(left[name], "'wlagent migrate --apply' on the host itself")
        self.assertFalse(os.path.exists(self.path("etc/credstore.encrypted")))
        self.assertFalse(os.path.exists(self.path("etc/credstore")))
        self.migrate("--apply")
        self.assertEqual(self.credential("binding-key-secret"), BINDING)
        self.migrate("--undo")
        self.same(before)

    def test_a_configuration_that_others_may_write(self):
        self.host_5()
        main, drop_ins = f"{ETC}/wlagent.conf", f"{ETC}/wlagent.conf.d"
        self.put(main, "[Agent]\n", 0o664)
        self.put(f"{drop_ins}/60-site.conf", "[Agent]\n", 0o640, TAGENT)
        self.put(f"{drop_ins}/70-root.conf", "[Agent]\n", 0o600)
        self.put(f"{drop_ins}/note", "x", 0o666, TAGENT)
        self.make(drop_ins, 0o777, TAGENT)
        before = self.snapshot(directory_times=False)
        plan = [(change["action"], change["path"].lstrip("/")) for change in self.plan()["changes"]]
        self.assertLessEqual({("access", main), ("access", drop_ins), ("access", f"{drop_ins}/60-site.conf")}, set(plan))
        self.assertLess(plan.index(("access", drop_ins)), plan.index(("write", MINE)))
        self.assertLess(plan.index(("access", ETC)), plan.index(("write", MINE)))
        self.migrate("--apply")
        self.assertEqual([self.facts(name) for name in (main, drop_ins, f"{drop_ins}/60-site.conf",
                                                        f"{drop_ins}/70-root.conf", MINE)],
                         [(0, 0, 0o644), (0, 0, 0o755), (0, 0, 0o644), (0, 0, 0o600), (0, 0, 0o644)])
        self.assertEqual(self.changes(), set())
        for owner, mode in ((TAGENT, 0o644), (0, 0o666)):
            os.chown(self.path(MINE), owner, owner)
            os.chmod(self.path(MINE), mode)
            self.assertEqual(self.changes(), {("write", MINE)})
        self.migrate("--undo")
        self.same(before)

    def test_a_drop_in_that_is_a_link(self):
        self.host_5()
        self.link(f"{ETC}/wlagent.conf.d/60-site.conf", "/etc/passwd")
        self.assertRegex(self.notes("problems")[f"/{ETC}/wlagent.conf.d/60-site.conf"], "no regular file")
        self.refused("has to be mended first", "--apply")

    def test_where_the_secrets_go(self):
        """From locked memory through a pipe: neither into an argument nor into an environment, of whatever it starts."""
        directory = os.path.join(self.keys, "bin")
        os.mkdir(directory)
        program = os.path.join(directory, "systemd-creds")
        with open(program, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n"
                       f"cat /proc/$$/cmdline /proc/$$/environ /proc/$PPID/cmdline /proc/$PPID/environ >>{self.keys}/seen\n"
                       "exec base64 -w 0\n")
        os.chmod(program, 0o755)
        self.host_4()
        self.migrate("--apply", env=self.environment(PATH=f"{directory}:{os.environ['PATH']}"))
        with open(os.path.join(self.keys, "seen"), encoding="utf-8") as file:
            seen = file.read()
        self.assertEqual(seen.count("--name="), 3)
        for name, secret in (("aas-password", PASSWORD), ("binding-key-secret", BINDING), ("signing-key-secret", SIGNING)):
            self.assertIn(f"--name={name}", seen)
            self.assertNotIn(secret, seen)
            self.assertEqual(base64.b64decode(self.text(f"etc/credstore.encrypted/{name}")).decode(), secret)
        self.no_secrets_but_in(f"{ETC}/config.yml")

    def test_one_at_a_time(self):
        """Of what changes something; 'wlagent setup' is one of them."""
        directory = os.path.join(self.keys, "bin")
        os.mkdir(directory)
        program, began, wait = (os.path.join(directory, name) for name in ("systemd-creds", "began", "wait"))
        os.mkfifo(wait)
        with open(program, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n[ -e {began} ] || {{ echo >{began}; cat <{wait}; }}\nexec cat\n")
        os.chmod(program, 0o755)
        self.host_4()
        self.put(f"{ETC}/wlagent.conf", "[Agent]\n")
        before = self.snapshot(directory_times=False)
        first = subprocess.Popen([running.WLAGENT, "migrate", "--root", self.root, "--apply"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=self.environment(PATH=f"{directory}:{os.environ['PATH']}"))
        try:
            running.poll(lambda: os.path.exists(began), "systemd-creds")
            busy = "another 'wlagent migrate' or 'wlagent setup' is at work"
            for arguments in (["--apply"], ["--undo"], ["--forget-original", "--force"]):
                self.refused(busy, *arguments, hint="wait for its end")
            done = subprocess.run([running.WLAGENT, "--config", self.path(f"{ETC}/wlagent.conf"), "setup",
                                   "update-service-config", "--root", self.root], capture_output=True, text=True, check=False,
                                  timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn("another 'wlagent setup' or 'wlagent migrate' is at work", done.stderr)
            self.migrate()  # to look changes nothing
        finally:
            os.close(os.open(wait, os.O_RDWR))  # also when nobody reads there any more
            first.communicate(timeout=60)
        self.assertEqual(first.returncode, 0)
        self.assertEqual(self.changes(), set())
        self.migrate("--undo")
        self.same(before)

    def test_a_credential_that_is_there(self):
        self.host_4()
        self.put("etc/credstore.encrypted/aas-password", "sealed", 0o600)
        self.assertRegex(self.notes("kept")["/etc/credstore.encrypted/aas-password"], "is there already")
        self.migrate("--apply")
        self.assertEqual(self.text("etc/credstore.encrypted/aas-password"), "sealed")


class Undo(MigrateTest):
    def test_everything_is_as_it_was(self):
        for host in (self.host_4, self.host_5):
            with self.subTest(host.__name__):
                host()
                self.put(MINE, "# of the site\n", 0o600)
                before = self.snapshot(directory_times=False)
                self.migrate("--apply", "--allow-key-origin", KBS)
                self.assertNotEqual(self.text(MINE), "# of the site\n")
                self.migrate("--undo")
                self.same(before)
                for name in ("usr/local/bin/wlagent", "etc/systemd/system/wlagent.service",
                             "etc/systemd/system/multi-user.target.wants/wlagent.service"):
                    os.unlink(self.path(name))

    def test_what_others_have_added_stays(self):
        self.host_5()
        self.migrate("--apply")
        self.put(f"{ETC}/wlagent.conf.d/60-site.conf", "[Agent]\n")
        self.migrate("--undo")
        self.assertEqual(os.listdir(self.path(f"{ETC}/wlagent.conf.d")), ["60-site.conf"])

    def changed_since(self, *arguments, **left):
        """--undo, which leaves these as they are and says so; each with what is said about what it was."""
        before = self.snapshot(directory_times=False)
        done = self.migrate("--undo", *arguments, check=False)
        said = done.stderr.splitlines()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, rf"{len(left)} that are named above stay as they are, and so does the backup")
        for name, was in left.items():
            self.assertRegex(done.stderr, f"(?m)^wlagent: /{re.escape(name)}[ :].* left as it is.*{was}")
            self.assertEqual(self.snapshot(directory_times=False).get(name), before.get(name), name)
        self.assertTrue(os.path.isdir(self.path(BACKUP)))
        self.refused("the migration is not complete", "--forget-original", "--force")
        return said

    def copy(self, said, name):
        """What the backup has of a file that was left as it is."""
        line = next(line for line in said if f"/{name} " in line)
        return self.text(line.rpartition(" is in /")[2])

    def test_what_others_have_removed_or_made_anew(self):
        self.host_4()
        self.migrate("--apply")
        os.unlink(self.path(f"{ETC}/signingkey.json"))
        self.put(f"{ETC}/certs/trustedca/3d4a1e9f0.pem", "a new one", 0o644)
        shutil.rmtree(self.path(f"{ETC}/certs/flavorsign"))
        self.changed_since(**{f"{ETC}/signingkey.json": "it was of user 0 and group 0, with mode 0600",
                              f"{ETC}/certs/trustedca/3d4a1e9f0.pem": f"it was of user {TAGENT} ",
                              f"{ETC}/certs/flavorsign": "with mode 0700",
                              f"{ETC}/certs/flavorsign/flavor.pem": "with mode 0640",
                              f"{ETC}/signingkey.pem": "", self.place("signing-key-secret"): "",
                              **self.drop_in("signing-key-secret")})
        self.assertEqual(self.text("etc/libvirt/hooks/qemu"), HOOK)
        self.assertEqual(self.facts(f"{ETC}/bindingkey.json"), (0, 0, 0o600))

    def drop_in(self, name):
        path = f"etc/systemd/system/wlagentd.service.d/credential-{name}.conf"
        return {path: ""} if os.path.exists(self.path(path)) else {}

    def test_a_key_that_is_new_keeps_its_secret(self):
        for changed in ("json", "pem"):
            with self.subTest(changed):
                self.host_4()
                self.migrate("--apply")
                name, other = f"{ETC}/bindingkey.{changed}", f"{ETC}/bindingkey.{'pem' if changed == 'json' else 'json'}"
                self.put(name, "of a new key", 0o640)
                os.chown(self.path(name), 0, WLAGENT)
                self.changed_since(**{name: "it was of user", other: "", self.place("binding-key-secret"): "",
                                      **self.drop_in("binding-key-secret")})
                self.assertEqual(self.facts(name), (0, WLAGENT, 0o640))
                self.assertEqual(self.credential("binding-key-secret"), BINDING)
                # The other key and the password are not concerned.
                self.assertEqual(self.facts(f"{ETC}/signingkey.json"), (0, 0, 0o600))
                for credential in ("signing-key-secret", "aas-password"):
                    self.assertFalse(os.path.exists(self.path(self.place(credential))), credential)
                self.setUp()

    def test_a_secret_that_is_new(self):
        self.host_4()
        self.migrate("--apply")
        place = self.place("aas-password")
        self.put(place, "another", 0o600)
        self.changed_since(**{place: "it was not there", **self.drop_in("none")})
        self.assertEqual(self.text(place), "another")

    def test_a_hook_and_a_command_that_are_new(self):
        self.host_4()
        before = self.snapshot(directory_times=False)
        self.migrate("--apply")
        hook, command = "etc/libvirt/hooks/qemu", "usr/local/bin/wlagent"
        self.put(hook, "#!/bin/sh\n/usr/local/sbin/site\n", 0o755)
        with open(self.path(command), "wb") as file:
            file.write(b"\x7fELF" + bytes(1 << 20))
        expected = {hook: "what it was is in /var/lib/workload-agent-migration/copy-[0-9]+$",
                    command: "it was a link to /opt/workload-agent/bin/wlagent$"}
        said = self.changed_since(**expected)
        self.assertEqual(self.copy(said, hook), HOOK)
        # It says so again until they have gone.
        self.assertEqual(self.changed_since(**expected), said)
        os.unlink(self.path(hook))
        os.unlink(self.path(command))
        self.migrate("--undo")
        self.same(before)

    def test_changed_between_two(self):
        """Another --apply does not take for its own what it leaves alone."""
        self.host_4()
        self.migrate("--apply")
        hook = "etc/libvirt/hooks/qemu"
        self.put(hook, "#!/bin/sh\n/usr/local/sbin/site\n", 0o755)
        self.migrate("--apply", "--allow-key-origin", KBS)
        self.changed_since(**{hook: "is in /"})
        self.assertFalse(os.path.exists(self.path(MINE)))

    def test_nothing_to_undo(self):
        self.host_5()
        self.refused("there is no backup", "--undo", hint="nothing has been migrated here")

    def test_killed_before_each_change(self):
        """Then --undo puts everything back, and another --apply comes to what one alone does."""
        self.host_4()
        before = self.snapshot(directory_times=False)
        self.migrate("--apply")
        done = self.settled()
        self.migrate("--undo")
        step = 1
        while self.killed(step, "--apply"):
            if step % 3 == 0:
                self.migrate("--apply")
                self.assertEqual(self.settled(), done, f"step {step}")
            if os.path.isdir(self.path(BACKUP)):
                self.migrate("--undo")
            self.same(before)
            step += 1
        self.assertGreater(step, 60)

    def test_killed_while_undoing(self):
        self.host_4()
        before = self.snapshot(directory_times=False)
        self.migrate("--apply")
        step = 1
        while self.killed(step, "--undo"):
            if step % 9 == 1 and os.path.isdir(self.path(BACKUP)):
                self.migrate("--undo")
                self.same(before)
            if not os.path.isdir(self.path(BACKUP)) or step % 9 == 1:
                self.migrate("--apply")
            step += 2
        self.same(before)
        self.assertGreater(step, 20)

    def full(self, step, *arguments):
        """With a disk that is full from the change number step on; false when it has fewer."""
        preload = os.path.join(running.BUILD, "tests", "integration", "libfull_disk.so")
        done = self.migrate(*arguments, check=False, env=self.environment(LD_PRELOAD=preload, FULL_AT_STEP=str(step)))
        if done.returncode:
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("No space left on device", done.stderr)
        return done.returncode != 0

    def test_a_disk_that_is_full_from_each_change_on(self):
        """Then --undo puts everything back, and another --apply comes to what one alone does."""
        self.host_4()
        before = self.snapshot(directory_times=False)
        self.migrate("--apply")
        done = self.settled()
        self.migrate("--undo")
        step = 1
        while self.full(step, "--apply"):
            if step % 3 == 0:
                self.migrate("--apply")
                self.assertEqual(self.settled(), done, f"step {step}")
            if os.path.isdir(self.path(BACKUP)):
                self.migrate("--undo")
            self.same(before)
            step += 1
        self.assertGreater(step, 20)
        self.assertEqual(self.settled(), done)

        step = 1
        while self.full(step, "--undo"):
            if step % 9 == 1:
                self.migrate("--undo")
                self.same(before)
                self.migrate("--apply")
            step += 2
        self.same(before)
        self.assertGreater(step, 5)


SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>/calls
case $1 in
show) cat "/state/$4" 2>/dev/null || cat /state/others ;;
*) exit "$(cat /outcome)" ;;
esac
"""
# Counts its calls, and kills who has called it at one of them.
KILLING = SYSTEMCTL.replace('case $1 in\n', """\
[ "$(wc -l </calls)" != CALL ] || kill -9 $PPID
case $1 in
""")
LISTENERS = ("wlagentd.socket", "wlagentd-control.socket", "wlagentd.service", "wlagent-volumed.socket")


def asked(*units):
    return [f"show --property=ActiveState --value {unit}" for unit in units]


class Services(MigrateTest):
    """Without --root: wlagent runs where the tree is the root, with a systemctl that only writes down."""

    def setUp(self):
        super().setUp()
        self.host_4()
        # AddressSanitizer reads its options and the threads there; without it there is none.
        self.bound = ["usr/bin", "usr/lib", "usr/lib64", "dev"] + ["proc"] * running.has_address_sanitizer()
        for name in self.bound:
            self.make(name)
        for name in ("bin", "lib", "lib64"):
            self.link(name, f"usr/{name}")
        self.put("usr/local/sbin/systemctl", SYSTEMCTL, 0o755)
        self.put("calls", "")
        shutil.copy(running.WLAGENT, self.path("wlagent-under-test"))
        self.answers("active")
        if self.inside("/bin/true").returncode:
            self.skipTest("no mounts are allowed here")

    def answers(self, state, outcome=0, others="inactive"):
        for name, answer in (("state/wlagent.service", state), ("state/others", others), ("outcome", outcome)):
            self.put(name, f"{answer}\n" if answer is not None else "")

    def inside(self, *command):
        binds = " && ".join(f"mount --rbind /{name} {self.path(name)}" for name in self.bound)
        script = f'{binds} && exec chroot {self.root} "$@"'
        return subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", *command], capture_output=True,
                              text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
                              env={**os.environ, "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"})

    def run_migrate(self, *arguments, code=0):
        done = self.inside("/wlagent-under-test", "migrate", *arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        calls = self.text("calls").splitlines()
        self.put("calls", "")
        return calls, done.stderr

    def test_a_service_that_runs(self):
        before = self.snapshot(directory_times=False)
        self.assertEqual(self.run_migrate()[0], [])
        self.assertEqual(self.run_migrate("--apply")[0],
                         [*asked("wlagent.service"), "stop wlagent.service", "daemon-reload"])
        # Now there is no such unit, by which 'systemctl stop' has a code of its own.
        self.assertEqual(self.run_migrate("--apply")[0], ["stop wlagent.service", "daemon-reload"])
        self.assertEqual(self.run_migrate("--undo")[0], [*asked(*LISTENERS), "daemon-reload", "start wlagent.service"])
        self.same(before)

    def test_one_that_waits_for_its_next_start(self):
        self.answers("activating")
        self.assertEqual(self.run_migrate("--apply")[0],
                         [*asked("wlagent.service"), "stop wlagent.service", "daemon-reload"])
        self.assertEqual(self.run_migrate("--undo")[0][-1], "start wlagent.service")

    def test_one_that_does_not(self):
        for state in ("inactive", "failed"):
            self.answers(state)
            self.assertEqual(self.run_migrate("--apply")[0],
                             [*asked("wlagent.service"), "stop wlagent.service", "daemon-reload"])
            self.assertEqual(self.run_migrate("--undo")[0], [*asked(*LISTENERS), "daemon-reload"])

    def test_one_that_is_not_loaded(self):
        script = SYSTEMCTL.replace("show)", "stop) exit 5 ;;\nshow)")
        self.put("usr/local/sbin/systemctl", script, 0o755)
        self.answers("inactive")
        self.run_migrate("--apply")
        self.assertFalse(os.path.lexists(self.path("etc/systemd/system/wlagent.service")))

    def test_systemctl_fails(self):
        before = self.snapshot(directory_times=False)
        self.answers("active", outcome=1)
        calls, said = self.run_migrate("--apply", code=1)
        self.assertEqual(calls, [*asked("wlagent.service"), "stop wlagent.service"])
        self.assertIn("'systemctl stop wlagent.service' has failed", said)
        self.assertTrue(os.path.lexists(self.path("etc/systemd/system/wlagent.service")))
        self.run_migrate("--undo", code=1)
        self.answers("active")
        self.run_migrate("--undo")
        self.same(before)

    def test_systemctl_says_nothing(self):
        before = self.snapshot(directory_times=False)
        self.answers(None)
        self.assertIn("does not tell whether wlagent.service runs", self.run_migrate("--apply", code=1)[1])
        self.answers("active")
        self.run_migrate("--apply")
        self.answers("inactive", others=None)
        self.assertIn("does not tell whether wlagentd.socket runs", self.run_migrate("--undo", code=1)[1])
        self.answers("active")
        self.run_migrate("--undo")
        self.same(before)

    def test_no_undo_beside_this_agent(self):
        self.run_migrate("--apply")
        for unit, state in zip(LISTENERS, ("active", "active", "activating", "active")):
            before = self.snapshot(directory_times=False)
            self.put(f"state/{unit}", f"{state}\n")
            calls, said = self.run_migrate("--undo", code=1)
            self.assertEqual(calls, asked(*LISTENERS[:LISTENERS.index(unit) + 1]))
            self.assertIn(f"{unit} is active", said)
            self.assertIn("systemctl disable --now wlagentd.socket wlagentd-control.socket wlagentd.service "
                          "wlagent-volumed.socket", said)
            os.unlink(self.path(f"state/{unit}"))
            self.same(before)
        # What runs here does not matter to another root.
        self.put("state/wlagentd.socket", "active\n")
        self.migrate("--undo")

    def killed_at_call(self, call, *arguments):
        """wlagent dies while it waits for that call of systemctl, which has done its work."""
        self.put("usr/local/sbin/systemctl", KILLING.replace("CALL", str(call)), 0o755)
        done = self.inside("/wlagent-under-test", "migrate", *arguments)
        self.put("usr/local/sbin/systemctl", SYSTEMCTL, 0o755)
        self.put("calls", "")
        self.assertEqual(done.returncode, -9, done.stderr)

    def test_killed_at_each_call(self):
        before = self.snapshot(directory_times=False)
        self.run_migrate("--apply")
        applied = self.applied()
        self.run_migrate("--undo")
        for call in (1, 2, 3):
            for then in ("--undo", "--apply"):
                with self.subTest(call=call, then=then):
                    self.answers("active")
                    self.killed_at_call(call, "--apply")
                    self.answers("inactive" if call > 1 else "active")
                    if then == "--apply":
                        self.run_migrate("--apply")
                        self.assertEqual(self.applied(), applied)
                    # What was stopped is started, whoever has stopped it.
                    calls, _ = self.run_migrate("--undo")
                    self.assertEqual("start wlagent.service" in calls, call > 1 or then == "--apply")
                    self.answers("active")
                    self.same(before)
        for call in (len(LISTENERS) + 1, len(LISTENERS) + 2):
            self.answers("active")
            self.run_migrate("--apply")
            self.killed_at_call(call, "--undo")
            self.answers("inactive")
            self.assertEqual(self.run_migrate("--undo")[0][-1], "start wlagent.service")
            self.answers("active")
            self.same(before)

    def applied(self):
        return {name: facts for name, facts in self.settled().items() if not name.startswith(("state", "calls"))}

    def test_changed_after_an_interrupted_apply(self):
        self.put("usr/local/sbin/systemctl", SYSTEMCTL.replace("show)", "daemon-reload) exit 1 ;;\nshow)"), 0o755)
        self.run_migrate("--apply", code=1)
        self.put("usr/local/sbin/systemctl", SYSTEMCTL, 0o755)
        self.put("etc/libvirt/hooks/qemu", "#!/bin/sh\n", 0o755)
        said = self.run_migrate("--undo", code=1)[1]
        self.assertIn("/etc/libvirt/hooks/qemu was changed since: left as it is", said)
        self.assertEqual(self.text("etc/libvirt/hooks/qemu"), "#!/bin/sh\n")
        self.assertFalse(os.path.exists(self.path(self.place("aas-password"))))

    def test_it_does_not_start_what_was_not_put_back(self):
        self.run_migrate("--apply")
        self.put("usr/local/bin/wlagent", "#!/bin/sh\n", 0o755)
        calls, said = self.run_migrate("--undo", code=1)
        self.assertEqual(calls, [*asked(*LISTENERS), "daemon-reload"])
        self.assertIn("wlagent.service was not started", said)
        os.unlink(self.path("usr/local/bin/wlagent"))
        self.assertEqual(self.run_migrate("--undo")[0][-1], "start wlagent.service")


class Forget(MigrateTest):
    def test_after_an_apply(self):
        self.host_4()
        self.refused("there is no backup", "--forget-original", "--force")
        self.migrate("--apply")
        self.refused("there is no terminal to ask on", "--forget-original")
        self.migrate("--forget-original", "--force")
        self.no_secrets_but_in()
        self.assertFalse(os.path.exists(self.path(BACKUP)))
        self.assertFalse(os.path.exists(self.path(f"{ETC}/config.yml")))
        self.assertTrue(os.path.exists(self.path(MINE)))
        self.refused("config.yml: it does not exist", hint="there is nothing to migrate")

    def test_killed_before_each_change(self):
        """Another one comes to its end, and in between no --undo starts an agent without its configuration."""
        self.host_4()
        self.migrate("--apply")
        applied = self.root + ".applied"
        self.addCleanup(shutil.rmtree, applied)
        subprocess.run(["cp", "-a", self.root, applied], check=True)
        step = 1
        while self.killed(step, "--forget-original", "--force"):
            if step % 2 and os.path.exists(self.path(f"{BACKUP}/journal.json")) and \
                    not os.path.exists(self.path(f"{ETC}/config.yml")):
                self.refused(f"/{ETC}/config.yml is gone, and Intel's agent does not run", "--undo",
                             hint="--forget-original that was interrupted is run again")
            elif os.path.isdir(self.path(BACKUP)):
                self.migrate("--forget-original", "--force")
                self.no_secrets_but_in()
            subprocess.run(["rm", "-rf", self.root], check=True)
            subprocess.run(["cp", "-a", applied, self.root], check=True)
            step += 1 if step < 12 else 97  # copies of files go one by one
        self.assertGreater(step, 12)
        self.no_secrets_but_in()
        self.assertFalse(os.path.exists(self.path(BACKUP)))

    def test_not_before_its_end(self):
        self.host_4()
        self.migrate("--apply")
        journal = self.path(f"{BACKUP}/journal.json")
        with open(journal, encoding="utf-8") as file:
            text = file.read()
        with open(journal, "w", encoding="utf-8") as file:
            file.write(text.replace('"complete":1', '"complete":0'))
        self.refused("the migration is not complete", "--forget-original", "--force", hint="--apply' to its end")


class Refusals(MigrateTest):
    def test_nothing_there(self):
        self.refused("/etc/workload-agent does not exist", hint="there is nothing to migrate")

    def test_the_end_of_an_older_text(self):
        self.intel(RELEASE_4 + "plete: true\n")
        line = RELEASE_4.count("\n") + 1
        self.refused(f'config.yml: line {line}: "plete" looks like the rest of an older text', "--apply",
                     hint="delete what does not belong there from that line on")

    def test_no_file_of_secrets(self):
        self.intel(RELEASE_4)
        config = self.path(f"{ETC}/config.yml")
        for text, pattern in (("", "it is empty"), ("#" * 65537, "it is larger than 65536 bytes")):
            self.put(f"{ETC}/config.yml", text, 0o600)
            self.refused(f"config.yml: {pattern}")
        os.unlink(config)
        os.symlink("/etc/passwd", config)
        self.refused("config.yml: it is a symbolic link")
        os.unlink(config)
        os.mkfifo(config)
        self.refused("config.yml: it is not a regular file")
        os.unlink(config)
        self.put(f"{ETC}/config.yml", RELEASE_4 + "#" * (65536 - len(RELEASE_4)), 0o600)
        self.assertEqual(self.notes("problems"), {})

    def test_incomplete(self):
        for text, subject, pattern in (
                (RELEASE_4.replace("https://wls.example:5000/wls/v1", '""'), "wls.apiurl", "not set"),
                (RELEASE_4.replace("https://aas", "http://aas"), "aas.baseurl", "https"),
                (RELEASE_4.replace("wla-service", '""'), "wla", "no user"),
                (RELEASE_4.replace(PASSWORD, '""'), "wla", "no password"),
                (RELEASE_4.replace(BINDING, BINDING[1:]), "binding key", "not 40 hex digits")):
            self.put(f"{ETC}/config.yml", text, 0o600)
            self.assertRegex(self.notes("problems")[subject], pattern)
            self.refused("has to be mended first", "--apply", hint="without --apply")
            self.refused(f"has to be mended first: {subject}: .*{pattern}", "--apply", "--json", hint="without --apply")

    def test_no_user(self):
        self.host_5()
        self.put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self.assertRegex(self.notes("problems")["wlagent"], "systemd-sysusers")

    def test_links_and_second_names(self):
        """The directory was the Trust Agent's: its user may have put anything there."""
        self.host_5()
        self.put("etc/shadow", "secret", 0o600)
        for name in ("signingkey.json", "certs/trustedca/3d4a1e9f0.pem", "bindingkey.pem"):
            path = self.path(f"{ETC}/{name}")
            os.unlink(path)
            os.symlink("/etc/shadow", path)
            self.assertRegex(self.notes("problems")[f"/{ETC}/{name}"], "no regular file")
            os.unlink(path)
            os.link(self.path("etc/shadow"), path)
            self.assertRegex(self.notes("problems")[f"/{ETC}/{name}"], "other names as well")
            self.refused("has to be mended first", "--apply")
            os.unlink(path)
            self.put(f"{ETC}/{name}", "x")
        shutil.rmtree(self.path(f"{ETC}/certs"))
        os.symlink("/etc", self.path(f"{ETC}/certs"))
        self.assertRegex(self.notes("problems")[f"/{ETC}/certs"], "it is no directory")
        self.refused("has to be mended first", "--apply")

    def test_out_of_the_root(self):
        self.host_5()
        outside = tempfile.mkdtemp(prefix="wlagent-outside.")
        self.addCleanup(shutil.rmtree, outside)
        os.symlink(outside, self.path("etc/systemd/system/wlagentd.service.d"))
        self.refused("leads over a symbolic link")
        self.assertEqual(os.listdir(outside), [])
        # The first name may be a link, which leads where it would if this were the root.
        os.unlink(self.path("etc/systemd/system/wlagentd.service.d"))
        os.rename(self.path("var"), self.path("data"))
        os.symlink("/data", self.path("var"))
        self.migrate("--apply")
        self.assertTrue(os.path.isdir(self.path("data/lib/workload-agent-migration")))

    def test_a_backup_of_somebody(self):
        self.host_5()
        self.make(BACKUP, 0o755)
        self.refused("open to others than root", "--apply", hint="find out who made it")
        self.make(BACKUP, 0o700, TAGENT)
        self.refused("open to others than root", "--undo")

    def test_a_damaged_journal(self):
        self.host_5()
        self.migrate("--apply")
        self.put(f"{BACKUP}/journal.json", '{"version":2}', 0o600)
        self.refused("journal.json: ", "--undo", hint="put them back by hand")

    def test_origins(self):
        self.host_5()
        for origin in ("http://kbs.example", "https://kbs.example/kbs", "kbs"):
            self.refused("--allow-key-origin: ", "--allow-key-origin", origin)

    def test_usage(self):
        for arguments in (("--apply", "--undo"), ("--undo", "--json"), ("--force",), ("--forget-original", "--apply"),
                          ("--undo", "--allow-key-origin", KBS)):
            self.refused("exclude each other|belong", *arguments, code=2)

    def test_only_root(self):
        self.host_5()
        done = subprocess.run([running.WLAGENT, "migrate", "--root", self.root, "--undo"], capture_output=True,
                              text=True, check=False, user=65534, group=65534, extra_groups=[])
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(re.search("only root can do this|lock", done.stderr), done.stderr)


if __name__ == "__main__":
    unittest.main()
