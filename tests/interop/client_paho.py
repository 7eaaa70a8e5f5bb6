"""paho-mqtt (Python, one thread per client)."""

import selectors
import socket
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from client_base import TIMEOUT_S, Client, Message, Refused

NAMES = {
    "session_expiry": "SessionExpiryInterval",
    "receive_maximum": "ReceiveMaximum",
    "maximum_packet_size": "MaximumPacketSize",
    "topic_alias_maximum": "TopicAliasMaximum",
    "assigned_client_id": "AssignedClientIdentifier",
    "server_keep_alive": "ServerKeepAlive",
    "payload_format": "PayloadFormatIndicator",
    "message_expiry": "MessageExpiryInterval",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "subscription_id": "SubscriptionIdentifier",
    "topic_alias": "TopicAlias",
    "will_delay": "WillDelayInterval",
    "reason_string": "ReasonString",
    "user": "UserProperty",
}


def pack(packet_type, props):
    if not props:
        return None
    properties = Properties(packet_type)
    for name, value in props.items():
        setattr(properties, NAMES[name], value)
    return properties


def unpack(properties):
    props = {}
    for name, theirs in NAMES.items():
        if properties is not None and hasattr(properties, theirs):
            props[name] = getattr(properties, theirs)
    return props


class PahoClient(Client):
    library = "paho"
    versions = (3, 4, 5)
    features = frozenset({"ordered_user", "manual_ack", "raw_alias"})

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=self.client_id, protocol=self.version,
            clean_session=self.clean if self.version < 5 else None,
            reconnect_on_failure=False, manual_ack=self.manual_ack)
        self.answered = threading.Event()
        self.code = None
        self.changed = threading.Condition()
        self.acks = {}
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = self._on_message
        self.paho.on_subscribe = self._on_ack
        self.paho.on_unsubscribe = self._on_ack
        if self.will:
            self.paho.will_set(
                self.will["topic"], self.will["payload"], self.will.get("qos", 0),
                self.will.get("retain", False),
                pack(PacketTypes.WILLMESSAGE, self.will.get("props")))

    def _on_connect(self, _client, _data, flags, code, properties):
        self.session_present = flags.session_present
        self.connack = unpack(properties)
        self.code = code.value
        self.answered.set()

    def _on_disconnect(self, _client, _data, flags, code, _properties):
        if flags.is_disconnect_packet_from_server:
            self.close_reason = code.value
        self.answered.set()
        self.closed.set()

    def _on_message(self, _client, _data, message):
        mine = Message(message.topic, message.payload, message.qos, message.retain, message.dup,
                       unpack(getattr(message, "properties", None)))
        mine.handle = message.mid
        self.inbox.put(mine)

    def _on_ack(self, _client, _data, mid, codes, _properties):
        with self.changed:
            self.acks[mid] = [code.value for code in codes]
            self.changed.notify_all()

    def _ack_of(self, mid):
        with self.changed:
            assert self.changed.wait_for(lambda: mid in self.acks, TIMEOUT_S), "no SUBACK/UNSUBACK"
            return self.acks.pop(mid)

    def open_socket(self):
        self.paho.connect(
            "127.0.0.1", self.port, self.keepalive,
            clean_start=self.clean if self.version == 5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=pack(PacketTypes.CONNECT, self.props))
        self.paho.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connect(self):
        self.open_socket()
        self.paho.loop_start()
        assert self.answered.wait(TIMEOUT_S), "no CONNACK"
        assert self.code is not None, "closed before CONNACK"
        if self.code != 0:
            raise Refused(self.code)
        return self

    def subscribe(self, topic_filter, qos=0, no_local=False, retain_as_published=False,
                  retain_handling=0, subscription_id=None):
        if self.version < 5:
            _, mid = self.paho.subscribe(topic_filter, qos)
        else:
            options = SubscribeOptions(qos, no_local, retain_as_published, retain_handling)
            props = {"subscription_id": subscription_id} if subscription_id else None
            _, mid = self.paho.subscribe(
                topic_filter, options=options, properties=pack(PacketTypes.SUBSCRIBE, props))
        return self._ack_of(mid)[0]

    def unsubscribe(self, topic_filter):
        _, mid = self.paho.unsubscribe(topic_filter)
        self._ack_of(mid)

    def publish(self, topic, payload, qos=0, retain=False, props=None):
        info = self.paho.publish(
            topic, payload, qos, retain, properties=pack(PacketTypes.PUBLISH, props))
        info.wait_for_publish(TIMEOUT_S)
        assert info.is_published(), f"publish to {topic} not completed"

    def publish_many(self, topic, payloads, qos):
        infos = [self.paho.publish(topic, payload, qos) for payload in payloads]
        for info in infos:
            info.wait_for_publish(TIMEOUT_S)
            assert info.is_published(), f"publish to {topic} not completed"

    def acknowledge(self, message):
        self.paho.ack(message.handle, message.qos)

    def disconnect(self, reason=0, props=None):
        code = ReasonCode(PacketTypes.DISCONNECT, identifier=reason) if self.version == 5 else None
        self.paho.disconnect(code, pack(PacketTypes.DISCONNECT, props))
        self.wait_closed()
        self.paho.loop_stop()

    def abort(self):
        sock = self.paho.socket()
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        self.wait_closed()
        self.paho.loop_stop()

    @classmethod
    def swarm(cls, port, version, count, prefix):
        """`count` clients on one thread and one epoll (paho's own loop uses select, which ends at
        1,024 descriptors). Each gets one message of its own; returns what each received."""
        clients = [cls(port, version, f"{prefix}{index}") for index in range(count)]
        poll = selectors.DefaultSelector()
        try:
            for client in clients:
                client.open_socket()
                poll.register(client.paho.socket(), selectors.EVENT_READ, client)
            cls._drive(poll, clients, lambda client: client.answered.is_set())
            for index, client in enumerate(clients):
                _, client.mid = client.paho.subscribe(f"{prefix}/{index}", 1)
            cls._drive(poll, clients, lambda client: client.mid in client.acks)
            for index in range(count):
                clients[0].paho.publish(f"{prefix}/{index}", str(index), 1)
            cls._drive(poll, clients, lambda client: not client.inbox.empty())
            end = time.monotonic() + 0.3  # a second message would come now
            cls._drive(poll, clients, lambda client: time.monotonic() > end)
            return [[message.payload for message in client.inbox.queue] for client in clients]
        finally:
            for client in clients:
                client.paho.disconnect()
                client.paho.loop_write()
            poll.close()

    @staticmethod
    def _drive(poll, clients, done, timeout_s=30):
        deadline = time.monotonic() + timeout_s
        while not all(done(client) for client in clients):
            assert time.monotonic() < deadline, \
                f"{sum(1 for client in clients if not done(client))} clients got no answer"
            for client in clients:
                if client.paho.want_write():
                    client.paho.loop_write()
            for key, _ in poll.select(0.05):
                key.data.paho.loop_read()
