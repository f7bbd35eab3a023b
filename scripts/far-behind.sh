#!/bin/bash
# A follower that is far behind comes back, on real processes: once by the snapshot of the manifest, once by the log.
#
#   scripts/far-behind.sh [--entries 20000] [--again 2000] [--writers 4] [--dir DIR]
#
# Three nodes, one shard, files of a few bytes. Node 3 is killed when it is ready; node 1 registers so many files, in so
# many log entries that the leader's log no longer reaches back to what node 3 has; node 3 starts, and the clock runs
# until it has installed all of them. It is killed again, --again more are registered in few entries, and it comes by
# the log. Then it is ended and starts once more with nothing missing, again with one file missing, and stands still
# (SIGSTOP) while one is registered. At the end its files are compared with node 1's.
# Prints for each: the way that the leader sees before the start, when node 3 answers and when it has all, its largest
# memory and its CPU seconds.
set -euo pipefail
entries=20000 again=2000 writers=4 dir=$(mktemp -d)
while [ $# -gt 0 ]; do
    case $1 in
        --entries) entries=$2 ;; --again) again=$2 ;; --writers) writers=$2 ;;
        --dir) dir=$2/far-behind.$$; mkdir -p "$dir" ;;
        *) echo "usage: $0 [--entries N] [--again N] [--writers N] [--dir DIR]" >&2; exit 2 ;;
    esac
    shift 2
done
nodes=3
command -v openssl >/dev/null || { echo "skipped: far-behind, as the machine lacks openssl"; exit 0; }
. "$(dirname "$0")/nodes.sh"
# Entries of the log that stay behind a snapshot: src/limits/raft.rs.
kept=$(sed -n 's/^pub const LOG_ENTRIES_KEPT: u64 = \([0-9]*\);/\1/p' src/limits/raft.rs)
batch=$((entries / (kept + kept / 2) + 1))
echo "far-behind: $entries files by $batch an entry, $("$ringway" --version), Linux $(uname -r), $(nproc) processors, in $dir"
mkdir "$dir/nothing"
found_cluster --import "$dir/nothing"
for node in 1 2 3; do
    # So that the leader has a snapshot that reaches beyond what node 3 has, and none to write all the time.
    sed -i 's/^\[raft\]$/&\nsnapshot_entries = 1000/' "$root/node-$node/node.toml"
    grep -q '^snapshot_entries' "$root/node-$node/node.toml" || fail "the configuration has no [raft]"
done
status() { "$ringway" status --endpoint "${admin[$1]}" -o json; }
leads() { status 1 2>/dev/null | grep -q '"group":1,"role":"leader"'; }
# make NAME COUNT: so many files at node 1, a thousand in a folder, none like another.
make() {
    local folder
    for folder in $(seq 0 $((($2 - 1) / 1000))); do
        mkdir -p "$root/node-1/shard-0000/segments/$1/$folder"
        seq -f "$1 %.0f" $((folder * 1000)) $((folder * 1000 + 999 < $2 ? folder * 1000 + 999 : $2 - 1)) |
            split -l 1 -a 3 -d - "$root/node-1/shard-0000/segments/$1/$folder/"
    done
    sync -f "$root"
}
# write_some WRITER NAME COUNT BATCH: registers this writer's share of the batches.
write_some() {
    local at number paths
    for ((at = $1 * $4; at < $3; at += writers * $4)); do
        paths=''
        for ((number = at; number < at + $4 && number < $3; number++)); do
            printf -v paths '%s,"%s/%d/%03d"' "$paths" "$2" $((number / 1000)) $((number % 1000))
        done
        until request "${admin[1]}" POST /v1/change '{"shard":0,"kind":"register","paths":['"${paths#,}"'],"reason":"",
            "durability":"committed","timeout_millis":30000}'; do
            [ $SECONDS -lt 3600 ] || exit 1
            sleep 0.1
        done
    done
}
# register NAME COUNT BATCH
register() {
    local writer tasks=() task began=${EPOCHREALTIME/[.,]/}
    for ((writer = 0; writer < writers; writer++)); do write_some $writer "$1" "$2" "$3" & tasks+=($!); done
    for task in "${tasks[@]}"; do wait "$task" || fail "files were not registered"; done
    took=$((${EPOCHREALTIME/[.,]/} - began))
    echo "$2 registered at node 1, $3 an entry: $((took / 1000)) ms, $(($2 * 1000000 / took)) a second"
}
# By which way node 3 is to come, as the leader sees it.
way() { status 1 | grep -o '"node":3,"address".*' | grep -o '"group":1,"voter":[a-z]*,"installed":[0-9a-z]*,"way":"[a-z]*"' | head -1 | sed 's/.*"way":"\(.*\)"/\1/'; }
sync_node() { "$ringway" sync --endpoint "${admin[$1]}" --secret-file "$root/secret" --within 3000 --attempts 1 -q -o json; }
# come WHAT [WAY]: starts node 3 and waits until it has everything.
come() {
    local seen began synced memory cpu
    seen=$(way)
    [ -z "${2:-}" ] || [ "$seen" = "$2" ] || fail "the leader would bring node 3 by $seen, not by $2"
    began=${EPOCHREALTIME/[.,]/}
    start 3
    wait_for request "${admin[3]}" GET /livez
    answered=$((${EPOCHREALTIME/[.,]/} - began))
    synced=$(sync_node 3)
    took=$((${EPOCHREALTIME/[.,]/} - began))
    wait_for ready 3
    memory=$(awk '/VmHWM/ {print int($2 / 1024)}' "/proc/${pid[3]}/status")
    cpu=$(awk -v hertz="$(getconf CLK_TCK)" '{printf "%.1f", ($14 + $15) / hertz}' "/proc/${pid[3]}/stat")
    echo "$1: by $seen; answers after $((answered / 1000)) ms, has all after $((took / 1000)) ms; peak $memory MiB, $cpu CPU s; $synced"
}

for node in 1 2 3; do start "$node"; done
wait_for all_ready
leads || "$ringway" transfer-leader --endpoint "${admin[1]}" --secret-file "$root/secret" --group 1 --to 1
wait_for leads
kill -9 "${pid[3]}"; gone 3
make first "$entries"
register first "$entries" "$batch"
come "far behind" snapshot
kill -9 "${pid[3]}"; gone 3
make again "$again"
register again "$again" $((again / 100 + 1))
come "a little behind" log
kill -15 "${pid[3]}"; gone 3
come "nothing missing, restarted"
kill -15 "${pid[3]}"; gone 3
make one 1
register one 1 1
come "one missing, restarted" log
kill -STOP "${pid[3]}"
make other 1
register other 1 1
began=${EPOCHREALTIME/[.,]/}
kill -CONT "${pid[3]}"
until cmp -s "$root/node-1/shard-0000/segments/other/0/000" "$root/node-3/shard-0000/segments/other/0/000"; do
    [ $SECONDS -lt 7200 ] || fail "node 3 does not get the file"
    sleep 0.001
done
took=$((${EPOCHREALTIME/[.,]/} - began))
began=${EPOCHREALTIME/[.,]/}
synced=$(sync_node 3)
echo "one missing, stood still: stands there after $((took / 1000)) ms; a sync, which looks through the whole manifest, takes $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) ms; $synced"
diff -rq --exclude=.ringway "$root/node-1/shard-0000/segments" "$root/node-3/shard-0000/segments" >"$dir/differs" ||
    fail "node 3 has other files: $(head -1 "$dir/differs")"
echo "node 3 has the same $((entries + again + 2)) files as node 1"
finish
pid=()
rm -rf "$dir"
