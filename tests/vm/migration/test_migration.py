# SPDX-License-Identifier: Apache-2.0
"""Live migration of protected VMs between two hosts, each with its own TPM, wlagentd, wlagent-volumed and libvirtd;
both have the key and the image."""

import json
import os
import re
import shutil
import subprocess
import time
import xmlrpc.client

import host
from host import LAYERS, output, run, virsh

HERE = "qemu+tcp://vm1/system"
THERE = "qemu+tcp://vm2/system"
SHARED = "/out/shared"
TEXT = "text that only the guest may see"


def until(condition, what, seconds=60):
    """As running.poll(), for what takes a while to ask for."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for: {what}")
        time.sleep(0.2)
    return value


class MigrationTest(host.VmTest):
    peer = None

    @classmethod
    def setUpClass(cls):
        if not host.VmTest.host:
            machine = host.Host()
            machine.agent.write_config(Volumes={"ImageRoots": f"{host.IMAGES} {SHARED}"})
            host.VmTest.host = machine.start()
            MigrationTest.peer = xmlrpc.client.ServerProxy("http://vm2:8000")
            until(cls.peer_answers, "the other host to answer", 120)

    @classmethod
    def peer_answers(cls):
        try:
            return cls.there("machine.leftovers()") == []
        except OSError:
            return False

    @classmethod
    def there(cls, expression):
        """What the other host says to that."""
        return json.loads(cls.peer.evaluate(expression))

    def setUp(self):
        super().setUp()
        self.there(f"os.mkdir({self.directory!r})")
        self.addCleanup(self.there, f"shutil.rmtree({self.directory!r})")
        self.addCleanup(self.keep_their_logs)
        self.addCleanup(until, lambda: not self.there("machine.leftovers()"), "nothing to be left there", 20)

    def keep_their_logs(self):
        result = self._outcome.result
        kept = os.environ.get("WLAGENT_TEST_LOGS")
        if kept and any(test is self for test, _ in result.failures + result.errors):
            self.there(f"host.keep_logs({os.path.join(kept, self.id(), 'vm2')!r})")

    def running(self, name, mode="layer", directory=None, **disk):
        """A guest that runs here, whose image is there too."""
        image = self.image(TEXT, name, system="migration/counter.S", **disk)
        for path in (image, image + ".header"):
            moved = shutil.copy(path, directory or SHARED)
            if not directory:
                self.there(f"shutil.copy({moved!r}, {self.directory!r})")
                os.unlink(moved)
        image = os.path.join(directory or self.directory, name)
        guest = self.guest(name).protected_disk(image, mode)
        guest.firmware = ""  # the counter lives by the clock of QEMU's own
        guest.define()
        self.addCleanup(self.there, f"host.run('rm', '-rf', '{LAYERS}/{guest.uuid}')")
        self.addCleanup(shutil.rmtree, os.path.join(LAYERS, guest.uuid), ignore_errors=True)
        self.addCleanup(self.there, f"host.virsh('undefine', {name!r}, check=False)")
        self.addCleanup(self.there, f"host.virsh('destroy', {name!r}, check=False)")
        guest.start()
        self.goes_on(guest)
        return guest

    def migrate(self, guest, *flags, to=THERE, check=True):
        command = ("migrate", "--live", *flags, guest.name, to)
        if to == THERE:
            return virsh(*command, check=check)
        done = self.there(f"vars(host.virsh(*{command!r}, check=False))")
        done = subprocess.CompletedProcess(**done)
        self.assertFalse(check and done.returncode, done.stderr)
        return done

    def lines(self, guest, at=None):
        """What the guest has said here or there."""
        if at == THERE:
            text = self.there(f"host.Guest({guest.name!r}).console_text()")
        else:
            text = guest.console_text()
        self.assertNotIn("lost", text)
        return text.split("\n")[:-1]

    def goes_on(self, guest, at=HERE):
        """It reads and writes its disk."""
        before = len(self.lines(guest, at))
        until(lambda: len(self.lines(guest, at)) > before + 2, f"{guest.name} to go on")

    def counts(self, *parts):
        """The numbers of a guest, which are without a gap whatever host it said them on."""
        numbers = []
        for line in (line for part in parts for line in part):
            self.assertRegex(line, f"^{TEXT} [0-9a-f]{{4}}$")
            numbers.append(int(line[-4:], 16))
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def vm(self, guest, at=HERE):
        """What wlagentd knows of it."""
        status = self.there("machine.agent.status()") if at == THERE else self.host.agent.status()
        return next((vm for vm in status["vms"] if vm["uuid"] == guest.uuid), None)

    def forget(self, at):
        """Its libvirt does not know the VM any more: what the VM has left there may be replaced."""
        command = "'vm', 'reconcile'"
        if at == THERE:
            self.there(f"machine.agent.output({command})")
        else:
            self.host.agent.output("vm", "reconcile")

    def gone(self, guest, at=HERE):
        left = "machine.leftovers()"
        until(lambda: not self.vm(guest, at), f"{guest.name} to be forgotten", 20)
        until(lambda: not (self.there(left) if at == THERE else self.host.leftovers()), "all to be closed", 20)


class Layers(MigrationTest):
    def test_there_and_back(self):
        guest = self.running("walker")
        flags = ("--copy-storage-inc", "--persistent", "--undefinesource")
        self.migrate(guest, *flags)
        first = self.lines(guest)
        self.gone(guest)
        self.assertNotIn("walker", output("virsh", "list", "--all"))
        self.goes_on(guest, THERE)
        self.assertEqual(self.vm(guest, THERE)["state"], "running")
        self.assertEqual(len(self.there("machine.mappings()")), 2)

        refused = self.migrate(guest, *flags, to=HERE, check=False)
        self.assertRegex(refused.stderr, "layer: one is on this host already.*wlagent vm reconcile")
        self.assertTrue(os.path.exists(os.path.join(LAYERS, guest.uuid, "vda", "disk")))
        self.forget(HERE)
        self.migrate(guest, *flags, to=HERE)
        second = self.lines(guest, THERE)
        self.gone(guest, THERE)
        self.goes_on(guest)
        self.counts(first, second, self.lines(guest))
        self.assertEqual(self.vm(guest)["state"], "running")
        self.assertEqual(self.host.plaintext(TEXT), [])
        self.assertEqual(self.there(f"machine.plaintext({TEXT!r})"), [])

    def test_without_a_copy_it_stays(self):
        """libvirt takes any block device for one that both hosts see."""
        guest = self.running("stayer")
        done = self.migrate(guest, check=False)
        self.assertRegex(done.stderr, "the layer wlagent-.*-vda is not copied to this host")
        self.goes_on(guest)
        self.gone(guest, THERE)
        self.forget(THERE)
        self.migrate(guest, "--copy-storage-all")
        self.goes_on(guest, THERE)
        self.counts(self.lines(guest), self.lines(guest, THERE))

    def begin_slowly(self, guest):
        """A migration that takes minutes, once it copies."""
        process = subprocess.Popen(["virsh", "migrate", "--live", "--copy-storage-all", "--bandwidth", "1", guest.name,
                                    THERE], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        layer = os.path.join(LAYERS, guest.uuid, "vda", "disk")
        until(lambda: self.there(f"host.Guest({guest.name!r}).pid"), "QEMU to start there")
        until(lambda: self.there(f"os.path.exists({layer!r}) and os.stat({layer!r}).st_blocks") > 4096, "the copy to begin")
        return process

    def test_cut_off_midway(self):
        guest = self.running("cut", size=32 << 20)
        cuts = {"cancelled": lambda: virsh("domjobabort", guest.name),
                "QEMU killed there": lambda: self.there("os.kill(host.Guest('cut').pid, 9)")}
        for name, cut in cuts.items():
            with self.subTest(name):
                process = self.begin_slowly(guest)
                cut()
                self.assertNotEqual(process.wait(60), 0)
                process.stderr.close()
                self.goes_on(guest)
                self.gone(guest, THERE)
                self.forget(THERE)
                self.assertEqual(self.vm(guest)["state"], "running")
        self.migrate(guest, "--copy-storage-inc")
        self.goes_on(guest, THERE)
        self.counts(self.lines(guest), self.lines(guest, THERE))
        self.gone(guest)


class Refusals(MigrationTest):
    def stays(self, guest, pattern, *flags, to=THERE):
        done = virsh("migrate", "--live", "--copy-storage-inc", *flags, guest.name, to, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr.strip(), f"\\A[^\\n]*{pattern}[^\\n]*\\Z")
        self.goes_on(guest)
        self.assertEqual(self.vm(guest)["state"], "running")
        self.assertEqual(self.there("machine.leftovers()"), [])

    def edited(self, guest, edit):
        path = os.path.join(self.directory, "edited.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(edit(output("virsh", "dumpxml", "--migratable", guest.name)))
        return "--xml", path

    def restart_agent_there(self):
        self.there("machine.agent.stop()")
        self.there("machine.agent.start()")

    def test_reasons(self):
        guest = self.running("refused")
        with self.subTest("the key is not there"):
            self.there("machine.agent.remove_key(host.KEY_NAME)")
            self.restart_agent_there()
            self.stays(guest, "local:///vm")
        with self.subTest("the state of that host has changed"):
            self.there("machine.agent.run('setup', '--replace', '--pcrs', '16')")
            self.there("machine.agent.import_key(host.KEY_NAME, host.KEY)")
            self.restart_agent_there()
            self.there("host.run('tpm2_pcrextend', '16:sha256=' + '00' * 32)")
            self.stays(guest, "PCR 16 changed")
            self.there("host.run('tpm2_pcrreset', '16')")
        with self.subTest("it runs here"):
            self.stays(guest, "runs on this host", to=HERE)
        with self.subTest("a definition without the element"):
            self.stays(guest, "vda", *self.edited(guest, lambda xml: re.sub("(?s)<metadata>.*</metadata>", "", xml)))
        with self.subTest("a definition with another image"):
            self.stays(guest, "it does not exist",
                       *self.edited(guest, lambda xml: xml.replace(f"{self.directory}/refused", f"{self.directory}/x")))
        with self.subTest("wlagentd is off"):
            self.there("machine.agent.stop()")
            try:
                self.stays(guest, "wlagentd cannot be asked")
            finally:
                self.there("machine.agent.start()")
        self.migrate(guest, "--copy-storage-inc")
        self.goes_on(guest, THERE)
        self.counts(self.lines(guest), self.lines(guest, THERE))

    def test_what_was_opened_for_nothing_is_closed(self):
        """libvirt calls no hook when it gives up between migrate and prepare."""
        guest = self.running("leased")
        self.there("machine.agent.write_config(Libvirt={'MigrateLeaseSeconds': 5})")
        self.there("machine.agent.process.send_signal(1)")
        self.there("host.Guest('leased').define()")
        done = self.migrate(guest, "--copy-storage-inc", check=False)
        self.assertRegex(done.stderr, "already exists")
        self.assertEqual(self.vm(guest, THERE)["state"], "open")
        until(lambda: self.vm(guest, THERE)["state"] == "expected", "the lease to end", 20)
        until(lambda: not self.there("machine.leftovers()"), "all to be closed", 20)
        self.assertIn("its time is over", self.there("machine.agent.log_text()"))
        self.there("host.virsh('undefine', 'leased')")
        self.migrate(guest, "--copy-storage-inc")
        self.goes_on(guest, THERE)


class Direct(MigrationTest):
    def test_copied(self):
        guest = self.running("copied", "direct")
        for to in (THERE, HERE):
            self.migrate(guest, "--copy-storage-all", to=to)
            self.goes_on(guest, to)

    def test_on_storage_that_both_see(self):
        directory = os.path.join(SHARED, "images")
        os.mkdir(directory)
        self.addCleanup(shutil.rmtree, directory)
        guest = self.running("shared", "direct", directory)
        refused = self.migrate(guest, check=False)
        self.assertRegex(refused.stderr, "wlagent-volumed\\(8\\)")
        self.gone(guest, THERE)

        with self.subTest("the other host knows the file"):
            records = os.path.join(LAYERS, "direct")
            for name in os.listdir(records):
                self.there(f"os.makedirs({records!r}, mode=0o700, exist_ok=True)")
                self.there(f"shutil.copy({shutil.copy(os.path.join(records, name), SHARED)!r}, {records!r})")
        parts = []
        for source, to in ((HERE, THERE), (THERE, HERE)):
            self.migrate(guest, to=to)
            parts.append(self.lines(guest, source))
            self.gone(guest, source)
            self.goes_on(guest, to)
        self.counts(*parts, self.lines(guest))
        with open(os.path.join(directory, "shared"), "rb") as image:
            self.assertNotIn(TEXT.encode(), image.read())
