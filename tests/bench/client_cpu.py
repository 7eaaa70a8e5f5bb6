#!/usr/bin/env python3
"""What a message costs the client library, against nlmqttd; needs c-examples/run.sh --build-only. README.md explains."""

import argparse
import statistics
import subprocess
import sys

import brokers
import generator
import report

ROOT = generator.HERE.parent.parent
SOURCE = generator.HERE / "client" / "client_cpu.c"
TARGETS = {"publish0_us": ("publish, QoS 0", 0.5), "publish1_us": ("publish, QoS 1", 1.5), "receive0_us": ("receive, QoS 0", 1.0)}


def build(dist):
    binary = generator.BUILD.parent / "client_cpu"
    binary.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{dist}/include", str(SOURCE), f"-L{dist}/lib",
                    f"-Wl,-rpath,{dist}/lib", "-lnlmqtt", "-o", str(binary)], check=True)
    return binary


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", default=str(ROOT / "target" / "dist"), help="where the library and the broker are")
    parser.add_argument("--count", type=int, default=100_000, help="messages of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    binary = build(options.dist)
    results = []
    for _ in range(options.rounds):
        with brokers.Broker(options.dist + "/bin/nlmqttd", False) as broker:
            command = [str(binary), f"mqtt://127.0.0.1:{broker.port}", str(options.count)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            results.append(dict(word.split("=") for word in done.stdout.split()[1:]))
    rows = []
    for key, (title, target) in TARGETS.items():
        median = statistics.median(float(result[key]) for result in results)
        rows.append([title, median, target, "yes" if median <= target else "no"])
    print(report.table(["client library", "processor, us by message", "aimed at", "met"], rows))


if __name__ == "__main__":
    main()
