#!/usr/bin/env python3
"""The ABI as text: functions, constants, types, and where each field of each struct lies.

abi.py FILE [CC NM]: compares the dump of include/nlmqtt.h, laid out by CC, with the committed FILE. UPDATE_ABI=1
rewrites it, but only if nothing is taken away or changed: the ABI grows, and a struct that begins with struct_size may
get longer. UPDATE_ABI=break rewrites it all the same; that asks for another soname.
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = Path(__file__).resolve().parents[2] / "include/nlmqtt.h"


def declarations(text):
    """The header's statements, each on one line, without comments and preprocessor lines."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"#ifdef __cplusplus.*?#endif[^\n]*", " ", text, flags=re.S)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == ";" and depth == 0:
            yield " ".join(text[start:place].split())
            start = place + 1
    assert not text[start:].strip(), f"not understood: {text[start:]}"


def without_names(parameters):
    """Parameters as types: their names are not part of the ABI."""
    types = []
    for parameter in parameters.split(","):
        match = re.fullmatch(r"(.*[\s*])(\w+)", parameter.strip())
        types.append((match[1] if match else parameter).strip())
    return ", ".join(types)


def field(text):
    """(name, type) of one field."""
    pointer = re.fullmatch(r"(.*)\(\*(\w+)\)\((.*)\)", text)
    if pointer:
        return pointer[2], f"{pointer[1].strip()} (*)({without_names(pointer[3])})"
    plain = re.fullmatch(r"(.*[\s*])(\w+)((?:\[\w+\])?)", text)
    assert plain, f"not a field: {text}"
    return plain[2], plain[1].strip() + plain[3]


def parse(text):
    """Lines of the dump that need no compiler, and the structs with their fields."""
    lines, structs = [], {}
    for name, value in re.findall(r"^#define (NLMQTT_\w+) (.+)$", text, flags=re.M):
        lines.append(f"constant {name} {value}")
    for statement in declarations(text):
        struct = re.fullmatch(r"typedef struct \w* ?\{(.*)\} (\w+)", statement)
        function = re.fullmatch(r"(.*[\s*])(nlmqtt_\w+)\((.*)\)", statement)
        callback = re.fullmatch(r"typedef (.*)\(\*(\w+)\)\((.*)\)", statement)
        if struct:
            structs[struct[2]] = [field(part.strip()) for part in struct[1].split(";") if part.strip()]
        elif callback:
            lines.append(f"callback {callback[2]}: {callback[1].strip()} ({without_names(callback[3])})")
        elif statement.startswith("typedef "):
            lines.append(f"type {statement.split()[-1]}: {' '.join(statement.split()[1:-1])}")
        else:
            assert function, f"not understood: {statement}"
            lines.append(f"function {function[2]}: {function[1].strip()} ({without_names(function[3])})")
    return lines, structs


def layout(structs, compiler, nm):
    """Lines for the structs: the compiler lays them out in an object file, nm tells sizes; nothing has to run."""
    source, asked = ['#include "nlmqtt.h"'], {}

    def ask(expression):
        name = f"abi_{len(asked)}"
        asked[name] = expression
        source.append(f"char {name}[({expression}) + 1] = {{1}};")
        return name

    rows = []
    for name, fields in structs.items():
        size = ask(f"sizeof({name})")
        places = [(ask(f"offsetof({name}, {what})"), what, of) for what, of in fields]
        rows.append((name, size, places))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "abi.c").write_text("\n".join(source) + "\n")
        subprocess.run([compiler, "-std=c99", "-c", f"-I{HEADER.parent}", "-o", f"{folder}/abi.o", f"{folder}/abi.c"], check=True)
        table = subprocess.run([nm, "-S", f"{folder}/abi.o"], check=True, capture_output=True, text=True).stdout
    size_of = {line.split()[3]: int(line.split()[1], 16) - 1 for line in table.splitlines()}
    lines = []
    for name, size, places in rows:
        lines.append(f"struct {name} {size_of[size]} bytes")
        lines += [f"field {name} {size_of[place]}: {what}: {of}" for place, what, of in places]
    return lines


def grew(line, new, structs):
    """A struct whose size is part of every call may get longer."""
    match = re.fullmatch(r"struct (\w+) (\d+) bytes", line)
    if not match or match[1] not in structs or structs[match[1]][0][0] != "struct_size":
        return False
    return any(int(size) > int(match[2]) for size in re.findall(rf"^struct {match[1]} (\d+) bytes$", "\n".join(new), flags=re.M))


def main():
    committed = sys.argv[1]
    compiler, nm = sys.argv[2:] or ["cc", "nm"]
    lines, structs = parse(HEADER.read_text())
    assert len(lines) > 200 and len(structs) > 10, f"only {len(lines)} lines, {len(structs)} structs"
    dump = sorted(lines) + layout(dict(sorted(structs.items())), compiler, nm)
    path = Path(committed)
    old = path.read_text().splitlines() if path.exists() else []
    gone = [line for line in old if line not in dump and not grew(line, dump, structs)]
    new = [line for line in dump if line not in old]
    update = os.environ.get("UPDATE_ABI")
    if update == "break" or (update and not gone):
        path.write_text("\n".join(dump) + "\n")
        return 0
    for line in gone:
        print(f"taken away or changed: {line}")
    for line in new:
        print(f"new: {line}")
    if gone:
        print("The ABI only grows. UPDATE_ABI=break accepts it; the soname has to change with it after 1.0.")
    elif new:
        print(f"UPDATE_ABI=1 tests/package/abi.py {committed} takes it into the dump.")
    return 1 if gone or new else 0


if __name__ == "__main__":
    sys.exit(main())
