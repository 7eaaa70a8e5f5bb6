"""Sessions: resume, expiry, take-over, identifiers, keep-alive."""

import time

from scenario import scenario

# mosquitto looks for expired sessions once a second, in whole seconds.
EXPIRY_SLACK_S = 2.5


@scenario()
def session_is_resumed_with_queued_messages_in_order(t):
    name = t.client_id()
    client = t.lasting(name)
    client.subscribe(t.topic("#"), 2)
    client.disconnect()
    sender = t.connect()
    for number in range(20):
        sender.publish(t.topic(str(number % 3)), str(number), 1 + number % 2)
    again = t.lasting(name)
    if t.version > 3:
        assert again.session_present is True
    got = again.recv_many(20)
    for qos in (1, 2):  # some libraries show a QoS 2 message at PUBREL: order is kept by QoS only
        have = [message.payload for message in got if message.qos == qos]
        assert have == [str(n).encode() for n in range(qos - 1, 20, 2)], got
    sender.publish(t.topic("live"), b"live", 1)
    again.expect(b"live")


@scenario()
def session_survives_an_abrupt_close(t):
    name = t.client_id()
    client = t.lasting(name)
    client.subscribe(t.topic(), 1)
    client.abort()
    t.connect().publish(t.topic(), b"kept", 1)
    t.lasting(name).expect(b"kept")


@scenario()
def clean_start_forgets_the_session(t):
    name = t.client_id()
    client = t.lasting(name)
    assert not client.session_present
    client.subscribe(t.topic(), 1)
    client.disconnect()
    sender = t.connect()
    sender.publish(t.topic(), b"queued", 1)
    clean = t.connect(name, clean=True)
    assert not clean.session_present
    sender.publish(t.topic(), b"live", 1)
    clean.expect_silence()
    clean.disconnect()
    again = t.lasting(name)
    assert not again.session_present
    again.expect_silence(0.2)


@scenario()
def clean_session_ends_with_the_connection(t):
    name = t.client_id()
    client = t.connect(name)
    client.subscribe(t.topic(), 1)
    client.disconnect()
    t.connect().publish(t.topic(), b"lost", 1)
    again = t.lasting(name)
    assert not again.session_present
    again.expect_silence(0.3)


@scenario()
def unsubscribed_in_a_session_stays_unsubscribed(t):
    name = t.client_id()
    client = t.lasting(name)
    client.subscribe(t.topic("a"), 1)
    client.subscribe(t.topic("b"), 1)
    client.unsubscribe(t.topic("a"))
    client.disconnect()
    sender = t.connect()
    sender.publish(t.topic("a"), b"a", 1)
    sender.publish(t.topic("b"), b"b", 1)
    t.lasting(name).expect(b"b")


@scenario(versions=(5,))
def session_expires_after_its_interval(t):
    name = t.client_id()
    client = t.lasting(name, props={"session_expiry": 1})
    client.subscribe(t.topic(), 1)
    client.disconnect()
    time.sleep(1 + EXPIRY_SLACK_S)
    again = t.lasting(name)
    assert again.session_present is False


@scenario(versions=(5,))
def session_lives_until_its_interval_ends(t):
    name = t.client_id()
    client = t.lasting(name, props={"session_expiry": 30})
    client.subscribe(t.topic(), 1)
    client.abort()
    time.sleep(1.2)
    assert t.lasting(name).session_present is True


@scenario(versions=(5,))
def disconnect_changes_the_session_expiry(t):
    name = t.client_id()
    client = t.lasting(name, props={"session_expiry": 300})
    client.subscribe(t.topic(), 1)
    client.disconnect(props={"session_expiry": 0})
    assert t.lasting(name).session_present is False


@scenario(versions=(5,))
def clean_start_with_expiry_keeps_the_new_session(t):
    name = t.client_id()
    client = t.lasting(name, clean=True)
    client.subscribe(t.topic(), 1)
    client.disconnect()
    t.connect().publish(t.topic(), b"kept", 1)
    again = t.lasting(name)
    assert again.session_present is True
    again.expect(b"kept")


@scenario()
def second_client_of_one_name_takes_over(t):
    name = t.client_id()
    first = t.lasting(name)
    first.subscribe(t.topic(), 1)
    second = t.lasting(name)
    reason = first.wait_closed()
    if t.version == 5:
        assert reason == 0x8E, f"reason {reason}, expected 0x8e"
    t.connect().publish(t.topic(), b"for the second", 1)
    second.expect(b"for the second")
    assert not second.closed.is_set()


@scenario(versions=(4, 5))
def empty_client_id_is_accepted_with_a_clean_session(t):
    first, second = t.connect(""), t.connect("")  # and both get a name of their own
    if t.version == 5:
        names = {client.connack.get("assigned_client_id") for client in (first, second)}
        assert len(names) == 2 and None not in names and "" not in names, names
    first.subscribe(t.topic(), 1)
    second.publish(t.topic(), b"hello", 1)
    first.expect(b"hello")
    assert not first.closed.is_set() and not second.closed.is_set()


@scenario(versions=(5,))
def assigned_client_id_names_the_session(t):
    first = t.connect("", props={"session_expiry": 60})
    first.subscribe(t.topic(), 1)
    first.disconnect()
    assert t.lasting(first.connack["assigned_client_id"]).session_present is True


@scenario(versions=(5,))
def given_client_id_is_not_assigned(t):
    assert "assigned_client_id" not in t.connect().connack


@scenario()
def ping_keeps_a_quiet_client(t):
    client = t.connect(keepalive=1)
    client.subscribe(t.topic(), 1)
    time.sleep(3)
    assert not client.closed.is_set(), "closed although it pings"
    t.connect().publish(t.topic(), b"still here", 1)
    client.expect(b"still here")


@scenario(versions=(3, 4, 5), needs=("manual_ack",))
def unacknowledged_message_comes_again_after_reconnect(t):
    name = t.client_id()
    client = t.lasting(name, manual_ack=True)
    client.subscribe(t.topic(), 1)
    t.connect().publish(t.topic(), b"work", 1)
    client.expect(b"work", dup=False)
    client.abort()
    t.lasting(name).expect(b"work", dup=True)
