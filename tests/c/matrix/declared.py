"""What include/nlmqtt.h declares: functions with parameters and comment, and every place where the library calls back."""
import os
import re
import sys
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/package"))
import abi  # noqa: E402

Parameter = namedtuple("Parameter", "type name")
Function = namedtuple("Function", "name result parameters doc")
# A place is a field of a table or options (`owner` is the struct) or a parameter (`owner` is the function).
Place = namedtuple("Place", "owner name result parameters")


def parameter(text):
    match = re.fullmatch(r"(.*[\s*])(\w+)", text.strip())
    assert match, f"not a parameter: {text}"
    return Parameter(match[1].strip(), match[2])


def parameters(text):
    return [] if text.strip() == "void" else [parameter(part) for part in text.split(",")]


def functions(text):
    """In the order of the header."""
    docs = {}
    for doc, name in re.findall(r"/\*\*((?:(?!\*/).)*)\*/\s*[\w\s*]*?\b(nlmqtt_\w+)\(", text, flags=re.S):
        docs[name] = " ".join(re.sub(r"^\s*\*", "", line).strip() for line in doc.splitlines())
    found = []
    for statement in abi.declarations(text):
        match = re.fullmatch(r"(.*[\s*])(nlmqtt_\w+)\((.*)\)", statement)
        if match and not statement.startswith("typedef "):
            found.append(Function(match[2], match[1].strip(), parameters(match[3]), docs.get(match[2], "")))
    assert len(found) > 200, f"only {len(found)} functions"
    return found


def places(text, every_function):
    """Every function pointer the library may call."""
    types = {}
    for statement in abi.declarations(text):
        match = re.fullmatch(r"typedef (.*)\(\*(\w+)\)\((.*)\)", statement)
        if match:
            types[match[2]] = (match[1].strip(), parameters(match[3]))
    found = []
    for statement in abi.declarations(text):
        struct = re.fullmatch(r"typedef struct \w* ?\{(.*)\} (\w+)", statement)
        for part in struct[1].split(";") if struct else []:
            pointer = re.fullmatch(r"(.*)\(\*(\w+)\)\((.*)\)", part.strip())
            if pointer:
                found.append(Place(struct[2], pointer[2], pointer[1].strip(), parameters(pointer[3])))
            elif part.split() and part.split()[0] in types:
                found.append(Place(struct[2], part.split()[1], *types[part.split()[0]]))
    for function in every_function:
        found += [Place(function.name, of.name, *types[of.type]) for of in function.parameters if of.type in types]
    assert len(found) > 60, f"only {len(found)} places"
    return found


def header():
    return Path(os.environ.get("HEADER", ROOT / "include/nlmqtt.h")).read_text()
