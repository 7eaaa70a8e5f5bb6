#!/usr/bin/env bash
# The examples do what they say: embed ends by itself on one thread, storage stores every publish
# before it is acknowledged, the sensor publishes and takes commands, the gateway's errors are one
# clear line and a non-zero exit.
set -uo pipefail
cd "$(dirname "$0")/../.."
bin=$PWD/target/dist/bin
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
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
waits_for() { # FILE TEXT
    for _ in $(seq 100); do grep -q "$2" "$1" && return 0; sleep 0.1; done
    echo "no '$2' in:"; cat "$1"; return 1
}

embed() { timeout 20 "$bin/embed" >"$work/embed" && grep -q '10 readings received on 1 thread' "$work/embed"; }
check "embed receives its readings on one thread" embed

port=$(free_port)
"$bin/storage" -p "$port" -f "$work/stored" >"$work/storage.log" 2>&1 &
storage=$!
children+=("$storage")
publishes() { for n in 1 2 3; do "$bin/publish" -h 127.0.0.1 -p "$port" -q 1 -t "store/$n" -m "value $n" || return 1; done; }
sleep 0.5
check "storage acknowledges publishes" publishes
# Killed, not stopped: what was acknowledged is in the file already.
kill -KILL "$storage"
stored() { "$bin/storage" -d "$work/stored" | tee /dev/stderr | grep -c 'value [123]' | grep -qx 3; }
check "storage has every acknowledged publish after a kill" stored

port=$(free_port)
"$bin/nlmqttd" -p "$port" >"$work/gateway.log" 2>&1 &
gateway=$!
children+=("$gateway")
check "the gateway says that it is ready" waits_for "$work/gateway.log" "ready on 127.0.0.1:$port"
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

refused() { # TEXT ARGUMENT...
    local text=$1 status=0
    shift
    "$bin/nlmqttd" "$@" 2>"$work/refusal" || status=$?
    [ "$status" -ne 0 ] && [ "$(wc -l <"$work/refusal")" -eq 1 ] && grep -q "$text" "$work/refusal"
}
check "a taken port is one clear line" refused 'in use' -p "$port"
check "a bad option is one clear line" refused 'unknown option' --bogus
check "an unknown key names the nearest" refused "did you mean 'max_queued_messages'" --set max_queue_messages=3
check "a transport that is not there is named" refused "'mqtts' is not supported" -l mqtts://127.0.0.1:1
stops() { kill -TERM "$gateway"; wait "$gateway"; }
check "SIGTERM stops the gateway cleanly" stops

echo "examples: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
