#!/usr/bin/env python3
"""A broker and a client on Python's asyncio, through ctypes alone: what burst.h does, in another language.

    ctypes_client.py [LIBRARY]        such as /usr/lib/libnlmqtt.so.1

The library has no thread here: asyncio watches its one descriptor, and callbacks run inside nlmqtt_runtime_poll. A struct that
grows with the library is never laid out by hand: where options or callbacks would need one, the functions without it do.
"""
import asyncio
import ctypes
import sys
from ctypes import POINTER, Structure, c_bool, c_char_p, c_int32, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

MODE_LOOP, CLIENT_STOPPED, OK, IN_PROGRESS = 1, 0, 0, -6
MESSAGES, MESSAGE_BYTES, TICK_S, STALLED_S = 2560, 4096, 0.001, 60


class Bytes(Structure):
    _fields_ = [("data", c_void_p), ("len", c_size_t)]


class Ack(Structure):
    _fields_ = [("connection", c_uint64), ("serial", c_uint64)]


OnMessage = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, Ack)

# Arguments of the functions used; each answers with a status if nothing else is said.
PROTOTYPES = {
    "runtime_config_new": ([], c_void_p),
    "runtime_config_set_mode": ([c_void_p, c_int32],),
    "runtime_config_free": ([c_void_p], None),
    "runtime_new": ([c_void_p, POINTER(c_void_p)],),
    "runtime_fd": ([c_void_p],),
    "runtime_poll": ([c_void_p, c_int32],),
    "runtime_free": ([c_void_p], None),
    "server_config_new": ([], c_void_p),
    "server_config_add_listener": ([c_void_p, c_char_p],),
    "server_config_set_queue_limits": ([c_void_p, c_uint32, c_uint32],),
    "server_config_free": ([c_void_p], None),
    "server_new": ([c_void_p, c_void_p, c_void_p, POINTER(c_void_p)],),
    "server_start": ([c_void_p],),
    "server_listener_port": ([c_void_p, c_size_t, POINTER(c_uint16)],),
    "server_free": ([c_void_p], None),
    "client_config_new": ([], c_void_p),
    "client_config_add_server": ([c_void_p, c_char_p, c_uint32],),
    "client_config_set_queue_limits": ([c_void_p, c_size_t, c_size_t],),
    "client_config_free": ([c_void_p], None),
    "client_new": ([c_void_p, c_void_p, c_void_p, POINTER(c_void_p)],),
    "client_subscribe": ([c_void_p, c_char_p, c_uint8, OnMessage, c_void_p, c_void_p, POINTER(c_uint64)],),
    "client_publish": ([c_void_p, c_char_p, c_char_p, c_size_t, c_uint8, c_bool, POINTER(c_uint64)],),
    "client_start": ([c_void_p],),
    "client_stop": ([c_void_p, c_uint32],),
    "client_state": ([c_void_p],),
    "client_free": ([c_void_p], None),
    "message_payload": ([c_void_p], Bytes),
    "last_error": ([c_char_p, c_size_t], c_size_t),
}


class Library:
    """The functions by their names without `nlmqtt_`; `call` raises what is not OK."""

    def __init__(self, path):
        loaded = ctypes.CDLL(path)
        for name, (arguments, *result) in PROTOTYPES.items():
            function = getattr(loaded, "nlmqtt_" + name)
            function.argtypes = arguments
            function.restype = result[0] if result else c_int32
            setattr(self, name, function)

    def call(self, name, *arguments):
        status = getattr(self, name)(*arguments)
        if status not in (OK, IN_PROGRESS):
            text = ctypes.create_string_buffer(256)
            self.last_error(text, len(text))
            raise OSError(status, f"{name}: {text.value.decode()}")

    def make(self, name, *arguments):
        made = c_void_p()
        self.call(name, *arguments, ctypes.byref(made))
        return made


class Burst:
    def __init__(self, library):
        self.library, self.received, self.ticks_within, self.received_before = library, 0, 0, 0
        config = library.runtime_config_new()
        library.call("runtime_config_set_mode", config, MODE_LOOP)
        self.runtime = library.make("runtime_new", config)
        library.runtime_config_free(config)
        self.server = self.make_server()
        # ctypes does not keep it, so we do, for as long as the client lives.
        self.on_message = OnMessage(self.message)
        self.client = self.make_client()

    def make_server(self):
        config = self.library.server_config_new()
        self.library.call("server_config_add_listener", config, b"mqtt://127.0.0.1:0")
        self.library.call("server_config_set_queue_limits", config, 0, 0)
        server = self.library.make("server_new", self.runtime, config, None)
        self.library.server_config_free(config)
        self.library.call("server_start", server)
        return server

    def make_client(self):
        port = c_uint16()
        self.library.call("server_listener_port", self.server, 0, ctypes.byref(port))
        config = self.library.client_config_new()
        self.library.call("client_config_add_server", config, b"mqtt://127.0.0.1:%d" % port.value, 0)
        self.library.call("client_config_set_queue_limits", config, MESSAGES, 2 * MESSAGES * MESSAGE_BYTES)
        client = self.library.make("client_new", self.runtime, config, None)
        self.library.client_config_free(config)
        self.library.call("client_subscribe", client, b"burst", 1, self.on_message, None, None, None)
        self.library.call("client_start", client)
        for _ in range(MESSAGES):
            self.library.call("client_publish", client, b"burst", b"x" * MESSAGE_BYTES, MESSAGE_BYTES, 1, False, None)
        return client

    def message(self, _user_data, message, _ack):
        # An exception here would be printed by ctypes and not seen: a wrong message is simply not counted.
        self.received += self.library.message_payload(message).len == MESSAGE_BYTES
        if self.received == MESSAGES:
            self.library.call("client_stop", self.client, 5000)  # in progress

    async def run(self):
        loop = asyncio.get_running_loop()
        descriptor = self.library.runtime_fd(self.runtime)
        loop.add_reader(descriptor, lambda: self.library.call("runtime_poll", self.runtime, 0))
        moved = loop.time()
        # The host's own timer. It only watches: without the descriptor nothing would move.
        while self.received < MESSAGES or self.library.client_state(self.client) != CLIENT_STOPPED:
            await asyncio.sleep(TICK_S)
            self.ticks_within += 0 < self.received < MESSAGES
            if self.received != self.received_before:
                self.received_before, moved = self.received, loop.time()
            if loop.time() - moved > STALLED_S:
                raise TimeoutError(f"stalled after {self.received} messages")
        loop.remove_reader(descriptor)

    def end(self):
        self.library.client_free(self.client)
        self.library.server_free(self.server)
        self.library.runtime_free(self.runtime)


def main():
    burst = Burst(Library(sys.argv[1] if len(sys.argv) > 1 else "libnlmqtt.so.1"))
    asyncio.run(burst.run())
    burst.end()
    print(f"asyncio, loop: {burst.received} of {MESSAGES} messages, {burst.ticks_within} ticks of the host's timer meanwhile")
    return 0 if burst.received == MESSAGES and burst.ticks_within >= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
