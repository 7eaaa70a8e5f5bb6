# What run.sh and older.sh share; read from the top of the repository.
root=$PWD
here=$root/target/arm
rust_for_arm=$here/rust
mkdir -p "$here"

install_missing() {
    local missing=() pair sudo=''
    for pair in aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf \
        aarch64-linux-gnu-g++:g++-aarch64-linux-gnu arm-linux-gnueabihf-g++:g++-arm-linux-gnueabihf \
        qemu-arm-static:qemu-user-static cmake:cmake make:make pkg-config:pkg-config python3:python3; do
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

# The environment in which any cargo builds for $rust_target into $out/cargo, with Debian's C compiler $gnu-gcc or with $CC.
for_target() {
    local upper lower cc=${CC:-$gnu-gcc}
    upper=$(tr a-z- A-Z_ <<<"$rust_target") lower=$(tr - _ <<<"$rust_target")
    env RUSTC="$rust_for_arm/bin/rustc" RUSTDOC="$rust_for_arm/bin/rustdoc" CARGO_TARGET_DIR="$out/cargo" \
        "CARGO_TARGET_${upper}_LINKER=$cc" "CARGO_TARGET_${upper}_RUNNER=$qemu -L /usr/$gnu" \
        "CC_$lower=$cc" "AR_$lower=$gnu-ar" "$@"
}

# check NAME COMMAND...: one test of $rust_target; says nothing if it passes.
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

# command_of SIDE PROGRAM: how a program is started; SIDE is x86, or a folder of ARM programs.
command_of() { if [ "$1" = x86 ]; then command=("target/dist/bin/$2"); else command=($run "$1/bin/$2"); fi; }

waits_for() { # FILE TEXT PID: until the text is there; not longer than the process lives
    for _ in $(seq 600); do
        grep -qs "$2" "$1" && return 0
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    echo "no '$2' in:"
    cat "$1"
    return 1
}

# One round: the subscriber has its subscription when the retained "go" arrives, then 200 lines go through.
round() { # CLIENT VERSION QOS
    local subscriber status topic=arm/$2/$3 received=$work/received-$2-$3
    command_of "$1" subscribe
    "${command[@]}" -h 127.0.0.1 -p "$port" -V "$2" -q "$3" -t arm/go -t "$topic" -C 201 -W 200 >"$received" &
    subscriber=$!
    waits_for "$received" go "$subscriber" || return 1
    command_of "$1" publish
    "${command[@]}" -h 127.0.0.1 -p "$port" -V "$2" -q "$3" -t "$topic" -l -W 200 <"$work/sent" || { echo "publish ended with $?"; return 1; }
    wait "$subscriber"
    status=$?
    cmp <(tail -n +2 "$received") "$work/sent" && [ $status -eq 0 ] && return 0
    echo "version $2, QoS $3: subscribe ended with $status, received $(wc -l <"$received") lines"
    return 1
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
