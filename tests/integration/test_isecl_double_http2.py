# SPDX-License-Identifier: Apache-2.0
"""tests/doubles/isecl over HTTP/2: what a client that offers it gets, and that each fault is the one that it sees."""

import socket
import ssl
import threading
import urllib.parse

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from isecl_case import PEM, DoubleTest, double

PATH = "/cms/v1/ca-certificates"


class Http2Client:
    """One connection, any number of streams."""

    def __init__(self, protocols=("h2", "http/1.1")):
        context = ssl.create_default_context(cafile=double.root_ca)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        context.set_alpn_protocols(protocols)
        port = urllib.parse.urlsplit(double.urls["cms"]).port
        self.socket = context.wrap_socket(socket.create_connection(("localhost", port), timeout=20),
                                          server_hostname="localhost", suppress_ragged_eofs=False)
        self.protocol = self.socket.selected_alpn_protocol()
        self.h2 = h2.connection.H2Connection(config=h2.config.H2Configuration(header_encoding="utf-8"))
        self.events = []
        if self.protocol == "h2":
            self.h2.initiate_connection()
            self.flush()

    def close(self):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, path=PATH, headers=None, body=None):
        """The number of the stream."""
        stream = self.h2.get_next_available_stream_id()
        method = "GET" if body is None else "POST"
        self.h2.send_headers(stream, [(":method", method), (":scheme", "https"), (":authority", "localhost"),
                                      (":path", path), *((headers or PEM).items())], end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        return stream

    def read(self):
        """Whether the connection goes on."""
        data = self.socket.recv(65536)
        for event in self.h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()
        return bool(data)

    def of(self, kind, stream):
        return [event for event in self.events if isinstance(event, kind) and getattr(event, "stream_id", 0) == stream]

    def answer(self, stream):
        """(status, body, headers)"""
        while not self.of(h2.events.StreamEnded, stream):
            if self.of(h2.events.StreamReset, stream):
                raise ConnectionError("the stream was reset")
            if not self.read():
                raise EOFError
        headers = dict(self.of(h2.events.ResponseReceived, stream)[0].headers)
        body = b"".join(event.data for event in self.of(h2.events.DataReceived, stream))
        return int(headers[":status"]), body, headers


class Http2(DoubleTest):
    def setUp(self):
        super().setUp()
        with open(double.root_ca, "rb") as file:
            self.root = file.read()

    def connect(self, *protocols):
        client = Http2Client(protocols or ("h2", "http/1.1"))
        self.addCleanup(client.close)
        return client

    def get(self):
        client = self.connect()
        return client.answer(client.ask())

    def test_who_offers_it_gets_it(self):
        self.assertEqual([self.connect(*offered).protocol for offered in (("h2",), ("http/1.1", "h2"), ("http/1.1",))],
                         ["h2", "h2", "http/1.1"])
        self.assertEqual(self.get()[:2], (200, self.root))
        self.assertEqual(double.requests()["requests"][0]["version"], "HTTP/2")
        self.assertEqual(double.counters()["http2_connections"], 3)
        double.tls(http2=False)
        self.addCleanup(double.tls)
        self.assertEqual(self.connect().protocol, "http/1.1")

    def test_many_requests_on_one_connection(self):
        client = self.connect()
        streams = [client.ask() for _ in range(30)]
        self.assertEqual({client.answer(stream)[1] for stream in streams}, {self.root})
        self.assertEqual((double.counters()["connections"], double.counters()["calls"]["cms.ca_certificates"]), (1, 30))

    def test_body_and_headers_arrive(self):
        client = self.connect()
        login = f'{{"username":"wla","password":"{double.users["wla"]}"}}'.encode()
        status, token, headers = client.answer(client.ask(urllib.parse.urlsplit(double.urls["aas"]).path + "/token", {
            "accept": "application/jwt", "content-type": "application/json"}, login))
        self.assertEqual((status, token.count(b"."), headers["content-type"]), (200, 2, "application/jwt"))
        self.assertEqual(client.answer(client.ask("/nowhere"))[0], 404)

    def test_one_that_hangs_holds_no_other_up(self):
        client = self.connect()
        double.fault(delay=1000, times=1)
        hanging = client.ask()
        self.assertEqual(client.answer(client.ask())[0], 200)
        self.assertEqual(client.of(h2.events.ResponseReceived, hanging), [])

    def test_large_body_within_the_clients_windows(self):
        double.fault(body_size=3000000, times=1)
        self.assertEqual(self.get()[1], b"a" * 3000000)

    def test_other_answers(self):
        double.fault(status=307, headers={"Location": "https://x/"}, body="", times=1)
        status, body, headers = self.get()
        self.assertEqual((status, body, headers["location"]), (307, b"", "https://x/"))
        double.fault(no_length=True, slice=7, pause=0.001, times=1)
        _, body, headers = self.get()
        self.assertEqual((body, headers.get("content-length")), (self.root, None))
        double.fault(content_length=5, times=1)
        self.assertRaises(h2.exceptions.ProtocolError, self.get)

    def test_ends_of_connections(self):
        # Python says SSLEOFError of a reset connection and of one without close_notify.
        for knob, error in (("reset_at", (ConnectionResetError, ssl.SSLEOFError)), ("close_at", EOFError),
                            ("drop_at", ssl.SSLError), ("half_close_at", EOFError)):
            for offset in (0, 5, 200):
                with self.subTest(knob=knob, offset=offset):
                    double.fault(times=1, **{knob: offset})
                    self.assertRaises(error, self.get)
        self.assertEqual(self.get()[0], 200)

    def test_a_stream_that_is_reset(self):
        client = self.connect()
        for offset in (0, 100):
            double.fault(stream_reset_at=offset, times=1)
            stream = client.ask()
            self.assertRaises(ConnectionError, client.answer, stream)
            self.assertEqual(sum(len(event.data) for event in client.of(h2.events.DataReceived, stream)), offset)
            self.assertEqual(len(client.of(h2.events.ResponseReceived, stream)), min(offset, 1))
        self.assertEqual(client.answer(client.ask())[1], self.root)

    def test_goaway(self):
        client = self.connect()
        double.fault(goaway=True, times=1)
        stream = client.ask()
        while not client.of(h2.events.ConnectionTerminated, 0):
            client.read()
        # For this library nothing follows; for a client that knows better the answer does.
        client.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        self.assertEqual(client.answer(stream)[1], self.root)

    def test_a_client_that_speaks_nonsense(self):
        client = self.connect()
        # A frame that is whole, and larger than any may be: of one that is not whole h2 would wait for the rest.
        client.socket.sendall((16385).to_bytes(3, "big") + b"\xff" * (6 + 16385))
        with self.assertRaises((EOFError, h2.exceptions.ProtocolError, ConnectionError, ssl.SSLError)):
            while client.read():
                pass
            raise EOFError
        self.assertEqual(self.get()[0], 200)

    def test_clients_at_the_same_time(self):
        threads = [threading.Thread(target=self.get) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(double.counters()["calls"]["cms.ca_certificates"], 10)
