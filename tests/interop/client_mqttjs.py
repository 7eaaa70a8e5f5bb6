"""mqtt.js: all clients live in one Node process, see mqttjs_agent.js."""

import base64
import itertools
import json
import os
import queue
import subprocess
import threading

from client_base import TIMEOUT_S, Client, Message, Refused
from harness import HERE

NAMES = {
    "session_expiry": "sessionExpiryInterval",
    "receive_maximum": "receiveMaximum",
    "maximum_packet_size": "maximumPacketSize",
    "topic_alias_maximum": "topicAliasMaximum",
    "assigned_client_id": "assignedClientIdentifier",
    "server_keep_alive": "serverKeepAlive",
    "payload_format": "payloadFormatIndicator",
    "message_expiry": "messageExpiryInterval",
    "content_type": "contentType",
    "response_topic": "responseTopic",
    "correlation_data": "correlationData",
    "subscription_id": "subscriptionIdentifier",
    "topic_alias": "topicAlias",
    "will_delay": "willDelayInterval",
    "reason_string": "reasonString",
    "user": "userProperties",
}


def text(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def pack(props):
    packed = {}
    for name, value in (props or {}).items():
        if name == "user":
            pairs = {}
            for key, one in value:
                pairs.setdefault(key, []).append(one)
            value = pairs
        elif name == "correlation_data":
            value = text(value)
        elif name == "payload_format":
            value = bool(value)
        packed[NAMES[name]] = value
    return packed


def unpack(properties):
    props = {}
    for name, theirs in NAMES.items():
        if theirs not in (properties or {}):
            continue
        value = properties[theirs]
        if name == "user":
            value = [tuple(pair) for pair in value]
        elif name == "correlation_data":
            value = base64.b64decode(value)
        elif name == "payload_format":
            value = int(value)
        elif name == "subscription_id" and not isinstance(value, list):
            value = [value]
        props[name] = value
    return props


class Agent:
    """The Node process, started with the first client."""

    lock = threading.Lock()
    process = None
    numbers = itertools.count(1)
    waiting = {}
    clients = {}

    @classmethod
    def start(cls):
        with cls.lock:
            if cls.process is None:
                cls.process = subprocess.Popen(
                    ["node", os.path.join(HERE, "mqttjs_agent.js")],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                threading.Thread(target=cls._read, daemon=True).start()

    @classmethod
    def stop(cls):
        if cls.process is not None:
            cls.process.stdin.close()
            cls.process.wait(5)

    @classmethod
    def _read(cls):
        for line in cls.process.stdout:
            said = json.loads(line)
            if "call" in said:
                waiter = cls.waiting.pop(said["call"], None)
                if waiter is not None:
                    waiter.put(said)
            else:
                cls.clients[said["client"]].on_event(said)

    @classmethod
    def call(cls, timeout_s=TIMEOUT_S, **request):
        cls.start()
        number = next(cls.numbers)
        waiter = cls.waiting[number] = queue.Queue()
        line = (json.dumps(dict(request, call=number)) + "\n").encode()
        with cls.lock:
            cls.process.stdin.write(line)
            cls.process.stdin.flush()
        try:
            return waiter.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError(f"mqtt.js: no answer to {request['op']}") from None


class MqttjsClient(Client):
    library = "mqttjs"
    versions = (3, 4, 5)
    features = frozenset()

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.number = next(Agent.numbers)
        Agent.clients[self.number] = self

    def on_event(self, said):
        if said["event"] == "message":
            self.inbox.put(Message(
                said["topic"], base64.b64decode(said["payload"]), said["qos"], said["retain"],
                said["dup"], unpack(said["properties"])))
        elif said["event"] == "disconnect":
            self.close_reason = said["reason"]
        else:
            self.closed.set()

    def _call(self, op, timeout_s=TIMEOUT_S, **request):
        said = Agent.call(timeout_s, client=self.number, op=op, **request)
        if "error" in said:
            if op == "connect" and said.get("code"):
                raise Refused(said["code"])
            raise AssertionError(f"mqtt.js {op}: {said['error']}")
        return said["value"]

    def connect(self):
        options = {
            "protocolVersion": self.version,
            "protocolId": "MQIsdp" if self.version == 3 else "MQTT",
            "clientId": self.client_id,
            "clean": self.clean,
            "keepalive": self.keepalive,
        }
        if self.will:
            options["will"] = {
                "topic": self.will["topic"], "payload": text(self.will["payload"]),
                "qos": self.will.get("qos", 0), "retain": self.will.get("retain", False)}
            if self.version == 5:
                options["will"]["properties"] = pack(self.will.get("props"))
        if self.version == 5:
            options["properties"] = pack(self.props)
        value = self._call("connect", url=f"mqtt://127.0.0.1:{self.port}", options=options)
        self.session_present = value["sessionPresent"]
        self.connack = unpack(value["properties"])
        return self

    def subscribe(self, topic_filter, qos=0, no_local=False, retain_as_published=False,
                  retain_handling=0, subscription_id=None):
        options = {"qos": qos}
        if self.version == 5:
            options.update(nl=no_local, rap=retain_as_published, rh=retain_handling)
            if subscription_id:
                options["properties"] = {"subscriptionIdentifier": subscription_id}
        code = self._call("subscribe", filter=topic_filter, options=options)[0]
        return code["qos"] if isinstance(code, dict) else code

    def unsubscribe(self, topic_filter):
        self._call("unsubscribe", filter=topic_filter)

    def publish(self, topic, payload, qos=0, retain=False, props=None):
        options = {"qos": qos, "retain": retain}
        if self.version == 5:
            options["properties"] = pack(props)
        self._call("publish", topic=topic, payload=text(payload), options=options)

    def publish_many(self, topic, payloads, qos):
        self._call("publishMany", 30, topic=topic, options={"qos": qos},
                   payloads=[text(payload) for payload in payloads])

    def disconnect(self, reason=0, props=None):
        options = {}
        if self.version == 5:
            options = {"reasonCode": reason, "properties": pack(props)}
        self._call("disconnect", options=options)
        self.wait_closed()

    def abort(self):
        self._call("abort")
        self.wait_closed()
