#!/bin/bash
# The shortest way to see it work: makes a sample directory, serves it, pulls it twice, and compares both ends.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release
ringway=$(pwd)/target/release/ringway
dir=$(mktemp -d)
server=''
finish() { [ -z "$server" ] || kill "$server"; rm -rf "$dir"; }
trap finish EXIT
mkdir -p "$dir/source/deep/er"
for i in $(seq 8); do head -c "$((i * 3000001))" /dev/urandom >"$dir/source/deep/segment-$i"; done
for i in $(seq 200); do echo "small $i" >"$dir/source/deep/er/$i"; done
: >"$dir/source/empty"
"$ringway" secret new "$dir/secret"
"$ringway" serve "$dir/source" --listen 127.0.0.1:0 --secret-file "$dir/secret" --cache "$dir/cache" >"$dir/ready" &
server=$!
until [ -s "$dir/ready" ]; do sleep 0.1; done
address=$(sed 's/listening on //' "$dir/ready")
echo "serving $dir/source at $address; the first pull:"
"$ringway" pull "$address" "$dir/dest" --secret-file "$dir/secret"
echo "the second, which has nothing to move:"
"$ringway" pull "$address" "$dir/dest" --secret-file "$dir/secret"
diff -r --exclude .ringway "$dir/source" "$dir/dest" && echo "both ends are the same, byte for byte"
