"""Much at once: large payloads, long sequences, many clients. These run alone."""

import hashlib

from client_paho import PahoClient
from scenario import scenario

LARGE_BYTES = 16 * 1024 * 1024
SEQUENCE = 10_000
SWARM = 1_000
# Less than any out-buffer, so that no broker may drop QoS 0 of a reader that keeps up.
CHUNK = 500


@scenario(alone=True)
def payload_of_16_mib_arrives_whole(t):
    client = t.connect()
    client.subscribe(t.topic(), 1)
    block = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256))
    payload = block * (LARGE_BYTES // len(block))
    assert len(payload) == LARGE_BYTES
    for qos in (0, 1):
        client.publish(t.topic(), payload, qos)
        got = client.recv(20)
        assert got.qos == qos and got.payload == payload, f"{len(got.payload)} bytes, QoS {got.qos}"


@scenario(alone=True)
def order_of_10000_messages_qos_0(t):
    receiver = t.connect()
    receiver.subscribe(t.topic("+"), 0)
    senders = [t.connect(), t.connect()]
    last = [-1, -1]
    for start in range(0, SEQUENCE, CHUNK):
        for number, sender in enumerate(senders):
            sender.publish_many(
                t.topic(str(number)), [str(n) for n in range(start, start + CHUNK)], 0)
        for message in receiver.recv_many(2 * CHUNK):
            number, value = int(message.topic[-1]), int(message.payload)
            assert value == last[number] + 1, f"{value} after {last[number]}"
            last[number] = value


@scenario(alone=True)
def order_of_10000_messages_qos_1(t):
    # The libraries differ by a hundred times in how fast they acknowledge: each sends through
    # paho and receives by itself.
    receiver, sender = t.connect(), t.connect(library=PahoClient)
    receiver.subscribe(t.topic(), 1)
    payloads = [str(number).encode() for number in range(SEQUENCE)]
    sender.publish_many(t.topic(), payloads, 1)
    got = [message.payload for message in receiver.recv_many(SEQUENCE, 30)]
    assert got == payloads, "lost, repeated or out of order"


@scenario(alone=True)
def order_of_1000_messages_qos_2(t):
    client = t.connect()
    client.subscribe(t.topic(), 2)
    payloads = [str(number).encode() for number in range(1000)]
    client.publish_many(t.topic(), payloads, 2)
    got = [message.payload for message in client.recv_many(1000, 6)]
    assert got == payloads, "lost, repeated or out of order"


@scenario(alone=True)
def each_of_1000_clients_gets_its_own_message(t):
    prefix = f"sw{t.number}"
    if hasattr(t.library, "swarm"):
        received = t.library.swarm(t.broker.port, t.version, SWARM, prefix)
    else:
        clients = [t.connect(f"{prefix}{index}") for index in range(SWARM)]
        for index, client in enumerate(clients):
            client.subscribe(f"{prefix}/{index}", 1)
        for index in range(SWARM):
            clients[-index].publish(f"{prefix}/{index}", str(index), 1)
        received = [[client.recv().payload] for client in clients]
        for client, messages in zip(clients, received):
            messages += [message.payload for message in client.inbox.queue]
    assert received == [[str(index).encode()] for index in range(SWARM)]
