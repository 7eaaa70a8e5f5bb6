"""frees.c: in every place where the library calls back, frees each handle that is in use there; see frees.h."""
import tables


def short(name):
    return name.removeprefix("nlmqtt_")


def handle(function):
    """The handle a function frees, as it is named in struct cell."""
    return short(function).removesuffix("_free").upper()


class Frees:
    def __init__(self, functions, places, place_name, faults):
        self.places, self.place_name, self.faults = places, place_name, faults
        self.frees = [f for f in functions if f.name.endswith("_free") and short(f.name) not in tables.FREED_BY_MATRIX]
        self.names = {f"{short(place.owner)}.{place.name}": place for place in places}
        known = {short(function.name) for function in functions}
        columns = [name for column in tables.COLUMNS.values() for name in column]
        faults += [f"no column of tables.COLUMNS has {f.name}" for f in self.frees if short(f.name) not in columns]
        faults += [f"tables.py has {name}, the header has not" for name in [*columns, *tables.FREED_BY_MATRIX] if name not in known]
        for table in (tables.SCENES, tables.REGISTRATIONS, tables.LINES):
            faults += [f"tables.py has {key}, the header has not" for key in table if key not in self.names]
        faults += [f"tables.MAY_FOLLOW has {key}, the header has not" for key in tables.MAY_FOLLOW if key not in self.names]

    def key(self, place):
        return f"{short(place.owner)}.{place.name}"

    def of_places(self, declaration, value):
        """An array with a value for each place."""
        return f"{declaration}[PLACES] = {{\n" + "".join(f"    {value(place)}, /* {self.key(place)} */\n" for place in self.places) + "};\n\n"

    def head(self):
        columns = [*tables.COLUMNS, "registration"]
        scenes = list(dict.fromkeys(["SESSION", *tables.SCENES.values()]))
        yield '#include "runtime_bench.h"\n\n'
        yield f"enum {{ PLACES = {len(self.places)}, COLUMNS = {len(columns)}, ITS_REGISTRATION = {len(columns) - 1} }};\n"
        yield f"enum handle {{ {', '.join(handle(f.name) for f in self.frees)}, HANDLES }};\n"
        yield f"enum scene {{ {', '.join(scenes)} }};\n"
        names = ", ".join(f'"{name}"' for name in columns)
        yield f"static const char *const column_names[COLUMNS] = {{{names}}};\n"
        yield self.of_places("static const char *const place_names", lambda place: f'"{self.key(place)}"')
        yield self.of_places("static const bool is_release", lambda place: str(place.name.endswith("free_fn")).lower())
        yield self.of_places("static const bool may_follow", lambda place: str(self.key(place) in tables.MAY_FOLLOW).lower())
        yield self.of_places("static const bool has_registration", lambda place: str(self.key(place) in tables.REGISTRATIONS).lower())
        yield self.of_places("static const enum scene scene_of", lambda place: tables.SCENES.get(self.key(place), "SESSION"))
        yield "".join(f"enum {{ IN_{self.place_name(place).upper()} = {number} }};\n" for number, place in enumerate(self.places))
        yield "\nstatic void free_taken(enum handle handle, void *taken);\n"
        yield '#include "matrix/frees.h"\n\n'

    def freeing(self):
        """How each handle is freed, and what a column frees."""
        yield "static void free_taken(enum handle handle, void *taken)\n{\n    switch (handle) {\n"
        for function in self.frees:
            yield f"    case {handle(function.name)}:\n        {function.name}(({function.parameters[0].type})taken);\n        break;\n"
        yield "    case HANDLES:\n        break;\n    }\n}\n\n"
        yield "static void free_column(struct cell *cell)\n{\n    switch (cell->column) {\n"
        for number, column in enumerate(tables.COLUMNS.values()):
            yield f"    case {number}:\n" + "".join(f"        free_handle(cell, {handle(name)});\n" for name in column) + "        break;\n"
        yield "    case ITS_REGISTRATION:\n        switch (cell->place) {\n"
        for key, call in tables.REGISTRATIONS.items():
            of = "SERVER" if call.startswith("nlmqtt_server") else "CLIENT"
            yield f"        case IN_{self.place_name(self.names[key]).upper()}:\n            if (hold(cell, {of})) {{\n                OK({call});\n"
            yield "                pthread_mutex_unlock(&cell->lock);\n            }\n            break;\n"
        yield "        }\n        break;\n    }\n}\n\n"

    def callback(self, place):
        name = self.place_name(place)
        first = place.parameters[0].name
        own = f"line_own({first})" if first == "connection" else f"(struct registration *){first}"
        messages = [p.name for p in place.parameters if p.type == "const nlmqtt_message *"]
        text = f"static {place.result} on_{name}({', '.join(f'{p.type} {p.name}' for p in place.parameters)})\n{{\n"
        text += f"    struct registration *own = {own};\n    bool has_freed;\n"
        text += "".join(f"    (void){p.name};\n" for p in place.parameters)
        text += f"    has_freed = enter(own, IN_{name.upper()}, {messages[0] if messages else 'NULL'});\n"
        text += f"    {tables.AFTER[name]}\n" if name in tables.AFTER else ""
        if "auth" not in place.name and messages:
            # Lent until the callback returns, whatever happens inside.
            text += f"    CHECK(!{messages[0]} || nlmqtt_message_topic({messages[0]}).len > 0);\n"
        text += f"    leave(own, IN_{name.upper()}, has_freed);\n"
        if self.key(place) in tables.LINES:
            text += f"    {tables.LINES[self.key(place)]}\n"
        else:
            text += tables.answer(place)
        return text + "}\n\n"

    def program(self, fill):
        yield from self.head()
        yield from self.freeing()
        yield from (self.callback(place) for place in self.places)
        yield from fill
        yield '#include "matrix/frees_scenes.h"\n'
