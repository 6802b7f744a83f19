# SPDX-License-Identifier: Apache-2.0
"""wlagent doctor finds each fault, names its remedy, and is content with a healthy host."""

import ctypes
import json
import os
import re
import resource

import harness

PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14
OF_THE_MACHINE = {"libvirt-hook", "libvirt-selinux", "libvirt-apparmor", "libvirt-keys", "libvirt-saved", "kernel",
                  "device-mapper", "layer-directory", "image-roots", "volumed", "swap", "hibernation"}
TOOLS = os.path.join(harness.BUILD, "tests", "integration")


class DoctorTest(harness.AgentTest):
    def setUp(self):
        super().setUp()
        self.tools = os.path.join(self.directory, "tools")
        self.ocicrypt = os.path.join(self.directory, "ocicrypt.json")
        os.mkdir(self.tools)
        self.install("skopeo", "new-client")
        self.provide(wlagent={"grpc": f"unix://{self.agent.socket}"})

    def install(self, name, tool):
        os.symlink(os.path.join(TOOLS, tool), os.path.join(self.tools, name))

    def script(self, name, text):
        path = os.path.join(self.tools, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)

    def provide(self, text=None, **providers):
        with open(self.ocicrypt, "w", encoding="utf-8") as file:
            file.write(text if text is not None else json.dumps({"key-providers": providers}))

    def doctor(self, *arguments, variable=True, **options):
        # These hosts are made by root, who stands for wlagentd's user where there is none.
        environment = {**os.environ, "PATH": self.tools, "LD_PRELOAD": os.path.join(TOOLS, "libdaemon_user.so"),
                       "NO_DAEMON_USER": "1"}
        environment.pop("OCICRYPT_KEYPROVIDER_CONFIG", None)
        if variable:
            environment["OCICRYPT_KEYPROVIDER_CONFIG"] = self.ocicrypt
        return self.agent.run("doctor", *arguments, check=False, env=environment, **options)

    def findings(self, **options):
        """The report, after checks that hold for every report."""
        done = self.doctor("--json", **options)
        self.assertEqual(done.stderr, b"")
        report = json.loads(done.stdout)
        self.assertEqual(list(report), ["version", "findings", "failures", "warnings"])
        for finding in report["findings"]:
            self.assertEqual(list(finding), ["check", "result", "text", "remedy"])
            self.assertIn(finding["result"], ("ok", "warning", "failure"))
            self.assertEqual(finding["result"] == "ok", finding["remedy"] is None, finding)
        for kind in ("failure", "warning"):
            self.assertEqual(report[f"{kind}s"], sum(finding["result"] == kind for finding in report["findings"]))
        self.assertEqual(done.returncode, 1 if report["failures"] else 0)
        return report["findings"]

    def finds(self, result, check, pattern, remedy=None, findings=None, **options):
        found = [finding for finding in findings or self.findings(**options)
                 if finding["check"] == check and finding["result"] == result]
        self.assertTrue(found, f"no {result} of {check}")
        texts = "\n".join(finding["text"] for finding in found)
        self.assertRegex(texts, re.compile(pattern, re.MULTILINE))
        if remedy:
            self.assertRegex("\n".join(finding["remedy"] or "" for finding in found), re.compile(remedy, re.MULTILINE))


class Healthy(DoctorTest):
    def test_nothing_to_report(self):
        self.agent.run("key", "create", "web-1")
        self.agent.start()
        findings = self.findings()
        self.assertEqual([finding["check"] for finding in findings if finding["result"] != "ok"
                          and finding["check"] not in OF_THE_MACHINE], [])
        # What has no part in it: the machine's own libvirt, where one runs VMs with disks of wlagent.
        if any(finding["check"] in OF_THE_MACHINE and finding["result"] != "ok" for finding in findings):
            return

        lines = self.doctor().stdout.decode().splitlines()
        self.assertEqual(lines[-1], "0 failures, 0 warnings")
        self.assertTrue(all(line.startswith("ok ") for line in lines[:-1]), lines)
        self.assertIn(f"ok       keys               1 of 1 keys in {self.agent.state}/keys are for this host", lines)

    def test_it_changes_nothing(self):
        def state():
            return [(root, names, files) for root, names, files in sorted(os.walk(self.agent.directory))]

        before = state()
        self.doctor()
        self.assertEqual(state(), before)

    def test_bound_to_pcrs(self):
        self.agent.run("setup", "--replace", "--pcrs", "7,16")
        self.finds("ok", "binding-key", r"^[0-9a-f]{16}\.\.\., bound to PCRs 7,16$")
        self.finds("ok", "unbind", "its PCRs are as they were at setup$")


class Tpm(DoctorTest):
    def test_absent(self):
        self.tpm.stop()
        self.finds("failure", "tpm", f"{self.tpm.tcti}: no connection to the TPM", "check Device=")

    def test_not_set_up(self):
        os.unlink(os.path.join(self.agent.state, "binding-key.json"))
        self.finds("failure", "binding-key", "^this host has no binding key: .*binding-key.json does not exist$",
                   "^run 'wlagent setup'$")

    def test_pcr_changed(self):
        self.agent.run("setup", "--replace", "--pcrs", "16")
        self.tpm.tool("tpm2_pcrextend", "16:sha256=" + "11" * 32)
        self.finds("failure", "unbind", "^opening a value of our own: .*PCR")

    def test_another_tpm(self):
        self.tpm.stop()
        other = harness.Swtpm(os.path.join(self.directory, "other-tpm")).start()
        self.addCleanup(other.stop)
        self.agent.write_config(TPM={"Device": other.tcti})
        self.finds("failure", "unbind", "^opening a value of our own: ")


class Host(DoctorTest):
    def test_memory_lock_limit(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
            # root may lock what it likes with this capability (prctl(2), capabilities(7)).
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)

        self.finds("failure", "memory-lock", "^the kernel refuses to lock the 256 KiB of memory that keys need$",
                   "LimitMEMLOCK", preexec_fn=limit)
        self.agent.write_config(Agent={"AllowUnlockedMemory": "yes"})
        self.finds("warning", "memory-lock", "^AllowUnlockedMemory=yes: keys may be swapped to disk$")

    def test_state_directory(self):
        os.chmod(self.agent.state, 0o777)
        self.finds("failure", "state-directory", r"state is open to others \(mode 0777\)$", "chmod 0750")
        os.chmod(self.agent.state, 0o750)
        os.chmod(os.path.join(self.agent.state, "keys"), 0o750)
        self.finds("failure", "state-directory", r"state/keys is open to others \(mode 0750\)$", "chmod 0750")
        os.rmdir(os.path.join(self.agent.state, "keys"))
        self.finds("failure", "state-directory", "state/keys: does not exist$", "^run 'wlagent setup'$")
        self.finds("failure", "keys", "^there is no key store ", "^run 'wlagent setup' first$")

    def test_keys(self):
        keys = os.path.join(self.agent.state, "keys")
        for name in ("lost", "torn", "open"):
            self.agent.run("key", "create", name)
        self.agent.run("setup", "--replace")
        self.agent.run("key", "create", "good")
        os.truncate(os.path.join(keys, "torn.json"), 100)
        os.chmod(os.path.join(keys, "open.json"), 0o666)
        self.finds("failure", "keys", "torn.json: not a whole JSON text", "^the file is damaged: import it again")
        self.finds("failure", "keys", r"open.json: open to other users \(mode 0666\)", "mode 0600")
        self.finds("warning", "keys", r"^key lost is wrapped for another binding key \([0-9a-f]{16}\.\.\.\)$",
                   "^have its owner wrap it for this host again")
        self.finds("ok", "keys", "^1 of 4 keys in ")


class Daemon(DoctorTest):
    def test_down(self):
        self.finds("failure", "daemon", "^wlagentd is not running: .*: No such file or directory$",
                   "systemctl enable --now wlagentd.socket")
        self.finds("failure", "keyprovider-socket", "wlagent.sock: does not exist$", "systemctl")
        self.finds("failure", "control-socket", "control.sock: does not exist$", "systemctl")

    def test_sockets(self):
        self.agent.start()
        os.chmod(self.agent.socket, 0o666)
        self.finds("warning", "keyprovider-socket", r"may be used by everyone \(mode 0666\)$")
        os.unlink(self.agent.control)
        with open(self.agent.control, "w", encoding="utf-8"):
            pass
        self.finds("failure", "control-socket", "control.sock is not a socket$")

    def test_it_uses_an_older_binding_key(self):
        self.agent.start()
        # What a daemon that was not restarted would go on with.
        other = harness.Swtpm(os.path.join(self.directory, "other-tpm")).start()
        self.addCleanup(other.stop)
        agent = self.new_agent("other", other.tcti)
        agent.run("setup")
        agent.write_config(Agent={"ControlSocket": self.agent.control})
        environment = {**os.environ, "PATH": self.tools, "OCICRYPT_KEYPROVIDER_CONFIG": self.ocicrypt}
        report = json.loads(agent.run("doctor", "--json", check=False, env=environment).stdout)
        self.assertTrue(any(finding["check"] == "daemon-binding-key" and "another binding key" in finding["text"]
                            for finding in report["findings"]))


class Ocicrypt(DoctorTest):
    def refused(self, pattern, remedy=None):
        self.finds("failure", "ocicrypt-config", pattern, remedy)

    def test_none(self):
        os.unlink(self.ocicrypt)
        self.refused(f"^OCICRYPT_KEYPROVIDER_CONFIG names {self.ocicrypt}, which does not exist$", "^set OCICRYPT_")
        if not any(map(os.path.exists, ("/etc/workload-agent/ocicrypt.json", "/etc/crio/keyprovider.json",
                                        "/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf"))):
            self.finds("warning", "ocicrypt-config", "^no ocicrypt configuration was found", variable=False)

    def test_no_json(self):
        self.provide('{"key-providers":')
        self.refused("ocicrypt.json: JSON: ")
        self.provide("{}")
        self.refused('there is no object "key-providers"$')

    def test_shapes(self):
        self.provide(tool={"path": "/usr/bin/wlagent"})
        self.refused('provider tool has neither "grpc" nor "cmd"$')
        self.provide(wlagent={"grpc": self.agent.socket})
        self.refused("provider wlagent has a bare path as address$", 'write "grpc": "unix:///PATH", with three slashes')
        self.provide(wlagent={"grpc": "unix:///run/other.sock"}, kms={"grpc": "kms.example:443"})
        self.refused(f"no provider in it leads to unix://{self.agent.socket}$")
        self.provide(wlagent={"cmd": {"path": "/nonexistent/wlagent", "args": ["keyprovider"]}})
        self.refused("provider wlagent runs /nonexistent/wlagent, which is not there$")
        self.provide(wlagent={"cmd": {"args": []}})
        self.refused('the "cmd" of provider wlagent has no "path"$')

    def test_cmd_shadows_grpc(self):
        self.provide(wlagent={"cmd": {"path": harness.WLAGENT, "args": ["keyprovider"]},
                              "grpc": f"unix://{self.agent.socket}"})
        self.finds("warning", "ocicrypt-config", '"cmd" of provider wlagent shadows its "grpc"$', 'remove "cmd" or "grpc"')
        self.finds("ok", "ocicrypt-config", "these providers lead to this agent: wlagent$")

    def test_a_link_that_leads_here(self):
        link = os.path.join(self.directory, "link")
        os.symlink(self.agent.run_directory, link)
        self.provide(isecl={"grpc": f"unix://{link}/wlagent.sock"})
        self.finds("ok", "ocicrypt-config", "these providers lead to this agent: isecl$")
        self.provide(isecl={"grpc": f"unix://{link}/other.sock"})
        self.refused("no provider in it leads to ")
        self.provide(isecl={"grpc": f"unix://{link}-none/wlagent.sock"})
        self.refused("no provider in it leads to ")

    def test_names_that_lead_here(self):
        self.provide(wlagent={"grpc": f"unix://{self.agent.socket}"}, isecl={"grpc": f"unix:{self.agent.socket}"},
                     tool={"cmd": {"path": "/usr/bin/tool"}}, kms={"grpc": "kms.example:443"})
        self.finds("ok", "ocicrypt-config", "these providers lead to this agent: wlagent, isecl$")

    def test_the_packaged_files(self):
        for path in (os.path.join(harness.TOP, "packaging", "ocicrypt", "ocicrypt.json"),
                     os.path.join(harness.BUILD, "packaging", "ocicrypt", "ocicrypt-cmd.json")):
            with open(path, encoding="utf-8") as file:
                packaged = file.read()
            self.provide(re.sub('"/[^"]*/bin/wlagent"', f'"{harness.WLAGENT}"', packaged)
                         .replace("/run/workload-agent/wlagent.sock", self.agent.socket))
            self.finds("ok", "ocicrypt-config", "lead to this agent: wlagent, attestation-agent, isecl$")


class Clients(DoctorTest):
    def test_versions(self):
        self.install("podman", "old-client")
        self.script("buildah", "echo buildah of a script\n")
        self.script("crio", "exec /bin/sleep 60\n")
        found = self.findings()
        self.finds("ok", "clients", r"tools/skopeo knows keyproviders \(client version 2.0.0\)", findings=found)
        self.finds("warning", "clients", r"tools/podman is too old for keyproviders \(client version 1.0.0\)",
                   "ocicrypt 1.1.0 or later", findings=found)
        self.finds("ok", "clients", r"tools/buildah is a script \(buildah of a script\)", findings=found)
        self.finds("warning", "clients", "tools/crio --version does not end", "^run it by hand", findings=found)

    def test_containerd(self):
        self.script("containerd", "echo containerd github.com/containerd/containerd v1.7.24 x\n")
        self.finds("warning", "clients", "tools/containerd needs ctd-decoder", "install ctd-decoder")
        self.install("ctd-decoder", "new-client")
        self.finds("ok", "clients", "tools/containerd is there")
        for version, pattern, remedy in (
                ("2.0.0", "does not decrypt images that Kubernetes pulls", "2.1.7, 2.2.2 or later"),
                ("2.1.6", "does not decrypt", "2.1.7"), ("2.2.1", "does not decrypt", "2.2.2"),
                ("2.1.7", "only on its local pull path", "use_local_image_pull = true"),
                ("2.2.2", "only on its local pull path", "use_local_image_pull = true")):
            self.script("containerd", f"echo containerd github.com/containerd/containerd v{version} x\n")
            self.finds("warning", "clients", f"tools/containerd {pattern}|tools/containerd decrypts.*{pattern}", remedy)

    def test_none(self):
        os.unlink(os.path.join(self.tools, "skopeo"))
        self.finds("warning", "clients", "^none of skopeo, podman, buildah, CRI-O and containerd is installed$")
