#!/usr/bin/env python3
"""Prints the frames of reliable UDP, both generations, in the words of tests/rudp/vectors. Written from src/stack/rudp/WIRE.md.

    rudp_dissect.py FILE.pcap [PORT]    the UDP datagrams of a capture (tcpdump -w) to or from this port, 14567 unless said otherwise
    rudp_dissect.py --vectors FILE.tsv  reads the datagrams of a vector file, and fails where it says something else"""

import struct
import sys

from rudp_peer import checksum

KINDS = {0x21: (22, None, 3), 0x22: (38, 38, 0), 0x25: (24, 24, 1), 0x26: (24, 24, 0), 0x27: (24, 24, 0), 0x28: (24, 24, 0)}


def block(data):
    largest, bitmap, delay, _, following, limit = struct.unpack("!IQBBII", data[:22])
    return f"largest={largest} bitmap={bitmap:016x} delay={delay} next={following} limit={limit}"


def first(data):
    """Generation 1."""
    kind, sequence = struct.unpack("!BH", data[:3])
    name = {1: "DATA", 2: "ACK", 3: "CONNECT", 4: "CONNACK", 5: "CLOSE"}[kind]
    return f"1 {name}" + (f" sequence={sequence}" if kind in (1, 2) else "") + (f" payload={data[4:].hex()}" if kind == 1 else "")


def dissect(data):
    if len(data) < 4:
        return "dropped length"
    kind, flags = data[0], data[3]
    if kind in (1, 2, 5) or kind in (3, 4) and len(data) == 4:
        return first(data)
    if kind in (3, 4):
        least, most, known = 44, None, flags == 0x80 or kind == 4 and flags == 0x81
    elif kind in KINDS:
        least, most, flags_known = KINDS[kind]
        least += 22 if kind == 0x21 and flags & 1 else 0
        known = not flags & ~flags_known
    else:
        return "dropped kind"
    if len(data) < least or most and len(data) > most:
        return "dropped length"
    if not known:
        return "dropped flags"
    if checksum(data[:-4]) != data[-4:]:
        return "dropped checksum"
    return second(kind, flags, data)


def second(kind, flags, data):
    receiver, body = f"receiver={data[4:12].hex()}", data[12:-4]
    if kind in (3, 4):
        sender, version, features, frame, limit, idle, _, token = struct.unpack("!8sBBHIHH8s", body[:28])
        name = "CONNECT" if kind == 3 else "CONNACK exists" if flags == 0x81 else "CONNACK"
        return f"2 {name} {receiver} sender={sender.hex()} version={version} features={features} frame={frame} limit={limit} idle={idle} token={token.hex()}"
    if kind == 0x21:
        high, offset = struct.unpack("!HI", body[:6])
        number = high << 16 | struct.unpack("!H", data[1:3])[0]
        at_once = " at_once" if flags & 2 else ""
        ack, payload = (f" ack[{block(body[6:])}]", body[28:]) if flags & 1 else ("", body[6:])
        return f"2 DATA {receiver} number={number} offset={offset}{at_once}{ack} bytes={payload.hex()}"
    if kind == 0x22:
        return f"2 ACK {receiver} {block(body)}"
    if kind == 0x25:
        reason, _, offset = struct.unpack("!HHI", body[:8])
        return f"2 CLOSE{' answer' if flags else ''} {receiver} reason={reason} offset={offset}"
    if kind == 0x28:
        return f"2 RESET {receiver} token={body[:8].hex()}"
    return f"2 {'PING' if kind == 0x26 else 'PONG'} {receiver} opaque={body[:8].hex()}"


def datagrams(name, port):
    """(seconds, source, destination, payload) of the UDP datagrams of a capture."""
    with open(name, "rb") as capture:
        data = capture.read()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">"}.get(data[:4])
    if not order:
        sys.exit(f"{name} is no pcap file")
    link = struct.unpack(order + "I", data[20:24])[0] & 0xFFFF
    # Bytes before the header of IP: Ethernet, none, BSD's loopback, Linux's two kinds of "any".
    skip = {1: 14, 101: 0, 12: 0, 228: 0, 229: 0, 0: 4, 113: 16, 276: 20}.get(link)
    if skip is None:
        sys.exit(f"{name} has link type {link}, which is not known here")
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, size, _ = struct.unpack(order + "IIII", data[at:at + 16])
        packet = data[at + 16:at + 16 + size][skip:]
        at += 16 + size
        if len(packet) < 28:
            continue
        if packet[0] >> 4 == 4 and packet[9] == 17:
            head, hosts = (packet[0] & 15) * 4, [".".join(map(str, packet[place:place + 4])) for place in (12, 16)]
        elif packet[0] >> 4 == 6 and packet[6] == 17:
            head, hosts = 40, [f"[{packet[place:place + 16].hex(':', 2)}]" for place in (8, 24)]
        else:
            continue
        source, destination, length = struct.unpack("!HHH", packet[head:head + 6])
        if port in (source, destination):
            yield seconds + fraction / 1e6, f"{hosts[0]}:{source}", f"{hosts[1]}:{destination}", packet[head + 8:head + length]


def main():
    if sys.argv[1] == "--vectors":
        count = 0
        for line in open(sys.argv[2]):
            if line.startswith("#") or not line.strip():
                continue
            columns = line.rstrip("\n").split("\t")
            # frames.tsv: bytes, words; dialogue.tsv: time, way, lost, bytes, words.
            given, expected = (columns[3], columns[4]) if len(columns) == 5 else columns[:2]
            said = dissect(bytes.fromhex(given))
            assert said == expected, f"{given}:\n{said}\n{expected}"
            count += 1
        print(f"rudp_dissect: {count} datagrams")
        return
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 14567
    for seconds, source, destination, payload in datagrams(sys.argv[1], port):
        print(f"{seconds:.6f} {source} > {destination}: {dissect(payload)}")


if __name__ == "__main__":
    main()
