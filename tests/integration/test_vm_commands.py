# SPDX-License-Identifier: Apache-2.0
"""wlagent vm with a real libvirt of its own: the qemu driver of an ordinary user's session, which needs neither
root nor a kernel that runs VMs. What starts a domain is in tests/vm."""

import contextlib
import json
import os
import re
import pwd
import shutil
import socket
import subprocess
import tempfile
import unittest

import running
from fake_control import CONTROL_DOMAINS, CONTROL_LAYER_REMOVE, FakeControl

UUID = "6f0b6f6e-1d5e-4f3f-9d53-0123456789ab"
VOLUME = f"/dev/mapper/wlagent-{UUID}-vda"
SESSION = "qemu:///session"
TEST_DRIVER = "test:///default"

DEFINITION = f"""
<domain type='qemu'>
  <name>web</name>
  <uuid>{UUID}</uuid>
  <metadata>
    <app:tag xmlns:app="http://example.org/a" b="1"><!-- a comment --><app:sub>text</app:sub></app:tag>
  </metadata>
  <memory>65536</memory>
  <os><type>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='writeback' iothread='1'/>
      <source file='/srv/web.qcow2'><seclabel model='dac' relabel='no'/></source>
      <backingStore/>
      <target dev='vda' bus='virtio'/>
      <serial>one</serial>
      <boot order='1'/>
    </disk>
    <disk type='file' device='cdrom'><source file='/srv/cd.iso'/><target dev='sda' bus='sata'/></disk>
    <graphics type='vnc' passwd='hunter2'/>
  </devices>
  <iothreads>2</iothreads>
</domain>
"""


class VmCommands(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="wlagent-test.")
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        self.user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self.home = self.path("home")
        self.images = self.path("images")
        for directory in (self.home, self.images):
            os.mkdir(directory)
            os.chown(directory, self.user.pw_uid, self.user.pw_gid)
        self.image = os.path.join(self.images, "web.img")
        self.config = self.path("wlagent.conf")
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(f"[Agent]\nRuntimeDirectory={self.directory}\n[Volumes]\nImageRoots={self.images}\n")

    def path(self, name):
        return os.path.join(self.directory, name)

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": self.home, "XDG_RUNTIME_DIR": self.home,
                "WLAGENT_LIBEXEC": running.WLAGENT_LIBEXEC, "LIBVIRT_DEFAULT_URI": SESSION, **more}

    def execute(self, *command, check=True, environment=None, **options):
        user = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run(command, env=environment or self.environment(), text=True, stdin=subprocess.DEVNULL,
                              capture_output=True, check=False, timeout=60, **user, **options)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
        return done

    def vm(self, *words, check=True, **options):
        return self.execute(running.WLAGENT, "--config", self.config, "vm", *words, check=check, **options)

    def make_image(self):
        """An ordinary LUKS2 image, which anybody's tools make."""
        with open(self.image, "wb") as out:
            out.truncate(32 << 20)
        os.chown(self.image, self.user.pw_uid, self.user.pw_gid)
        subprocess.run(["cryptsetup", "luksFormat", "--batch-mode", "--type=luks2", "--pbkdf=pbkdf2",
                        "--pbkdf-force-iterations=1000", "--key-file=-", self.image], input=b"x", check=True)

    def protect(self, *more, uri=SESSION, **options):
        return self.vm("protect", "--connect", uri, "--disk", "vda", "--key", "local:///web", "--image",
                       self.image, *more, "web", **options)

    def definition(self):
        return self.execute("virsh", "dumpxml", "--inactive", "--security-info", "web").stdout


class Session(VmCommands):
    def setUp(self):
        super().setUp()
        self.make_image()
        with open(self.path("web.xml"), "w", encoding="utf-8") as out:
            out.write(DEFINITION)
        self.addCleanup(self.stop_libvirt)
        self.execute("virsh", "define", self.path("web.xml"))
        self.former = self.definition()

    @unittest.skipIf(os.geteuid(), "wlagent-volumed runs as root")
    def test_a_directory_that_volumed_does_not_know_yet(self):
        with open(self.path("before.conf"), "w", encoding="utf-8") as config:
            config.write(f"[Agent]\nRuntimeDirectory={self.directory}\n[Volumes]\nImageRoots={self.directory}/other\n"
                         f"LayerDirectory={self.directory}/layers\nAgentUser={self.user.pw_name}\n")

        def says(config, uri=SESSION):
            """With a wlagent-volumed that was started with this."""
            program = os.path.join(running.BUILD, "agent", "volume", "wlagent-volumed")
            with subprocess.Popen([program, "--config", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as volumed:
                try:
                    running.poll(lambda: running.connects(self.path("volumed.sock"), socket.SOCK_SEQPACKET),
                                 "wlagent-volumed to listen")
                    return self.protect(uri=uri).stderr
                finally:
                    volumed.terminate()

        self.assertEqual(self.protect().stderr, "")
        self.assertRegex(says(self.path("before.conf")),
                         "^wlagent: wlagent-volumed, as it runs, does not open the image, and domain web does not "
                         "start: .*it is below none of the directories for images.*systemctl restart wlagent-volumed")
        with open(self.path("elsewhere.xml"), "w", encoding="utf-8") as out:
            out.write("<node>" + DEFINITION.replace("<domain type='qemu'>", "<domain type='test'>") + "</node>")
        elsewhere = f"test://{self.path('elsewhere.xml')}"
        self.assertIn("is protected", self.protect(uri=elsewhere).stdout)
        self.assertEqual(says(self.path("before.conf"), elsewhere), "")
        with open(self.config, "a", encoding="utf-8") as config:
            config.write(f"LayerDirectory={self.directory}/layers\nAgentUser={self.user.pw_name}\n")
        self.assertEqual(says(self.config), "")

    def stop_libvirt(self):
        """The daemon that virsh has started, by the file in which it says who it is."""
        for name in ("libvirtd.pid", "virtqemud.pid"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(os.path.join(self.home, "libvirt", name), encoding="ascii") as pid_file:
                    pid = int(pid_file.read())
                os.kill(pid, 15)
                running.poll(lambda: not os.path.exists(f"/proc/{pid}/exe") or not self.alive(pid), "libvirt to end")

    @staticmethod
    def alive(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def discard(self):
        """What a qcow2 in a volume has: libvirt and QEMU are to free no cluster, or not to hear of discards."""
        told = self.execute("virsh", "version").stdout
        libvirt, qemu = (tuple(int(part) for part in re.search(pattern + r" (\d+)\.(\d+)\.", told).groups())
                         for pattern in ("Using library: libvirt", "Running hypervisor: QEMU"))
        if libvirt >= (9, 5) and qemu >= (8, 2):
            return ["discard='unmap'", "discard_no_unref='on'"]
        return ["discard='ignore'"]

    def test_there_and_back(self):
        self.protect()
        changed = self.definition()
        removed = [line for line in self.former.splitlines() if line not in changed.splitlines()]
        added = [line for line in changed.splitlines() if line not in self.former.splitlines()]
        driver = [line.strip() for line in added if "<driver name='qemu'" in line]
        added = [line for line in added if line.strip() not in driver]
        self.assertEqual([line.strip() for line in removed], [
            "<disk type='file' device='disk'>",
            "<driver name='qemu' type='qcow2' cache='writeback' iothread='1'/>",
            "<source file='/srv/web.qcow2'>",
            "<seclabel model='dac' relabel='no'/>",
            "</source>",
            "<backingStore/>"])
        self.assertEqual([line.strip() for line in added], [
            '<wlagent:protected xmlns:wlagent="urn:wlagent:domain:1">',
            f'<wlagent:disk target="vda" mode="layer" image="{self.image}" key="local:///web">',
            '<wlagent:former type="file">',
            '<driver name="qemu" type="qcow2" cache="writeback" iothread="1"/>',
            '<source file="/srv/web.qcow2">',
            '<seclabel model="dac" relabel="no"/>',
            "</source>",
            "<backingStore/>",
            "</wlagent:former>",
            "</wlagent:disk>",
            "</wlagent:protected>",
            "<disk type='block' device='disk'>",
            f"<source dev='{VOLUME}'/>"])
        self.assertEqual(sorted(driver[0].strip("</>").split()), sorted([
            "driver", "name='qemu'", "type='qcow2'", "cache='none'", "iothread='1'", *self.discard()]))

        self.assertIn("was already protected", self.protect().stdout)
        self.assertEqual(self.definition(), changed)
        self.protect("--mode", "direct")
        self.protect("--mode", "ephemeral")
        self.vm("unprotect", "--connect", SESSION, "web")
        self.assertEqual(self.definition(), self.former)

    def test_edits_by_others_keep_what_is_protected(self):
        self.protect()
        self.execute("virsh", "edit", "web", environment=self.environment(EDITOR="sed -i s/65536/131072/g"))
        self.execute("virsh", "desc", "web", "--config", "A new description")
        self.execute("virsh", "metadata", "web", "--config", "--uri", "http://example.org/a", "--key", "app", "--set",
                     "<tag c='2'/>")
        listed = json.loads(self.vm("list", "--connect", SESSION, "--json").stdout)["domains"]
        self.assertEqual([(domain["name"], domain["disks"][0]["device"]) for domain in listed], [("web", VOLUME)])
        self.vm("unprotect", "--connect", SESSION, "web")
        self.assertIn("<source file='/srv/web.qcow2'>", self.definition())
        self.assertIn("131072", self.definition())

    def test_a_clone_is_not_started_from_the_volume_of_the_first(self):
        self.protect()
        other = "00000000-0000-4000-8000-000000000001"
        with open(self.path("copy.xml"), "w", encoding="utf-8") as out:
            out.write(self.definition().replace(f"<uuid>{UUID}", f"<uuid>{other}").replace("<name>web", "<name>copy"))
        self.execute("virsh", "define", self.path("copy.xml"))
        done = self.vm("list", "--connect", SESSION, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, f"copy +cannot start: .*: disk vda is protected, but its source is not "
                                      f"/dev/mapper/wlagent-{other}-vda\n")
        self.vm("protect", "--connect", SESSION, "--disk", "vda", "--key", "local:///web", "--image", self.image, "copy")
        self.vm("list", "--connect", SESSION)


NO_ORPHANS = json.dumps({"review": 1, "orphans": []}).encode()


class Reconcile(VmCommands):
    KNOWN = "6695eb01-f6a4-8304-79aa-97f2502e193f"

    def reconcile(self, reply=NO_ORPHANS, code=0, more=()):
        control = FakeControl(self.path("control.sock"), reply, code, more)
        done = self.vm("reconcile", "--connect", TEST_DRIVER, check=False)
        control.finish()
        return control, done

    def chosen(self, *vms):
        return json.dumps({"review": 7, "orphans": [{"vm": vm, "target": "vda"} for vm in vms]}).encode()

    def test_all_domains_are_told_of(self):
        control, done = self.reconcile()
        self.assertEqual((done.returncode, done.stdout), (0, "wlagentd knows of 1 domains.\n"), done.stderr)
        self.assertEqual(control.command, CONTROL_DOMAINS)
        self.assertEqual(control.payload, {"domains": [{"uuid": self.KNOWN, "active": True}]})

    def test_libvirt_is_asked_again_before_a_layer_goes(self):
        """As if the domain had been defined after the list was made."""
        control, done = self.reconcile(self.chosen(self.KNOWN, UUID), more=[(0, b"")])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(control.later, [(CONTROL_LAYER_REMOVE, {"vm": UUID, "target": "vda", "review": 7})])
        self.assertEqual(done.stdout.splitlines()[1:], [f"The layer of disk vda of VM {UUID} is removed."])

    def test_one_layer_that_stays_is_not_in_the_way(self):
        other = UUID.replace("6", "7")
        control, done = self.reconcile(self.chosen(UUID, other), more=[(5, b"it starts"), (0, b"")])
        self.assertEqual([payload["vm"] for _, payload in control.later], [UUID, other])
        self.assertEqual((done.returncode, done.stderr),
                         (1, f"wlagent: the layer of disk vda of VM {UUID}: it starts\n"))

    def test_an_answer_that_is_not_understood(self):
        for reply in (b"", b"{", b'{"orphans":[]}', self.chosen("x"),
                      json.dumps({"review": 7, "orphans": [{"vm": UUID, "target": "../a"}]}).encode()):
            control, done = self.reconcile(reply)
            self.assertEqual((done.returncode, control.later), (1, []), reply)
            self.assertIn("wlagent: the answer of wlagentd: ", done.stderr)

    def test_a_refusal_is_told(self):
        _, done = self.reconcile(b"not now", code=5)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", "wlagent: not now\n"))

    def test_without_wlagentd(self):
        done = self.vm("reconcile", "--connect", TEST_DRIVER, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("wlagent: wlagentd is not running", done.stderr)

    def test_without_libvirt_nothing_is_said(self):
        """Least of all that there are no domains."""
        with open(self.path("faulty.xml"), "w", encoding="utf-8") as out:
            out.write("<node><domain/></node>")
        control = FakeControl(self.path("control.sock"), NO_ORPHANS)
        self.addCleanup(control.finish)
        for uri in ("test:///nonexistent.xml", f"test://{self.path('faulty.xml')}", "qemu+unix:///system?socket=/none"):
            done = self.vm("reconcile", "--connect", uri, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""), uri)
            self.assertIn(f"wlagent: connecting to libvirt at {uri}: ", done.stderr)
        self.assertIsNone(control.command)
        self.vm("reconcile", "--connect", TEST_DRIVER)


class WithoutTheProgram(VmCommands):
    """On a host without libvirt, where wlagent-vm is not installed."""

    def test_it_says_what_to_install(self):
        environment = self.environment(WLAGENT_LIBEXEC=self.directory)
        for words in (("list",), ("unprotect", "web"), ("reconcile",)):
            done = self.vm(*words, check=False, environment=environment)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertEqual(done.stderr, f"wlagent: {self.directory}/wlagent-vm is not installed\nhint: install wlagent "
                                          "from a build without -Dlibvirt=disabled; only 'wlagent vm' needs it\n")

    def test_help_and_mistakes_are_the_same(self):
        for environment in (self.environment(WLAGENT_LIBEXEC=self.directory), self.environment()):
            self.assertIn("usage: wlagent vm protect ", self.vm("protect", "--help", environment=environment).stdout)
            done = self.vm("unprotect", check=False, environment=environment)
            self.assertEqual(done.returncode, 2)
            self.assertIn("wlagent: the name or UUID of the domain is missing\nusage: wlagent vm unprotect", done.stderr)

    def test_completion_is_silent(self):
        for environment in (self.environment(WLAGENT_LIBEXEC=self.directory), self.environment()):
            done = self.execute(running.WLAGENT, "complete", "--", "vm", "unprotect", "", environment=environment)
            self.assertEqual(done.stderr, "")

    def test_words_arrive_as_they_were_written(self):
        program = self.path("wlagent-vm")
        with open(program, "w", encoding="utf-8") as out:
            out.write("#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\"\n")
        os.chmod(program, 0o755)
        done = self.vm("protect", "--disk", "", "--image=a b", "--dry-run", "--", "--web",
                       environment=self.environment(WLAGENT_LIBEXEC=self.directory))
        self.assertEqual(done.stdout.splitlines()[1:], [
            f"--config={self.config}", "vm", "protect", "--disk=", "--image=a b", "--dry-run", "--", "--web"])
