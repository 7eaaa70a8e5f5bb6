"""The results as a picture: each row's ratio to mosquitto on a logarithmic scale, drawn as SVG without any library."""

import math
from xml.sax.saxutils import escape

LEFT, WIDTH, ROW, TOP, BOTTOM = 300, 520, 22, 58, 34
LOWEST, HIGHEST = 0.01, 1.5
OURS, REACHED, AIM = "#3465a4", "#222222", "#cc0000"


def _x(ratio):
    share = math.log(max(ratio, LOWEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return LEFT + WIDTH * min(share, 1.0)


def _text(x, y, text, anchor="start", size=12, colour=REACHED):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-family="sans-serif" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{colour}">{escape(text)}</text>')


def draw(rows, heading):
    """`rows`: (title, ratio, target or None); what has no ratio is left out."""
    rows = [row for row in rows if row[1] is not None]
    height = TOP + ROW * len(rows) + BOTTOM
    end = TOP + ROW * len(rows)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 70}" height="{height}">',
             '<rect width="100%" height="100%" fill="white"/>', _text(12, 22, heading, size=15),
             _text(12, 42, "Cost of nlmqttd divided by mosquitto's in the same run; shorter is better. "
                   "The red mark is what was aimed at.", size=11)]
    for mark in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
        x = _x(mark)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{end}" stroke="#dddddd"/>')
        parts.append(_text(x, end + 16, f"{mark:g}", "middle", 11))
    for index, (title, ratio, target) in enumerate(rows):
        y = TOP + ROW * index
        parts.append(_text(LEFT - 8, y + 15, title, "end"))
        parts.append(f'<rect x="{LEFT}" y="{y + 4}" width="{max(_x(ratio) - LEFT, 1):.1f}" height="{ROW - 8}" fill="{OURS}"/>')
        if target is not None:
            parts.append(f'<rect x="{_x(target) - 1:.1f}" y="{y + 1}" width="2" height="{ROW - 2}" fill="{AIM}"/>')
        parts.append(_text(max(_x(ratio), _x(target or 0)) + 6, y + 15, f"{ratio:.3f}", size=11))
    return "\n".join([*parts, "</svg>", ""])
