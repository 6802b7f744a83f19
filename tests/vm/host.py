# SPDX-License-Identifier: Apache-2.0
"""The test VM as a host of virtual machines: TPM, wlagentd, wlagent-volumed, libvirtd with the hook, and
what must never be left behind on it.

All paths are those of an installed system; the VM is nobody else's. What is in PLAIN and CONSOLES may
hold plaintext, everything else may not."""

import atexit
import contextlib
import functools
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import uuid

import libvirt

import running
from running import BUILD, TOP, poll

os.environ["WLAGENT_LIBEXEC"] = running.WLAGENT_LIBEXEC

VOLUMED = os.path.join(BUILD, "agent", "volume", "wlagent-volumed")
HOOK = os.path.join(BUILD, "hooks", "50-wlagent")
HOOK_INSTALLED = "/etc/libvirt/hooks/qemu.d/50-wlagent"

IMAGES = "/var/lib/libvirt/images"
INSTANCES = "/var/lib/nova/instances"
LAYERS = "/var/lib/workload-agent-volumes"
KEY_NAME = "vm"  # the agent has it from the start
KEY = bytes(range(32))
NAMESPACE = "urn:wlagent:domain:1"
PLAIN = "/plain"
CONSOLES = "/consoles"
FIRMWARE = "/out/firmware"  # firmware.S
LUKS_HEADER = 2 << 20  # of version 1, as cryptsetup aligns what comes after it
STATES = {libvirt.VIR_DOMAIN_RUNNING: "running", libvirt.VIR_DOMAIN_PAUSED: "paused",
          libvirt.VIR_DOMAIN_SHUTDOWN: "in shutdown", libvirt.VIR_DOMAIN_SHUTOFF: "shut off",
          libvirt.VIR_DOMAIN_CRASHED: "crashed"}
# /srv is what is mounted on IMAGES, LAYERS and the agent's state; /written is the rest of the root.
WRITTEN = ["/srv", "/run", "/tmp", "/dev/shm", "/written"]
LOGS = ["/var/log/wlagentd.log", "/var/log/wlagent-volumed.log", "/var/log/libvirt/libvirtd.log",
        "/var/log/libvirt/qemu/*.log", CONSOLES + "/*", "/etc/libvirt/qemu/*.xml"]


def run(*command, stdin=None, check=True, timeout=120):
    """Returns the finished process with text output."""
    done = subprocess.run(command, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr or done.stdout}")
    return done


def output(*command, **options):
    return run(*command, **options).stdout


def hostile_commands(size):
    """Of qemu-io, for a guest that discards: holes wherever something is freed, and then writes that are longer than
    any of them.  At the end everything reads as 16."""
    clusters = size >> 16
    chance = random.Random(1)
    commands = [f"write -P 1 {cluster << 16} 64k" for cluster in chance.sample(range(clusters), clusters)]
    for length in 2, 4, 16:
        how = "write -z -u" if length == 4 else "discard"
        commands += [f"{how} {cluster << 16} 64k" for cluster in range(clusters) if cluster % length]
        commands += [f"write -P {length} {at} {length << 16}" for at in range(0, size, length << 16)]
        commands += [f"{how} {cluster << 16} 64k" for cluster in chance.sample(range(clusters), clusters // 2)]
        commands += [f"write -P {length} {at} {min(length << 17, size)}" for at in range(0, size, length << 17)]
    return commands + [f"read -P 16 0 {size}"]


def make_places_for_plaintext():
    for path in (PLAIN, CONSOLES):
        os.makedirs(path, exist_ok=True)
        if not os.path.ismount(path):
            run("mount", "-t", "tmpfs", "tmpfs", path)


def virsh(*arguments, **options):
    return run("virsh", *arguments, **options)


@contextlib.contextmanager
def libvirt_connection():
    """What needs no virsh, which takes a while to start: libvirtd is asked the same."""
    libvirt.registerErrorHandler(lambda *_: None, None)  # which would print what is raised
    connection = libvirt.open("qemu:///system")
    try:
        yield connection
    finally:
        connection.close()


class Agent(running.Agent):
    """wlagentd as its unit starts it: its own user, no capability, the TPM by its group."""

    def __init__(self):
        super().__init__("/etc/workload-agent", "device:/dev/tpmrm0")
        self.state = "/var/lib/workload-agent"
        self.run_directory = "/run/workload-agent"
        self.socket = os.path.join(self.run_directory, "wlagent.sock")
        self.control = os.path.join(self.run_directory, "control.sock")
        self.log = LOGS[0]
        self.options = {"Agent": {}, "KeyProvider": {"AllowWrap": "yes"}, "TPM": {}, "Keys": {},
                        "Volumes": {"ImageRoots": f"{IMAGES} {INSTANCES}"}}
        self.user = "wlagent"

    def write_config(self, text=None, **sections):
        super().write_config(text, **sections)
        os.chmod(self.config, 0o644)

    def start(self, wait=True, **options):
        return super().start(wait, group="wlagent", extra_groups=["tss"], **options)


def listens(path):
    """Somebody does on that socket, whose file outlives who was killed; without a connection, which would be served."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as sockets:
        return any(fields[-1] == path and fields[3] == "00010000" for fields in map(str.split, sockets))


class Volumed:
    """wlagent-volumed, root's."""

    def __init__(self, agent):
        self.socket = os.path.join(agent.run_directory, "volumed.sock")
        self.config = agent.config
        self.log = LOGS[1]
        self.process = None

    def start(self):
        """It listens then, and what it begins with is under way: it has made the process that tidies up."""
        with open(self.log, "ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen([VOLUMED, "--config", self.config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        poll(lambda: self.ready(begin), "wlagent-volumed to be ready")
        return self

    def ready(self, begin):
        """By what it has logged from there on."""
        ended = self.process.poll() is not None
        with open(self.log, encoding="utf-8", errors="replace") as log:
            log.seek(begin)
            text = log.read()
        if ended:
            raise AssertionError(f"wlagent-volumed ended with {self.process.returncode}:\n{text}")
        return " is ready\n" in text

    def stop(self, number=signal.SIGTERM):
        """Returns the exit code."""
        if not self.process:
            return None
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code


def pids(name):
    """Of the processes of that name, which is at most 15 bytes long; zombies do not count."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            pid, rest = file.read().split(" (", 1)
            command, rest = rest.rsplit(") ", 1)
            if command == name and rest[0] not in "ZX":
                found.append(int(pid))
    return found


class Libvirt:
    """libvirtd, asked and watched by this process: virsh and pidof cost more than what they are asked for."""

    PID = "/run/libvirtd.pid"

    @staticmethod
    def start():
        """As guest/start-libvirt does; returns when libvirtd answers, and is done with the VMs that run already."""
        run(os.path.join(TOP, "tests", "vm", "guest", "start-libvirt"), "--no-wait")
        poll(Libvirt.answers, "libvirtd to answer", 60)

    @staticmethod
    def answers():
        try:
            with libvirt_connection() as connection:
                for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                    with contextlib.suppress(libvirt.libvirtError):  # the VM may have ended
                        domain.memoryStats()  # waits for its turn
                return True
        except libvirt.libvirtError:
            return False

    @classmethod
    def pid(cls):
        """Of the one that runs, or None; its file outlives one that was killed."""
        try:
            with open(cls.PID, encoding="ascii") as file:
                pid = int(file.read())
            return pid if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "libvirtd" else None
        except (OSError, ValueError):
            return None

    @classmethod
    def stop(cls, number=signal.SIGTERM):
        """QEMU and virtlogd stay."""
        pid = cls.pid()
        if pid:
            os.kill(pid, number)
        poll(lambda: not cls.pid(), "libvirtd to end")
        if os.path.exists(cls.PID):
            os.unlink(cls.PID)

    def restart(self, number=signal.SIGTERM):
        self.stop(number)
        self.start()


def attributes(pattern):
    """The files of sysfs: pairs of path and content."""
    for path in glob.glob(pattern):
        try:
            with open(path, encoding="utf-8") as file:
                yield path, file.read().rstrip("\n")
        except OSError:  # it has just gone
            continue


class Host:
    """Everything is off at first; start() starts all of it, until the process ends."""

    def __init__(self):
        packaging = os.path.join(TOP, "packaging", "systemd")
        run("systemd-sysusers", os.path.join(packaging, "sysusers.conf"))
        make_places_for_plaintext()
        run("systemd-tmpfiles", "--create", os.path.join(packaging, "tmpfiles.conf"))
        self.agent = Agent()
        self.volumed = Volumed(self.agent)
        self.libvirt = Libvirt()

    def start(self):
        atexit.register(self.stop)
        self.agent.write_config()
        if not os.path.exists(os.path.join(self.agent.state, "binding-key.pem")):
            self.agent.run("setup")
            self.agent.import_key(KEY_NAME, KEY)
        if os.path.exists(VOLUMED):
            self.volumed.start()
        self.agent.start()
        self.install_hook()
        self.libvirt.start()
        return self

    def revive(self):
        """Starts what a test that failed has left off."""
        for daemon in (self.volumed, self.agent):
            if (daemon is not self.volumed or os.path.exists(VOLUMED)) and \
                    (not daemon.process or daemon.process.poll() is not None):
                daemon.start()
        if not listens("/run/libvirt/libvirt-sock"):
            self.libvirt.start()

    def stop(self):
        self.libvirt.stop()
        self.agent.stop()
        self.volumed.stop()

    @staticmethod
    def install_hook():
        """Before libvirtd starts: it looks for hooks only then."""
        if os.path.exists(HOOK):
            os.makedirs(os.path.dirname(HOOK_INSTALLED), exist_ok=True)
            shutil.copy(HOOK, HOOK_INSTALLED)
            os.chmod(HOOK_INSTALLED, 0o755)

    @staticmethod
    def mappings():
        """The names of all device-mapper devices."""
        return sorted(name for _, name in attributes("/sys/block/dm-*/dm/name"))

    @staticmethod
    def leftovers():
        """What outlives a domain only by mistake: mappings, loops, keys of dm-crypt in a keyring, mounts."""
        found = [f"mapping {name}" for name in Host.mappings()]
        found += [f"loop {path} {file}" for path, file in attributes("/sys/block/loop*/loop/backing_file")]
        with open("/proc/keys", encoding="ascii", errors="replace") as keys:
            found += [f"key {line.strip()}" for line in keys
                      if re.search(r" (logon|encrypted|trusted|user) ", line)
                      and not re.search(r" user +invocation_id: 16$", line)]  # systemd's, of each service
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            found += [f"mount {line.strip()}" for line in mounts if re.match(r"/dev/(dm-|mapper/|loop)", line)]
        return found

    @staticmethod
    def plaintext(*markers):
        """The files written since the boot that hold one of these texts, and the processes that show one."""
        wanted = [word for marker in markers for word in ("-e", marker)]
        found = run("grep", "-rlaF", "--devices=skip", *wanted, *WRITTEN, check=False).stdout.splitlines()
        for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, "rb") as file:
                    text = file.read()
                    if any(marker.encode() in text for marker in markers):
                        found.append(path)
            except OSError:
                continue
        return found


def keep_logs(directory):
    """And the state of the kernel."""
    os.makedirs(directory, exist_ok=True)
    for pattern in LOGS:
        for path in glob.glob(pattern):
            shutil.copy(path, directory)
    with open(os.path.join(directory, "state.txt"), "w", encoding="utf-8") as file:
        for command in (["dmsetup", "table"], ["dmsetup", "info"], ["losetup", "-l"], ["virsh", "list", "--all"],
                        ["ps", "axf"], ["cat", "/proc/keys", "/proc/mounts"], ["dmesg"]):
            file.write(f"$ {' '.join(command)}\n{run(*command, check=False).stdout}\n")


def boot_sector(source="boot_sector.S"):
    """The guest of that file in tests/vm, 512 bytes."""
    path = os.path.join(PLAIN, os.path.basename(source))[:-2]
    if not os.path.exists(path):
        source = os.path.join(TOP, "tests", "vm", source)
        run("as", "--32", "-o", path + ".o", source)
        run("ld", "-m", "elf_i386", "-nostdlib", "--oformat", "binary", "-Ttext", "0x7c00", "-o", path, path + ".o")
    with open(path, "rb") as file:
        return file.read()


def write_disk(path, text, size=1 << 20, system="boot_sector.S", filled=False):
    """A raw disk that boots: see boot_sector.S. filled: the text is in each sector but those that the guest uses."""
    sector = text.encode().ljust(512, b"\0")
    with open(path, "wb") as disk:
        disk.write(boot_sector(system) + sector)
        if filled:
            disk.seek(3 * len(sector))
            disk.write(sector * (size // len(sector) - 3))
        disk.truncate(size)
    return path


def write_luks_disk(path, text, key):
    """Such a disk in the format that libvirt and QEMU encrypt themselves."""
    with open(path, "wb") as file:
        file.write(luks_disk(text, key))
    return path


@functools.cache
def luks_disk(text, key):
    """Made by cryptsetup and filled by qemu-img, which would take half a minute here to find out how fast it is."""
    plain = write_disk(os.path.join(PLAIN, "luks"), text)
    path = plain + ".luks"
    key_file = plain + ".key"
    with open(key_file, "wb") as file:
        file.write(key)
    with open(path, "wb") as file:
        file.truncate(LUKS_HEADER + os.path.getsize(plain))
    run("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--cipher", "aes-xts-plain64", "--key-size", "512",
        "--hash", "sha256", "--pbkdf-force-iterations", "1000", "--key-file", key_file, path)
    run("qemu-img", "convert", "-n", "-f", "raw", "--object", f"secret,id=s,file={key_file}", "--target-image-opts", plain,
        f"driver=luks,key-secret=s,file.filename={path}")
    with open(path, "rb") as file:
        content = file.read()
    for made in (plain, key_file, path):
        os.unlink(made)
    return content


class Guest:
    """A domain whose operating system is boot_sector.S."""

    def __init__(self, name, fixed_uuid=None):
        self.name = name
        self.uuid = fixed_uuid or str(uuid.uuid4())
        self.disks = []
        self.metadata = ""
        self.console = os.path.join(CONSOLES, name)
        self.acpi = False  # disks can be attached to one that runs
        self.firmware = f"<loader type='rom'>{FIRMWARE}</loader>"

    def disk(self, source, driver="raw", target=None, readonly=False):
        """A file, or a device below /dev."""
        kind, attribute = ("block", "dev") if source.startswith("/dev/") else ("file", "file")
        target = target or f"vd{chr(ord('a') + len(self.disks))}"
        self.disks.append(
            f"<disk type='{kind}' device='disk'><driver name='qemu' type='{driver}' cache='none'/>"
            f"<source {attribute}='{source}'/><target dev='{target}' bus='virtio'/>"
            f"{'<readonly/>' if readonly else ''}<boot order='{len(self.disks) + 1}'/></disk>")
        return self

    def protected_disk(self, image, mode="layer", key=None):
        """A disk as `wlagent vm protect` leaves it."""
        target = f"vd{chr(ord('a') + len(self.disks))}"
        self.metadata = self.metadata or f"<wlagent:protected xmlns:wlagent='{NAMESPACE}'></wlagent:protected>"
        named = f" key='{key}'" if key else ""
        line = f"<wlagent:disk target='{target}' mode='{mode}' image='{image}'{named}/></wlagent:protected>"
        self.metadata = self.metadata.replace("</wlagent:protected>", line)
        return self.disk(self.volume(target), "raw" if mode == "direct" else "qcow2", target)

    def volume(self, target="vda"):
        """The path of the volume that wlagent makes for a disk."""
        return f"/dev/mapper/wlagent-{self.uuid}-{target}"

    def xml(self):
        return (f"<domain type='qemu'><name>{self.name}</name><uuid>{self.uuid}</uuid>"
                f"{'<metadata>' + self.metadata + '</metadata>' if self.metadata else ''}"
                "<memory unit='MiB'>32</memory><vcpu>1</vcpu>"
                f"<os><type arch='x86_64' machine='pc'>hvm</type>{self.firmware}</os>"
                f"<features>{'<acpi/>' if self.acpi else ''}<vmport state='off'/><smm state='off'/></features>"
                "<clock offset='utc'><timer name='hpet' present='no'/></clock>"
                f"<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{''.join(self.disks)}"
                f"<serial type='file'><source path='{self.console}'/><target port='0'/></serial>"
                "<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>")

    def encrypt(self, secret):
        """Has libvirt decrypt the disks so far with the value of its secret."""
        encryption = f"<encryption format='luks'><secret type='passphrase' uuid='{secret}'/></encryption>"
        self.disks = [disk.replace("<target", encryption + "<target") for disk in self.disks]

    def define(self):
        with libvirt_connection() as connection:
            connection.defineXML(self.xml())
        return self

    def create(self):
        """Starts it as a transient domain."""
        with libvirt_connection() as connection:
            connection.createXML(self.xml())
        return self

    @property
    def pid(self):
        """Of its QEMU, or None."""
        try:
            with open(f"/run/libvirt/qemu/{self.name}.pid", encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def start(self, check=True, virsh_says=False):
        """When that may fail: returns the finished virsh start, or what it would be with libvirt's text alone."""
        if os.path.exists(self.console):
            os.truncate(self.console, 0)
        if virsh_says:
            return virsh("start", self.name, check=False)
        try:
            self.ask(lambda domain: domain.create())
        except libvirt.libvirtError as error:
            if check:
                raise
            return subprocess.CompletedProcess(["start", self.name], 1, "", str(error))
        return subprocess.CompletedProcess(["start", self.name], 0, "", "")

    def ask(self, question, check=True):
        """What the answer is, of libvirt's domain; or, without check, None when it is an error."""
        try:
            with libvirt_connection() as connection:
                return question(connection.lookupByName(self.name))
        except libvirt.libvirtError:
            if check:
                raise
            return None

    def state(self):
        """In virsh's words."""
        return STATES[self.ask(lambda domain: domain.state()[0])]

    def destroy(self, check=True):
        """Whether it ran."""
        return self.ask(lambda domain: domain.destroy(), check) == 0

    def undefine(self, check=True):
        flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        self.ask(lambda domain: domain.undefineFlags(flags), check)

    def console_text(self):
        try:
            with open(self.console, encoding="utf-8", errors="replace") as console:
                return console.read()
        except FileNotFoundError:
            return ""

    def wait_until_up(self, seconds=120):
        """Until the guest has read and written its disks; returns what it said."""
        poll(lambda: self.console_text().endswith("up\n"),
             lambda: f"{self.name} to boot; it said: {self.console_text()}", seconds)
        return self.console_text()


def power_loss():
    """The test that has ended the boot before this one, and its step; or two empty texts."""
    try:
        with open(f"/out/{os.environ['MACHINE']}/resumed", encoding="utf-8") as file:
            test, step = file.read().splitlines() or ("", "")
            return test, step
    except (KeyError, FileNotFoundError):  # not in the test VM
        return "", ""


class Power:
    """What a test case has that ends its VM."""

    power_loss = power_loss()

    @property
    def power_lost_at(self):
        """The step at which this test has lost power in the boot before, if it has."""
        test, step = self.power_loss
        return step if test == self.id() else None

    @classmethod
    def one_lost_power(cls):
        """Whether it was a test of this class."""
        return Power.power_loss[0].startswith(f"{cls.__module__}.{cls.__qualname__}.")

    def expect_power_loss(self, step):
        """When the VM ends at once from now on, it boots again with the same /srv and TPM; this test begins again
        with power_lost_at set to step, and the tests after it follow."""
        with open(f"/out/{os.environ['MACHINE']}/again", "w", encoding="utf-8") as file:
            file.write(f"{self.id()}\n{step}\n")
            os.fsync(file.fileno())

    @staticmethod
    def keep_power():
        """It did not happen."""
        os.unlink(f"/out/{os.environ['MACHINE']}/again")

    def lose_power(self, step):
        self.expect_power_loss(step)
        with open("/proc/sysrq-trigger", "w", encoding="ascii") as trigger:
            trigger.write("b")
        time.sleep(60)


class VmTest(Power, unittest.TestCase):
    """A test on a host that runs. All tests of the process share it; each has to leave nothing behind."""

    host = None

    @classmethod
    def setUpClass(cls):
        if not VmTest.host:
            VmTest.host = Host().start()

    def setUp(self):
        self.host.revive()
        self.directory = tempfile.mkdtemp(dir=IMAGES)
        os.chmod(self.directory, 0o755)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.addCleanup(self.keep_logs)
        self.addCleanup(self.left_nothing)

    def guest(self, name, *disks, **options):
        """A guest with these disks; it is gone after the test."""
        guest = Guest(name, **options)
        for disk in disks:
            guest.disk(disk)
        self.addCleanup(guest.undefine, check=False)
        self.addCleanup(guest.destroy, check=False)
        return guest

    def image(self, text, name="image", key=KEY_NAME, directory=None, **disk):
        """An encrypted image of a guest that prints text."""
        return self.encrypted(os.path.join(directory or self.directory, name), text, key, **disk)

    @classmethod
    def encrypted(cls, path, text, key=KEY_NAME, **disk):
        plain = write_disk(os.path.join(PLAIN, os.path.basename(path)), text, **disk)
        cls.host.agent.run("image", "encrypt", plain, path, "--key", key)
        os.unlink(plain)
        return path

    def left_nothing(self):
        """The removal of a mapping and its loop takes the kernel a moment after QEMU's end."""
        poll(lambda: not self.host.leftovers(), lambda: f"nothing to be left; there is: {self.host.leftovers()}")

    def forgotten(self, guest):
        """libvirt may say that a VM has ended before its hook, by which the agent knows, has."""
        poll(lambda: guest.uuid not in [vm["uuid"] for vm in self.host.agent.status()["vms"]],
             f"the end of {guest.name} to be known")

    def keep_logs(self):
        """Of a failed test, in a directory of its name."""
        result = self._outcome.result
        kept = os.environ.get("WLAGENT_TEST_LOGS")
        if not kept or not any(test is self for test, _ in result.failures + result.errors):
            return
        keep_logs(os.path.join(kept, self.id()))
