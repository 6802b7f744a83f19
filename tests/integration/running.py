# SPDX-License-Identifier: Apache-2.0
"""The agent in a directory of its own, and waiting for it.

WLAGENT_BUILD names the build directory (default: build). Nothing here waits for a fixed time: readiness
is polled, with a limit."""

import atexit
import collections
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("WLAGENT_BUILD", os.path.join(TOP, "build")))


def open_to_all(program):
    """The program, or a copy where its directory is closed to other users: some tests run it as one."""
    parent = os.path.dirname(program)
    while os.stat(parent).st_mode & stat.S_IXOTH:
        if parent == "/":
            return program
        parent = os.path.dirname(parent)
    directory = tempfile.mkdtemp(prefix="wlagent-programs.")
    atexit.register(shutil.rmtree, directory)
    os.chmod(directory, 0o755)
    return shutil.copy(program, directory)


WLAGENTD = open_to_all(os.path.join(BUILD, "agent", "wlagentd"))
WLAGENT = open_to_all(os.path.join(BUILD, "agent", "cli", "wlagent"))
WLAGENT_LIBEXEC = os.path.dirname(open_to_all(os.path.join(BUILD, "agent", "vm_admin", "wlagent-vm")))

READY_SECONDS = 90  # on a busy machine; what is there sooner is seen sooner
POLL_SECONDS = 0.002  # at first
POLL_SECONDS_MAX = 0.05
POLL_SECONDS_LONG = 0.5  # where asking takes longer than that


def poll(condition, what, seconds=READY_SECONDS):
    """Returns the first true value of condition(); fails when there is none in time, with the text what, or what it
    returns then."""
    end = time.monotonic() + seconds
    pause = POLL_SECONDS
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > end:
            raise AssertionError(f"waited {seconds} s for: {what() if callable(what) else what}")
        time.sleep(max(pause, min(now - asked, POLL_SECONDS_LONG)))  # leaves as much to what is waited for as asking took
        pause = min(2 * pause, POLL_SECONDS_MAX)


def has_address_sanitizer():
    with open(WLAGENTD, "rb") as program:
        return b"__asan_init" in program.read()


def connects(path, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


Counts = collections.namedtuple("Counts", "unwraps tpm")


class Agent:
    """wlagentd and wlagent with a configuration, a state and a runtime directory below directory."""

    def __init__(self, directory, tcti, build=None):
        self.directory = directory
        self.config = os.path.join(directory, "wlagent.conf")
        self.state = os.path.join(directory, "state")
        self.run_directory = os.path.join(directory, "run")
        self.socket = os.path.join(self.run_directory, "wlagent.sock")
        self.control = os.path.join(self.run_directory, "control.sock")
        self.log = os.path.join(directory, "wlagentd.log")
        self.daemon = WLAGENTD if build is None else os.path.join(build, "agent", "wlagentd")
        self.options = {"Agent": {"StateDirectory": self.state, "RuntimeDirectory": self.run_directory},
                        "KeyProvider": {"AllowWrap": "yes"}, "TPM": {"Device": tcti}, "Keys": {}}
        self.user = None
        self.process = None
        for path in (directory, self.state, self.run_directory):
            os.makedirs(path, mode=0o700, exist_ok=True)
        self.write_config()

    def write_config(self, text=None, **sections):
        for section, values in sections.items():
            self.options.setdefault(section, {}).update(values)
        if text is None:
            text = "".join(f"[{section}]\n" + "".join(f"{name}={value}\n" for name, value in values.items())
                           for section, values in self.options.items())
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(self.config, 0o600)

    def run(self, *arguments, stdin=b"", check=True, **options):
        """Runs wlagent; returns the finished process with text output."""
        done = subprocess.run([WLAGENT, "--config", self.config, *arguments], input=stdin,
                              capture_output=True, timeout=120, check=False, **options)
        if check and done.returncode:
            raise AssertionError(f"wlagent {' '.join(arguments)}: exit code {done.returncode}: "
                                 f"{done.stderr.decode(errors='replace')}")
        return done

    def output(self, *arguments, **options):
        return self.run(*arguments, **options).stdout.decode()

    def start(self, wait=True, **options):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.daemon, "--config", self.config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, user=self.user, **options)
        if wait:
            poll(self.ready, "wlagentd to listen")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"wlagentd ended with {self.process.returncode}:\n{self.log_text()}")
        return connects(self.socket) and connects(self.control)

    def stop(self, signal_number=signal.SIGTERM, seconds=20):
        """Returns the exit code."""
        if not self.process:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"wlagentd did not stop in {seconds} s") from None
        finally:
            self.process = None
        return code

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def events(self, **wanted):
        """The fields of each request in the log that has these, as in operation="unwrap"."""
        found = (dict(re.findall(r" WLA_(\w+)=(\S+)", line)) for line in self.log_text().splitlines())
        return [event for event in ({name.lower(): value for name, value in fields.items()} for fields in found)
                if "operation" in event and wanted.items() <= event.items()]

    def wait_for_keys(self, **wanted):
        """Until the daemon's key counts are these: cached, opening, waiting, queued."""
        poll(lambda: all(self.status()["keys"][name] == count for name, count in wanted.items()), f"keys {wanted}")

    def metrics(self):
        """{"name{labels}": value}"""
        found = {}
        for line in self.output("metrics").splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name] = float(value)
        return found

    def counts(self):
        """What the daemon has done since its start."""
        metrics = self.metrics()

        def total(name, *labels):
            return int(sum(value for key, value in metrics.items()
                           if key.split("{")[0] == name and all(label in key for label in labels)))

        return Counts(unwraps=total("wlagent_keyprovider_requests_total", 'operation="unwrap"'),
                      tpm=total("wlagent_tpm_operations_total", 'operation="unbind"', 'result="ok"'))

    def status(self):
        return json.loads(self.output("status", "--json"))

    def import_key(self, name, kek):
        """Puts a key that the test knows into the store, the way an owner does."""
        wrapped = self.run("key", "wrap", "--to", os.path.join(self.state, "binding-key.pem"), "--name", name,
                           "--key-file", "-", stdin=kek).stdout
        self.run("key", "import", "-", stdin=wrapped)

    def remove_key(self, name):
        self.run("key", "remove", "--force", name)
