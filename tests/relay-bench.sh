#!/usr/bin/env bash
# The relay benchmark of docs/performance.md: load -> serve -> sink on one machine, everything synced and verified.
# Usage: tests/relay-bench.sh [CONNECTIONS] [MESSAGES] [SIZE]     (needs perf for the syncs; works without)
set -euo pipefail
cd "$(dirname "$0")/.."
connections=${1:-20} messages=${2:-20000} size=${3:-2048}
cargo build --release --quiet -p spool-bin
spool=${CARGO_TARGET_DIR:-target}/release/spool
dir=$(mktemp -d "${TMPDIR:-.}/relay-bench.XXXXXX")
trap 'kill "${relay:-}" "${sink:-}" 2>/dev/null; wait; rm -rf "$dir"' EXIT
started() { until grep -qs ready "$1"; do sleep 0.05; done; }
field() { grep -o "$2=[^ ]*" "$1" | cut -d= -f2; }

"$spool" sink --listen 127.0.0.1:0 --ledger "$dir/sink.jsonl" --quiet >"$dir/sink" 2>"$dir/sink.log" & sink=$!
started "$dir/sink"
"$spool" serve --spool "$dir/spool" --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
    --next-hop "$(field "$dir/sink" smtp)" >"$dir/serve" 2>"$dir/serve.log" & relay=$!
started "$dir/serve"
to=$(field "$dir/serve" smtp)
"$spool" load --to "$to" --messages 1000 --connections "$connections" --size "$size" >"$dir/warmup"
sleep 1
cpu() { awk '{print $14 + $15}' "/proc/$relay/stat"; }
before=$(cpu)
if command -v perf >/dev/null; then
    perf stat -e syscalls:sys_enter_fdatasync,syscalls:sys_enter_fsync -p "$relay" -o "$dir/perf" & counter=$!
    sleep 0.2
fi
"$spool" load --to "$to" --messages "$messages" --connections "$connections" --size "$size" \
    --ledger "$dir/load.jsonl" --verify "$dir/sink.jsonl"
after=$(cpu)
echo "relay: $(((after - before) * 1000000 / $(getconf CLK_TCK) / messages)) us of CPU per message"
if [ -n "${counter:-}" ]; then
    kill -INT "$counter"; wait "$counter" || true
    awk -v n="$messages" '/fdatasync|fsync/ {gsub(",", "", $1); sum += $1} END {printf "relay: %.3f syncs per message\n", sum / n}' "$dir/perf"
fi
