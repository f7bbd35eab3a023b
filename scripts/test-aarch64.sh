#!/bin/bash
# The digests' tests on aarch64, run by qemu's user mode: correctness, not speed. Says what this machine lacks for it.
#
#   scripts/test-aarch64.sh [test filter, digest by default]
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
lacks=()
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || lacks+=("rustup target add $target")
command -v aarch64-linux-gnu-gcc >/dev/null || lacks+=("apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
command -v qemu-aarch64 >/dev/null || lacks+=("apt-get install qemu-user")
if [ ${#lacks[@]} -gt 0 ]; then
    echo "this machine lacks what these give:" >&2
    printf '  %s\n' "${lacks[@]}" >&2
    exit 2
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
exec cargo test --target "$target" --features sim --lib "${1:-digest}"
