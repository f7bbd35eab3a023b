#!/bin/bash
# `ringway pull` against rsync from a daemon, in one run on one machine: the same files, both durable, alternated.
#
#   scripts/bench-pull.sh [--mib 2048] [--files 32] [--rounds 5] [--dir DIR]
#
# Prints a table of medians: seconds, GB/s, CPU seconds of the whole machine per GB (busy ticks of /proc/stat, so kernel
# workers count), and the peak memory of both ends. The source is in the page cache, the target on DIR's disk. The digests
# of the source are made before the clock starts; rsync verifies nothing but its own weak checksum.
set -euo pipefail
mib=2048 files=32 rounds=5 dir=$(mktemp -d)
while [ $# -gt 0 ]; do
    case $1 in
        --mib) mib=$2 ;; --files) files=$2 ;; --rounds) rounds=$2 ;; --dir) dir=$2/bench-pull.$$; mkdir -p "$dir" ;;
        *) echo "usage: $0 [--mib N] [--files N] [--rounds N] [--dir DIR]" >&2; exit 2 ;;
    esac
    shift 2
done
cd "$(dirname "$0")/.."
for tool in rsync time; do
    [ -n "$(type -P $tool)" ] || { echo "bench-pull: $tool is not installed (apt-get install $tool)" >&2; exit 1; }
done
cargo build --release --quiet
ringway=$(pwd)/target/release/ringway
server='' daemon=''
finish() { kill $server $daemon 2>/dev/null || true; rm -rf "$dir"; }
trap finish EXIT

mkdir "$dir/source"
per=$((mib / files))
for i in $(seq "$files"); do
    head -c "${per}M" /dev/urandom >"$dir/source/segment-$i"
done
sync
bytes=$((per * files * 1048576))

"$ringway" secret new "$dir/secret"
"$ringway" serve "$dir/source" --listen 127.0.0.1:0 --secret-file "$dir/secret" --cache "$dir/cache" -o json -q >"$dir/serve" &
server=$!
until [ -s "$dir/serve" ]; do sleep 0.1; done
address=$(sed 's/.*"listening":"\([^"]*\)".*/\1/' "$dir/serve")
cat >"$dir/rsyncd.conf" <<END
port = 18730
address = 127.0.0.1
use chroot = no
$([ "$(id -u)" != 0 ] || printf "uid = root\ngid = root\n")
reverse lookup = no
[source]
path = $dir/source
read only = yes
END
rsync --daemon --no-detach --config="$dir/rsyncd.conf" &
daemon=$!
sleep 0.5

busy() { awk '/^cpu /{print $2+$3+$4+$7+$8+$9}' /proc/stat; }
hertz=$(getconf CLK_TCK)
# measure NAME COMMAND…: appends "NAME seconds cpu_seconds peak_kib" to the samples.
measure() {
    local name=$1 before after start end
    shift
    rm -rf "$dir/target" && sync && cat "$dir/source/"* >/dev/null
    before=$(busy) start=$(date +%s.%N)
    "$(type -P time)" -f %M -o "$dir/peak" "$@" >/dev/null
    end=$(date +%s.%N) after=$(busy)
    cmp -s "$dir/source/segment-1" "$dir/target/segment-1" || { echo "bench-pull: $name copied wrongly" >&2; exit 1; }
    awk -v n="$name" -v s="$start" -v e="$end" -v b="$before" -v a="$after" -v h="$hertz" -v p="$(tail -1 "$dir/peak")" \
        'BEGIN{print n, e-s, (a-b)/h, p}' >>"$dir/samples"
}
for _ in $(seq "$rounds"); do
    measure ringway "$ringway" pull "$address" "$dir/target" --secret-file "$dir/secret" -q
    measure rsync rsync -r --whole-file --fsync "rsync://127.0.0.1:18730/source/" "$dir/target/"
done

echo "$(uname -sr), $(nproc) cores, $(stat -f -c %T "$dir"), $files files of $per MiB, $rounds rounds, medians"
printf '%-10s %9s %8s %12s %12s\n' mover seconds GB/s 'CPU s/GB' 'peak KiB'
for name in ringway rsync; do
    for column in 2 3 4; do
        grep "^$name " "$dir/samples" | awk -v c=$column '{print $c}' | sort -n | awk '{v[NR]=$1} END{print v[int((NR+1)/2)]}'
    done | paste -sd' ' | awk -v n="$name" -v b="$bytes" '{printf "%-10s %9.3f %8.3f %12.3f %12d\n", n, $1, b/1e9/$1, $2/(b/1e9), $3}'
done
echo "peak KiB of the serving side: ringway $(awk '/VmHWM/{print $2}' /proc/$server/status)"
