#!/bin/bash
# Clusters of three and five whole nodes in simulation, one for each seed: prints each failing seed and how to replay it.
# With --churn, members come and go meanwhile.
#
#   scripts/simulate.sh --seeds 5000 [--first 1] [--churn]
set -euo pipefail
seeds=1000 first=1 tests=nodes::campaign::clusters
while [ $# -gt 0 ]; do
    case $1 in
        --seeds) seeds=$2; shift ;;
        --first) first=$2; shift ;;
        --churn) tests=nodes::churn::r2 ;;
        *) echo "usage: $0 --seeds N [--first N] [--churn]" >&2; exit 2 ;;
    esac
    shift
done
cd "$(dirname "$0")/.."
cargo test --features sim --test sim --no-run
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
FIRST_SEED=$first SEEDS=$((first + seeds - 1)) RUST_BACKTRACE=0 \
    cargo test --quiet --features sim --test sim -- "$tests" --nocapture >"$out" 2>&1 || status=$?
{ grep -aoE 'SEED=[0-9]+ fails: .*' "$out" || true; } | while read -r line; do
    echo "$line"
    echo "  replay: ${line%% *} cargo test --features sim --test sim $tests -- --nocapture"
done
{ grep -aoE '^([0-9]+ seeds|of these: .*)$' "$out" || tail -20 "$out"; }
exit $status
