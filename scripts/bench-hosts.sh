#!/bin/bash
# The three hosts side by side: what three nodes of one core each replicate in a second, and what they cost when idle.
#
#   scripts/bench-hosts.sh [--mib 512] [--rounds 5] [--idle 10] [--hosts "pinned tokio-uring glommio"] [--dir DIR]
#
# All nodes are processes on this machine, on loopback and one disk. A round replicates files of 64 MiB, new ones each
# time: the clock runs from their registration at node 1, which digests them, until they stand verified and durable on
# all three. CPU is that of the three processes (proc_pid_stat(5)); the kernel's workers of a ring count for its process.
# Rounds alternate between the hosts; medians. RINGWAY names another binary than the release build with all hosts.
set -euo pipefail
mib=512 rounds=5 idle=10 hosts='pinned tokio-uring glommio' dir=''
while [ $# -gt 0 ]; do
    case $1 in
        --mib) mib=$2 ;; --rounds) rounds=$2 ;; --idle) idle=$2 ;; --hosts) hosts=$2 ;; --dir) dir=$2/bench-hosts.$$ ;;
        *) echo "usage: $0 [--mib N] [--rounds N] [--idle SECONDS] [--hosts \"HOST …\"] [--dir DIR]" >&2; exit 2 ;;
    esac
    shift 2
done
files=$((mib / 64))
[ "$files" -gt 0 ] || { echo "bench-hosts: --mib of at least 64" >&2; exit 2; }
cd "$(dirname "$0")/.."
ringway=${RINGWAY:-$(pwd)/target/release/ringway}
[ -n "${RINGWAY:-}" ] || cargo build --release --quiet --features tokio-uring,glommio
[ -n "$dir" ] || dir=$(mktemp -d)
mkdir -p "$dir"
root=$dir/root
running=()
finish() {
    [ ${#running[@]} -eq 0 ] || kill -9 "${running[@]}" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

"$ringway" up --root "$root" --nodes 3 --shards 1 --exit-when-synced -q >/dev/null
admin=$(sed -n 's/^admin = "\(.*\)"/\1/p' "$root/node-1/node.toml")
start() {
    running=()
    for node in 1 2 3; do
        "$ringway" node --config "$root/node-$node/node.toml" --host "$1" -q >/dev/null 2>>"$dir/log" &
        running+=($!)
        disown $!
    done
}
stop() {
    kill "${running[@]}"
    for pid in "${running[@]}"; do while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done; done
    running=()
}
hertz=$(getconf CLK_TCK)
# CPU of the three nodes so far, in ticks.
ticks() { for pid in "${running[@]}"; do sed 's/.*) //' "/proc/$pid/stat"; done | awk '{sum += $12 + $13} END {print sum}'; }
register() { "$ringway" register --endpoint "$admin" --secret-file "$root/secret" --durability "$@" >/dev/null 2>>"$dir/log"; }

round() {
    local host=$1 number=$2 names=() before began ended busy still
    mkdir -p "$root/node-1/shard-0000/segments/$number"
    for file in $(seq "$files"); do
        names+=("$number/$file")
        openssl enc -aes-128-ctr -pass "pass:$number-$file" -nosalt -pbkdf2 -in /dev/zero 2>/dev/null |
            head -c $((64 << 20)) >"$root/node-1/shard-0000/segments/$number/$file" || true
    done
    echo "$number" >"$root/node-1/shard-0000/segments/$number/first"
    sync
    start "$host"
    until register all "$number/first"; do kill -0 "${running[0]}" && sleep 0.2; done
    sleep 1
    before=$(ticks) began=$(date +%s.%N)
    register all "${names[@]}" || { echo "$host: $(tail -1 "$dir/log")" >&2; exit 1; }
    ended=$(date +%s.%N) busy=$(($(ticks) - before))
    sleep 3
    before=$(ticks)
    sleep "$idle"
    still=$(($(ticks) - before))
    stop
    awk -v h="$host" -v s="$began" -v e="$ended" -v b="$busy" -v i="$still" -v z="$hertz" -v t="$idle" -v g="$(awk "BEGIN {print $files * 64 * 1048576 / 1e9}")" \
        'BEGIN {printf "%s %.3f %.3f %.2f\n", h, g / (e - s), b / z / g, i / z / t / 3 * 1000}' >>"$dir/samples"
}
number=0
for _ in $(seq "$rounds"); do
    for host in $hosts; do
        number=$((number + 1))
        round "$host" "$number"
    done
done
median() { grep "^$1 " "$dir/samples" | awk -v c="$2" '{print $c}' | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
echo "# $files files of 64 MiB to two other nodes, $(stat -f -c %T "$dir"), $rounds rounds, medians"
echo "# $(uname -sr), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
printf '%-12s %8s %10s %16s\n' host GB/s 'CPU s/GB' 'idle, ms/s/node'
for host in $hosts; do
    printf '%-12s %8s %10s %16s\n' "$host" "$(median "$host" 2)" "$(median "$host" 3)" "$(median "$host" 4)"
done
