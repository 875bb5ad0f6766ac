#!/usr/bin/env bash
# What BDAT in one write with the envelope brings over a long way: load -> serve -> a line that takes its time -> sink, with and
# without client.chunking, by turns. The figure is the rate with it as a multiple of the rate without.
# Usage: tests/latency-bench.sh [MESSAGES] [ROUNDS] [MS]     (MS: milliseconds each way; python3 plays the line)
set -euo pipefail
cd "$(dirname "$0")/.."
messages=${1:-2000} rounds=${2:-5} ms=${3:-25}
cargo build --profile dist --quiet -p spool-bin
spool=${CARGO_TARGET_DIR:-target}/dist/spool
dir=$(mktemp -d "${TMPDIR:-.}/latency-bench.XXXXXX")
pids=()
stop() { kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true; pids=(); }
trap 'stop; rm -rf "$dir"' EXIT
started() { until grep -qs ready "$1"; do sleep 0.05; done; }
field() { grep -o "$2=[^ ]*" "$1" | cut -d= -f2; }

# A line that carries everything, MS later.
cat >"$dir/line.py" <<'PY'
import asyncio, sys
host, port, delay = sys.argv[1].rsplit(":", 1)[0], int(sys.argv[1].rsplit(":", 1)[1]), float(sys.argv[2]) / 1000
async def carry(reader, writer):
    loop, on_its_way = asyncio.get_running_loop(), asyncio.Queue(64)
    async def arrive():
        while True:
            at, data = await on_its_way.get()
            await asyncio.sleep(at - loop.time())
            if not data:
                return writer.close()
            writer.write(data)
            await writer.drain()
    arriving = asyncio.create_task(arrive())
    try:
        while True:
            data = await reader.read(65536)
            await on_its_way.put((loop.time() + delay, data))
            if not data:
                break
        await arriving
    except OSError:
        writer.close()
async def line(reader, writer):
    there = await asyncio.open_connection(host, port)
    await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))
async def main():
    server = await asyncio.start_server(line, "127.0.0.1", 0)
    print("ready line=127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
PY

# round CHUNKING: messages a second at the sink, first to last.
round() {
    local run; run=$(mktemp -d "$dir/run.XXXXXX")
    echo 'ehlo offer CHUNKING' >"$run/script"
    "$spool" sink --listen 127.0.0.1:0 --script "$run/script" --ledger "$run/sink.jsonl" --quiet >"$run/sink" 2>/dev/null &
    pids+=($!)
    started "$run/sink"
    python3 "$dir/line.py" "$(field "$run/sink" smtp)" "$ms" >"$run/line" &
    pids+=($!)
    started "$run/line"
    printf '[client]\nchunking = %s\n[route]\nnext_hops = ["%s"]\n' "$1" "$(field "$run/line" line)" >"$run/spool.toml"
    "$spool" serve --config "$run/spool.toml" --spool "$run/spool" --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$run/serve" 2>"$run/log" &
    pids+=($!)
    started "$run/serve"
    "$spool" load --to "$(field "$run/serve" smtp)" --messages "$messages" --connections 20 >"$run/load"
    for _ in $(seq 1200); do
        [ "$(wc -l <"$run/sink.jsonl")" -ge "$messages" ] && break
        sleep 0.1
    done
    sed 's/^{"at":\([0-9]*\),.*/\1/' "$run/sink.jsonl" | sort -n |
        awk -v n="$messages" 'NR == 1 { first = $1 } { last = $1 } END { if (NR != n) exit 1; printf "%.0f\n", 1000 * NR / (last - first) }'
    stop
    rm -rf "$run"
}

for n in $(seq "$rounds"); do
    if [ $((n % 2)) = 1 ]; then on=$(round true) off=$(round false); else off=$(round false) on=$(round true); fi
    echo "$on $off"
done | awk '
    { share[NR] = $1 / $2
      printf "round %d: BDAT %d/s, DATA %d/s: %.2f\n", NR, $1, $2, share[NR]; fflush() }
    END {
        for (i = 2; i <= NR; i++) for (j = i; j > 1 && share[j] < share[j - 1]; j--) { t = share[j]; share[j] = share[j - 1]; share[j - 1] = t }
        printf "median: %.2f\n", (share[int((NR + 1) / 2)] + share[int(NR / 2) + 1]) / 2
    }'
