#!/usr/bin/env python3
"""The real lossy path: our C programs in two namespaces, the sensor in one, the broker in the other. README.md explains.

    test_path.py [--dist target/dist] [--only TEXT] [--keep-logs FOLDER]

Prints `ok NAME` or `FAIL NAME: why` for each case, and last `path: N passed, M failed`. Where namespaces or TUN devices cannot be made it
says so and counts every case as not run."""

import argparse
import concurrent.futures
import contextlib
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import flood
import path as way

LOSS_PERMILLE = 100
# Nobody's radio only loses.
WEATHER = {"loss": LOSS_PERMILLE, "duplicate": 20, "reorder": 20, "reorder_us": 60_000}
MESSAGES, PERIOD_S = 320, 0.15
DOWN_AT_S, DOWN_S = 10, 30
DELIVERED_S = 240
MOVES = ("10.77.0.3", "10.77.0.4")
READINGS_MS = 100


class Flow:
    """Messages 1, 2, 3, ... on a topic of their own, by one `publish`, at a fixed pace that heeds nothing."""

    def __init__(self, title, scheme, query, version, qos):
        self.title, self.scheme, self.query, self.version, self.qos = title, scheme, query, version, qos
        self.topic = "up/" + re.sub(r"\W+", "-", title)
        self.is_first_generation = "generation=1" in query
        self.may_reconnect = scheme == "mqtt" or self.is_first_generation

    def start(self, path, dist, uri, side="left"):
        uri = way.with_query(uri, self.query)
        name = self.topic.replace("/", "-")
        self.program = path.start(side, name, dist / "bin/publish", "-h", uri, "-i", name, "-c", "-V", self.version, "-q", self.qos,
                                  "-t", self.topic, "-l", stdin=subprocess.PIPE)
        threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self):
        start = time.monotonic()
        try:
            for number in range(MESSAGES):
                time.sleep(max(0, start + number * PERIOD_S - time.monotonic()))
                self.program.process.stdin.write(b"%d\n" % (number + 1))
                self.program.process.stdin.flush()
            self.program.process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended, and says why

    def disconnects(self):
        """`publish` says why whenever its connection is lost."""
        return len(re.findall(r"^publish: ", self.program.text(), re.M))


def judge_arrivals(numbers, wanted, may_double=False, is_first_generation=False):
    """Fails for what may not be, and says what may. A client that has had to connect again sends again what was not acknowledged (MQTT 3.1.1
    §4.4), and at QoS 1 the receiver cannot know it. Generation 1 waits 20 s for a frame that is missing (a client 5 s), then hands on what came
    after it: that one then comes late."""
    first = list(dict.fromkeys(numbers))
    missing, doubled = wanted - len(first), len(numbers) - len(first)
    late = [number for index, number in enumerate(first) if index and number < max(first[:index])]
    assert not missing, f"{missing} of {wanted} did not arrive"
    assert not late or is_first_generation, f"not in order: {late}"
    assert not doubled or may_double, f"{doubled} came twice"
    return [f"{count} {what}" for count, what in ((len(late), "late"), (doubled, "twice")) if count]


def is_awake():
    """The judge finds what it looks for."""
    wrong = (([1, 2], False, False), ([1, 2, 4, 3], False, False), ([1, 2, 3, 4, 2], False, True), ([1, 3, 4], True, True))
    for numbers, may_double, is_first_generation in wrong:
        try:
            judge_arrivals(numbers, 4, may_double, is_first_generation)
        except AssertionError:
            continue
        raise way.PathError(f"{numbers} passed")
    assert judge_arrivals([1, 2, 4, 3, 2], 4, True, True) == ["1 late", "1 twice"]


def arrivals(judge, topic):
    return [int(number) for number in re.findall(rf"^{re.escape(topic)} (\d+)$", judge.text(), re.M)]


FLOWS = [Flow(f"{title}, QoS {qos}", scheme, query, version, qos)
         for title, scheme, query, version in (("rudp", "rudp", "rudp_generation=2", 5), ("rudps", "rudps", "", "3.1.1"),
                                               ("rudp with CUBIC, probing and redundancy", "rudp",
                                                "rudp_generation=2&rudp_congestion=cubic&rudp_probe_bytes=1452&rudp_redundancy=true", "3.1.1"),
                                               ("rudp of generation 1", "rudp", "rudp_generation=1", "3.1.1"), ("mqtt", "mqtt", "", 5))
         for qos in (1, 2)]
# The other way round: who subscribes is behind the path.
DOWN_TOPIC = "down"
LISTENERS = [("rudp", "rudp", "rudp_generation=2", 5), ("rudps", "rudps", "", "3.1.1"), ("rudp of generation 1", "rudp", "rudp_generation=1", "3.1.1"),
             ("mqtt", "mqtt", "", 5)]


def delivery(bench):
    """10 % loss each way and the line down for half a minute: everything arrives once and in order, both ways."""
    bench.check("the judge is awake", is_awake)
    with bench.path(seed=6, **WEATHER) as path:
        _, uris = path.broker(bench.dist / "bin/nlmqttd", ("mqtt", "rudp", "rudps"))
        judge = path.start("right", "judge", bench.dist / "bin/subscribe", "-h", uris["mqtt"], "-i", "judge", "-q", 2, "-v", "-t", "up/#", "-t", "ready")
        listeners = [(title, path.start("left", f"listener-{index}", bench.dist / "bin/subscribe", "-h", way.with_query(uris[scheme], query),
                                        "-i", f"listener-{index}", "-c", "-V", version, "-q", 2, "-v", "-t", DOWN_TOPIC, "-t", "ready"))
                     for index, (title, scheme, query, version) in enumerate(LISTENERS)]
        for program in (judge, *(program for _, program in listeners)):
            subscribed(path, bench, uris, program)
        start = time.monotonic()
        for flow in FLOWS:
            flow.start(path, bench.dist, uris[flow.scheme])
        source = Flow(DOWN_TOPIC, "mqtt", "", 5, 2)
        source.topic = DOWN_TOPIC
        source.start(path, bench.dist, uris["mqtt"], "right")
        for command, at_s in (("down", DOWN_AT_S), ("up", DOWN_AT_S + DOWN_S)):
            time.sleep(max(0, start + at_s - time.monotonic()))
            assert path.tell(command) == "ok"
        for flow in FLOWS:
            bench.check(f"{flow.title}: all arrive", lambda flow=flow: delivered(flow, judge, start))
        source.program.finish(DELIVERED_S)
        for title, program in listeners:
            bench.check(f"{title}, to a subscriber behind the path", lambda title=title, program=program: heard(program, "generation 1" in title, start))
        counts = path.counts()
        bench.check("the path was lossy, and down", lambda: lossy(counts))
        bench.keep(path)


def subscribed(path, bench, uris, program):
    """Until it hears: a SUBSCRIBE has no sign that this program would show."""
    end = time.monotonic() + 60
    while "ready 0" not in program.text():
        if time.monotonic() > end:
            raise way.PathError(f"{program.name} hears nothing: {program.text()}")
        path.run("right", bench.dist / "bin/publish", "-h", uris["mqtt"], "-t", "ready", "-m", "0")
        time.sleep(0.3)


def delivered(flow, judge, start):
    flow.program.finish(max(1, start + MESSAGES * PERIOD_S + DELIVERED_S - time.monotonic()))
    all_arrived(judge, flow.topic, 10)
    disconnects = flow.disconnects()
    assert flow.may_reconnect or not disconnects, f"the connection was lost: {flow.program.text().strip()[-500:]}"
    notes = judge_arrivals(arrivals(judge, flow.topic), MESSAGES, flow.qos == 1 and disconnects > 0, flow.is_first_generation)
    return ", ".join([*notes, f"{disconnects} disconnects", f"{time.monotonic() - start:.0f} s"])


def all_arrived(program, topic, seconds):
    with contextlib.suppress(way.PathError):  # what is missing is told by whoever judges
        way.wait_until(seconds, lambda: len(set(arrivals(program, topic))) == MESSAGES, "")


def heard(program, is_first_generation, start):
    all_arrived(program, DOWN_TOPIC, DELIVERED_S)
    notes = judge_arrivals(arrivals(program, DOWN_TOPIC), MESSAGES, is_first_generation=is_first_generation)
    disconnects = len(re.findall(r"^subscribe: ", program.text(), re.M))
    return ", ".join([*notes, f"{disconnects} disconnects", f"{time.monotonic() - start:.0f} s"])


def lossy(counts):
    for side in way.ADDRESSES:
        carried, lost = counts[f"{side}.carried"], counts[f"{side}.lost"]
        assert 0.05 < lost / (carried + lost) < 0.15, counts
        assert counts[f"{side}.down"] and counts[f"{side}.duplicated"] and counts[f"{side}.reordered"], counts
    return f"{counts['left.lost']} and {counts['right.lost']} packets lost, {counts['left.down']} and {counts['right.down']} while down"


def readings(judge, name):
    return [int(number) for number in re.findall(rf"^sensors/{name}/reading {{\"sequence\":(\d+),", judge.text(), re.M)]


def moves(bench):
    """The sensor's address goes away, and after two seconds it has another one: its connection and its readings go on."""
    schemes = ("rudp", "rudps")
    with bench.path(seed=7, **WEATHER) as path:
        broker, uris = path.broker(bench.dist / "bin/nlmqttd", ("mqtt", *schemes), more=("-v",))
        judge = path.start("right", "judge", bench.dist / "bin/subscribe", "-h", uris["mqtt"], "-i", "judge", "-q", 2, "-v", "-t", "sensors/#", "-t", "ready")
        subscribed(path, bench, uris, judge)
        sensors = [(scheme, path.start("left", scheme, bench.dist / "bin/sensor", "-h", way.with_query(uris[scheme]), "-i", scheme,
                                       "--interval", READINGS_MS)) for scheme in schemes]
        for scheme, sensor in sensors:
            sensor.wait_for("connected")
            way.wait_until(20, lambda scheme=scheme: len(readings(judge, scheme)) > 10, f"no readings of {scheme}")
        for old, new in zip((way.ADDRESSES["left"], *MOVES), MOVES):
            path.run("left", "ip", "address", "del", f"{old}/{way.NETWORK_BITS}", "dev", "path")
            time.sleep(2)
            path.run("left", "sh", "-ec", f"ip address add {new}/{way.NETWORK_BITS} dev path; ip route replace default dev path")
            for scheme, sensor in sensors:
                bench.check(f"{scheme} goes on from {new}", lambda sensor=sensor, scheme=scheme, new=new: moved(sensor, broker, judge, scheme, new))
        for scheme, sensor in sensors:
            bench.check(f"{scheme} still takes commands, and lost no reading",
                        lambda sensor=sensor, scheme=scheme: commanded(path, bench, uris, judge, sensor, scheme))
        bench.keep(path)


def moved(sensor, broker, judge, scheme, address):
    sensor.wait_for(f"path moved: from {address}:", 60)
    told = re.findall(rf"path moved: from ({re.escape(address)}:\d+)", sensor.text())
    way.wait_until(60, lambda: any(f"goes on from {place}\n" in broker.text() for place in told), f"the broker does not know {told}: {broker.text()[-1000:]}")
    before = len(readings(judge, scheme))
    way.wait_until(60, lambda: len(readings(judge, scheme)) > before + 10, "no readings come any more")


def commanded(path, bench, uris, judge, sensor, scheme):
    path.run("right", bench.dist / "bin/publish", "-h", uris["mqtt"], "-q", 1, "-t", f"sensors/{scheme}/command", "-m", "status")
    way.wait_until(60, lambda: f"sensors/{scheme}/reply interval is {READINGS_MS} ms" in judge.text(), "no reply")
    path.run("right", bench.dist / "bin/publish", "-h", uris["mqtt"], "-q", 1, "-t", f"sensors/{scheme}/command", "-m", "stop")
    sensor.finish(60)
    way.wait_until(30, lambda: f"sensors/{scheme}/status offline" in judge.text(), "it did not say good-bye")
    numbers = readings(judge, scheme)
    judge_arrivals(numbers, numbers[-1])
    connects = len(re.findall("^connected", sensor.text(), re.M))
    assert connects == 1, f"{connects} connections: {sensor.text()[-1000:]}"
    return f"{len(numbers)} readings"


class Bench:
    """What the cases share, and how they are counted."""

    def __init__(self, options):
        self.dist = pathlib.Path(options.dist).resolve()
        self.logs = options.keep_logs
        self.programs = way.build(self.dist)
        self.lock = threading.Lock()
        self.passed = self.failed = 0

    def path(self, **settings):
        return way.Path(self.programs, **settings)

    def check(self, name, case):
        try:
            note = case()
        except (AssertionError, KeyError, way.PathError) as error:
            self.fail(name, error)
            return
        with self.lock:
            self.passed += 1
            print(f"ok {name}" + (f" ({note})" if note else ""), flush=True)

    def fail(self, name, error):
        with self.lock:
            self.failed += 1
            print(f"FAIL {name}: {error or 'an assertion'}", flush=True)

    def keep(self, path):
        if self.logs:
            shutil.copytree(path.folder, self.logs, dirs_exist_ok=True)


PARTS = {"delivery": delivery, "moves": moves, "flood": flood.test}


def run(bench, name):
    """One part; what it could not even begin is one failure."""
    try:
        PARTS[name](bench)
    except way.NotPermitted:
        raise
    except (way.PathError, AssertionError, StopIteration) as error:
        bench.fail(name, error)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dist", default=str(way.ROOT / "target/dist"), help="where the library and the C programs are, made by c-examples/run.sh --build-only")
    parser.add_argument("--only", default="", help="parts whose name has this: " + ", ".join(PARTS))
    parser.add_argument("--keep-logs", metavar="FOLDER", help="what all programs said is copied there")
    options = parser.parse_args()
    parts = [name for name in PARTS if options.only in name]
    if not parts:
        parser.error(f"--only {options.only}: there are {', '.join(PARTS)}")
    bench = Bench(options)
    try:
        with bench.path():
            pass
    except way.NotPermitted as error:
        print(f"NOT RUN: {error}; namespaces and TUN devices need root (or CAP_NET_ADMIN and CAP_SYS_ADMIN) and /dev/net/tun")
        print(f"path: 0 passed, 0 failed, {len(parts)} not run")
        return
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: run(bench, name), parts))
    print(f"path: {bench.passed} passed, {bench.failed} failed")
    sys.exit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
