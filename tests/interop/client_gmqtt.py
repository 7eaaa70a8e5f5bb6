"""gmqtt (Python asyncio; all clients share one event loop on one thread)."""

import asyncio
import logging
import threading

import gmqtt
from gmqtt.mqtt.handler import MQTTConnectError

from client_base import TIMEOUT_S, Client, Message, Refused

logging.getLogger("gmqtt").setLevel(logging.CRITICAL + 1)

NAMES = {
    "session_expiry": "session_expiry_interval",
    "receive_maximum": "receive_maximum",
    "maximum_packet_size": "maximum_packet_size",
    "topic_alias_maximum": "topic_alias_maximum",
    "assigned_client_id": "assigned_client_identifier",
    "server_keep_alive": "server_keep_alive",
    "payload_format": "payload_format_id",
    "message_expiry": "message_expiry_interval",
    "content_type": "content_type",
    "response_topic": "response_topic",
    "correlation_data": "correlation_data",
    "subscription_id": "subscription_identifier",
    "topic_alias": "topic_alias",
    "will_delay": "will_delay_interval",
    "reason_string": "reason_string",
    "user": "user_property",
}
REPEATED = ("user", "subscription_id")


def pack(props):
    return {NAMES[name]: value for name, value in (props or {}).items()}


def unpack(properties):
    props = {}
    for name, theirs in NAMES.items():
        if theirs in properties:
            value = properties[theirs]
            # Received properties are lists; those of CONNECT are mixed in as they were given.
            props[name] = value[0] if isinstance(value, list) and name not in REPEATED else value
    return props


class Loop:
    """The event loop, started with the first client."""

    lock = threading.Lock()
    loop = None

    @classmethod
    def run(cls, coroutine, timeout_s=TIMEOUT_S):
        with cls.lock:
            if cls.loop is None:
                cls.loop = asyncio.new_event_loop()
                threading.Thread(target=cls.loop.run_forever, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(coroutine, timeout_s), cls.loop).result(timeout_s + 1)


class GmqttClient(Client):
    library = "gmqtt"
    versions = (4, 5)
    features = frozenset({"ordered_user"})

    def connect(self):
        Loop.run(self._connect())
        return self

    async def _connect(self):
        will = None
        if self.will:
            will = gmqtt.Message(
                self.will["topic"], self.will["payload"], self.will.get("qos", 0),
                self.will.get("retain", False), **pack(self.will.get("props")))
        self.acks = {}
        self.gmqtt = gmqtt.Client(
            self.client_id, clean_session=self.clean, will_message=will,
            logger=logging.getLogger("gmqtt"), **pack(self.props))
        self.gmqtt._client_id = self.client_id  # it would invent one for an empty identifier
        self.gmqtt.on_connect = self._on_connect
        self.gmqtt.on_message = self._on_message
        self.gmqtt.on_disconnect = self._on_disconnect
        self.gmqtt.on_subscribe = self._on_subscribe
        self.gmqtt.on_unsubscribe = self._on_unsubscribe
        try:
            await self.gmqtt.connect(
                "127.0.0.1", self.port, keepalive=self.keepalive, version=self.version)
        except MQTTConnectError as error:
            self.gmqtt._is_active = False
            raise Refused(error._code) from None
        self.gmqtt._is_active = False  # no reconnect of its own

    def _on_connect(self, _client, session_present, _code, properties):
        self.session_present = bool(session_present & 1)
        self.connack = unpack(properties)

    def _on_message(self, _client, topic, payload, qos, properties):
        self.inbox.put(Message(
            topic, payload, qos, properties["retain"], properties["dup"], unpack(properties)))
        return 0

    def _on_disconnect(self, _client, packet, exc=None):
        if packet:
            self.close_reason = packet[0]
        else:  # what gmqtt makes up when the connection is lost
            self.closed.set()

    def _on_subscribe(self, _client, mid, codes, _properties):
        self.acks[mid] = list(codes)

    def _on_unsubscribe(self, _client, mid, codes):
        self.acks[mid] = list(codes)

    async def _ack_of(self, mid):
        while mid not in self.acks:
            await asyncio.sleep(0.002)
        return self.acks.pop(mid)

    def subscribe(self, topic_filter, qos=0, no_local=False, retain_as_published=False,
                  retain_handling=0, subscription_id=None):
        async def act():
            more = {"subscription_identifier": subscription_id} if subscription_id else {}
            mid = self.gmqtt.subscribe(
                topic_filter, qos=qos, no_local=no_local, retain_as_published=retain_as_published,
                retain_handling_options=retain_handling, **more)
            return (await self._ack_of(mid))[0]
        return Loop.run(act())

    def unsubscribe(self, topic_filter):
        async def act():
            await self._ack_of(self.gmqtt.unsubscribe(topic_filter))
        Loop.run(act())

    def publish(self, topic, payload, qos=0, retain=False, props=None):
        async def act():
            self.gmqtt.publish(topic, payload, qos=qos, retain=retain, **pack(props))
            await self.gmqtt._persistent_storage.wait_empty()
        Loop.run(act())

    def publish_many(self, topic, payloads, qos):
        async def act():
            for index, payload in enumerate(payloads):
                self.gmqtt.publish(topic, payload, qos=qos)
                # Packet identifiers end at the server's receive maximum, so go in small waves.
                if index % 10 == 9:
                    await self.gmqtt._persistent_storage.wait_empty()
                    await asyncio.sleep(0)
            await self.gmqtt._persistent_storage.wait_empty()
        Loop.run(act(), 30)

    def disconnect(self, reason=0, props=None):
        if self.version < 5:
            reason = 0
        Loop.run(self.gmqtt.disconnect(reason_code=reason, **pack(props)))
        self.closed.set()

    def abort(self):
        async def act():
            self.gmqtt._connection._transport.abort()
        Loop.run(act())
        self.wait_closed()
