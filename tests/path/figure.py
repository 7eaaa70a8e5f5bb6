"""Goodput and delay over loss as a picture: two panels on logarithmic scales, drawn as SVG without any library."""

import math
from xml.sax.saxutils import escape

PANEL, HEIGHT, LEFT, TOP, GAP, LINE = 330, 260, 60, 50, 90, 20
INK, GRID = "#222222", "#dddddd"
MARKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def _text(x, y, text, anchor="start", size=12):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-family="sans-serif" font-size="{size}" text-anchor="{anchor}" fill="{INK}">{escape(text)}</text>'


def _panel(x, heading, losses, lines):
    """`lines`: (colour, values)."""
    values = [value for _, row in lines for value in row]
    low = max((mark for mark in MARKS if mark <= min(values)), default=MARKS[0])
    high = min((mark for mark in MARKS if mark >= max(values)), default=MARKS[-1])
    high = high if high > low else high * 2

    def place(index, value):
        share = math.log(min(max(value, low), high) / low) / math.log(high / low)
        return x + PANEL * (index + 0.5) / len(losses), TOP + HEIGHT * (1 - share)

    parts = [_text(x, TOP - 12, heading, size=13)]
    for mark in MARKS:
        if low <= mark <= high:
            _, y = place(0, mark)
            parts.append(f'<line x1="{x}" y1="{y:.1f}" x2="{x + PANEL}" y2="{y:.1f}" stroke="{GRID}"/>')
            parts.append(_text(x - 6, y + 4, f"{mark:g}", "end", 11))
    for index, loss in enumerate(losses):
        parts.append(_text(place(index, low)[0], TOP + HEIGHT + 16, loss, "middle", 11))
    for colour, row in lines:
        points = [place(index, value) for index, value in enumerate(row)]
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="' + " ".join(f"{a:.1f},{b:.1f}" for a, b in points) + '"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
    return parts


def draw(losses, series):
    """`series`: (title, colour, goodputs in Mbit/s, p99 in ms), a number for each of `losses`."""
    second = LEFT + PANEL + GAP
    width, bottom = second + PANEL + 30, TOP + HEIGHT + 40
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + LINE * len(series) + 10}">',
             '<rect width="100%" height="100%" fill="white"/>']
    parts += _panel(LEFT, "goodput, Mbit/s (more is better)", losses, [(colour, goodputs) for _, colour, goodputs, _ in series])
    parts += _panel(second, "p99 of small messages, ms (less is better)", losses, [(colour, delays) for _, colour, _, delays in series])
    for index, (title, colour, _, _) in enumerate(series):
        y = bottom + LINE * index
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{LEFT + 26}" y2="{y}" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(LEFT + 34, y + 4, title))
    return "\n".join([*parts, "</svg>", ""])
