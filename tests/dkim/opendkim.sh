#!/usr/bin/env bash
# Checks with OpenDKIM what tests/examples/sign_corpus.rs wrote: opendkim.sh DIR.
#
# It tells of each message whether a signature is valid; without one of Ed25519, where it does not know that, of the RSA one alone. Each
# good message must be valid, and no bad one.
set -euo pipefail
dir="$1"
config="$(mktemp)"
trap 'rm -f "$config"' EXIT
printf 'Mode v\nTestPublicKeys %s\nSyslog no\n' "$dir/keys" >"$config"
wrong=0
declare -A checked=([good]=0 [bad]=0)
for kind in good bad; do
    for message in "$dir/$kind"/*.eml; do
        told="$(opendkim -x "$config" -v -t "$message" 2>&1 || true)"
        valid=bad
        grep -q 'verification (.*) succeeded' <<<"$told" && valid=good
        checked[$kind]=$((checked[$kind] + 1))
        if [ "$valid" != "$kind" ]; then
            wrong=$((wrong + 1))
            echo "$message: $(grep -v returned <<<"$told" | head -n 1)"
        fi
    done
done
echo "OpenDKIM: ${checked[good]} good and ${checked[bad]} bad messages checked, $wrong judged otherwise"
[ "$wrong" = 0 ]
