#!/bin/sh
# Runs foreign MQTT clients against our broker, and our clients against mosquitto.
#
#   run.sh                      the broker target/dist/bin/nlmqttd, the programs beside it
#   run.sh --broker PATH        another nlmqttd
#   run.sh --mosquitto          mosquitto as the broker: tests the tests
#   run.sh --broker-cmd CMD     any broker; CMD may hold {port}, {conf} and {sets}
#   run.sh --programs DIR       where `publish` and `subscribe` are
#   run.sh --only TEXT          only the cases whose name contains TEXT
#   run.sh --verbose            times and tracebacks
#   run.sh --install-only       installs what is missing, and ends
#
# Prints `ok NAME` or `FAIL NAME: why` for each case, and last `interop: N passed, M failed`.
# Installs what is missing: Debian's mosquitto, mosquitto-clients, haproxy, nginx, tinyproxy, microsocks and chromium (as programs: no
# service is used or left running), paho-mqtt, gmqtt and aioquic in .venv, mqtt.js in node_modules. Builds the library and the programs
# once more with the feature `quic`, in target/dist-quic, unless another broker is under test. All traffic stays on the loopback
# interface, on free ports.
set -eu
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# A package may want to start its service while it is installed: policy-rc.d says no, unless the
# machine has a policy of its own.
install_packages() {
    policy=/usr/sbin/policy-rc.d
    ours=no
    if [ ! -e $policy ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod +x $policy
    fi
    status=0
    { as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
    } >&2 || status=$?
    if [ $ours = yes ]; then as_root rm -f $policy; fi
    return $status
}

PATH="$PATH:/usr/sbin:/sbin"
wanted=""
command -v mosquitto >/dev/null || wanted="$wanted mosquitto"
command -v mosquitto_sub >/dev/null || wanted="$wanted mosquitto-clients"
command -v node >/dev/null || wanted="$wanted nodejs"
command -v openssl >/dev/null || wanted="$wanted openssl"
command -v npm >/dev/null || wanted="$wanted npm"
command -v haproxy >/dev/null || wanted="$wanted haproxy"
command -v nginx >/dev/null || wanted="$wanted nginx-light"
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || wanted="$wanted libnginx-mod-stream"
command -v tinyproxy >/dev/null || wanted="$wanted tinyproxy-bin"
command -v microsocks >/dev/null || wanted="$wanted microsocks"
command -v chromium >/dev/null || wanted="$wanted chromium"
command -v certutil >/dev/null || wanted="$wanted libnss3-tools"
python3 -m venv --help >/dev/null 2>&1 || wanted="$wanted python3-venv"
# shellcheck disable=SC2086  # a list of words
if [ -n "$wanted" ]; then install_packages $wanted; fi

if ! cmp -s requirements.txt .venv/installed; then
    python3 -m venv .venv
    .venv/bin/pip install -q --disable-pip-version-check -r requirements.txt >&2
    cp requirements.txt .venv/installed
fi
if ! cmp -s package-lock.json node_modules/installed; then
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2
    cp package-lock.json node_modules/installed
fi

if [ "${1:-}" = --install-only ]; then exit 0; fi

# A feature that is not in the default build has one of its own.
case " $* " in
    *" --mosquitto "* | *" --broker-cmd "*) ;;
    *) ../quic_library.sh >&2 ;;
esac
PATH="$PWD/.venv/bin:$PATH"
ulimit -n 8192 2>/dev/null || true
exec .venv/bin/python run.py "$@"
