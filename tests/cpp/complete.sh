#!/usr/bin/env bash
# nlmqtt.hpp is whole: every function of nlmqtt.h is used in it or stands in unwrapped.tsv with a reason, every callback and hook and
# every option has its place. tests/cpp/complete.sh [nlmqtt.h]
set -uo pipefail
cd "$(dirname "$0")/../.."
header=${1:-include/nlmqtt.h}
used() { cat include/nlmqtt.hpp include/nlmqtt/*.hpp | sed 's|//.*||; /^ *\/\*\*/d; /^ *\* /d'; }
functions() { grep -oE '^[a-z_ *0-9A-Z]*\bnlmqtt_[a-z0-9_]+\(' "$header" | grep -v '^typedef' | grep -oE 'nlmqtt_[a-z0-9_]+\(' | tr -d '(' | sort -u; }
# Members of a struct of the header, without comments.
members() { # STRUCT
    awk -v end="^} $1;" '/^typedef struct \{/ {text = ""} {text = text "\n" $0} $0 ~ end {print text}' "$header" |
        sed '/^ *\/\*\*/d; /^ *\*/d' | tr '\n' ' ' | tr ';' '\n' |
        sed -nE 's/.*\(\*([a-z_0-9]+)\)\(.*/\1/p; t; s/.*[ *]([a-z_0-9]+)$/\1/p' | grep -vE '^(struct_size|nlmqtt_)'
}
text=$(used)
# Whole, and not through a pipe: a grep that has seen enough would end its writer with SIGPIPE.
functions=$(functions)
missing=0
for name in $functions; do
    grep -qE "\b$name\b" <<<"$text" || grep -qP "^$name\t.+" tests/cpp/unwrapped.tsv || { echo "not in nlmqtt.hpp: $name"; missing=1; }
done
while IFS=$'\t' read -r name _; do
    [[ $name == \#* ]] || grep -qx "$name" <<<"$functions" || { echo "unwrapped.tsv: the header has no $name"; missing=1; }
done <tests/cpp/unwrapped.tsv
place() { # STRUCT PATTERN: each member stands there as the pattern says
    local member count=0
    for member in $(members "$1"); do
        count=$((count + 1))
        grep -qE "${2//NAME/$member}" <<<"$text" || { echo "not in nlmqtt.hpp: $1.$member"; missing=1; }
    done
    [ "$count" -gt 2 ] || { echo "$1 was not found"; missing=1; }
}
place nlmqtt_client_callbacks '(NLMQTT_TELL\(NAME\)|table\.NAME =)'
place nlmqtt_server_hooks '(NLMQTT_HOOK\((tell|decide), NAME\)|table\.NAME =)'
place nlmqtt_publish_options 'raw\.NAME ='
place nlmqtt_stop_options 'raw\.NAME ='
place nlmqtt_subscription 'raw\.NAME ='
place nlmqtt_subscribe_options 'raw_options\.NAME ='
exit "$missing"
