#!/usr/bin/env python3
"""What cmake/order.txt is: the functions that an ordinary life of the programs runs, which cmake/install.sh lays side by side.

    order.py PREFIX                   # the list still fits: its functions are in the library and lie together in a program
    UPDATE_ORDER=1 order.py PREFIX    # writes it anew, from what callgrind sees; PREFIX holds a build as it ships

The life: nlmqttd starts, a subscriber and two publishers come over TCP at each QoS, with a retained message and a will, and all stop. What comes over
TLS and the other transports is not in it, nor what reads configuration files: that stays where it is, and out of memory until somebody uses it.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIST = ROOT / "cmake/order.txt"
# Of the listed functions, so many have to be there: each release of the compiler inlines a little differently.
PRESENT_PERCENT = 90
# Functions of one name from which on it lies behind the others.
GENERIC = 4
PROGRAMS = ("nlmqttd", "publish", "subscribe")
# Of the bytes of those, their places take at most so many.
SPREAD_PERCENT = 150
TIMEOUT_S = 60


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, timeout=20 * TIMEOUT_S, **options).stdout


def plain(names):
    """(name without what differs from build to build, name) of each."""
    told = run(ROOT / "cmake/order.sh", input="".join(name + "\n" for name in names))
    return [tuple(line.split()) for line in told.splitlines()]


def link(prefix, program, folder):
    """The program with the library in it, and its symbols."""
    out = folder / program
    run("cc", "-O2", "-Wl,--gc-sections", f"-I{prefix}/include", ROOT / f"c-examples/{program}.c", prefix / "lib/libnlmqtt.a",
        *"-lgcc_s -lutil -lrt -lpthread -lm -ldl".split(), "-o", out)
    return out


def functions(program):
    """name: [(address, bytes), ...]; generic ones have a name more than once."""
    found = {}
    lines = [line.split() for line in run("nm", "--defined-only", "-S", program).splitlines()]
    sized = {line[3]: (int(line[0], 16), int(line[1], 16)) for line in lines if len(line) == 4 and line[2] in "tT"}
    for short, name in plain(sized):
        found.setdefault(short, []).append(sized[name])
    return found


def check(prefix, folder):
    listed, present = LIST.read_text().split(), set()
    for program in PROGRAMS:
        there = functions(link(prefix, program, folder))
        places = [place for name in listed for place in there.get(name, ())]
        present |= there.keys() & set(listed)
        size, begin, end = sum(count for _, count in places), min(at for at, _ in places), max(at + count for at, count in places)
        assert (end - begin) * 100 <= size * SPREAD_PERCENT, f"{program}: {size} bytes of functions lie in {end - begin} bytes"
        print(f"{program}: {size >> 10} KiB of functions in {(end - begin) >> 10} KiB")
    assert len(present) * 100 >= len(listed) * PRESENT_PERCENT, f"{len(present)} of {len(listed)} functions are there: UPDATE_ORDER=1 {sys.argv[0]}"


class Life:
    """Programs under callgrind, and what they ran."""

    def __init__(self, prefix, folder):
        self.folder, self.count = folder, 0
        self.programs = {name: link(prefix, name, folder) for name in PROGRAMS}

    def start(self, program, *arguments):
        self.count += 1
        command = ["valgrind", "-q", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={self.folder}/{program}.{self.count}.ran", self.programs[program]]
        return subprocess.Popen([str(part) for part in (*command, *arguments)], stdout=subprocess.PIPE, text=True)

    def live(self):
        broker = self.start("nlmqttd", "-p", 0)
        uri = "mqtt://127.0.0.1:" + re.search(r"127\.0\.0\.1:(\d+)", broker.stdout.readline())[1]
        for qos in range(3):
            common = ("-h", uri, "-t", f"order/{qos}", "-q", qos)
            publish = ("publish", *common, "-m", "hello", "-V", ("3.1", "3.1.1", "5")[qos])
            assert self.start(*publish, "-r").wait(TIMEOUT_S) == 0
            listening = self.start("subscribe", *common, "-C", 2, "--will-topic", "order/will", "--will-payload", "gone")
            # With the retained message it is known to have subscribed.
            assert listening.stdout.readline() == "hello\n"
            assert self.start(*publish).wait(TIMEOUT_S) == 0
            assert listening.wait(TIMEOUT_S) == 0
        broker.send_signal(signal.SIGTERM)
        assert broker.wait(TIMEOUT_S) == 0

    def ran(self, program):
        """Functions of the library that were run, without what is the system's."""
        texts = [file.read_text() for file in self.folder.glob(f"{program}.*.ran")]
        names = {name for text in texts for name in re.findall(r"^c?fn=\(\d+\) (\S+?)(?:'\d+)?$", text, flags=re.M)}
        own = functions(self.programs[program])
        return {short: len(own[short]) for short, _ in plain(names) if short in own and re.match(r"_(ZN|R)|nlmqtt_", short)}


def update(prefix, folder):
    life = Life(prefix, folder)
    life.live()
    broker, client = life.ran("nlmqttd"), life.ran("publish") | life.ran("subscribe")
    # A generic name stands for all its functions, of which few are run.
    generic = {name for name, count in (broker | client).items() if count >= GENERIC}
    # What only one side runs lies at the ends: neither has the other's in its memory.
    groups = [broker.keys() - client.keys() - generic, (broker.keys() & client.keys()) - generic, client.keys() - broker.keys() - generic, generic]
    LIST.write_text("".join(name + "\n" for group in groups for name in sorted(group)))
    print(" + ".join(str(len(group)) for group in groups), "functions")


def main():
    with tempfile.TemporaryDirectory() as folder:
        (update if os.environ.get("UPDATE_ORDER") else check)(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(folder))


if __name__ == "__main__":
    main()
