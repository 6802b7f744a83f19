# SPDX-License-Identifier: Apache-2.0
"""The double as a test has it: started, commanded over its control socket, and ended."""

import json
import os
import socket
import subprocess
import sys

DOUBLES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Double:
    """Every command of the manual is a method: double.add_key(length=128). Raises ValueError where the double
    refuses it."""

    def __init__(self, directory, *arguments):
        os.makedirs(directory, exist_ok=True)
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "isecl", "--directory", directory, "--until-eof", *arguments],
            cwd=DOUBLES, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"isecl ended with {self.process.wait()}")
        ready = json.loads(line)
        self.urls = ready["urls"]
        self.users = ready["users"]
        self.cms_tls_cert_sha384 = ready["cms_tls_cert_sha384"]
        self.root_ca = os.path.join(directory, "root-ca.pem")
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(ready["control"])
        self.answers = self.control.makefile("r", encoding="utf-8")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda **members: self.command(name, **members)

    def command(self, name, /, **members):
        self.control.sendall(json.dumps({**members, "command": name}).encode() + b"\n")
        answer = json.loads(self.answers.readline())
        if "error" in answer:
            raise ValueError(f"{name}: {answer['error']}")
        self.cms_tls_cert_sha384 = answer.get("cms_tls_cert_sha384", self.cms_tls_cert_sha384)
        return answer

    def stop(self):
        self.answers.close()
        self.control.close()
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
