#!/bin/bash
# Kills the leader of a shard again and again, and measures the time to the next acknowledged registration.
#
#   scripts/leader-kills.sh [--kills 50] [--nodes 3] [--seed N] [--dir DIR]
#
# The clock starts right before SIGKILL and stops when a registration that was begun after it is acknowledged. One writer
# tries at the other nodes in turn, without a pause: over HTTP from this shell itself, as the start of a process would take
# as long as what is measured; "without a kill" is what the same writer takes while nobody dies. Before each kill all
# nodes are ready, and half a second at most passes, at random. RINGWAY names another binary than the release build.
set -euo pipefail
kills=50 nodes=3 seed=$$ dir=$(mktemp -d)
while [ $# -gt 0 ]; do
    case $1 in
        --kills) kills=$2 ;; --nodes) nodes=$2 ;; --seed) seed=$2 ;; --dir) dir=$2/leader-kills.$$; mkdir -p "$dir" ;;
        *) echo "usage: $0 [--kills N] [--nodes N] [--seed N] [--dir DIR]" >&2; exit 2 ;;
    esac
    shift 2
done
cd "$(dirname "$0")/.."
ringway=${RINGWAY:-$(pwd)/target/release/ringway}
[ -n "${RINGWAY:-}" ] || cargo build --release --quiet
command -v openssl >/dev/null || { echo "skipped: leader-kills, as the machine lacks openssl"; exit 0; }
root=$dir/root
RANDOM=$seed
declare -A pid admin
finish() { for node in "${!pid[@]}"; do kill -9 "${pid[$node]}" 2>/dev/null || true; done; }
trap finish EXIT

echo "leader-kills: $kills kills, $nodes nodes, seed $seed, $("$ringway" --version), Linux $(uname -r), $(nproc) processors, in $dir"
mkdir "$dir/nothing"
"$ringway" up --root "$root" --nodes "$nodes" --shards 1 --import "$dir/nothing" --exit-when-synced -q >/dev/null
# The key is all of the file, the end of its line too.
secret=$(cat "$root/secret"; echo .)
token=$(printf 'ringway admin v1' | openssl dgst -sha256 -hmac "${secret%.}" | sed 's/.* //')
for node in $(seq "$nodes"); do admin[$node]=$(sed -n 's/^admin = "\(.*\)"/\1/p' "$root/node-$node/node.toml"); done
start() {
    "$ringway" node --config "$root/node-$1/node.toml" -v >/dev/null 2>>"$dir/node-$1.log" &
    pid[$1]=$!
    # bash must say nothing when it is killed
    disown "${pid[$1]}"
}

# request ADDRESS METHOD PATH [BODY]: whether the answer was 200.
request() {
    local socket status='' body=${4:-}
    { exec {socket}<>"/dev/tcp/${1%:*}/${1##*:}"; } 2>/dev/null || return 1
    printf '%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %s\r\n\r\n%s' \
        "$2" "$3" "$1" "$token" "${#body}" "$body" >&"$socket" 2>/dev/null || true
    IFS= read -r -t 20 status <&"$socket" || true
    exec {socket}>&-
    [[ $status == *' 200 '* ]]
}
file=0
# Sets `took`: microseconds from $1 to an acknowledgement by one of the nodes $2….
write_until_acknowledged() {
    local since=$1 node path
    shift
    while true; do
        for node in "$@"; do
            file=$((file + 1)) path=load/$file
            echo "$file" >"$root/node-$node/shard-0000/segments/$path"
            if request "${admin[$node]}" POST /v1/change '{"shard":0,"kind":"register","paths":["'"$path"'"],"reason":"",
                "durability":"committed","timeout_millis":100}'; then
                took=$((${EPOCHREALTIME/[.,]/} - since))
                return
            fi
        done
        if [ $((${EPOCHREALTIME/[.,]/} - since)) -gt 60000000 ]; then
            echo "leader-kills: nothing is acknowledged within a minute; the nodes are in $root" >&2
            exit 1
        fi
    done
}
# Sets `leader`: who says that it leads the shard; nothing if nobody does.
find_leader() {
    local node
    leader=''
    for node in $(seq "$nodes"); do
        ! "$ringway" status --endpoint "${admin[$node]}" -o json 2>/dev/null \
            | grep -q '"group":1,"role":"leader","term":[0-9]*,"leader":[0-9]' || leader=$node
    done
}
all_ready() {
    local node
    for node in $(seq "$nodes"); do request "${admin[$node]}" GET /readyz || return 1; done
}
wait_for() {
    local attempt
    for attempt in $(seq 3000); do
        ! "$@" || return 0
        sleep 0.02
    done
    echo "leader-kills: not within a minute: $*; the nodes are in $root" >&2
    exit 1
}
is_led() { find_leader; [ -n "$leader" ]; }
# summary FILE: percentiles of microseconds, in milliseconds.
summary() {
    sort -n "$1" | awk '{at[NR] = $1 / 1000}
        function p(q) {n = int(NR * q); if (n < NR * q) n++; return at[n]}
        END {printf "p50 %.1f ms, p95 %.1f ms, max %.1f ms", p(0.5), p(0.95), at[NR]}'
}

for node in $(seq "$nodes"); do start "$node"; mkdir -p "$root/node-$node/shard-0000/segments/load"; done
for kill in $(seq "$kills"); do
    wait_for all_ready
    wait_for is_led
    others=()
    for node in $(seq "$nodes"); do [ "$node" -eq "$leader" ] || others+=("$node"); done
    write_until_acknowledged "${EPOCHREALTIME/[.,]/}" "${others[@]}"
    echo "$took" >>"$dir/without"
    sleep "$(awk -v r=$RANDOM 'BEGIN{printf "%.3f", r / 65536}')"
    since=${EPOCHREALTIME/[.,]/}
    kill -9 "${pid[$leader]}"
    write_until_acknowledged "$since" "${others[@]}"
    echo "$took" >>"$dir/after"
    echo "$kill: node $leader killed, $((took / 1000)) ms" >>"$dir/kills"
    while [ -e "/proc/${pid[$leader]}" ]; do sleep 0.01; done
    start "$leader"
done
wait_for all_ready
echo "without a kill: $(summary "$dir/without")"
echo "after a kill:   $(summary "$dir/after")"
finish
pid=()
rm -rf "$dir"
