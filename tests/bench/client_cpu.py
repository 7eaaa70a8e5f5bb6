#!/usr/bin/env python3
"""What a message costs the client library beside libmosquitto, against nlmqttd; needs c-examples/run.sh --build-only.

README.md explains. Without libmosquitto's header (Debian: libmosquitto-dev, which tests/run.sh installs) ours alone."""

import argparse
import pathlib
import shutil
import statistics
import subprocess
import sys

import brokers
import generator
import report

ROOT = generator.HERE.parent.parent
SOURCES = generator.HERE / "client"
DIST = ROOT / "target" / "dist"
COUNT = 100_000
# A receiver that is slower than the sender loses nothing: what is measured is its work, not its pace.
SETTINGS = {"max_output_bytes": "67108864"}
WARNINGS = ["-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror"]
# The columns "reach" and "libmosquitto" of the project's table of peers.
ROWS = [("publish0_us", "publish, QoS 0", 0.5, 4.6), ("publish1_us", "publish, QoS 1", 1.5, 18), ("receive0_us", "receive, QoS 0", 1.0, 6)]


def _compile(name, flags):
    binary = generator.BUILD.parent / name
    binary.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", *WARNINGS, str(SOURCES / f"{name}.c"), *flags, "-o", str(binary)], check=True)
    return str(binary)


def _has_libmosquitto():
    return bool(shutil.which("pkg-config")) and subprocess.run(["pkg-config", "--exists", "libmosquitto"], check=False).returncode == 0


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=generator.RUN_SECONDS_MAX)
    if done.returncode:
        raise generator.LoadError(done.stderr.strip() or f"{command[0]}: exit status {done.returncode}")
    return {key: float(value) for key, value in (word.split("=") for word in done.stdout.split()[1:])}


def measure(rounds, count=COUNT, dist=DIST, processors=None):
    """Rows for report.client: title, us of ours, us of libmosquitto or None, median ratio, target ratio, us aimed at."""
    if not (pathlib.Path(dist) / "lib").is_dir():
        raise generator.LoadError(f"no {dist}: c-examples/run.sh --build-only makes it")
    ours = _compile("client_cpu", [f"-I{dist}/include", f"-L{dist}/lib", f"-Wl,-rpath,{dist}/lib", "-lnlmqtt"])
    theirs = _compile("mosquitto_cpu", ["-lmosquitto"]) if _has_libmosquitto() else None
    results = []
    for _ in range(rounds):
        pair = []
        for binary, address in ((ours, "mqtt://127.0.0.1:{}"), (theirs, "{}")):
            if binary:
                with brokers.Broker(str(pathlib.Path(dist) / "bin" / "nlmqttd"), False, SETTINGS, processors=processors) as broker:
                    pair.append(_run([binary, address.format(broker.port), str(count)]))
        results.append(pair)
    rows = []
    for key, title, reach, peer in ROWS:
        medians = [statistics.median(pair[side][key] for pair in results) for side in range(len(results[0]))]
        both = len(medians) == 2
        ratio = statistics.median(one[key] / other[key] for one, other in results) if both else None
        rows.append((title, medians[0], medians[1] if both else None, ratio, reach / peer, reach))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", default=str(DIST), help="where the library and the broker are")
    parser.add_argument("--count", type=int, default=COUNT, help="messages of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        print(report.client(measure(options.rounds, options.count, options.dist)))
    except (brokers.BrokerError, generator.LoadError) as error:
        sys.exit(f"failed: {error}")


if __name__ == "__main__":
    main()
