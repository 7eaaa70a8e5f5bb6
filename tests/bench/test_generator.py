#!/usr/bin/env python3
"""The judge judged: against brokers that lose, double or swap messages on purpose, the generator must say so."""

import base64
import contextlib
import hashlib
import itertools
import re
import socketserver
import ssl
import subprocess
import threading
import unittest

import brokers
import certificate
import generator

CONNECT, PUBLISH, SUBSCRIBE = 1, 3, 8


class FaultyBroker(socketserver.ThreadingTCPServer):
    """A broker of three packets. `fault` gets the PUBLISH and its sequence and returns what is sent in its place."""

    def __init__(self, fault, transport):
        super().__init__(("127.0.0.1", 0), Client)
        self.fault = fault
        self.transport = transport
        self.pongs = 0
        self.listeners = {}
        self.lock = threading.Lock()

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        # The generator is gone by now, and with it every connection: closing waits for their threads.
        self.shutdown()
        self.thread.join()
        self.server_close()


    def handle_error(self, request, client_address):
        """The generator ended, perhaps within a handshake: it has said what it thinks of that."""


class WebSocket:
    """The server's side of RFC 6455 over the two files of a handler. What it sends it cuts into frames of odd sizes, with pings between them."""

    PIECE_BYTES = (1, 7, 3, 200)

    def __init__(self, server, rfile, wfile):
        self.server, self.rfile, self.wfile = server, rfile, wfile
        self.received = b""
        self.piece_bytes = itertools.cycle(self.PIECE_BYTES)
        head = b"".join(iter(rfile.readline, b"\r\n"))
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", head).group(1)
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n"
                    b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")

    def read(self, count):
        while len(self.received) < count and len(head := self.rfile.read(2)) == 2:
            length = head[1] & 0x7f
            if length >= 126:
                length = int.from_bytes(self.rfile.read(2 if length == 126 else 8), "big")
            mask = self.rfile.read(4)
            payload = bytes(byte ^ mask[i & 3] for i, byte in enumerate(self.rfile.read(length)))
            if head == b"\x8a\x84" and payload == b"ping":
                self.server.pongs += 1
            elif head[0] == 0x82 and head[1] & 0x80:
                self.received += payload
            else:
                return b""
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def write(self, data):
        frames, opcode = [], 2
        while data:
            size = next(self.piece_bytes)
            piece, data = data[:size], data[size:]
            length = [len(piece)] if len(piece) < 126 else [126, 0, len(piece)]
            frames += [bytes([opcode | (0 if data else 0x80), *length]), piece, b"\x89\x04ping" if data else b""]
            opcode = 0
        self.wfile.write(b"".join(frames))


class Client(socketserver.StreamRequestHandler):
    def setup(self):
        if self.server.transport in brokers.WITH_TLS:
            _, cert, key = certificate.files()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            self.request = context.wrap_socket(self.request, server_side=True)
        super().setup()
        self.reader, self.writer = self.rfile, self.wfile
        if self.server.transport in brokers.WITH_WEBSOCKET:
            self.reader = self.writer = WebSocket(self.server, self.rfile, self.wfile)

    def finish(self):
        super().finish()
        # The server closes the socket below, which TLS has taken over.
        self.request.close()

    def handle(self):
        # A write to a connection that is closing raises; the generator has said what it thinks of that.
        with contextlib.suppress(OSError):
            while len(head := self.reader.read(2)) == 2:
                # All packets of these tests have a length of one byte.
                body = self.reader.read(head[1])
                with self.server.lock:
                    self.take(head, body)

    def take(self, head, body):
        kind = head[0] >> 4
        if kind == CONNECT:
            self.writer.write(b"\x20\x02\x00\x00")
        elif kind == SUBSCRIBE:
            length = int.from_bytes(body[2:4], "big")
            self.server.listeners[body[4:4 + length]] = self.writer
            self.writer.write(bytes([0x90, 3]) + body[:2] + body[-1:])
        elif kind == PUBLISH:
            length = int.from_bytes(body[:2], "big")
            stamp = 2 + length + (2 if head[0] & 6 else 0)
            if head[0] & 6:
                self.writer.write(bytes([0x40, 2]) + body[2 + length:stamp])
            sequence = int.from_bytes(body[stamp + 4:stamp + 8], "big")
            for packet in self.server.fault(head + body, sequence):
                self.server.listeners[body[2:2 + length]].write(packet)


def run_against(fault, *arguments, transport="tcp"):
    with FaultyBroker(fault, transport) as broker:
        command = [str(generator.BUILD), "--port", str(broker.server_address[1]), "--count", "200", "--credit", "16",
                   "--stall-ms", "300", "--transport", transport, *arguments]
        if transport in brokers.WITH_TLS:
            command[1:1] = ["--ca-file", certificate.files()[0]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise generator.LoadError(done.stderr)
    words = (word.split("=") for word in done.stdout.split()[1:])
    return {**{key: float(value) for key, value in words}, "pongs": broker.pongs}


class Swap:
    """Holds one message back until the next has gone."""

    def __init__(self, sequence):
        self.sequence = sequence
        self.held = None

    def __call__(self, packet, sequence):
        if sequence == self.sequence:
            self.held = packet
            return []
        held, self.held = self.held, None
        return [packet, held] if held else [packet]


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        generator.build()

    def expect(self, result, **wanted):
        faults = {key: int(result[key]) for key in ("lost", "duplicates", "out_of_order", "wrong")}
        self.assertEqual(faults, {"lost": 0, "duplicates": 0, "out_of_order": 0, "wrong": 0, **wanted})

    def test_an_honest_broker_has_no_faults(self):
        for qos in "01":
            result = run_against(lambda packet, _: [packet], "--qos", qos)
            self.expect(result)
            self.assertEqual(result["received"], 200)

    def test_the_other_transports_carry_the_same_and_hide_nothing(self):
        for transport in ("tls", "ws", "wss"):
            if transport in brokers.WITH_TLS and not generator.has_tls():
                continue
            with self.subTest(transport):
                result = run_against(lambda packet, _: [packet], "--qos", "1", transport=transport)
                self.expect(result)
                self.assertEqual(result["received"], 200)
                self.assertEqual(result["pongs"] > 0, transport in brokers.WITH_WEBSOCKET)
                self.expect(run_against(lambda packet, sequence: [] if sequence == 50 else [packet], transport=transport), lost=1)

    @unittest.skipUnless(generator.has_tls(), "without OpenSSL's headers")
    def test_a_stranger_as_authority_is_found_out(self):
        with self.assertRaisesRegex(generator.LoadError, "certificate verify failed"):
            run_against(lambda packet, _: [packet], "--ca-file", certificate.files()[1], transport="tls")

    def test_a_lost_message_is_counted_and_stalls_the_run(self):
        result = run_against(lambda packet, sequence: [] if sequence == 50 else [packet])
        self.assertEqual(result["stalled"], 1)
        # Credit ends behind the gap: all that was sent but that one has arrived.
        self.expect(result, lost=1)

    def test_a_doubled_message_is_counted(self):
        self.expect(run_against(lambda packet, sequence: [packet] * (2 if sequence == 50 else 1)), duplicates=1)

    def test_two_swapped_messages_are_one_out_of_order(self):
        self.expect(run_against(Swap(50)), out_of_order=1)

    def test_a_cut_payload_is_wrong_and_lost(self):
        def cut(packet, sequence):
            return [bytes([packet[0], packet[1] - 1]) + packet[2:-1]] if sequence == 50 else [packet]
        self.expect(run_against(cut), wrong=1, lost=1)

    def test_a_message_at_the_wrong_qos_is_wrong(self):
        result = run_against(lambda packet, _: [packet], "--publish-qos", "1", "--subscribe-qos", "0")
        self.assertGreater(result["wrong"], 0)

    def test_what_is_no_packet_ends_the_run(self):
        with self.assertRaises(generator.LoadError):
            run_against(lambda packet, sequence: [b"\x00\x00"] if sequence == 50 else [packet])


if __name__ == "__main__":
    unittest.main()
