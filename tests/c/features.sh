#!/usr/bin/env bash
# Builds with other features: each compiles without a warning, and the smallest one, the client alone, exports every function of the
# header, answers UNSUPPORTED where it has to, and talks to the gateway of target/dist.
set -uo pipefail
cd "$(dirname "$0")/../.."
small=$PWD/target/dist-client
work=$(mktemp -d)
gateway=''
end() {
    [ -z "$gateway" ] || kill "$gateway" 2>/dev/null
    wait 2>/dev/null
    rm -rf "$work"
}
trap end EXIT
passed=0 failed=0
check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $name"; tail -n 10 "$work/log"; fi
}

compiles() { cargo check --locked --quiet --lib --no-default-features --features "$1" 2>&1 | tee "$work/warnings" && [ ! -s "$work/warnings" ]; }
for features in '' server tls websocket proxy rudp 'server rudp' 'rudp tls' 'server tls' 'server websocket' 'server proxy' 'server json' 'server toml' 'json toml' quic 'server quic'; do
    check "compiles with '$features'" compiles "$features"
done

# What is not built leaves nothing behind: no crate, no symbol, no text (rustls has words of QUIC of its own).
no_crate() { ! cargo tree --locked --edges normal --prefix none | grep -E '^(quinn-proto|quinn v|lru-slab)' && cargo tree --locked --edges normal --features quic | grep quinn-proto >/dev/null; }
check "no crate of QUIC in the default build" no_crate
no_text() { grep -aq mqtts target/dist/lib/libnlmqtt.so.1 && ! grep -aoE 'quinn_proto|quic_(idle|keepalive|early)' target/dist/lib/libnlmqtt.so.1 target/dist/lib/libnlmqtt.a; }
check "no text or symbol of QUIC in the default build" no_text
refused() { ! target/dist/bin/publish -h quic://localhost -t t -m x 2>"$work/refused" && grep -q 'quic' "$work/refused" && cat "$work/refused"; }
check "quic:// is refused by the default build, by its name" refused

check "the client alone is installed" cmake/install.sh --prefix "$small" --no-default-features
exported() { nm -D --defined-only "$1/lib/libnlmqtt.so.1" | awk '$2 == "T" {print $3}' | sed 's/@.*//' | sort; }
check "it exports what the whole library exports" diff <(exported target/dist) <(exported "$small")
smaller() { [ "$(stat -c %s "$small/lib/libnlmqtt.so.1")" -lt "$(stat -c %s target/dist/lib/libnlmqtt.so.1)" ]; }
check "it is smaller" smaller
check "a program builds with it" cc -std=c99 -g -Wall -Wextra -Wpedantic -Werror -Itests/c -I"$small/include" -o "$work/client_only" \
    tests/c/client_only/client_only.c -L"$small/lib" -lnlmqtt -lpthread -Wl,-rpath,"$small/lib"
target/dist/bin/nlmqttd -p 0 >"$work/gateway" 2>&1 &
gateway=$!
for _ in $(seq 100); do grep -q ready "$work/gateway" && break; sleep 0.1; done
port=$(sed -n 's/.*ready on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/gateway")
check "and works" timeout 60 "$work/client_only" "$port"

echo "features: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
