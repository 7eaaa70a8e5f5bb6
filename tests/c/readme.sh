#!/usr/bin/env bash
# The C programs of the README and the one in C++, copied into an empty folder with a five-line CMakeLists.txt, build
# and run as printed: through nlmqtt::nlmqtt and through nlmqtt::static.
set -euo pipefail
cd "$(dirname "$0")/../.."
dist=$PWD/target/dist
work=$(mktemp -d)
broker=''
end() { [ -z "$broker" ] || kill "$broker" 2>/dev/null || true; rm -rf "$work"; }
trap end EXIT
awk -v out="$work" '/^```c$/ {n++; on=1; file=out "/snippet" n ".c"; next}
    /^```cpp$/ {on=1; file=out "/snippet3.cpp"; next} /^```cmake$/ {on=1; file=out "/five-lines"; next}
    /^```/ {on=0} on {print > file}' README.md
[ "$(wc -l <"$work/five-lines")" -eq 5 ]
# A free port in place of 1883, so that a gateway on this machine does not matter.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed -i "s/127.0.0.1:1883/127.0.0.1:$port/" "$work"/snippet*
passed=0
for library in nlmqtt::nlmqtt nlmqtt::static; do
    for n in 1 2 3; do
        # An empty folder, the program, five lines.
        rm -rf "$work/$n"
        mkdir "$work/$n"
        source=$(basename "$work/snippet$n".*)
        cp "$work/$source" "$work/$n/hello.${source##*.}"
        sed "s/nlmqtt::nlmqtt/$library/" "$work/five-lines" >"$work/$n/CMakeLists.txt"
        [ "${source##*.}" = c ] || sed -i 's/(hello C)/(hello CXX)/; s/hello\.c/hello.cpp/' "$work/$n/CMakeLists.txt"
        cmake -S "$work/$n" -B "$work/$n/build" -DCMAKE_PREFIX_PATH="$dist" >"$work/log"
        cmake --build "$work/$n/build" >>"$work/log" || { cat "$work/log"; exit 1; }
    done
    for client in 1 3; do
        "$work/2/build/hello" &
        broker=$!
        sleep 1
        text=$("$work/$client/build/hello")
        [ "$text" = "hello/world: hi" ] || { echo "the client printed: $text"; exit 1; }
        wait "$broker"
        broker=''
    done
    passed=$((passed + 3))
done
echo "readme: $passed passed, 0 failed"
