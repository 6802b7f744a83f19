# SPDX-License-Identifier: Apache-2.0
"""python3 -m isecl: the manual is the package's."""

import argparse
import ipaddress
import json
import os
import secrets
import sys
import threading

from cryptography import x509

import isecl
from isecl import control, server, state
from isecl.certificates import TLS_FAULTS, Certificates

ROLES = {"wla": ["WLS:FlavorsImageRetrieval", "WLS:ReportCreator", "WLS:KeysCreator"],
         "installer": ["HVS:Certifier"],
         "owner": ["WLS:Administrator", "KBS:Administrator", "HVS:ReportCreator"]}


def arguments():
    parser = argparse.ArgumentParser(prog="isecl", description=isecl.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", required=True, help="exists; gets certificates, keys and the control socket")
    parser.add_argument("--release", type=int, choices=(3, 4, 5), default=4)
    parser.add_argument("--host", default="localhost", help="name in URLs and certificate (default: localhost)")
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--tls", choices=TLS_FAULTS, help="as the control command tls")
    parser.add_argument("--http1", action="store_true", help="as the control command tls with http2 false")
    parser.add_argument("--until-eof", action="store_true", help="ends when its standard input does")
    return parser.parse_args()


def base_urls(url, release):
    wls = {3: "/wls", 4: "/wls/v1", 5: "/wls/v2"}[release]
    aas_path = "/aas" if release == 3 else "/aas/v1"
    return {"cms": url + "/cms/v1", "aas": url + aas_path, "hvs": url + "/hvs/v2", "wls": url + wls,
            "kbs": url + "/kbs/v1"}


def main():
    asked = arguments()
    names = [x509.DNSName(asked.host)]
    names += [x509.IPAddress(ipaddress.ip_address(asked.address))] if asked.address != "0.0.0.0" else []
    https = server.Server((asked.address, asked.port))
    url = f"https://{asked.host}:{https.port}"
    known = state.State(Certificates(asked.directory, names), url, asked.release)
    https.state = known
    https.use_tls(asked.tls, http2=not asked.http1)
    passwords = {name: secrets.token_urlsafe(12) for name in ROLES}
    for name, roles in ROLES.items():
        known.users[name] = state.User(passwords[name], roles)
    path = os.path.join(asked.directory, "control.sock")
    control.listen(path, control.Control(known, https))
    print(json.dumps({"urls": base_urls(url, asked.release), "control": path,
                      "cms_tls_cert_sha384": https.leaf_digest, "users": passwords}), flush=True)
    if asked.until_eof:
        threading.Thread(target=https.serve, daemon=True).start()
        sys.stdin.read()
    else:
        https.serve()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
