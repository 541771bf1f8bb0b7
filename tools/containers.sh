#!/usr/bin/env bash
# Run the container way for real, where no image registry is reached: docs/operations.md, "First partner and first
# supplier" and "In containers", as printed: the first signed order, two of each, an upgrade under load, a backup under
# load and the way back; then remove all of it. As root, on Debian:
#   tools/containers.sh [FOLDER]     # a folder given is kept, with its images: the next run is quicker
# Played: the base images (Debian's python3 for python, Debian's PostgreSQL for postgres), the supplier and the
# partner's inbox. Images are built before `docker compose up`, on this host's network: the engine of this
# script touches no packet filter, so its containers reach each other and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
stop() {
    echo "containers: $1" >&2
    exit 1
}
say() { printf 'containers: %3d s  %s\n' "$SECONDS" "$*"; }

[ "$(id -u)" = 0 ] || stop "needs root: an engine of its own"
if ! [ -x /usr/bin/docker-compose ] || ! [ -x /usr/sbin/dockerd ] || ! [ -x /usr/sbin/debootstrap ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends docker.io docker-compose debootstrap
fi

work=${1:-$(mktemp -d)}
mkdir -p "$work/bin" "$work/source"
export DOCKER_HOST=unix://$work/docker.sock COMPOSE_PROJECT_NAME=shoudan DOCKER_BUILDKIT=0 COMPOSE_HTTP_TIMEOUT=300
export PATH=$work/bin:/usr/sbin:/usr/bin:$PATH
engine=""
finish() {
    if [ -n "$engine" ] && kill -0 "$engine" 2>/dev/null; then
        (cd "$work/source" && docker rm -f world && docker compose down --volumes) >"$work/down.log" 2>&1 || true
        kill "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
    fi
    umount "$work"/exec/netns/* 2>/dev/null || true
    rm -rf "$work/source" "$work/exec"
    [ -n "${kept:-}" ] || rm -rf "$work"
}
trap finish EXIT
kept=${1:-}

# `docker compose` is a command of its own on Debian 12, too old to know the key `name`.
cat >"$work/bin/docker" <<'SHIM'
#!/bin/sh
[ "${1:-}" = compose ] || exec /usr/bin/docker "$@"
shift
case " $* " in *" --build "*) set -- up -d --no-build ;; esac
sed '/^name:/d' compose.yaml >compose.v1.yaml
exec /usr/bin/docker-compose -f compose.v1.yaml "$@"
SHIM
chmod 755 "$work/bin/docker"

dockerd --host "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" \
    --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs \
    --default-address-pool base=172.28.0.0/16,size=24 >"$work/dockerd.log" 2>&1 &
engine=$!
for _ in $(seq 150); do
    docker version >/dev/null 2>&1 && break
    kill -0 "$engine" 2>/dev/null || { tail -5 "$work/dockerd.log" >&2; stop "the engine ended"; }
    sleep 0.2
done
say "engine $(docker version --format '{{.Server.Version}}')"

if ! docker image inspect python:3.11-slim-bookworm >/dev/null 2>&1; then
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/base" >"$work/base.log"
    ln -sf /usr/bin/python3 "$work/base/usr/local/bin/python"
    cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
    rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/* "$work"/base/usr/share/{doc,locale,man}
    tar -C "$work/base" -c . | docker import - python:3.11-slim-bookworm >/dev/null
    rm -rf "$work/base"
fi
mkdir -p "$work/postgres"
cat >"$work/postgres/docker-entrypoint.sh" <<'ENTRY'
#!/bin/sh
# What the postgres image does at its first start, as far as compose.yaml uses it.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
    initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust \
        --auth-host="$POSTGRES_HOST_AUTH_METHOD" -E UTF8 >/dev/null
    rm /tmp/password
    echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses= -k /tmp" start >/dev/null
    for script in /docker-entrypoint-initdb.d/*.sh; do sh "$script"; done
    pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
fi
exec "$@" -c "listen_addresses=*" -k /tmp
ENTRY
# Debian's server, for it speaks TLS, which the one of the Python wheel does not; that of Debian 13 is 17, not 18.
if ! docker image inspect debian:trixie-slim >/dev/null 2>&1; then
    debootstrap --variant=minbase --include=ca-certificates trixie "$work/base" >"$work/base.log"
    cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
    rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/* "$work"/base/usr/share/{doc,locale,man}
    tar -C "$work/base" -c . | docker import - debian:trixie-slim >/dev/null
    rm -rf "$work/base"
fi
cat >"$work/postgres/Dockerfile" <<'FILE'
FROM debian:trixie-slim
COPY docker-entrypoint.sh /usr/local/bin/
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql \
    && usermod --uid 999 postgres && rm -rf /var/lib/postgresql/* && chown -R postgres /var/lib/postgresql \
    && chmod 755 /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/18/docker PGHOST=/tmp
ENTRYPOINT ["docker-entrypoint.sh"]
FILE
docker build --quiet --network host -t postgres:18-bookworm "$work/postgres" >/dev/null 2>"$work/build.log" ||
    { cat "$work/build.log" >&2; stop "no postgres image"; }
say "base images"

tar -c --exclude=./.git --exclude=./.venv --exclude='./.env*' --exclude=__pycache__ . | tar -x -C "$work/source"
cd "$work/source"
docker build --network host -t shoudan:0.1.0 . >"$work/build.log" 2>&1 ||
    { tail -20 "$work/build.log" >&2; stop "the image does not build"; }
say "image built: $(docker image inspect --format '{{.Size}}' shoudan:0.1.0 | awk '{print int($1 / 2 ^ 20)}') MiB"

# The printed blocks of a section, by language; names of the outside world are exchanged for those played here.
port=$((20000 + $$ % 1000 * 10)) # and the next seven
printed() { # FILE SECTION LANGUAGE NUMBER
    python3 - "$@" <<'PY' | sed -e "s|https://pay.example.com|http://127.0.0.1:$port|" \
        -e 's|https://supplier.example.com/|http://world:8690/supplier/|' \
        -e 's|https://partner.example.com/notify|http://world:8690/inbox/acme|' \
        -e 's|the key agreed with the supplier|played-supplier|' -e 's|^    secret_name: ACME|&\n    notify_networks: ["172.28.0.0/16:8690"]|' \
        -e 's|opening_yuan: 10000 |opening_yuan: 10000000 |' # enough for what is ordered beside an upgrade
import re
import sys

file, section, language, number = sys.argv[1:]
text = open(file, encoding="utf-8").read().split(f"\n## {section}\n")[1].split("\n## ")[0]
print(re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[int(number)])
PY
}
page=docs/operations.md section="First partner and first supplier, from nothing"
printed $page "$section" yaml 0 >first.yaml
{ sed "/^def _text/,\$d" docs/reference/http/signing/sign.py; printed $page "$section" python 0; } >first_order.py
export SHOUDAN_HTTP_PORTS=$port-$((port + 7)) SHOUDAN_DELIVERY_SUPPLIER_NETWORKS=172.28.0.0/16:8690
printed $page "$section" sh 0 >printed.sh
timeout 1200 bash -eu printed.sh || {
    docker ps -a --format '{{.Names}}  {{.Status}}' >&2
    for one in $(docker ps -aq); do docker logs --tail 5 "$one" 2>&1 | cut -c1-300 >&2; done
    stop "the printed commands failed"
}
say "configured"
for _ in $(seq 60); do
    [ "$(docker ps --format '{{.Status}}' | grep -c '(healthy)')" = 10 ] && break
    sleep 1
done
docker ps -a --format '{{.Names}}  {{.Status}}'
[ "$(docker ps --format '{{.Status}}' | grep -c '(healthy)')" = 10 ] || stop "not all are healthy"
say "all healthy"

docker run -d --name world --network shoudan_calls -e SHOUDAN_MOCK_SECRET=played-supplier shoudan:0.1.0 \
    mock upstream --host 0.0.0.0 --port 8690 >/dev/null
printed $page "$section" sh 1 >order.sh
for _ in $(seq 60); do
    bash -eu order.sh >ordered 2>&1 || {
        cat ordered >&2
        for one in gateway order pay; do docker logs --tail 20 "shoudan_${one}_1" 2>&1 | cut -c1-300 >&2; done
        stop "the first order was not taken"
    }
    grep -q '"status":0' ordered && break
    sleep 1
done
cat ordered
grep -q '"status":0' ordered || stop "the first order did not succeed"
say "the first signed order succeeded"
inbox="import urllib.request as r; print(r.urlopen('http://127.0.0.1:8690/inbox/acme?format=json').read().decode())"
for _ in $(seq 30); do
    docker exec world python -c "$inbox" >inbox
    grep -q 'first-1' inbox && break
    sleep 1
done
grep -q 'first-1' inbox || stop "the partner was not notified"
say "the partner was notified"

followed="In containers: more replicas, an upgrade"
# What follows in the page. A partner that places orders all the while, at whichever gateway takes it.
healthy() { # COUNT
    for _ in $(seq 120); do
        [ "$(docker ps --format '{{.Status}}' | grep -c '(healthy)')" = "$1" ] && return
        sleep 1
    done
    docker ps -a --format '{{.Names}}  {{.Status}}' >&2
    stop "not $1 are healthy"
}
printed $page "$followed" sh 0 >scale.sh
printed $page "$followed" sh 1 >upgrade.sh
bash -eu scale.sh >scaled 2>&1 || { tail -5 scaled >&2; stop "no more replicas"; }
healthy 16
sed -n '/service/,$p' scaled
say "two of each"

{ sed '/^order = {/,$d' first_order.py; cat <<PARTNER
import pathlib
from urllib.error import HTTPError

ORDER = {"line_id": "1", "carrier_no": "ZSH", "invoice_type": "1", "num": "1", "face": "200", "amount": "198",
         "rechage_account": "100011000000000", "notify_url": "http://world:8690/inbox/acme"}
PORTS = range($port, $port + 8)
placed = again = lost = 0
while not pathlib.Path("over").exists():
    for _ in range(20):
        answer = ""
        for one in PORTS:
            URL = f"http://127.0.0.1:{one}"
            try:
                answer = call("/order/request", request_no=f"during-{placed}", **ORDER)
                break
            except HTTPError as error:
                answer = f"{error.code} {error.read()[:200]!r}"
                again += 1
                print(placed, one, answer, flush=True)
            except OSError:
                pass  # no gateway is there
        if '"order_id"' in answer:
            break
        time.sleep(0.5)
    else:
        lost += 1
        print(placed, answer, flush=True)
    placed += 1
    time.sleep(0.2)
print(f"{placed} orders placed meanwhile, {again} answers were errors, {lost} orders were not taken")
PARTNER
} >partner.py
partner() { # FILE: places orders until the file `over` is there
    rm -f over
    (. ./.env.partners && export SHOUDAN_SECRET_ACME && URL=x exec python3 "$1") >partner.log 2>&1 &
    partner=$!
}
partner_ends() { # WHAT: it ran beside
    touch over
    wait $partner || true
    tail -3 partner.log
    grep -q ' 0 orders were not taken' partner.log || stop "an order was not taken"
    say "$1"
}
partner partner.py
printf 'FROM shoudan:0.1.0\nLABEL release=next\n' | docker build --quiet -t shoudan:0.1.1 - >/dev/null 2>"$work/build.log"
echo SHOUDAN_IMAGE=shoudan:0.1.1 >>.env
bash -eu upgrade.sh >upgraded 2>&1 || { tail -5 upgraded >&2; stop "the upgrade failed"; }
healthy 16
[ "$(docker ps --filter ancestor=shoudan:0.1.1 --format '{{.Names}}' | grep -cE 'order|pay|delivery|erp_ingest|identity|finance|console|gateway')" = 14 ] ||
    stop "not all are of the new release"
partner_ends "upgraded"

way_back="In containers: a backup, and the way back"
printed $page "$way_back" sh 0 >backup.sh
printed $page "$way_back" sh 1 >restore.sh
sed 's/during-/saved-/' partner.py >partner_saved.py
partner partner_saved.py
bash -eu backup.sh >backed 2>&1 || { tail -5 backed >&2; stop "no backup"; }
sleep 20 # orders that stand in the log alone
partner_ends "backup of $(du -sh backup | cut -f1)"
bash -eu restore.sh >restored 2>&1 || { tail -20 restored >&2; stop "the way back failed"; }
tail -12 restored
healthy 16
{ sed '/^ORDER = {/,/^PORTS/d; /^placed = /,$d' partner.py; cat <<ASKED
placed, missing = $(grep -o '^[0-9]* orders placed' partner.log | cut -d' ' -f1), []
for n in range(placed):
    for one in range($port, $port + 8):
        URL = f"http://127.0.0.1:{one}"
        try:
            answer = call("/order/query", request_no=f"saved-{n}")
            break
        except OSError:
            pass
    if '"status":0' not in answer:
        missing.append((n, answer))
print(f"{placed} orders asked for after the way back, {len(missing)} are not done: {missing[:3]}")
ASKED
} >asked.py
for _ in $(seq 20); do
    (. ./.env.partners && export SHOUDAN_SECRET_ACME && URL=x exec python3 asked.py) | tee asked
    grep -q ' 0 are not done' asked && break
    sleep 3
done
grep -q ' 0 are not done' asked || stop "an order is missing after the way back"
say "back from a backup"
