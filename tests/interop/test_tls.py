"""TLS with foreign peers: mosquitto_pub and mosquitto_sub against our broker, our publish and subscribe against mosquitto, with and
without client certificates. The certificates are made by openssl while this runs."""

import os
import shutil
import subprocess
import tempfile

from harness import MOSQUITTO_COMMAND, Broker, Case, wait_until
from test_mosquitto_clients import Listener
from test_our_client import Program

TIMEOUT_S = 20
_tests = []


def test(run):
    _tests.append(run)
    return run


def openssl(*arguments, cwd):
    done = subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, timeout=60)
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr.decode()[-300:]}"


class Certificates:
    """An authority, a server "localhost", a client "gateway", and a client of somebody else's."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="nlmqtt-tls-")
        for authority in ("ca", "stranger"):
            self.key(authority)
            openssl("req", "-x509", "-new", "-key", f"{authority}.key", "-subj", f"/CN={authority}", "-days", "2",
                    "-addext", "basicConstraints=critical,CA:TRUE", "-out", f"{authority}.pem", cwd=self.folder)
        self.sign("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.sign("client", "gateway", "subjectAltName=DNS:gateway.example")
        self.sign("foreign", "foreign", "subjectAltName=DNS:foreign.example", authority="stranger")

    def key(self, name):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key", cwd=self.folder)

    def sign(self, name, subject, extension, authority="ca"):
        self.key(name)
        openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={subject}", "-out", f"{name}.csr", cwd=self.folder)
        with open(self.file(f"{name}.ext"), "w") as out:
            out.write(extension)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial",
                "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem", cwd=self.folder)

    def file(self, name):
        return os.path.join(self.folder, name)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Bench:
    def __init__(self, nlmqttd, programs):
        self.nlmqttd, self.programs = nlmqttd, programs
        self.certificates = Certificates()
        self.brokers, self.running = [], []

    def file(self, name):
        return self.certificates.file(name)

    def ours(self, query=""):
        """Our broker, over TLS alone."""
        uri = f"mqtts://127.0.0.1:{{port}}?cert={self.file('server.pem')}&key={self.file('server.key')}{query}"
        return self.begin(Broker(f"{self.nlmqttd} -v -l '{uri}'"))

    def mosquitto(self, requires):
        settings = {"cafile": self.file("ca.pem"), "certfile": self.file("server.pem"), "keyfile": self.file("server.key"),
                    "require_certificate": "true" if requires else "false"}
        return self.begin(Broker(MOSQUITTO_COMMAND, settings))

    def begin(self, broker):
        self.brokers.append(broker)
        return broker.start()

    def identity(self, name):
        return ["--cert", self.file(f"{name}.pem"), "--key", self.file(f"{name}.key")]

    def common(self, broker, ca="ca"):
        return ["-h", "localhost", "-p", str(broker.port), "--cafile", self.file(f"{ca}.pem")]

    def listen(self, broker, topic, *more):
        listener = Listener(["stdbuf", "-oL", "mosquitto_sub", *self.common(broker), "-d", "-F", "MESSAGE %p", "-t", topic, *more])
        self.running.append(listener)
        wait_until(lambda: listener.subscribed, TIMEOUT_S, "mosquitto_sub has no SUBACK")
        return listener

    def pub(self, broker, *arguments, ca="ca", stdin=None):
        return subprocess.run(["mosquitto_pub", *self.common(broker, ca), *arguments], input=stdin, capture_output=True,
                              timeout=TIMEOUT_S)

    def program(self, name, broker, *arguments, ca="ca"):
        running = Program([os.path.join(self.programs, name), *self.common(broker, ca), *arguments])
        self.running.append(running)
        return running

    def close(self):
        for running in self.running:
            running.process.kill()
            running.process.wait()
        for broker in self.brokers:
            broker.remove()
        self.certificates.remove()


@test
def mosquittos_clients_reach_our_broker(bench):
    broker = bench.ours()
    listener = bench.listen(broker, "t", "-q", "2")
    large = "x" * 300_000
    for qos, version, payload in (("0", "mqttv311", "zero"), ("1", "mqttv5", "one"), ("2", "mqttv31", "two"), ("1", "mqttv5", large)):
        done = bench.pub(broker, "-t", "t", "-q", qos, "-V", version, "-s", stdin=payload.encode())
        assert done.returncode == 0, done.stderr.decode()
    listener.expect("zero", "one", "two", large)


@test
def mosquittos_clients_are_known_by_their_certificates(bench):
    broker = bench.ours(f"&ca={bench.file('ca.pem')}&client_cert=require&identity=cn")
    listener = bench.listen(broker, "t", *bench.identity("client"))
    done = bench.pub(broker, "-t", "t", "-q", "1", "-m", "known", *bench.identity("client"), "--tls-version", "tlsv1.2")
    assert done.returncode == 0, done.stderr.decode()
    listener.expect("known")
    assert bench.pub(broker, "-t", "t", "-m", "none").returncode != 0, "no certificate"
    assert bench.pub(broker, "-t", "t", "-m", "foreign", *bench.identity("foreign")).returncode != 0, "a stranger's certificate"
    assert bench.pub(broker, "-t", "t", "-m", "wrong", *bench.identity("client"), ca="stranger").returncode != 0, "a stranger as authority"
    done = bench.pub(broker, "-t", "t", "-q", "1", "-m", "last", *bench.identity("client"))
    assert done.returncode == 0, done.stderr.decode()
    listener.expect("known", "last")


@test
def our_clients_reach_mosquitto(bench):
    broker = bench.mosquitto(requires=False)
    subscriber = bench.program("subscribe", broker, "-t", "t", "-q", "1")
    watcher = bench.listen(broker, "t", "-q", "1")
    for version in ("mqttv31", "mqttv311", "mqttv5"):
        publisher = bench.program("publish", broker, "-V", version, "-t", "t", "-q", "2", "-r", "-m", version)
        publisher.finish()
    watcher.expect("mqttv31", "mqttv311", "mqttv5")
    wait_until(lambda: subscriber.texts()[-1:] == ["mqttv5"], TIMEOUT_S, "subscribe has not seen the last message")


@test
def our_clients_show_mosquitto_their_certificates(bench):
    broker = bench.mosquitto(requires=True)
    watcher = bench.listen(broker, "t", *bench.identity("client"))
    bench.program("publish", broker, "-t", "t", "-q", "1", "-m", "known", *bench.identity("client")).finish()
    watcher.expect("known")
    for arguments, ca in (([], "ca"), (bench.identity("foreign"), "ca"), (bench.identity("client"), "stranger")):
        refused = bench.program("publish", broker, "-t", "t", "-q", "1", "-m", "no", "-W", "5", *arguments, ca=ca)
        assert refused.process.wait(TIMEOUT_S) != 0, f"{arguments} {ca}"


@test
def our_clients_trust_the_authorities_of_the_system(bench):
    broker = bench.mosquitto(requires=False)
    command = [os.path.join(bench.programs, "publish"), "-h", "localhost", "-p", str(broker.port), "--tls-use-os-certs", "-t", "t", "-q", "1", "-m", "x", "-W", "5"]
    for authority, is_known in (("ca", True), ("stranger", False)):
        # This variable names the system's file for the length of one process, as with OpenSSL.
        done = subprocess.run(command, env={**os.environ, "SSL_CERT_FILE": bench.file(f"{authority}.pem")}, capture_output=True, timeout=TIMEOUT_S)
        assert (done.returncode == 0) == is_known, f"{authority}: {done.stderr.decode()}"


def cases(nlmqttd, programs):
    return [Case(f"tls/{run.__name__}", lambda run=run: act(nlmqttd, programs, run), needs_broker=False) for run in _tests]


def act(nlmqttd, programs, run):
    bench = Bench(nlmqttd, programs)
    try:
        run(bench)
    finally:
        bench.close()
