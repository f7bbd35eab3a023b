#!/bin/bash
# The three hosts side by side: what three nodes of one core each replicate in a second, and what they cost when idle.
#
#   scripts/bench-hosts.sh [--mib 512] [--rounds 5] [--idle 10] [--hosts "pinned tokio-uring glommio"] [--dir DIR]
#
# All nodes are processes on this machine, loopback and one disk, of one core each, as `ringway up` configures them. A
# round replicates new files of 64 MiB: the clock runs from their registration at node 1, which digests them, until they
# stand verified and durable on all three. CPU is that of the three processes (proc_pid_stat(5)), to which the kernel's
# workers of their rings belong. Rounds alternate between the hosts; medians. All files stay to the end: rounds times
# hosts times three times --mib on the disk. RINGWAY names another binary than the release build with all hosts.
set -euo pipefail
mib=512 rounds=5 idle=10 hosts='pinned tokio-uring glommio' dir=''
usage() { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage
    case $1 in
        --mib) mib=$2 ;; --rounds) rounds=$2 ;; --idle) idle=$2 ;; --hosts) hosts=$2 ;;
        --dir) dir=$(realpath -m "$2")/bench-hosts.$$ ;;
        *) usage ;;
    esac
    shift 2
done
files=$((mib / 64))
[ "$files" -gt 0 ] || { echo "bench-hosts: --mib of at least 64" >&2; exit 2; }
ringway=${RINGWAY:+$(realpath "$RINGWAY")}
cd "$(dirname "$0")/.."
[ -n "$ringway" ] || cargo build --release --quiet --features tokio-uring,glommio
ringway=${ringway:-$(pwd)/target/release/ringway}
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
    done
}
alive() {
    local pid
    for pid in "${running[@]}"; do
        kill -0 "$pid" 2>/dev/null || { echo "bench-hosts: a node has ended: $(tail -1 "$dir/log")" >&2; exit 1; }
    done
}
stop() {
    kill "${running[@]}"
    wait "${running[@]}" || true
    running=()
}
hertz=$(getconf CLK_TCK)
# CPU of the three nodes so far, in ticks.
ticks() {
    local pid
    for pid in "${running[@]}"; do sed 's/.*) //' "/proc/$pid/stat"; done | awk '{sum += $12 + $13} END {print sum}'
}
register() {
    "$ringway" register --endpoint "$admin" --secret-file "$root/secret" --durability "$@" >/dev/null 2>>"$dir/log"
}

# One host: the line "host GB/s, CPU s/GB, idle ms/s/node" to the samples.
round() {
    local host=$1 number=$2 names=() before began ended after idled gb
    local segments=$root/node-1/shard-0000/segments/$number
    mkdir -p "$segments"
    for file in $(seq "$files"); do
        names+=("$number/$file")
        head -c $((64 << 20)) /dev/urandom >"$segments/$file"
    done
    echo "$number" >"$segments/first"
    sync
    start "$host"
    until register all "$number/first"; do alive; sleep 0.2; done
    sleep 1
    before=$(ticks) began=$(date +%s.%N)
    register all "${names[@]}" || { echo "bench-hosts: $host: $(tail -1 "$dir/log")" >&2; exit 1; }
    ended=$(date +%s.%N) after=$(ticks)
    sleep 3
    alive
    idled=$(ticks)
    sleep "$idle"
    alive
    gb=$(awk -v n="$files" 'BEGIN {print n * 64 * 1048576 / 1e9}')
    awk -v h="$host" -v s="$began" -v e="$ended" -v c="$((after - before))" -v i="$(($(ticks) - idled))" -v z="$hertz" \
        -v t="$idle" -v g="$gb" \
        'BEGIN {printf "%s %.3f %.3f %.2f\n", h, g / (e - s), c / z / g, i / z / t / 3 * 1000}' >>"$dir/samples"
    stop
}
number=0
for _ in $(seq "$rounds"); do
    for host in $hosts; do
        number=$((number + 1))
        round "$host" "$number"
    done
done
median() {
    awk -v h="$1" -v c="$2" '$1 == h {print $c}' "$dir/samples" | sort -n |
        awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
}
echo "# $files files of 64 MiB to two other nodes, $(stat -f -c %T "$dir"), $rounds rounds, medians"
echo "# $("$ringway" --version), $(uname -sr), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
printf '%-12s %8s %10s %16s\n' host GB/s 'CPU s/GB' 'idle, ms/s/node'
for host in $hosts; do
    printf '%-12s %8s %10s %16s\n' "$host" "$(median "$host" 2)" "$(median "$host" 3)" "$(median "$host" 4)"
done
