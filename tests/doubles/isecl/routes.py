# SPDX-License-Identifier: Apache-2.0
"""How a request finds its handler.

As in the services, a path is compared as it stands: "//", a trailing slash and an escaped character are other
paths, and another path is 404. A header that a route is chosen by makes it no match, which is 404 too, or 405
where only the method keeps another route of the same path from matching."""

import re

from .wire import Refusal


class Route:
    """name is what tests and counters call it. permission: (service, rule), or None where no token is needed.
    headers: what the route is chosen by."""

    def __init__(self, name, method, path, handler, permission=None, headers=None):
        self.name = name
        self.method = method
        self.path = re.compile(path)
        self.handler = handler
        self.permission = permission
        self.headers = headers or {}

    def chosen_by(self, request):
        return all(request.header(name) == value for name, value in self.headers.items())


def find(routes, request):
    """The route; request.words gets what its path names."""
    refusal = Refusal(404, "404 page not found")
    for route in routes:
        match = route.path.fullmatch(request.path)
        if not match:
            continue
        if route.method != request.method:
            refusal = Refusal(405)
        elif route.chosen_by(request):
            request.words = match.groupdict()
            return route
    raise refusal
