"""Transports besides TCP, and what stands between: foreign clients over ws and wss against our
broker, our programs against mosquitto over WebSocket and through foreign proxies, haproxy and nginx
in front of our broker. Every case has processes of its own on free ports of the loopback interface.
"""

import contextlib
import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading

import paho.mqtt.client as paho

from harness import HERE, MEMORY, MOSQUITTO_COMMAND, Broker, Case, free_port, wait_until
from test_our_client import Program

TIMEOUT_S = 20
VERSIONS = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}
PAYLOADS = [b"small", b"", b"x" * 70_000, b"y" * 300_000]
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
CONNECT = bytes([0x10, 13, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 1]) + b"r"


def accepts(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


class Place:
    """A folder, brokers and other processes that end with their case."""

    def __init__(self, options):
        self.options = options
        self.stack = contextlib.ExitStack()
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="nlmqtt-way-", dir=MEMORY))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stack.close()

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as out:
            out.write(text)
        return path

    def ours(self, uri, settings=None):
        """Our broker; {port} in the URI is a free one."""
        port = free_port()
        command = f"{self.options.broker} -v -l '{uri.replace('{port}', str(port))}' {{sets}}"
        broker = Broker(command, settings, port=port).start()
        self.stack.callback(broker.remove)
        return broker

    def mosquitto(self, settings=None):
        broker = Broker(MOSQUITTO_COMMAND, settings).start()
        self.stack.callback(broker.remove)
        return broker

    def mosquitto_websocket(self):
        """The port of a mosquitto that speaks WebSocket there; it wants a plain listener besides."""
        port = free_port()
        broker = self.mosquitto({"listener": f"{port} 127.0.0.1", "protocol": "websockets"})
        wait_until(lambda: accepts(port), TIMEOUT_S, f"mosquitto listens: {broker.log_tail()}")
        return port

    def process(self, command, port):
        """Another server, which listens at `port`."""
        log = self.stack.enter_context(open(os.path.join(self.folder, "process.log"), "ab"))
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)

        def is_ready():
            if process.poll() is not None:
                with open(log.name) as text:
                    raise AssertionError(f"{command[0]} ended: {text.read()[-400:]}")
            return accepts(port)

        wait_until(is_ready, TIMEOUT_S, f"{command[0]} listens")
        return process

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def certificate(self):
        """A certificate for localhost and the authority that has signed it; the files of the authority, of it and of its key."""
        authority, authority_key = (os.path.join(self.folder, name) for name in ("ca.pem", "ca.key"))
        self.openssl("req", "-x509", *NEW_KEY, "-keyout", authority_key, "-out", authority, "-subj", "/CN=test authority", "-days", "2")
        return authority, *self.signed("cert", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\n")

    def signed(self, name, subject, extension):
        """A certificate of that authority; the files of it and of its key."""
        authority, authority_key, certificate, key = (os.path.join(self.folder, file) for file in ("ca.pem", "ca.key", f"{name}.pem", f"{name}.key"))
        extensions = self.file(f"{name}.extensions", extension + "basicConstraints=CA:FALSE\n")
        self.openssl("req", *NEW_KEY, "-keyout", key, "-out", certificate + ".csr", "-subj", f"/CN={subject}")
        self.openssl("x509", "-req", "-in", certificate + ".csr", "-CA", authority, "-CAkey", authority_key, "-CAcreateserial",
                     "-out", certificate, "-days", "2", "-extfile", extensions)
        return certificate, key

    def program(self, name, *arguments):
        program = Program([os.path.join(self.options.programs, name), *arguments])
        self.stack.callback(program.process.wait)
        self.stack.callback(program.process.kill)
        return program


def paho_speaks(port, version, path="/mqtt", authority=None, transport="websockets", headers=None):
    """Messages there and back over paho's own WebSocket."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"ws{port}", protocol=version, transport=transport,
                         clean_session=None if version == 5 else True, reconnect_on_failure=False)
    if transport == "websockets":
        client.ws_set_options(path=path, headers=headers)
    if authority:
        client.tls_set(ca_certs=authority, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    seen, done, ready = [], threading.Event(), threading.Event()

    def on_message(_client, _data, message):
        seen.append(message.payload)
        if len(seen) == len(PAYLOADS):
            done.set()

    client.on_message = on_message
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda *_: client.subscribe("transports/paho", 1)
    client.connect("localhost" if authority else "127.0.0.1", port)
    client.loop_start()
    try:
        assert ready.wait(TIMEOUT_S), "no SUBACK"
        for payload in PAYLOADS:
            client.publish("transports/paho", payload, 1)
        assert done.wait(TIMEOUT_S), f"{len(seen)} of {len(PAYLOADS)} messages"
        assert seen == PAYLOADS, "other messages"
    finally:
        client.disconnect()
        client.loop_stop()


def mqttjs_speaks(url, version, authority=None):
    command = ["node", os.path.join(HERE, "transports.js"), url, str(version)] + ([authority] if authority else [])
    ended = subprocess.run(command, capture_output=True, timeout=3 * TIMEOUT_S, cwd=HERE)
    assert ended.returncode == 0, ended.stderr.decode()[-400:]


def ours_speaks(place, uri, version=4):
    """Our `subscribe` and `publish` at a broker that is reached by this URI."""
    topic = "transports/ours"
    subscriber = place.program("subscribe", "-h", uri, "-V", VERSIONS[version], "-q", "1", "-t", topic)

    def publish(text):
        place.program("publish", "-h", uri, "-V", VERSIONS[version], "-q", "1", "-t", topic, "-m", text, "-W", str(TIMEOUT_S)).finish()

    def is_subscribed():
        assert subscriber.process.poll() is None, f"subscribe ended: {subscriber.errors.decode()}"
        publish("are you there")
        return subscriber.lines

    wait_until(is_subscribed, TIMEOUT_S, "a subscription", step_s=0.2)
    texts = ["one", "two", "z" * 100_000]
    for text in texts:
        publish(text)
    seen = lambda: [text for text in subscriber.texts() if text != "are you there"]  # noqa: E731
    wait_until(lambda: len(seen()) >= len(texts), TIMEOUT_S, "all messages")
    assert seen() == texts, "other messages"


def websocket_clients(place, version):
    broker = place.ours("ws://127.0.0.1:{port}/mqtt")
    paho_speaks(broker.port, version)
    mqttjs_speaks(f"ws://127.0.0.1:{broker.port}/mqtt", version)


def secure_websocket_clients(place, version):
    authority, certificate, key = place.certificate()
    broker = place.ours(f"wss://127.0.0.1:{{port}}/mqtt?cert={certificate}&key={key}")
    paho_speaks(broker.port, version, authority=authority)
    mqttjs_speaks(f"wss://localhost:{broker.port}/mqtt", version, authority)
    ours_speaks(place, f"wss://localhost:{broker.port}/mqtt?ca_file={authority}", version)


def our_client_at_mosquitto(place, version):
    ours_speaks(place, f"ws://127.0.0.1:{place.mosquitto_websocket()}/mqtt", version)


def our_client_at_our_broker(place, version):
    broker = place.ours("ws://127.0.0.1:{port}/mqtt")
    ours_speaks(place, f"ws://127.0.0.1:{broker.port}/mqtt?websocket_headers=X-Test:%20yes", version)


def refused_with_address(broker, address):
    """A raw client without a user name is refused; the broker's log must say where it came from."""
    with socket.create_connection(address, TIMEOUT_S) as client:
        client.settimeout(TIMEOUT_S)
        client.sendall(CONNECT)
        answer = client.recv(4)
        assert answer == bytes([0x20, 2, 0, 5]), f"CONNACK {answer}"
        own = "{}:{}".format(*client.getsockname())
    with open(os.path.join(broker.directory, "broker.log"), errors="replace") as log:
        text = log.read()
    assert own in text, f"{own} is not in the log: {text[-300:]}"


def haproxy(place, send, target, extra="", more=""):
    port = free_port()
    conf = place.file("haproxy.cfg", f"""
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen mqtt
    bind 127.0.0.1:{port} {extra}
    {more}
    server broker 127.0.0.1:{target} {send}
""")
    place.process(["haproxy", "-f", conf, "-db"], port)
    return port


def haproxy_in_front(place, send):
    broker = place.ours("mqtt://127.0.0.1:{port}?proxy=required&proxy_trusted=127.0.0.0/8&allow_anonymous=false")
    port = haproxy(place, send, broker.port)
    refused_with_address(broker, ("127.0.0.1", port))
    # Without a header nobody is let in.
    with socket.create_connection(("127.0.0.1", broker.port), TIMEOUT_S) as client:
        client.settimeout(TIMEOUT_S)
        client.sendall(CONNECT)
        assert client.recv(4) == b"", "let in without a header"


def haproxy_in_front_of_websocket(place, send):
    broker = place.ours("ws://127.0.0.1:{port}/mqtt?proxy=required&proxy_trusted=127.0.0.0/8&allow_anonymous=true")
    paho_speaks(haproxy(place, send, broker.port), 4)


def haproxy_checks_with_local(place):
    """haproxy's own health checks say LOCAL; they must not be taken for clients."""
    broker = place.ours("mqtt://127.0.0.1:{port}?proxy=required&proxy_trusted=127.0.0.0/8&allow_anonymous=true")
    port = haproxy(place, "send-proxy-v2 check inter 100ms check-send-proxy", broker.port)
    paho_speaks(port, 4, transport="tcp")


def haproxy_ends_tls(place):
    """TLS ends at haproxy, and the type-length-values of the header say how it was and who was there (section 2.2.5 ff. of the specification)."""
    authority, certificate, key = place.certificate()
    client_certificate, client_key = place.signed("client", "gateway-7", "extendedKeyUsage=clientAuth\n")
    with open(certificate) as one, open(key) as other:
        both = place.file("both.pem", one.read() + other.read())
    root = os.path.dirname(os.path.abspath(place.options.programs))
    program = os.path.join(place.folder, "proxied")
    subprocess.run(["cc", "-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", f"-I{root}/include", "-o", program, os.path.join(HERE, "proxied.c"),
                    f"-L{root}/lib", "-lnlmqtt", f"-Wl,-rpath,{root}/lib"], check=True, capture_output=True)
    broker = Program([program, "mqtt://127.0.0.1:0?proxy=required&proxy_trusted=127.0.0.0/8&allow_anonymous=true"])
    place.stack.callback(broker.process.wait)
    place.stack.callback(broker.process.kill)
    wait_until(lambda: broker.lines, TIMEOUT_S, "proxied listens")
    target = broker.texts()[0].split()[1]
    port = haproxy(place, "send-proxy-v2 proxy-v2-options ssl,cert-cn,crc32c,unique-id,authority", target,
                   extra=f"ssl crt {both} ca-file {authority} verify required", more="unique-id-format MQTT-%pid")
    done = subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(port), "--cafile", authority, "--cert", client_certificate, "--key", client_key,
                           "-V", "mqttv5", "-q", "1", "-t", "t", "-m", "x"], capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    wait_until(lambda: len(broker.lines) > 1, TIMEOUT_S, "the client was seen")
    seen = dict(pair.split("=", 1) for pair in broker.texts()[1].split())
    assert re.fullmatch(r"127\.0\.0\.1:\d+", seen["peer"]) and seen["peer"] != f"127.0.0.1:{port}", seen
    assert (seen["authority"], seen["version"], seen["cn"]) == ("localhost", "TLSv1.3", "gateway-7"), seen
    assert re.fullmatch(r"MQTT-\d+", seen["id"]), seen


def our_client_sends_the_header(place, version):
    """haproxy takes it, and tells our broker what it read."""
    broker = place.ours("mqtt://127.0.0.1:{port}?proxy=required&proxy_trusted=127.0.0.0/8&allow_anonymous=true")
    port = haproxy(place, "send-proxy-v2", broker.port, extra="accept-proxy")
    ours_speaks(place, f"mqtt://127.0.0.1:{port}?proxy_protocol={version}")


def nginx(place, port, text):
    modules = "/usr/lib/nginx/modules/ngx_stream_module.so"
    conf = place.file("nginx.conf", f"""
load_module {modules};
daemon off;
master_process off;
pid {place.folder}/nginx.pid;
error_log {place.folder}/nginx.log;
events {{ worker_connections 64; }}
{text}
""")
    place.process(["nginx", "-p", place.folder, "-e", f"{place.folder}/nginx.log", "-c", conf], port)


def nginx_as_websocket_proxy(place):
    broker = place.ours("ws://127.0.0.1:{port}/mqtt?proxy_trusted=127.0.0.1&allow_anonymous=false")
    port = free_port()
    paths = "\n".join(f"{kind}_temp_path {place.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    nginx(place, port, f"""
http {{
    access_log off;
    {paths}
    server {{
        listen 127.0.0.1:{port};
        location /mqtt {{
            proxy_pass http://127.0.0.1:{broker.port};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}""")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport="websockets", reconnect_on_failure=False)
    client.ws_set_options(path="/mqtt", headers=lambda own: dict(own, **{"X-Forwarded-For": "192.0.2.77"}))
    refused = threading.Event()
    client.on_connect = lambda _client, _data, _flags, code, _properties: refused.set() if code.is_failure else None
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert refused.wait(TIMEOUT_S), "no CONNACK"
    client.loop_stop()
    with open(os.path.join(broker.directory, "broker.log"), errors="replace") as log:
        text = log.read()
    # nginx appended 127.0.0.1, which is trusted; before it stands what the client said, who is reached through it.
    assert re.search(r"192\.0\.2\.77", text), text[-300:]
    open_broker = place.ours("ws://127.0.0.1:{port}/mqtt")
    second = free_port()
    nginx(place, second, f"""
stream {{
    server {{
        listen 127.0.0.1:{second};
        proxy_pass 127.0.0.1:{open_broker.port};
    }}
}}""")
    paho_speaks(second, 5)


def nginx_ends_tls_of_websocket(place):
    """wss:// at nginx, ws:// behind it."""
    authority, certificate, key = place.certificate()
    broker = place.ours("ws://127.0.0.1:{port}/mqtt?proxy_trusted=127.0.0.1&allow_anonymous=true")
    port = free_port()
    paths = "\n".join(f"{kind}_temp_path {place.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    nginx(place, port, f"""
http {{
    access_log off;
    {paths}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location /mqtt {{
            proxy_pass http://127.0.0.1:{broker.port};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}""")
    paho_speaks(port, 5, authority=authority)
    mqttjs_speaks(f"wss://localhost:{port}/mqtt", 4, authority)
    ours_speaks(place, f"wss://localhost:{port}/mqtt?ca_file={authority}", 5)


def nginx_as_stream_proxy(place):
    broker = place.ours("mqtt://127.0.0.1:{port}?proxy=required&proxy_trusted=127.0.0.1&allow_anonymous=false")
    port = free_port()
    nginx(place, port, f"""
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass 127.0.0.1:{broker.port};
        proxy_protocol on;
    }}
}}""")
    refused_with_address(broker, ("127.0.0.1", port))


def through_tinyproxy(place):
    broker = place.mosquitto()
    port = free_port()
    conf = place.file("tinyproxy.conf", f"Port {port}\nListen 127.0.0.1\nTimeout 60\nBasicAuth user word\nPidFile \"{place.folder}/pid\"\n")
    place.process(["tinyproxy", "-d", "-c", conf], port)
    proxy = f"proxy_uri=http://127.0.0.1:{port}&proxy_username=user&proxy_password="
    ours_speaks(place, f"mqtt://localhost:{broker.port}?{proxy}word")
    refused = place.program("publish", "-h", f"mqtt://localhost:{broker.port}?{proxy}wrong&reconnect_on_network=stop&reconnect_on_credentials=stop", "-t", "t",
                            "-m", "x", "-q", "1", "-W", "5")
    assert refused.process.wait(TIMEOUT_S) != 0, "a wrong password was taken"


def microsocks(place):
    port = free_port()
    place.process(["microsocks", "-i", "127.0.0.1", "-p", str(port), "-u", "user", "-P", "word"], port)
    return port


def through_microsocks(place):
    target = place.mosquitto_websocket()
    proxy = f"proxy_uri=socks5://127.0.0.1:{microsocks(place)}&proxy_username=user&proxy_password="
    ours_speaks(place, f"ws://localhost:{target}/mqtt?{proxy}word")
    refused = place.program("publish", "-h", f"ws://localhost:{target}/mqtt?{proxy}wrong&reconnect_on_network=stop&reconnect_on_credentials=stop", "-t", "t",
                            "-m", "x", "-q", "1", "-W", "5")
    assert refused.process.wait(TIMEOUT_S) != 0, "a wrong password was taken"


def mosquitto_clients_through_microsocks(place, version):
    """mosquitto_sub and mosquitto_pub reach our broker by their own SOCKS5."""
    broker, port = place.ours("mqtt://127.0.0.1:{port}"), microsocks(place)
    common = ["-h", "localhost", "-p", str(broker.port), "-V", VERSIONS[version], "-t", "t", "-q", "1", "--proxy"]
    subscriber = Program(["mosquitto_sub", *common, f"socks5h://user:word@127.0.0.1:{port}"])
    place.stack.callback(subscriber.process.wait)
    place.stack.callback(subscriber.process.kill)

    def publish(text, word="word"):
        return subprocess.run(["mosquitto_pub", *common, f"socks5h://user:{word}@127.0.0.1:{port}", "-m", text], capture_output=True, timeout=TIMEOUT_S)

    def is_subscribed():
        done = publish("are you there")
        assert done.returncode == 0, done.stderr.decode()
        return subscriber.lines

    wait_until(is_subscribed, TIMEOUT_S, "a subscription", step_s=0.2)
    assert publish("not this", word="wrong").returncode != 0, "a wrong password was taken"
    assert publish("last").returncode == 0
    wait_until(lambda: subscriber.texts()[-1] == "last", TIMEOUT_S, "the last message")
    assert "not this" not in subscriber.texts()


def cases(options):
    rows = []
    for version in (3, 4, 5):
        rows += [(f"ws/foreign_clients/{version}", websocket_clients, version),
                 (f"wss/foreign_clients/{version}", secure_websocket_clients, version),
                 (f"ws/our_client_at_mosquitto/{version}", our_client_at_mosquitto, version),
                 (f"ws/our_client_at_our_broker/{version}", our_client_at_our_broker, version)]
    for send in ("send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"):
        rows += [(f"proxy/haproxy/{send}", haproxy_in_front, send), (f"proxy/haproxy/{send}/ws", haproxy_in_front_of_websocket, send)]
    rows += [(f"tunnel/microsocks/mosquitto_clients/{version}", mosquitto_clients_through_microsocks, version) for version in (4, 5)]
    rows += [(f"proxy/our_client_sends/{version}", our_client_sends_the_header, version) for version in ("v1", "v2")]
    rows += [("proxy/haproxy/health_checks", haproxy_checks_with_local), ("proxy/nginx/stream", nginx_as_stream_proxy),
             ("ws/nginx", nginx_as_websocket_proxy), ("wss/nginx", nginx_ends_tls_of_websocket), ("proxy/haproxy/tls", haproxy_ends_tls), ("tunnel/tinyproxy", through_tinyproxy), ("tunnel/microsocks", through_microsocks)]

    def runner(run, *arguments):
        def in_place():
            with Place(options) as place:
                run(place, *arguments)
        return in_place

    return [Case(name, runner(run, *arguments), alone=True, needs_broker=False) for name, run, *arguments in rows]
