"""Unix sockets: mosquitto's clients at our broker, our programs at mosquitto."""

import os
import subprocess
import tempfile

from harness import MOSQUITTO_COMMAND, Case, wait_until
from test_mosquitto_clients import FLAGS, VERSIONS, Listener

TIMEOUT_S = 20


def folder():
    return tempfile.TemporaryDirectory(prefix="nlmqtt-unix-")


def started(command, path):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: os.path.exists(path), TIMEOUT_S, "no socket")
    except BaseException:
        process.kill()
        raise
    return process


def mosquitto_clients_at_our_broker(nlmqttd, version):
    with folder() as place:
        path = os.path.join(place, "a b.sock")
        uri = f"unix://{path.replace(' ', '%20')}?mode=0600"
        broker = started([nlmqttd, "-l", uri], path)
        common = ["--unix", path, "-V", FLAGS[version], "-t", "t", "-q", "1"]
        listener = None
        try:
            assert os.stat(path).st_mode & 0o777 == 0o600
            listener = Listener(["stdbuf", "-oL", "mosquitto_sub", *common, "-d", "-F", "MESSAGE %q %r %t %p"])
            wait_until(lambda: listener.subscribed, TIMEOUT_S, "mosquitto_sub has no SUBACK")
            done = subprocess.run(["mosquitto_pub", *common, "-m", "near"], capture_output=True, timeout=TIMEOUT_S)
            assert done.returncode == 0, done.stderr.decode()[:200]
            wait_until(lambda: listener.lines, TIMEOUT_S, "nothing came")
            assert listener.lines[0].endswith("t near"), listener.lines
        finally:
            if listener:
                listener.process.kill()
                listener.process.wait()
            broker.terminate()
            broker.wait(TIMEOUT_S)
        assert not os.path.exists(path), "the file goes with the broker"


def our_programs_at_mosquitto(programs, version):
    with folder() as place:
        path, conf = os.path.join(place, "m.sock"), os.path.join(place, "m.conf")
        with open(conf, "w") as out:
            out.write(f"listener 0 {path}\nallow_anonymous true\nuser root\n")
        broker = started([MOSQUITTO_COMMAND.split()[0], "-c", conf], path)
        common = ["--unix", path, "-V", VERSIONS[version], "-t", "t", "-q", "2"]
        subscriber = None
        try:
            subscriber = subprocess.Popen(
                [os.path.join(programs, "subscribe"), *common, "-C", "1", "-W", str(TIMEOUT_S)], stdout=subprocess.PIPE)
            publish = [os.path.join(programs, "publish"), *common, "-r", "-m", "near"]
            done = subprocess.run(publish, capture_output=True, timeout=TIMEOUT_S)
            assert done.returncode == 0, done.stderr.decode()[:200]
            # Retained: it comes whichever of the two was first.
            text, _ = subscriber.communicate(timeout=TIMEOUT_S)
            assert text == b"near\n", text
        finally:
            if subscriber:
                subscriber.kill()
            broker.kill()
            broker.wait()


def cases(nlmqttd, programs):
    found = []
    for version in (3, 4, 5):
        found.append(Case(f"unix/{VERSIONS[version]}/mosquitto_clients_at_our_broker",
                          lambda version=version: mosquitto_clients_at_our_broker(nlmqttd, version)))
        found.append(Case(f"unix/{VERSIONS[version]}/our_programs_at_mosquitto",
                          lambda version=version: our_programs_at_mosquitto(programs, version)))
    return found
