# SPDX-License-Identifier: Apache-2.0
"""A disk that libvirt encrypts itself, whose secret gets its value under the sandbox of the installed units."""

import os
import subprocess
import uuid

import host
import units
from host import Guest, run
from running import poll

TEXT_KEY = b"pK2mVq8XcZr5Yt1NwGh7LdJs9BfUe3Ra"  # QEMU takes text only


class Secret(units.ProtectedTest):
    def key(self):
        """As its owner brings it."""
        wrapped = subprocess.run(["wlagent", "key", "wrap", "--to", "/var/lib/workload-agent/binding-key.pem",
                                  "--name", "luks", "--key-file", "-"], input=TEXT_KEY, stdout=subprocess.PIPE,
                                 check=True).stdout
        subprocess.run(["wlagent", "key", "import", "-"], input=wrapped, check=True)
        self.addCleanup(run, "wlagent", "key", "remove", "--force", "luks")

    def test_start_and_stop(self):
        self.key()
        secret = str(uuid.uuid4())
        guest = Guest("luks")
        guest.disk(host.write_luks_disk(os.path.join(host.IMAGES, "unit.luks"), "luks", TEXT_KEY))
        guest.encrypt(secret)
        guest.define()
        self.addCleanup(guest.undefine, check=False)
        self.addCleanup(guest.destroy, check=False)
        run("wlagent", "vm", "protect", "luks", "--disk", "vda", "--secret", "--key", "local:///luks")
        self.boots(guest, "disk 0: luks\ndisk 0: written\nup\n")
        with host.libvirt_connection() as connection:
            poll(lambda: secret not in connection.listSecrets(), "the secret to be gone")
        guest.destroy()
        guest.start()
        guest.destroy()
        self.gone()
