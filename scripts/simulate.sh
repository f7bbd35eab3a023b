#!/bin/bash
# Clusters of three and five whole nodes in simulation, one for each seed: prints each failing seed and how to replay it.
#
#   scripts/simulate.sh --seeds 5000 [--first 1]
set -euo pipefail
seeds=1000 first=1
while [ $# -gt 0 ]; do
    case $1 in
        --seeds) seeds=$2 ;; --first) first=$2 ;;
        *) echo "usage: $0 --seeds N [--first N]" >&2; exit 2 ;;
    esac
    shift 2
done
cd "$(dirname "$0")/.."
cargo test --features sim --test sim --no-run
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
FIRST_SEED=$first SEEDS=$((first + seeds - 1)) RUST_BACKTRACE=0 \
    cargo test --quiet --features sim --test sim -- nodes::campaign::clusters --nocapture >"$out" 2>&1 || status=$?
{ grep -aoE 'SEED=[0-9]+ fails: .*' "$out" || true; } | while read -r line; do
    echo "$line"
    echo "  replay: ${line%% *} cargo test --features sim --test sim nodes::campaign::clusters -- --nocapture"
done
{ grep -aoE '[0-9]+ seeds, .* snapshots installed' "$out" || tail -20 "$out"; }
exit $status
