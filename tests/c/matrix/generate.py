#!/usr/bin/env python3
"""Writes C programs from include/nlmqtt.h: generate.py FOLDER makes FOLDER/matrix.c, FOLDER/frees.c and FOLDER/nulls.c.

matrix.c calls every function in every place where the library calls back (scenario.h makes the library do so), in each
mode of a runtime: it returns, with the status that its comment promises. frees.c frees, in every such place, each handle that
is in use there (frees.h): it takes effect when the callback returns, and everything is released once. nulls.c calls every function with NULL in each
pointer parameter in turn. A function, parameter or place that tables.py does not know ends this with a message.
"""
import sys
from pathlib import Path

import declared
import tables
from frees import Frees

TEXT = declared.header()
FUNCTIONS = declared.functions(TEXT)
EVERY_PLACE = declared.places(TEXT, FUNCTIONS)
PLACES = [place for place in EVERY_PLACE if place.owner.removeprefix("nlmqtt_") not in tables.NOT_PLACES]
FAULTS = []


def short(name):
    return name.removeprefix("nlmqtt_")


def is_pointer(parameter):
    return parameter.type.endswith(("*", "_fn"))


def value(function, parameter):
    """The C expression of a good argument."""
    if parameter.type == "nlmqtt_free_fn":
        return "count_free"
    if parameter.type.endswith("_fn"):
        return f"quiet_{parameter.type}"
    if parameter.name == "user_data":
        return "slot"
    for key in (f"{short(function.name)}.{parameter.name}", f"{parameter.type} {parameter.name}"):
        if key in tables.VALUES:
            USED.add(key)
            return tables.VALUES[key]
    FAULTS.append(f"tables.VALUES has nothing for {function.name}: {parameter.type} {parameter.name}")
    return "0"


def call(function, missing=None):
    """A call in C, with NULL for the parameter `missing`."""
    return f"{function.name}({', '.join('NULL' if p.name == missing else value(function, p) for p in function.parameters)})"


USED = set()


def with_slot(function, is_released):
    """The line before a call that takes user_data."""
    if not any(parameter.name == "user_data" for parameter in function.parameters):
        return ""
    return f"    int *slot = next_slot({int(is_released and any(p.name == 'free_fn' for p in function.parameters))});\n"


def quiet_callbacks():
    """One function for each callback type of a parameter, that does nothing."""
    for name, place in sorted({of.type: place for place in PLACES for of in of_owner(place) if of.type.endswith("_fn")}.items()):
        if name == "nlmqtt_free_fn":
            continue
        parameters = ", ".join(f"{p.type} {p.name}" for p in place.parameters)
        unused = " ".join(f"(void){p.name};" for p in place.parameters)
        result = " return false;" if place.result == "bool" else ""
        yield f"static {place.result} quiet_{name}({parameters})\n{{\n    {unused}{result}\n}}\n"


def of_owner(place):
    """The parameter a place is, if it is one."""
    return [p for function in FUNCTIONS if function.name == place.owner for p in function.parameters if p.name == place.name]


def write(folder, name, lines):
    Path(folder, name).write_text(f"/* Made by tests/c/matrix/generate.py. */\n{''.join(lines)}")


# --- matrix.c


def waits(function):
    """Its comment promises WOULD_DEADLOCK inside a callback."""
    return "WOULD_DEADLOCK inside a callback" in function.doc


def statuses(function):
    """What it may answer on the thread that runs callbacks."""
    if short(function.name) in tables.STATUSES:
        USED.add(function.name)
        return tables.STATUSES[short(function.name)]
    return ["WOULD_DEADLOCK"] if waits(function) else ["OK"]


def call_in_matrix(function):
    text = f"static void call_{function.name}(struct arguments *a)\n{{\n{with_slot(function, True)}"
    if function.result == "nlmqtt_status":
        text += f"    nlmqtt_status status = {call(function)};\n"
        allowed = " || ".join(f"status == NLMQTT_{status}" for status in statuses(function))
        text += f'    judge("{function.name}", {allowed}, status);\n'
    elif function.result == "void":
        text += f"    {call(function)};\n"
    elif short(function.name) in tables.RELEASES:
        USED.add(function.name)
        text += f"    {tables.RELEASES[short(function.name)]}({call(function)});\n"
    else:
        text += f"    (void){call(function)};\n"
    return text + "    (void)a;\n}\n\n"


def place_name(place):
    return f"{short(place.owner)}_{place.name}"


def trampoline(place, number):
    """The callback of one place: calls everything, once, with what it is lent."""
    works = place.name.endswith("free_fn") or f"{short(place.owner)}.{place.name}" in tables.ON_ANY_THREAD
    text = f"static {place.result} on_{place_name(place)}({', '.join(f'{p.type} {p.name}' for p in place.parameters)})\n{{\n"
    lent = [p for p in place.parameters if p.type in ("nlmqtt_credentials *", "nlmqtt_decision *", "const nlmqtt_message *")]
    text += "".join(f"    (void){p.name};\n" for p in place.parameters)
    text += f"    if (enter({number}, {int(works)})) {{\n        struct arguments a;\n        begin_calls(&a);\n"
    for parameter in lent:
        kind = parameter.type.split("nlmqtt_")[1].split()[0]
        text += f"        if ({parameter.name})\n            a.{kind} = {parameter.name};\n"
    text += "        call_everything(&a);\n        end_calls(&a);\n    }\n"
    text += f"    {tables.AFTER[place_name(place)]}\n" if place_name(place) in tables.AFTER else ""
    return text + tables.answer(place) + "}\n\n"


def fill(owner, places):
    """Sets every callback of a table or of options."""
    text = f"static void fill_{short(owner)}({owner} *table)\n{{\n"
    return text + "".join(f"    table->{place.name} = on_{place_name(place)};\n" for place in places) + "}\n\n"


def matrix(folder):
    lines = ['#include "matrix/arguments.h"\n\n', f"enum {{ PLACES = {len(PLACES)}, FUNCTIONS = {len(FUNCTIONS)} }};\n"]
    lines += ["static const char *const place_names[PLACES] = {\n", *(f'    "{short(p.owner)}.{p.name}",\n' for p in PLACES), "};\n\n"]
    lines += [f"enum {{ IN_{place_name(place).upper()} = {number} }};\n" for number, place in enumerate(PLACES)]
    lines += ['\n#include "matrix/calls.h"\n\n', *quiet_callbacks()]
    lines += [call_in_matrix(function) for function in FUNCTIONS]
    # What needs a token comes when there is one; what ends an object comes last, free at the very end.
    order = sorted(FUNCTIONS, key=lambda f: [f.name.endswith(end) for end in ("_free", "_stop", "_stop_ex", "_cancel", "_wait")])
    lines += ["static void call_everything(struct arguments *a)\n{\n"]
    lines += [f'    next_call("{f.name}");\n    call_{f.name}(a);\n    release_outputs(a);\n' for f in order]
    lines += ["}\n\n", *(trampoline(place, number) for number, place in enumerate(PLACES))]
    owners = dict.fromkeys(place.owner for place in PLACES if not any(f.name == place.owner for f in FUNCTIONS))
    lines += [fill(owner, [place for place in PLACES if place.owner == owner]) for owner in owners]
    lines += ['#include "matrix/scenario.h"\n']
    write(folder, "matrix.c", lines)


# --- frees.c


def frees(folder):
    owners = dict.fromkeys(place.owner for place in EVERY_PLACE if not any(f.name == place.owner for f in FUNCTIONS))
    fills = [fill(owner, [place for place in EVERY_PLACE if place.owner == owner]) for owner in owners]
    write(folder, "frees.c", Frees(FUNCTIONS, EVERY_PLACE, place_name, FAULTS).program(fills))


# --- nulls.c


def may_be_null(function, parameter):
    """tables.MAY_BE_NULL says so, and the comment does, too."""
    key = f"{short(function.name)}.{parameter.name}"
    if parameter.name == "user_data":
        return True
    if key not in tables.MAY_BE_NULL:
        return False
    USED.add(f"null {key}")
    doc = function.doc
    for other in FUNCTIONS:
        # "As nlmqtt_x": its comment holds here, too.
        if f"s {other.name}" in function.doc:
            doc += other.doc
    if "NULL" not in doc:
        FAULTS.append(f"{function.name}: {parameter.name} may be NULL, but the comment does not say so")
    return True


def null_call(function, parameter):
    allowed = may_be_null(function, parameter)
    fails = function.result == "nlmqtt_status" and not allowed
    slot = with_slot(function, parameter.name not in ("free_fn", "user_data"))
    text = f"static void {short(function.name)}_without_{parameter.name}(struct arguments *a)\n{{\n{slot}"
    where = f'"{function.name}", "without {parameter.name}"'
    if function.result == "nlmqtt_status":
        text += f"    nlmqtt_status status = {call(function, parameter.name)};\n"
        text += f"    judge_null({where}, {'status == NLMQTT_INVALID_ARGUMENT' if not allowed else 'status != NLMQTT_INVALID_ARGUMENT'}, status);\n"
        if fails and slot and any(p.name == "free_fn" for p in function.parameters) and parameter.name != "free_fn":
            text += f"    judge_null({where}, *slot == 1, status); /* released, because the call failed */\n"
        if slot and parameter.name == "user_data":
            text += "    (void)slot;\n"
    elif function.result == "void":
        text += f"    {call(function, parameter.name)};\n"
        if "NULL is fine" not in function.doc:
            FAULTS.append(f"{function.name} does nothing for NULL, but the comment does not say so")
    else:
        nothing = tables.NOTHING.get(short(function.name)) or tables.NOTHING[function.result]
        text += f"    judge_null({where}, {nothing.format(call(function, parameter.name))}, NLMQTT_OK);\n"
    return text + "    (void)a;\n}\n\n"


def nulls(folder):
    lines = ['#include "matrix/arguments.h"\n\n', *quiet_callbacks(), '#include "matrix/nulls.h"\n\n']
    pairs = [(f, p) for f in FUNCTIONS for p in f.parameters if is_pointer(p)]
    lines += [null_call(*pair) for pair in pairs]
    lines += [f"enum {{ CALLS = {len(pairs)} }};\n", "static void (*const calls[CALLS])(struct arguments *a) = {\n"]
    lines += [f"    {short(f.name)}_without_{p.name},\n" for f, p in pairs]
    lines += ["};\n\n", '#include "matrix/nulls_main.h"\n']
    write(folder, "nulls.c", lines)


def main():
    folder = sys.argv[1]
    Path(folder).mkdir(parents=True, exist_ok=True)
    matrix(folder)
    frees(folder)
    nulls(folder)
    known = {function.name for function in FUNCTIONS}
    places = {f"{short(place.owner)}.{place.name}" for place in PLACES}
    for name, called in (("scenario.h", PLACES), ("frees_scenes.h", EVERY_PLACE)):
        scenes = Path(__file__).with_name(name).read_text()
        # A field is set by fill_*; a parameter has to be given somewhere.
        wanted = [f"on_{place_name(p)}" if any(f.name == p.owner for f in FUNCTIONS) else f"fill_{short(p.owner)}(" for p in called]
        FAULTS.extend(f"{name} never uses {what}" for what in dict.fromkeys(wanted) if what not in scenes)
    stale = [key for key in tables.VALUES if key not in USED]
    stale += [key for key in [*tables.STATUSES, *tables.RELEASES] if f"nlmqtt_{key}" not in known]
    stale += [key for key in tables.ON_ANY_THREAD if key not in places]
    stale += [key for key in tables.MAY_BE_NULL if f"null {key}" not in USED]
    FAULTS.extend(f"tables.py has {key}, the header has not" for key in stale)
    for fault in FAULTS:
        print(fault, file=sys.stderr)
    return 1 if FAULTS else 0


sys.exit(main())
