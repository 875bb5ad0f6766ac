#!/usr/bin/env bash
# The queue benchmark of docs/performance.md: freezes and lists a long queue while the service keeps accepting.
# Usage: tests/queue-bench.sh [MESSAGES]
set -euo pipefail
cd "$(dirname "$0")/.."
messages=${1:-100000}
cargo build --profile dist --quiet -p spool-bin
spool=${CARGO_TARGET_DIR:-target}/dist/spool
dir=$(mktemp -d "${TMPDIR:-.}/queue-bench.XXXXXX")
trap 'kill "${relay:-}" "${adds:-}" 2>/dev/null; wait; rm -rf "$dir"' EXIT
field() { grep -o "$2=[^ ]*" "$1" | cut -d= -f2; }
memory() { awk -v key="$1:" '$1 == key {printf "%.0f MiB", $2 / 1024}' "/proc/$relay/status"; }
timed() { local from; from=$(date +%s%N); "$@"; echo "    in $((($(date +%s%N) - from) / 1000000)) ms: ${*:2:3}"; }

"$spool" serve --spool "$dir/spool" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --next-hop 127.0.0.1:9 \
    >"$dir/serve" 2>"$dir/serve.log" & relay=$!
until grep -qs ready "$dir/serve"; do sleep 0.05; done
to=$(field "$dir/serve" smtp)
export SPOOL_ADMIN="http://$(field "$dir/serve" admin)"
"$spool" jobs 0 >"$dir/jobs"
"$spool" load --to "$to" --messages "$messages" --connections 20 --size 2048 >"$dir/fill"
echo "$messages messages wait; resident: $(memory VmRSS)"

# Mail keeps coming in while the operations run.
"$spool" load --to "$to" --messages 1000000000 --rate 500 --connections 4 --size 2048 >"$dir/adds" 2>&1 & adds=$!
timed "$spool" freeze --sender @
before=$("$spool" count)
sleep 1
echo "meanwhile taken in a second: $(($("$spool" count) - before))"
kill "$adds"; wait "$adds" 2>/dev/null || true; adds=
timed "$spool" freeze --all
echo "resident: $(memory VmRSS)"
echo 5 >"/proc/$relay/clear_refs" 2>/dev/null || true   # the peak begins anew
timed "$spool" status --format json >"$dir/status"
echo "status: $(grep -c '"id"' "$dir/status") lines, $(($(stat -c %s "$dir/status") >> 20)) MiB; peak meanwhile: $(memory VmHWM)"
timed "$spool" count --older 0s
timed "$spool" send --frozen
timed "$spool" reroute --all --next-hop 127.0.0.1:10
timed "$spool" reroute --all --by-config
