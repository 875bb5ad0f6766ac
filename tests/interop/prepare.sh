#!/bin/sh
# Makes ready what the interop campaign needs: haproxy, nginx, swaks, msmtp, curl, nodemailer, mutt and mailx, which speak to the
# ingress, Postfix installed, and Exim unpacked beside it, for Debian has only one of them installed at a time. For a machine that may be changed:
# it installs packages, adds a user, and starts nothing.
#
#   sudo tests/interop/prepare.sh DIR
#   cargo build -p spool-bin
#   sudo SPOOL_INTEROP=DIR cargo test -p spool-tests --test interop -- --nocapture --test-threads=1
set -eu
dir=${1:?"usage: $0 DIR"}
mkdir -p "$dir"
# No daemon is started by the installation.
[ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    postfix sasl2-bin libsasl2-modules libsasl2-modules-db libidn12 \
    haproxy nginx libnginx-mod-mail curl msmtp swaks libnet-ssleay-perl libio-socket-ssl-perl mutt bsd-mailx
# Node.js with npm, Debian's unless there is one.
command -v npm > /dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nodejs npm
cd "$dir"
npm install --no-audit --no-fund nodemailer
rm -f exim4-daemon-light_*.deb
apt-get download exim4-daemon-light
for package in exim4-daemon-light_*.deb; do dpkg -x "$package" exim; done
# Exim takes its configuration from nowhere else once it is no longer root.
mkdir -p /etc/exim4
echo "$PWD/exim.conf" > /etc/exim4/trusted_configs
getent passwd Debian-exim > /dev/null || useradd --system --user-group --no-create-home Debian-exim
