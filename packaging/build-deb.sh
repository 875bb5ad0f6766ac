#!/bin/sh
# Builds the Debian package: the program with the profile `dist`, the man pages and completions that it writes itself, and the .deb.
#
#   packaging/build-deb.sh [DEBIAN_VERSION]      e.g. 0.1.0-1; the file is printed at the end
#
# The program in the package is stripped. Its symbols are written beside the package, to spool.debug; the build id ties the two:
#
#   addr2line -e spool.debug -fpC ADDRESS        or: gdb -s spool.debug -e /usr/bin/spool
#
# DEBFULLNAME and DEBEMAIL, if set, name the maintainer. Needs cargo-deb (cargo install cargo-deb), dpkg, binutils and gzip.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
version=${1:-}

cargo build --profile dist --locked -p spool-bin
made=$target/dist/packaging
rm -rf "$made"
"$target/dist/spool" generate --to "$made"
mkdir -p "$made/links"
gzip -9n "$made"/man/*.1
gzip -9nc packaging/debian/changelog > "$made/changelog.Debian.gz"
for name in sendmail mailq newaliases; do
    ln -sf /usr/bin/spool "$made/links/$name"
done
if [ -n "${DEBEMAIL:-}" ]; then
    set -- --maintainer "${DEBFULLNAME:-The Spool authors} <$DEBEMAIL>"
else
    set --
fi
mkdir -p "$target/debian"
objcopy --only-keep-debug "$target/dist/spool" "$target/debian/spool.debug"
cargo deb --profile dist --no-build --strip --locked -p spool-bin "$@" ${version:+--deb-version "$version"} --output "$target/debian/"
