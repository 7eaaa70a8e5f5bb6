"""The cases and their targets.

A target is the quotient of two columns of the project's table of peers, "reach" by "mosquitto 2.0", and "stretch" by the same: the
ratio to mosquitto in the same run counts, never an absolute time. Rows of issue 1 have a gate on top, which is an upper
bound for a release.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Traffic:
    """A load and what it may cost. `arguments` are those of the generator."""

    name: str
    title: str
    arguments: dict
    cpu_target: float | None = None
    stretch: float | None = None
    syscall_target: float | None = None
    cpu_gate: float | None = None
    quick: dict | None = None          # overrides for --quick; None: not part of it
    settings: dict = field(default_factory=dict)     # broker options of this case
    environment: dict = field(default_factory=dict)  # of both brokers
    transport: str = "tcp"

    @property
    def has_floor(self):
        """The floor knows neither QoS 2 nor acknowledgement windows of its own, and nothing but TCP."""
        return self.arguments.get("qos", 0) < 2 and self.transport == "tcp"


@dataclass(frozen=True)
class Memory:
    """What rests in a broker: bytes of user space by `unit`."""

    name: str
    title: str
    arguments: dict
    units: int
    target: float | None = None
    stretch: float | None = None
    gate_bytes: float | None = None
    quick: dict | None = None
    transport: str = "tcp"


@dataclass(frozen=True)
class Retained:
    """Many retained messages to one subscriber of `#`."""

    name: str
    title: str
    arguments: dict
    target_seconds: float
    stretch_seconds: float | None = None
    quick: dict | None = None
    settings: dict = field(default_factory=dict)


def _shape(publishers, subscribers, credit, **more):
    return {"publishers": publishers, "subscribers": subscribers, "credit": credit, **more}


# glibc gives the top of the heap back and takes it again for each large message when the heap is otherwise empty,
# four brk() and the page faults each time. A broker with some traffic behind it does not; hence the environment.
LARGE = {"MALLOC_TOP_PAD_": "16777216", "MALLOC_TRIM_THRESHOLD_": "67108864"}

# The credits are chosen so that a broker which does nothing but frame, look up and write once per turn (`floor/`) shows the
# system calls per message of the table's "floor" column. One pair at QoS 1 stands here twice: with mosquitto's window of 20,
# and with one in which the floor's ratio to mosquitto is that of the table, 0.9 / 24.
TRAFFIC = [
    Traffic("pair1q0", "1 pair, QoS 0", _shape(1, 1, 2000), 0.40 / 9.7, 0.20 / 9.7, quick={}),
    Traffic("pair1q1", "1 pair, QoS 1, window 20", _shape(1, 1, 24, qos=1), 1.6 / 24, 1.1 / 24),
    Traffic("pair1q1w", "1 pair, QoS 1, window 80", _shape(1, 1, 96, qos=1, window=80), 1.6 / 24, 1.1 / 24,
            settings={"max_inflight_messages": "80"}),
    Traffic("pair1q2", "1 pair, QoS 2", _shape(1, 1, 24, qos=2)),
    Traffic("pair50q0", "50 pairs, QoS 0", _shape(50, 50, 24), 0.9 / 12, 0.6 / 12, 0.15 / 7.4, cpu_gate=0.25, quick={}),
    Traffic("pair50q1", "50 pairs, QoS 1", _shape(50, 50, 24, qos=1), 2.2 / 22, 1.6 / 22, cpu_gate=0.25, quick={}),
    Traffic("pair50q2", "50 pairs, QoS 2", _shape(50, 50, 24, qos=2), 4.0 / 41, 3.0 / 41, quick={}),
    Traffic("fanin50", "fan-in 50 to 1, QoS 0", _shape(50, 1, 24), 0.5 / 8.6, 0.35 / 8.6, quick={}),
    Traffic("fanout100", "fan-out 1 to 100, QoS 0", _shape(1, 100, 80), 0.25 / 8.1, 0.16 / 8.1, cpu_gate=0.25, quick={}),
    Traffic("fanout1000", "fan-out 1 to 1,000, QoS 0", _shape(1, 1000, 16), 0.7 / 12, 0.55 / 12),
    Traffic("large", "1 pair, 64 KiB payload, QoS 0", _shape(1, 1, 8, payload_bytes=65536), 28 / 29, 24 / 29,
            environment=LARGE, quick={}),
    Traffic("filters100k", "100 k filters of 1,000 subscribers, exact", _shape(50, 1000, 20, filters=100_000),
            6 / 18, 4 / 18, quick={"subscribers": 100, "filters": 10_000}),
    Traffic("rate1k", "50 pairs, 1 k messages/s, QoS 0", _shape(50, 50, 64, rate=1_000)),
    Traffic("rate10k", "50 pairs, 10 k messages/s, QoS 0", _shape(50, 50, 64, rate=10_000), None, None, 3.1 / 10.9,
            quick={"rate": 2000}),
]

MEMORY = [
    Memory("idle", "idle connection", {"mode": "hold", "connections": 4000}, 4000, 700 / 735, 400 / 735, gate_bytes=1500),
    Memory("retained", "retained message (64 B, topic 24 B)", {"mode": "retained", "retained": 100_000}, 100_000,
           400 / 1173, 250 / 1173),
    Memory("filter", "filter (100 k distinct, 24 B)", {"mode": "hold", "connections": 100, "filters": 100_000},
           100_000, 400 / 1012, 250 / 1012),
]

RETAINED = [
    Retained("wild0", "100 k retained to one #, QoS 0", {"mode": "retained", "retained": 100_000}, 1.0, 0.2,
             quick={"retained": 20_000}),
    # mosquitto's default queue: the point of this row is that a limit meant for live traffic must not cut the
    # delivery of what is stored.
    Retained("wild1", "100 k retained to one #, QoS 1, default queue limit",
             {"mode": "retained", "retained": 100_000, "qos": 1, "stall_ms": 2000}, 1.0, 0.2,
             settings={"max_queued_messages": "1000"}, quick={"retained": 20_000}),
]

# What TLS and WebSocket cost: the shapes of `pair50q0` and `pair50q1` again. No targets: the table of peers has no such rows. Not both
# at once: mosquitto takes a tenth of a second for each handshake of that.
TRANSPORT_TITLES = {"tls": "TLS 1.3", "ws": "WebSocket"}
TRANSPORTS = [
    Traffic(f"{transport}50q{qos}", f"50 pairs, QoS {qos}, {title}", _shape(50, 50, 24, qos=qos), transport=transport, quick={} if qos else None)
    for transport, title in TRANSPORT_TITLES.items() for qos in (0, 1)
]
# 3,000: a handshake costs mosquitto some milliseconds.
TRANSPORTS_MEMORY = [
    Memory(f"{transport}idle", f"idle connection, {title}", {"mode": "hold", "connections": 3000}, 3000, transport=transport)
    for transport, title in TRANSPORT_TITLES.items()
]

ALL = TRAFFIC + RETAINED + MEMORY + TRANSPORTS + TRANSPORTS_MEMORY
RSS = "rss"                                   # idle RSS: no load at all
RSS_TARGET, RSS_STRETCH = 2.5 / 8.0, 2.0 / 8.0
CLIENT = "client"                             # client_cpu.py
WORKERS = "workers"                           # the second table: two workers
# What is put to one worker and to two, each with both processors.
OF_WORKERS = ["pair1q0", "pair50q0", "pair50q1", "pair50q2", "fanin50", "fanout100", "fanout1000", "filters100k"]
NAMES = [case.name for case in ALL] + [RSS, WORKERS, CLIENT]
GATES = [case.name for case in ALL if getattr(case, "cpu_gate", None) or getattr(case, "gate_bytes", None)]
