# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 and HTTP/2 over TLS: one port for all services, a thread for each connection."""

import contextlib
import functools
import http
import http.client
import socket
import struct
import threading
import time
import traceback

from . import aas, cms, faults, hvs, kbs, routes, wls
from .http2 import Http2
from .wire import Answer, Refusal, Request

LINE_MAX = 65536
BODY_MAX = 16 * 1024 * 1024
BODY_SHOWN = 1000
IDLE_SECONDS = 600
SERVICES = (cms, aas, hvs, wls, kbs)


@functools.cache
def all_routes(release):
    return [route for service in SERVICES for route in service.routes(release)]


def shown(body):
    return body[:BODY_SHOWN].decode("utf-8", "replace")


class Server:
    def __init__(self, address):
        self.listener = socket.create_server(address, backlog=128)
        self.port = self.listener.getsockname()[1]
        self.state = None
        self.tls_lock = threading.Lock()
        self.tls_fault = None
        self.handshake_delay = 0
        self.context = None
        self.leaf_digest = None
        self.number = 0
        self.stalled = 0  # connections up to this number

    def use_tls(self, fault=None, handshake_delay=0, http2=True, keylog=None):
        """From the next connection on."""
        context, digest = self.state.certificates.server_context(fault)
        if keylog:
            context.keylog_filename = keylog
        context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
        with self.tls_lock:
            self.context, self.leaf_digest = context, digest
            self.tls_fault, self.handshake_delay = fault, handshake_delay

    def serve(self):
        while True:
            connected, _ = self.listener.accept()
            self.number += 1
            threading.Thread(target=Connection(self, connected, self.number).run, daemon=True).start()

    def answer(self, request):
        """(answer, fault)"""
        state, name, reason = self.state, "unmatched", ""
        with state.lock:
            try:
                route = routes.find(all_routes(state.release), request)
                name = route.name
                request.fault = faults.take(state, name)
                if route.permission:
                    aas.authorize(state, request, *route.permission)
                answer = route.handler(state, request)
            except Refusal as refusal:
                answer, reason = refusal.answer(), str(refusal)
            except Exception as error:
                traceback.print_exc()
                answer, reason = Answer(500, b"fault of the double\n", "text/plain"), f"fault of the double: {error!r}"
            if name == "unmatched":
                request.fault = faults.take(state, name)
            fault = request.fault or faults.NO_FAULT
            answer = fault.change(answer)
            state.calls[name] += 1
            state.requests.append({"route": name, "method": request.method, "target": request.target,
                                   "headers": dict(request.headers.items()), "connection": request.connection,
                                   "version": request.version, "time": request.time, "status": answer.status,
                                   "reason": reason, "body": "" if name == "aas.token" else shown(request.body)})
        return answer, fault


class Connection:
    def __init__(self, server, connected, number):
        self.server = server
        self.socket = connected
        self.number = number
        self.reader = None
        self.tls_fault = None

    def count(self, what):
        with self.server.state.lock:
            self.server.state.traffic[what] += 1

    def run(self):
        self.count("connections")
        with self.server.tls_lock:
            context, self.tls_fault, delay = self.server.context, self.server.tls_fault, self.server.handshake_delay
        try:
            self.socket.settimeout(IDLE_SECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls_fault == "no_handshake":
                self.wait_for_end()
                return
            time.sleep(delay)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            self.socket.do_handshake()
        except OSError:
            self.count("failed_handshakes")
            self.socket.close()
            return
        self.count("handshakes")
        if self.socket.selected_alpn_protocol() == "h2":
            self.count("http2_connections")
            Http2(self.server, self.socket, self.number, self.close).run()
        else:
            self.serve()

    def serve(self):
        try:
            self.reader = self.socket.makefile("rb")
            while self.exchange():
                pass
            self.close("drop" if self.tls_fault == "no_close_notify" else "close")
        except OSError:
            self.close("drop")

    def wait_for_end(self):
        """Reads and drops until the other side closes."""
        with contextlib.suppress(OSError):
            while self.socket.recv(LINE_MAX):
                pass
        self.socket.close()

    def exchange(self):
        """Whether another request may follow."""
        try:
            request = self.read_request()
        except (http.client.HTTPException, ValueError) as error:
            answer = Answer(400, f"400 Bad Request: {error}".encode(), "text/plain; charset=utf-8")
            self.write(answer, faults.NO_FAULT, True)
            return False
        if not request:
            return False
        if self.number <= self.server.stalled:
            self.wait_for_end()
            return False
        answer, fault = self.server.answer(request)
        last = request.header("connection").lower() == "close" or fault.no_length or request.version == "HTTP/1.0"
        time.sleep(fault.delay)
        return self.write(answer, fault, last)

    def read_request(self):
        line = self.reader.readline(LINE_MAX)
        if not line:
            return None
        words = line.decode("latin-1").split()
        if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1") or not words[1].startswith("/"):
            raise ValueError("malformed request line")
        headers = http.client.parse_headers(self.reader)
        if words[2] == "HTTP/1.1" and "host" not in headers:
            raise ValueError("missing required Host header")
        if headers.get("expect", "").lower() == "100-continue":
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = Request(words[0], words[1], headers, self.read_body(headers), self.number)
        request.version = words[2]
        return request

    def read_body(self, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self.read_chunks()
        size = headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > BODY_MAX:
            raise ValueError("bad Content-Length")
        body = self.reader.read(int(size))
        if len(body) != int(size):
            raise ConnectionResetError
        return body

    def read_chunks(self):
        body = b""
        while True:
            size = int(self.reader.readline(LINE_MAX).split(b";")[0], 16)
            if not 0 <= size <= BODY_MAX - len(body):
                raise ValueError("body too long")
            body += self.reader.read(size)
            ended = self.reader.readline(LINE_MAX)
            if size == 0:
                while ended.strip():
                    ended = self.reader.readline(LINE_MAX)
                return body

    def write(self, answer, fault, last):
        """Whether another request may follow."""
        reason = http.HTTPStatus(answer.status).phrase if answer.status in set(http.HTTPStatus) else ""
        answer.headers.setdefault("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))
        offset, manner = fault.cut() or (None, None)
        sent = 0
        for piece in faults.pieces(answer, reason, fault, last):
            if offset is not None and sent + len(piece) >= offset:
                piece = piece[:offset - sent]
            if piece:
                self.socket.sendall(piece)
            sent += len(piece)
            if sent == offset:
                break
            time.sleep(fault.pause)
        if manner:
            self.close(manner)
        return not last and not manner

    def close(self, manner):
        """close: as TLS has it; drop: without close_notify; reset: RST; half_close: nothing more is sent, and
        what comes is read until the other side closes."""
        if self.socket.fileno() < 0:
            return
        if manner in ("close", "half_close"):
            self.socket.settimeout(0)
            with contextlib.suppress(OSError):
                self.socket.unwrap()
        plain = socket.socket(fileno=self.socket.detach())
        if manner == "half_close":
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_WR)
                plain.settimeout(IDLE_SECONDS)
                while plain.recv(LINE_MAX):
                    pass
        if manner == "reset":
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            plain.close()

