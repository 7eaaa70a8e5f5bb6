"""The judge judged: against brokers that lose, double or swap messages on purpose, the generator must say so."""

import contextlib
import socketserver
import subprocess
import threading
import unittest

import generator

CONNECT, PUBLISH, SUBSCRIBE = 1, 3, 8


class FaultyBroker(socketserver.ThreadingTCPServer):
    """A broker of three packets. `fault` gets the PUBLISH and its sequence and returns what is sent in its place."""

    def __init__(self, fault):
        super().__init__(("127.0.0.1", 0), Client)
        self.fault = fault
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


class Client(socketserver.StreamRequestHandler):
    def handle(self):
        # A write to a connection that is closing raises; the generator has said what it thinks of that.
        with contextlib.suppress(OSError):
            while len(head := self.rfile.read(2)) == 2:
                # All packets of these tests have a length of one byte.
                body = self.rfile.read(head[1])
                with self.server.lock:
                    self.take(head, body)

    def take(self, head, body):
        kind = head[0] >> 4
        if kind == CONNECT:
            self.wfile.write(b"\x20\x02\x00\x00")
        elif kind == SUBSCRIBE:
            length = int.from_bytes(body[2:4], "big")
            self.server.listeners[body[4:4 + length]] = self.wfile
            self.wfile.write(bytes([0x90, 3]) + body[:2] + body[-1:])
        elif kind == PUBLISH:
            length = int.from_bytes(body[:2], "big")
            stamp = 2 + length + (2 if head[0] & 6 else 0)
            if head[0] & 6:
                self.wfile.write(bytes([0x40, 2]) + body[2 + length:stamp])
            sequence = int.from_bytes(body[stamp + 4:stamp + 8], "big")
            for packet in self.server.fault(head + body, sequence):
                self.server.listeners[body[2:2 + length]].write(packet)


def run_against(fault, *arguments):
    with FaultyBroker(fault) as broker:
        command = [str(generator.BUILD), "--port", str(broker.server_address[1]), "--count", "200", "--credit", "16",
                   "--stall-ms", "300", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise generator.LoadError(done.stderr)
    words = (word.split("=") for word in done.stdout.split()[1:])
    return {key: float(value) for key, value in words}


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
