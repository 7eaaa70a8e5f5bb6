#!/usr/bin/env bash
# The README's test command: installs what the tests need and runs all of them.
# Ends with a plain line "N passed, N failed".
#   --only PART   one part: rust, quic, workers, carried, build, c, cpp, examples, checked, loops, readme, features, package, interop, path, micro, generator, bench
#   --arm         only the ARM part, which is in no other run: cross compilers, both targets, everything under qemu-user
#   --long        the whole comparison with mosquitto, that of the transports over a lossy path, and ARM builds for glibc 2.28 and for musl, too; not in CI
set -uo pipefail
cd "$(dirname "$0")/.."
only='' long=''
while [ $# -gt 0 ]; do
    case $1 in
        --only) only=${2:?--only PART}; shift ;;
        --long) long=1 ;;
        --arm) only=arm ;;
        *) echo "usage: tests/run.sh [--only PART | --arm] [--long]" >&2; exit 2 ;;
    esac
    shift
done
total_passed=0 total_failed=0 total_not_run=0
parts=() has_run=''

install_missing() {
    local missing=() pair sudo=''
    for pair in cc:gcc c++:g++ cmake:cmake make:make pkg-config:pkg-config valgrind:valgrind python3:python3 \
        mosquitto_pub:mosquitto-clients node:nodejs npm:npm strace:strace openssl:openssl; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    for pair in libuv:libuv1-dev glib-2.0:libglib2.0-dev libsystemd:libsystemd-dev libmosquitto:libmosquitto-dev openssl:libssl-dev; do
        pkg-config --exists "${pair%%:*}" 2>/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get -qq update
    # Debian would start mosquitto as a service; the tests start their own.
    $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install -y --no-install-recommends "${missing[@]}" libc6-dev
}

# Parts that keep one processor busy and have nothing to do with time run aside, one after the other, while those before them in the
# list wait for sockets; their place in the list is where they are shown.
asides=$(mktemp -d)
trap 'rm -rf "$asides"' EXIT
aside() { # NAME COMMAND...
    "${@:2}" >"$asides/$1.log" 2>&1
    echo $? >"$asides/$1"
}
aside_ended() { # NAME
    until [ -e "$asides/$1" ]; do kill -0 "$aside_pid" 2>/dev/null || return 1; sleep 1; done
    cat "$asides/$1.log"
    return "$(cat "$asides/$1")"
}

# part NAME COMMAND...: runs one part and adds up what its lines "... N passed, M failed" say, and "..., K not run" where this machine does not let
# it. A part that says nothing counts as one test; one that ends with an error and names no failure counts as one failure.
part() {
    local name=$1 log status passed failed not_run start=$SECONDS
    shift
    parts+=("$name")
    [ -z "$only" ] || [ "$only" = "$name" ] || return 0
    has_run=1
    [ ! -e "$asides/$name.next" ] || set -- aside_ended "$name"
    log=$(mktemp)
    echo "== $name"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    passed=$(grep -E '(^test result|^[a-z]+): .*passed' "$log" | grep -oE '[0-9]+ passed' | awk '{s += $1} END {print s + 0}')
    failed=$(grep -E '(^test result|^[a-z]+): .*passed' "$log" | grep -oE '[0-9]+ failed' | awk '{s += $1} END {print s + 0}')
    not_run=$(grep -E '^[a-z]+: .*passed.* not run$' "$log" | grep -oE '[0-9]+ not run' | awk '{s += $1} END {print s + 0}')
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    if [ "$status" -eq 0 ] && [ "$passed" -eq 0 ] && [ "$not_run" -eq 0 ]; then passed=1; fi
    total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed)) total_not_run=$((total_not_run + not_run))
    echo "== $name: $passed passed, $failed failed$([ "$not_run" -eq 0 ] || echo ", $not_run not run"), $((SECONDS - start)) s"
    rm -f "$log"
}

# With --long ten times as many worlds.
simulation() { SIM_FIRST=1000 SIM_SEEDS=9000 cargo test --locked --test sim && RUDP_SEEDS=10000 RUDP_FRAMES=10000000 cargo test --locked --test rudp; }

rust() { cargo test --locked --no-fail-fast 2>&1 | grep -vE '^test .* \.\.\. ok$|^$|^running'; return "${PIPESTATUS[0]}"; }

# The judge of the standard again, with a broker of four threads.
workers() { CONFORMANCE_WORKERS=4 cargo test --locked --test conformance 2>&1 | grep -vE '^test .* \.\.\. ok$|^not run|^$|^running'; return "${PIPESTATUS[0]}"; }

# And with its rows carried over other transports, in both directions; they mostly wait, so at the same time.
rows_over() { # TRANSPORT CARGO'S OPTIONS...
    CONFORMANCE_TRANSPORT=$1 cargo test --locked "${@:2}" --test conformance every_row_holds 2>&1 | grep -vE '^test .* \.\.\. ok$|^not run|^$|^running'
    [ "${PIPESTATUS[0]}" -eq 0 ] || { echo "FAIL over $1"; return 1; }
}
carried() {
    local transport jobs=() status=0
    cargo test --quiet --locked --test conformance --no-run && cargo test --quiet --locked --features quic --test conformance --no-run || return 1
    for transport in mqtts ws wss rudp rudps; do rows_over $transport & jobs+=($!); done
    rows_over quic --features quic || status=1
    for transport in "${jobs[@]}"; do wait "$transport" || status=1; done
    return $status
}

# The feature that is not on by default.
quic() { cargo test --locked --features quic --lib --test it --test readme --test memory --test tables -- quic secure_scheme tables_of_keys config:: datagram memory last_words every_limit 2>&1 | grep -vE '^test .* \.\.\. ok$|^$|^running'; return "${PIPESTATUS[0]}"; }

[ "$only" = arm ] || install_missing
part rust rust
part quic quic
part workers workers
part carried carried
part build c-examples/run.sh --build-only
if [ -z "$only" ]; then
    touch "$asides/package.next" "$asides/micro.next"
    { aside package tests/package/run.sh; aside micro tests/bench/micro.py; } &
    aside_pid=$!
fi
part c tests/c/run.sh
part cpp tests/cpp/run.sh
part examples tests/c/examples.sh
part checked tests/c/examples_checked.sh
part loops tests/c/loops.sh
part readme tests/c/readme.sh
part features tests/c/features.sh
part package tests/package/run.sh
part interop tests/interop/run.sh
part path tests/path/run.sh ${long:+--long}
part micro tests/bench/micro.py
part generator tests/bench/test_generator.py
if [ -n "$long" ]; then
    part simulation simulation
    part bench tests/bench/compare.py --ours target/dist/bin/nlmqttd
    [ "$only" = arm ] || part older tests/arm/older.sh
else
    part bench tests/bench/compare.py --ours target/dist/bin/nlmqttd --quick
fi
[ "$only" != arm ] || part arm tests/arm/run.sh ${long:+--long}

[ -n "$has_run" ] || { echo "tests/run.sh: no part '$only'; there are: ${parts[*]}" >&2; exit 2; }
[ "$total_not_run" -eq 0 ] || echo "$total_not_run not run on this machine, see NOT RUN above"
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" -eq 0 ]
