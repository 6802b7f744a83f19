# SPDX-License-Identifier: Apache-2.0
"""libvirtd, virt-aa-helper and QEMU in the AppArmor profiles that Debian has for them, with wlagent's rules."""

import os
import shutil
import subprocess
import uuid

import host
import test_hook
import test_nova
import units
from host import output, run, virsh
from units import findings

TEXT = "text that only the guest may see"
HOOK_DENIED = "audit deny /etc/libvirt/hooks/** x,\n"
LOCAL_DAEMON = "/etc/apparmor.d/local/usr.sbin.libvirtd"
LOCAL_QEMU = "/etc/apparmor.d/local/abstractions/libvirt-qemu"


def label(pid):
    with open(f"/proc/{pid}/attr/current", encoding="ascii") as file:
        return file.read().strip("\0\n")


def write_rules(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    run("apparmor_parser", "--replace", "/etc/apparmor.d/usr.sbin.libvirtd")


def console(*kept):
    """What a guest says whose disks have, or have not, been written by a start before."""
    lines = [f"disk {number}: {TEXT}\n" + (f"disk {number}: kept {TEXT}\n" if was_kept else "") +
             f"disk {number}: written\n" for number, was_kept in enumerate(kept)]
    return "".join(lines) + "up\n"


class AppArmor(units.ProtectedTest):
    def confined(self, guest):
        self.assertEqual(label(output("pidof", "libvirtd").strip()), "libvirtd (enforce)")
        self.assertEqual(label(guest.pid), f"libvirt-{guest.uuid} (enforce)")

    def refused(self, guest, pattern):
        done = guest.start(check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(guest.state(), "shut off")
        self.gone()

    def replace_rules(self, path, text):
        """Until the end of the test, and in the profile that is loaded."""
        with open(path, encoding="ascii") as file:
            before = file.read()
        self.addCleanup(write_rules, path, before)
        write_rules(path, text)

    def test_every_mode(self):
        guest = self.protected(TEXT, "layer", "direct", "ephemeral", acpi=True)
        for expected in (console(False, False, False), console(True, True, False)):
            self.boots(guest, expected)
            self.confined(guest)
            self.plug_in(guest)
            guest.destroy()
            self.gone()

    def plug_in(self, guest):
        image, plain = self.image(TEXT, "unit-plugged")
        os.unlink(plain)
        device = output("wlagent", "volume", "open", "--vm", guest.uuid, "--disk", "vdd", "--mode", "ephemeral",
                        "--image", image).strip()
        virsh("attach-disk", guest.name, device, "vdd", "--sourcetype", "block", "--driver", "qemu", "--subdriver",
              "qcow2", "--cache", "none")

    def test_the_hook_of_a_vm_that_was_sent_here(self):
        """It looks which disks QEMU has open, in libvirtd's profile; this says that the VM came from another host."""
        guest = self.protected(TEXT, "layer")
        guest.start()
        self.confined(guest)
        run("systemctl", "stop", *units.SOCKETS, *units.SERVICES)

        def started(volume):
            peer = test_hook.Peer("/run/workload-agent/control.sock", test_hook.says(test_hook.reply(0, volume.encode())))
            try:
                done = subprocess.run(["aa-exec", "-p", "libvirtd", "--", host.HOOK_INSTALLED, guest.name, "started",
                                       "begin", "-"], input=test_hook.MARKED[0], capture_output=True, check=False)
            finally:
                peer.close()
                os.unlink("/run/workload-agent/control.sock")
            return done.returncode, done.stderr.decode()

        layer, image = (name for name in sorted(host.Host.mappings(), key=lambda name: "image" in name))
        self.assertEqual(started(layer), (0, ""))
        code, line = started(image)
        self.assertEqual(code, 1)
        self.assertIn(f"the layer {image} is not copied to this host", line)
        guest.destroy()
        self.gone()

    def test_refused(self):
        guest = self.protected(TEXT, "layer")
        run("wlagent", "key", "remove", "--force", "unit")
        self.addCleanup(run, "wlagent", "key", "create", "unit")
        self.refused(guest, "exit status 1: wlagent: .*no key named unit")

    def test_nova(self):
        image, plain = self.image(TEXT)
        os.unlink(plain)
        os.makedirs(os.path.join(host.INSTANCES, "_base"), exist_ok=True)
        instance = test_nova.Instance(str(uuid.uuid4()))
        self.addCleanup(shutil.rmtree, instance.directory)
        self.addCleanup(os.unlink, instance.base)
        shutil.copy(image, instance.base)
        run("wlagent", "image", "register", instance.image, "--header", image + ".header")
        self.addCleanup(run, "wlagent", "image", "unregister", instance.image)
        instance.make_disk()
        self.addCleanup(instance.undefine, check=False)
        self.addCleanup(instance.destroy, check=False)
        instance.define()
        self.boots(instance, console(False))
        self.confined(instance)
        instance.destroy()
        self.gone()

    def test_hook_is_denied(self):
        guest = self.protected(TEXT, "layer")
        self.replace_rules(LOCAL_DAEMON, HOOK_DENIED)
        self.assertIn(("failure", f"AppArmor does not let libvirtd run {host.HOOK_INSTALLED}"),
                      findings("libvirt-apparmor"))
        self.refused(guest, "Permission denied")
        # libvirt starts none without asking.
        plain = host.Guest("plain").disk(host.write_disk(os.path.join(host.PLAIN, "plain"), "plain")).define()
        self.addCleanup(plain.undefine)
        self.refused(plain, "Permission denied")
        self.assertRegex("\n".join(self.denials()), f'profile="libvirtd" name="{host.HOOK_INSTALLED}"')

    def test_without_the_rule_for_images(self):
        guest = self.protected(TEXT, "layer")
        self.replace_rules(LOCAL_QEMU, "")
        self.assertEqual(findings("libvirt-apparmor"),
                         [("failure", "AppArmor keeps QEMU from images that lie below a layer")])
        self.refused(guest, "wlagent-image-.*Permission denied")
        self.assertRegex("\n".join(self.denials()), 'name="/dev/dm-[0-9]+"')

        run("/usr/libexec/wlagent/enable-libvirt")
        self.assertEqual(findings("libvirt-apparmor"),
                         [("ok", "AppArmor lets libvirt run the hook, and QEMU open images")])
        self.boots(guest, console(False))
