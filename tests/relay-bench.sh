#!/usr/bin/env bash
# The relay benchmark of docs/performance.md: load -> serve -> sink on one machine, everything synced and verified.
# Usage: tests/relay-bench.sh [CONNECTIONS] [MESSAGES] [SIZE]     (needs perf for the syncs; works without)
# In the environment:
#   TLS=1           STARTTLS on both sides, with a certificate made for the run: load -> serve checked, serve -> sink required
#   DKIM=rsa, DKIM=both, DKIM=other   signs with a key of RSA-2048, with one of Ed25519 too; has a key of RSA for another domain
#   RELAY=postfix   the relay is the Postfix that is installed, with a configuration and a queue of its own (needs root)
#   TRANSFER=in-turn|pipelined|chunked   how load sends; with chunked the sink takes BDAT as well
#   SYNCS=0         does not count syncs, which costs about a tenth of the rate
#   SPOOL=FILE      the relay is this program, built before
#   TOOLS=FILE      load and sink are those of this program, so that they are the same for relays of several builds
set -euo pipefail
cd "$(dirname "$0")/.."
connections=${1:-20} messages=${2:-20000} size=${3:-2048}
tls=${TLS:-} dkim=${DKIM:-} kind=${RELAY:-spool}
if [ -z "${SPOOL:-}" ]; then
    cargo build --profile dist --quiet -p spool-bin
    SPOOL=${CARGO_TARGET_DIR:-target}/dist/spool
fi
spool=$SPOOL tools=${TOOLS:-$SPOOL}
dir=$(realpath "$(mktemp -d "${TMPDIR:-.}/relay-bench.XXXXXX")")
postfix_runs() { [ -n "$(cat "$dir/queue/pid/master.pid" 2>/dev/null)" ]; }
end() {
    kill "${relay:-}" "${sink:-}" 2>/dev/null || true
    if postfix_runs; then postfix -c "$dir/postfix" stop 2>/dev/null || true; fi
    for _ in $(seq 100); do
        { readlink /proc/[0-9]*/cwd || true; } | grep -F "$dir/queue" >/dev/null || break
        sleep 0.1
    done
    wait
    rm -rf "$dir"
}
trap end EXIT
started() { until grep -qs ready "$1"; do sleep 0.05; done; }
field() { grep -o "$2=[^ ]*" "$1" | cut -d= -f2; }

sink_options=(--listen 127.0.0.1:0 --ledger "$dir/sink.jsonl" --quiet) load_options=()
if [ -n "${TRANSFER:-}" ]; then load_options+=(--transfer "$TRANSFER"); fi
if [ "${TRANSFER:-}" = chunked ]; then echo 'ehlo offer CHUNKING' >>"$dir/script"; fi
if [ -n "$tls" ]; then
    printf '%s\n' '[req]' 'prompt = no' 'distinguished_name = dn' 'x509_extensions = ext' '[dn]' 'CN = relay-bench' \
        '[ext]' 'subjectAltName = IP:127.0.0.1' 'basicConstraints = critical, CA:FALSE' >"$dir/openssl.cnf"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -config "$dir/openssl.cnf" \
        -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
    echo 'mail tls=no reply 530 5.7.0 TLS first' >>"$dir/script"
    sink_options+=(--tls starttls --certificate "$dir/cert.pem" --key "$dir/key.pem")
    load_options+=(--tls starttls --tls-ca "$dir/cert.pem")
fi
if [ "${TRANSFER:-}" = in-turn ]; then echo 'ehlo hide PIPELINING' >>"$dir/script"; fi
if [ -e "$dir/script" ]; then sink_options+=(--script "$dir/script"); fi
"$tools" sink "${sink_options[@]}" >"$dir/sink" 2>"$dir/sink.log" & sink=$!
started "$dir/sink"
hop=$(field "$dir/sink" smtp)

start_spool() {
    if [ -n "$tls" ]; then
        printf '[listen.tls]\ncertificate = "%s"\nkey = "%s"\n[client]\ntls = "required"\n' "$dir/cert.pem" "$dir/key.pem"
    else
        printf '[client]\ntls = "none"\n'
    fi >"$dir/spool.toml"
    local domain=sender.example types=rsa type
    case $dkim in
        '') types= ;;
        rsa) ;;
        both) types='rsa ed25519' ;;
        other) domain=other.example ;;
        *) echo "DKIM=$dkim: rsa, both or other" >&2; exit 2 ;;
    esac
    for type in $types; do
        "$spool" dkim new --domain "$domain" --selector "$type" --type "$type" --out "$dir/$type.pem" >/dev/null
        printf '[[dkim.key]]\ndomain = "%s"\nselector = "%s"\nfile = "%s"\n' "$domain" "$type" "$dir/$type.pem" >>"$dir/spool.toml"
    done
    "$spool" serve --config "$dir/spool.toml" --spool "$dir/spool" --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
        --next-hop "$hop" >"$dir/serve" 2>"$dir/serve.log" & relay=$!
    started "$dir/serve"
    to=$(field "$dir/serve" smtp)
}

start_postfix() {
    local at=$dir/postfix port reuse=no
    if [ -n "$tls" ]; then reuse=yes; fi
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    chmod 755 "$dir"
    mkdir "$at" "$dir/queue" "$dir/data"
    chown postfix: "$dir/data"
    cat >"$at/main.cf" <<MAIN
compatibility_level = 3.6
queue_directory = $dir/queue
data_directory = $dir/data
daemon_directory = $(postconf -dh daemon_directory)
maillog_file = $dir/postfix.log
maillog_file_prefixes = $dir
myhostname = relay.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
local_header_rewrite_clients =
relayhost = [${hop%:*}]:${hop##*:}
default_process_limit = 200
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
initial_destination_concurrency = 20
default_destination_concurrency_limit = 20
smtp_connection_cache_destinations = [${hop%:*}]:${hop##*:}
smtp_tls_security_level = ${tls:+encrypt}
smtp_tls_connection_reuse = $reuse
smtpd_tls_security_level = ${tls:+may}
MAIN
    if [ -n "$tls" ]; then
        cat "$dir/key.pem" "$dir/cert.pem" >"$dir/chain.pem"
        echo "smtpd_tls_chain_files = $dir/chain.pem" >>"$at/main.cf"
    fi
    cat >"$at/master.cf" <<MASTER
127.0.0.1:$port inet n - n - - smtpd
postlog   unix-dgram n - n - 1 postlogd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
tlsproxy  unix  - - n - 0 tlsproxy
scache    unix  - - n - 1 scache
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
error     unix  - - n - - error
retry     unix  - - n - - error
smtp      unix  - - n - - smtp
anvil     unix  - - n - 1 anvil
MASTER
    postfix -c "$at" start >"$dir/serve.log" 2>&1
    to=127.0.0.1:$port
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
    relay_master=$(tr -d ' ' <"$dir/queue/pid/master.pid")
}

# Ticks of CPU so far. Postfix: of the master, what it has waited for, and its processes of the moment.
cpu() {
    if [ "$kind" = spool ]; then
        awk '{print $14 + $15}' "/proc/$relay/stat"
        return
    fi
    local pids=() pid
    for pid in $(cat "/proc/$relay_master/task/$relay_master/children"); do pids+=("/proc/$pid/stat"); done
    { sed 's/$/ master/' "/proc/$relay_master/stat"; cat "${pids[@]}" 2>/dev/null || true; } |
        awk '{sum += $14 + $15} /master$/ {sum += $16 + $17} END {print sum}'
}

"start_$kind"
load=("$tools" load --to "$to" --connections "$connections" --size "$size" "${load_options[@]}")
"${load[@]}" --messages 1000 --ledger "$dir/warmup.jsonl" --verify "$dir/sink.jsonl" >"$dir/warmup"
sleep 1
before=$(cpu)
if [ "${SYNCS:-1}" != 0 ] && [ "$kind" = spool ] && command -v perf >/dev/null; then
    perf stat -e syscalls:sys_enter_fdatasync,syscalls:sys_enter_fsync -p "$relay" -o "$dir/perf" & counter=$!
    sleep 0.2
fi
"${load[@]}" --messages "$messages" --ledger "$dir/load.jsonl" --verify "$dir/sink.jsonl"
after=$(cpu)
echo "relay: $(((after - before) * 1000000 / $(getconf CLK_TCK) / messages)) us of CPU per message"
if [ -n "${counter:-}" ]; then
    kill -INT "$counter"; wait "$counter" || true
    awk -v n="$messages" '/fdatasync|fsync/ {gsub(",", "", $1); sum += $1} END {printf "relay: %.3f syncs per message\n", sum / n}' "$dir/perf"
fi
