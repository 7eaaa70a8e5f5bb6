"""What no client library will send: wrong packets, silence. Plain sockets, all versions."""

import itertools
import socket
import time

import raw_client as raw
from harness import Case
from raw_client import Raw

VERSIONS = {3: "3.1", 4: "3.1.1", 5: "5.0"}
_tests = []
_numbers = itertools.count(1)


def test(*versions):
    def mark(run):
        _tests.append((run, versions or (3, 4, 5)))
        return run
    return mark


def name():
    return f"raw{next(_numbers)}"


@test()
def silent_client_is_closed_after_one_and_a_half_keep_alives(port, version):
    with Raw(port) as client:
        client.open(version, name(), keepalive=2)
        began = time.monotonic()
        client.expect_closed(version, (0x8D,))
        took_s = time.monotonic() - began
        assert 2.4 <= took_s <= 4.6, f"closed after {took_s:.1f} s of a keep-alive of 2 s"


@test()
def half_a_packet_does_not_count_as_life(port, version):
    with Raw(port) as client:
        client.open(version, name(), keepalive=1)
        client.send(b"\x30\x7f\x00")
        client.expect_closed(version)


@test()
def keep_alive_zero_is_never_closed(port, version):
    with Raw(port) as client:
        client.open(version, name(), keepalive=0)
        time.sleep(2.5)
        client.send(raw.packet(0xC0))
        client.expect("PINGRESP")


@test()
def packets_in_single_bytes_and_packets_in_one_segment(port, version):
    topic = name()
    with Raw(port) as client:
        for byte in raw.connect(version, name()) + raw.subscribe(version, topic, 1):
            client.send(bytes([byte]))
        client.expect("CONNACK")
        client.expect("SUBACK")
        client.send(*[raw.publish(version, topic, b"%d" % n, 1, mid=n) for n in range(1, 11)],
                    raw.packet(0xC0))
        seen = [client.read()[0] for _ in range(21)]
        assert seen.count("PUBACK") == 10 and seen.count("PUBLISH") == 10, seen
        assert seen.count("PINGRESP") == 1, seen


@test()
def packets_sent_before_connack_are_served(port, version):
    topic = name()
    with Raw(port) as client:
        client.send(raw.connect(version, name()), raw.subscribe(version, topic, 0),
                    raw.publish(version, topic, b"early"))
        client.expect("CONNACK")
        client.expect("SUBACK")
        assert client.expect("PUBLISH").endswith(b"early")


@test()
def second_connect_closes(port, version):
    with Raw(port) as client:
        client.open(version, "twice" + name()).send(raw.connect(version, name()))
        client.expect_closed(version, (0x82,))


@test()
def first_packet_must_be_connect(port, version):
    with Raw(port) as client:
        client.send(raw.publish(version, "t", b"x"))
        client.expect_closed(version)


@test()
def reserved_packet_types_close(port, version):
    for first in (0x00, 0xF0) if version < 5 else (0x00,):
        with Raw(port) as client:
            client.open(version, name()).send(raw.packet(first))
            client.expect_closed(version, (0x81, 0x82))


@test()
def wrong_fixed_header_flags_close(port, version):
    wrong = [raw.publish(version, "t", b"x", 3)]
    if version > 3:  # 3.1 does not say what to do about SUBSCRIBE with other flags
        wrong.append(raw.subscribe(version, "t", 0, first=0x80))
    for bad in wrong:
        with Raw(port) as client:
            client.open(version, name()).send(bad)
            client.expect_closed(version, (0x81, 0x82))


@test()
def remaining_length_of_five_bytes_closes(port, version):
    with Raw(port) as client:
        client.open(version, name()).send(b"\x30\xff\xff\xff\xff\x01")
        client.expect_closed(version, (0x81, 0x82, 0x95))


@test()
def packet_above_the_servers_maximum_closes(port, version):
    with Raw(port) as client:
        client.open(version, name()).send(b"\x30\xff\xff\xff\x7f", bytes(1000))  # 268,435,455
        client.expect_closed(version, (0x95,))


@test()
def publish_to_a_filter_closes(port, version):
    for topic in ("a/+", "a/#", "#"):
        with Raw(port) as client:
            client.open(version, name()).send(raw.publish(version, topic, b"x", 1))
            got = client.read()
            if got is not None and got[0] == "PUBACK":  # 5: an acknowledgement may say so
                assert version == 5 and got[2][2] == 0x90, got
                continue
            if got is not None:
                assert version == 5 and got[0] == "DISCONNECT", got
                assert got[2][0] in (0x81, 0x82, 0x90), got


@test()
def bad_filters_are_refused(port, version):
    refuse_filters(port, version, ("a/#/b", "a#", "a+/b", "", "##"))


@test(5)
def bad_share_names_are_refused(port, version):
    refuse_filters(port, version, ("$share/g", "$share//t", "$share/g+/t", "$share/g/"))


def refuse_filters(port, version, topic_filters):
    for topic_filter in topic_filters:
        with Raw(port) as client:
            client.open(version, name()).send(raw.subscribe(version, topic_filter))
            got = client.read()
            if got is not None and got[0] == "SUBACK":
                assert got[2][-1] in (0x80, 0x8F, 0x87, 0x9E), f"{topic_filter!r} granted: {got}"
            elif got is not None:
                assert version == 5 and got[0] == "DISCONNECT", (topic_filter, got)
                assert got[2][0] >= 0x80, (topic_filter, got)


@test()
def nul_and_bad_utf8_in_a_topic_close(port, version):
    for topic in (b"a\x00b", b"a\xff\xfe", b"\xed\xa0\x80"):
        with Raw(port) as client:
            client.open(version, name()).send(raw.publish(version, topic, b"x", 0))
            client.expect_closed(version, (0x81, 0x82, 0x90))


@test()
def empty_topic_closes(port, version):
    with Raw(port) as client:
        client.open(version, name()).send(raw.publish(version, "", b"x", 0))
        client.expect_closed(version, (0x81, 0x82, 0x90))


@test()
def unknown_protocol_level_is_refused(port, version):
    with Raw(port) as client:
        client.send(raw.connect(4, name(), level=9))
        got = client.read()
        if got is not None:
            assert got[0] == "CONNACK" and got[2][1] in (0x01, 0x84), got
            assert client.read() is None


@test(4)
def empty_client_id_needs_a_clean_session(port, version):
    with Raw(port) as client:
        client.send(raw.connect(version, "", clean=False))
        assert client.expect("CONNACK") == b"\x00\x02"
        client.expect_closed(version)


@test(3)
def empty_client_id_is_refused_in_3_1(port, version):
    with Raw(port) as client:
        client.send(raw.connect(version, ""))
        got = client.read()
        assert got is None or got[0] == "CONNACK" and got[2][1] == 2, got


@test(5)
def empty_client_id_with_a_session_is_given_a_name_or_refused(port, version):
    with Raw(port) as client:
        client.send(raw.connect(version, "", clean=False, props=b"\x11\x00\x00\x00\x3c"))
        answer = client.expect("CONNACK")
        assert answer[1] == 0x85 or answer[1] == 0 and b"\x12" in answer[3:], answer


@test(4, 5)
def reserved_connect_flag_is_refused(port, version):
    with Raw(port) as client:
        client.send(raw.connect(version, name(), flags=3))
        got = client.read()
        if got is not None:
            assert version == 5 and got[0] in ("CONNACK", "DISCONNECT"), got


@test()
def taken_over_client_is_told_and_closed(port, version):
    who = name()
    with Raw(port) as first, Raw(port) as second:
        first.open(version, who)
        second.open(version, who)
        if version == 5:
            assert first.expect("DISCONNECT")[:1] == b"\x8e"
        assert first.read() is None
        second.send(raw.packet(0xC0))
        second.expect("PINGRESP")


@test(5)
def topic_alias_out_of_range_closes(port, version):
    for alias in (b"\x23\x00\x00", b"\x23\xff\xff"):
        with Raw(port) as client:
            client.open(version, name()).send(raw.publish(version, "t", b"x", props=alias))
            client.expect_closed(version, (0x94, 0x82, 0x81))


@test(5)
def unknown_topic_alias_closes(port, version):
    with Raw(port) as client:
        client.open(version, name()).send(raw.publish(version, "", b"x", props=b"\x23\x00\x01"))
        client.expect_closed(version, (0x82, 0x94))


@test(5)
def property_twice_closes(port, version):
    with Raw(port) as client:
        client.open(version, name()).send(
            raw.publish(version, "t", b"x", props=b"\x02\x00\x00\x00\x01" * 2))
        client.expect_closed(version, (0x81, 0x82))


@test(5)
def receive_maximum_of_zero_is_refused(port, version):
    with Raw(port) as client:
        client.send(raw.connect(version, name(), props=b"\x21\x00\x00"))
        got = client.read()
        assert got is None or got[0] in ("CONNACK", "DISCONNECT"), got
        if got is not None and got[0] == "CONNACK":
            assert got[2][1] in (0x81, 0x82), got


@test(5)
def session_expiry_cannot_be_raised_from_zero(port, version):
    with Raw(port) as client:
        client.open(version, name()).send(raw.packet(0xE0, b"\x00\x05\x11\x00\x00\x00\x3c"))
        client.expect_closed(version, (0x82,))


@test(5)
def no_more_in_flight_than_the_receive_maximum(port, version):
    topic = name()
    with Raw(port) as client, Raw(port) as sender:
        client.open(version, name(), props=b"\x21\x00\x03")
        client.send(raw.subscribe(version, topic, 1)).expect("SUBACK")
        sender.open(version, name())
        for number in range(1, 21):
            sender.send(raw.publish(version, topic, b"%d" % number, 1, mid=number))
            sender.expect("PUBACK")
        held = []
        for number in range(1, 21):
            body = client.expect("PUBLISH")
            assert body.endswith(b"\x00%d" % number), body
            at = 2 + len(topic)
            held.append(int.from_bytes(body[at:at + 2], "big"))
            if len(held) == 3:
                try:
                    extra = client.read(0.05)
                    raise AssertionError(f"a fourth in flight: {extra}")
                except socket.timeout:
                    client.send(raw.ack("PUBACK", held.pop(0)))


@test()
def repeated_qos_2_publish_is_delivered_once(port, version):
    topic = name()
    with Raw(port) as receiver, Raw(port) as sender:
        receiver.open(version, name())
        receiver.send(raw.subscribe(version, topic, 0)).expect("SUBACK")
        sender.open(version, name())
        sender.send(raw.publish(version, topic, b"once", 2, mid=7)).expect("PUBREC")
        sender.send(raw.publish(version, topic, b"once", 2, mid=7, dup=True)).expect("PUBREC")
        sender.send(raw.ack("PUBREL", 7)).expect("PUBCOMP")
        sender.send(raw.publish(version, topic, b"end", 0))
        assert receiver.expect("PUBLISH").endswith(b"once")
        assert receiver.expect("PUBLISH").endswith(b"end")


@test()
def qos_2_survives_reconnects_at_every_step(port, version):
    """The receiver leaves before PUBREC, then before PUBCOMP, and gets the message exactly once."""
    topic, who = name(), name()
    session = {"clean": False}
    if version == 5:
        session["props"] = b"\x11\x00\x00\x01\x00"
    with Raw(port) as client:
        client.open(version, who, **session)
        client.send(raw.subscribe(version, topic, 2)).expect("SUBACK")
        with Raw(port) as sender:
            sender.open(version, name())
            sender.send(raw.publish(version, topic, b"once", 2, mid=1)).expect("PUBREC")
            sender.send(raw.ack("PUBREL", 1)).expect("PUBCOMP")
        first = client.expect("PUBLISH")
    with Raw(port) as client:
        client.open(version, who, **session)
        kind, flags, again = client.read()
        assert kind == "PUBLISH" and flags & 8 and again == first, (kind, flags, again)
        mid = int.from_bytes(again[2 + len(topic):4 + len(topic)], "big")
        client.send(raw.ack("PUBREC", mid)).expect("PUBREL")
    with Raw(port) as client:
        client.open(version, who, **session)
        client.expect("PUBREL")  # not the PUBLISH: it has been received
        client.send(raw.ack("PUBCOMP", mid), raw.packet(0xC0)).expect("PINGRESP")
    with Raw(port) as client:
        client.open(version, who, **session)
        client.send(raw.packet(0xC0)).expect("PINGRESP")


def cases(broker):
    found = []
    for run, versions in _tests:
        for version in versions:
            found.append(Case(
                f"raw/{VERSIONS[version]}/{run.__name__}",
                lambda run=run, version=version: run(broker.port, version)))
    return found
