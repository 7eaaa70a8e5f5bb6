#!/usr/bin/env bash
# The C programs of the README, copied into an empty folder with a five-line CMakeLists.txt, build
# and run as printed: through nlmqtt::nlmqtt and through nlmqtt::static.
set -euo pipefail
cd "$(dirname "$0")/../.."
dist=$PWD/target/dist
work=$(mktemp -d)
broker=''
end() { [ -z "$broker" ] || kill "$broker" 2>/dev/null || true; rm -rf "$work"; }
trap end EXIT
awk -v out="$work" '/^```c$/ {n++; on=1; next} /^```/ {on=0} on {print > (out "/snippet" n ".c")}' README.md
# A free port in place of 1883, so that a gateway on this machine does not matter.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed -i "s/127.0.0.1:1883/127.0.0.1:$port/" "$work"/*.c
passed=0
for library in nlmqtt::nlmqtt nlmqtt::static; do
    cat >"$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.16)
project(snippets C)
find_package(nlmqtt CONFIG REQUIRED)
foreach(n 1 2)
  add_executable(snippet\${n} snippet\${n}.c)
  target_link_libraries(snippet\${n} $library)
endforeach()
END
    rm -rf "$work/build"
    cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$dist" >"$work/log"
    cmake --build "$work/build" >>"$work/log" || { cat "$work/log"; exit 1; }
    "$work/build/snippet2" &
    broker=$!
    sleep 1
    text=$("$work/build/snippet1")
    [ "$text" = "hello/world: hi" ] || { echo "the client printed: $text"; exit 1; }
    wait "$broker"
    broker=''
    passed=$((passed + 2))
done
echo "readme: $passed passed, 0 failed"
