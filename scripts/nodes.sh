# Nodes as processes of their own, for the scripts that kill them. Sourced by them, which set `dir` and `nodes` before.
# RINGWAY names another binary than the release build.
name=$(basename "$0" .sh)
cd "$(dirname "$0")/.."
ringway=${RINGWAY:-$(pwd)/target/release/ringway}
[ -n "${RINGWAY:-}" ] || cargo build --release --quiet
root=$dir/root
declare -A pid admin
finish() { for node in "${!pid[@]}"; do kill -9 "${pid[$node]}" 2>/dev/null || true; done; }
trap finish EXIT
fail() { echo "$name: $*; the nodes are in $root" >&2; exit 1; }

# found_cluster [ARGUMENT…]: makes the nodes' roots, one shard each, and what `request` needs.
found_cluster() {
    local node secret
    "$ringway" up --root "$root" --nodes "$nodes" --shards 1 "$@" --exit-when-synced -q >/dev/null
    for node in $(seq "$nodes"); do admin[$node]=$(sed -n 's/^admin = "\(.*\)"/\1/p' "$root/node-$node/node.toml"); done
    # The key is all of the file, the end of its line too.
    secret=$(cat "$root/secret"; echo .)
    ! command -v openssl >/dev/null ||
        token=$(printf 'ringway admin v1' | openssl dgst -sha256 -hmac "${secret%.}" | sed 's/.* //')
}
start() {
    "$ringway" node --config "$root/node-$1/node.toml" -v >/dev/null 2>>"$dir/node-$1.log" &
    pid[$1]=$!
    # bash must say nothing when it is killed
    disown "${pid[$1]}"
}
gone() { while [ -e "/proc/${pid[$1]}" ]; do sleep 0.01; done; unset "pid[$1]"; }
# request ADDRESS METHOD PATH [BODY]: whether the answer was 200. From this shell itself: the start of a process takes
# longer than an answer.
request() {
    local socket status='' body=${4:-}
    { exec {socket}<>"/dev/tcp/${1%:*}/${1##*:}"; } 2>/dev/null || return 1
    printf '%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %s\r\n\r\n%s' \
        "$2" "$3" "$1" "$token" "${#body}" "$body" >&"$socket" 2>/dev/null || true
    IFS= read -r -t 60 status <&"$socket" || true
    exec {socket}>&-
    [[ $status == *' 200 '* ]]
}
ready() { request "${admin[$1]}" GET /readyz; }
all_ready() {
    local node
    for node in $(seq "$nodes"); do ready "$node" || return 1; done
}
# wait_for COMMAND…: until it succeeds, two minutes at most.
wait_for() {
    local until=$((SECONDS + 120))
    until "$@"; do
        [ $SECONDS -lt $until ] || fail "not within two minutes: $*"
        sleep 0.01
    done
}
