#!/usr/bin/env bash
# Where the CPU time of a relayed message goes: load -> serve -> sink, in runs of their own for what would disturb each other.
#   1. CPU and context switches by thread, from /proc, with nothing attached
#   2. perf record of the relay by cpu-clock, stacks by DWARF (in libc frame pointers end): by thread, by crate, functions (self), subtrees (inclusive), a tree for each thread
#   3. wake-ups of each thread, and who takes the core from one, by tracepoints
#   4. system calls by kind, by strace, and of these kinds by thread, by tracepoints
#   5. calls of the allocator, by uprobes in libc, and where they come from
# Usage: tests/relay-profile.sh [CONNECTIONS] [MESSAGES] [SIZE]     (root; perf, strace, python3; prints to standard output)
# In the environment: SPOOL=FILE, this program, built before; OUT=DIR keeps what perf recorded.
set -euo pipefail
cd "$(dirname "$0")/.."
connections=${1:-20} messages=${2:-20000} size=${3:-2048}
if [ -z "${SPOOL:-}" ]; then
    cargo build --profile dist --quiet -p spool-bin
    SPOOL=${CARGO_TARGET_DIR:-target}/dist/spool
fi
spool=$SPOOL
dir=$(realpath "$(mktemp -d "${TMPDIR:-.}/relay-profile.XXXXXX")")
out=${OUT:-$dir}
mkdir -p "$out"
end() {
    kill "${relay:-}" "${sink:-}" 2>/dev/null || true
    perf probe -q -d 'probe_libc:*' 2>/dev/null || true
    wait
    rm -rf "$dir"
}
trap end EXIT
started() { until grep -qs ready "$1"; do sleep 0.05; done; }
field() { grep -o "$2=[^ ]*" "$1" | cut -d= -f2; }

"$spool" sink --listen 127.0.0.1:0 --ledger "$dir/sink.jsonl" --quiet >"$dir/sink" 2>"$dir/sink.log" & sink=$!
started "$dir/sink"
printf '[client]\ntls = "none"\n' >"$dir/spool.toml"
"$spool" serve --config "$dir/spool.toml" --spool "$dir/spool" --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
    --next-hop "$(field "$dir/sink" smtp)" >"$dir/serve" 2>"$dir/serve.log" & relay=$!
started "$dir/serve"
to=$(field "$dir/serve" smtp)
# send MESSAGES: all of them delivered when it returns.
send() {
    rm -f "$dir/load.jsonl"
    "$spool" load --to "$to" --messages "$1" --connections "$connections" --size "$size" \
        --ledger "$dir/load.jsonl" --verify "$dir/sink.jsonl" | sed -n 's/.*; \(.* end to end\)/\1/p'
}
# A line for each thread: id, name, CPU ticks in user mode and in the kernel, voluntary and involuntary switches.
threads() {
    local task
    for task in /proc/"$relay"/task/*; do
        { cat "$task/comm" "$task/status"; sed 's/.*) //' "$task/stat"; } 2>/dev/null | awk -v tid="${task##*/}" '
            NR == 1 { gsub(" ", "_"); name = $0 }
            /^voluntary/ { own = $2 } /^nonvoluntary/ { forced = $2 }
            END { print tid, name, $12, $13, own, forced }' || true
    done
}
echo "== $messages messages of $size bytes, $connections connections; $(nproc) processors, Linux $(uname -r)"
send 2000 >/dev/null
sleep 1

echo; echo "== by thread, nothing attached: $(threads >"$dir/before"; send "$messages"; threads >"$dir/after")"
awk -v n="$messages" -v hz="$(getconf CLK_TCK)" '
    NR == FNR { u[$1] = $3; k[$1] = $4; v[$1] = $5; f[$1] = $6; next }
    { printf "%-16s %8.1f us user %8.1f us kernel %8.3f voluntary %8.3f involuntary switches per message\n",
          $2, ($3 - u[$1]) * 1e6 / hz / n, ($4 - k[$1]) * 1e6 / hz / n, ($5 - v[$1]) / n, ($6 - f[$1]) / n
      su += $3 - u[$1]; sk += $4 - k[$1]; sv += $5 - v[$1]; sf += $6 - f[$1] }
    END { printf "%-16s %8.1f us user %8.1f us kernel %8.3f voluntary %8.3f involuntary\n", "all",
          su * 1e6 / hz / n, sk * 1e6 / hz / n, sv / n, sf / n }' "$dir/before" "$dir/after"

# attach COMMAND...: for one send; the command ends on INT.
attach() {
    "$@" & local tool=$!
    sleep 1
    send "$messages"
    kill -INT "$tool"
    wait "$tool" 2>/dev/null || true
}
echo; echo "== perf record, cpu-clock at 2000 Hz: $(attach perf record -q -F 2000 -e cpu-clock --call-graph dwarf,24576 -p "$relay" -o "$out/cpu.data" 2>/dev/null)"
perf script -i "$out/cpu.data" -F comm,tid,ip,sym,dso --no-inline 2>/dev/null >"$out/cpu.txt"
python3 tests/relay-profile.py cpu "$out/cpu.txt" "$messages" 2000

echo
events=()
for tid in $(awk '{print $1}' "$dir/after"); do events+=(-e sched:sched_waking --filter "pid==$tid"); done
echo "== wake-ups of each thread: $(attach perf stat -x ' ' -a -o "$dir/wakes" "${events[@]}")"
grep sched_waking "$dir/wakes" | awk '{print $1}' | paste - <(awk '{print $1, $2}' "$dir/after") |
    awk -v n="$messages" '{printf "%-16s %8.3f per message\n", $3, $1 / n; sum += $1} END {printf "%-16s %8.3f\n", "all", sum / n}'
echo; echo "== who takes the core from a thread that could go on: $(attach perf record -q -e sched:sched_switch --filter 'prev_state == 0 || prev_state == 256' -p "$relay" -o "$out/switches.data" 2>/dev/null)"
perf script -i "$out/switches.data" -F trace 2>/dev/null | awk -v n="$messages" -v sink="$sink" -v own="$(awk '{printf "%s ", $1}' "$dir/after")" '
    function field(name,  at) { at = index($0, name "="); text = substr($0, at + length(name) + 1); sub(/ .*/, "", text); return text }
    BEGIN { split(own, tids, " "); for (i in tids) ours[tids[i]] = 1 }
    { next_id = field("next_pid"); comm = field("next_comm")
      to = next_id in ours ? "a thread of the relay" : next_id == sink ? "the sink" : comm ~ /^(spool|load)/ ? "the load generator" : "others"
      count[field("prev_comm") " to " to]++ }
    END { for (key in count) printf "%8.3f per message  %s\n", count[key] / n, key }' | sort -rn | head -12
echo; echo "== system calls by kind, by strace, which makes batches smaller: $(attach strace -q -c -f -p "$relay" -o "$dir/strace")"
awk -v n="$messages" '$4 ~ /^[0-9]+$/ && $NF != "total" {printf "%-16s %8.3f per message\n", $NF, $4 / n}' "$dir/strace" | sort -k2,2nr | head -24 |
    tee "$dir/kinds"
events=()
for kind in $(awk '$2 >= 0.005 {print $1}' "$dir/kinds"); do
    if [ -e "/sys/kernel/tracing/events/syscalls/sys_enter_$kind" ]; then events+=(-e "syscalls:sys_enter_$kind"); fi
done
echo; echo "== system calls by kind and thread, by tracepoints: $(attach perf stat -x ' ' --per-thread -p "$relay" "${events[@]}" -o "$dir/calls")"
awk -v n="$messages" '
    match($0, /sys_enter_[a-z0-9_]+/) {
        kind = substr($0, RSTART + 10, RLENGTH - 10)
        if ($2 + 0 < n / 200) next
        thread = $1; sub(/-[0-9]+$/, "", thread)
        printf "%-16s %8.3f per message  %s\n", kind, $2 / n, thread; sum += $2 }
    END {printf "%-16s %8.3f\n", "all", sum / n}' "$dir/calls"

libc=$(ldd "$spool" | awk '/libc.so/ {print $3}')
probes=()
for name in malloc calloc realloc posix_memalign free; do
    if perf probe -q -x "$libc" "$name" 2>"$dir/probe.err"; then probes+=(-e "probe_libc:$name"); fi
done
if [ ${#probes[@]} = 0 ]; then echo "== no uprobes: $(cat "$dir/probe.err")"; exit; fi
echo; echo "== calls of the allocator: $(attach perf stat -x ' ' -p "$relay" "${probes[@]}" -o "$dir/allocations")"
awk -v n="$messages" '/probe_libc/ {printf "%-16s %8.3f per message\n", $2, $1 / n}' "$dir/allocations"
mallocs=$(awk '/probe_libc:malloc/ {print $1}' "$dir/allocations")
echo; echo "== where malloc is called, one in 401: $(attach perf record -q --no-period -c 401 -e probe_libc:malloc --call-graph dwarf,24576 -p "$relay" -o "$out/malloc.data" 2>/dev/null)"
perf script -i "$out/malloc.data" -F comm,tid,ip,sym,dso --no-inline 2>/dev/null >"$out/malloc.txt"
python3 tests/relay-profile.py malloc "$out/malloc.txt" "$messages" "$mallocs"
