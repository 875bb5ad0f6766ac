#!/bin/sh
# Builds the Debian package twice, with two versions, and takes it through its life in a fresh Debian 12 chroot: install, a message
# from a client to its next hop, upgrade, purge. As root; needs cargo-deb, debootstrap, python3 (with dkimpy), lintian and a Debian mirror.
#
#   packaging/test-deb.sh [WORK_DIRECTORY]       MIRROR=http://deb.debian.org/debian
set -eu
cd "$(dirname "$0")/.."
work=${1:-$(mktemp -d)}
mkdir -p "$work"
mirror=${MIRROR:-http://deb.debian.org/debian}
chroot=$work/chroot
target=${CARGO_TARGET_DIR:-$PWD/target}
running=

step() { echo "== $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
inside() { chroot "$chroot" "$@"; }
as_spool() { chroot --userspec=spool:spool "$chroot" "$@"; }
cleanup() {
    for pid in $running; do kill "$pid" 2>/dev/null || true; done
    umount "$chroot/proc" 2>/dev/null || true
}
trap cleanup EXIT

step "build"
old=${OLD_DEB:-} new=${NEW_DEB:-}
if [ -z "$old" ]; then
    packaging/build-deb.sh 0.1.0-1
    # The next one takes its place.
    old=$work/old.deb new=$work/new.deb
    cp "$target"/debian/spool_0.1.0-1_*.deb "$old"
    cargo deb --no-build --fast --strip --locked -p spool-bin --deb-version 0.1.0-2 --output "$new"
fi
step "lintian"
lintian --tag-display-limit 0 "$old" || true

step "a Debian 12 in $chroot"
[ -e "$chroot/bin/sh" ] || debootstrap --variant=minbase bookworm "$chroot" "$mirror"
mountpoint -q "$chroot/proc" || mount -t proc proc "$chroot/proc"
# No service is started by a package here.
printf '#!/bin/sh\nexit 101\n' > "$chroot/usr/sbin/policy-rc.d"
chmod 755 "$chroot/usr/sbin/policy-rc.d"
[ -e "$chroot/etc/hosts" ] || echo '127.0.0.1 localhost' > "$chroot/etc/hosts"
export DEBIAN_FRONTEND=noninteractive
inside apt-get update -q >/dev/null
inside find / -xdev ! -path '/proc/*' ! -path '/var/lib/apt/*' ! -path '/var/cache/*' ! -path '/tmp/*' 2>/dev/null | sort > "$work/bare"

step "install"
cp "$old" "$chroot/tmp/old.deb"
cp "$new" "$chroot/tmp/new.deb"
inside apt-get install -q -y --no-install-recommends /tmp/old.deb > "$work/install.log" 2>&1 || { cat "$work/install.log"; fail install; }
inside spool --version
as_spool spool check --config /etc/spool/spool.toml
[ "$(inside stat -c '%U %a' /var/lib/spool)" = "spool 700" ] || fail "/var/lib/spool is not closed"
[ "$(inside stat -c '%U:%G %a' /etc/spool/admin.token)" = "root:spool 640" ] || fail "the token of the admin API is not closed"
[ "$(wc -c < "$chroot/etc/spool/admin.token")" = 65 ] || fail "the token of the admin API is not 32 bytes in hexadecimal"
token=$(md5sum < "$chroot/etc/spool/admin.token")
[ "$(inside stat -c '%U %a' /run/spool)" = "spool 755" ] || fail "no /run/spool for the Unix socket"
[ "$(inside readlink -f /usr/sbin/sendmail)" = /usr/bin/spool ] || fail "no sendmail"
[ -e "$chroot/usr/share/man/man1/spool-serve.1.gz" ] || echo "(man pages are left out by this Debian's dpkg)"
[ -e "$chroot/lib/systemd/system/spool.service" ] || [ -e "$chroot/usr/lib/systemd/system/spool.service" ] || fail "no unit"

step "start, as the user spool"
sink=12626 smtp=12525 admin=18525
cat >> "$chroot/etc/spool/spool.toml" <<CONFIG

[route]
next_hops = ["localhost:$sink"]
CONFIG
sed -i "s/127.0.0.1:2525/127.0.0.1:$smtp/; s/127.0.0.1:8525/127.0.0.1:$admin/" "$chroot/etc/spool/spool.toml"
# TLS in and out, where this version has both.
tls=
mkdir -p "$chroot/etc/spool/tls"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
    -keyout "$chroot/etc/spool/tls/key.pem" -out "$chroot/etc/spool/tls/cert.pem" 2>/dev/null
inside chown -R spool:spool /etc/spool/tls
chmod 600 "$chroot/etc/spool/tls/key.pem"
cp "$chroot/etc/spool/spool.toml" "$work/plain.toml"
sed -i "/^admin = /a\\
\\
[listen.tls]\\
certificate = \"/etc/spool/tls/cert.pem\"\\
key = \"/etc/spool/tls/key.pem\"" "$chroot/etc/spool/spool.toml"
printf '\n[client]\ntls = "verify"\ntls_roots = "/tmp/roots.pem"\n' >> "$chroot/etc/spool/spool.toml"
chroot "$chroot" /usr/bin/spool sink --listen "127.0.0.1:$sink" --tls starttls --tls-roots /tmp/roots.pem --ledger /tmp/ledger.jsonl > "$work/sink.out" 2>&1 &
running="$running $!"
for _ in $(seq 100); do grep -q ^ready "$work/sink.out" && break; sleep 0.1; done
chmod 644 "$chroot/tmp/roots.pem"
if as_spool spool check --config /etc/spool/spool.toml 2>/dev/null; then
    tls=yes
else
    echo "(STARTTLS for clients is not in this version: plaintext in, TLS out)"
    cp "$work/plain.toml" "$chroot/etc/spool/spool.toml"
    printf '\n[client]\ntls = "verify"\ntls_roots = "/tmp/roots.pem"\n' >> "$chroot/etc/spool/spool.toml"
    as_spool spool check --config /etc/spool/spool.toml
fi
if inside spool dkim --help > /dev/null 2>&1; then
    inside install -d -o spool -g spool -m 700 /etc/spool/dkim
    as_spool spool dkim new --domain example.org --selector s1 --out /etc/spool/dkim/s1.pem > "$work/record"
    printf '\n[[dkim.key]]\ndomain = "example.org"\nselector = "s1"\nfile = "/etc/spool/dkim/s1.pem"\n' >> "$chroot/etc/spool/spool.toml"
    as_spool spool check --config /etc/spool/spool.toml
fi
serve() {
    chroot --userspec=spool:spool "$chroot" /usr/bin/spool serve --config /etc/spool/spool.toml > "$work/serve.out" 2>> "$work/serve.log" &
    service=$!
    running="$running $service"
    for _ in $(seq 100); do grep -q ^ready "$work/serve.out" && return; sleep 0.1; done
    cat "$work/serve.log"; fail "the service does not start"
}
serve
[ "$(stat -c %U "/proc/$service" 2>/dev/null || true)" != root ] || fail "the service runs as root"

step "a message, from a client of another make"
python3 - "$smtp" "$tls" <<'PYTHON'
import smtplib, ssl, sys
client = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=30)
if sys.argv[2]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client.starttls(context=context)
    print("TLS in:", client.sock.version())
client.sendmail("ada@example.org", ["bob@example.net"], "Subject: from the package\r\n\r\nhello\r\n")
client.quit()
PYTHON
for _ in $(seq 100); do [ -s "$chroot/tmp/ledger.jsonl" ] && break; sleep 0.1; done
grep -q bob@example.net "$chroot/tmp/ledger.jsonl" || { cat "$work/serve.log"; fail "not delivered"; }
grep -E ' (accepted|delivered) ' "$work/serve.log"
grep -q 'delivered .*tls=TLSv1.* verified=true' "$work/serve.log" || fail "not over verified TLS"

step "sendmail"
if printf 'Subject: by sendmail\n\nhello\n' | as_spool /usr/sbin/sendmail eve@example.net 2> "$work/sendmail.log"; then
    for _ in $(seq 100); do grep -q eve@example.net "$chroot/tmp/ledger.jsonl" && break; sleep 0.1; done
    grep -q eve@example.net "$chroot/tmp/ledger.jsonl" || fail "sendmail said yes, and nothing arrived"
    grep -q ' accepted .* via=local uid=' "$work/serve.log" || fail "sendmail did not use the Unix socket"
else
    echo "(the sendmail command is not in this version: $(head -1 "$work/sendmail.log"))"
fi

step "the admin API"
inside spool count --admin "http://127.0.0.1:$admin" || fail "root cannot use the admin API"
as_spool spool count --admin "http://127.0.0.1:$admin" || fail "the group spool cannot use the admin API"
if inside setpriv --reuid 65534 --regid 65534 --clear-groups spool count --admin "http://127.0.0.1:$admin" 2> "$work/denied.log"; then
    fail "every user can use the admin API"
fi
grep -q 'as root (sudo)' "$work/denied.log" || { cat "$work/denied.log"; fail "no word about who may use the admin API"; }
inside setpriv --reuid 65534 --regid 65534 --clear-groups env SPOOL_CONFIG=/dev/null \
    spool count --admin "http://127.0.0.1:$admin" 2>&1 | grep -q 'HTTP 401' || fail "the admin API asks for no token"

step "upgrade, with mail on the spool"
inside spool jobs 0 --admin "http://127.0.0.1:$admin" > /dev/null
printf 'From: ada@example.org\nSubject: kept\n\nhello\n' | inside spool submit --admin "http://127.0.0.1:$admin" \
    --from ada@example.org --to keep@example.net - > "$work/kept"
if [ -e "$work/record" ]; then
    inside spool show "$(cat "$work/kept")" --body --admin "http://127.0.0.1:$admin" > "$work/signed.eml"
    python3 - "$work" <<'PYTHON'
import re, sys
try:
    import dkim
except ImportError:
    print("(dkimpy is missing: the signature is not verified)")
    sys.exit(0)
work = sys.argv[1]
record = "".join(re.findall(r'"([^"]*)"', open(work + "/record").read())).encode()
message = open(work + "/signed.eml", "rb").read()
assert dkim.verify(message, dnsfunc=lambda name, timeout=5: record), "the signature is not valid"
assert not dkim.verify(message.replace(b"hello", b"hullo"), dnsfunc=lambda name, timeout=5: record)
print("signed, and valid by dkimpy")
PYTHON
fi
kill -TERM "$service"; wait "$service" || fail "the service did not end in order"
printf 'Subject: while it is down\n\nhello\n' | inside setpriv --reuid 65534 --regid 65534 --clear-groups /usr/sbin/sendmail drop@example.net \
    || fail "sendmail left no mail while the service was down"
before=$(md5sum "$chroot/etc/spool/spool.toml")
inside apt-get install -q -y --no-install-recommends /tmp/new.deb > "$work/upgrade.log" 2>&1 || { cat "$work/upgrade.log"; fail upgrade; }
inside dpkg -s spool | grep '^Version: 0.1.0-2' || fail "not upgraded"
[ "$(md5sum "$chroot/etc/spool/spool.toml")" = "$before" ] || fail "the configuration was changed"
[ "$(md5sum < "$chroot/etc/spool/admin.token")" = "$token" ] || fail "the token was changed"
[ "$(as_spool spool count --spool /var/lib/spool)" = 1 ] || fail "the mail on the spool is gone"
serve
for _ in $(seq 200); do grep -q keep@example.net "$chroot/tmp/ledger.jsonl" && grep -q drop@example.net "$chroot/tmp/ledger.jsonl" && break; sleep 0.1; done
for to in keep drop; do grep -q "$to@example.net" "$chroot/tmp/ledger.jsonl" || { cat "$work/serve.log"; fail "no mail for $to@example.net"; }; done
# Mail that a removal has to tell of.
inside spool jobs 0 --admin "http://127.0.0.1:$admin" > /dev/null
printf 'From: ada@example.org\nSubject: left\n\nhello\n' | inside spool submit --admin "http://127.0.0.1:$admin" \
    --from ada@example.org --to left@example.net - > /dev/null
kill -TERM "$service"; wait "$service" || fail "the service did not end in order"

step "remove and purge"
rm -rf "$chroot/etc/spool/tls" "$chroot/etc/spool/dkim"
inside apt-get remove -q -y spool > "$work/remove.log" 2>&1
grep 'messages that have not been delivered' "$work/remove.log" || fail "no word about the mail"
[ -e "$chroot/etc/spool/spool.toml" ] && [ -d "$chroot/var/lib/spool" ] || fail "removed too much"
inside apt-get purge -q -y spool > "$work/purge.log" 2>&1
inside find / -xdev ! -path '/proc/*' 2>/dev/null | grep -i spool | sort > "$work/left" || true
# What Debian keeps for every package, what dpkg itself has, and directories of others.
grep -vxF -f "$work/bare" "$work/left" | grep -vE '^/(var/(cache|log|lib/(apt|dpkg/(alternatives|status|info)|systemd/deb-systemd))|tmp)' > "$work/unexpected" || true
if [ -s "$work/unexpected" ]; then cat "$work/unexpected"; fail "left behind"; fi
[ ! -e "$chroot/usr/sbin/sendmail" ] && [ ! -L "$chroot/usr/sbin/sendmail" ] || fail "sendmail is left"
step "passed"
