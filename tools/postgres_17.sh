#!/usr/bin/env bash
# Debian 13's PostgreSQL 17, which speaks TLS as the packaged one does not, made to run on an older Debian:
#   tools/postgres_17.sh FOLDER      # as root, once; prints the folder of its programs
# For what is tried by hand with servers that have certificates: tools/shards.py. Its programs keep their own libraries.
set -euo pipefail
[ $# = 1 ] && [ "$(id -u)" = 0 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 1; }
root=$1 bin=$1/usr/lib/postgresql/17/bin
if ! [ -e "$root/.made" ]; then
    if ! [ -x /usr/sbin/debootstrap ] || ! [ -x /usr/bin/patchelf ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends debootstrap patchelf >/dev/null
    fi
    debootstrap --variant=minbase trixie "$root" >"$root.log"
    # Packages alone: what their scripts would set up is not needed.
    chroot "$root" sh -c 'apt-get update -qq && apt-get install -qq -y --no-install-recommends --download-only postgresql-17' >>"$root.log" 2>&1
    for one in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$one" "$root"; done
    libraries=$(realpath "$root")/usr/lib/x86_64-linux-gnu
    for one in postgres initdb pg_basebackup pg_ctl pg_controldata pg_rewind; do
        patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libraries" "$bin/$one"
    done
    chmod 755 "$root"
    touch "$root/.made"
fi
"$bin/postgres" --version >&2
echo "$bin"
