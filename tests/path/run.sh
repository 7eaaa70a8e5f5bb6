#!/usr/bin/env bash
# The lossy path between two namespaces: what has to hold on it, then a smoke test of the comparison. README.md explains.
#   tests/path/run.sh [--dist target/dist] [--long]     --long: the comparison in its short form, too (about 20 minutes)
# Uses what c-examples/run.sh --build-only installs. Its network is in namespaces of its own; where it may not make them, it says NOT RUN.
set -uo pipefail
cd "$(dirname "$0")/../.."
dist=target/dist long=''
while [ $# -gt 0 ]; do
    case $1 in
        --dist) dist=${2:?--dist FOLDER}; shift ;;
        --long) long=1 ;;
        *) echo "usage: tests/path/run.sh [--dist FOLDER] [--long]" >&2; exit 2 ;;
    esac
    shift
done
PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in gcc:gcc ip:iproute2 nsenter:util-linux python3:python3 openssl:openssl; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    sudo=''
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get -qq update
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" libc6-dev
fi
[ -d "$dist/include" ] || { echo "$dist: nothing is installed there: c-examples/run.sh --build-only" >&2; exit 1; }
status=0
tests/path/test_path.py --dist "$dist" || status=1
# With QUIC where a part before this one has left a build that has it (tests/quic_library.sh).
smoke=$dist
[ ! -x target/dist-quic/sbin/nlmqttd ] || smoke=target/dist-quic
tests/path/measure.py --smoke --prefix "$smoke" 2>&1 || status=1
[ -z "$long" ] || tests/path/measure.py || status=1
exit "$status"
