#!/usr/bin/env bash
# The binary as it is shipped: built with a count in every branch, put to work, and built again for what was counted.
# deploy/dist.sh TARGET_DIR        leaves TARGET_DIR/dist/byline
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target_dir=$(realpath -m "$1")/dist
host=$(rustc -vV | sed -n 's/^host: //p')
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ ! -x "$merge" ]; then
  echo "deploy/dist.sh: llvm-profdata of this Rust is missing: rustup component add llvm-tools" >&2
  exit 2
fi

build() {
  RUSTFLAGS=$1 cargo build --quiet --release -p byline-proxy --bin byline --locked --target "$host" --target-dir "$target_dir/$2"
}
counts=$target_dir/counts
rm -rf "$counts" "$target_dir/profile"
build "-Cprofile-generate=$counts" counting
python3 bench/train.py --binary "$target_dir/counting/$host/release/byline"
"$merge" merge -o "$target_dir/profile" "$counts"/*.profraw
# Code that the training does not come by has no counts, and a warning for each function would hide all else.
build "-Cprofile-use=$target_dir/profile -Cllvm-args=-no-pgo-warn-mismatch" trained
cp "$target_dir/trained/$host/release/byline" "$target_dir/byline"
echo "$target_dir/byline"
