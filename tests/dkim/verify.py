#!/usr/bin/env python3
"""Checks with dkimpy what tests/examples/sign_corpus.rs wrote: verify.py DIR.

The two signatures on top of every good message must be valid, and those of every bad one must not be.
"""

import pathlib
import sys

import dkim

root = pathlib.Path(sys.argv[1])
keys = dict(line.split(" ", 1) for line in (root / "keys").read_text().splitlines())


def txt(name, timeout=5):
    return keys.get(name.decode().rstrip(".") if isinstance(name, bytes) else name.rstrip("."), "").encode()


def valid(message, index):
    try:
        return dkim.DKIM(message).verify(idx=index, dnsfunc=txt), ""
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"


wrong, checked = [], {"good": 0, "bad": 0}
for kind in checked:
    for path in sorted((root / kind).iterdir()):
        message = path.read_bytes()
        for index in (0, 1):
            is_valid, why = valid(message, index)
            checked[kind] += 1
            if is_valid != (kind == "good"):
                wrong.append(f"{kind}/{path.name} signature {index}: valid={is_valid} {why}")
print(f"dkimpy: {checked['good']} good and {checked['bad']} bad signatures checked, {len(wrong)} judged otherwise")
print(*wrong, sep="\n")
sys.exit(bool(wrong))
