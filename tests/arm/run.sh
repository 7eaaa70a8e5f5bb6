#!/usr/bin/env bash
# The ARM part: fetches the cross compilers, builds the library and the C programs for aarch64 and armv7 hard-float, and
# runs the pure part of the Rust tests, the C tests and the examples under qemu-user, linked shared and static, with
# traffic over loopback against the x86 build: ARM publishes, x86 serves, ARM subscribes, and the other way round.
#
# Both targets are worked on at the same time, each in target/arm/TARGET. The x86 programs are those of target/dist.
set -uo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
here=$root/target/arm
rust_for_arm=$here/rust
mkdir -p "$here"

# Rust target, Debian's name, qemu's name, toolchain file.
targets=('aarch64-unknown-linux-gnu aarch64-linux-gnu aarch64 aarch64-linux-gnu'
    'armv7-unknown-linux-gnueabihf arm-linux-gnueabihf arm armv7-linux-gnueabihf')
# Below `net` nothing does I/O; these rooms have to behave the same on every machine.
pure=(base:: topic:: codec:: proto:: route:: broker:: config::)
# C tests that ask qemu-user for what it cannot do, with the reason beside them.
not_under_qemu=()

install_missing() {
    local missing=() pair sudo=''
    for pair in aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf \
        aarch64-linux-gnu-g++:g++-aarch64-linux-gnu arm-linux-gnueabihf-g++:g++-arm-linux-gnueabihf \
        qemu-arm-static:qemu-user-static cmake:cmake make:make python3:python3; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ -e /usr/aarch64-linux-gnu/include/stdio.h ] || missing+=(libc6-dev-arm64-cross)
    [ -e /usr/arm-linux-gnueabihf/include/stdio.h ] || missing+=(libc6-dev-armhf-cross)
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get -qq update
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >"$here/apt.log" 2>&1 \
        || { tail -n 20 "$here/apt.log"; return 1; }
}

# check NAME COMMAND...: one test of this target; says nothing if it passes.
check() {
    local name=$1 status
    shift
    "$@" >"$out/log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $rust_target: $name (status $status)"
        tail -n 20 "$out/log"
    fi
    return $status
}

# The environment in which any cargo builds for this target.
for_target() {
    local upper lower
    upper=$(tr a-z- A-Z_ <<<"$rust_target") lower=$(tr - _ <<<"$rust_target")
    env RUSTC="$rust_for_arm/bin/rustc" RUSTDOC="$rust_for_arm/bin/rustdoc" CARGO_TARGET_DIR="$out/cargo" \
        "CARGO_TARGET_${upper}_LINKER=$gnu-gcc" "CARGO_TARGET_${upper}_RUNNER=$qemu -L /usr/$gnu" \
        "CC_$lower=$gnu-gcc" "AR_$lower=$gnu-ar" "$@"
}

rust_tests() {
    local log=$out/rust.log sum
    for_target cargo test --locked --no-fail-fast --target "$rust_target" --lib -- "${pure[@]}" >"$log" 2>&1
    local status=$?
    for_target cargo test --locked --no-fail-fast --target "$rust_target" --test codec_random >>"$log" 2>&1 || status=1
    sum() { grep '^test result' "$log" | grep -oE "[0-9]+ $1" | awk '{s += $1} END {print s + 0}'; }
    passed=$((passed + $(sum passed))) failed=$((failed + $(sum failed)))
    if [ $status -ne 0 ]; then
        [ "$(sum failed)" -gt 0 ] || failed=$((failed + 1))
        echo "FAIL $rust_target: Rust tests"
        grep -vE '^test .* ok$' "$log" | tail -n 40
    fi
}

# The examples, once with each library, from the installed package by its cmake files.
examples() {
    local library
    for library in nlmqtt static; do
        cmake -S c-examples -B "$out/examples-$library" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$out/dist" \
            -DCMAKE_TOOLCHAIN_FILE="$root/cmake/toolchains/$toolchain.cmake" -DNLMQTT_LIBRARY="nlmqtt::$library" \
            -DCMAKE_INSTALL_PREFIX="$out/$library" &&
            cmake --build "$out/examples-$library" && cmake --install "$out/examples-$library" || return 1
    done
    # The shared programs look for the library beside them.
    mkdir -p "$out/nlmqtt/lib" && cp -P "$out"/dist/lib/libnlmqtt.so* "$out/nlmqtt/lib/"
}

is_for_target() {
    file=$("$gnu-readelf" -h "$1" | grep Machine:)
    case $qemu in *aarch64*) [[ $file == *AArch64* ]] ;; *) [[ $file == *ARM* ]] ;; esac
}

c_tests() {
    local source name flags=(-std=c99 -g -Wall -Wextra -Wpedantic -Werror -Itests/c "-I$out/dist/include")
    for source in tests/c/*.c; do
        name=$(basename "$source" .c)
        case " ${not_under_qemu[*]} " in *" $name "*) continue ;; esac
        check "$name: builds, shared" "$gnu-gcc" "${flags[@]}" -o "$out/$name" "$source" -L"$out/dist/lib" -lnlmqtt -lpthread -ldl \
            "-Wl,-rpath,$out/dist/lib" && check "$name: shared" timeout 300 $run "$out/$name"
        check "$name: builds, static" "$gnu-gcc" "${flags[@]}" -o "$out/$name-static" "$source" "$out/dist/lib/libnlmqtt.a" \
            -lpthread -lm -ldl && check "$name: static" timeout 300 $run "$out/$name-static"
    done
}

# command_of SIDE PROGRAM: how a program is started; SIDE is x86, or a folder of ARM programs.
command_of() { if [ "$1" = x86 ]; then command=("target/dist/bin/$2"); else command=($run "$1/bin/$2"); fi; }

waits_for() { # FILE TEXT PID: until the text is there; not longer than the process lives
    for _ in $(seq 600); do
        grep -q "$2" "$1" && return 0
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    echo "no '$2' in:"
    cat "$1"
    return 1
}

# One round: the subscriber has its subscription when the retained "go" arrives, then 200 lines go through.
round() { # CLIENT VERSION QOS
    local subscriber topic=arm/$2/$3
    command_of "$1" subscribe
    "${command[@]}" -h 127.0.0.1 -p "$port" -V "$2" -q "$3" -t arm/go -t "$topic" -C 201 -W 200 >"$work/received" &
    subscriber=$!
    waits_for "$work/received" go "$subscriber" || return 1
    command_of "$1" publish
    "${command[@]}" -h 127.0.0.1 -p "$port" -V "$2" -q "$3" -t "$topic" -l <"$work/sent" || return 1
    wait "$subscriber" || return 1
    cmp <(tail -n +2 "$work/received") "$work/sent" || { echo "version $2, QoS $3"; return 1; }
}

# A payload of a megabyte there and back.
large() { # CLIENT
    command_of "$1" publish
    "${command[@]}" -h 127.0.0.1 -p "$port" -q 1 -r -t arm/large -f "$work/large" || return 1
    command_of "$1" subscribe
    "${command[@]}" -h 127.0.0.1 -p "$port" -q 1 -t arm/large -C 1 -W 200 >"$work/received" || return 1
    cmp <(cat "$work/large"; echo) "$work/received"
}

# traffic SERVER CLIENT: every QoS over 3.1.1 and 5.0, and the broker stops when it is told to.
traffic() {
    local broker port version qos status=0 work
    work=$(mktemp -d -p "$out")
    seq -f 'message %g' 200 >"$work/sent"
    head -c 750000 /dev/urandom | base64 -w 0 >"$work/large"
    command_of "$1" nlmqttd
    "${command[@]}" -p 0 >"$work/broker" 2>&1 &
    broker=$!
    waits_for "$work/broker" 'ready on 127.0.0.1:[0-9]' "$broker" || return 1
    port=$(grep -oE '127\.0\.0\.1:[0-9]+' "$work/broker" | head -n 1 | grep -oE '[0-9]+$')
    command_of "$2" publish
    "${command[@]}" -h 127.0.0.1 -p "$port" -r -t arm/go -m go || status=1
    for version in 3.1.1 5; do
        for qos in 0 1 2; do [ $status -ne 0 ] || round "$2" $version $qos || status=1; done
    done
    [ $status -ne 0 ] || large "$2" || status=1
    kill -TERM "$broker"
    wait "$broker" || { echo "the broker ended with $?"; status=1; }
    [ $status -eq 0 ] || cat "$work/broker"
    rm -rf "$work"
    return $status
}

# qemu-user has one thread of its own.
embed() { timeout 100 $run "$out/nlmqtt/bin/embed" | grep '10 readings received on [12] thread'; }

# Everything for one target, in a subshell; ends with the line that tests/run.sh adds up.
target() {
    read -r rust_target gnu machine toolchain <<<"$1"
    out=$here/$rust_target qemu=qemu-$machine-static passed=0 failed=0
    run="$qemu -L /usr/$gnu"
    mkdir -p "$out"
    if check "library" for_target cmake/install.sh --target "$rust_target" --prefix "$out/dist" && check "examples build" examples; then
        for file in dist/lib/libnlmqtt.so.1 nlmqtt/bin/nlmqttd static/bin/nlmqttd; do check "$file is ARM" is_for_target "$out/$file"; done
        for side in nlmqtt static; do
            check "traffic: ARM client ($side), x86 server" traffic x86 "$out/$side"
            check "traffic: x86 client, ARM server ($side)" traffic "$out/$side" x86
        done
        check "embed on one thread" embed
        c_tests
    fi
    rust_tests
    echo "$rust_target: $(du -L -k "$out/dist/lib/libnlmqtt.so.1" | cut -f 1) KiB shared object, $("$rust_for_arm/bin/rustc" --version)"
    echo "arm: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

install_missing || exit 1
cmake/toolchains/rust-for-arm.sh "$rust_for_arm" || exit 1
c-examples/run.sh --build-only || exit 1
jobs=()
for row in "${targets[@]}"; do
    (target "$row") >"$here/${row%% *}.log" 2>&1 &
    jobs+=($!)
done
status=0
for job in "${jobs[@]}"; do wait "$job" || status=1; done
for row in "${targets[@]}"; do cat "$here/${row%% *}.log"; done
exit $status
