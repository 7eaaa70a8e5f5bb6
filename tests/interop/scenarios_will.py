"""Wills."""

import time

from scenario import scenario


def will(topic, **more):
    return dict({"topic": topic, "payload": b"gone", "qos": 1}, **more)


@scenario()
def will_is_published_on_abrupt_close(t):
    watcher = t.connect()
    watcher.subscribe(t.topic(), 2)
    for qos in (0, 1, 2):
        t.connect(will=will(t.topic(), qos=qos)).abort()
        watcher.expect(b"gone", qos=qos, topic=t.topic(), retain=False)


@scenario()
def will_is_not_published_on_disconnect(t):
    watcher = t.connect()
    watcher.subscribe(t.topic(), 1)
    t.connect(will=will(t.topic())).disconnect()
    watcher.expect_silence(0.5)


@scenario()
def will_can_be_retained(t):
    watcher = t.connect()
    watcher.subscribe(t.topic(), 1)
    t.connect(will=will(t.topic(), retain=True)).abort()
    watcher.expect(b"gone", retain=False)
    late = t.connect()
    late.subscribe(t.topic(), 1)
    late.expect(b"gone", retain=True)


@scenario()
def will_is_published_on_takeover(t):
    """The old connection ends without DISCONNECT from its client (MQTT 5 3.1.4-3)."""
    watcher = t.connect()
    watcher.subscribe(t.topic(), 1)
    name = t.client_id()
    t.connect(name, will=will(t.topic()))
    t.connect(name)
    watcher.expect(b"gone")


@scenario(versions=(5,))
def will_is_published_on_disconnect_with_will(t):
    watcher = t.connect()
    watcher.subscribe(t.topic(), 1)
    t.connect(will=will(t.topic())).disconnect(reason=0x04)
    watcher.expect(b"gone")


@scenario(versions=(5,))
def will_waits_for_its_delay(t):
    watcher = t.connect()
    watcher.subscribe(t.topic(), 1)
    client = t.connect(
        will=will(t.topic(), props={"will_delay": 2}), props={"session_expiry": 60})
    began = time.monotonic()
    client.abort()
    watcher.expect(b"gone")
    assert time.monotonic() - began > 0.9, "published before its delay"


@scenario(versions=(5,))
def will_delay_is_cancelled_by_reconnect(t):
    watcher = t.connect()
    watcher.subscribe(t.topic(), 1)
    name = t.client_id()
    t.lasting(name, will=will(t.topic(), props={"will_delay": 1})).abort()
    t.lasting(name)
    watcher.expect_silence(3)


@scenario(versions=(5,))
def will_comes_when_the_session_ends_before_its_delay(t):
    watcher = t.connect()
    watcher.subscribe(t.topic(), 1)
    t.connect(will=will(t.topic(), props={"will_delay": 60}), props={"session_expiry": 0}).abort()
    watcher.expect(b"gone", timeout_s=4)


@scenario(versions=(5,))
def will_carries_its_properties(t):
    watcher = t.connect()
    watcher.subscribe(t.topic(), 1)
    props = {"content_type": "text/plain", "user": [("k", "v")], "response_topic": "r/t",
             "correlation_data": b"\x01\x02", "payload_format": 1, "message_expiry": 100}
    t.connect(will=will(t.topic(), props=props)).abort()
    got = watcher.expect(b"gone").props
    for name in ("content_type", "user", "response_topic", "correlation_data", "payload_format"):
        assert got.get(name) == props[name], f"{name}: {got}"
    assert 98 <= got.get("message_expiry", 0) <= 100, got
