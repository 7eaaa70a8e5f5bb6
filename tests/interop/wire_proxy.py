"""A TCP proxy that writes down every MQTT packet that passes, with the time.

It stands between a client and a broker, so that what a client says about its messages can be held
against what was on the wire. It can keep acknowledgements back (`hold_acks`) and cut all
connections. One thread runs one event loop for all proxies.
"""

import asyncio
import threading
import time

from raw_client import TYPES

TO_BROKER, TO_CLIENT = "to broker", "to client"
HELD = ("PUBACK", "PUBREC", "PUBCOMP")


class Packet:
    def __init__(self, connection, direction, first, body):
        self.at = time.monotonic()
        self.connection = connection
        self.direction = direction
        self.kind = TYPES[first >> 4]
        self.first = first
        self.body = body

    # Of a PUBLISH:
    @property
    def qos(self):
        return self.first >> 1 & 3

    @property
    def dup(self):
        return bool(self.first & 8)

    @property
    def topic(self):
        return self.body[2:2 + int.from_bytes(self.body[:2], "big")].decode()

    @property
    def mid(self):
        """Packet identifier, of a PUBLISH of QoS 1 or 2 and of acknowledgements."""
        at = 2 + int.from_bytes(self.body[:2], "big") if self.kind == "PUBLISH" else 0
        return int.from_bytes(self.body[at:at + 2], "big")

    def __repr__(self):
        return f"<{self.connection} {self.direction} {self.kind} {self.body[:40]!r}>"


class Splitter:
    """Cuts a byte stream into packets."""

    def __init__(self):
        self.pending = b""

    def feed(self, data):
        self.pending += data
        while True:
            size = shift = 0
            at = 1
            while True:
                if at >= len(self.pending):
                    return
                byte = self.pending[at]
                size |= (byte & 127) << shift
                shift += 7
                at += 1
                if byte < 128:
                    break
            if len(self.pending) < at + size:
                return
            whole, self.pending = self.pending[:at + size], self.pending[at + size:]
            yield whole, whole[0], whole[at:]


class Proxy:
    loop = None
    lock = threading.Lock()

    def __init__(self, upstream_port):
        self.upstream_port = upstream_port
        self.packets = []
        self.hold_acks = False
        self.connections = 0
        self.writers = set()
        with Proxy.lock:
            if Proxy.loop is None:
                Proxy.loop = asyncio.new_event_loop()
                threading.Thread(target=Proxy.loop.run_forever, daemon=True).start()
        self.server = self._wait(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]

    @staticmethod
    def _wait(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, Proxy.loop).result(10)

    async def _serve(self, reader, writer):
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            writer.close()
            return
        self.connections += 1
        number = self.connections
        self.writers |= {writer, up_writer}
        both = [
            asyncio.ensure_future(self._pump(number, TO_BROKER, reader, up_writer)),
            asyncio.ensure_future(self._pump(number, TO_CLIENT, up_reader, writer)),
        ]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, up_writer):
            one.close()
            self.writers.discard(one)

    async def _pump(self, number, direction, reader, writer):
        splitter = Splitter()
        try:
            while data := await reader.read(65536):
                for whole, first, body in splitter.feed(data):
                    packet = Packet(number, direction, first, body)
                    if direction == TO_CLIENT and self.hold_acks and packet.kind in HELD:
                        continue  # lost for ever: the connection is cut before it is let go
                    # Written down before it is sent, so that no answer to it is earlier.
                    self.packets.append(packet)
                    writer.write(whole)
                await writer.drain()
        except (ConnectionError, OSError):
            pass

    def cut(self):
        async def act():
            for writer in list(self.writers):
                writer.transport.abort()
        self._wait(act())

    def close(self):
        async def act():
            self.server.close()
            for writer in list(self.writers):
                writer.transport.abort()
        self._wait(act())

    def seen(self, kind, direction=None):
        return [packet for packet in list(self.packets)
                if packet.kind == kind and direction in (None, packet.direction)]
