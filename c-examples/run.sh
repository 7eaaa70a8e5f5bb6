#!/usr/bin/env bash
# The README's main command: installs what is missing, builds the library and the C programs into
# target/dist/, starts the gateway on 127.0.0.1:1883, a sensor and a subscriber, and shows messages
# flowing until Ctrl-C.   --build-only: builds and ends.   --seconds N: ends after N seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds='' build_only=''
while [ $# -gt 0 ]; do
    case $1 in
        --build-only) build_only=1 ;;
        --seconds) seconds=${2:?--seconds N}; shift ;;
        *) echo "usage: c-examples/run.sh [--build-only] [--seconds N]" >&2; exit 2 ;;
    esac
    shift
done

missing=()
for pair in cc:gcc c++:g++ cmake:cmake make:make pkg-config:pkg-config objcopy:binutils; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    sudo=''
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get -qq update
    $sudo apt-get -qq install -y --no-install-recommends "${missing[@]}" libc6-dev
fi

dist=$PWD/target/dist
cmake/install.sh --prefix "$dist"
cmake -S c-examples -B target/c-examples -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$dist" -DCMAKE_INSTALL_PREFIX="$dist" >target/c-examples.log
cmake --build target/c-examples >>target/c-examples.log || { cat target/c-examples.log; exit 1; }
cmake --install target/c-examples >>target/c-examples.log
[ -z "$build_only" ] || { echo "built: target/dist"; exit 0; }

children=()
# Only what this script started is ended, by its id.
end() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    wait 2>/dev/null || true
}
trap end EXIT
trap 'exit 0' INT TERM
"$dist/bin/nlmqttd" -p 1883 &
children+=($!)
sleep 1
kill -0 "${children[0]}" 2>/dev/null || { echo "the gateway did not start (is port 1883 taken?)" >&2; exit 1; }
"$dist/bin/subscribe" -h 127.0.0.1 -p 1883 -v -t '#' &
children+=($!)
sleep 0.3
"$dist/bin/sensor" -h 127.0.0.1 -p 1883 &
children+=($!)
if [ -n "$seconds" ]; then sleep "$seconds"; else wait; fi
