"""Starting, watching and stopping one broker on a loopback port of its own."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import certificate

READY_SECONDS = 10
# Equal for both, in mosquitto.conf's words. The queue is large: the generator's credit keeps it short.
SETTINGS = {
    "allow_anonymous": "true",
    "max_inflight_messages": "20",
    "max_queued_messages": "100000",
}
# What only mosquitto is told; without TCP_NODELAY it would wait for delayed acknowledgements.
PEER_SETTINGS = {"set_tcp_nodelay": "true", "persistence": "false", "log_dest": "none", "sys_interval": "0"}
# What each transport is called by ours.
SCHEMES = {"tcp": "mqtt", "tls": "mqtts", "ws": "ws", "wss": "wss"}
WITH_TLS, WITH_WEBSOCKET = ("tls", "wss"), ("ws", "wss")


ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def build_static(dist, program):
    """nlmqttd with the library and libc in one file; None where that cannot be built."""
    source = ROOT / "c-examples"
    flags = ["-O2", "-static-pie", "-Wl,--gc-sections", "-Wl,-s"]
    done = subprocess.run(["gcc", *flags, f"-I{dist}/include", f"-I{source}", str(source / "nlmqttd.c"), f"{dist}/lib/libnlmqtt.a", "-lm",
                           "-o", str(program)], capture_output=True, check=False)
    return str(program) if done.returncode == 0 else None


class BrokerError(Exception):
    """A broker did not start, or died."""


def find(program):
    """The path of a program, also in the places of daemons; None when it is not installed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    return found and os.path.abspath(found)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """One run of one broker; use as a context manager."""

    def __init__(self, program, peer, settings=None, environment=None, processors=None, transport="tcp"):
        """`processors`: where it may run; None: anywhere. `transport`: the generator's word."""
        self.program = program
        self.processors = processors
        self.peer = peer
        self.transport = transport
        self.settings = {**SETTINGS, **(settings or {})}
        self.environment = {**os.environ, **(environment or {})}
        self.port = _free_port()

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="nlmqtt-bench-")
        log_path = pathlib.Path(self.folder.name, "log")
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment, cwd=self.folder.name, preexec_fn=self._pin)
        try:
            self._wait_ready(log_path)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    @property
    def pid(self):
        return self.process.pid

    def _pin(self):
        if self.processors:
            os.sched_setaffinity(0, self.processors)

    def _place(self):
        """Where ours listens; over TCP in the words any broker under test has to take."""
        if self.transport == "tcp":
            return ["-p", str(self.port)]
        query = ""
        if self.transport in WITH_TLS:
            _, cert, key = certificate.files()
            query = f"?cert={cert}&key={key}"
        return ["-l", f"{SCHEMES[self.transport]}://127.0.0.1:{self.port}{query}"]

    def _peer_listener(self):
        lines = [f"listener {self.port} 127.0.0.1"]
        if self.transport in WITH_WEBSOCKET:
            # It starts with no listener but those of WebSocket only if there is another one.
            lines = [f"listener {_free_port()} 127.0.0.1", *lines, "protocol websockets"]
        if self.transport in WITH_TLS:
            _, cert, key = certificate.files()
            lines += [f"certfile {cert}", f"keyfile {key}"]
        return lines

    def _command(self):
        if not self.peer:
            options = [word for item in self.settings.items() for word in ("--set", "=".join(item))]
            return [self.program, *self._place(), *options]
        # As root mosquitto changes to a user of its own, who must be able to read the file.
        os.chmod(self.folder.name, 0o755)
        path = pathlib.Path(self.folder.name, "mosquitto.conf")
        lines = self._peer_listener()
        lines += [f"{key} {value}" for key, value in {**self.settings, **PEER_SETTINGS}.items()]
        path.write_text("\n".join(lines) + "\n")
        return [self.program, "-c", str(path)]

    def _wait_ready(self, log_path):
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                time.sleep(0.1)
                return
            except OSError:
                time.sleep(0.02)
        raise BrokerError(f"{self.program} did not get ready: {log_path.read_text(errors='replace').strip()}")

    def anonymous_bytes(self):
        """Private memory that no file backs: heap and stacks, in whole pages."""
        for line in pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
        raise BrokerError("the kernel does not tell anonymous memory")

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise BrokerError("the kernel does not tell the resident size")
