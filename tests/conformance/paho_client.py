"""A second opinion on the client rows: the paho-mqtt client behind the lines
of process.rs. NLMQTT_TEST_CLIENT="python3 tests/conformance/paho_client.py"
cargo test --test conformance every_row_holds

Paho has no AUTH, and what it lacks or does differently fails its rows; the
point is that rows which pass here can be passed by a client nobody wrote for
this table."""

import sys
import threading
from urllib.parse import urlparse

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

NAMES = {
    "payload_format": "PayloadFormatIndicator", "message_expiry": "MessageExpiryInterval",
    "content_type": "ContentType", "response_topic": "ResponseTopic",
    "correlation": "CorrelationData", "sub_id": "SubscriptionIdentifier",
    "session_expiry": "SessionExpiryInterval", "auth_method": "AuthenticationMethod",
    "auth_data": "AuthenticationData", "request_problem": "RequestProblemInformation",
    "will_delay": "WillDelayInterval", "request_response": "RequestResponseInformation",
    "reason_string": "ReasonString", "receive_maximum": "ReceiveMaximum",
    "alias_maximum": "TopicAliasMaximum", "alias": "TopicAlias", "user": "UserProperty",
    "maximum_packet": "MaximumPacketSize", "assigned_id": "AssignedClientIdentifier",
}
BYTES = ("correlation", "auth_data")
TEXTS = ("content_type", "response_topic", "auth_method", "reason_string", "assigned_id")
lock = threading.Lock()
client = None
tags = {}


def say(line):
    with lock:
        print(line, flush=True)


def tell(kind, **fields):
    parts = ["kind=" + kind.encode().hex()]
    for key, value in fields.items():
        if isinstance(value, int):
            value = str(int(value))
        if isinstance(value, str):
            value = value.encode()
        parts.append(f"{key}={value.hex()}")
    say("event " + " ".join(parts))


def properties_of(pairs, prefix, packet):
    found = [(k[len(prefix):], v) for k, v in pairs if k.startswith(prefix)]
    if not found:
        return None
    properties = Properties(packet)
    for name, value in found:
        if name == "user":
            properties.UserProperty = tuple(value.decode().split(":", 1))
        elif name in BYTES:
            setattr(properties, NAMES[name], value)
        elif name in TEXTS:
            setattr(properties, NAMES[name], value.decode())
        else:
            setattr(properties, NAMES[name], int(value.decode(), 0))
    return properties


def told(properties):
    fields = {}
    for ours, theirs in NAMES.items():
        value = getattr(properties, theirs, None) if properties else None
        if value is None:
            continue
        if ours == "user":
            value = ":".join(value[0])
        if isinstance(value, list):
            value = value[0]
        fields["prop." + ours] = value
    return fields


def on_connect(_client, _data, flags, reason, properties):
    code = reason.value
    if code == 0:
        tell("connected", sp=int(flags.session_present), code=code, **told(properties))
    else:
        numbers = {132: 1, 133: 2, 136: 3, 134: 4, 135: 5}
        tell("refused", code=code if version == 5 else numbers.get(code, code))


def on_disconnect(_client, _data, flags, reason, properties):
    by_server = flags.is_disconnect_packet_from_server
    tell("disconnected", reason=reason.value if by_server else 0, **told(properties))


def on_message(_client, _data, message):
    properties = getattr(message, "properties", None)
    tell("message", topic=message.topic, payload=message.payload, qos=message.qos,
         retain=int(message.retain), **told(properties))


def on_publish(_client, _data, mid, reason, _properties):
    tell("published", tag=tags.pop(("p", mid), ""), reason=reason.value)


def on_subscribe(_client, _data, mid, reasons, _properties):
    tell("subscribed", tag=tags.pop(("s", mid), ""), codes=bytes(r.value for r in reasons))


def on_unsubscribe(_client, _data, mid, reasons, _properties):
    tell("unsubscribed", tag=tags.pop(("u", mid), ""), codes=bytes(r.value for r in reasons))


def connect(pairs, get):
    global client, version
    version = int(get("level", "4"))
    clean = get("clean") == "1"
    url = urlparse(get("url"))
    if client is None:
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=get("id", ""), protocol=version,
            clean_session=clean if version < 5 else None, reconnect_on_failure=False,
            transport="websockets" if url.scheme == "ws" else "tcp")
        for handler in (on_connect, on_disconnect, on_message, on_publish, on_subscribe,
                        on_unsubscribe):
            setattr(client, handler.__name__, handler)
        if url.scheme == "ws":
            client.ws_set_options(path=url.path)
    else:
        client.loop_stop()
        if version < 5:
            client._clean_session = clean
    if get("user") is not None or get("pass") is not None:
        client.username_pw_set(get("user"), dict(pairs).get("pass"))
    if get("will.topic") is not None:
        client.will_set(get("will.topic"), dict(pairs)["will.payload"], int(get("will.qos")),
                        get("will.retain") == "1",
                        properties_of(pairs, "will.prop.", PacketTypes.WILLMESSAGE))
    extra = {}
    if version == 5:
        extra["clean_start"] = clean
        extra["properties"] = properties_of(pairs, "prop.", PacketTypes.CONNECT)
    # A WebSocket handshake needs the judge, who waits for our answer.
    call = client.connect_async if url.scheme == "ws" else client.connect
    call(url.hostname, url.port, int(get("keep")), **extra)
    client.loop_start()


def publish(pairs, get):
    properties = properties_of(pairs, "prop.", PacketTypes.PUBLISH)
    # Without the lock the answer could come before its tag is known.
    with client._callback_mutex:
        info = client.publish(get("topic"), dict(pairs)["payload"], int(get("qos")),
                              get("retain") == "1", properties)
        tags[("p", info.mid)] = get("tag", "")


def subscribe(pairs, get):
    filters = [v.decode() for k, v in pairs if k == "filter"]
    options = [int(v) for k, v in pairs if k == "options"]
    if version == 5:
        both = [(f, SubscribeOptions(o & 3, bool(o & 4), bool(o & 8), o >> 4))
                for f, o in zip(filters, options)]
        result, mid = client.subscribe(
            both, properties=properties_of(pairs, "prop.", PacketTypes.SUBSCRIBE))
    else:
        result, mid = client.subscribe(list(zip(filters, options)))
    tags[("s", mid)] = get("tag", "")


def unsubscribe(pairs, get):
    result, mid = client.unsubscribe([v.decode() for k, v in pairs if k == "filter"])
    tags[("u", mid)] = get("tag", "")


def disconnect(pairs, get):
    if version == 5:
        reason = ReasonCode(PacketTypes.DISCONNECT, identifier=int(get("reason")))
        client.disconnect(reason, properties_of(pairs, "prop.", PacketTypes.DISCONNECT))
    else:
        client.disconnect()


def auth(pairs, get):
    raise ValueError("paho has no AUTH")


for line in sys.stdin:
    words = line.split()
    pairs = [(p.split("=")[0], bytes.fromhex(p.split("=")[1])) for p in words[1:]]
    first = {}
    for key, value in pairs:
        first.setdefault(key, value)

    def get(key, default=None):
        return first[key].decode() if key in first else default

    try:
        globals()[words[0]](pairs, get)
        say("ok")
    except Exception as error:  # whatever paho refuses, it refuses by raising
        say("error why=" + (str(error) or "refused").encode().hex())
