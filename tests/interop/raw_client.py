"""A socket and just enough MQTT to write any packet, right or wrong, and to read the answer."""

import socket
import struct

TYPES = ("", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
         "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH")


def length(value):
    out = b""
    while True:
        value, low = value // 128, value % 128
        out += bytes([low | (0x80 if value else 0)])
        if not value:
            return out


def string(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(data)) + data


def packet(first, body=b""):
    return bytes([first]) + length(len(body)) + body


def connect(version, client_id="", clean=True, keepalive=60, props=b"", level=None, flags=None):
    body = string("MQIsdp" if version == 3 else "MQTT") + bytes([level or version])
    body += bytes([(2 if clean else 0) if flags is None else flags]) + struct.pack("!H", keepalive)
    if version == 5:
        body += length(len(props)) + props
    return packet(0x10, body + string(client_id))


def publish(version, topic, payload=b"", qos=0, mid=1, retain=False, dup=False, props=b""):
    body = string(topic) + (struct.pack("!H", mid) if qos else b"")
    if version == 5:
        body += length(len(props)) + props
    return packet(0x30 | dup << 3 | qos << 1 | retain, body + payload)


def subscribe(version, topic_filter, qos=0, mid=1, first=0x82, props=b""):
    body = struct.pack("!H", mid)
    if version == 5:
        body += length(len(props)) + props
    return packet(first, body + string(topic_filter) + bytes([qos]))


def ack(kind, mid):
    return packet(TYPES.index(kind) << 4 | (2 if kind == "PUBREL" else 0), struct.pack("!H", mid))


def disconnect():
    return packet(0xE0)


class Raw:
    def __init__(self, port, timeout_s=6):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *packets):
        self.socket.sendall(b"".join(packets))
        return self

    def _take(self, count):
        while len(self.pending) < count:
            try:
                more = self.socket.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                raise EOFError
            self.pending += more
        out, self.pending = self.pending[:count], self.pending[count:]
        return out

    def read(self, timeout_s=6):
        """(type name, first byte, body), or None when the server has closed."""
        self.socket.settimeout(timeout_s)
        try:
            first = self._take(1)[0]
            size, shift = 0, 0
            while True:
                byte = self._take(1)[0]
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return TYPES[first >> 4], first, self._take(size)
        except EOFError:
            return None

    def expect(self, kind, timeout_s=6):
        got = self.read(timeout_s)
        assert got is not None, f"closed, expected {kind}"
        assert got[0] == kind, f"got {got}, expected {kind}"
        return got[2]

    def open(self, version, client_id, **options):
        self.send(connect(version, client_id, **options))
        code = self.expect("CONNACK")[1]
        assert code == 0, f"CONNACK {code:#x}"
        return self

    def expect_closed(self, version=None, reasons=(), timeout_s=10):
        """The server closes; with MQTT 5 a DISCONNECT may come first, with one of `reasons`."""
        got = self.read(timeout_s)
        if got is not None and version == 5:
            assert got[0] == "DISCONNECT", f"got {got}, expected DISCONNECT or the end"
            reason = got[2][0] if got[2] else 0
            assert not reasons or reason in reasons, f"DISCONNECT {reason:#x}"
            got = self.read(timeout_s)
        assert got is None, f"got {got}, expected the end"
