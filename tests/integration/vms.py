# SPDX-License-Identifier: Apache-2.0
"""Protected VMs without libvirt and without device-mapper: the strict double of wlagent-volumed, images,
definitions of domains, and what the hook says to wlagentd."""

import collections
import contextlib
import os
import signal
import socket
import struct
import subprocess
import uuid

import harness

MAGIC = 0x31414c57
CONTROL = {"status": 1, "metrics": 2, "forget": 3, "domain": 5, "volume-open": 6, "volume-close": 7, "volumes": 8,
           "domains": 9, "layer-remove": 14}
OPERATIONS = {"prepare": 1, "start": 2, "started": 3, "stopped": 4, "release": 5, "migrate": 6, "restore": 7,
              "reconnect": 8, "attach": 9}
CODES = ("ok", "input", "timeout", "not-found", "denied", "busy", "tpm", "unsupported", "system", "unavailable")

PROTECTED = 0xffff  # a reply follows

Answer = collections.namedtuple("Answer", "code text")


def request(command, payload=b""):
    return struct.pack("=IHHII", MAGIC, CONTROL[command], 0, len(payload), 0) + payload


def domain_request(operation, xml):
    xml = xml.encode() if isinstance(xml, str) else xml
    return request("domain", struct.pack("=HHI", OPERATIONS[operation], 0, len(xml)) + xml)


class Asking:
    """One request on a connection of its own; the answer is read when it is wanted."""

    def __init__(self, path, message):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.socket.sendall(message)

    def answer(self):
        with self.socket, self.socket.makefile("rb") as stream:
            code, size = self.header(stream)
            if code == PROTECTED:
                assert size == 0
                code, size = self.header(stream)
            text = stream.read(size)
            assert len(text) == size and not stream.read(1)
        return Answer(CODES[code], text.decode())

    @staticmethod
    def header(stream):
        magic, _, code, size, reserved = struct.unpack("=IHHII", stream.read(16))
        assert (magic, reserved) == (MAGIC, 0)
        return code, size

    def hang_up(self):
        self.socket.close()


class Volumed:
    """tests/doubles/volumed_double."""

    def __init__(self, directory, path):
        self.directory = directory
        self.socket = path
        self.process = None
        os.makedirs(directory, exist_ok=True)

    def start(self):
        self.process = subprocess.Popen(
            [os.path.join(harness.BUILD, "tests", "doubles", "volumed_double"), "--listen", self.socket,
             "--directory", self.directory], stdin=subprocess.DEVNULL)
        harness.poll(lambda: harness.connects(self.socket, socket.SOCK_SEQPACKET), "volumed_double to listen")
        return self

    def stop(self):
        """As a crash: its sessions end with it."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        for name in self.leases():
            os.unlink(os.path.join(self.directory, "leases", name))

    def names(self, folder):
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(os.path.join(self.directory, folder)))
        return []

    def leases(self):
        return self.names("leases")

    def held(self):
        """The mappings that sessions hold."""
        return sorted({name.rsplit(".", 1)[0] for name in self.leases()})

    def layers(self):
        return [name.removesuffix(".header") for name in self.names("layers")]

    def order(self):
        """What was asked, in order: [("OPEN_IMAGE", ...), ...]"""
        with contextlib.suppress(FileNotFoundError), \
                open(os.path.join(self.directory, "order"), encoding="utf-8") as lines:
            return [line.rstrip("\n").split(" ")[0] for line in lines]
        return []

    def layer_requests(self):
        """[("CREATE_LAYER", SIZE, "frees" or "keeps"), ...]"""
        with open(os.path.join(self.directory, "order"), encoding="utf-8") as lines:
            asked = [tuple(line.split()) for line in lines]
        return [words for words in asked if words[0] in ("CREATE_LAYER", "OPEN_LAYER")]

    def forget_order(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, "order"))

    def fault(self, operation=None, action="hang", count=""):
        if operation is not None:
            self.faults((operation, action, count))
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, "fault"))

    def faults(self, *faults):
        """Several at once: (operation, action) or (operation, action, count) of each; one an operation."""
        with open(os.path.join(self.directory, "fault"), "w", encoding="utf-8") as out:
            out.write("".join(" ".join(map(str, fault)) + "\n" for fault in faults))

    def kill_sessions(self):
        for name in self.leases():
            os.kill(int(name.rsplit(".", 1)[1]), signal.SIGKILL)

    @contextlib.contextmanager
    def qemu(self, *names):
        """Somebody else has these mappings open."""
        self.qemu_opens(*names)
        try:
            yield
        finally:
            self.qemu_ends(*names)

    def qemu_opens(self, *names):
        for name in names:
            with open(os.path.join(self.directory, "qemu", name), "w", encoding="utf-8"):
                pass

    def qemu_ends(self, *names):
        for name in names:
            os.unlink(os.path.join(self.directory, "qemu", name))


class Image:
    def __init__(self, path, key_id, kek, size=65536, content="raw"):
        self.path = path
        self.key_id = key_id
        self.uuid = subprocess.run(
            [os.path.join(harness.BUILD, "tests", "doubles", "sample_image"), path, str(size),
             str(size if content == "raw" else 16 * size), key_id, content], input=kek, capture_output=True, check=True).stdout.decode().strip()
        self.mapping = f"wlagent-image-{self.uuid}"


class Domain:
    """A domain with protected disks: {"vda": (image, mode)}."""

    def __init__(self, disks, name="web", **attributes):
        self.uuid = str(uuid.uuid4())
        self.name = name
        self.disks = disks
        self.attributes = attributes
        self.driver = ""  # more attributes of <driver>

    def mapping(self, target="vda"):
        return f"wlagent-{self.uuid}-{target}"

    def xml(self):
        extra = "".join(f' {name}="{value}"' for name, value in self.attributes.items())
        lines = "".join(f'<w:disk target="{target}" mode="{mode}" image="{image.path}"{extra}/>'
                        for target, (image, mode) in self.disks.items())
        disks = "".join(
            f"<disk type='block' device='disk'><driver name='qemu' "
            f"type='{'raw' if mode == 'direct' else 'qcow2'}' {self.driver}/><source dev='/dev/mapper/{self.mapping(target)}'/>"
            f"<target dev='{target}' bus='virtio'/></disk>" for target, (_, mode) in self.disks.items())
        metadata = f'<metadata><w:protected xmlns:w="urn:wlagent:domain:1">{lines}</w:protected></metadata>'
        return (f"<domain type='kvm'><name>{self.name}</name><uuid>{self.uuid}</uuid>"
                f"{metadata if self.disks else ''}<devices>{disks}</devices></domain>")


class VmTest(harness.AgentTest):
    """An agent with a key, a double of wlagent-volumed and an image; both run."""

    KEK = bytes(range(32))
    LIBVIRT = {}

    def setUp(self):
        super().setUp()
        self.agent.import_key("image", self.KEK)
        self.volumed = Volumed(os.path.join(self.directory, "volumed"),
                               os.path.join(self.agent.run_directory, "volumed.sock"))
        self.addCleanup(self.volumed.stop)
        self.agent.write_config(Libvirt=self.LIBVIRT)
        self.volumed.start()
        self.agent.start()
        self.image = self.make_image("base")

    def make_image(self, name, key="image", kek=None, **options):
        return Image(os.path.join(self.directory, name + ".img"), f"local:///{key}", kek or self.KEK, **options)

    def ask(self, operation, domain):
        return Asking(self.agent.control, domain_request(operation, domain.xml()))

    def tell(self, operation, domain):
        return self.ask(operation, domain).answer()

    def allowed(self, operation, domain):
        answer = self.tell(operation, domain)
        self.assertEqual(answer, Answer("ok", ""), operation)

    def refused_start(self, operation, domain, code, pattern):
        answer = self.tell(operation, domain)
        self.assertEqual(answer.code, code, answer.text)
        self.assertRegex(answer.text, pattern)
        return answer

    def vms(self):
        return {vm["uuid"]: vm for vm in self.agent.status()["vms"]}

    def vm(self, domain):
        return self.vms().get(domain.uuid)

    def records(self):
        return sorted(os.listdir(os.path.join(self.agent.run_directory, "vms")))

    def nothing_is_left(self, domain):
        """Of a start that failed, or a VM that has ended."""
        harness.poll(lambda: not self.volumed.held(), "leases to end")
        harness.poll(lambda: self.vm(domain) is None, "the VM to be forgotten")
        self.assertEqual(self.records(), [])

    def run_through(self, domain):
        """From prepare to a running VM."""
        mappings = [domain.mapping(target) for target in domain.disks]
        self.allowed("prepare", domain)
        self.allowed("start", domain)
        self.volumed.qemu_opens(*mappings)
        self.allowed("started", domain)
        harness.poll(lambda: not set(mappings) & set(self.volumed.held()), "leases to end")

    def ends(self, domain):
        self.volumed.qemu_ends(*[domain.mapping(target) for target in domain.disks])
        self.allowed("stopped", domain)
        self.allowed("release", domain)
