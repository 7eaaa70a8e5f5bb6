"""Building the load generator and running it against a broker."""

import functools
import pathlib
import shutil
import signal
import subprocess
import tempfile

import brokers
import certificate

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "target" / "bench" / "load"
FLOOR = BUILD.parent / "floor"
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
RUN_SECONDS_MAX = 180
# Under strace a broker crawls; these keep the run short and the broker below its (then low) ceiling.
STRACE_MESSAGES = 20_000
STRACE_RATE = 500


class LoadError(Exception):
    """The generator failed: the broker broke the protocol, closed a connection or fell silent."""


@functools.cache
def has_tls():
    """OpenSSL's headers are there; without them the generator is built without TLS."""
    probe = subprocess.run(["gcc", "-E", "-x", "c", "-"], input=b"#include <openssl/ssl.h>\n", capture_output=True, check=False)
    return probe.returncode == 0


def build():
    """The generator, and the floor beside it."""
    _build(BUILD, HERE, ["-DHAVE_OPENSSL", "-lssl", "-lcrypto"] if has_tls() else [])
    _build(FLOOR, HERE / "floor", [])


def _build(program, folder, more):
    sources = sorted(str(path) for path in folder.glob("*.c"))
    newest = max(path.stat().st_mtime for path in [*folder.glob("*.c"), *folder.glob("*.h")])
    command = ["gcc", *FLAGS, "-o", str(program), *sources, *more]
    # OpenSSL may have come since the last time.
    note = program.with_suffix(".command")
    if not program.exists() or program.stat().st_mtime < newest or not note.exists() or note.read_text() != " ".join(command):
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command, check=True)
        note.write_text(" ".join(command))


def _command(broker, arguments, flags=()):
    command = [str(BUILD), "--port", str(broker.port), "--broker-pid", str(broker.pid), "--transport", broker.transport]
    if broker.transport in brokers.WITH_TLS:
        command += ["--ca-file", certificate.files()[0]]
    for key, value in arguments.items():
        command += ["--" + key.replace("_", "-"), str(value)]
    return command + ["--" + flag for flag in flags]


def _parse(line):
    words = line.split()
    if not words or words[0] != "result":
        raise LoadError(f"no result line: {line!r}")
    return {key: float(value) for key, value in (word.split("=") for word in words[1:])}


def run(broker, arguments, flags=()):
    """One measured run; the numbers of the result line by name."""
    try:
        done = subprocess.run(_command(broker, arguments, flags), capture_output=True, text=True,
                              timeout=RUN_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"no end after {RUN_SECONDS_MAX} s") from error
    if done.returncode:
        raise LoadError(done.stderr.strip() or f"exit status {done.returncode}")
    return _parse(done.stdout)


class Stepped:
    """A run that stops at "ready" and at the end, so that the broker can be looked at."""

    def __init__(self, broker, arguments):
        self.process = subprocess.Popen(_command(broker, arguments, ["steps"]), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        self.line("ready")
        return self

    def __exit__(self, *_):
        # The end of its input is the order to leave.
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
        self.process.stderr.close()

    def line(self, expected=None):
        line = self.process.stdout.readline().strip()
        if not line or (expected and line != expected):
            self.process.kill()
            raise LoadError(self.process.stderr.read().strip() or f"{expected!r} expected, not {line!r}")
        return line

    def proceed(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()


def count_syscalls(broker, arguments):
    """System calls per delivered message; None when the machine lets nobody count them."""
    try:
        return run(broker, {**arguments, "seconds": 1}, ["syscalls"])["syscalls"]
    except LoadError as error:
        if "cannot count" not in str(error):
            raise
    if not shutil.which("strace"):
        return None
    return _count_with_strace(broker, arguments)


def _count_with_strace(broker, arguments):
    publishers = arguments["publishers"]
    listeners = arguments["subscribers"] if publishers == 1 else 1
    arguments = {**arguments, "count": max(1, STRACE_MESSAGES // publishers // listeners)}
    if "rate" in arguments:
        arguments.update(rate=STRACE_RATE, count=max(1, 2 * STRACE_RATE // publishers))
    with Stepped(broker, arguments) as load, tempfile.NamedTemporaryFile("r") as summary:
        strace = subprocess.Popen(["strace", "-f", "-c", "-o", summary.name, "-p", str(broker.pid)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        with strace:
            if "attached" not in strace.stderr.readline():
                strace.terminate()
                return None
            load.proceed()
            result = _parse(load.line())
            load.line("done")
            strace.send_signal(signal.SIGINT)
        return _total_calls(summary.read()) / result["messages"]


def _total_calls(summary):
    """The sum over the rows of strace -c: share, seconds, microseconds per call, calls, perhaps errors, name."""
    rows = (line.split() for line in summary.splitlines())
    return sum(int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total")
