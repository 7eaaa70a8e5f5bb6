"""How a scenario is declared and what it is given.

A scenario is a function `def name(t)` marked with `@scenario`; it becomes one case for each client
library and protocol version that can run it. `t` makes clients and names, and cleans up.
"""

import itertools
import threading

from client_gmqtt import GmqttClient
from client_mqttjs import MqttjsClient
from client_paho import PahoClient
from harness import Case

LIBRARIES = (PahoClient, GmqttClient, MqttjsClient)
VERSION_NAMES = {3: "3.1", 4: "3.1.1", 5: "5.0"}

_scenarios = []
_numbers = itertools.count(1)


def scenario(versions=(3, 4, 5), needs=(), alone=False):
    def mark(run):
        _scenarios.append((run, versions, frozenset(needs), alone))
        return run
    return mark


class Context:
    """One run of one scenario."""

    def __init__(self, broker, library, version):
        self.broker = broker
        self.library = library
        self.version = version
        self.number = next(_numbers)
        self.names = itertools.count(1)
        self.clients = []

    def topic(self, suffix=""):
        return f"it/{self.number}" + (f"/{suffix}" if suffix else "")

    def client_id(self):
        return f"it{self.number}-{next(self.names)}"

    def client(self, client_id=None, version=None, library=None, port=None, **options):
        """A client that has not connected yet."""
        client = (library or self.library)(
            port or self.broker.port, version or self.version,
            self.client_id() if client_id is None else client_id, **options)
        self.clients.append(client)
        return client

    def connect(self, *args, **options):
        return self.client(*args, **options).connect()

    def lasting(self, client_id, **options):
        """Connects with a session that outlives the connection, in the manner of the version."""
        props = dict(options.pop("props", {}))
        if self.version == 5:
            props.setdefault("session_expiry", 300)
        return self.connect(client_id, clean=options.pop("clean", False), props=props, **options)

    def close(self):
        # Leaving is not what is tested, and a client may be closed already.
        for client in self.clients:
            if not client.closed.is_set():
                threading.Thread(target=self._leave, args=(client,), daemon=True).start()

    @staticmethod
    def _leave(client):
        try:
            client.disconnect()
        except BaseException:
            pass


def cases(broker):
    found = []
    for run, versions, needs, alone in _scenarios:
        for library in LIBRARIES:
            for version in versions:
                if version in library.versions and needs <= library.features:
                    found.append(_case(broker, run, library, version, alone))
    return found


def _case(broker, run, library, version, alone):
    def act():
        context = Context(broker, library, version)
        try:
            run(context)
        finally:
            context.close()
    name = f"{library.library}/{VERSION_NAMES[version]}/{run.__name__}"
    return Case(name, act, alone)
