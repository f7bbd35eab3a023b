#!/bin/bash
# Durable registrations of Ringway against durable puts of etcd, in one run on one disk, alternated.
#
#   scripts/bench-manifest.sh [--seconds 3] [--rounds 3] [--nodes "1 3"] [--in-flight "1 256"] [--connections 4]
#                             [--dir DIR] [--install]
#
# All nodes of a cluster are on this machine and on the disk of DIR. Each measurement has nodes and files of its own, and
# a client that asks the leader: so many requests in flight, for so many seconds, after half a second to warm up.
#   etcd       puts of 288 bytes by gRPC, each durable in the log of a majority (benches/etcd.rs); with more than one in
#              flight over --connections of them, as Go's server reads each by one goroutine
#   register   of a sealed, synced file of 4 KiB each, by the engine's API in one process (benches/commits.rs): the file
#              is digested and pinned, its entry durable in the log of a majority
#   delete     of a path under which nothing stands: the same entry of the log, without a file
#   queue      the same files through the registrar: the latency is until a change is durable here, the rate until the
#              last is registered
# Both flush a log once for all that waits. Prints medians of the rounds. CPU is of the whole machine, clients too;
# flushes are the disk's. --install gets etcd by apt-get (Debian's; needs root).
set -euo pipefail
seconds=3 rounds=3 nodes='1 3' in_flight='1 256' connections=4 dir='' install=''
usage() { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --install) install=1; shift; continue ;;
        --seconds|--rounds|--nodes|--in-flight|--connections|--dir) [ $# -gt 1 ] || usage ;;
        *) usage ;;
    esac
    case $1 in
        --seconds) seconds=$2 ;; --rounds) rounds=$2 ;; --nodes) nodes=$2 ;; --in-flight) in_flight=$2 ;;
        --connections) connections=$2 ;; --dir) dir=$2/bench-manifest.$$ ;;
    esac
    shift 2
done
missing=''
if [ -n "$install" ]; then
    apt-get install -y -q --no-install-recommends etcd-server etcd-client >/dev/null ||
        echo "bench-manifest: apt-get has no etcd" >&2
fi
for tool in etcd etcdctl; do [ -n "$(type -P $tool)" ] || missing="$missing $tool"; done
cd "$(dirname "$0")/.."
# built NAME: the path of a benchmark's program.
built() {
    cargo bench --quiet --no-run --bench "$1" --message-format=json |
        sed -n 's/.*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p' | tail -1
}
commits=$(built commits) rival=$(built etcd)
[ -n "$dir" ] || dir=$(mktemp -d)
mkdir -p "$dir"
started=()
stop() {
    [ ${#started[@]} -eq 0 ] || { kill "${started[@]}" && wait "${started[@]}"; } 2>/dev/null || true
    started=()
}
finish() { stop; rm -rf "$dir"; }
trap finish EXIT

# etcd_up N: starts so many, and sets `leader` to the address of the one that leads.
etcd_up() {
    local node members='' endpoints='' tries=0
    for node in $(seq "$1"); do
        members=$members${members:+,}n$node=http://127.0.0.1:$((18750 + node))
        endpoints=$endpoints${endpoints:+,}127.0.0.1:$((18740 + node))
    done
    for node in $(seq "$1"); do
        etcd --name "n$node" --data-dir "$dir/etcd-$node" --listen-client-urls "http://127.0.0.1:$((18740 + node))" \
            --advertise-client-urls "http://127.0.0.1:$((18740 + node))" --initial-cluster "$members" --log-level error \
            --listen-peer-urls "http://127.0.0.1:$((18750 + node))" \
            --initial-advertise-peer-urls "http://127.0.0.1:$((18750 + node))" >"$dir/etcd-$node.log" 2>&1 &
        started+=($!)
    done
    leader=''
    until [ -n "$leader" ]; do
        leader=$(ETCDCTL_API=3 etcdctl --endpoints "$endpoints" endpoint status 2>/dev/null |
            awk -F', ' '$5 == "true" {print $1}') || true
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "no leader within 10 s" >"$dir/error"; return 1; }
        [ -n "$leader" ] || sleep 0.1
    done
}
run_etcd() {
    local status=0 lanes=$connections
    [ "$2" -ge "$lanes" ] || lanes=$2
    etcd_up "$1" &&
        "$rival" "$leader" --dir "$dir" --seconds "$seconds" --in-flight "$2" --connections "$lanes" \
            >"$dir/out" 2>"$dir/error" || status=$?
    stop
    rm -rf "$dir"/etcd-*
    return $status
}
# All files stay to the end: ext4 gives no inode again for minutes after its file went, and searches on and on for others.
run_ringway() {
    turn=$((turn + 1))
    mkdir "$dir/ringway-$turn"
    "$commits" --case "$3" --dir "$dir/ringway-$turn" --seconds "$seconds" --nodes "$1" --in-flight "$2" \
        >"$dir/out" 2>"$dir/error"
}
# measure WAY NODES IN_FLIGHT: appends a sample, or the way to the failures.
measure() {
    sync -f "$dir"
    if [ "$1" = etcd ]; then set -- "$@" run_etcd; else set -- "$@" run_ringway; fi
    if ! "$4" "$2" "$3" "$1"; then
        echo "$1 $2 $3 $(tail -1 "$dir/error")" >>"$dir/failures"
        return
    fi
    sed -n "s/^figures /$1 $2 $3 /p" "$dir/out" >>"$dir/samples"
}
: >"$dir/samples"
: >"$dir/failures"
turn=0
ways='etcd register queue delete'
[ -z "$missing" ] || ways='register queue delete'
for _ in $(seq "$rounds"); do
    for count in $nodes; do
        for flight in $in_flight; do
            for way in $ways; do measure "$way" "$count" "$flight"; done
        done
    done
done

median() {
    awk -v of="$1 $2 $3" -v c="$4" '$1 " " $2 " " $3 == of {print $c}' "$dir/samples" | sort -n |
        awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
}
echo "# $rounds rounds of $seconds s, medians, $(stat -f -c %T "$dir"), $connections connections to etcd"
echo "# $(uname -sr), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
[ -z "$(type -P etcd)" ] || echo "# $(etcd --version | head -1)"
[ -z "$missing" ] || echo "# not installed here:$missing (--install)"
printf '%5s %9s %-9s %9s %9s %9s %12s %12s %8s\n' nodes 'in flight' '' 'a second' 'p50 ms' 'p99 ms' 'CPU s/10,000' 'flushes/100' 'of etcd'
for count in $nodes; do
    for flight in $in_flight; do
        for way in $ways; do
            if grep -q "^$way $count $flight " "$dir/failures"; then
                printf '%5s %9s %-9s failed: %s\n' "$count" "$flight" "$way" \
                    "$(grep "^$way $count $flight " "$dir/failures" | head -1 | cut -d' ' -f4-)"
                continue
            fi
            rate=$(median "$way" "$count" "$flight" 5)
            [ "$way" != etcd ] || base=$rate
            printf '%5s %9s %-9s %9s %9.2f %9.2f %12.2f %12.1f %8s\n' "$count" "$flight" "$way" "$rate" \
                "$(median "$way" "$count" "$flight" 6)" "$(median "$way" "$count" "$flight" 7)" \
                "$(median "$way" "$count" "$flight" 8)" "$(median "$way" "$count" "$flight" 9)" \
                "$(awk -v r="$rate" -v b="${base:-0}" 'BEGIN{if (b > 0) printf "%.2f", r / b; else print "-"}')"
        done
    done
done
