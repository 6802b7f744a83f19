# SPDX-License-Identifier: Apache-2.0
"""Container images, the tools that copy them, and a registry, for the interop tests."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import socket
import subprocess
import tarfile

import harness

IN_ROOT = os.path.join(harness.TOP, "tests", "interop", "in-root")
ENGINES_ROOT = os.path.join(harness.TOP, "tests", "interop", "engines-root")
ENCRYPTED = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
PLAIN = "application/vnd.oci.image.layer.v1.tar+gzip"
ANNOTATION = "org.opencontainers.image.enc.keys.provider.wlagent"


def engines_root():
    done = subprocess.run([ENGINES_ROOT, os.path.join(harness.BUILD, "trixie"), "skopeo", "engines"], stdout=subprocess.PIPE,
                          text=True, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip()


def write_blob(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(layout, "blobs", "sha256", digest), "wb") as out:
        out.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def file_of_layer(number):
    """Of a size of its own; the same bytes every time."""
    return f"file-{number}", f"layer {number}\n".encode() * (100 + 1000 * number)


def layer(number):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        name, content = file_of_layer(number)
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def make_image(layout, layers):
    """An OCI layout with one image "v1"; returns its manifest."""
    os.makedirs(os.path.join(layout, "blobs", "sha256"))
    tars = [layer(number) for number in range(layers)]
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/file-0"]},
              "rootfs": {"type": "layers",
                         "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]},
              "history": [{"created_by": f"layer {number}"} for number in range(layers)]}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                           **write_blob(layout, json.dumps(config).encode())},
                "layers": [{"mediaType": PLAIN, **write_blob(layout, gzip.compress(tar, mtime=0))} for tar in tars]}
    described = {"mediaType": manifest["mediaType"], **write_blob(layout, json.dumps(manifest).encode()),
                 "annotations": {"org.opencontainers.image.ref.name": "v1"}}
    with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as out:
        json.dump({"schemaVersion": 2, "manifests": [described]}, out)
    with open(os.path.join(layout, "oci-layout"), "w", encoding="utf-8") as out:
        out.write('{"imageLayoutVersion": "1.0.0"}')
    return manifest


def read_manifest(layout):
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as index:
        digest = json.load(index)["manifests"][0]["digest"]
    with open(os.path.join(layout, "blobs", "sha256", digest.split(":")[1]), encoding="utf-8") as manifest:
        return json.load(manifest)


class ImageTools:
    """Container tools for a test that has an agent."""

    key = "image"

    @classmethod
    def setUpClass(cls):
        cls.root = engines_root()

    def configure_ocicrypt(self, **providers):
        self.ocicrypt = self.path("ocicrypt.conf")
        with open(self.ocicrypt, "w", encoding="utf-8") as out:
            json.dump({"key-providers": providers}, out)

    def path(self, name):
        return os.path.join(self.directory, name)

    def command(self, *words):
        return [IN_ROOT, self.root, self.directory, *words]

    def environment(self):
        return {**os.environ, "OCICRYPT_KEYPROVIDER_CONFIG": self.ocicrypt, "TMPDIR": self.directory,
                "PODMAN_IGNORE_CGROUPSV1_WARNING": "1", "HOME": self.directory}

    def engine(self, *words, check=True):
        done = subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True,
                              env=self.environment(), timeout=120, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stderr.decode()}")
        return done

    def skopeo(self, *words, check=True):
        return self.engine("skopeo", "--tmpdir", self.directory, "copy", "--quiet",
                           "--src-tls-verify=false", "--dest-tls-verify=false", *words, check=check)

    def encrypt(self, source, to, *options, check=True):
        return self.skopeo(*(options or ["--encryption-key", f"provider:wlagent:key={self.key}"]),
                           source, to, check=check)

    def decrypt(self, source, to, check=True):
        return self.skopeo("--decryption-key", "provider:wlagent", source, to, check=check)

    def encrypted_image(self, layers, *options):
        """Makes oci:plain and oci:encrypted; returns the manifest of the plain one."""
        manifest = make_image(self.path("plain"), layers)
        self.encrypt("oci:plain:v1", "oci:encrypted:v1", *options)
        return manifest

    def fresh_agent(self):
        """Restarts the agent: no key is cached, nothing is counted."""
        self.agent.stop()
        self.agent.start()

    def show_durations(self, what):
        """For the reader of the test's output: how long the agent took over each layer's key."""
        usec = sorted(int(event["duration_usec"])
                      for event in self.agent.events(operation="unwrap", error_code="ok"))
        p50, p99 = (usec[min(int(len(usec) * part), len(usec) - 1)] for part in (0.5, 0.99))
        print(f"     {what}: layers {len(usec)}, time to each key p50 {p50} us, p99 {p99} us", flush=True)

    def assert_same_layers(self, manifest, layout):
        self.assertEqual([each["digest"] for each in read_manifest(self.path(layout))["layers"]],
                         [each["digest"] for each in manifest["layers"]])

    @contextlib.contextmanager
    def registry(self):
        """A docker-registry on loopback; yields host:port."""
        address = f"127.0.0.1:{free_port()}"
        config = self.path("registry.yml")
        with open(config, "w", encoding="utf-8") as out:
            json.dump({"version": "0.1", "log": {"level": "error"},
                       "storage": {"filesystem": {"rootdirectory": self.path("registry")}},
                       "http": {"addr": address}}, out)
        with open(self.path("registry.log"), "wb") as log:
            process = subprocess.Popen(self.command("docker-registry", "serve", config), stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log)
        try:
            harness.poll(lambda: process.poll() is not None or answers(address), "docker-registry")
            if process.poll() is not None:
                raise AssertionError("docker-registry has ended, see its log")
            yield address
        finally:
            process.terminate()
            process.wait()


def free_port():
    """None of those that the kernel gives to whoever connects meanwhile."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first, last = map(int, file.read().split())
    ports = [port for port in range(10000, 65536) if not first <= port <= last] or [0]
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", random.choice(ports)))
            return probe.getsockname()[1]


def answers(address):
    host, port = address.split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


class ImageTest(ImageTools, harness.AgentTest):
    """A test with a running agent that has the key "image", and the container tools set up for it."""

    def setUp(self):
        super().setUp()
        self.configure_ocicrypt(wlagent={"grpc": f"unix://{self.agent.socket}"})
        self.agent.run("key", "create", self.key)
        self.agent.start()
