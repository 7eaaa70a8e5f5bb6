#!/usr/bin/env bash
# The Debian packages, installed with dpkg, used and purged, in a view of this machine that is thrown away: an overlay
# over /, so that dpkg and the maintainer scripts are the real ones and nothing of it stays.
# tests/package/debian.sh FOLDER: the packages are made there.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
rm -rf "$out"
cmake/debian.sh --out "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/inside.sh" <<'END'
set -Eeuo pipefail
trap 'echo "failed: $BASH_COMMAND"' ERR
export DEBIAN_FRONTEND=noninteractive
unset LD_LIBRARY_PATH
dpkg -i /packages/*.deb
systemd-analyze verify --man=no nlmqttd.service
test -L /etc/systemd/system/multi-user.target.wants/nlmqttd.service
[[ $(ldd /usr/sbin/nlmqttd) == *' /lib/'*/libnlmqtt.so.1* ]]
man -w nlmqttd >/dev/null 2>&1 || test -e /usr/share/man/man8/nlmqttd.8.gz

# The command of the unit, with a port of its own.
command=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/nlmqttd.service)
sed -i 's/:1883"/:0"/' /etc/nlmqtt/nlmqttd.toml
python3 /tests/service.py $command
$command >/tmp/ready &
broker=$!
for _ in $(seq 100); do grep -q ready /tmp/ready && break; sleep 0.1; done
port=$(sed -n 's/.*127.0.0.1:\([0-9]*\).*/\1/p' /tmp/ready)
nlmqtt-pub -p "$port" -h 127.0.0.1 -r -q 1 -t package -m works
test "$(nlmqtt-sub -p "$port" -h 127.0.0.1 -q 1 -t package -C 1 -W 60)" = works
kill -TERM "$broker"
wait "$broker"

# What the development package is for.
mkdir /tmp/hello
cat >/tmp/hello/hello.c <<'C'
#include <nlmqtt.h>
#include <stdio.h>
int main(void) { return puts(nlmqtt_version_string()) < 0; }
C
cc -o /tmp/hello/by-pkg-config /tmp/hello/hello.c $(pkg-config --cflags --libs nlmqtt)
printf '%s\n' 'cmake_minimum_required(VERSION 3.16)' 'project(hello C)' 'find_package(nlmqtt CONFIG REQUIRED)' \
    'add_executable(hello hello.c)' 'target_link_libraries(hello nlmqtt::static)' >/tmp/hello/CMakeLists.txt
cmake -S /tmp/hello -B /tmp/hello/build >/dev/null
cmake --build /tmp/hello/build >/dev/null
test "$(/tmp/hello/by-pkg-config)" = "$(/tmp/hello/build/hello)"
rm -rf /tmp/hello /tmp/ready

# Removed, the configuration stays; purged, nothing stays.
dpkg --remove nlmqttd
test -e /etc/nlmqtt/nlmqttd.toml
dpkg --purge nlmqttd libnlmqtt-dev libnlmqtt1
END
cat >"$work/outside.sh" <<'END'
set -euo pipefail
work=$1 packages=$2 tests=$3
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/scratch" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/scratch" "$work/root"
mkdir -p "$work/root/packages" "$work/root/tests"
mount --bind "$packages" "$work/root/packages"
mount --bind "$tests" "$work/root/tests"
mount --rbind /proc "$work/root/proc"
mount --rbind /dev "$work/root/dev"
chroot "$work/root" bash /dev/stdin
# The upper layer holds all that was written: files named after the packages must be gone from it.
left=$(find "$work/upper" ! -type c -iname '*nlmqtt*' ! -path '*/var/log/*' ! -path '*/var/cache/*')
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
END
mkdir "$work/mount"
sudo=''
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo unshare --mount bash "$work/outside.sh" "$work/mount" "$(realpath "$out")" "$PWD/tests/package" <"$work/inside.sh"
