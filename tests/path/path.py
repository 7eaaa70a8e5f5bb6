"""A lossy path between two network namespaces (emulator.c), and programs at its ends: a gateway's sensor on the left, the broker on the right."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "target" / "path"
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# These need no library; the others are linked with the one under test.
BARE = ("emulator", "flood")
PROGRAMS = ("send", "receive", "idle", "counted")
ADDRESSES = {"left": "10.77.0.2", "right": "10.77.0.1"}
NETWORK, NETWORK_BITS = "10.77.0.0/16", 16
READY_S, END_S = 20, 10
EXIT_NOT_PERMITTED = 3

sys.path.append(str(HERE.parent / "bench"))
import certificate  # noqa: E402  (the bench's: an authority and a server's certificate)


class NotPermitted(Exception):
    """This machine does not let us make namespaces or TUN devices."""


class PathError(Exception):
    """A program did not start, or ended as it should not."""


_MAKING = threading.Lock()


def certificates():
    """Files of the authority, the certificate of the right side and its key: the same for all, whoever asks first."""
    with _MAKING:
        return certificate.files(ADDRESSES["right"])


def build(prefix):
    """Our programs, linked with the library installed at `prefix`: the folder they are in."""
    if not (prefix / "include/nlmqtt.h").exists():
        sys.exit(f"{prefix}: nothing is installed there; c-examples/run.sh --build-only makes {ROOT / 'target/dist'}")
    folder = BUILD / prefix.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*BARE, *PROGRAMS):
        more = [] if name in BARE else [f"-I{prefix}/include", f"-L{prefix}/lib", "-lnlmqtt", "-lpthread", f"-Wl,-rpath,{prefix}/lib"]
        subprocess.run(["gcc", *FLAGS, "-o", str(folder / name), str(HERE / f"{name}.c"), *more], check=True)
    return folder


def result_of(text):
    """The numbers of a program's result line, by name."""
    for line in text.splitlines():
        if line.startswith("result "):
            return {key: float(value) for key, value in (word.split("=") for word in line.split()[1:])}
    raise PathError(f"no result line: {text.strip()!r}")


class Program:
    """One that runs, its output in a file."""

    def __init__(self, command, folder, name, **popen):
        self.name = name
        self.path = pathlib.Path(folder, name + ".log")
        with open(self.path, "wb") as log:
            self.process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT, cwd=folder,
                                            **{"stdin": subprocess.DEVNULL, **popen})

    def text(self):
        return self.path.read_text(errors="replace")

    def wait_for(self, word, seconds=READY_S):
        """Waits until its output has `word`."""
        end = time.monotonic() + seconds
        while word not in self.text():
            if time.monotonic() > end or self.process.poll() is not None and word not in self.text():
                raise PathError(f"{self.name} did not say {word!r} but: {self.text().strip()[-2000:]}")
            time.sleep(0.02)

    def finish(self, seconds):
        """Its output, when it has ended well."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise PathError(f"{self.name} did not end within {seconds:g} s: {self.text().strip()[-2000:]}") from None
        if code:
            raise PathError(f"{self.name} ended with {code}: {self.text().strip()[-2000:]}")
        return self.text()

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def cpu_us(self):
        """Processor time of all its threads."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000

    def anonymous_bytes(self):
        """Private memory that no file backs: heap and stacks, in whole pages."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
        raise PathError("the kernel does not tell anonymous memory")


class Path:
    """Two namespaces and what is between them; use as a context manager. Options are the emulator's, with _ in place of -."""

    def __init__(self, programs, **options):
        self.programs = pathlib.Path(programs)
        self.options = options
        self.running = []

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="nlmqtt-path-")
        command = [str(self.programs / "emulator")]
        for key, value in self.options.items():
            command += ["--" + key.replace("_", "-"), str(value)]
        self.emulator = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder)
        words = self.emulator.stdout.readline().split()
        try:
            if len(words) != 3 or words[0] != "ready":
                error = self.emulator.communicate()[1].strip()
                raise NotPermitted(error) if self.emulator.returncode == EXIT_NOT_PERMITTED else PathError(error)
            self.spaces = dict(word.split("=") for word in words[1:])
            for side in ADDRESSES:
                self._set_up(side)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for program in reversed(self.running):
            program.end()
        if self.emulator.poll() is None:
            self.emulator.stdin.close()
            self.emulator.wait(END_S)
        for stream in (self.emulator.stdin, self.emulator.stdout, self.emulator.stderr):
            stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _set_up(self, side):
        """Addresses and routes; nothing goes on to elsewhere, whatever the machine does, and the kernel's TCP remembers no earlier connections."""
        self.run(side, "sh", "-ec", f"""
            ip link set lo up
            ip address add {ADDRESSES[side]}/{NETWORK_BITS} dev path
            ip link set path mtu 1500 txqueuelen 2000 up
            ip route add default dev path
            echo 0 >/proc/sys/net/ipv4/ip_forward
            echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save
            test ! -e /proc/sys/net/ipv6/conf/path/disable_ipv6 || echo 1 >/proc/sys/net/ipv6/conf/path/disable_ipv6""")

    def _inside(self, side, command):
        return ["nsenter", f"--net={self.spaces[side]}", "--", *(str(word) for word in command)]

    def run(self, side, *command):
        """Runs a command there to its end: what it printed."""
        done = subprocess.run(self._inside(side, command), capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode:
            raise PathError(f"{command[0]}: {done.stderr.strip()}")
        return done.stdout

    def start(self, side, name, *command, **popen):
        """Starts a program there, which ends with the path at the latest."""
        program = Program(self._inside(side, command), self.folder, name, **popen)
        self.running.append(program)
        return program

    def tell(self, command):
        """A command for the emulator, and its answer."""
        self.emulator.stdin.write(command + "\n")
        self.emulator.stdin.flush()
        return self.emulator.stdout.readline().strip()

    def counts(self):
        return {key: int(value) for key, value in (word.split("=") for word in self.tell("count").split()[1:])}

    def use_tcp(self, congestion):
        """The congestion control of all TCP over the path from now on. By its routes: a namespace of its own may not make each one the default."""
        for side, address in ADDRESSES.items():
            self.run(side, "ip", "route", "replace", NETWORK, "dev", "path", "proto", "kernel", "scope", "link", "src", address, "congctl", congestion)

    def broker(self, program, schemes, query="", more=()):
        """nlmqttd on the right with a listener for each scheme: itself, and their URIs without queries."""
        _, cert, key = certificates()
        command = [program, "--set", "allow_anonymous=true", *more]
        for scheme in schemes:
            parts = [f"cert={cert}&key={key}"] if scheme in SECURE else []
            parts += [query] if scheme.startswith("rudp") and query else []
            parts += [f"quic_max_connections={QUIC_CONNECTIONS_MAX}"] if scheme == "quic" else []
            command += ["-l", f"{scheme}://{ADDRESSES['right']}:0" + ("?" + "&".join(parts) if parts else "")]
        broker = self.start("right", "broker", *command)
        return broker, self.uris(broker, schemes)

    @staticmethod
    def uris(broker, schemes):
        broker.wait_for("ready on ")
        broker.wait_for("\n")
        line = next(line for line in broker.text().splitlines() if "ready on " in line)
        ports = [word.rsplit(":", 1)[1] for word in line.split("ready on ")[1].split()]
        return {scheme: f"{scheme}://{ADDRESSES['right']}:{port}" for scheme, port in zip(schemes, ports, strict=True)}


SECURE = ("mqtts", "rudps", "quic")
# More than a listener takes by itself: what one costs is measured with thousands.
QUIC_CONNECTIONS_MAX = 100_000


def with_query(uri, *parts):
    """A client's URI with options, and the authority to trust where there is TLS."""
    parts = [part for part in parts if part]
    if uri.split("://")[0] in SECURE:
        parts.append("ca_file=" + certificates()[0])
    return uri + ("?" + "&".join(parts) if parts else "")


def kernel_offers():
    """The congestion controls of this kernel's TCP."""
    return pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def wait_until(seconds, condition, what):
    """Waits until `condition` is true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise PathError(what)
        time.sleep(0.05)


@contextlib.contextmanager
def stopping(program):
    """Ends it at the end of the block, as a user would."""
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(program.process.pid, signal.SIGTERM)
        program.process.wait(END_S)
