# SPDX-License-Identifier: Apache-2.0
"""The certificate management service: its root and intermediates, for whoever asks."""

import urllib.parse

from . import wire
from .certificates import INTERMEDIATES, pem
from .routes import Route
from .wire import Answer, Refusal


def routes(_release):
    return [Route("cms.ca_certificates", "GET", "/cms/v1/ca-certificates", ca_certificates),
            Route("cms.version", "GET", "/cms/v1/version", version)]


def version(_state, _request):
    return Answer(200, b"Certificate Management Service\n", "text/plain")


def ca_certificates(state, request):
    wire.require(request, (406, "Accept type not supported"), accept="application/x-pem-file")
    kind = dict(urllib.parse.parse_qsl(request.query_text)).get("issuingCa", "root")
    if kind == "root":
        authority = state.certificates.root
    elif kind in INTERMEDIATES:
        authority = state.certificates.intermediates[kind]
    else:
        raise Refusal(400, "Invalid issuingCa value")
    return Answer(200, pem(authority.certificate), "application/x-pem-file")
