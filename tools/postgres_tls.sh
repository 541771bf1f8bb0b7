#!/usr/bin/env bash
# TLS to a PostgreSQL that has OpenSSL, which the packaged one has not: Debian's, with a certificate of `shoudan pki`.
# A right URL connects by TLS 1.3; another authority, another host name and plaintext are refused.
# As root it installs Debian's package where it is missing; the server runs as the user postgres.
set -euo pipefail
cd "$(dirname "$0")/.."
stop() {
    echo "postgres_tls: $1" >&2
    exit 1
}

newest() { find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1; }
if [ -z "$(newest)" ]; then
    [ "$(id -u)" = 0 ] || stop "not installed: run once as root, or apt-get install postgresql"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql
fi
bin=$(newest)
folder=$(mktemp -d)
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
fi
finish() {
    as "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap finish EXIT

python=${PYTHON:-.venv/bin/python}
for authority in pki other; do
    "$python" -m shoudan_cli pki init --folder "$folder/$authority" postgres=localhost >/dev/null
done
port=$("$python" -c 'from shoudan_kit.process.ports import free_port; print(free_port())')
cd "$folder"
as "$bin/initdb" -D "$folder/data" -A trust -U shoudan >/dev/null
cp "$folder"/pki/postgres/current/tls.* "$folder/data/"
chmod 600 "$folder/data/tls.key"
[ "$(id -u)" != 0 ] || chown postgres "$folder"/data/tls.*
echo 'hostssl all all 127.0.0.1/32 trust' >"$folder/data/pg_hba.conf"
settings="-c listen_addresses=127.0.0.1 -c ssl=on -c ssl_min_protocol_version=TLSv1.3"
settings="$settings -c ssl_cert_file=tls.crt -c ssl_key_file=tls.key"
as "$bin/pg_ctl" -D "$folder/data" -w -l "$folder/data/log" -o "-p $port -k $folder/data $settings" start >/dev/null ||
    stop "the server did not start: $(cat "$folder/data/log")"
cd - >/dev/null

"$python" - "$folder" "$port" <<'CHECK'
import asyncio
import sys

from sqlalchemy import text

from shoudan_kit.db.pool import Database

folder, port = sys.argv[1:]


async def version(host: str, query: str) -> str:
    """The TLS version of a connection, or why there is none."""
    database = Database(f"postgresql://shoudan@{host}:{port}/postgres?{query}")
    try:
        async with database.connect() as db:
            found = await db.execute(text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
            return found.scalar_one()
    except Exception as error:
        return f"refused: {type(error).__name__}"
    finally:
        await database.dispose()


async def check() -> None:
    ours, other = (f"sslrootcert={folder}/{one}/postgres/current/ca.crt" for one in ("pki", "other"))
    wanted = [
        ("localhost", f"sslmode=verify-full&{ours}", "TLSv1.3"),
        ("127.0.0.1", f"sslmode=verify-ca&{ours}", "TLSv1.3"),
        ("127.0.0.1", f"sslmode=verify-full&{ours}", "refused"),
        ("localhost", f"sslmode=verify-full&{other}", "refused"),
        ("localhost", "sslmode=disable", "refused"),
    ]
    for host, query, expected in wanted:
        found = await version(host, query)
        print(f"postgres_tls: {host} {query.partition('&')[0]}: {found}")
        assert found.startswith(expected), f"{expected} was expected"


asyncio.run(check())
CHECK
