#!/usr/bin/env python3
"""The README's table of sizes is true within a tenth.

sizes.py ROW COLUMN FILE...: the sum of the files' sizes in KiB against the cell. UPDATE_SIZES=1 writes the cell.
"""
import os
import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
TOLERANCE = 0.1


def main():
    row, column, *files = sys.argv[1:]
    size = round(sum(os.path.getsize(file) for file in files) / 1024)
    text = README.read_text()
    table = re.search(r"<!-- sizes -->\n(.*?)<!-- /sizes -->", text, flags=re.S)
    lines = table[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    place = cells[0].index(column)
    number = next(index for index, line in enumerate(cells) if line[0] == row)
    if os.environ.get("UPDATE_SIZES"):
        cells[number][place] = str(size)
        lines[number] = "| " + " | ".join(cells[number]) + " |"
        README.write_text(text[: table.start(1)] + "\n".join(lines) + "\n" + text[table.end(1) :])
        return 0
    told = cells[number][place]
    if not told.isdigit() or abs(int(told) - size) > TOLERANCE * size:
        print(f"README.md says {told} KiB for {row}, {column}; it is {size}. UPDATE_SIZES=1 writes it.")
        return 1
    return 0


sys.exit(main())
