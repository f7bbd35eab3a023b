#!/bin/bash
# Kills the leader of a shard again and again, and measures the time to the next acknowledged registration.
#
#   scripts/leader-kills.sh [--kills 50] [--nodes 3] [--seed N] [--dir DIR]
#
# The clock starts right before SIGKILL and stops when a registration that was begun after it is acknowledged. One writer
# tries at the other nodes in turn, without a pause: over HTTP from this shell itself, as the start of a process would take
# as long as what is measured; "without a kill" is what the same writer takes while nobody dies. Before each kill all
# nodes are ready, and half a second at most passes, at random.
set -euo pipefail
kills=50 nodes=3 seed=$$ dir=$(mktemp -d)
while [ $# -gt 0 ]; do
    case $1 in
        --kills) kills=$2 ;; --nodes) nodes=$2 ;; --seed) seed=$2 ;; --dir) dir=$2/leader-kills.$$; mkdir -p "$dir" ;;
        *) echo "usage: $0 [--kills N] [--nodes N] [--seed N] [--dir DIR]" >&2; exit 2 ;;
    esac
    shift 2
done
command -v openssl >/dev/null || { echo "skipped: leader-kills, as the machine lacks openssl"; exit 0; }
. "$(dirname "$0")/nodes.sh"
RANDOM=$seed

echo "leader-kills: $kills kills, $nodes nodes, seed $seed, $("$ringway" --version), Linux $(uname -r), $(nproc) processors, in $dir"
mkdir "$dir/nothing"
found_cluster --import "$dir/nothing"
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
            fail "nothing is acknowledged within a minute"
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
    gone "$leader"
    start "$leader"
done
wait_for all_ready
echo "without a kill: $(summary "$dir/without")"
echo "after a kill:   $(summary "$dir/after")"
finish
pid=()
rm -rf "$dir"
