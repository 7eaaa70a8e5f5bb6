"""QUIC with a foreign peer: aioquic speaks MQTT on a stream, as a client of our broker and as a broker for our programs. Both roles
are written here on aioquic's streams; ours are a broker and programs built with the feature `quic` (run.sh), told by URIs alone."""

import asyncio
import os
import ssl
import struct
import threading

from aioquic.asyncio import connect, serve
from aioquic.quic.configuration import QuicConfiguration

import raw_client as raw
from harness import Broker, Case, wait_until
from test_our_client import Program
from test_tls import Certificates

TIMEOUT_S = 20
VERSION = 4
LARGE = bytes(range(256)) * 4096
_tests = []


def test(run):
    _tests.append(run)
    return run


class OurBroker(Broker):
    """nlmqttd over QUIC, and over TCP at `port`."""

    def _accepts(self):
        if not super()._accepts():
            return False
        with open(os.path.join(self.directory, "broker.log")) as log:
            self.quic_port = int(next(line for line in log if "ready" in line).split("quic://127.0.0.1:")[1].split()[0])
        return True


class Stream(raw.Raw):
    """A stream of aioquic, used from this thread."""

    def __init__(self, loop, reader, writer):
        self.loop, self.reader, self.writer = loop, reader, writer
        self.timeout_s = TIMEOUT_S
        self.socket = self  # for its time-out

    def settimeout(self, timeout_s):
        self.timeout_s = timeout_s

    def send(self, *packets):
        self.loop.call_soon_threadsafe(self.writer.write, b"".join(packets))
        return self

    def _take(self, count):
        taking = asyncio.wait_for(self.reader.readexactly(count), self.timeout_s)
        try:
            return asyncio.run_coroutine_threadsafe(taking, self.loop).result()
        except (asyncio.IncompleteReadError, ConnectionError):
            raise EOFError from None


class ForeignBroker:
    """As much of a broker of MQTT 3.1.1 as our programs need."""

    def __init__(self):
        self.subscribers = []
        self.early = []  # whether each connection began with early data
        self.tickets = {}

    def stream(self, reader, writer):
        asyncio.ensure_future(self.serve(reader, writer))

    async def serve(self, reader, writer):
        try:
            while True:
                first = (await reader.readexactly(1))[0]
                size, shift = 0, 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    size |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                self.packet(raw.TYPES[first >> 4], first, await reader.readexactly(size), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.subscribers = [(one, filter_) for one, filter_ in self.subscribers if one is not writer]
            writer.write_eof()

    def packet(self, kind, first, body, writer):
        if kind == "CONNECT":
            self.early.append(writer.transport.protocol._quic.tls.early_data_accepted)
            writer.write(raw.packet(0x20, b"\0\0"))
        elif kind == "SUBSCRIBE":
            size = struct.unpack("!H", body[2:4])[0]
            self.subscribers.append((writer, body[4:4 + size]))
            writer.write(raw.packet(0x90, body[:2] + b"\0"))
        elif kind == "PUBLISH":
            qos = first >> 1 & 3
            size = struct.unpack("!H", body[:2])[0]
            topic, rest = body[2:2 + size], body[2 + size:]
            if qos:
                identifier, rest = struct.unpack("!H", rest[:2])[0], rest[2:]
                writer.write(raw.ack("PUBACK" if qos == 1 else "PUBREC", identifier))
            for subscriber, filter_ in self.subscribers:
                if filter_ == topic:
                    subscriber.write(raw.publish(VERSION, topic, rest))
        elif kind == "PUBREL":
            writer.write(raw.ack("PUBCOMP", struct.unpack("!H", body)[0]))
        elif kind == "PINGREQ":
            writer.write(raw.packet(0xD0))

    def disconnect_all(self):
        for writer, _ in self.subscribers:
            writer.transport.protocol.close()


class Bench:
    def __init__(self, nlmqttd, programs):
        self.nlmqttd, self.programs = nlmqttd, programs
        self.certificates = Certificates()
        self.running, self.brokers, self.open = [], [], []
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def file(self, name):
        return self.certificates.file(name)

    def wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, TIMEOUT_S), self.loop).result()

    def ours(self, query=""):
        uri = f"quic://127.0.0.1:0?cert={self.file('server.pem')}&key={self.file('server.key')}{query}"
        broker = OurBroker(f"{self.nlmqttd} -v -p {{port}} -l '{uri}'")
        self.brokers.append(broker)
        return broker.start()

    def client(self, broker, ca="ca", **settings):
        """A stream to our broker, and aioquic's protocol."""
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["mqtt"], server_name="localhost", **settings)
        configuration.load_verify_locations(self.file(f"{ca}.pem"))
        if ca == "client":
            configuration.load_verify_locations(self.file("ca.pem"))
        return self.wait(self._client(broker, configuration))

    async def _client(self, broker, configuration, tickets=None, wait_connected=True):
        handler = tickets.append if tickets is not None else None
        context = connect("127.0.0.1", broker.quic_port, configuration=configuration, session_ticket_handler=handler, wait_connected=wait_connected)
        protocol = await context.__aenter__()
        self.open.append(context)
        return Stream(self.loop, *await protocol.create_stream()), protocol

    def foreign(self):
        """A broker of aioquic; answers with its port, too."""
        broker = ForeignBroker()
        configuration = QuicConfiguration(is_client=False, alpn_protocols=["mqtt"])
        configuration.load_cert_chain(self.file("server.pem"), self.file("server.key"))

        async def begin():
            return await serve("127.0.0.1", 0, configuration=configuration, stream_handler=broker.stream,
                               session_ticket_fetcher=lambda label: broker.tickets.pop(label, None),
                               session_ticket_handler=lambda ticket: broker.tickets.update({ticket.ticket: ticket}))

        server = self.wait(begin())
        return broker, server._transport.get_extra_info("sockname")[1]

    def program(self, name, port, *arguments, ca="ca"):
        command = [os.path.join(self.programs, name), "-h", f"quic://localhost:{port}", "--cafile", self.file(f"{ca}.pem"), *arguments]
        running = Program(command)
        self.running.append(running)
        return running

    def close(self):
        for running in self.running:
            running.process.kill()
            running.process.wait()
        for context in self.open:
            try:
                self.wait(context.__aexit__(None, None, None))
            except Exception:  # it may be closed already
                pass
        self.loop.call_soon_threadsafe(self.loop.stop)
        for broker in self.brokers:
            broker.remove()
        self.certificates.remove()


@test
def a_foreign_client_reaches_our_broker(bench):
    broker = bench.ours()
    for version in (3, 4, 5):
        stream, _ = bench.client(broker)
        stream.open(version, f"foreign{version}")
        stream.send(raw.subscribe(version, "t", 0)).expect("SUBACK")
        for qos, payload in ((0, b"zero"), (1, b"one"), (2, b"two"), (0, LARGE)):
            stream.send(raw.publish(version, "t", payload, qos, mid=7))
            kinds = []
            while len(kinds) < (1, 2, 3)[qos]:
                kind, _, body = stream.read(TIMEOUT_S)
                kinds.append(kind)
                if kind == "PUBLISH":
                    assert body.endswith(payload) and len(body) - len(payload) <= 4, f"{len(body)} bytes"
                elif kind == "PUBREC":
                    stream.send(raw.ack("PUBREL", 7))
            assert sorted(kinds) == sorted(["PUBLISH", *((), ("PUBACK",), ("PUBREC", "PUBCOMP"))[qos]]), kinds
        stream.send(raw.disconnect())
        assert stream.read(TIMEOUT_S) is None, "the broker ends its side"


@test
def a_foreign_client_comes_back_with_early_data(bench):
    broker = bench.ours()
    tickets = []

    def configuration(ticket=None):
        made = QuicConfiguration(is_client=True, alpn_protocols=["mqtt"], server_name="localhost", session_ticket=ticket)
        made.load_verify_locations(bench.file("ca.pem"))
        return made

    stream, _ = bench.wait(bench._client(broker, configuration(), tickets))
    stream.open(VERSION, "known")
    wait_until(lambda: tickets, TIMEOUT_S, "no ticket came")
    for accepted in (True, False):
        # The second time the ticket was used already: it is not taken, and what was sent early comes again.
        stream, protocol = bench.wait(bench._client(broker, configuration(tickets[0]), wait_connected=False))
        stream.open(VERSION, "known")
        assert protocol._quic.tls.early_data_accepted == accepted


@test
def who_is_not_trusted_is_told_so(bench):
    broker = bench.ours(f"&ca={bench.file('ca.pem')}&client_cert=require&identity=cn")
    for settings in ({}, {"ca": "stranger"}):
        try:
            stream, _ = bench.client(broker, **settings)
            stream.open(VERSION, "nobody")
        except (ConnectionError, EOFError, ssl.SSLError, AssertionError):
            continue
        raise AssertionError(f"let in: {settings}")
    refused = bench.program("nlmqtt-pub", broker.quic_port, "-t", "t", "-m", "no", "-W", "5")
    assert refused.process.wait(TIMEOUT_S) != 0, "no certificate"
    identity = ["--cert", bench.file("client.pem"), "--key", bench.file("client.key")]
    bench.program("nlmqtt-pub", broker.quic_port, "-t", "t", "-q", "1", "-m", "yes", *identity).finish()
    refused = bench.program("nlmqtt-pub", broker.quic_port, "-t", "t", "-m", "no", "-W", "5", *identity, ca="stranger")
    assert refused.process.wait(TIMEOUT_S) != 0, "a stranger as authority"


@test
def our_programs_reach_a_foreign_broker(bench):
    broker, port = bench.foreign()
    subscriber = bench.program("nlmqtt-sub", port, "-V", "mqttv311", "-t", "t")
    wait_until(lambda: broker.subscribers, TIMEOUT_S, "no SUBSCRIBE came")
    for qos in "012":
        bench.program("nlmqtt-pub", port, "-V", "mqttv311", "-t", "t", "-q", qos, "-m", f"level {qos}").finish()
    subscriber.expect("level 0", "level 1", "level 2")
    assert not any(broker.early), "nobody knew it from before"
    # It comes back with what it has learnt.
    bench.loop.call_soon_threadsafe(broker.disconnect_all)
    wait_until(lambda: broker.early[-1] and broker.subscribers, TIMEOUT_S, f"no early data came: {broker.early}")
    bench.program("nlmqtt-pub", port, "-V", "mqttv311", "-t", "t", "-m", "again").finish()
    wait_until(lambda: subscriber.texts()[-1:] == ["again"], TIMEOUT_S, "it does not hear any more")


@test
def our_programs_reach_our_broker(bench):
    broker = bench.ours()
    subscriber = bench.program("nlmqtt-sub", broker.quic_port, "-V", "mqttv5", "-t", "t", "-q", "2")
    stream, _ = bench.client(broker)
    stream.open(VERSION, "watcher").send(raw.subscribe(VERSION, "ready/#", 0)).expect("SUBACK")
    publisher = bench.program("nlmqtt-pub", broker.quic_port, "-V", "mqttv5", "-t", "t", "-q", "2", "-r", "-m", "kept")
    publisher.finish()
    wait_until(lambda: "kept" in subscriber.texts(), TIMEOUT_S, "subscribe has not seen it")


def cases(nlmqttd, programs):
    return [Case(f"quic/{run.__name__}", lambda run=run: act(nlmqttd, programs, run), needs_broker=False) for run in _tests]


def act(nlmqttd, programs, run):
    bench = Bench(nlmqttd, programs)
    try:
        run(bench)
    finally:
        bench.close()
