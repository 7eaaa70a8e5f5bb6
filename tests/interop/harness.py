"""Starts brokers, runs cases, counts results.

A case is a function that raises on failure. Cases that mostly wait run side by side in a small
pool of threads; those that load the machine (`alone`) run one after another when the pool is idle,
so that a slow machine does not turn load into timeouts. Everything a case creates on the broker
(client identifiers, topics) carries a number of its own, so cases do not meet.
"""

import concurrent.futures
import os
import random
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
POOL_SIZE = 8
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0

# Keys of mosquitto.conf, given to every broker under test: room for the large payloads and for a
# burst of 10,000 messages that no slow reader may shorten.
COMMON_SETTINGS = {
    "max_packet_size": 20_000_000,
    "max_queued_messages": 20_000,
    "max_queued_bytes": 67_108_864,
}

# mosquitto waits for the disk whenever it saves its state, which takes long on a busy machine.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

MOSQUITTO_COMMAND = "mosquitto -c {conf}"


class Broken(Exception):
    """The broker did not start, or is gone."""


def free_port():
    """Below those that the kernel gives to connections, if it can be: whoever dials a broker that was killed might else be given its
    very port, and connect to itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as limits:
        first = int(limits.read().split()[0])
    for port in [random.randrange(first // 2, first) for _ in range(50)] + [0]:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise Broken("no port is free")


def wait_until(condition, timeout_s, what, step_s=0.01):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(step_s)


class Broker:
    """One broker process. `command` may use {port}, {conf} (a file of mosquitto.conf keys) and
    {sets} (the same keys as `--set KEY=VALUE` arguments)."""

    def __init__(self, command, settings=None, port=None, directory=None):
        self.command = command
        self.is_mosquitto = os.path.basename(shlex.split(command)[0]) == "mosquitto"
        self.settings = dict(COMMON_SETTINGS, **(settings or {}))
        self.port = port or free_port()
        self.directory = directory or tempfile.mkdtemp(prefix="nlmqtt-interop-", dir=MEMORY)
        self.process = None
        self.ready = threading.Event()

    def start(self):
        conf = os.path.join(self.directory, "broker.conf")
        with open(conf, "w") as out:
            if self.is_mosquitto:
                # Debian's build drops root to a user that could not write our directory.
                out.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n")
                out.write("set_tcp_nodelay true\nsys_interval 1\n")
            for key, value in self.settings.items():
                out.write(f"{key} {value}\n")
        sets = " ".join(f"--set {key}={value}" for key, value in self.settings.items())
        arguments = shlex.split(self.command.format(port=self.port, conf=conf, sets=sets))
        log = open(os.path.join(self.directory, "broker.log"), "ab")
        self.ready.clear()
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log)
        threading.Thread(target=self._read_output, args=(self.process, log), daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Broken(f"broker did not start: {self.command}: {self.log_tail()}")
            time.sleep(0.02)
        return self

    def _read_output(self, process, log):
        for line in process.stdout:
            log.write(line)
            log.flush()
            if b"ready" in line:
                self.ready.set()

    def _accepts(self):
        if not self.is_mosquitto and not self.ready.is_set():
            return False
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log_tail(self):
        try:
            with open(os.path.join(self.directory, "broker.log"), errors="replace") as log:
                return " | ".join(log.read().splitlines()[-5:])
        except OSError:
            return ""

    def kill(self):
        """SIGKILL, as a power cut would."""
        if self.alive():
            self.process.kill()
            self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return "still running 10 s after SIGTERM"

    def remove(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Case:
    def __init__(self, name, run, alone=False, needs_broker=True):
        self.name = name
        self.needs_broker = needs_broker
        self.run = run
        self.alone = alone


class Runner:
    def __init__(self, alive, deviations=None, verbose=False):
        self.alive = alive
        self.deviations = deviations or {}
        self.verbose = verbose
        self.lock = threading.Lock()
        self.passed = 0
        self.failed = 0
        self.known = 0

    def run_all(self, cases):
        with concurrent.futures.ThreadPoolExecutor(POOL_SIZE) as pool:
            list(pool.map(self.run_one, [case for case in cases if not case.alone]))
        for case in cases:
            if case.alone:
                self.run_one(case)

    def run_one(self, case):
        began = time.monotonic()
        why = None
        try:
            if case.needs_broker and not self.alive():
                raise Broken("the broker is gone")
            case.run()
        except BaseException as error:  # a client library may raise anything
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            why = " ".join(why.split())[:400]
            if self.verbose:
                traceback.print_exc()
        self.report(case.name, why, time.monotonic() - began)

    def report(self, name, why, took_s):
        with self.lock:
            if why is None:
                self.passed += 1
                print(f"ok {name}" + (f" ({took_s:.1f} s)" if self.verbose else ""), flush=True)
            elif name in self.deviations:
                self.known += 1
                print(f"known {name}: {self.deviations[name]}", flush=True)
            else:
                self.failed += 1
                print(f"FAIL {name}: {why}", flush=True)
