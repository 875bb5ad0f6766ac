#!/usr/bin/env bash
# Has DKIM verifiers from other hands check the signatures of `spool`, and changes of what was signed:
#
#   tests/dkim/campaign.sh [DIR]
#
# signs every message of the tests, and of the folder in SPOOL_TEST_CORPUS, into DIR (a temporary directory without it), and runs those
# of the following that are installed: dkimpy with PyNaCl (PyPI: dkimpy[ed25519]; PYTHON names the interpreter), Mail::DKIM (Debian:
# libmail-dkim-perl), OpenDKIM (Debian: opendkim). No name server is asked: each is handed the keys.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir="${1:-$(mktemp -d)}"
status=0
cargo build --quiet --workspace --example sign_corpus
target/debug/examples/sign_corpus "$dir"

python="${PYTHON:-python3}"
if "$python" -c 'import dkim, nacl' 2>/dev/null; then
    "$python" tests/dkim/verify.py "$dir" || status=1
else
    echo "dkimpy is not installed: skipped"
fi

if perl -MMail::DKIM -e 1 2>/dev/null; then
    perl tests/dkim/verify.pl "$dir" || status=1
else
    echo "Mail::DKIM is not installed: skipped"
fi

if command -v opendkim >/dev/null; then
    tests/dkim/opendkim.sh "$dir" || status=1
else
    echo "OpenDKIM is not installed: skipped"
fi
exit "$status"
