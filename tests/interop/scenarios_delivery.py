"""Delivery: QoS, topics and filters, retained messages."""

from client_paho import PahoClient
from scenario import LIBRARIES, scenario


@scenario()
def qos_is_the_lower_of_publish_and_subscribe(t):
    receiver, sender = t.connect(), t.connect()
    for wanted in (0, 1, 2):
        topic = t.topic(f"q{wanted}")
        assert receiver.subscribe(topic, wanted) == wanted
        for given in (0, 1, 2):
            payload = f"{given}->{wanted}".encode()
            sender.publish(topic, payload, given)
            receiver.expect(payload, topic=topic, qos=min(given, wanted), retain=False, dup=False)
    receiver.expect_silence(0.2)


@scenario()
def wildcards_match_as_the_standard_says(t):
    base = t.topic()
    table = [
        ("+", ["a", "b"], ["a/b"]),
        ("a/+", ["a/b", "a/"], ["a", "a/b/c"]),
        ("a/+/c", ["a/b/c", "a//c"], ["a/b/d"]),
        ("a/#", ["a", "a/", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("#", ["a", "a/b/c"], []),
        ("a//c", ["a//c"], ["a/c"]),
        ("+/+", ["a/b", "/"], ["a"]),
    ]
    sender = t.connect()
    for number, (topic_filter, hits, misses) in enumerate(table):
        under = f"{base}/{number}"
        receiver = t.connect()
        receiver.subscribe(f"{under}/{topic_filter}", 0)
        receiver.subscribe(f"{under}-end", 0)
        for name in misses + hits:
            sender.publish(f"{under}/{name}", name)
        sender.publish(f"{under}-end", b"end")
        for name in hits:
            receiver.expect(name.encode(), topic=f"{under}/{name}")
        receiver.expect(b"end")


@scenario()
def hash_and_plus_do_not_match_dollar_topics(t):
    receiver, knowing, sender = t.connect(), t.connect(), t.connect()
    dollar, plain = f"$it/{t.number}/x", f"plain{t.number}/{t.number}/x"
    receiver.subscribe("#", 0)
    receiver.subscribe(f"+/{t.number}/x", 0)
    knowing.subscribe(f"$it/{t.number}/#", 0)
    sender.publish(dollar, b"hidden")
    knowing.expect(b"hidden", topic=dollar)
    sender.publish(plain, b"seen")
    while True:  # other cases publish too
        message = receiver.recv()
        assert not message.topic.startswith("$"), f"matched {message.topic}"
        if message.topic == plain:
            break


@scenario()
def unsubscribe_stops_delivery(t):
    client = t.connect()
    client.subscribe(t.topic("gone"), 1)
    client.subscribe(t.topic("stays"), 1)
    client.publish(t.topic("gone"), b"1", 1)
    client.expect(b"1")
    client.unsubscribe(t.topic("gone"))
    client.unsubscribe(t.topic("never"))
    client.publish(t.topic("gone"), b"2", 1)
    client.publish(t.topic("stays"), b"3", 1)
    client.expect(b"3")


@scenario()
def subscribing_again_replaces_the_qos(t):
    client = t.connect()
    for qos in (0, 2, 1):
        assert client.subscribe(t.topic(), qos) == qos
        client.publish(t.topic(), b"x", 2)
        client.expect(b"x", qos=qos)
    client.expect_silence(0.2)


@scenario()
def empty_and_binary_payloads_arrive_unchanged(t):
    client = t.connect()
    client.subscribe(t.topic(), 1)
    for payload in (b"", bytes(range(256)), "äöü ∞ 漢字".encode(), b"\x00"):
        client.publish(t.topic(), payload, 1)
        client.expect(payload)


@scenario()
def unicode_topics_and_deep_topics(t):
    client = t.connect()
    for name in (t.topic("Ünï/漢字/ /😀"), t.topic("/".join("x" * 60)), t.topic("y" * 2000)):
        assert client.subscribe(name, 1) == 1
        client.publish(name, b"here", 1)
        client.expect(b"here", topic=name)


@scenario()
def retained_is_set_replaced_and_cleared(t):
    sender = t.connect()
    topic = t.topic("state")
    sender.publish(topic, b"one", 1, retain=True)
    first = t.connect()
    first.subscribe(topic, 1)
    first.expect(b"one", retain=True, qos=1, topic=topic)
    sender.publish(topic, b"two", 2, retain=True)
    first.expect(b"two", retain=False)  # a live message is not flagged
    second = t.connect()
    second.subscribe(topic, 0)
    second.expect(b"two", retain=True, qos=0)
    sender.publish(topic, b"", 1, retain=True)
    first.expect(b"", retain=False)
    third = t.connect()
    third.subscribe(topic, 1)
    third.expect_silence()


@scenario()
def retained_are_looked_up_by_wildcard(t):
    sender = t.connect()
    names = ["a", "a/b", "a/b/c", "d/b"]
    for name in names:
        sender.publish(t.topic(name), name, 1, retain=True)
    sender.publish(t.topic("a/live"), b"not kept", 1)
    for topic_filter, hits in (("#", names), ("+/b", ["a/b", "d/b"]), ("a/#", names[:3])):
        receiver = t.connect()
        receiver.subscribe(t.topic(topic_filter), 1)
        got = receiver.recv_many(len(hits))
        assert sorted(message.topic for message in got) == sorted(map(t.topic, hits)), got
        assert all(message.retain for message in got)
        receiver.expect_silence(0.2)


@scenario()
def retained_comes_again_with_each_subscribe(t):
    client = t.connect()
    client.publish(t.topic(), b"kept", 1, retain=True)
    client.subscribe(t.topic(), 1)
    client.expect(b"kept", retain=True)
    client.unsubscribe(t.topic())
    client.subscribe(t.topic(), 1)
    client.expect(b"kept", retain=True)


@scenario()
def every_library_and_version_hears_every_other(t):
    """Cross-version and cross-library: this one receives from, and sends to, all others."""
    hub = t.connect()
    hub.subscribe(t.topic("in/#"), 2)
    for library in LIBRARIES:
        for version in library.versions:
            name = f"{library.library}{version}"
            other = t.connect(library=library, version=version)
            other.subscribe(t.topic(f"out/{name}"), 2)
            for qos in (0, 1, 2):
                other.publish(t.topic(f"in/{name}"), f"{name} {qos}", qos)
                hub.expect(f"{name} {qos}".encode(), topic=t.topic(f"in/{name}"), qos=qos)
                hub.publish(t.topic(f"out/{name}"), f"hub {qos}", qos)
                other.expect(f"hub {qos}".encode(), qos=qos)
            other.disconnect()


@scenario()
def properties_are_left_out_for_older_versions(t):
    sender = t.connect(library=PahoClient, version=5)
    receiver = t.connect()
    receiver.subscribe(t.topic(), 1)
    sender.publish(t.topic(), b"with", 1, props={
        "user": [("a", "b")], "content_type": "text/plain", "message_expiry": 100,
        "response_topic": "r", "correlation_data": b"c", "payload_format": 1})
    message = receiver.expect(b"with", qos=1)
    if t.version == 5:
        assert message.props.get("content_type") == "text/plain", message
    else:
        assert not message.props, message
