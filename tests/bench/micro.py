#!/usr/bin/env python3
"""Counts the instructions of the hot path under callgrind and holds them against micro.tsv. README.md explains."""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TABLE = HERE / "micro.tsv"
TOLERANCE = 0.05
# Small costs: a few instructions either way are no news.
TOLERANCE_INSTRUCTIONS = 3
FEW, MANY = 1_600, 8_000


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="", help="names, comma between; none: all")
    parser.add_argument("--update", action="store_true", help="write what was counted into micro.tsv")
    parser.add_argument("--binary", help="a built `micro`, instead of building it")
    return parser.parse_args()


def build():
    """The path of the program, built as the library is that ships."""
    command = ["cargo", "bench", "--locked", "--bench", "micro", "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "micro":
            return message["executable"]
    sys.exit("cargo has built no program")


def _first_line(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout.splitlines()[0]


def tools():
    """What decides how many instructions the same source costs."""
    return {"rustc": _first_line("rustc", "--version"), "machine": os.uname().machine,
            "libc": _first_line("ldd", "--version").split()[-1]}


def count(binary, case, iterations):
    """Instructions of one run."""
    with tempfile.TemporaryDirectory(prefix="nlmqtt-micro-") as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", binary, case, str(iterations)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode or not found:
            sys.exit(f"{case}: {done.stderr}")
        return int(found.group(1))


def recorded():
    """(tools, instructions by case) of the table."""
    about, counts = {}, {}
    for line in TABLE.read_text().splitlines():
        words = line.split("\t")
        if line.startswith("# "):
            key, _, value = line[2:].partition(": ")
            about[key] = value
        elif words[0] != "case":
            counts[words[0]] = float(words[1])
    return about, counts


def write(about, counts):
    lines = [f"# {key}: {value}" for key, value in about.items()] + ["case\tinstructions"]
    lines += [f"{case}\t{instructions:.1f}" for case, instructions in counts.items()]
    TABLE.write_text("\n".join(lines) + "\n")


def is_near(counted, known):
    return abs(counted - known) <= max(TOLERANCE * known, TOLERANCE_INSTRUCTIONS)


def compare(counts, known):
    """Prints the table; how many passed and how many failed."""
    rows, failed = [], 0
    for case, counted in counts.items():
        before = known.get(case)
        good = before is not None and is_near(counted, before)
        failed += not good
        change = f"{100 * (counted / before - 1):+.1f} %" if before else "-"
        rows.append([case, counted, before, change, "" if good else "NO"])
    print(report.table(["case", "instructions", "recorded", "change", "within 5 %"], rows))
    missing = sorted(set(known) - set(counts))
    for case in missing:
        print(f"{case}: recorded, but not a case any more", file=sys.stderr)
    return len(counts) - failed, failed + len(missing)


def main():
    options = parse_arguments()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    about, (known_about, known) = tools(), recorded() if TABLE.exists() else ({}, {})
    differing = [key for key in about if about[key] != known_about.get(key)]
    binary = options.binary or build()
    every = subprocess.run([binary], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    wanted = options.cases.split(",") if options.cases else every
    counts = {}
    for case in wanted:
        counts[case] = (count(binary, case, MANY) - count(binary, case, FEW)) / (MANY - FEW)
        print(f"{case}: {counts[case]:.1f}", file=sys.stderr)
    if options.update:
        return write(about, {**known, **counts} if options.cases else counts)
    if options.cases:
        known = {case: known[case] for case in wanted if case in known}
    passed, failed = compare(counts, known)
    if differing:
        # The same source costs something else there: nothing to be learned from a comparison.
        print("NOT COMPARED: " + "; ".join(f"{key} is {about[key]!r}, recorded with {known_about.get(key)!r}" for key in differing)
              + ". Record here with --update.")
        return None
    print(f"micro: {passed} passed, {failed} failed")
    return sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
