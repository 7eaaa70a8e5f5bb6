"""What is new in MQTT 5."""

import queue
import time

from harness import Broker
from scenario import scenario


@scenario(versions=(5,))
def message_properties_arrive_unchanged(t):
    client = t.connect()
    client.subscribe(t.topic(), 1)
    props = {"content_type": "application/json", "response_topic": t.topic("r"),
             "correlation_data": bytes(range(32)), "payload_format": 1, "user": [("k", "v")]}
    client.publish(t.topic(), b"{}", 1, props=props)
    got = client.expect(b"{}").props
    assert {name: got.get(name) for name in props} == props, got
    assert set(got) <= set(props), f"properties nobody sent: {got}"


@scenario(versions=(5,))
def user_properties_keep_their_order(t):
    client = t.connect()
    client.subscribe(t.topic(), 1)
    pairs = [("z", "1"), ("z", "2"), ("a", "3"), ("m", ""), ("ü", "漢")]
    if "ordered_user" in t.library.features:  # mqtt.js keeps them by name
        pairs += [("z", "4"), ("a", "3")]
    client.publish(t.topic(), b"x", 1, props={"user": pairs})
    got = client.expect(b"x").props["user"]
    assert [tuple(pair) for pair in got] == pairs, got


@scenario(versions=(5,))
def request_and_response(t):
    asker, answerer = t.connect(), t.connect()
    asker.subscribe(t.topic("answer"), 1)
    answerer.subscribe(t.topic("ask"), 1)
    asker.publish(t.topic("ask"), b"2+2", 1, props={
        "response_topic": t.topic("answer"), "correlation_data": b"\x00id\xff"})
    asked = answerer.expect(b"2+2").props
    answerer.publish(asked["response_topic"], b"4", 1, props={
        "correlation_data": asked["correlation_data"]})
    assert asker.expect(b"4").props["correlation_data"] == b"\x00id\xff"


@scenario(versions=(5,))
def message_expiry_counts_down_and_drops(t):
    name = t.client_id()
    t_client = t.lasting(name)
    t_client.subscribe(t.topic("#"), 1)
    t_client.disconnect()
    sender = t.connect()
    sender.publish(t.topic("short"), b"short", 1, props={"message_expiry": 1})
    sender.publish(t.topic("long"), b"long", 1, props={"message_expiry": 100})
    sender.publish(t.topic("ever"), b"ever", 1)
    sender.publish(t.topic("retained"), b"retained", 1, retain=True, props={"message_expiry": 1})
    time.sleep(2.5)
    again = t.lasting(name)
    left_s = again.expect(b"long").props["message_expiry"]
    assert 90 <= left_s <= 98, f"expiry {left_s}"
    assert "message_expiry" not in again.expect(b"ever").props
    late = t.connect()
    late.subscribe(t.topic("retained"), 1)
    late.expect_silence()
    again.expect_silence(0.1)


@scenario(versions=(5,))
def message_expiry_is_passed_on_at_once_unchanged(t):
    client = t.connect()
    client.subscribe(t.topic(), 1)
    client.publish(t.topic(), b"x", 1, props={"message_expiry": 50})
    assert client.expect(b"x").props["message_expiry"] in (49, 50)


@scenario(versions=(5,))
def topic_alias_to_the_server(t):
    receiver, sender = t.connect(), t.connect()
    assert sender.connack.get("topic_alias_maximum", 0) >= 2, "no topic aliases offered"
    receiver.subscribe(t.topic("#"), 1)
    one, two = t.topic("one"), t.topic("two")
    sender.publish(one, b"1", 1, props={"topic_alias": 1})
    sender.publish(two, b"2", 0, props={"topic_alias": 2})
    sender.publish("", b"3", 1, props={"topic_alias": 1})
    sender.publish("", b"4", 0, props={"topic_alias": 2})
    sender.publish(two, b"5", 1, props={"topic_alias": 1})  # given a new meaning
    sender.publish("", b"6", 2, props={"topic_alias": 1})
    for payload, topic in ((b"1", one), (b"2", two), (b"3", one), (b"4", two), (b"5", two),
                           (b"6", two)):
        message = receiver.expect(payload, topic=topic)
        assert "topic_alias" not in message.props, "alias of another connection"


@scenario(versions=(5,))
def topic_alias_from_the_server(t):
    """A server may use aliases, or not; those it uses must be in range and known."""
    receiver = t.connect(props={"topic_alias_maximum": 3})
    receiver.subscribe(t.topic("#"), 1)
    sender = t.connect()
    known = {}
    for number in range(30):
        topic = t.topic(f"t{number % 5}")
        sender.publish(topic, str(number), number % 2)
        message = receiver.expect(str(number).encode())
        alias = message.props.get("topic_alias")
        if "raw_alias" in t.library.features and alias is not None:
            assert 1 <= alias <= 3, f"alias {alias}, at most 3 were allowed"
            if message.topic:
                known[alias] = message.topic
            assert known.get(alias) == topic, f"alias {alias} means {known.get(alias)}"
        else:
            assert message.topic == topic, message


@scenario(versions=(5,))
def no_alias_for_a_client_that_takes_none(t):
    client = t.connect()
    client.subscribe(t.topic(), 1)
    for _ in range(5):
        client.publish(t.topic(), b"x", 1)
        assert "topic_alias" not in client.expect(b"x", topic=t.topic()).props


@scenario(versions=(5,))
def small_receive_maximum_loses_nothing(t):
    for qos in (1, 2):
        receiver, sender = t.connect(props={"receive_maximum": 5}), t.connect()
        receiver.subscribe(t.topic(str(qos)), qos)
        payloads = [str(number).encode() for number in range(200)]
        sender.publish_many(t.topic(str(qos)), payloads, qos)
        got = receiver.recv_many(200)
        assert [message.payload for message in got] == payloads, "lost or out of order"
        receiver.expect_silence(0.1)


@scenario(versions=(5,), needs=("manual_ack",))
def no_more_in_flight_than_the_receive_maximum(t):
    receiver = t.connect(props={"receive_maximum": 5}, manual_ack=True)
    receiver.subscribe(t.topic(), 1)
    payloads = [str(number).encode() for number in range(30)]
    t.connect().publish_many(t.topic(), payloads, 1)
    held = receiver.recv_many(5)
    receiver.expect_silence(0.5)
    got = list(held)
    while len(got) < 30:
        receiver.acknowledge(held.pop(0))
        message = receiver.recv()
        held.append(message)
        got.append(message)
        time.sleep(0.02)
        in_flight = len(held) + receiver.inbox.qsize()
        assert in_flight <= 5, f"{in_flight} in flight"
    assert [message.payload for message in got] == payloads, got


@scenario(versions=(5,))
def qos_0_passes_a_full_receive_window(t):
    if "manual_ack" not in t.library.features:
        receiver = t.connect(props={"receive_maximum": 1})
    else:
        receiver = t.connect(props={"receive_maximum": 1}, manual_ack=True)
    receiver.subscribe(t.topic("#"), 1)
    sender = t.connect()
    sender.publish(t.topic("a"), b"held", 1)
    receiver.expect(b"held")
    sender.publish(t.topic("b"), b"free", 0)
    receiver.expect(b"free")


@scenario(versions=(5,))
def clients_maximum_packet_size_is_honoured(t):
    receiver, sender = t.connect(props={"maximum_packet_size": 300}), t.connect()
    receiver.subscribe(t.topic(), 1)
    sender.publish(t.topic(), b"x" * 1000, 1)
    sender.publish(t.topic(), b"y" * 100, 1)
    sender.publish(t.topic(), b"z" * 1000, 0)
    sender.publish(t.topic(), b"end", 1)
    receiver.expect(b"y" * 100)
    receiver.expect(b"end")
    assert not receiver.closed.is_set()


@scenario(versions=(5,))
def subscription_identifiers_come_with_messages(t):
    client = t.connect()
    client.subscribe(t.topic("a"), 1, subscription_id=7)
    client.subscribe(t.topic("#"), 1, subscription_id=268435455)
    client.publish(t.topic("b"), b"one", 1)
    assert client.expect(b"one").props["subscription_id"] == [268435455]
    client.publish(t.topic("a"), b"both", 1)
    found = []
    while len(found) < 2:  # one message with both, or one for each: the server's choice
        found += client.expect(b"both").props["subscription_id"]
    assert sorted(found) == [7, 268435455], found
    client.expect_silence(0.2)
    client.subscribe(t.topic("a"), 1)  # replaced by one without
    client.unsubscribe(t.topic("#"))
    client.publish(t.topic("a"), b"none", 1)
    assert "subscription_id" not in client.expect(b"none").props


@scenario(versions=(5,))
def publisher_cannot_forge_a_subscription_identifier_on_the_way(t):
    """Each receiver sees its own identifier only."""
    one, two, sender = t.connect(), t.connect(), t.connect()
    one.subscribe(t.topic(), 1, subscription_id=1)
    two.subscribe(t.topic(), 1, subscription_id=2)
    sender.publish(t.topic(), b"x", 1)
    assert one.expect(b"x").props["subscription_id"] == [1]
    assert two.expect(b"x").props["subscription_id"] == [2]


@scenario(versions=(5,))
def no_local_keeps_own_messages_away(t):
    client, other = t.connect(), t.connect()
    client.subscribe(t.topic(), 1, no_local=True)
    client.publish(t.topic(), b"own", 1)
    other.publish(t.topic(), b"other's", 1)
    client.expect(b"other's")
    client.expect_silence(0.1)


@scenario(versions=(5,))
def retain_as_published_keeps_the_flag(t):
    plain, keeping = t.connect(), t.connect()
    plain.subscribe(t.topic(), 1)
    keeping.subscribe(t.topic(), 1, retain_as_published=True)
    sender = t.connect()
    for retain in (True, False):
        sender.publish(t.topic(), b"x", 1, retain=retain)
        plain.expect(b"x", retain=False)
        keeping.expect(b"x", retain=retain)


@scenario(versions=(5,))
def retain_handling_says_when_retained_are_sent(t):
    t.connect().publish(t.topic(), b"kept", 1, retain=True)
    always, new, never = t.connect(), t.connect(), t.connect()
    for _ in range(2):
        always.subscribe(t.topic(), 1, retain_handling=0)
        always.expect(b"kept", retain=True)
    new.subscribe(t.topic(), 1, retain_handling=1)
    new.expect(b"kept", retain=True)
    new.subscribe(t.topic(), 1, retain_handling=1)
    never.subscribe(t.topic(), 1, retain_handling=2)
    never.expect_silence(0.3)
    new.expect_silence(0.1)
    new.unsubscribe(t.topic())
    new.subscribe(t.topic(), 1, retain_handling=1)
    new.expect(b"kept", retain=True)


def counts(members, total, payload_of=lambda message: message.payload, timeout_s=12):
    """How many messages each member got; fails unless each message came exactly once."""
    seen, shares = [], [0] * len(members)
    deadline = time.monotonic() + timeout_s
    quiet_until = None
    while quiet_until is None or time.monotonic() < quiet_until:
        for index, member in enumerate(members):
            try:
                seen.append(payload_of(member.inbox.get_nowait()))
                shares[index] += 1
            except queue.Empty:
                pass
        if len(seen) >= total and quiet_until is None:
            quiet_until = time.monotonic() + 0.2
        assert time.monotonic() < deadline, f"{len(seen)} of {total} messages"
        time.sleep(0.002)
    assert len(seen) == total and len(set(seen)) == total, f"{len(seen)} of {total}, some twice"
    return shares


@scenario(versions=(5,))
def shared_subscription_spreads_over_members(t):
    members = [t.connect() for _ in range(3)]
    for member in members:
        assert member.subscribe(f"$share/g{t.number}/{t.topic('#')}", 1) == 1
    outsider, sender = t.connect(), t.connect()
    outsider.subscribe(t.topic("#"), 1)
    sender.publish_many(t.topic("a"), [f"1-{n}" for n in range(60)], 1)
    shares = counts(members, 60)
    assert min(shares) >= 5, f"shares {shares}"
    assert len(outsider.recv_many(60)) == 60
    members[0].unsubscribe(f"$share/g{t.number}/{t.topic('#')}")
    sender.publish_many(t.topic("b"), [f"2-{n}" for n in range(40)], 1)
    shares = counts(members, 40)
    assert shares[0] == 0 and min(shares[1:]) >= 3, f"after one left: {shares}"
    members[1].abort()
    sender.publish_many(t.topic("c"), [f"3-{n}" for n in range(20)], 1)
    assert counts([members[2]], 20) == [20]


@scenario(versions=(5,))
def two_groups_each_get_every_message(t):
    groups = [[t.connect() for _ in range(2)] for _ in range(2)]
    for number, members in enumerate(groups):
        for member in members:
            member.subscribe(f"$share/g{t.number}-{number}/{t.topic()}", 1)
    t.connect().publish_many(t.topic(), [str(n) for n in range(20)], 1)
    for members in groups:
        counts(members, 20)


@scenario(versions=(5,))
def shared_subscription_gets_no_retained(t):
    client = t.connect()
    client.publish(t.topic(), b"kept", 1, retain=True)
    client.subscribe(f"$share/g{t.number}/{t.topic()}", 1)
    client.expect_silence()
    client.publish(t.topic(), b"live", 1)
    client.expect(b"live")


@scenario(versions=(5,), alone=True)
def servers_keep_alive_is_told(t):
    broker = Broker(t.broker.command, {"max_keepalive": 10}).start()
    try:
        assert t.connect(port=broker.port, keepalive=60).connack.get("server_keep_alive") == 10
        assert t.connect(port=broker.port, keepalive=5).connack.get("server_keep_alive", 5) == 5
    finally:
        t.close()
        broker.remove()
