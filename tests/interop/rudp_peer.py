#!/usr/bin/env python3
"""Peers of reliable UDP, written from src/stack/rudp/WIRE.md alone and on nothing but sockets: a client of generation 1 as stock ones
are, the least client of generation 2 (section 8: one frame at a time, no window, no sizes to try), and one of bare packets (section 10).

    rudp_peer.py PORT [SEED]    speaks MQTT with a broker at this port of the loopback interface (rudp://, rudp_bare=true), in both
                                generations, with losses, and in bare packets

tests/it/rudp.rs runs it against the broker of the library."""

import os
import random
import socket
import struct
import sys
import time

import raw_client as raw

TIMEOUT_S = 30
FRAME_BYTES = 1200
TABLE = []
for value in range(256):
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    TABLE.append(value)


def checksum(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 255]
    return struct.pack("!I", value ^ 0xFFFFFFFF)


assert checksum(b"123456789") == bytes.fromhex("E3069283")


def serial(left, right):
    """How far `left` is behind `right`, modulo 2^32."""
    return (left - right + 0x80000000) % 0x100000000 - 0x80000000


class Way:
    """A UDP socket that loses."""

    def __init__(self, port, loss, seed):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.target, self.loss, self.random = ("127.0.0.1", port), loss, random.Random(seed)

    def send(self, datagram):
        if self.random.random() >= self.loss:
            self.socket.sendto(datagram, self.target)

    def receive(self, timeout_s):
        self.socket.settimeout(max(timeout_s, 0.001))
        try:
            datagram = self.socket.recv(65536)
        except (socket.timeout, ConnectionError):
            return b""
        return b"" if self.random.random() < self.loss else datagram

    def move(self):
        """From now on it comes from another port: the old one is given back when the new one is known to be another."""
        old, self.socket = self.socket, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        old.close()


class Stream(raw.Raw):
    """MQTT over what a peer reads and writes."""

    def __init__(self, peer):
        self.peer, self.socket, self.timeout_s = peer, self, TIMEOUT_S

    def settimeout(self, timeout_s):
        self.timeout_s = max(timeout_s, TIMEOUT_S)

    def send(self, *packets):
        for packet in packets:
            self.peer.write(packet)
        return self

    def _take(self, count):
        end = time.monotonic() + self.timeout_s
        while len(self.peer.read_bytes) < count:
            if self.peer.is_closed:
                raise EOFError
            assert time.monotonic() < end, "nothing comes"
            self.peer.turn(0.01)
        out, self.peer.read_bytes = self.peer.read_bytes[:count], self.peer.read_bytes[count:]
        return out


class First:
    """Generation 1: a packet in a frame, sent again after 3 s, delivered as it comes."""

    def __init__(self, way):
        self.way, self.read_bytes, self.is_closed = way, b"", False
        self.sequence, self.waiting, self.seen = 0, {}, set()
        end = time.monotonic() + TIMEOUT_S
        while True:
            way.send(bytes.fromhex("03000000"))
            if way.receive(1) == bytes.fromhex("04000000"):
                return
            assert time.monotonic() < end, "no CONNACK"

    def write(self, packet):
        assert len(packet) <= 8188
        self.sequence = (self.sequence + 1) % 65536
        frame = struct.pack("!BHB", 1, self.sequence, 0) + packet
        self.waiting[self.sequence] = [frame, time.monotonic() + 3]
        self.way.send(frame)

    def turn(self, wait_s):
        datagram = self.way.receive(wait_s)
        if len(datagram) >= 4:
            kind, sequence, _ = struct.unpack("!BHB", datagram[:4])
            if kind == 1:
                self.way.send(struct.pack("!BHB", 2, sequence, 0))
                if sequence not in self.seen:
                    self.seen.add(sequence)
                    self.read_bytes += datagram[4:]
            elif kind == 2:
                self.waiting.pop(sequence, None)
            elif kind == 5:
                self.is_closed = True
        for entry in self.waiting.values():
            if entry[1] <= time.monotonic():
                self.way.send(entry[0])
                entry[1] = time.monotonic() + 3

    def close(self):
        # What acknowledges the last packet, and the other side's CLOSE, may both be lost: then nobody is there to answer.
        end = time.monotonic() + 5
        while self.waiting and not self.is_closed and time.monotonic() < end:
            self.turn(0.01)
        # Stock peers say it once; if that is lost, too, the broker has to wait until the keep-alive of MQTT is over.
        for _ in range(5):
            self.way.send(bytes.fromhex("05000000"))


class Bare:
    """A packet in a datagram, and nothing else."""

    def __init__(self, way):
        self.way, self.read_bytes, self.is_closed = way, b"", False

    def write(self, packet):
        assert len(packet) <= 8192
        self.way.send(packet)

    def turn(self, wait_s):
        self.read_bytes += self.way.receive(wait_s)


class Second:
    """Generation 2, one frame at a time."""

    def __init__(self, way):
        self.way, self.read_bytes, self.is_closed = way, b"", False
        self.own_id, self.peer_id, self.token = way.random.getrandbits(64) | 1, 0, 0
        self.largest, self.bitmap, self.next, self.limit = 0, 0, 0, 16384
        self.written, self.base, self.peer_limit = b"", 0, 0
        self.number, self.record, self.failures = 1, None, 0
        self.is_confirmed, self.must_answer, self.is_answered, self.sent_at = False, False, False, 0
        self.rtt, self.variation = 0.333, 0.166
        self.duplicates = self.probes = self.pongs = 0
        end, wait, called_at = time.monotonic() + TIMEOUT_S, 1, time.monotonic()
        self.connect()
        while not self.peer_id:
            self.take(self.way.receive(wait))
            if not self.peer_id and time.monotonic() > called_at + wait:
                self.connect()
                called_at, wait = time.monotonic(), min(2 * wait, 4)
            assert time.monotonic() < end, "no CONNACK"
        self.connect()

    # What leaves.

    def frame(self, kind, flags, body, sequence=0):
        data = struct.pack("!BHBQ", kind, sequence, flags, self.peer_id) + body
        self.way.send(data + checksum(data))
        self.sent_at = time.monotonic()

    def connect(self):
        self.frame(0x03, 0x80, struct.pack("!QBBHIHHQ", self.own_id, 2, 0, FRAME_BYTES, self.limit, 120, 0, 0))

    def block(self):
        self.must_answer = False
        return struct.pack("!IQBBII", self.largest, self.bitmap, 0, 0, self.next, self.limit)

    def data(self, at_once):
        """The next bytes, or those of the record again; always under a new number."""
        room = min(FRAME_BYTES - 44, serial(self.peer_limit, self.base))
        payload = self.written[:max(room, 0)]
        self.record = (self.number, len(payload), time.monotonic())
        body = struct.pack("!HI", self.number >> 16, self.base) + self.block() + payload
        self.frame(0x21, 3 if at_once else 1, body, self.number & 0xFFFF)
        self.number += 1

    # What comes.

    def take(self, datagram):
        if len(datagram) < 22 or datagram[-4:] != checksum(datagram[:-4]):
            return
        kind, _, flags, receiver = struct.unpack("!BHBQ", datagram[:12])
        body = datagram[12:-4]
        if kind == 0x28:
            self.is_closed |= self.is_confirmed and receiver == self.peer_id and body[:8] == self.token
            return
        if receiver != self.own_id:
            return
        if kind == 0x04 and flags == 0x80:
            if not self.is_confirmed and not self.peer_id:
                self.peer_id, self.token = struct.unpack("!Q", body[:8])[0], body[20:28]
                self.peer_limit = struct.unpack("!I", body[12:16])[0]
        elif kind == 0x04:
            self.is_confirmed = True
        elif kind == 0x21:
            self.is_confirmed = True
            self.take_data(datagram, flags, body)
        elif kind == 0x22:
            self.is_confirmed = True
            self.take_block(body)
        elif kind == 0x25:
            if not flags:
                self.frame(0x25, 1, struct.pack("!HHI", 0, 0, self.base + len(self.written)))
            self.is_closed, self.is_answered = True, bool(flags)
        elif kind == 0x26:
            self.pongs += 1
            self.frame(0x27, 0, body)

    def take_data(self, datagram, flags, body):
        number = struct.unpack("!H", body[:2])[0] << 16 | struct.unpack("!H", datagram[1:3])[0]
        offset = struct.unpack("!I", body[2:6])[0]
        payload = body[28:] if flags & 1 else body[6:]
        distance = serial(number, self.largest)
        is_known = distance == 0 or -64 <= distance < 0 and self.bitmap >> (-distance - 1) & 1
        if is_known:
            self.duplicates += 1
        elif serial(offset, self.next) <= 0:
            if distance > 0:
                self.bitmap = (self.bitmap << distance | (1 << (distance - 1) if self.largest else 0)) & (1 << 64) - 1
                self.largest = number
            elif distance >= -64:
                self.bitmap |= 1 << (-distance - 1)
            fresh = payload[max(serial(self.next, offset), 0):]
            self.read_bytes += fresh
            self.next = (self.next + len(fresh)) % 0x100000000
            self.limit = (self.next + 16384) % 0x100000000
        # Else there is no place for it: as if it never came.
        self.must_answer = True
        if flags & 1:
            self.take_block(body[6:28])

    def take_block(self, block):
        largest, bitmap, _, _, following, limit = struct.unpack("!IQBBII", block[:22])
        if serial(limit, self.peer_limit) > 0:
            self.peer_limit = limit
        if not self.record:
            return
        number, size, sent_at = self.record
        distance = largest - number
        if distance == 0 or 0 < distance <= 64 and bitmap >> (distance - 1) & 1:
            sample = time.monotonic() - sent_at
            self.variation += (abs(self.rtt - sample) - self.variation) / 4
            self.rtt += (sample - self.rtt) / 8
        gained = serial(following, self.base)
        if gained > 0:
            self.written, self.base = self.written[gained:], following
        if gained >= size and (gained > 0 or distance >= 0):
            self.record, self.failures = None, 0

    # Time.

    def write(self, data):
        self.written += data

    def turn(self, wait_s):
        now = time.monotonic()
        patience = min((self.rtt + max(4 * self.variation, 0.001) + 0.025) * 2 ** self.failures, 8)
        if self.record and now - self.record[2] > patience:
            self.failures += 1
            self.probes += 1
            if not self.is_confirmed:
                self.connect()
            self.data(at_once=True)
        elif not self.record and self.written and serial(self.peer_limit, self.base) > 0:
            self.data(at_once=True)
        elif now - self.sent_at > 20:
            self.data(at_once=True)
        elif self.must_answer:
            self.frame(0x22, 0, self.block())
        self.take(self.way.receive(wait_s))

    def close(self):
        end = time.monotonic() + TIMEOUT_S
        while self.written and not self.is_closed:
            assert time.monotonic() < end, "the last bytes do not arrive"
            self.turn(0.01)
        for _ in range(3):
            if not self.is_closed:
                self.frame(0x25, 0, struct.pack("!HHI", 0, 0, self.base))
                for _ in range(20):
                    self.take(self.way.receive(0.05))
                    if self.is_closed:
                        return


def speak(peer, version, name, large):
    stream = Stream(peer).open(version, name)
    stream.send(raw.subscribe(version, name, 1)).expect("SUBACK")
    for qos, payload in ((0, b"zero"), (1, b"one"), (2, b"two"), (1, large)):
        stream.send(raw.publish(version, name, payload, qos, mid=7))
        kinds = []
        while len(kinds) < (1, 2, 3)[qos]:
            kind, first, body = stream.read(TIMEOUT_S)
            kinds.append(kind)
            if kind == "PUBLISH":
                assert body.endswith(payload), f"{len(body)} bytes"
                if first >> 1 & 3:
                    at = 2 + len(name)
                    stream.send(raw.ack("PUBACK", struct.unpack("!H", body[at:at + 2])[0]))
            elif kind == "PUBREC":
                stream.send(raw.ack("PUBREL", 7))
    return stream


def main():
    port, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else os.getpid()
    large = bytes(range(256)) * 256
    for loss in (0, 0.1):
        first = First(Way(port, loss, seed))
        speak(first, 4, f"first{int(loss * 100)}", large[:8000]).send(raw.disconnect())
        first.close()
        for version in (3, 4, 5):
            way = Way(port, loss, seed + version)
            second = Second(way)
            stream = speak(second, version, f"second{version}", large)
            # The address changes: the session does not.
            way.move()
            stream.send(raw.publish(version, f"second{version}", b"moved")).expect("PUBLISH")
            end = time.monotonic() + TIMEOUT_S
            while not second.pongs:
                assert time.monotonic() < end, "nobody asked for a proof of the new address"
                stream.send(raw.packet(0xC0)).expect("PINGRESP")
            stream.send(raw.disconnect())
            second.close()
            assert second.is_closed
            print(f"loss {loss}: MQTT {version}: {second.number - 1} DATA, {second.probes} of them probes, {second.duplicates} came twice")
    for version in (3, 4, 5):
        speak(Bare(Way(port, 0, seed)), version, f"bare{version}", large[:8000]).send(raw.disconnect())
    # A client that begins anew at its address, by the CONNECT it began with, is let in again; a copy of that CONNECT is not.
    stream = Stream(Bare(Way(port, 0, seed))).open(4, "again")
    time.sleep(2.1)
    stream.open(4, "again").send(raw.packet(0xC0)).expect("PINGRESP")
    stream.send(raw.disconnect())
    print(f"rudp_peer: all said (seed {seed})")


if __name__ == "__main__":
    main()
