#!/usr/bin/env bash
# Let systemd read the units of deploy/systemd (Debian: package systemd; it need not run as init):
#   tools/systemd.sh      # verify every unit, users and folders as printed, and say how exposed each is
# In a root folder of its own, with stand-ins for the programs that the units start.
set -euo pipefail
cd "$(dirname "$0")/.."
exposure_max=2.0 # of 10: systemd's own figure for "OK" ends at 4
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
units=$root/etc/systemd/system
mkdir -p "$units" "$root/opt/shoudan/bin" "$root/usr/lib" "$root/etc/shoudan" "$root/var/lib"
cp -r /usr/lib/systemd "$root/usr/lib/" 2>/dev/null || cp -r /lib/systemd "$root/usr/lib/"
ln -s usr/lib "$root/lib"
printf '#!/bin/sh\n' >"$root/opt/shoudan/bin/shoudan"
chmod 755 "$root/opt/shoudan/bin/shoudan"
cp -r deploy/systemd/*.service deploy/systemd/*.timer deploy/systemd/*.target deploy/systemd/shoudan-.service.d "$units/"

systemd-sysusers --root "$root" "$PWD/deploy/systemd/sysusers.conf"
systemd-tmpfiles --root "$root" --create "$PWD/deploy/systemd/tmpfiles.conf"
[ "$(stat -c %a "$root/etc/shoudan/credentials")" = 700 ]
echo "systemd: users and folders made"

failed=0
for file in "$units"/*.service; do
    name=$(basename "$file")
    instance=${name/@/@1}
    said=$(systemd-analyze verify --root "$root" --man=no --recursive-errors=no "$instance" 2>&1) || failed=1
    [ -z "$said" ] || { echo "$said"; failed=1; }
    figure=$(systemd-analyze security --root "$root" --offline=true --threshold=100 "$instance" |
        sed -n 's/.*Overall exposure level.*: \([0-9.]*\).*/\1/p')
    echo "systemd: $instance exposure $figure"
    awk -v is="$figure" -v most="$exposure_max" 'BEGIN { exit !(is != "" && is <= most) }' || { echo "above $exposure_max"; failed=1; }
done
[ "$failed" = 0 ] || exit 1
echo "systemd: $(systemd-analyze --version | head -1): all units read as written"
