#!/usr/bin/env bash
# Load what `shoudan db ddl --dialect mysql` prints into a MariaDB of its own and compare the columns.
# As root it installs Debian's packages where they are missing; the server runs as the user mysql.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/usr/bin
stop() {
    echo "mariadb: $1" >&2
    exit 1
}

if ! command -v mariadbd >/dev/null; then
    [ "$(id -u)" = 0 ] || stop "not installed: run once as root, or apt-get install mariadb-server"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mariadb-server
fi

folder=$(mktemp -d)
server=""
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT
user=$(id -un)
if [ "$user" = root ]; then
    user=mysql
    chown mysql "$folder"
fi

# No option file of this machine, no port: only the socket in the folder.
mariadb-install-db --no-defaults --user="$user" --datadir="$folder/data" \
    --auth-root-authentication-method=normal --skip-test-db >"$folder/install.log" 2>&1 ||
    { cat "$folder/install.log" >&2; stop "no data folder"; }
mariadbd --no-defaults --user="$user" --datadir="$folder/data" --socket="$folder/socket" \
    --pid-file="$folder/pid" --skip-networking >"$folder/server.log" 2>&1 &
server=$!
ask() { mariadb --no-defaults --user=root --socket="$folder/socket" --default-character-set=utf8mb4 "$@"; }
for _ in $(seq 150); do
    ask -e "SELECT 1" >/dev/null 2>&1 && break
    kill -0 "$server" 2>/dev/null || { cat "$folder/server.log" >&2; stop "the server ended"; }
    sleep 0.2
done

echo "mariadb: $(ask -N -e "SELECT VERSION()") as $(ps -o user= -p "$server")"
.venv/bin/shoudan db ddl --dialect mysql >"$folder/printed.sql"
ask <"$folder/printed.sql" || stop "the printed text does not load"
echo "mariadb: loads as printed"
ask -N -e "SELECT table_schema, table_name, column_name FROM information_schema.columns
    WHERE table_schema LIKE 'shoudan\\_%'" >"$folder/there"
.venv/bin/python - "$folder/there" <<'PY'
import sys
from pathlib import Path

from shoudan_cli.ddl import database_of, schemas
from shoudan_kit.db.foundation import copied_name

there = {tuple(line.split("\t")) for line in Path(sys.argv[1]).read_text("utf-8").splitlines()}
wanted = {
    (database_of(service), copied_name(table), column.name)
    for service, metadata in schemas().items()
    for table in metadata.tables.values()
    for column in table.columns
}
for sign, rows in (("missing", wanted - there), ("unknown", there - wanted)):
    for row in sorted(rows):
        print(f"mariadb: {sign}: {'.'.join(row)}", file=sys.stderr)
tables = len({row[:2] for row in there})
print(f"mariadb: {len({row[0] for row in there})} databases, {tables} tables, {len(there)} columns")
sys.exit(wanted != there)
PY
