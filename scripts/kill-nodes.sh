#!/bin/bash
# Kills nodes of a cluster at random moments while registrations go on, and then looks for what was acknowledged.
#
#   scripts/kill-nodes.sh [--kills 200] [--nodes 3] [--seed N] [--dir DIR]
#
# Every kill is SIGKILL to one random node, which is started again after a random pause; now and then two are down at once.
# The load registers files at random nodes without a pause and writes down what was acknowledged. At the end every
# acknowledged file must stand, byte for byte, on every node, and `ringway verify` must find no damage.
set -euo pipefail
kills=200 nodes=3 seed=$$ dir=$(mktemp -d)
while [ $# -gt 0 ]; do
    case $1 in
        --kills) kills=$2 ;; --nodes) nodes=$2 ;; --seed) seed=$2 ;; --dir) dir=$2/kill-nodes.$$; mkdir -p "$dir" ;;
        *) echo "usage: $0 [--kills N] [--nodes N] [--seed N] [--dir DIR]" >&2; exit 2 ;;
    esac
    shift 2
done
. "$(dirname "$0")/nodes.sh"
RANDOM=$seed
load=''
end() {
    [ -z "$load" ] || kill "$load" 2>/dev/null || true
    finish
}
trap end EXIT

echo "kill-nodes: $kills kills, $nodes nodes, seed $seed, in $dir"
found_cluster
for node in $(seq "$nodes"); do start "$node"; done

# One batch of files after another, at a random node; a name is used once, so that an acknowledged file has one content.
load() {
    RANDOM=$((seed + 1))
    local round=0
    while true; do
        round=$((round + 1))
        local node=$((RANDOM % nodes + 1)) names=()
        local segments=$root/node-$node/shard-0000/segments
        for file in 1 2 3; do
            local name=load/$round-$file
            mkdir -p "$segments/load"
            head -c $((RANDOM * 40 + RANDOM)) /dev/urandom >"$dir/new"
            sha256sum <"$dir/new" | sed "s|-|$name|" >>"$dir/made"
            mv "$dir/new" "$segments/$name"
            names+=("$name")
        done
        if "$ringway" register --endpoint "${admin[$node]}" --secret-file "$root/secret" "${names[@]}" >/dev/null 2>>"$dir/load.log"; then
            printf '%s\n' "${names[@]}" >>"$dir/acknowledged"
        else
            sleep 0.05
        fi
    done
}
: >"$dir/acknowledged"; : >"$dir/made"
load &
load=$!

pause() { sleep "$(awk -v r=$RANDOM -v most="$1" 'BEGIN{printf "%.3f", r / 32768 * most}')"; }
done_=0
while [ $done_ -lt "$kills" ]; do
    pause 0.8
    victims=($((RANDOM % nodes + 1)))
    [ $((RANDOM % 8)) -ne 0 ] || victims+=($((victims[0] % nodes + 1)))
    for node in "${victims[@]}"; do kill -9 "${pid[$node]}"; done_=$((done_ + 1)); done
    pause 0.8
    for node in "${victims[@]}"; do
        gone "$node"
        start "$node"
    done
    [ $((done_ % 20)) -ne 0 ] || echo "$done_ kills, $(wc -l <"$dir/acknowledged") acknowledged"
done
kill "$load"; wait "$load" 2>/dev/null || true; load=''

# Every node has to come to rest with everything: ready, and as far as the others. A node that has just started does not know
# yet what was committed without it.
at_rest() {
    local all='' node status
    for node in $(seq "$nodes"); do
        status=$("$ringway" status --endpoint "${admin[$node]}" -o json 2>/dev/null) || return 1
        [[ $status == *'"ready":true'* ]] || return 1
        # None of the cluster's own group.
        all+=$(grep -o '"installed":[0-9][0-9]*' <<<"$status")$'\n'
    done
    [ "$(sort -u <<<"${all%$'\n'}" | wc -l)" -eq 1 ]
}
wait_for at_rest
for node in $(seq "$nodes"); do kill -TERM "${pid[$node]}"; done
for node in $(seq "$nodes"); do gone "$node"; done

lost=0
while read -r name; do
    expected=$(awk -v n="$name" '$2 == n {print $1}' "$dir/made")
    for node in $(seq "$nodes"); do
        found=$(sha256sum <"$root/node-$node/shard-0000/segments/$name" 2>/dev/null | cut -d' ' -f1) || true
        [ "$found" = "$expected" ] || { echo "kill-nodes: node $node has not what was acknowledged: $name" >&2; lost=1; }
    done
done <"$dir/acknowledged"
[ $lost -eq 0 ] || exit 1
"$ringway" verify --root "$root"
echo "kill-nodes: $done_ kills; all $(wc -l <"$dir/acknowledged") acknowledged files stand on all $nodes nodes"
rm -rf "$dir"
