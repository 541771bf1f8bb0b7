#!/usr/bin/env bash
# Boot a systemd and let it run the units of deploy/systemd, on one host, as docs/operations.md prints it:
#   tools/systemd_boot.sh POSTGRES_FOLDER [FOLDER]
# As root, on Debian, with its packages systemd-container and debootstrap. POSTGRES_FOLDER is what tools/postgres_17.sh
# made. In a container of its own, with a loopback of its own: all services ready, restarts, a kill, a second
# replica, a renewal of certificates, a reboot after which all are back, a stop. FOLDER is kept, with what was
# installed: the next run is quicker.
set -euo pipefail
cd "$(dirname "$0")/.."
stop() {
    echo "systemd_boot: $1" >&2
    exit 1
}
[ $# -ge 1 ] && [ "$(id -u)" = 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 1; }
engines=$(realpath "$1") made=${2:-$(mktemp -d)} root=$(mktemp -d)
[ -x /usr/bin/systemd-nspawn ] && [ -x /usr/sbin/debootstrap ] ||
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends systemd-container debootstrap >/dev/null
machine=shoudan-$$ spawned=""
finish() {
    if [ -n "$spawned" ] && kill -0 "$spawned" 2>/dev/null; then
        kill -RTMIN+4 "$(leader)" 2>/dev/null || true # poweroff
        wait "$spawned" 2>/dev/null || true
    fi
    rm -rf "$root" "$root.console"
    [ -n "${kept:-}" ] || rm -rf "$made" "$made.log"
}
kept=${2:-}
trap finish EXIT

if ! [ -e "$made/.made" ]; then
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3,python3-venv,curl,postgresql-client,ca-certificates \
        bookworm "$made" >"$made.log"
    cp /etc/ssl/certs/ca-certificates.crt "$made/etc/ssl/certs/"
    mkdir "$made/root/source"
    tar -c --exclude=./.git --exclude=./.venv --exclude='./.env*' --exclude=__pycache__ . | tar -x -C "$made/root/source"
    chroot "$made" bash -eu <<'INSTALL' >>"$made.log" 2>&1
cd /root/source
python3 -m venv /opt/build && python3 -m venv --without-pip /opt/shoudan
/opt/build/bin/pip install --require-hashes --no-deps -r requirements-build.lock
/opt/build/bin/pip --python /opt/shoudan/bin/python install --require-hashes --no-deps -r requirements-run.lock
PATH=/opt/build/bin:$PATH /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels ./protos .
/opt/build/bin/pip --python /opt/shoudan/bin/python install --no-deps /wheels/*.whl
INSTALL
    touch "$made/.made"
fi
cp -a "$made/." "$root"
rm -rf "$root/root/source/deploy" "$root/root/source/docs" "$root/root/source/docker"
cp -r deploy docs docker "$root/root/source/"
cat >"$root/root/inside.sh" <<'INSIDE'
set -euo pipefail
bin=$2/usr/lib/postgresql/17/bin
cd /root/source
grep -q '127.0.0.1 localhost' /etc/hosts || echo '127.0.0.1 localhost' >>/etc/hosts
engines() {
    systemd-run --quiet --unit=pg --uid=pg "$bin/postgres" -D /var/lib/pg/data -k /tmp -c listen_addresses=127.0.0.1 \
        -c ssl=on -c ssl_cert_file=/var/lib/pg/tls.crt -c ssl_key_file=/var/lib/pg/tls.key -c max_connections=200
    systemd-run --quiet --unit=nats /opt/shoudan/bin/nats-server -c /root/source/docker/nats.conf
}
ready() {
    for port in "$@"; do
        for _ in $(seq 120); do curl -sf "http://127.0.0.1:$port/readyz" >/dev/null && continue 2; sleep 1; done
        curl -s "http://127.0.0.1:$port/readyz" >&2
        return 1
    done
    echo "systemd_boot: ready: $*"
}
state() { systemctl show "$1" -p "$2" --value; }
one_of_each="59111 59121 59131 59141 59151 59161 59171"

if [ "$1" = again ]; then # after a reboot: whoever was enabled is back, and waits for the engines
    engines
    ready $one_of_each 59112
    systemctl stop shoudan.target
    [ -z "$(systemctl list-units --plain --no-legend --state=running 'shoudan-*@*')" ]
    for unit in order@1 order@2 pay@1 delivery@1 erp-ingest@1 identity@1 finance@1 gateway@1; do
        [ "$(state shoudan-$unit Result)" = success ] || { echo "$unit: $(state shoudan-$unit Result)" >&2; exit 1; }
    done
    echo "systemd_boot: stopped by the target"
    exit 0
fi

# The printed lines; the host's names are this machine's.
sed -n '/^## On hosts of your own, with systemd/,/^## /p' docs/operations.md | sed -n '/^```sh$/,/^```$/p' | sed '/^```/d' >printed.sh
bash -eu printed.sh
sed -i -E 's#dns:///[a-z-]+\.example\.com:#ipv4:127.0.0.1:#; s#^(SHOUDAN_NATS_URL)=.*#\1=tls://localhost:4222#; s#^(SHOUDAN_NATS_REPLICAS)=.*#\1=1#' \
    /etc/shoudan/shoudan.env
sh deploy/systemd/new-credentials.sh https://pay.example.com localhost >/dev/null
systemctl daemon-reload
setpriv --reuid shoudan-pki --regid shoudan-pki --clear-groups shoudan pki init --folder /var/lib/shoudan-pki \
    order pay delivery erp_ingest identity finance gateway cli nats=localhost postgres=localhost >/dev/null
systemctl enable --quiet --now shoudan-rotate.timer
for one in order pay delivery erp_ingest identity finance gateway cli; do
    cp -rL "/var/lib/shoudan-pki/$one/current" "/etc/shoudan/pki/$one/"
    chgrp -R "shoudan-${one//_/-}" "/etc/shoudan/pki/$one"
    chmod -R g+rX "/etc/shoudan/pki/$one"
done
install -m 644 /var/lib/shoudan-pki/authority/ca.crt /etc/shoudan/pki/postgres-ca.crt

useradd --system --create-home --home-dir /var/lib/pg pg
install -o pg -m 600 /var/lib/shoudan-pki/postgres/current/tls.key /var/lib/pg/tls.key
install -o pg /var/lib/shoudan-pki/postgres/current/tls.crt /var/lib/pg/tls.crt
mkdir -p /tls /data && cp -rL /var/lib/shoudan-pki/nats/current /tls/
PGPASSWORD=$(sed -n 's/^SHOUDAN_POSTGRES_PASSWORD=//p' /etc/shoudan/credentials/made.env)
export PGPASSWORD
echo "$PGPASSWORD" >/var/lib/pg/password && chown pg /var/lib/pg/password
setpriv --reuid pg --regid pg --clear-groups "$bin/initdb" -D /var/lib/pg/data -U postgres --pwfile=/var/lib/pg/password \
    --auth=scram-sha-256 -E UTF8 --locale=C >/dev/null
engines
for _ in $(seq 60); do psql -qh 127.0.0.1 -U postgres -c 'SELECT 1' >/dev/null 2>&1 && break; sleep 1; done
(set -a; . /etc/shoudan/credentials/made.env; PGHOST=127.0.0.1 POSTGRES_USER=postgres sh docker/postgres-init.sh)

systemctl start shoudan-migrate
systemctl enable --quiet --now shoudan-migrate.timer
echo "systemd_boot: migrated"
systemctl enable --quiet --now shoudan.target \
    shoudan-pay@1 shoudan-delivery@1 shoudan-order@1 shoudan-erp-ingest@1 shoudan-identity@1 shoudan-finance@1 shoudan-gateway@1
ready $one_of_each
systemctl restart shoudan-order@1 shoudan-pay@1
systemctl enable --quiet --now shoudan-order@2
ready 59111 59121 59112
systemctl start shoudan-rotate
kill -9 "$(state shoudan-delivery@1 MainPID)"
for _ in $(seq 30); do [ "$(state shoudan-delivery@1 NRestarts)" = 1 ] && break; sleep 1; done
[ "$(state shoudan-delivery@1 NRestarts)" = 1 ]
ready 59131
INSIDE

leader() { pgrep -P "$spawned" | head -1; }
inside() { nsenter -t "$(leader)" -m -p -u -i -n -r -w env PATH=/opt/shoudan/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
boot() {
    systemd-nspawn -D "$root" --boot --register=no --keep-unit --private-network --bind-ro="$engines" --machine="$machine" \
        systemd.unit=multi-user.target >"$root.console" 2>&1 &
    spawned=$!
    for _ in $(seq 120); do
        inside systemctl is-active --quiet multi-user.target 2>/dev/null && return
        kill -0 "$spawned" 2>/dev/null || { tail -5 "$root.console" >&2; stop "no systemd"; }
        sleep 1
    done
    stop "it does not boot"
}
boot
inside bash /root/inside.sh first "$engines" || stop "the first start failed"
kill -RTMIN+4 "$(leader)"
wait "$spawned" || true
boot
inside bash /root/inside.sh again "$engines" || stop "the reboot failed"
echo "systemd_boot: $(inside systemctl --version | head -1): all units ran"
