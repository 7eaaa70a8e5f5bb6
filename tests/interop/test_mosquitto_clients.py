"""mosquitto_pub, mosquitto_sub and mosquitto_rr against the broker under test, all versions."""

import itertools
import os
import subprocess
import tempfile
import threading
import time

from harness import Case, wait_until

VERSIONS = {3: "3.1", 4: "3.1.1", 5: "5.0"}
FLAGS = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}
TIMEOUT_S = 15
_tests = []
_numbers = itertools.count(1)


def test(*versions):
    def mark(run):
        _tests.append((run, versions or (3, 4, 5)))
        return run
    return mark


class Tools:
    """The programs, for one port and version."""

    def __init__(self, port, version):
        self.version = version
        self.common = ["-p", str(port), "-h", "127.0.0.1", "-V", FLAGS[version]]
        self.name = f"mc{next(_numbers)}"
        self.running = []

    def topic(self, suffix="t"):
        return f"{self.name}/{suffix}"

    def pub(self, *arguments, stdin=None):
        done = subprocess.run(
            ["mosquitto_pub", *self.common, *arguments], input=stdin, capture_output=True,
            timeout=TIMEOUT_S)
        assert done.returncode == 0, f"mosquitto_pub {arguments}: {done.stderr.decode()[:200]}"

    def run(self, program, *arguments):
        """Runs to the end; returns what it printed."""
        done = subprocess.run(
            [program, *self.common, *arguments], capture_output=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, \
            f"{program} {arguments}: {done.returncode} {done.stderr.decode()[:200]}"
        return done.stdout.decode()

    def sub(self, *arguments):
        """Starts mosquitto_sub and returns when it has its SUBACK."""
        listener = Listener([
            "stdbuf", "-oL", "mosquitto_sub", *self.common, "-d", "-F", "MESSAGE %q %r %t %p",
            *arguments])
        self.running.append(listener)
        wait_until(lambda: listener.subscribed, TIMEOUT_S, "mosquitto_sub has no SUBACK")
        return listener

    def stop(self):
        for listener in self.running:
            listener.process.kill()
            listener.process.wait()


class Listener:
    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.lines = []
        self.subscribed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            line = line.decode(errors="replace").rstrip("\n")
            if line.startswith("Subscribed (mid"):
                self.subscribed = True
            elif line.startswith("MESSAGE "):
                self.lines.append(line[len("MESSAGE "):])

    def expect(self, *lines):
        wait_until(lambda: len(self.lines) >= len(lines), TIMEOUT_S,
                   f"{len(self.lines)} of {len(lines)} messages: {self.lines[-3:]}")
        assert self.lines == list(lines), f"got {self.lines[:5]}, expected {lines[:5]}"


@test()
def qos_is_the_lower_of_publish_and_subscribe(tools):
    for wanted in "012":
        listener = tools.sub("-t", tools.topic(wanted), "-q", wanted)
        for given in "012":
            tools.pub("-t", tools.topic(wanted), "-m", given, "-q", given)
        listener.expect(*[f"{min(given, wanted)} 0 {tools.topic(wanted)} {given}"
                          for given in "012"])


@test()
def retained_is_kept_and_removed(tools):
    topic = tools.topic()
    tools.pub("-t", topic, "-m", "old", "-r")
    tools.pub("-t", topic, "-m", "new", "-r", "-q", "1")
    assert tools.run("mosquitto_sub", "-t", f"{tools.name}/#", "-C", "1", "-F", "%r %p") \
        == "1 new\n"
    subprocess.run(["mosquitto_sub", *tools.common, "-t", topic, "--remove-retained", "-W", "1"],
                   capture_output=True, timeout=TIMEOUT_S)  # ends by its own time-out
    wait_until(lambda: sees_nothing_retained(tools, topic), TIMEOUT_S, "retained is still there")


def sees_nothing_retained(tools, topic):
    done = subprocess.run(
        ["mosquitto_sub", *tools.common, "-t", topic, "--retained-only", "-W", "1"],
        capture_output=True, timeout=TIMEOUT_S)
    return done.stdout == b""


@test()
def session_is_kept_with_its_messages(tools):
    session = ["-c", "-i", tools.name, "-q", "1", "-t", tools.topic()]
    tools.run("mosquitto_sub", *session, "-E")
    for number in range(3):
        tools.pub("-t", tools.topic(), "-m", str(number), "-q", "1")
    printed = tools.run("mosquitto_sub", *session, "-C", "3")
    assert printed == "0\n1\n2\n", printed


@test()
def will_comes_when_the_program_is_killed(tools):
    watcher = tools.sub("-t", tools.topic("will"), "-q", "1")
    will = ["--will-topic", tools.topic("will"), "--will-payload", "gone", "--will-qos", "1"]
    left = tools.sub("-t", tools.topic("x"), *will)
    left.process.kill()
    watcher.expect(f"1 0 {tools.topic('will')} gone")
    tools.run("mosquitto_sub", "-t", tools.topic("x"), "-E", *will)  # leaves with DISCONNECT
    time.sleep(0.3)
    assert len(watcher.lines) == 1, watcher.lines


@test()
def lines_of_standard_input_arrive_in_order_qos_0(tools):
    lines_arrive(tools, 0, 2000)


@test()
def lines_of_standard_input_arrive_in_order_qos_1(tools):
    lines_arrive(tools, 1, 2000)


@test()
def lines_of_standard_input_arrive_in_order_qos_2(tools):
    lines_arrive(tools, 2, 500)


def lines_arrive(tools, qos, count):
    listener = tools.sub("-t", tools.topic(), "-q", str(qos))
    lines = [f"line {number}" for number in range(count)]
    tools.pub("-t", tools.topic(), "-q", str(qos), "-l", stdin="\n".join(lines).encode() + b"\n")
    listener.expect(*[f"{qos} 0 {tools.topic()} {line}" for line in lines])


@test()
def file_of_2_mib_arrives_whole(tools):
    with tempfile.TemporaryDirectory() as directory:
        sent, got = os.path.join(directory, "sent"), os.path.join(directory, "got")
        with open(sent, "wb") as out:
            out.write(os.urandom(2 * 1024 * 1024))
        with open(got, "wb") as out:
            tools.pub("-t", tools.topic(), "-f", sent, "-r", "-q", "1")
            subprocess.run(["mosquitto_sub", *tools.common, "-t", tools.topic(), "-N", "-C", "1"],
                           stdout=out, timeout=TIMEOUT_S, check=True)
        with open(sent, "rb") as one, open(got, "rb") as other:
            assert one.read() == other.read(), "the file has changed on the way"
        tools.pub("-t", tools.topic(), "-n", "-r")


@test()
def several_filters_and_an_unsubscribe(tools):
    a, b, c = tools.topic("a"), tools.topic("b/+"), tools.topic("c")
    listener = tools.sub("-t", a, "-t", b, "-t", c, "-U", c)
    time.sleep(0.2)  # the UNSUBSCRIBE goes after the SUBSCRIBE
    for topic in (a, c, tools.topic("b/1"), a):
        tools.pub("-t", topic, "-m", "x")
    listener.expect(f"0 0 {a} x", f"0 0 {tools.topic('b/1')} x", f"0 0 {a} x")


@test()
def older_and_newer_versions_hear_each_other(tools):
    listener = tools.sub("-t", tools.topic(), "-q", "2")
    expected = []
    for version, flag in FLAGS.items():
        subprocess.run(["mosquitto_pub", *tools.common[:4], "-V", flag, "-t", tools.topic(),
                        "-m", f"from {version}", "-q", "2"], check=True, timeout=TIMEOUT_S)
        expected.append(f"2 0 {tools.topic()} from {version}")
    listener.expect(*expected)


@test(5)
def properties_are_passed_on(tools):
    listener = Listener([
        "stdbuf", "-oL", "mosquitto_sub", *tools.common, "-d", "-t", tools.topic(),
        "-D", "SUBSCRIBE", "subscription-identifier", "5",
        "-F", "MESSAGE %C|%R|%D|%P|%F|%S|%p"])
    tools.running.append(listener)
    wait_until(lambda: listener.subscribed, TIMEOUT_S, "no SUBACK")
    tools.pub("-t", tools.topic(), "-m", "x", "-D", "publish", "content-type", "text/plain",
              "-D", "publish", "response-topic", "answer", "-D", "publish", "correlation-data",
              "id", "-D", "publish", "user-property", "z", "1", "-D", "publish", "user-property",
              "a", "2", "-D", "publish", "payload-format-indicator", "1")
    listener.expect("text/plain|answer|id|z:1 a:2|1|5|x")


@test(5)
def request_and_response(tools):
    listener = tools.sub("-t", tools.topic("ask"))
    answers = []

    def answer():
        wait_until(lambda: listener.lines, TIMEOUT_S, "no request")
        tools.pub("-t", tools.topic("answer"), "-m", "42")
        answers.append(True)

    helper = threading.Thread(target=answer)
    helper.start()
    printed = tools.run("mosquitto_rr", "-t", tools.topic("ask"), "-e", tools.topic("answer"),
                        "-m", "6*7", "-W", "10")
    helper.join()
    assert printed == "42\n" and answers, printed


@test(5)
def shared_subscription_is_divided(tools):
    members = [tools.sub("-t", f"$share/g/{tools.topic()}", "-q", "1") for _ in range(2)]
    lines = [str(number) for number in range(100)]
    tools.pub("-t", tools.topic(), "-q", "1", "-l", stdin="\n".join(lines).encode() + b"\n")
    wait_until(lambda: sum(len(member.lines) for member in members) >= 100, TIMEOUT_S, "too few")
    got = [line.split()[-1] for member in members for line in member.lines]
    assert sorted(got, key=int) == lines, "lost or twice"
    assert all(len(member.lines) >= 10 for member in members), [len(m.lines) for m in members]


@test(5)
def receive_maximum_of_two_loses_nothing_qos_1(tools):
    receive_maximum_of_two(tools, 1)


@test(5)
def receive_maximum_of_two_loses_nothing_qos_2(tools):
    receive_maximum_of_two(tools, 2)


def receive_maximum_of_two(tools, qos):
    listener = tools.sub("-t", tools.topic(), "-q", str(qos),
                         "-D", "CONNECT", "receive-maximum", "2")
    lines = [str(number) for number in range(50)]
    tools.pub("-t", tools.topic(), "-q", str(qos), "-l", stdin="\n".join(lines).encode() + b"\n")
    listener.expect(*[f"{qos} 0 {tools.topic()} {line}" for line in lines])


def cases(broker):
    found = []
    for run, versions in _tests:
        for version in versions:
            found.append(Case(f"mosquitto_clients/{VERSIONS[version]}/{run.__name__}",
                              lambda run=run, version=version: act(broker, run, version)))
    return found


def act(broker, run, version):
    tools = Tools(broker.port, version)
    try:
        run(tools)
    finally:
        tools.stop()
