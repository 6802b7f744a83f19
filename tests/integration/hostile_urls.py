# SPDX-License-Identifier: Apache-2.0
"""What an image's maker may write where the URL of a key stands, so that a host asks somebody else than its brokers."""

import itertools

UUID = "eb61b2e9-c7cd-4476-ac5f-71582c892112"
PATH = f"/kbs/v1/keys/{UUID}/transfer"
NAMES_IN_HOSTS = ("loopback.evil.test", "metadata.evil.test", "wildcard.evil.test")

HOSTS = (
    "evil.example", "169.254.169.254", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376",
    "169.254.43518", "169.16689662", "127.1", "127.0.0.2", "0177.0.0.1", "0x7f.1", "2130706433", "017700000001", "0",
    "0.0.0.0", "10.0.0.1", "192.168.0.1", "255.255.255.255", "224.0.0.1", "1.1.1.1", "[::]", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[fe80::1%25lo]",
    "[fe80::1%lo]", "[0:0:0:0:0:0:0:1]", "[::1", "::1", "[localhost]", "[v1.x]", *NAMES_IN_HOSTS, "localhost.evil.test",
    "localhost.", "localhost..", ".localhost", "local host", "localhost%00.evil.test", "localhost%2eevil.test",
    "%6cocalhost", "l\u043ecalhost", "\u24dbocalhost", "localhost\u3002evil.test", "\uff11\uff16\uff19.254.169.254",
    "xn--lcalhost-5fg", "localho\u017ft", "metadata.google.internal", "localhost\u200b", "local\u00adhost", "*", "-", "a" * 64,
    "a." * 127 + "a", "a" * 400, "localhost,evil.test", "localhost;evil.test", "$(id)", "`id`", "'", '"', "<x>", "{x}")
PORTS = ("", ":80", ":1", ":0", ":65536", ":-1", ":00443", ":+443", ":", ":443x", ":4294967739")
SCHEMES = ("http", "ftp", "ftps", "file", "gopher", "dict", "ldap", "ldaps", "imap", "pop3", "smtp", "telnet", "tftp", "smb",
           "sftp", "scp", "rtsp", "ws", "wss", "unix", "data", "javascript", "jar", "netdoc", "HTTPS", "Https", "https\t",
           " https", "hxxps", "view-source:https", "https:https", "h2", "h2c", "")
UNUSUAL_PATHS = (
    "", "/", "/transfer", "/keys", f"/keys/{UUID}", f"/{UUID}/transfer", f"/keys/{UUID}/transfer/x", f"/keys/{UUID}/delete",
    f"/../keys/{UUID}/transfer", f"/./keys/{UUID}/transfer", f"/%2e%2e/keys/{UUID}/transfer", f"/%2E./keys/{UUID}/transfer",
    f"/..;/keys/{UUID}/transfer", f"/x%2f..%2fkeys/{UUID}/transfer", f"/keys/{UUID}%2ftransfer", f"/keys%5c{UUID}/transfer",
    f"/keys/{UUID}/transfer?x=https://evil.example/", f"/keys/{UUID}/transfer#@evil.example", f"/keys/{UUID}/transfer;x=1",
    f"/keys/{UUID}/transfer%3fx", f"/keys/{UUID}/transfer%00", f"/keys/{UUID}/transfer\0", f"/keys/{UUID}/transfer ",
    f"/keys/{UUID}/transfer\r\nHost: evil.example", f"/keys/{UUID}/transfer%0d%0aHost:%20evil.example",
    f"/keys/{UUID}/tr\tansfer", f"/keys/{UUID}/\\evil.example/transfer", f"/{UUID}/keys/{UUID}/transfer",
    f"/keys/{UUID}{UUID}/transfer", f"/x{UUID}x/keys/{UUID}/transfer", f"/keys/{UUID[:-1]}/transfer",
    "/keys/eb61b2e9-c7cd-1476-ac5f-71582c892112/transfer", "/keys/eb61b2e9-c7cd-5476-ac5f-71582c892112/transfer",
    "/keys/eb61b2e9-c7cd-4476-cc5f-71582c892112/transfer", "/keys/{eb61b2e9-c7cd-4476-ac5f-71582c892112}/transfer",
    "/keys/eb61b2e9c7cd4476ac5f71582c892112/transfer", "/keys/../transfer", "/keys//transfer", "/keys/%s/transfer",
    f"/\u212a\u0435ys/{UUID}/transfer", f"/keys/{UUID}/transf\u0435r", f"/a{'/a' * 40}/keys/{UUID}/transfer", "/" + "a" * 65536,
    f"/https://evil.example{PATH}", f"/@evil.example{PATH}", f"/\"{PATH}", f"/<{PATH}", f"/|{PATH}", f"/&{PATH}", f"/+{PATH}")


def urls(origin):
    """[URL]; origin: https://HOST:PORT of the one broker that is listed."""
    authority = origin.removeprefix("https://")
    name = authority.partition(":")[0]
    found = [f"https://{host}{port}{PATH}" for host, port in itertools.product(HOSTS, PORTS)]
    found += [f"https://{name}{port}{PATH}" for port in PORTS]
    found += [f"{scheme}://{place}{PATH}" for scheme in SCHEMES for place in (authority, "evil.example")]
    found += [origin + path for path in UNUSUAL_PATHS]
    for host in ("evil.example", "169.254.169.254", "[::1]"):
        found += [form.format(at=authority, host=host, path=PATH) for form in (
            "https://{at}@{host}{path}", "https://{host}@{at}{path}", "https://{at}:x@{host}{path}", "https://:@{host}{path}",
            "https://user:secret@{at}{path}", "https://{at}%40{host}{path}", "https://{host}#@{at}{path}",
            "https://{host}?@{at}{path}", "https://{host}/{at}{path}", "https://{at}\\@{host}{path}",
            "https://{host}\\@{at}{path}", "https:\\\\{host}{path}", "https:/\\{host}{path}", "https:/{host}{path}",
            "https:///{host}{path}", "https:{host}{path}", "//{host}{path}", "\\\\{host}{path}", "{host}{path}",
            "https://{at}.{host}{path}", "https://{host}.{at}{path}", "https://{at},{host}{path}", "https://{at} {host}{path}",
            "https://{at}\t{host}{path}", "https://{at}\r\n{host}{path}", "https://{at}%0d%0a{host}{path}",
            "https://{at}\0{host}{path}", "https://{host}\0{at}{path}", "https://{at}&{host}{path}", "https://{at}|{host}{path}",
            " https://{host}{path}", "https://{host}{path} https://{at}{path}", "https://{at}{path}\nhttps://{host}{path}",
            "url:https://{host}{path}", "<https://{host}{path}>")]
    return list(dict.fromkeys(found))
