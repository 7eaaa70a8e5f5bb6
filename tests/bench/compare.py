#!/usr/bin/env python3
"""Runs nlmqttd beside Debian's mosquitto under the same loads and prints what each costs. README.md explains."""

import argparse
import collections
import os
import pathlib
import resource
import statistics
import sys
import time

import brokers
import cases
import client_cpu
import generator
import plot
import report

ROOT = generator.HERE.parent.parent
SECONDS, QUICK_SECONDS = 2.0, 0.6
WARM_CONNECTIONS = 300
SETTLE_SECONDS = 0.5
FAULTS = ("lost", "out_of_order", "duplicates", "wrong")
# The sides of a comparison.
OURS, PEER, FLOOR = 0, 1, 2

# Of one case: the medians of each side, and the medians of the rounds' ratios to the peer.
Row = collections.namedtuple("Row", "case ours peer ratio floor floor_ratio", defaults=(None, None, None, None))


def parse_arguments():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", default=str(target / "release" / "nlmqttd"), help="the broker under test")
    parser.add_argument("--ours-set", action="append", default=[], metavar="KEY=VALUE", help="a further option of ours")
    parser.add_argument("--peer", default="mosquitto", help="what to compare with; empty: nothing")
    parser.add_argument("--cases", default="", help="names, comma between: " + ",".join(cases.NAMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="measured part of a round")
    parser.add_argument("--quick", action="store_true", help="a minute; fails on loss or disorder, never on time")
    parser.add_argument("--gate", action="store_true", help="the gates of issue 1; fails when one is missed")
    parser.add_argument("--save", metavar="NAME", help="write the tables to NAME.md and a picture of the ratios to NAME.svg")
    parser.add_argument("--few-syscalls", action="store_true", help="count system calls only where something is aimed at")
    parser.add_argument("--no-pin", action="store_true", help="let the scheduler place broker and generator")
    options = parser.parse_args()
    wanted = [name for name in options.cases.split(",") if name]
    if unknown := set(wanted) - set(cases.NAMES):
        parser.error("no such case: " + ", ".join(sorted(unknown)))
    if options.quick:
        options.rounds, options.seconds = 1, QUICK_SECONDS
        wanted = wanted or [case.name for case in cases.ALL if case.quick is not None]
    elif options.gate and not wanted:
        wanted = cases.GATES
    options.wanted = wanted or cases.NAMES
    return options


class Bench:
    """The two brokers and how each case is put to them."""

    def __init__(self, options):
        self.options = options
        self.ours_settings = dict(item.split("=", 1) for item in options.ours_set)
        self.broker_processors = None
        processors = os.sched_getaffinity(0)
        if len(processors) > 1 and not options.no_pin:
            # Side by side on one processor they would measure each other; migrations cost the broker up to a third.
            self.broker_processors = {max(processors)}
            os.sched_setaffinity(0, processors - self.broker_processors)
        self.programs = [brokers.find(options.ours)]
        if not self.programs[0]:
            sys.exit(f"no such broker: {options.ours} (build it, or name it with --ours)")
        if options.peer:
            if peer := brokers.find(options.peer):
                self.programs.append(peer)
            elif options.quick:
                print(f"{options.peer} is not installed: nothing to compare with", file=sys.stderr)
            else:
                sys.exit(f"{options.peer} is not installed (--peer '' runs without)")

    def wanted(self, kind):
        return [case for case in kind if case.name in self.options.wanted and self.can_speak(getattr(case, "transport", "tcp"))]

    def can_speak(self, transport):
        if transport not in brokers.WITH_TLS or generator.has_tls():
            return True
        print(f"left out, without OpenSSL's headers (libssl-dev): {transport}", file=sys.stderr)
        return False

    def broker(self, side, case=None, more=None, processors=None):
        settings = {**getattr(case, "settings", {}), **(more or {})}
        if side == OURS:
            settings.update(self.ours_settings)
        program = str(generator.FLOOR) if side == FLOOR else self.programs[side]
        return brokers.Broker(program, side == PEER, settings, getattr(case, "environment", {}),
                              processors or self.broker_processors, getattr(case, "transport", "tcp"))

    def arguments(self, case):
        arguments = dict(case.arguments)
        if self.options.quick:
            arguments.update(case.quick or {})
        return arguments

    def rounds(self, measure, sides=None):
        """By side the results of all rounds; the sides take turns, so that all meet the same weather."""
        sides = range(len(self.programs)) if sides is None else sides
        results = {side: [] for side in sides}
        for _ in range(self.options.rounds):
            for side in sides:
                results[side].append(measure(side))
        return results

    def compare(self, case, measure, with_floor=False):
        print(f"{case.name} ...", file=sys.stderr)
        results = self.rounds(measure, [*range(len(self.programs)), *([FLOOR] if with_floor else [])])
        medians = {side: _medians(results[side]) for side in results}
        return Row(case, medians[OURS], medians.get(PEER), _ratio(results[OURS], results.get(PEER)),
                   medians.get(FLOOR), _ratio(results.get(FLOOR), results.get(PEER)))

    def traffic(self, case):
        arguments = self.arguments(case)

        def measure(side):
            with self.broker(side, case) as broker:
                return generator.run(broker, {**arguments, "seconds": self.options.seconds})

        row = self.compare(case, measure, case.has_floor and not self.options.quick)
        for side, medians in ((OURS, row.ours), (PEER, row.peer)):
            if medians is not None and self.options.few_syscalls and case.syscall_target is None:
                medians["syscalls"] = None
            elif medians is not None:
                with self.broker(side, case) as broker:
                    medians["syscalls"] = generator.count_syscalls(broker, arguments)
        return row

    def retained(self, case):
        def measure(side):
            with self.broker(side, case) as broker:
                return generator.run(broker, self.arguments(case))

        return self.compare(case, measure)

    def workers(self, case):
        """One worker, two, and the peer, each where the scheduler puts it: the generator keeps its processor."""
        both = os.sched_getaffinity(0) | (self.broker_processors or set())
        one, two, peer = range(3)

        def measure(which):
            settings = {"workers": "2"} if which == two else {}
            with self.broker(PEER if which == peer else OURS, case, settings, both) as broker:
                return generator.run(broker, {**self.arguments(case), "seconds": self.options.seconds})

        print(f"{case.name}, two workers ...", file=sys.stderr)
        results = self.rounds(measure, [one, two, *([peer] if len(self.programs) > 1 else [])])
        medians = [_medians(results[which]) if which in results else None for which in (one, two, peer)]
        return case, *medians, _ratio(results[two], results.get(peer))

    def memory(self, case):
        """Growth by unit, after a few hundred connections have warmed tables and pools up."""

        def measure(side):
            with self.broker(side, case) as broker:
                warm = {"mode": "hold", "connections": WARM_CONNECTIONS, "client_prefix": "warmx"}
                with generator.Stepped(broker, warm):
                    time.sleep(SETTLE_SECONDS)
                    before = broker.anonymous_bytes()
                    with generator.Stepped(broker, self.arguments(case)):
                        time.sleep(SETTLE_SECONDS)
                        return (broker.anonymous_bytes() - before) / case.units

        return self.memory_row(case.title + ", bytes", measure, case.target, case.stretch)

    def resident(self):
        def measure(side):
            with self.broker(side) as broker:
                time.sleep(SETTLE_SECONDS)
                return broker.resident_bytes() / 2**20

        rows = [self.memory_row("idle RSS, MiB", measure, cases.RSS_TARGET, cases.RSS_STRETCH)]
        if static := brokers.build_static(client_cpu.DIST, generator.BUILD.parent / "nlmqttd-static"):
            self.programs[OURS], shared = static, self.programs[OURS]
            rows.append(self.memory_row("idle RSS, nlmqttd as one static file, MiB", measure, cases.RSS_TARGET, cases.RSS_STRETCH))
            self.programs[OURS] = shared
        return rows

    def memory_row(self, title, measure, target, stretch):
        print(f"{title} ...", file=sys.stderr)
        medians = [statistics.median(side) for side in self.rounds(measure).values()]
        return title, medians[0], medians[1] if len(medians) == 2 else None, target, stretch


def _summary(key, values):
    """Faults are never averaged away."""
    return sum(values) if key in FAULTS else statistics.median(values)


def _medians(results):
    return {key: _summary(key, [result[key] for result in results]) for key in results[0]}


def _ratio(results, peers):
    """The median of the rounds' quotients of processor time."""
    ratios = [report.quotient(one["broker_us"], other["broker_us"]) for one, other in zip(results or [], peers or [])]
    known = [ratio for ratio in ratios if ratio is not None]
    return statistics.median(known) if known else None


def missed_gates(traffic_rows, memory_rows):
    """A line for each gate of issue 1 that was measured and missed."""
    for case, _, _, ratio, *_ in traffic_rows:
        if case.cpu_gate is not None and (ratio is None or ratio > case.cpu_gate):
            yield f"{case.name}: CPU ratio {report.number(ratio)}, at most {case.cpu_gate} wanted"
    for case, row in memory_rows:
        if case.gate_bytes is not None and row[1] > case.gate_bytes:
            yield f"{case.name}: {row[1]:.0f} bytes, at most {case.gate_bytes} wanted"


def faults(rows):
    """A line for each message of ours that was lost, doubled, out of order or spoiled."""
    for case, ours, *_ in rows:
        for fault in FAULTS:
            if ours[fault]:
                yield f"{case.name}: {ours[fault]:.0f} {fault.replace('_', ' ')}"


def save(options, text, traffic_rows, worker_rows, memory_rows, client_rows):
    """What README.md shows."""
    heading = f"nlmqttd beside mosquitto: {options.rounds} rounds of {options.seconds:g} s, medians"
    pathlib.Path(options.save + ".md").write_text(f"# {heading}\n\nWritten by `compare.py --save`; do not edit.\n\n{text}\n")
    rows = [(row.case.title, row.ratio, row.case.cpu_target) for row in traffic_rows]
    rows += [("2 workers: " + case.title, ratio, case.cpu_target) for case, _, _, _, ratio in worker_rows]
    rows += [(title, report.quotient(ours, peer), target) for title, ours, peer, target, _ in memory_rows]
    rows += [("client: " + title, ratio, target) for title, _, _, ratio, target, _ in client_rows]
    pathlib.Path(options.save + ".svg").write_text(plot.draw(rows, heading))


def main():
    options = parse_arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    generator.build()
    bench = Bench(options)
    try:
        traffic_rows = [bench.traffic(case) for case in bench.wanted(cases.TRAFFIC)]
        retained_rows = [bench.retained(case) for case in bench.wanted(cases.RETAINED)]
        memory_rows = [(case, bench.memory(case)) for case in bench.wanted(cases.MEMORY)]
        transport_rows = [bench.traffic(case) for case in bench.wanted(cases.TRANSPORTS)]
        transport_memory = [bench.memory(case) for case in bench.wanted(cases.TRANSPORTS_MEMORY)]
        resident = bench.resident() if cases.RSS in options.wanted else []
        worker_rows = [bench.workers(case) for case in cases.TRAFFIC if case.name in cases.OF_WORKERS] if cases.WORKERS in options.wanted else []
        client_rows = client_cpu.measure(options.rounds) if cases.CLIENT in options.wanted else []
    except (brokers.BrokerError, generator.LoadError) as error:
        sys.exit(f"failed: {error}")
    if options.quick:
        print("Quick run: one short round, some shapes smaller than named. The figures say little.\n")
    tables = [
        traffic_rows and report.traffic(traffic_rows),
        report.syscalls(traffic_rows),
        report.latency(traffic_rows),
        worker_rows and report.workers(worker_rows),
        retained_rows and report.retained(retained_rows),
        (memory_rows or resident) and report.memory([row for _, row in memory_rows] + resident),
        transport_rows and report.transports(transport_rows),
        transport_memory and report.transports_memory(transport_memory),
        client_rows and report.client(client_rows),
    ]
    text = "\n\n".join(text for text in tables if text)
    print(text)
    if options.save:
        save(options, text, traffic_rows + transport_rows, worker_rows, [row for _, row in memory_rows] + resident + transport_memory, client_rows)
    complaints = list(faults(traffic_rows + retained_rows + transport_rows)) if options.quick else []
    complaints += missed_gates(traffic_rows, memory_rows) if options.gate else []
    for complaint in complaints:
        print("FAILED " + complaint, file=sys.stderr)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
