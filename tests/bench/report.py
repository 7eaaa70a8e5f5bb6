"""Markdown tables from measured rows."""


def number(value):
    """Three digits that matter, or a dash."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def quotient(ours, peer):
    return ours / peer if ours is not None and peer else None


def _met(value, target, stretch=None):
    if value is None or target is None:
        return ""
    if stretch is not None and value <= stretch:
        return "stretch"
    return "yes" if value <= target else "no"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell if isinstance(cell, str) else number(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _both(ours, peer):
    """A count that should be zero, of both brokers."""
    return f"{ours:.0f}" if peer is None else f"{ours:.0f} / {peer:.0f}"


def traffic(rows):
    """`rows`: compare.Row; ours, peer and floor are dicts of medians, peer and floor None where there is none."""
    header = ["case", "ours us/msg", "mosquitto us/msg", "ratio", "target ratio", "stretch", "met", "floor us/msg", "floor's ratio", "ours sys/msg",
              "mosquitto sys/msg", "ours msg/s", "mosquitto msg/s", "lost", "out of order"]
    lines = []
    for row in rows:
        ours, other = row.ours, row.peer or {}
        lines.append([row.case.title, ours["broker_us"], other.get("broker_us"), row.ratio, row.case.cpu_target,
                      row.case.stretch, _met(row.ratio, row.case.cpu_target, row.case.stretch), row.floor and row.floor["broker_us"], row.floor_ratio, ours["syscalls"],
                      other.get("syscalls"), ours["messages_per_s"], other.get("messages_per_s"), _both(ours["lost"], other.get("lost")),
                      _both(ours["out_of_order"], other.get("out_of_order"))])
    return table(header, lines)


def transports(rows):
    """As `traffic`, of what has neither targets nor a floor."""
    header = ["transports", "ours us/msg", "mosquitto us/msg", "ratio", "ours sys/msg", "mosquitto sys/msg", "ours msg/s", "mosquitto msg/s", "lost",
              "out of order"]
    lines = []
    for row in rows:
        ours, other = row.ours, row.peer or {}
        lines.append([row.case.title, ours["broker_us"], other.get("broker_us"), row.ratio, ours["syscalls"], other.get("syscalls"),
                      ours["messages_per_s"], other.get("messages_per_s"), _both(ours["lost"], other.get("lost")),
                      _both(ours["out_of_order"], other.get("out_of_order"))])
    return table(header, lines)


def transports_memory(rows):
    """As `memory`, without targets."""
    return table(["transports: memory", "ours", "mosquitto", "ratio"], [[title, ours, peer, quotient(ours, peer)] for title, ours, peer, *_ in rows])


def latency(rows):
    """Of the rows that went at a rate."""
    header = ["latency, us", "ours p50", "p99", "p99.9", "mosquitto p50", "p99", "p99.9", "floor p50", "p99", "p99.9"]
    keys = ("p50_us", "p99_us", "p999_us")
    lines = [[row.case.title, *[side and side[key] for side in (row.ours, row.peer, row.floor) for key in keys]]
             for row in rows if "rate" in row.case.arguments]
    return table(header, lines) if lines else ""


def workers(rows):
    """`rows`: (case, medians of one worker, of two, of mosquitto or None, the ratio of two workers)."""
    header = ["two workers", "1 worker us/msg", "2 workers us/msg", "mosquitto us/msg", "ratio of 2", "target ratio", "stretch", "met", "1 worker msg/s",
              "2 workers msg/s", "mosquitto msg/s", "lost", "out of order"]
    lines = []
    for case, one, two, peer, ratio in rows:
        other = peer or {}
        lines.append([case.title, one["broker_us"], two["broker_us"], other.get("broker_us"), ratio, case.cpu_target, case.stretch,
                      _met(ratio, case.cpu_target, case.stretch),
                      one["messages_per_s"], two["messages_per_s"], other.get("messages_per_s"), _both(two["lost"], other.get("lost")),
                      _both(two["out_of_order"], other.get("out_of_order"))])
    return table(header, lines)


def syscalls(rows):
    header = ["system calls per message", "ours", "mosquitto", "ratio", "target ratio", "met"]
    lines = []
    for case, ours, peer, *_ in rows:
        if case.syscall_target is None:
            continue
        ratio = quotient(ours["syscalls"], peer and peer["syscalls"])
        lines.append([case.title, ours["syscalls"], peer and peer["syscalls"], ratio, case.syscall_target,
                      _met(ratio, case.syscall_target)])
    return table(header, lines) if lines else ""


def retained(rows):
    header = ["stored messages", "ours s", "mosquitto s", "target s", "stretch s", "met", "ours us/msg", "mosquitto us/msg",
              "ours received", "mosquitto received"]
    lines = []
    for case, ours, peer, *_ in rows:
        other = peer or {}
        lines.append([case.title, ours["seconds"], other.get("seconds"), case.target_seconds, case.stretch_seconds,
                      _met(ours["seconds"], case.target_seconds, case.stretch_seconds) if not ours["lost"] else "no", ours["broker_us"],
                      other.get("broker_us"), ours["messages"], other.get("messages")])
    return table(header, lines)


def memory(rows):
    """`rows`: (title, ours, peer, target, stretch)."""
    header = ["memory", "ours", "mosquitto", "ratio", "target ratio", "stretch", "met"]
    lines = []
    for title, ours, peer, target, stretch in rows:
        ratio = quotient(ours, peer)
        lines.append([title, ours, peer, ratio, target, stretch, _met(ratio, target, stretch)])
    return table(header, lines)


def client(rows):
    """`rows`: (title, ours, libmosquitto's, ratio, target ratio, us aimed at)."""
    header = ["client library", "ours us/msg", "libmosquitto us/msg", "ratio", "target ratio", "met", "us/msg aimed at"]
    return table(header, [[title, ours, peer, ratio, target, _met(ratio, target), aim] for title, ours, peer, ratio, target, aim in rows])
