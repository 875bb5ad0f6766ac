#!/usr/bin/env bash
# Variants of the relay benchmark beside each other, by turns, so that what else happens on the machine meets all of them.
# Usage: tests/relay-compare.sh ROUNDS CONNECTIONS MESSAGES SIZE VARIANT...     (a variant: what relay-bench.sh has in the
# environment, such as 'TLS=1' or 'RELAY=postfix TLS=1' or 'SPOOL=FILE' for a build of before, with TOOLS=FILE in the environment of all;
# '' is the plain run; MESSAGES=N in it overrides)
# Prints, for each variant, the median and range of the rate and of the relay's CPU per message, and the medians of the ratios to the
# first variant of the same round. In the environment: WAIT=N waits up to N seconds before each run for a
# second in which the processors are idle for 85 per cent.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=$1 connections=$2 messages=$3 size=$4
shift 4
if [ -z "${SPOOL:-}" ]; then
    cargo build --profile dist --quiet -p spool-bin
    export SPOOL=${CARGO_TARGET_DIR:-target}/dist/spool
fi
# The share of the processors that was idle within a second, in per cent.
idle() {
    local before after
    before=$(head -1 /proc/stat); sleep 1; after=$(head -1 /proc/stat)
    echo "$before $after" | awk '{for (i = 2; i <= 9; i++) all += $(i + 11) - $i; printf "%d", 100 * ($16 - $5) / all}'
}
calm() {
    local left=${WAIT:-0}
    while [ "$left" -gt 0 ] && [ "$(idle)" -lt 85 ]; do left=$((left - 1)); done
}
results=$(mktemp)
trap 'rm -f "$results"' EXIT
for round in $(seq "$rounds"); do
    order=("$@")
    if [ $((round % 2)) = 0 ]; then order=(); for v in "$@"; do order=("$v" "${order[@]}"); done; fi
    for variant in "${order[@]}"; do
        calm
        count=$messages words=()
        for word in $variant; do
            case $word in MESSAGES=*) count=${word#*=} ;; *) words+=("$word") ;; esac
        done
        out=$(env SYNCS=0 "${words[@]}" tests/relay-bench.sh "$connections" "$count" "$size")
        rate=$(sed -n 's/.*0 lost, 0 duplicated; \([0-9]*\) messages.*/\1/p' <<<"$out")
        cpu=$(sed -n 's/^relay: \([0-9]*\) us of CPU.*/\1/p' <<<"$out")
        [ -n "$rate" ] || { echo "$variant: $out" >&2; exit 1; }
        printf '%s\t%s\t%s\t%s\n' "${variant:-plain}" "$round" "$rate" "$cpu" | tee -a "$results" >&2
    done
done
python3 - "$results" <<'PY'
import sys
from collections import defaultdict
from statistics import median
runs = defaultdict(dict)
for line in open(sys.argv[1]):
    variant, turn, rate, cpu = line.rstrip("\n").split("\t")
    runs[variant][turn] = (float(rate), float(cpu))
first = runs[min(runs, key=lambda v: (v != "plain", list(runs).index(v)))]
for variant, turns in runs.items():
    rates, cpus = zip(*turns.values())
    times = lambda at: median(turns[t][at] / first[t][at] for t in turns)
    print(f"{variant}: {median(rates):.0f}/s ({min(rates):.0f}-{max(rates):.0f}), {median(cpus):.0f} us ({min(cpus):.0f}-{max(cpus):.0f});"
          f" ratios {times(0):.2f}, {times(1):.2f}")
PY
