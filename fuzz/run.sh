#!/usr/bin/env bash
# Runs every fuzz target, or those that are named, as many at a time as there are cores.
# fuzz/run.sh SECONDS [TARGET…]      FUZZ_SEED=N: from this seed, else from another each time
# New inputs go to a folder beside the binary, not to the kept ones; what breaks a target stays there, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=$1
shift
targets=("$@")
if [ "${#targets[@]}" = 0 ]; then
  for folder in fuzz/corpus/*/; do targets+=("$(basename "$folder")"); done
fi

host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
# Counters and comparisons for libFuzzer. A target triple, although it is this machine's, keeps them out of build scripts.
CARGO_TARGET_DIR=$target_dir RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
  cargo build --quiet --profile fuzz --locked -p byline-fuzz --features libfuzzer --bin fuzz --target "$host"

export FUZZ_BINARY=$target_dir/$host/fuzz/fuzz FUZZ_WORK=$target_dir/work FUZZ_SECONDS=$seconds
run_one() {
  local work=$FUZZ_WORK/$1
  mkdir -p "$work/found"
  if FUZZ_TARGET=$1 "$FUZZ_BINARY" -seed="${FUZZ_SEED:-0}" -max_total_time="$FUZZ_SECONDS" -timeout=20 -rss_limit_mb=2048 -max_len=16384 \
    -print_final_stats=1 -artifact_prefix="$work/" "$work/found" "fuzz/corpus/$1" >"$work/log" 2>&1; then
    printf '%-14s %s runs, no fault\n' "$1" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")"
  else
    printf '%-14s FAULT: see %s\n' "$1" "$work/log"
    tail -n 25 "$work/log"
    return 1
  fi
}
export -f run_one
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'run_one {}'
