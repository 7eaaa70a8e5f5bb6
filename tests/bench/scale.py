#!/usr/bin/env python3
"""Measures what each object costs a broker, fits a line and writes SCALE.md. README.md explains."""

import argparse
import os
import pathlib
import resource
import time

import brokers
import compare
import generator
import report

PAGE = generator.HERE / "SCALE.md"
SETTLE_SECONDS = 0.5
CONNECTIONS = (1_000, 2_000, 4_000, 8_000, 18_000)
FILTERS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
RETAINED = (10_000, 30_000, 100_000, 300_000)
FILTER_CONNECTIONS = 100
EXTRAPOLATED = (10_000, 100_000, 1_000_000)


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(program, arguments):
    """Bytes and processor seconds that came with a load at rest."""
    settings = {"max_connections": "2000000", "max_retained_messages": "2000000", "max_queued_messages": "100000"}
    with brokers.Broker(program, False, settings) as broker:
        with generator.Stepped(broker, {"mode": "hold", "connections": 100, "client_prefix": "warmx"}):
            time.sleep(SETTLE_SECONDS)
            bytes_before, seconds_before = broker.anonymous_bytes(), processor_seconds(broker.pid)
            with generator.Stepped(broker, arguments):
                time.sleep(SETTLE_SECONDS)
                return broker.anonymous_bytes() - bytes_before, processor_seconds(broker.pid) - seconds_before


def fit(points):
    """Least squares of relative distances, so that small numbers count as much as large ones: (bytes at rest, bytes by
    unit, largest relative distance of a point)."""
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points)) / total
    slope = (sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points))
             / sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points)))
    base = mean_y - slope * mean_x
    return base, slope, max(abs(base + slope * x - y) / y for x, y in points)


def section(title, unit, points):
    """One kind of object: what was measured, the fit, and where it leads."""
    base, slope, distance = fit([(number, size) for number, size, _ in points])
    lines = [f"## {title}", ""]
    rows = [[f"{number:,}", f"{size / 2**20:.2f}", f"{size / number:.0f}", f"{1e6 * seconds / number:.1f}"]
            for number, size, seconds in points]
    lines.append(report.table([f"{unit}s", "MiB", f"bytes by {unit}", f"processor, us by {unit}"], rows))
    lines += ["", f"Fit: {slope:.0f} bytes by {unit} and {base / 1024:.0f} KiB besides; the farthest point lies "
              f"{100 * distance:.0f} % off the line.", ""]
    rows = [[f"{number:,}", f"{(base + slope * number) / 2**20:,.1f}", "measured range" if number <= points[-1][0] else "extrapolated"]
            for number in EXTRAPOLATED]
    lines.append(report.table([f"{unit}s", "MiB by the fit", ""], rows))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", default=str(compare.ROOT / "target" / "dist" / "bin" / "nlmqttd"))
    program = brokers.find(parser.parse_args().ours)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    generator.build()
    connections = [number for number in CONNECTIONS if number + 200 < most]

    def points(numbers, arguments):
        return [(number, *measure(program, arguments(number))) for number in numbers]

    parts = [
        section("Idle connections", "connection", points(connections, lambda number: {"mode": "hold", "connections": number})),
        section("Filters", "filter", points(FILTERS, lambda number: {
            "mode": "hold", "connections": FILTER_CONNECTIONS, "filters": number})),
        section("Retained messages", "message", points(RETAINED, lambda number: {"mode": "retained", "retained": number})),
    ]
    PAGE.write_text(INTRODUCTION + "\n\n".join(parts) + "\n" + CONCLUSION)


INTRODUCTION = """# What size costs

Written by `tests/bench/scale.py`; do not edit. One worker, MQTT 3.1.1, x86-64. Bytes are the growth of the broker's private
anonymous memory (heap and tables, as the kernel sees it); the kernel's socket buffers are not in it. Processor time is
what it took to make the objects: accept, CONNECT and CONNACK for a connection, SUBSCRIBE for a filter of 24 bytes, PUBLISH
for a retained message of 64 bytes at a topic of 24. It is counted in hundredths of a second: small numbers of objects say
little. Tables double as they grow, so a point may lie off the line by half a table.

"""

CONCLUSION = """
## What follows

A connection at rest costs memory and next to nothing else: its one timer is looked at when its keep-alive is over, and every
two minutes. A message costs what its receivers cost (README.md, and the table of instruction counts in `micro.tsv`),
whatever the number of connections: connections are found by index. The number of filters enters by the cache misses of one
hash table look-up for filters without wildcards, and of one for each level with them; a topic that is published again is
found without either while no subscription changes. Beyond the measured range the lines are the fit's and nothing more:
descriptors (`ulimit -n`), the kernel's socket memory, and `max_connections`, `max_filters`, `memory_limit` come first.
"""


if __name__ == "__main__":
    main()
