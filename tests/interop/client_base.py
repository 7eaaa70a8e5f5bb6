"""What every client library looks like to a scenario.

One face over paho-mqtt, gmqtt and mqtt.js, so that a scenario is written once and run with each.
Properties are dictionaries with the names below; an adapter translates them. `versions` and
`features` say what a library can do; a scenario names what it needs and is left out otherwise.

    session_expiry receive_maximum maximum_packet_size topic_alias_maximum assigned_client_id
    server_keep_alive payload_format message_expiry content_type response_topic correlation_data
    subscription_id topic_alias will_delay reason_string user (a list of pairs)
"""

import queue
import threading
import time

TIMEOUT_S = 12.0


class Refused(Exception):
    """CONNACK with a code that is not zero."""

    def __init__(self, code):
        super().__init__(f"connection refused with code {code:#x}")
        self.code = code


class Message:
    def __init__(self, topic, payload, qos, retain, dup, props):
        self.topic = topic
        self.payload = bytes(payload)
        self.qos = qos
        self.retain = bool(retain)
        self.dup = bool(dup)
        self.props = props
        self.handle = None  # what the library needs to acknowledge by hand

    def __repr__(self):
        return f"<{self.topic} {self.payload[:40]!r} q{self.qos} r{int(self.retain)} {self.props}>"


class Client:
    library = ""
    versions = (4, 5)
    features = frozenset()

    def __init__(self, port, version, client_id, clean=True, keepalive=60, will=None, props=None,
                 manual_ack=False):
        self.port = port
        self.version = version
        self.client_id = client_id
        self.clean = clean
        self.keepalive = keepalive
        self.will = will
        self.props = dict(props or {})
        self.manual_ack = manual_ack
        self.inbox = queue.Queue()
        self.closed = threading.Event()
        self.close_reason = None  # reason code of a DISCONNECT from the server
        self.session_present = None
        self.connack = {}

    # What an adapter provides.
    def connect(self):
        raise NotImplementedError

    def subscribe(self, topic_filter, qos=0, no_local=False, retain_as_published=False,
                  retain_handling=0, subscription_id=None):
        """Returns the reason code of the SUBACK."""
        raise NotImplementedError

    def unsubscribe(self, topic_filter):
        raise NotImplementedError

    def publish(self, topic, payload, qos=0, retain=False, props=None):
        """Returns when the message is acknowledged (QoS 1, 2) or written (QoS 0)."""
        raise NotImplementedError

    def publish_many(self, topic, payloads, qos):
        """The same for many messages, with as many in flight as the library allows."""
        raise NotImplementedError

    def disconnect(self, reason=0, props=None):
        raise NotImplementedError

    def abort(self):
        """Closes the socket without DISCONNECT."""
        raise NotImplementedError

    # What all share.
    def recv(self, timeout_s=TIMEOUT_S):
        try:
            return self.inbox.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError(f"{self.client_id}: no message within {timeout_s} s") from None

    def recv_many(self, count, timeout_s=TIMEOUT_S):
        deadline = time.monotonic() + timeout_s
        got = []
        while len(got) < count:
            left_s = deadline - time.monotonic()
            try:
                got.append(self.inbox.get(timeout=max(left_s, 0.001)))
            except queue.Empty:
                raise AssertionError(
                    f"{self.client_id}: {len(got)} of {count} messages within {timeout_s} s"
                ) from None
        return got

    def expect(self, payload, timeout_s=TIMEOUT_S, **fields):
        """The next message has this payload, and these other fields."""
        message = self.recv(timeout_s)
        assert message.payload == payload, f"expected {payload!r}, got {message}"
        for name, value in fields.items():
            have = getattr(message, name)
            assert have == value, f"{payload!r}: {name} is {have!r}, expected {value!r}"
        return message

    def expect_silence(self, for_s=0.4):
        try:
            message = self.inbox.get(timeout=for_s)
        except queue.Empty:
            return
        raise AssertionError(f"{self.client_id}: unexpected {message}")

    def wait_closed(self, timeout_s=TIMEOUT_S):
        assert self.closed.wait(timeout_s), f"{self.client_id}: not closed within {timeout_s} s"
        return self.close_reason
