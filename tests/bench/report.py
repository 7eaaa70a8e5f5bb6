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


def _met(value, target):
    if value is None or target is None:
        return ""
    return "yes" if value <= target else "no"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell if isinstance(cell, str) else number(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _both(ours, peer):
    """A count that should be zero, of both brokers."""
    return f"{ours:.0f}" if peer is None else f"{ours:.0f} / {peer:.0f}"


def traffic(rows):
    """`rows`: (case, ours, peer, ratio); ours and peer are dicts of medians, peer None without one."""
    header = ["case", "ours us/msg", "mosquitto us/msg", "ratio", "target ratio", "met", "ours sys/msg",
              "mosquitto sys/msg", "ours msg/s", "mosquitto msg/s", "lost", "out of order"]
    lines = []
    for case, ours, peer, ratio in rows:
        other = peer or {}
        lines.append([case.title, ours["broker_us"], other.get("broker_us"), ratio, case.cpu_target,
                      _met(ratio, case.cpu_target), ours["syscalls"], other.get("syscalls"),
                      ours["messages_per_s"], other.get("messages_per_s"), _both(ours["lost"], other.get("lost")),
                      _both(ours["out_of_order"], other.get("out_of_order"))])
    return table(header, lines)


def syscalls(rows):
    header = ["system calls per message", "ours", "mosquitto", "ratio", "target ratio", "met"]
    lines = []
    for case, ours, peer, _ in rows:
        if case.syscall_target is None:
            continue
        ratio = quotient(ours["syscalls"], peer and peer["syscalls"])
        lines.append([case.title, ours["syscalls"], peer and peer["syscalls"], ratio, case.syscall_target,
                      _met(ratio, case.syscall_target)])
    return table(header, lines) if lines else ""


def retained(rows):
    header = ["stored messages", "ours s", "mosquitto s", "target s", "met", "ours us/msg", "mosquitto us/msg",
              "ours received", "mosquitto received"]
    lines = []
    for case, ours, peer, _ in rows:
        other = peer or {}
        lines.append([case.title, ours["seconds"], other.get("seconds"), case.target_seconds,
                      _met(ours["seconds"], case.target_seconds) if not ours["lost"] else "no", ours["broker_us"],
                      other.get("broker_us"), ours["messages"], other.get("messages")])
    return table(header, lines)


def memory(rows):
    """`rows`: (title, ours, peer, target)."""
    header = ["memory", "ours", "mosquitto", "ratio", "target ratio", "met"]
    lines = []
    for title, ours, peer, target in rows:
        ratio = quotient(ours, peer)
        lines.append([title, ours, peer, ratio, target, _met(ratio, target)])
    return table(header, lines)
