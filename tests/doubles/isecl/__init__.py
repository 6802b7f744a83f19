# SPDX-License-Identifier: Apache-2.0
"""A double of Intel SecL-DC: one process that stands in for CMS, AAS, HVS, WLS and KBS in tests.

    isecl --directory DIRECTORY [--release 3|4|5] [--host NAME] [--port PORT] [--tls FAULT]
          [--address ADDRESS] [--http1] [--until-eof]

python3 -m isecl, in tests/doubles, serves until it is ended, or with --until-eof until its standard input ends.
It is strict where these services are strict, and does their cryptography with keys made at its start. It is a
test program: whoever can write to its control socket gets every key.

When it serves, it writes one line of JSON to standard output:

    urls                  {"cms", "aas", "hvs", "wls", "kbs"}: base URLs without trailing slash; one port for all
    control               path of the control socket
    cms_tls_cert_sha384   what a client of CMS has to be told to trust it for the download of the root
    users                 {name: password}: "wla" with all roles of a workload agent, "installer" who may have
                          hosts' keys certified, "owner" who may do everything with images and keys

DIRECTORY then also has root-ca.pem, privacy-ca.pem, jwt-signing.pem, saml.pem, and once there is a flavor
flavor-signing.pem. The release is the version of Intel SecL whose paths and statuses it has: 3 for up to 3.4, 4
for 3.5 to 4.2, 5 for 5.0 and 5.1 (default 4).

isecl.client.Double starts it, and sends commands as methods: double.add_key(length=256)["key_url"].

# Control

The control socket is a stream of JSON objects, a line each: {"command": NAME, other members...} is answered by a
line, {} where there is nothing to say and {"error": TEXT} where the command makes no sense. What a command does
has been done when its answer comes. [member] may be left out.

release             number: from now on it is that release
add_user            name, password, roles ["WLS:KeysCreator", ...]: the roles are in aas.py
ban                 user, [seconds 900]: AAS answers 429. Five wrong passwords in five minutes do that too
unban               user
make_token          user, [seconds]: {"token"}; negative seconds for one that has expired
token_seconds       seconds: how long new tokens are good (7200)
expire_tokens       none of the tokens so far is good any more
advance             seconds: puts the services' clock forward: tokens expire, bans end, WLS forgets its cache (300 s)
add_host            hardware_uuid, aik: public key of its attestation key, PEM: {"aik_certificate"}, PEM; the host
                    is connected and trusted. Its binding key is the one that HVS last certified with that
                    attestation key behind it; before there is one, the host gives no report
set_host            hardware_uuid, [trust true, false, or null for no verdict], [connected true or false],
                    [asset_tags {name: value}], [binding_certificate PEM, or null for the last one certified]
add_key             [material base64, of any length], [length in bits 256], [usage "country:USA"], [id]:
                    {"id", "key_url", "material"}
remove_key          id
add_flavor          label, [key_id or key_url; neither for an image that is not encrypted], [digest], [id]:
                    {"id", "signed"}: an image flavor, with the signature of flavor-signing.pem
add_image           flavor_ids, [id]: {"id"}
down                service "hvs" or "kbs", [down true]: WLS cannot reach it; its own routes still answer
counters            {"calls": {route: number}, "connections", "handshakes", "failed_handshakes",
                    "http2_connections": those whose TLS has chosen HTTP/2}. Routes have the names
                    that stand in the modules (wls.keys, wls.flavor_key, aas.token, ...; unmatched for what no route
                    was found for). hvs.report, wls.asked_kbs and kbs.released count what services did
                    among themselves
requests            {"requests"}: the last 1000, oldest first: route, method, target, headers, number of the
                    connection, version (HTTP/1.0, HTTP/1.1, HTTP/2), time (CLOCK_MONOTONIC, seconds), status,
                    the reason of a refusal, also where the wire has none, and the body's first kilobyte, but not of
                    logins
reports             {"reports"}: instance reports as WLS took them
reset_counters      counters and requests start again
fault               [route "*"], [times], [skip 0] and any of the members below: the next answers of the route,
                    after the first skip of them, are changed so; without times, all. Of several faults the oldest
                    that is not used up counts
clear_faults        no fault any more
tls                 [fault], [handshake_delay seconds], [http2 true, or false for HTTP/1.1 only], [keylog path of a
                    file that gets the connections' secrets, as SSLKEYLOGFILE]: for new connections:
                    {"cms_tls_cert_sha384"}. Without fault, TLS is sound. Faults: expired,
                    not_yet_valid, wrong_name, wrong_usage (a client's certificate), wrong_ca (another CA of the same
                    name), self_signed, tls12 and tls13 (that version only), rsa1024, sha1 (leaf signed with it),
                    wants_client (no answer to clients without a certificate), no_close_notify (at the end of each connection), no_handshake (the connection stays silent)
stall               the connections so far stay open, and no further request on them is answered; new ones are served

# Members of a fault

The request is worked on as ever; its answer is changed in this order:

body, body_base64   another body; json {name: value} and remove [name] change members of the JSON that it is, and
                    duplicate {name: value} puts members in front of it, so that names come twice
gzip true           the body is compressed, and says so
status, headers     another status; more headers. A redirect is status 307 and headers {"Location": URL}
body_size           a body of that many bytes "a", whatever it was
content_length      what the header says of the length, whatever it is
no_length true      no length: the body ends with the connection
chunk               chunks of that many bytes, in place of a length
delay               seconds before the first byte; a large number for a service that hangs
slice, pause        so many bytes a write (a TLS record each), and seconds after each write: slice 1, pause 1 is one
                    byte a second
reset_at            after that many bytes, of headers and body: RST
close_at            ... TLS and connection are closed in order
drop_at             ... the connection is closed without close_notify
half_close_at       ... nothing more is sent, but the connection stays until the client closes it
stream_reset_at     HTTP/2: after that many bytes of the body RST_STREAM (INTERNAL_ERROR); 0: in place of headers
goaway true         HTTP/2: GOAWAY before the answer, which still comes; later requests need another connection

Over HTTP/2, which a client gets that offers it (ALPN, as Go's servers do), no_length only leaves the header out, as
the frames tell the end; slice and chunk are DATA frames of that many bytes, and headers are not sliced; the four ends
of a connection count bytes of frames of this answer, and end the connection with all that is under way on it.

What a key release (wls.keys, wls.flavor_key, kbs.transfer) wraps, past WLS's cache:

key_size            a key of that many random bytes
other_key true      another key of the same size
other_host true     the key, wrapped for another host's TPM
label               another OAEP label than "TPM2\\0"
ciphertext_size     cut, or filled with zeros, to that many bytes

# What differs from the services

CMS issues nothing, KBS makes no RSA and EC keys, KMIP keys are made up. Where it is not
known which of two statuses a service has for a header of another value, it is 415.
"""
