#!/usr/bin/env bash
# The examples do what they say: embed ends by itself on one thread, storage stores every publish
# before it is acknowledged, the sensor publishes and takes commands, the gateway's errors are one
# clear line and a non-zero exit. EXAMPLES_BIN: where the programs are, see examples_checked.sh.
set -uo pipefail
cd "$(dirname "$0")/../.."
bin=${EXAMPLES_BIN:-$PWD/target/dist/bin}
work=$(mktemp -d)
children=()
end() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$work"
}
trap end EXIT
passed=0 failed=0
check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $name"; tail -n 5 "$work/log"; fi
}
# The first and the second port of a program's ready line: it was given port 0.
ready_port() { # FILE NUMBER
    for _ in $(seq 300); do grep -q ' ready on ' "$1" && break; sleep 0.1; done
    sed -n 's/.* ready on //p' "$1" | head -n 1 | cut -d ' ' -f "$2" | sed 's/.*://'
}
waits_for() { # FILE TEXT
    for _ in $(seq 300); do grep -q "$2" "$1" && return 0; sleep 0.1; done
    echo "no '$2' in:"; cat "$1"; return 1
}

embed() { timeout 20 "$bin/embed" >"$work/embed" && grep -q '10 readings received on 1 thread' "$work/embed"; }
check "embed receives its readings on one thread" embed

"$bin/storage" -p 0 -f "$work/stored" >"$work/storage.log" 2>&1 &
storage=$!
children+=("$storage")
port=$(ready_port "$work/storage.log" 1)
publishes() { for n in 1 2 3; do "$bin/publish" -h 127.0.0.1 -p "$port" -q 1 -t "store/$n" -m "value $n" || return 1; done; }
check "storage acknowledges publishes" publishes
# Killed, not stopped: what was acknowledged is in the file already.
kill -KILL "$storage"
stored() { "$bin/storage" -d "$work/stored" | tee /dev/stderr | grep -c 'value [123]' | grep -qx 3; }
check "storage has every acknowledged publish after a kill" stored

cat >"$work/gateway.toml" <<'END'
max_keepalive = 600
[[listener]]
uri = "mqtt://127.0.0.1:0?allow_anonymous=false"
END
"$bin/nlmqttd" -p 0 -c "$work/gateway.toml" -v >"$work/gateway.log" 2>"$work/gateway.err" &
gateway=$!
children+=("$gateway")
check "the gateway says that it is ready" waits_for "$work/gateway.log" "nlmqttd .* ready on 127.0.0.1:"
# The file comes first: its listener, then 127.0.0.1 and, where there is IPv6, ::1.
closed_port=$(ready_port "$work/gateway.log" 1)
port=$(ready_port "$work/gateway.log" 2)
six_port=$(ready_port "$work/gateway.log" 3)
publishes_once() { timeout 30 "$bin/publish" -h "$1" -p "$2" -q 1 -t once -m x "${@:3}"; }
is_refused() { ! timeout 5 "$bin/publish" -h "$1" -p "$2" -q 1 -t once -m x "${@:3}"; }
check "anonymous clients are let in on loopback" publishes_once 127.0.0.1 "$port"
if [ -n "$six_port" ]; then check "-p listens on ::1 as well" publishes_once ::1 "$six_port"; fi
check "a listener may refuse anonymous clients" is_refused 127.0.0.1 "$closed_port"
check "a user name is enough there" publishes_once 127.0.0.1 "$closed_port" -u somebody -P secret
# Before anybody subscribes to everything: then somebody would be there for every question.
asks() {
    timeout 60 "$bin/request" -h 127.0.0.1 -p "$port" >"$work/answers" && diff "$work/answers" - <<'ANSWERS'
kitchen: 21.5 degrees
attic: 21.5 degrees
no answer: No matching subscribers
ANSWERS
}
check "request gets its answers, and the reason where there is none" asks
"$bin/subscribe" -h 127.0.0.1 -p "$port" -v -t '#' >"$work/seen" 2>"$work/subscribe.log" &
children+=($!)
"$bin/sensor" -h 127.0.0.1 -p "$port" >"$work/sensor.log" 2>&1 &
children+=($!)
check "the sensor's readings arrive" waits_for "$work/seen" 'reading {"sequence":2'
# Reliable UDP through a NAT that gives the sensor another address: its readings go on, over the same connection.
cat >"$work/relay.py" <<'PY'
import select, signal, socket, sys
def bound():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made
front, back, client = bound(), bound(), None
def move(*_):
    global back
    back = bound()
signal.signal(signal.SIGUSR1, move)
print("relay ready on 127.0.0.1:%d" % front.getsockname()[1], flush=True)
while True:
    for ready in select.select([front, back], [], [], 0.05)[0]:
        data, origin = ready.recvfrom(65536)
        if ready is front:
            client = origin
            back.sendto(data, ("127.0.0.1", int(sys.argv[1])))
        elif client:
            front.sendto(data, client)
PY
moves() {
    "$bin/nlmqttd" -l rudp://127.0.0.1:0 -v >"$work/rudp.log" 2>"$work/rudp.err" &
    local status=0 broker=$! relay sensor port
    children+=("$broker")
    python3 "$work/relay.py" "$(ready_port "$work/rudp.log" 1)" >"$work/relay.log" &
    relay=$!
    children+=("$relay")
    port=$(ready_port "$work/relay.log" 1)
    "$bin/sensor" -i rover -h "rudp://127.0.0.1:$port" --interval 50 >"$work/rover.log" 2>&1 &
    sensor=$!
    children+=("$sensor")
    waits_for "$work/rover.log" '^connected' || status=1
    kill -USR1 "$relay"
    waits_for "$work/rover.log" '^path moved: from 127.0.0.1:.* 1 moves$' || status=1
    waits_for "$work/rudp.err" ': goes on from 127.0.0.1:' || status=1
    # It still takes commands, over the connection it had.
    "$bin/publish" -h "rudp://127.0.0.1:$(ready_port "$work/rudp.log" 1)" -q 1 -t sensors/rover/command -m status || status=1
    waits_for "$work/rover.log" '^command status: interval is 50 ms' || status=1
    [ "$(grep -c '^connected' "$work/rover.log")" -eq 1 ] || status=1
    kill -TERM "$sensor" && wait "$sensor" || status=1
    kill -TERM "$broker" && wait "$broker" || status=1
    kill "$relay"
    return "$status"
}
check "a sensor on reliable UDP survives another address" moves
falls_back() {
    "$bin/nlmqttd" -l 'rudp://127.0.0.1:0?rudp_generation=1' >"$work/older.log" 2>&1 &
    local status=0 broker=$! sensor
    children+=("$broker")
    "$bin/sensor" -i older -h "rudp://127.0.0.1:$(ready_port "$work/older.log" 1)" --interval 50 >"$work/older-sensor.log" 2>&1 &
    sensor=$!
    children+=("$sensor")
    waits_for "$work/older-sensor.log" '^connected' || status=1
    [ "$(head -n 1 "$work/older-sensor.log")" = 'fell back: the server speaks generation 1 of reliable UDP' ] || status=1
    kill -TERM "$sensor" && wait "$sensor" || status=1
    kill -TERM "$broker" && wait "$broker" || status=1
    return "$status"
}
check "a sensor tells that its server knows generation 1 only" falls_back
chat() { printf '%s\n' first second third | timeout 20 "$bin/dispatch" "mqtt://127.0.0.1:$port" >"$work/chat" && printf '%s\n' '1: first' '2: second' '3: third' | diff - "$work/chat"; }
check "dispatch hears what it says, in order" chat

refused() { # TEXT ARGUMENT...
    local text=$1 status=0
    shift
    "$bin/nlmqttd" "$@" 2>"$work/refusal" || status=$?
    [ "$status" -ne 0 ] && [ "$(wc -l <"$work/refusal")" -eq 1 ] && grep -q "$text" "$work/refusal"
}
check "a taken port is one clear line" refused 'in use' -p "$port"
reloads() {
    printf 'allow_anonymous = false\nmax_retained_messages = 5\n[[listener]]\nuri = "mqtt://127.0.0.1:0?allow_anonymous=false"\n' >"$work/gateway.toml"
    kill -HUP "$gateway"
    waits_for "$work/gateway.err" 'reload: done' &&
        waits_for "$work/gateway.err" 'applied: allow_anonymous' &&
        waits_for "$work/gateway.err" 'applied: max_keepalive' &&
        waits_for "$work/gateway.err" 'only after a restart: max_retained_messages'
}
check "SIGHUP applies what can change and names what cannot" reloads
check "what SIGHUP changed holds for the open listeners" is_refused 127.0.0.1 "$port"
check "and lets in who has a name" publishes_once 127.0.0.1 "$port" -u somebody -P secret
spoils() { echo 'max_keepalive = "soon"' >"$work/gateway.toml"; kill -HUP "$gateway"; waits_for "$work/gateway.err" 'nothing was changed'; }
check "a bad file changes nothing" spoils
anywhere() {
    "$bin/nlmqttd" -l mqtt://0.0.0.0:0 >"$work/anywhere.log" 2>&1 &
    local status=0 process=$!
    children+=("$process")
    is_refused 127.0.0.1 "$(ready_port "$work/anywhere.log" 1)" || status=1
    kill -INT "$process"
    wait "$process" || status=1
    return "$status"
}
check "elsewhere than on loopback anonymous clients are refused, and SIGINT stops" anywhere
check "a bad option is one clear line" refused 'unknown option' --bogus
check "an unknown key names the nearest" refused "did you mean 'max_queued_messages'" --set max_queue_messages=3
check "a transport that is not there is named" refused "'quic' is not supported" -l quic://127.0.0.1:1
printf 'max_connections = 5\nmax_conections = 5\nmax_qos = 9\n' >"$work/bad.toml"
checks() {
    local status=0
    "$bin/nlmqttd" --check -c "$work/bad.toml" 2>"$work/problems" || status=$?
    cat "$work/problems"
    [ "$status" -eq 2 ] && [ "$(wc -l <"$work/problems")" -eq 2 ] && grep -q "bad.toml:2: unknown key 'max_conections'" "$work/problems" &&
        grep -q 'bad.toml:3: ' "$work/problems"
}
check "--check tells every problem of a file with its line" checks
version() { grep -q "^$("$bin/nlmqttd" --version) ready on " "$work/gateway.log"; }
check "--version is what the ready line says" version
complains() { # TEXT ARGUMENT...
    local text=$1 status=0
    shift
    "$bin/nlmqttd" "$@" >"$work/problems" 2>&1 || status=$?
    [ "$status" -eq 2 ] && grep -q "$text" "$work/problems"
}
contradicts() { complains 'raise connect_timeout_ms' --check --set hook_timeout_ms=20000; }
check "--check tells what cannot work together" contradicts
check "--check is content with what is good" "$bin/nlmqttd" --check -p 0
keys_are_a_file() {
    "$bin/nlmqttd" --keys | sed 's/^# \([a-z_]* = \)/\1/' >"$work/keys.toml" && grep -q '^max_connections = 100000$' "$work/keys.toml" &&
        "$bin/nlmqttd" --check -c "$work/keys.toml"
}
check "--keys is a file of the defaults" keys_are_a_file
from_environment() {
    NLMQTT_MAX_CONECTIONS=5 complains "did you mean 'max_connections'" --check --env && NLMQTT_MAX_CONNECTIONS=5 "$bin/nlmqttd" --check --env
}
check "--env reads the environment" from_environment
# As systemd does it: a socket that listens already, at descriptor 3.
activation() {
    python3 - "$bin/nlmqttd" "$bin/publish" <<'PY'
import os, socket, subprocess, sys
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
port = str(listener.getsockname()[1])
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
child = os.fork()
if child == 0:
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execv(sys.argv[1], [sys.argv[1]])
try:
    done = subprocess.run([sys.argv[2], "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "a", "-m", "b"], timeout=20)
finally:
    os.kill(child, 15)
    status = os.waitpid(child, 0)[1]
sys.exit(done.returncode or status)
PY
}
check "a socket passed by systemd is served" activation
# Four threads that do the work, and clients that talk to each other whatever thread they live on.
workers() {
    "$bin/nlmqttd" -p 0 --set workers=4 >"$work/workers.log" 2>&1 &
    local status=0 process=$! port n
    children+=("$process")
    port=$(ready_port "$work/workers.log" 1)
    [ "$(grep -lE '^nlmqttd-[123]$' /proc/"$process"/task/*/comm | wc -l)" -eq 3 ] || status=1 # the first one has no number
    for n in 1 2 3 4 5 6; do "$bin/publish" -h 127.0.0.1 -p "$port" -q 1 -i "device$n" -t "state/$n" -r -m on || status=1; done
    kill -TERM "$process"
    wait "$process" || status=1
    return "$status"
}
check "--set workers=4 makes four of them" workers
stops() { kill -TERM "$gateway"; wait "$gateway"; }
check "SIGTERM stops the gateway cleanly" stops

echo "examples: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
