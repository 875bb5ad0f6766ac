#!/usr/bin/env bash
# What one hanging destination costs nine others: load -> serve -> ten sinks, ten destinations by turns. First all ten take mail,
# then one of them takes connections and says nothing more. The figure is the second rate of the nine, first message to last, as
# a share of the first; several rounds, and their median.
# Usage: tests/hanging-bench.sh [MESSAGES] [ROUNDS] [STAGE] [RATE]     (STAGE of the script at which it hangs: connect, dot, ...;
# RATE: messages a second that are sent in, for a machine that has other work; without it, as fast as they are answered)
set -euo pipefail
cd "$(dirname "$0")/.."
messages=${1:-20000} rounds=${2:-9} stage=${3:-connect} rate=${4:+--rate $4}
cargo build --profile dist --quiet -p spool-bin
spool=${CARGO_TARGET_DIR:-target}/dist/spool
dir=$(mktemp -d "${TMPDIR:-.}/hanging-bench.XXXXXX")
pids=()
stop() { kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true; pids=(); }
trap 'stop; rm -rf "$dir"' EXIT
started() { until grep -qs ready "$1"; do sleep 0.05; done; }
field() { grep -o "$2=[^ ]*" "$1" | cut -d= -f2; }

# round SCRIPT: the rate of the nine, with that script for the tenth.
round() {
    local run; run=$(mktemp -d "$dir/run.XXXXXX")
    # The same for both: its limits are what a hanging session is held for.
    printf '[client]\ngreeting_timeout = "10s"\ncommand_timeout = "10s"\nfinal_reply_timeout = "10s"\n' >"$run/spool.toml"
    for n in 0 1 2 3 4 5 6 7 8 9; do
        : >"$run/script"; [ "$n" = 9 ] && echo "$1" >"$run/script"
        "$spool" sink --listen 127.0.0.1:0 --script "$run/script" --ledger "$run/sink$n.jsonl" --quiet >"$run/sink$n" 2>/dev/null &
        pids+=($!)
        started "$run/sink$n"
        printf '[[route.rule]]\ndomain = "d%s.example"\nnext_hops = ["%s"]\n' "$n" "$(field "$run/sink$n" smtp)" >>"$run/spool.toml"
    done
    "$spool" serve --config "$run/spool.toml" --spool "$run/spool" --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$run/serve" 2>"$run/log" &
    pids+=($!)
    started "$run/serve"
    "$spool" load --to "$(field "$run/serve" smtp)" --messages "$messages" --connections 20 --domains 10 $rate >"$run/load"
    local healthy=$((messages / 10 * 9))
    for _ in $(seq 600); do
        [ "$(cat "$run"/sink[0-8].jsonl | wc -l)" -ge "$healthy" ] && break
        sleep 0.1
    done
    # From the first line of a ledger to the last, over the nine: `at` is in milliseconds.
    cat "$run"/sink[0-8].jsonl | sed 's/^{"at":\([0-9]*\),.*/\1/' | sort -n |
        awk -v n="$healthy" 'NR == 1 { first = $1 } { last = $1 } END { if (NR < n) exit 1; printf "%.0f\n", 1000 * NR / (last - first) }'
    stop
    rm -rf "$run"
}

for n in $(seq "$rounds"); do
    # The order changes, so that a machine that grows slower or faster favours neither.
    if [ $((n % 2)) = 1 ]; then well=$(round "") hangs=$(round "$stage hang"); else hangs=$(round "$stage hang") well=$(round ""); fi
    echo "$well $hangs"
done | awk '
    { share[NR] = $2 / $1
      printf "round %d: nine destinations %d/s, and beside one that hangs %d/s: %.2f\n", NR, $1, $2, share[NR]; fflush() }
    END {
        for (i = 2; i <= NR; i++) for (j = i; j > 1 && share[j] < share[j - 1]; j--) { t = share[j]; share[j] = share[j - 1]; share[j - 1] = t }
        printf "median: %.2f\n", (share[int((NR + 1) / 2)] + share[int(NR / 2) + 1]) / 2
    }'
