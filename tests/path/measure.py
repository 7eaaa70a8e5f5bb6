#!/usr/bin/env python3
"""MQTT over reliable UDP, kernel TCP and QUIC over the same lossy path, and what each costs. README.md explains.

    measure.py --save tests/path/results            # 3 seeds of 20 s; writes results.md, results.svg and the table of the README
    measure.py --seeds 20 --seconds 60 --save ...   # the whole comparison
    measure.py --parts delay,flood --save ...       # these anew; the rest as it was measured last
    measure.py --smoke --prefix target/dist         # seconds: do the numbers come?"""

import argparse
import collections
import concurrent.futures
import datetime
import functools
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import textwrap
import threading

import figure
import flood
import path as way

RATE, DELAY_US, QUEUE_BYTES = 10_000_000, 25_000, 62_500
LOSSES = (0, 10, 50, 100)
SMALL_BYTES, SMALL_PER_SECOND = 256, 50
LARGE_BYTES = 4096
# With its packet of MQTT about what a frame of 1,200 bytes holds.
FRAME_MESSAGE_BYTES = 1150
WARM_CONNECTIONS = 200
TIMEOUT_S = 240
PARTS = ("goodput", "delay", "cost", "flood")
# What was measured, for the parts that are not measured anew.
DATA = way.BUILD / "measured.json"
# Of a line of prose.
COLUMNS = 140
# From where, and forged frames a second that are tried.
FLOODS = (("left", 10_000), ("left", 30_000), ("right", 30_000), ("right", 60_000), ("right", 1_000_000))

Row = collections.namedtuple("Row", "title scheme query congestion colour", defaults=("", None, "#000000"))

SECOND = "rudp_generation=2"
FULL = SECOND + "&rudp_congestion=cubic&rudp_probe_bytes=1452&rudp_redundancy=true"
LEAST_QUIC = "quic_congestion=newreno&quic_probe_bytes=0"
RENO, QUIC, LEAST_QUIC_ROW = "TCP reno", "QUIC", "QUIC, NewReno, datagrams of 1,200 bytes"
SECOND_ROW, FULL_ROW = "reliable UDP, NewReno, frames of 1,200 bytes", "reliable UDP, CUBIC, frames up to 1,452 bytes, redundancy"
ROWS = [
    Row(RENO, "mqtt", congestion="reno", colour="#cc0000"),
    Row("TCP cubic", "mqtt", congestion="cubic", colour="#f57900"),
    Row("TCP bbr", "mqtt", congestion="bbr", colour="#c4a000"),
    Row(QUIC, "quic", colour="#73d216"),
    Row(LEAST_QUIC_ROW, "quic", LEAST_QUIC, colour="#888a85"),
    Row(SECOND_ROW, "rudp", SECOND, colour="#3465a4"),
    Row(FULL_ROW, "rudp", FULL, colour="#75507b"),
]
COSTS = [Row("TCP", "mqtt"), Row("TCP with TLS", "mqtts"), Row("reliable UDP", "rudp", SECOND), Row("reliable UDP with TLS", "rudps"), Row(QUIC, "quic")]


class Measured:
    """All numbers, by what they are of; written down after each part."""

    def __init__(self, file, parts):
        known = json.loads(file.read_text()) if file and file.exists() else {}
        self.file, self.parts = file, {part: known[part] for part in PARTS if part in known and part not in parts}
        self.failures = []
        self.lock = threading.Lock()

    def begin(self, part, conditions):
        self.parts[part] = {"conditions": conditions, "values": {}}
        return self.parts[part]["values"]

    def end(self):
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self.parts))

    def of(self, part, key):
        return self.parts.get(part, {"values": {}})["values"].get(key, [])

    def goodputs(self, row, loss):
        """Mbit/s of each seed."""
        return self.of("goodput", f"{row.title}/{loss}")

    def goodput(self, row, loss):
        return statistics.mean(self.goodputs(row, loss))

    def delay(self, row, loss, percent):
        """ms, of the messages of all seeds."""
        every = sorted(self.of("delay", f"{row.title}/{loss}"))
        return every[min(len(every) * percent // 100, len(every) - 1)]

    def is_whole(self, bench):
        return len(self.parts) == len(PARTS) and all(
            self.of(part, f"{row.title}/{loss}") for part in ("goodput", "delay") for row in bench.rows for loss in bench.options.losses)


class Bench:
    def __init__(self, options):
        self.options = options
        self.prefix = pathlib.Path(options.prefix).resolve() if options.prefix else install()
        self.programs = way.build(self.prefix)
        nlmqttd = [place for place in (self.prefix / "sbin/nlmqttd", self.prefix / "bin/nlmqttd") if place.exists()]
        self.nlmqttd = nlmqttd[0] if nlmqttd else sys.exit(f"no nlmqttd in {self.prefix}")
        self.has_quic = has_quic(self.nlmqttd)
        if not self.has_quic:
            print("left out: QUIC, which this build does not have")
        offered = way.kernel_offers()
        for row in ROWS:
            if row.congestion and row.congestion not in offered:
                print(f"left out: {row.title}, which this kernel does not offer")
        self.rows = self.speakable([row for row in ROWS if not row.congestion or row.congestion in offered])
        self.costs = self.speakable(COSTS)

    def speakable(self, rows):
        return [row for row in rows if row.scheme != "quic" or self.has_quic]

    def pair(self, path, row, side, sender, receiver):
        """A broker, a receiver beside it, a sender at `side`: what the two say."""
        if row.congestion:
            path.use_tcp(row.congestion)
        broker, uris = path.broker(self.nlmqttd, dict.fromkeys(("mqtt", row.scheme)), row.query)
        listening = path.start("right", "receive", self.programs / "receive", uris["mqtt"], "t", "--wait", TIMEOUT_S, *receiver)
        listening.wait_for("ready")
        sending = path.start(side, "send", self.programs / "send", way.with_query(uris[row.scheme], row.query), "t", *sender)
        sent = way.result_of(sending.finish(TIMEOUT_S))
        return broker, sent, way.result_of(listening.finish(TIMEOUT_S))

    def path(self, loss, seed):
        return way.Path(self.programs, rate=RATE, delay_us=DELAY_US, queue=QUEUE_BYTES, loss=loss, seed=seed)

    def goodput(self, row, loss, seed):
        seconds = self.options.seconds
        with self.path(loss, seed) as path:
            _, _, got = self.pair(path, row, "left", ["--bytes", LARGE_BYTES, "--seconds", seconds + 1, "--cut"], ["--seconds", seconds])
        if got["disorder"]:
            raise way.PathError(f"{row.title}: messages out of order or lost: {got}")
        goodput = got["bytes"] * 8 / seconds
        assert goodput <= RATE, f"{row.title}: {goodput:.0f} bit/s: no path of {RATE}"
        return goodput / 1e6

    def delays(self, row, loss, seed):
        with self.path(loss, seed) as path:
            file = pathlib.Path(path.folder, "delays")
            sender = ["--bytes", SMALL_BYTES, "--rate", SMALL_PER_SECOND, "--seconds", self.options.seconds]
            _, _, got = self.pair(path, row, "left", sender, ["--delays", file])
            if got["disorder"] or got["missing"]:
                raise way.PathError(f"{row.title}: messages out of order or lost: {got}")
            delays = [int(line) / 1000 for line in file.read_text().split()]
            assert min(delays) >= DELAY_US / 1000, f"{row.title}: {min(delays)} ms: no path of {DELAY_US} us"
            return delays

    def cost(self, row):
        """Microseconds of processor time a message costs sender and broker, and datagrams it takes; beside each other on the loopback interface."""
        with self.path(0, 1) as path:
            broker, uris = path.broker(self.nlmqttd, [row.scheme], row.query)
            command = [self.programs / "send", way.with_query(uris[row.scheme], row.query), "t", "--bytes", FRAME_MESSAGE_BYTES]
            way.result_of(path.start("right", "warm", *command, "--count", self.options.messages // 10).finish(TIMEOUT_S))
            before = broker.cpu_us()
            sent = way.result_of(path.start("right", "send", *command, "--count", self.options.messages).finish(TIMEOUT_S))
            count = sent["messages"]
            return sent["cpu_us"] / count, (broker.cpu_us() - before) / count, sent["datagrams"] / count, count / sent["seconds"]

    def idle(self, row):
        """Bytes of the broker's memory for each idle connection, when some have warmed tables and pools up."""
        count = self.options.connections
        with self.path(0, 1) as path:
            broker, uris = path.broker(self.nlmqttd, [row.scheme], row.query)
            for name, wanted in (("warm", min(count, WARM_CONNECTIONS)), ("idle", count)):
                before = broker.anonymous_bytes()
                clients = path.start("right", name, self.programs / "idle", way.with_query(uris[row.scheme], row.query), wanted, stdin=subprocess.PIPE)
                clients.wait_for("ready", TIMEOUT_S)
            return (broker.anonymous_bytes() - before) / count


def install():
    """The library with all transports, and its programs, built as they ship, beside the build without QUIC and not over it."""
    prefix = way.ROOT / "target/dist-path"
    subprocess.run([str(way.ROOT / "cmake/install.sh"), "--prefix", str(prefix), "--features", "quic", "--programs"], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "CARGO_TARGET_DIR": str(way.BUILD / "cargo"), "LDFLAGS": "-Wl,-rpath,$ORIGIN/../lib"})
    return prefix


def has_quic(nlmqttd):
    _, cert, key = way.certificates()
    return subprocess.run([nlmqttd, "--check", "-l", f"quic://127.0.0.1:0?cert={cert}&key={key}"], capture_output=True, check=False).returncode == 0


def measure(bench):
    options = bench.options
    measured = Measured(None if options.smoke else DATA, options.parts)
    # Seeds last: whoever stops waiting has some of everything, and neighbours in time are of different rows.
    runs = [(row, loss, seed) for seed in range(1, options.seeds + 1) for loss in options.losses for row in bench.rows]

    def one(part, take, values, run):
        row, loss, seed = run
        name = f"{part}, {row.title}, {loss / 10:g} % loss, seed {seed}"
        try:
            got = take(*run)
        except (way.PathError, AssertionError) as error:
            # One of hundreds of runs shall not cost the hours of the others; it is told, and the whole has failed.
            measured.failures.append(f"{name}: {error}")
            print("FAIL " + measured.failures[-1], file=sys.stderr, flush=True)
            return
        with measured.lock:
            values.setdefault(f"{row.title}/{loss}", []).extend(got)
        print(f"{name}: {statistics.mean(got):.2f}", file=sys.stderr, flush=True)

    for part, take in (("goodput", lambda *run: [bench.goodput(*run)]), ("delay", bench.delays)):
        if part in options.parts:
            values = measured.begin(part, conditions(options, f"{options.seeds} seed{'s'[:options.seeds > 1]} of {options.seconds} s, {options.jobs} at a time"))
            with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
                list(pool.map(functools.partial(one, part, take, values), runs))
            measured.end()
    if "cost" in options.parts:
        values = measured.begin("cost", conditions(options, f"{options.rounds} rounds"))
        for row in bench.costs:
            rounds = [bench.cost(row) for _ in range(options.rounds)]
            values[row.title] = [statistics.median(column) for column in zip(*rounds)] + [bench.idle(row)]
            print(f"{row.title}: {values[row.title]}", file=sys.stderr, flush=True)
        measured.end()
    if "flood" in options.parts:
        values = measured.begin("flood", conditions(options, f"{options.flood_seconds} s each"))["floods"] = []
        for side, rate in options.floods:
            values.append(flood.run(bench.programs, "new,guessed,bare", rate, flood_s=options.flood_seconds, side=side))
            print(flood.summary(values[-1]), file=sys.stderr, flush=True)
        measured.end()
    return measured


def conditions(options, how):
    return f"{how}, on {os.cpu_count()} processors ({platform.machine()}, Linux {platform.release()}), {datetime.date.today()}. {options.note}".strip()


def table(bench, measured, cell):
    head = "| loss each way | " + " | ".join(f"{loss / 10:g} %" for loss in bench.options.losses) + " |\n|---"
    lines = [head + "|---" * len(bench.options.losses) + "|"]
    lines += [f"| {row.title} | " + " | ".join(cell(row, loss) for loss in bench.options.losses) + " |" for row in bench.rows]
    return "\n".join(lines)


def told(measured, *parts):
    """How parts were measured; said once where it was the same."""
    texts = {}
    for part in parts:
        texts.setdefault(measured.parts[part]["conditions"], []).append(part)
    lines = [text if len(texts) == 1 else f"{' and '.join(names).capitalize()}: {text}" for text, names in texts.items()]
    if measured.failures:
        lines.append(f"{len(measured.failures)} runs failed and are not in it.")
    return textwrap.fill(" ".join(lines), COLUMNS)


def report(bench, measured):
    parts = [f"""# Over a lossy path

Written by `tests/path/measure.py --save tests/path/results`; do not edit. [README.md](README.md) says what is measured.

{told(measured, "goodput", "delay")}

The path: {RATE // 1_000_000} Mbit/s, {DELAY_US // 1000} ms each way, a queue of {QUEUE_BYTES / 1000:g} kB that drops what does not fit, independent loss both ways.

![goodput and delay over loss](results.svg)

## Goodput in Mbit/s: payload of MQTT messages of {LARGE_BYTES} bytes; mean of the seeds (least to largest)
""",
             table(bench, measured, lambda row, loss: _spread(measured.goodputs(row, loss))),
             f"\n## Delay in ms of messages of {SMALL_BYTES} bytes, {SMALL_PER_SECOND} a second: p50 / p99 of the messages of all seeds\n",
             table(bench, measured, lambda row, loss: f"{measured.delay(row, loss, 50):.0f} / {measured.delay(row, loss, 99):.0f}"),
             aims_of(bench, measured), costs_of(bench, measured), floods_of(measured)]
    return "\n".join(parts) + "\n"


def _spread(values):
    return f"{statistics.mean(values):.2f}" + (f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else "")


def aims_of(bench, measured):
    """What issue 6 aims at, as quotients of these tables."""
    rows = {row.title: row for row in bench.rows}
    if not {QUIC, LEAST_QUIC_ROW, SECOND_ROW, FULL_ROW, RENO} <= set(rows):
        return ""
    lines = ["""
## What was aimed at

| | aim |""" + "".join(f" {loss / 10:g} % |" for loss in bench.options.losses) + "\n|---|---" + "|---" * len(bench.options.losses) + "|"]

    def late(row, loss):
        return measured.delay(row, loss, 99)

    for title, aim, one, other, quantity in (
            ("goodput with NewReno at 1,200 bytes / QUIC's with the same", "at least 0.95", SECOND_ROW, LEAST_QUIC_ROW, measured.goodput),
            ("p99 of the same / QUIC's with the same", "at most 1.05; at 1 % 20 ms more", SECOND_ROW, LEAST_QUIC_ROW, late),
            ("goodput with CUBIC, probing and redundancy / QUIC's as it comes", "above 1", FULL_ROW, QUIC, measured.goodput),
            ("p99 of the same / QUIC's as it comes", "below 1", FULL_ROW, QUIC, late),
            ("p99 with NewReno at 1,200 bytes / TCP reno's", "at most 0.33 at 5 and 10 %", SECOND_ROW, RENO, late),
            ("p99 with CUBIC, probing and redundancy / TCP reno's", "-", FULL_ROW, RENO, late)):
        cells = (f"{quantity(rows[one], loss) / quantity(rows[other], loss):.2f}" for loss in bench.options.losses)
        lines.append(f"| {title} | {aim} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs_of(bench, measured):
    lines = [f"""
## Cost on the loopback interface, without the emulator

{bench.options.messages} messages of {FRAME_MESSAGE_BYTES} bytes at QoS 0, as fast as they go, one process to another; the median of
several rounds. Such a message with its header fills a frame of reliable UDP, so this is seconds of processor time for
10^6 frames. Bytes: what the broker's heap grows for each of {bench.options.connections} idle connections, MQTT session included.
{told(measured, "cost")}

| | sender, s per 10^6 | broker, s per 10^6 | both | datagrams per message | messages/s | bytes per idle connection |
|---|---|---|---|---|---|---|"""]
    for row in bench.costs:
        sender, broker, datagrams, rate, idle = measured.of("cost", row.title)
        count = f"{datagrams:.2f}" if datagrams else "-"
        lines.append(f"| {row.title} | {sender:.2f} | {broker:.2f} | {sender + broker:.2f} | {count} | {rate:.0f} | {idle:.0f} |")
    return "\n".join(lines)


def floods_of(measured):
    lines = [f"""
## A flood of forged CONNECTs, beside a peer that sends 1 Mbit/s

A third each of generation 2 without an id, of generation 2 with a made-up one, and of generation 1, from 65,534 addresses. *Over the path* the flood and the
peer share the emulator, which loses what it cannot carry, of both; *beside* the flood is made in the broker's own namespace, and only the listener is in
its way. A frame the listener takes costs it the processor time of the fourth column, all its other work included.
{told(measured, "flood")}

| from | forged frames/s | came to the listener | us each | lost by its socket / on the way | the peer kept | messages lost | memory grew by, KiB | clients more |
|---|---|---|---|---|---|---|---|---|"""]
    for did in measured.of("flood", "floods"):
        more = did["after"]["clients_connected"] - did["before"]["clients_connected"]
        source = "over the path" if did["side"] == "left" else "beside"
        lines.append(f"| {source} | {did['frames_per_second']:.0f} | {min(did['came'] / did['frames'], 1) * 100:.0f} % | {did['cpu_us'] / did['came']:.1f} | "
                     f"{did['socket_dropped']} / {did['path_dropped']} | "
                     f"{did['goodput'] * 100:.1f} % | {did['received']['missing']:.0f} | {did['growth_bytes'] / 1024:.0f} | {max(more, 0)} |")
    return "\n".join(lines)


def readme_table(bench, measured):
    """Short: goodput and p99 in one cell."""
    return ("Each cell: Mbit/s · p99 in ms.\n\n"
            + table(bench, measured, lambda row, loss: f"{measured.goodput(row, loss):.2f} · {measured.delay(row, loss, 99):.0f}")
            + f"\n\n{told(measured, 'goodput', 'delay')}")


def save(bench, measured, name):
    pathlib.Path(name + ".md").write_text(report(bench, measured))
    series = [(row.title, row.colour, [measured.goodput(row, loss) for loss in bench.options.losses],
               [measured.delay(row, loss, 99) for loss in bench.options.losses]) for row in bench.rows]
    pathlib.Path(name + ".svg").write_text(figure.draw([f"{loss / 10:g} %" for loss in bench.options.losses], series))
    readme, begin, end = way.ROOT / "README.md", "<!-- path results -->\n", "<!-- /path results -->"
    before, _, rest = readme.read_text().partition(begin)
    _, _, after = rest.partition(end)
    readme.write_text(before + begin + readme_table(bench, measured) + "\n" + end + after)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="what is measured, of " + ", ".join(PARTS))
    parser.add_argument("--prefix", help="where the library is installed; else it is built as it ships, with the feature quic")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each cell, each with losses of its own")
    parser.add_argument("--seconds", type=int, default=20, help="of each run")
    parser.add_argument("--jobs", type=int, default=4, help="runs at one time, each on a path of its own")
    parser.add_argument("--rounds", type=int, default=3, help="of what processor time is measured in")
    parser.add_argument("--messages", type=int, default=500_000, help="in each of these rounds")
    parser.add_argument("--connections", type=int, default=2000, help="that are idle")
    parser.add_argument("--flood-seconds", type=int, default=10, help="of each flood")
    parser.add_argument("--note", default="", help="a sentence about the conditions, for the results")
    parser.add_argument("--save", metavar="NAME", help="write NAME.md, NAME.svg and the README's table")
    parser.add_argument("--smoke", action="store_true", help="seconds; fails when a number does not come, or the path is not what it should be")
    options = parser.parse_args()
    options.losses, options.floods, options.parts = LOSSES, FLOODS, options.parts.split(",")
    if not set(options.parts) <= set(PARTS):
        parser.error(f"--parts: of {', '.join(PARTS)}")
    if options.smoke:
        options.seeds, options.seconds, options.rounds, options.messages, options.connections = 1, 2, 1, 5000, 50
        options.losses, options.floods, options.flood_seconds = (0, 100), (("left", 5_000),), 2
    return options


def main():
    options = parse_arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    bench = Bench(options)
    try:
        with bench.path(0, 1):
            pass
    except way.NotPermitted as error:
        print(f"NOT RUN: {error}; namespaces and TUN devices need root (or CAP_NET_ADMIN and CAP_SYS_ADMIN) and /dev/net/tun")
        print("measure: 0 passed, 0 failed, 1 not run")
        return
    measured = measure(bench)
    if measured.is_whole(bench):
        print(report(bench, measured))
        if options.save:
            save(bench, measured, options.save)
    failed = len(measured.failures)
    print(f"measure: {int(not failed)} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
