"""A flood of forged beginnings of connections (flood.c) against a listener that serves a peer at 1 Mbit/s."""

import json
import pathlib
import subprocess
import time

import path as way

MESSAGE_BYTES, MESSAGES_PER_SECOND = 1000, 125
QUIET_S, FLOOD_S = 4, 6
FRAMES_PER_SECOND = 10_000
# Forged sources: all of them lead back to where the flood comes from.
SOURCES = "10.78.0.0/16"
# What a listener keeps of somebody.
STATE = ("clients_connected", "sessions_offline", "subscriptions")
GROWTH_BYTES_MAX = 4 << 20
# Peers of the first generation that have proven nothing may have so many places (`unproven_max` of src/stack/rudp/options.rs).
UNPROVEN_MAX = 64
# Counters of the server are up to a second old.
SETTLED_S = 1.5


class Told:
    """The broker that tells its counters."""

    def __init__(self, path, *schemes):
        self.program = path.start("right", "counted", path.programs / "counted", *(f"{scheme}://{way.ADDRESSES['right']}:0" for scheme in schemes),
                                  stdin=subprocess.PIPE)
        self.program.wait_for("\n")
        ports = [word.rsplit(":", 1)[1] for word in self.program.text().split()[1:]]
        self.uris = {scheme: f"{scheme}://{way.ADDRESSES['right']}:{port}" for scheme, port in zip(schemes, ports, strict=True)}

    def counters(self):
        lines = self.program.text().count("\n")
        self.program.process.stdin.write(b"\n")
        self.program.process.stdin.flush()
        way.wait_until(10, lambda: self.program.text().count("\n") > lines, "no counters")
        return {key: int(value) for key, value in (word.split("=") for word in self.program.text().splitlines()[-1].split())}


def run(programs, kinds, frames_per_second=FRAMES_PER_SECOND, quiet_s=QUIET_S, flood_s=FLOOD_S, side="left"):
    """One flood, and what it did, as a dictionary. From the left it comes as the peer does, and more than the emulator can carry is lost on the way,
    the peer's share of it, too. From the right it is poured into the listener's own kernel, where nothing but the listener is in its way."""
    with way.Path(programs, rate=0, delay_us=1000) as path:
        told = Told(path, "mqtt", "rudp")
        # Answers go back where the flood comes from; there nobody wants them.
        path.run("right", "ip", "route", "add", SOURCES, "dev", "path" if side == "left" else "lo")
        delays = pathlib.Path(path.folder, "delays")
        receiver = path.start("right", "receive", programs / "receive", told.uris["mqtt"], "t", "--delays", delays)
        receiver.wait_for("ready")
        sender = path.start("left", "send", programs / "send", told.uris["rudp"] + "?rudp_generation=2", "t", "--bytes", MESSAGE_BYTES,
                            "--rate", MESSAGES_PER_SECOND, "--seconds", quiet_s + flood_s)
        way.wait_until(20, lambda: delays.stat().st_size > 0, "the peer did not begin")
        start = time.monotonic()
        time.sleep(SETTLED_S)
        before, bytes_before = told.counters(), told.program.anonymous_bytes()
        cpu_before = told.program.cpu_us()
        time.sleep(max(0, start + quiet_s - time.monotonic()))
        flood = path.start(side, "flood", programs / "flood", SOURCES, told.uris["rudp"].split("//")[1], "--rate", frames_per_second,
                           "--seconds", flood_s, "--kinds", kinds)
        time.sleep(flood_s / 2)
        newcomer = path.start("left", "newcomer", programs / "send", told.uris["rudp"] + "?rudp_generation=2", "other", "--count", 1)
        middle = told.counters()
        flooded = way.result_of(flood.finish(flood_s + 30))
        cpu_us = told.program.cpu_us() - cpu_before
        newcomer_result = way.result_of(newcomer.finish(60))
        sent = way.result_of(sender.finish(60))
        received = way.result_of(receiver.finish(60))
        time.sleep(SETTLED_S)
        after, bytes_after = told.counters(), told.program.anonymous_bytes()
        dropped = json.loads(path.run("left", "ip", "-json", "-statistics", "link", "show", "path"))[0]["stats64"]["tx"]["dropped"]
        buffers = [line.split() for line in path.run("right", "cat", "/proc/net/snmp").splitlines() if line.startswith("Udp:")]
        moments = [number / MESSAGES_PER_SECOND + int(delay) / 1e6 for number, delay in enumerate(delays.read_text().split())]
        window = (quiet_s + 0.5, quiet_s + flood_s - 0.5)
        arrived = sum(window[0] <= moment < window[1] for moment in moments)
        return {"side": side, "before": before, "middle": middle, "after": after, "growth_bytes": bytes_after - bytes_before, "cpu_us": cpu_us,
                "frames": flooded["frames"] - flooded["refused"], "frames_per_second": (flooded["frames"] - flooded["refused"]) / flooded["seconds"],
                "came": after["datagrams_received"] - before["datagrams_received"], "path_dropped": dropped,
                "socket_dropped": int(dict(zip(*buffers)).get("RcvbufErrors", 0)), "sent": sent, "received": received, "newcomer": newcomer_result,
                "goodput": arrived / (MESSAGES_PER_SECOND * (window[1] - window[0]))}


def summary(did):
    return (f"{did['frames_per_second']:.0f} forged frames/s, {did['came']:.0f} came in; the peer kept {did['goodput'] * 100:.1f} % of 1 Mbit/s; "
            f"{did['growth_bytes'] / 1024:.0f} KiB more")


def test(bench):
    """Asserted is what holds on any machine; how much of its goodput the peer keeps is told only."""
    told = {}

    def stateless():
        did = told["did"] = run(bench.programs, "new,guessed,bare")
        for name in STATE:
            # The newcomer has come and gone.
            before, middle, after = (did[moment][name] for moment in ("before", "middle", "after"))
            assert after <= before and middle <= before + 1, (name, before, middle, after)
        assert did["after"]["connections_accepted"] == did["before"]["connections_accepted"] + 1, "somebody forged was let in"
        assert did["growth_bytes"] < GROWTH_BYTES_MAX, did["growth_bytes"]
        assert did["after"]["datagram_cookies"] > did["before"]["datagram_cookies"], "nothing was answered: it was no flood"
        return summary(did)

    def survives(did):
        assert did["received"]["missing"] == 0 and did["received"]["disorder"] == 0, did["received"]
        assert did["sent"]["connected"] == 1 and did["newcomer"]["connected"] == 1, (did["sent"], did["newcomer"])

    def bounded():
        did = told["data"] = run(bench.programs, "bare,data")
        for moment in ("middle", "after"):
            assert did[moment]["clients_connected"] <= did["before"]["clients_connected"] + UNPROVEN_MAX + 1, did[moment]
        assert did["growth_bytes"] < GROWTH_BYTES_MAX, did["growth_bytes"]
        return summary(did)

    bench.check("flood: forged CONNECTs make no state", stateless)
    bench.check("flood: the peer lost nothing and a newcomer came in", lambda: survives(told["did"]))
    bench.check("flood: forged first packets of generation 1 have their places and no more", bounded)
    bench.check("flood: the peer lost nothing and a newcomer of generation 2 came in", lambda: survives(told["data"]))
