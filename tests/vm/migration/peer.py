# SPDX-License-Identifier: Apache-2.0
"""The other host of tests/vm/run --pair: starts as host.Host does, and evaluates what the first one asks for, until
that has ended."""

import json
import os
import shutil
import sys
import xmlrpc.server

sys.path[:0] = [os.path.join(os.environ["SOURCE"], "tests", directory) for directory in ("vm", "integration")]

import host  # noqa: E402 # pylint: disable=wrong-import-position

PORT = 8000
machine = host.Host()
names = {"host": host, "machine": machine, "os": os, "shutil": shutil}


def evaluate(expression):
    value = eval(expression, names)  # pylint: disable=eval-used # the test's own
    return json.dumps(value, default=repr)


def main():
    machine.agent.write_config(Volumes={"ImageRoots": f"{host.IMAGES} /out/shared"})
    machine.start()
    server = xmlrpc.server.SimpleXMLRPCServer(("0.0.0.0", PORT), logRequests=False)
    server.register_function(evaluate)
    server.timeout = 1
    while not os.path.exists("/out/vm1/rc"):
        server.handle_request()


main()
