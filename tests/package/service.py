#!/usr/bin/env python3
"""The gateway as a service: what it says to systemd, with this program in systemd's place.

service.py COMMAND...: the command of the unit's ExecStart. Each step waits for the datagram that has to come.
"""
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

WATCHDOG_US = 400_000
PATIENCE_S = 30
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


class Systemd:
    """The datagram socket a service reports to."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)

    def next(self, timeout_s=PATIENCE_S):
        """The fields of the next datagram; None: none came."""
        self.socket.settimeout(timeout_s)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def expect(self, key):
        """The next datagram that is no ping has this field."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            fields = self.next()
            if fields is None:
                break
            if "WATCHDOG" not in fields or key == "WATCHDOG":
                assert key in fields, f"expected {key}, got {fields}"
                return fields
        raise AssertionError(f"no {key} came")

    def drain(self):
        while self.next(0.001) is not None:
            pass


def start(command, path, watchdog_us=None, watchdog_pid=None):
    environment = dict(os.environ, NOTIFY_SOCKET=path.replace("\0", "@"))
    if watchdog_us:
        environment["WATCHDOG_USEC"] = str(watchdog_us)
    if watchdog_pid:
        environment["WATCHDOG_PID"] = str(watchdog_pid)
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def loop_thread(process):
    """The thread that runs the broker: the one that is not the first."""
    tasks = [int(task) for task in os.listdir(f"/proc/{process.pid}/task")]
    others = [task for task in tasks if task != process.pid]
    assert len(others) == 1, f"threads: {tasks}"
    return others[0]


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def life(command, path):
    """Ready, pings, reload, a stuck loop, and the stop."""
    systemd = Systemd(path)
    process = start(command, path, WATCHDOG_US)
    try:
        systemd.expect("READY")
        for _ in range(3):
            systemd.expect("WATCHDOG")
        process.send_signal(signal.SIGHUP)
        before = time.monotonic_ns() // 1000
        reloading = systemd.expect("RELOADING")
        assert abs(int(reloading["MONOTONIC_USEC"]) - before) < PATIENCE_S * 1_000_000
        systemd.expect("READY")

        # Only the loop's thread stands still: no ping comes although the main thread goes on.
        thread = loop_thread(process)
        ptrace(PTRACE_ATTACH, thread)
        os.waitpid(thread, 0x40000000)  # __WALL
        systemd.drain()
        assert systemd.next(4 * WATCHDOG_US / 1e6) is None, "a ping without the loop"
        ptrace(PTRACE_DETACH, thread)
        systemd.expect("WATCHDOG")

        process.send_signal(signal.SIGTERM)
        systemd.expect("STOPPING")
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def without_watchdog(command, path):
    """WATCHDOG_PID names somebody else: no ping."""
    systemd = Systemd(path)
    process = start(command, path, WATCHDOG_US, os.getpid())
    try:
        systemd.expect("READY")
        assert systemd.next(3 * WATCHDOG_US / 1e6) is None, "a ping that was meant for another process"
        process.terminate()
        systemd.expect("STOPPING")
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def refuses(command):
    """A NOTIFY_SOCKET that is no socket's name is one clear line."""
    environment = dict(os.environ, NOTIFY_SOCKET="nonsense")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and re.fullmatch(r"nlmqttd: NOTIFY_SOCKET: .*\n", done.stderr), done


def main():
    command = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        life(command, f"{folder}/path")
        life(command, f"\0nlmqtt-test-{os.getpid()}")
        without_watchdog(command, f"{folder}/other")
        refuses(command)


main()
