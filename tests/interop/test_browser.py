"""A page in a headless Chromium that speaks to our broker with mqtt.js, over ws:// and over wss:// with the test's authority in the browser's own
store. What it publishes is made here and what it received is compared here; the page has no judgement of its own."""

import base64
import contextlib
import http.server
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import tempfile
import threading

from harness import HERE, Case
from test_transports import Place

# A cold start of a browser on a busy machine takes some seconds.
TIMEOUT_S = 90
FILES = {"/": (os.path.join(HERE, "browser.html"), "text/html; charset=utf-8"),
         "/mqtt.min.js": (os.path.join(HERE, "node_modules", "mqtt", "dist", "mqtt.min.js"), "text/javascript")}
LARGE_BYTES = 100 * 1024


def payloads():
    """Every byte there is, what is no UTF-8, nothing, and more than one frame."""
    return [b"plain", bytes(range(256)), b"\xff\xfe\x00\xc0\x80", b"", random.Random(5).randbytes(LARGE_BYTES)]


class Page(http.server.ThreadingHTTPServer):
    """One origin: serves the page, its jobs, and takes the results."""

    def __init__(self, jobs):
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs, self.results, self.asked = jobs, queue.Queue(), []

    @property
    def origin(self):
        return f"http://localhost:{self.server_address[1]}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/jobs":
            self.answer(200, json.dumps(self.server.jobs).encode(), "application/json")
        elif self.path in FILES:
            path, kind = FILES[self.path]
            with open(path, "rb") as file:
                self.answer(200, file.read(), kind)
        else:
            self.answer(404, b"", "text/plain")

    def do_POST(self):
        results = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(204, b"", "text/plain")
        self.server.results.put(results)

    def answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing: what matters is in the results."""


@contextlib.contextmanager
def chromium(url, authority=None):
    """A browser with a home of its own, which trusts `authority` besides what it trusts anyway."""
    home = tempfile.mkdtemp(prefix="nlmqtt-browser-")
    if authority:
        store = os.path.join(home, ".pki", "nssdb")
        os.makedirs(store)
        for command in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "test authority", "-i", authority]):
            subprocess.run(["certutil", "-d", f"sql:{store}", *command], check=True, capture_output=True)
    # Root has no sandbox; containers have little shared memory; nothing of Google's is to be asked for anything.
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
               "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
               "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1", f"--user-data-dir={home}/profile", url]
    log = open(os.path.join(home, "log"), "wb")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                               env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": f"{home}/config", "XDG_CACHE_HOME": f"{home}/cache"})
    try:
        yield process, log.name
    finally:
        # A browser is many processes: the group is all of them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def visit(page, authority=None):
    """What the page says of its jobs."""
    with page, chromium(page.origin + "/", authority) as (process, log):
        try:
            results = page.results.get(timeout=TIMEOUT_S)
        except queue.Empty:
            with open(log, errors="replace") as text:
                raise AssertionError(f"the page said nothing; it asked for {page.asked}; the browser (status {process.poll()}): {text.read()[-300:]}") from None
    assert isinstance(results, list), results
    assert len(results) == len(page.jobs), results
    return results


def job(url, version, label):
    messages = [{"qos": qos, "payload": base64.b64encode(payload).decode()} for qos in (0, 1, 2) for payload in payloads()]
    return {"url": url, "version": version, "topic": f"browser/{label}", "messages": messages}


def expect_done(job, result):
    where = f"{job['url']}, version {job['version']}"
    assert result["outcome"] == "done", f"{where}: {result['outcome']} after {len(result['received'])} messages"
    wanted = [{"topic": job["topic"], **message} for message in job["messages"]]
    for index, (one, other) in enumerate(zip(result["received"], wanted, strict=True)):
        assert one == other, f"{where}: message {index} is another: {str(one)[:100]}, not {str(other)[:100]}"


def expect_refused(job, result):
    assert result["outcome"] != "done" and "SUBACK" not in result["outcome"] and not result["received"], f"{job['url']}: let in: {result['outcome']}"


def speaks(place):
    authority, certificate, key = place.certificate()
    plain = place.ours("ws://127.0.0.1:{port}/mqtt")
    secure = place.ours(f"wss://127.0.0.1:{{port}}/mqtt?cert={certificate}&key={key}")
    jobs = [job(f"ws://localhost:{plain.port}/mqtt", version, f"ws{version}") for version in (4, 5)]
    jobs += [job(f"wss://localhost:{secure.port}/mqtt", version, f"wss{version}") for version in (4, 5)]
    for one, result in zip(jobs, visit(Page(jobs), authority), strict=True):
        expect_done(one, result)


def trusts_nobody_else(place):
    """The same broker is refused by a browser that does not know the authority: nothing has switched its check off."""
    _, certificate, key = place.certificate()
    secure = place.ours(f"wss://127.0.0.1:{{port}}/mqtt?cert={certificate}&key={key}")
    plain = place.ours("ws://127.0.0.1:{port}/mqtt")
    refused, let_in = jobs = [job(f"wss://localhost:{secure.port}/mqtt", 5, "refused"), job(f"ws://localhost:{plain.port}/mqtt", 5, "let-in")]
    results = visit(Page(jobs))
    expect_refused(refused, results[0])
    expect_done(let_in, results[1])


def origins(place):
    """What the browser itself sends as Origin decides; the port belongs to it (RFC 6454 section 6.1)."""
    listed, foreign = Page([]), Page([])
    guarded = place.ours(f"ws://127.0.0.1:{{port}}/mqtt?origins=https://console.example,{listed.origin}")
    unguarded = place.ours("ws://127.0.0.1:{port}/mqtt")
    there, anywhere = job(f"ws://localhost:{guarded.port}/mqtt", 5, "guarded"), job(f"ws://localhost:{unguarded.port}/mqtt", 5, "unguarded")
    listed.jobs = [there]
    foreign.jobs = [there, anywhere]
    expect_done(there, visit(listed)[0])
    refused, let_in = visit(foreign)
    expect_refused(there, refused)
    expect_done(anywhere, let_in)


def cases(options):
    def runner(run):
        def in_place():
            with Place(options) as place:
                run(place)
        return in_place

    return [Case(f"browser/{run.__name__}", runner(run), alone=True, needs_broker=False) for run in (speaks, trusts_nobody_else, origins)]
