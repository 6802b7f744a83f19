# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 (RFC 9113) on a connection whose TLS has chosen it. One thread owns the socket, works on requests, and sends
the answers when their delay is over. An answer that a fault has sent in pieces has a thread of its own, so that it keeps no
other waiting."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import heapq
import http.client
import queue
import select
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack.hpack

from . import faults
from .wire import Request

RECEIVE = 65536
STREAMS_MAX = 250  # what Go's servers allow
FORBIDDEN = ("connection", "transfer-encoding")  # RFC 9113, section 8.2.2

# A client's token comes in full with each request, and to read its code bit by bit would take as long as all else. Kept,
# as saml.py says.
hpack.hpack.decode_huffman = functools.lru_cache(64)(hpack.hpack.decode_huffman)


class Ended(Exception):
    """The stream, or the whole connection, is no more."""


class Stream:
    """A request as it comes in, and what of its answer has gone out."""

    def __init__(self, number, headers):
        self.number = number
        self.pseudo = {name: value for name, value in headers if name.startswith(":")}
        self.headers = http.client.HTTPMessage()
        for name, value in headers:
            if not name.startswith(":"):
                self.headers[name] = value
        self.body = bytearray()
        self.room = threading.Event()  # the client may have made room for more
        self.frames_sent = 0
        self.body_sent = 0

    def request(self, connection):
        made = Request(self.pseudo[":method"], self.pseudo[":path"], self.headers, bytes(self.body), connection)
        made.version = "HTTP/2"
        return made


class Http2:
    """close(manner) ends the connection, as server.Connection.close() does."""

    def __init__(self, server, tls_socket, number, close):
        self.server = server
        self.socket = tls_socket
        self.number = number
        self.close = close
        self.streams = {}
        self.to_do = queue.SimpleQueue()
        self.due = []  # (CLOCK_MONOTONIC, number of the stream, answer, fault), a heap
        self.wake_up, self.woken = socket.socketpair()
        self.open = True
        self.h2 = h2.connection.H2Connection(
            config=h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))

    def run(self):
        """Until the other side closes, or an answer ends the connection."""
        try:
            self.socket.settimeout(0)
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX})
            self.h2.initiate_connection()
            self.send(self.h2.data_to_send())
            while self.open:
                self.turn()
        except h2.exceptions.ProtocolError:
            with contextlib.suppress(OSError):
                self.send(self.h2.data_to_send())
            self.close("close")
        except (OSError, Ended):
            self.close("drop")
        finally:
            self.open = False
            for stream in self.streams.values():
                stream.room.set()

    def is_stalled(self):
        return self.number <= self.server.stalled

    def turn(self):
        if self.is_stalled():
            time.sleep(0.1)
            return
        pause = max(self.due[0][0] - time.monotonic(), 0) if self.due else None
        ready = select.select([self.socket, self.woken], [], [], pause)[0]
        if self.woken in ready:
            self.woken.recv(RECEIVE)
        while self.open and not self.to_do.empty():
            function, future = self.to_do.get()
            try:
                future.set_result(function())
            except (Ended, OSError, h2.exceptions.ProtocolError) as error:
                future.set_exception(error)
        if self.open and self.socket in ready:
            self.receive()
        self.send_due()

    def do(self, function, *arguments):
        """Has the connection's thread call it, and gives back what it returns."""
        future = concurrent.futures.Future()
        self.to_do.put((lambda: function(*arguments), future))
        self.wake_up.send(b"x")
        while self.open or future.done():
            with contextlib.suppress(concurrent.futures.TimeoutError):
                return future.result(1)
        raise Ended

    def receive(self):
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while True:
                data = self.socket.recv(RECEIVE)
                if not data:
                    raise Ended
                for event in self.h2.receive_data(data):
                    self.take(event)
                    self.send_due()
                self.send(self.h2.data_to_send())

    def take(self, event):
        number = getattr(event, "stream_id", 0)
        stream = self.streams.get(number)
        if isinstance(event, h2.events.RequestReceived):
            self.streams[number] = Stream(number, event.headers)
        elif isinstance(event, h2.events.DataReceived) and stream:
            stream.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, number)
        elif isinstance(event, h2.events.StreamEnded) and stream:
            self.serve(stream)
        elif isinstance(event, h2.events.StreamReset) and stream:
            self.streams.pop(number).room.set()
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            for waiting in self.streams.values():
                waiting.room.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            raise Ended

    def send(self, data):
        while data:
            try:
                data = data[self.socket.send(data):]
            except ssl.SSLWantWriteError:
                select.select([], [self.socket], [])

    def serve(self, stream):
        answer, fault = self.server.answer(stream.request(self.number))
        if fault.sends_whole():
            heapq.heappush(self.due, (time.monotonic() + fault.delay, stream.number, answer, fault))
        else:
            self.send_apart(stream, answer, fault)

    def send_due(self):
        while self.due and self.due[0][0] <= time.monotonic() and not self.is_stalled():
            _, number, answer, fault = heapq.heappop(self.due)
            with contextlib.suppress(Ended, OSError, h2.exceptions.ProtocolError):
                self.send_whole(number, answer, fault)

    def send_apart(self, stream, answer, fault):
        threading.Thread(target=self.send_answer, args=(stream, answer, fault), daemon=True).start()

    def send_answer(self, stream, answer, fault):
        """In a thread of its own: with the faults that the answer is to have."""
        with contextlib.suppress(Ended, OSError, h2.exceptions.ProtocolError):
            time.sleep(fault.delay)
            if fault.goaway:
                self.do(self.say_goodbye)
            if fault.stream_reset_at != 0:
                self.do(self.send_headers, stream, answer, fault)
            for piece in faults.body_pieces(answer, fault):
                for part in faults.sliced(piece, fault.slice or fault.chunk):
                    time.sleep(fault.pause)
                    self.send_part(stream, part, fault)
            self.do(self.finish, stream, fault)

    def say_goodbye(self):
        """Nothing new on this connection; what is under way is answered."""
        self.h2.close_connection(last_stream_id=max(self.streams, default=0))
        self.send(self.h2.data_to_send())
        # For the library it is closed with that, for clients and servers it is not.
        self.h2.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN

    def send_whole(self, number, answer, fault):
        """In one piece, where the client has room for it."""
        stream = self.streams.get(number)
        if not stream:
            return
        if len(answer.body) > min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size):
            self.send_apart(stream, answer, dataclasses.replace(fault, delay=0))
            return
        self.make_headers(stream, answer, fault)
        if answer.body:
            self.h2.send_data(number, answer.body)
        self.finish(stream, fault)

    def send_headers(self, stream, answer, fault):
        self.check(stream)
        self.make_headers(stream, answer, fault)
        self.send_frames(stream, fault)

    def make_headers(self, stream, answer, fault):
        values = {"Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()), **answer.headers}
        length = len(answer.body) if fault.body_size is None else fault.body_size
        if not fault.no_length and answer.status != 204:
            values.setdefault("Content-Length", length if fault.content_length is None else fault.content_length)
        self.h2.send_headers(stream.number, [(":status", str(answer.status))] + [
            (name.lower(), str(value)) for name, value in values.items() if name.lower() not in FORBIDDEN])

    def send_part(self, stream, data, fault):
        """Waits where the client has no room for more."""
        while data:
            stream.room.clear()
            sent = self.do(self.send_data, stream, data, fault)
            if not sent:
                stream.room.wait()
            data = data[sent:]

    def send_data(self, stream, data, fault):
        """How many of these bytes have been sent."""
        self.check(stream)
        size = min(len(data), self.h2.local_flow_control_window(stream.number), self.h2.max_outbound_frame_size)
        if fault.stream_reset_at is not None:
            size = min(size, fault.stream_reset_at - stream.body_sent)
        if size > 0:
            self.h2.send_data(stream.number, data[:size])
            stream.body_sent += size
            self.send_frames(stream, fault)
        if stream.body_sent == fault.stream_reset_at:
            self.finish(stream, fault)
            raise Ended
        return size

    def finish(self, stream, fault):
        self.check(stream)
        if fault.stream_reset_at is None:
            self.h2.end_stream(stream.number)
        else:
            self.h2.reset_stream(stream.number, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self.streams.pop(stream.number)
        self.send_frames(stream, fault)

    def check(self, stream):
        if not self.open or stream.number not in self.streams:
            raise Ended

    def send_frames(self, stream, fault):
        """What the library has made ready, up to where the fault has the connection end."""
        offset, manner = fault.cut() or (None, None)
        data = self.h2.data_to_send()
        self.send(data if offset is None else data[:max(offset - stream.frames_sent, 0)])
        stream.frames_sent += len(data)
        if offset is not None and stream.frames_sent >= offset:
            self.open = False
            self.close(manner)
