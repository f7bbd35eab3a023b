#!/bin/bash
# `ringway pull` against what a person could pick instead, in one run on one machine: the same files, all durable, alternated.
#
#   scripts/bench-peers.sh [--shape A|B|C|D|S] [--mib N] [--rounds 5] [--source memory|cold] [--movers "NAME …"]
#                          [--dir DIR] [--congestion cubic|bbr|keep] [--install] [--plot FILE.svg]
#
# Shapes: A files of 512 MiB, B of 16 MiB, C of 64 KiB, D one file, S of 64 MiB; --mib is the size of all of them (2048).
# The clock stops when every file stands under its name, checked in the mover's class, data and folders durable:
#   L1  a weak checksum, fsync      rsync, rsync-4 (four of them at once)
#   L2  SHA-256 of every byte       ringway, ringway-1 (pulled by one core), ringway-cold (digests made inside the clock),
#                                   rsync-verify (openssl afterwards), aria2 (from nginx), curl (from nginx; tee to openssl,
#                                   dd past the page cache)
#   L2+ SHA-256 or better, TLS      sendme (BLAKE3, QUIC), where it is installed
# The source's digests are made before the clock starts, for all alike but ringway-cold. One congestion control for all,
# put back at the end. Prints medians: CPU seconds of the whole machine per GB (busy ticks of /proc/stat), the largest
# process of the receiving side, bytes written to the disk per byte of the files. A mover that fails is a row that says
# so; one that is not installed is named. --install gets by apt-get what Debian has (needs root).
set -euo pipefail
shape=S mib=2048 rounds=5 source=memory dir='' congestion=cubic install='' plot=''
movers='ringway ringway-1 ringway-cold rsync rsync-4 rsync-verify aria2 curl sendme'
usage() { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --install) install=1; shift; continue ;;
        --shape|--mib|--rounds|--source|--movers|--dir|--congestion|--plot) [ $# -gt 1 ] || usage ;;
        *) usage ;;
    esac
    case $1 in
        --shape) shape=$2 ;; --mib) mib=$2 ;; --rounds) rounds=$2 ;; --source) source=$2 ;; --movers) movers=$2 ;;
        --dir) dir=$2/bench-peers.$$ ;; --congestion) congestion=$2 ;; --plot) plot=$(realpath -m "$2") ;;
    esac
    shift 2
done
case $shape in
    A) kib=$((512 * 1024)) ;; B) kib=$((16 * 1024)) ;; C) kib=64 ;; D) kib=$((mib * 1024)) ;; S) kib=$((64 * 1024)) ;;
    *) usage ;;
esac
files=$((mib * 1024 / kib))
[ "$files" -gt 0 ] || { echo "bench-peers: shape $shape needs at least $((kib / 1024)) MiB" >&2; exit 2; }
case $source in memory|cold) ;; *) usage ;; esac

if [ -n "$install" ]; then
    apt-get install -y -q --no-install-recommends rsync nginx-light aria2 curl openssl time >/dev/null
fi
cd "$(dirname "$0")/.."
for tool in openssl time; do
    [ -n "$(type -P $tool)" ] || { echo "bench-peers: $tool is not installed (--install)" >&2; exit 1; }
done
cargo build --release --quiet
RINGWAY=$(pwd)/target/release/ringway
[ -n "$dir" ] || dir=$(mktemp -d)
mkdir -p "$dir/source"
before_congestion=''
started=()
finish() {
    [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
    [ -z "$before_congestion" ] || sysctl -qw net.ipv4.tcp_congestion_control="$before_congestion"
    rm -rf "$dir"
}
trap finish EXIT
if [ "$congestion" != keep ]; then
    before_congestion=$(sysctl -n net.ipv4.tcp_congestion_control)
    sysctl -qw net.ipv4.tcp_congestion_control="$congestion" ||
        { echo "bench-peers: no $congestion here; --congestion keep" >&2; exit 1; }
fi

# What the movers need is exported: each runs in a bash of its own, so that `time` sees all of its processes.
export RINGWAY DIR=$dir SOURCE=$dir/source TARGET=$dir/target-0
export RSYNC_PORT=18730 NGINX_PORT=18731
# Openssl ends by a signal when head has enough.
random() { { openssl enc -aes-128-ctr -pass "pass:$1" -nosalt -pbkdf2 -in /dev/zero 2>/dev/null || true; } | head -c "$2"; }
if [ "$shape" = C ]; then
    random all "$((mib * 1024 * 1024))" | split -b 65536 -a 6 -d - "$SOURCE/segment-"
else
    for i in $(seq "$files"); do random "$i" "$((kib * 1024))" >"$SOURCE/segment-$i"; done
fi
sync
bytes=$((files * kib * 1024))
# Of so few files that each openssl's lines go into the pipe in one piece.
digests() { (cd "$1" && find . -type f -printf '%P\0' | xargs -0 -P2 -n32 openssl dgst -sha256 -r) | sort -k2; }
export -f digests
digests "$SOURCE" >"$dir/manifest"
ls "$SOURCE" >"$dir/names"

missing=()
has() { [ -n "$(type -P "$1")" ] || { missing+=("$2"); return 1; }; }
serve_up() {
    "$RINGWAY" secret new "$DIR/secret"
    "$RINGWAY" serve "$SOURCE" --listen 127.0.0.1:0 --secret-file "$DIR/secret" --cache "$DIR/cache" -o json -q >"$DIR/serve" &
    server=$!
    started+=($server)
    until [ -s "$DIR/serve" ]; do sleep 0.1; done
    ADDRESS=$(sed 's/.*"listening":"\([^"]*\)".*/\1/' "$DIR/serve")
    export ADDRESS
}
rsync_up() {
    cat >"$DIR/rsyncd.conf" <<END
port = $RSYNC_PORT
address = 127.0.0.1
use chroot = no
$([ "$(id -u)" != 0 ] || printf "uid = root\ngid = root\n")
reverse lookup = no
[source]
path = $SOURCE
read only = yes
END
    rsync --daemon --no-detach --config="$DIR/rsyncd.conf" & started+=($!)
    split -n r/4 "$DIR/names" "$DIR/part-"
}
nginx_up() {
    mkdir -p "$DIR/nginx"
    cat >"$DIR/nginx/nginx.conf" <<END
$([ "$(id -u)" != 0 ] || echo "user root;")
worker_processes 1; daemon off; pid $DIR/nginx/pid; error_log $DIR/nginx/error.log;
events { worker_connections 512; }
http {
    sendfile on; sendfile_max_chunk 2m; tcp_nopush on; access_log off;
    open_file_cache max=100000; keepalive_requests 1000000;
    client_body_temp_path $DIR/nginx; proxy_temp_path $DIR/nginx; fastcgi_temp_path $DIR/nginx;
    uwsgi_temp_path $DIR/nginx; scgi_temp_path $DIR/nginx;
    server { listen 127.0.0.1:$NGINX_PORT; root $SOURCE; }
}
END
    nginx -p "$DIR/nginx" -c "$DIR/nginx/nginx.conf" 2>"$DIR/nginx/start" & started+=($!)
    awk -v p="$NGINX_PORT" '{sub(/^\*/, "", $2); print "http://127.0.0.1:" p "/" $2 "\n  out=" $2 "\n  checksum=sha-256=" $1}' \
        "$DIR/manifest" >"$DIR/urls"
}

# The movers. Each fills $TARGET and returns when it is checked and durable.
durable() { find "$TARGET" -type f -print0 | xargs -0 -P4 -n64 sync -d && sync -f "$TARGET"; }
checked() { digests "$TARGET" | cmp - "$DIR/manifest"; }
rsync_one() { rsync -r -t -W --fsync --checksum-choice=xxh128 "$@" "rsync://127.0.0.1:$RSYNC_PORT/source/" "$TARGET/"; }
mover_ringway() { "$RINGWAY" pull "$ADDRESS" "$TARGET" --secret-file "$DIR/secret" -q; }
mover_ringway-1() { "$RINGWAY" pull "$ADDRESS" "$TARGET" --secret-file "$DIR/secret" -q --cores 1; }
mover_ringway-cold() {
    rm -rf "$DIR/cold" "$DIR/cold-serve"
    "$RINGWAY" serve "$SOURCE" --listen 127.0.0.1:0 --secret-file "$DIR/secret" --cache "$DIR/cold" -o json -q >"$DIR/cold-serve" &
    local server=$! status=0
    until [ -s "$DIR/cold-serve" ]; do kill -0 $server && sleep 0.01; done
    "$RINGWAY" pull "$(sed 's/.*"listening":"\([^"]*\)".*/\1/' "$DIR/cold-serve")" "$TARGET" --secret-file "$DIR/secret" -q ||
        status=$?
    kill $server
    return $status
}
mover_rsync() { rsync_one; }
mover_rsync-4() {
    local part pids=() status=0
    mkdir -p "$TARGET"
    for part in "$DIR"/part-*; do rsync_one --files-from="$part" & pids+=($!); done
    for part in "${pids[@]}"; do wait "$part" || status=$?; done
    return $status
}
mover_rsync-verify() { rsync_one && checked; }
mover_aria2() {
    aria2c --no-conf -q -i "$DIR/urls" -d "$TARGET" -j4 -x1 -s1 --file-allocation=falloc --disk-cache=64M \
        --check-integrity=true --allow-overwrite=true && durable
}
curl_one() {
    set -o pipefail
    curl -sf "http://127.0.0.1:$NGINX_PORT/$1" | tee >(openssl dgst -sha256 -r >"$DIR/sums/$1") |
        dd of="$TARGET/$1" bs=1M iflag=fullblock oflag=direct conv=fdatasync status=none
}
mover_curl() {
    rm -rf "$DIR/sums"
    mkdir -p "$TARGET" "$DIR/sums"
    xargs -P2 -I{} bash -c 'curl_one {}' <"$DIR/names" && sync -f "$TARGET"
    # The sums are written by processes that nobody waits for.
    local tries=0
    until [ "$(find "$DIR/sums" -type f -size +0 | wc -l)" = "$(wc -l <"$DIR/names")" ]; do
        sleep 0.01
        tries=$((tries + 1))
        [ $tries -lt 500 ] || { echo "sums are missing" >&2; return 1; }
    done
    (cd "$DIR/sums" && for name in *; do sed "s|\*stdin|*$name|" "$name"; done) | sort -k2 | cmp - "$DIR/manifest"
}
mover_sendme() {
    mkdir -p "$DIR/sendme" && cd "$DIR/sendme" && rm -rf "$TARGET" ./.sendme* source
    sendme receive "$TICKET" --relay disabled --no-progress && mv source "$TARGET" && durable
}
sendme_up() {
    mkdir -p "$DIR/sendme-source"
    (cd "$DIR/sendme-source" && exec sendme send "$SOURCE" --relay disabled --ticket-type addresses --no-progress \
        --magic-ipv4-addr 127.0.0.1:11204 >"$DIR/ticket" 2>&1) & started+=($!)
    until grep -q blob "$DIR/ticket"; do kill -0 "${started[-1]}" && sleep 0.1; done
    TICKET=$(grep -o 'blob[a-z0-9]*' "$DIR/ticket" | head -1)
    export TICKET
}
export -f durable checked rsync_one curl_one mover_ringway mover_ringway-1 mover_ringway-cold mover_rsync \
    mover_rsync-4 mover_rsync-verify mover_aria2 mover_curl mover_sendme

wants() { case " $movers " in *" $1"*) return 0 ;; *) return 1 ;; esac; }
serve_up
chosen=()
if wants rsync && has rsync rsync; then rsync_up; fi
if { wants aria2 || wants curl; } && has nginx nginx; then nginx_up; fi
if wants sendme && has sendme "sendme (cargo install sendme --locked)"; then sendme_up; fi
for name in $movers; do
    case $name in
        ringway|ringway-1|ringway-cold) ;;
        rsync|rsync-4|rsync-verify) [ -n "$(type -P rsync)" ] || continue ;;
        aria2) { has aria2c aria2 && [ -n "$(type -P nginx)" ]; } || continue ;;
        curl) { has curl curl && [ -n "$(type -P nginx)" ]; } || continue ;;
        sendme) [ -n "$(type -P sendme)" ] || continue ;;
        *) echo "bench-peers: no mover $name" >&2; exit 2 ;;
    esac
    chosen+=("$name")
done
sleep 0.5

hertz=$(getconf CLK_TCK)
device=$(stat -c '%Hd:%Ld' "$dir")
busy() { awk '/^cpu /{print $2+$3+$4+$7+$8+$9}' /proc/stat; }
written() { awk -v d="$device" '$1":"$2 == d {printf "%d\n", $10 / 2; found = 1} END {if (!found) print 0}' /proc/diskstats; }
# measure MOVER: appends "mover seconds cpu_seconds peak_kib written_bytes" to the samples, or the mover to the failures.
measure() {
    local name=$1 cpu start end disk
    # Ext4 gives no inode again for minutes after its file went and searches on and on for others: of many small files
    # all targets stay to the end.
    [ "$files" -gt 1000 ] || rm -rf "$TARGET"
    turn=$((turn + 1))
    export TARGET=$DIR/target-$turn
    sync
    if [ "$source" = memory ]; then
        find "$SOURCE" -type f -print0 | xargs -0 cat >/dev/null
    else
        find "$SOURCE" -type f -exec dd if={} iflag=nocache count=0 status=none \;
    fi
    cpu=$(busy) disk=$(written) start=$(date +%s.%N)
    if ! "$(type -P time)" -q -f %M -o "$dir/peak" bash -c "mover_$name" >/dev/null 2>"$dir/error"; then
        echo "$name $(tail -1 "$dir/error")" >>"$dir/failures"
        return
    fi
    end=$(date +%s.%N)
    awk -v n="$name" -v s="$start" -v e="$end" -v b="$cpu" -v a="$(busy)" -v h="$hertz" -v p="$(tail -1 "$dir/peak")" \
        -v w="$(($(written) - disk))" 'BEGIN{print n, e-s, (a-b)/h, p, w * 1024}' >>"$dir/samples"
    # Outside the clock: every mover brought every byte.
    [ "$name" = rsync-verify ] || diff -rq --exclude=.ringway "$SOURCE" "$TARGET" >"$dir/error" ||
        echo "$name copied wrongly: $(head -1 "$dir/error")" >>"$dir/failures"
}
: >"$dir/samples"
: >"$dir/failures"
turn=0
for _ in $(seq "$rounds"); do
    for name in "${chosen[@]}"; do measure "$name"; done
done

class() { case $1 in rsync|rsync-4) echo L1 ;; sendme) echo L2+ ;; *) echo L2 ;; esac; }
median() { grep "^$1 " "$dir/samples" | awk -v c="$2" '{print $c}' | sort -n | awk '{v[NR]=$1} END{print v[int((NR+1)/2)]}'; }
table() {
    for name in "${chosen[@]}"; do
        if grep -q "^$name " "$dir/failures"; then
            printf '%-13s %-3s failed: %s\n' "$name" "$(class "$name")" "$(grep "^$name " "$dir/failures" | head -1 | cut -d' ' -f2-)"
            continue
        fi
        awk -v n="$name" -v k="$(class "$name")" -v s="$(median "$name" 2)" -v c="$(median "$name" 3)" -v p="$(median "$name" 4)" \
            -v w="$(median "$name" 5)" -v b="$bytes" 'BEGIN {
                printf "%-13s %-3s %9.3f %8.3f %10.3f %9.1f %9.2f\n", n, k, s, b/1e9/s, c/(b/1e9), p/1024, w/b }'
    done
}
echo "# shape $shape: $files files of $kib KiB, source in $source, $(stat -f -c %T "$dir"), $rounds rounds, medians"
echo "# $(uname -sr), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), congestion control $(sysctl -n net.ipv4.tcp_congestion_control)"
for tool in "rsync --version" "nginx -v" "aria2c --version" "curl --version" "openssl version" "sendme --version"; do
    [ -z "$(type -P "${tool%% *}")" ] || echo "# $($tool 2>&1 | head -1 | cut -c1-60)"
done
[ ${#missing[@]} -eq 0 ] || printf '# not installed here: %s\n' "${missing[@]}"
printf '%-13s %-3s %9s %8s %10s %9s %9s\n' mover '' seconds GB/s 'CPU s/GB' 'peak MiB' 'written/B'
table | tee "$dir/table"
echo "# peak MiB of ringway serve: $(awk '/VmHWM/{printf "%.1f", $2 / 1024}' "/proc/$server/status")"

# Two panels of bars, ours first.
if [ -n "$plot" ]; then
    grep -v failed "$dir/table" | awk -v title="$files files of $kib KiB, source in $source, $(nproc) cores" '
        { name[NR] = $1 " (" $2 ")"; rate[NR] = $4; cpu[NR] = $5; if ($4 > top) top = $4; if ($5 > most) most = $5 }
        function panel(x, label, values, scale,   i, y, w) {
            printf "<text x=\"%d\" y=\"44\" font-weight=\"bold\">%s</text>\n", x, label
            for (i = 1; i <= NR; i++) {
                y = 56 + (i - 1) * 26; w = 220 * values[i] / scale
                printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"18\" fill=\"%s\"/>\n", x, y, w, (name[i] ~ /^ringway/ ? "#1f6f8b" : "#b0b7bd")
                printf "<text x=\"%.1f\" y=\"%d\">%.2f</text>\n", x + w + 5, y + 13, values[i]
            }
        }
        END {
            printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", 70 + NR * 26
            print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
            printf "<text x=\"10\" y=\"20\" font-size=\"14\">%s</text>\n", title
            for (i = 1; i <= NR; i++) printf "<text x=\"10\" y=\"%d\">%s</text>\n", 69 + (i - 1) * 26, name[i]
            panel(140, "GB/s", rate, top)
            panel(430, "CPU seconds per GB, whole machine", cpu, most)
            print "</svg>"
        }' >"$plot"
    echo "# plot: $plot"
fi
