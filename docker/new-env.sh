#!/bin/sh
# Make the .env of compose.yaml with fresh secrets, readable by its owner alone: sh docker/new-env.sh [FILE]
# What the file has stays: run it again after an update, it adds what is new.
set -eu
umask 077
file=${1:-.env}
touch "$file"
chmod 600 "$file"
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }
add() { grep -q "^$1=" "$file" || printf '%s=%s\n' "$1" "$2" >>"$file"; }

for name in POSTGRES NATS READER \
    ORDER ORDER_OWNER PAY PAY_OWNER DELIVERY DELIVERY_OWNER ERP_INGEST ERP_INGEST_OWNER; do
    add "SHOUDAN_${name}_PASSWORD" "s$(random)"
done
add SHOUDAN_DELIVERY_NOTIFY_KEY "s$(random)"
add SHOUDAN_PAY_COMPONENT_SECRET "s$(random)"
for name in ORDER DELIVERY ERP_INGEST; do
    add "SHOUDAN_${name}_PERSONAL_KEYS" "k1:$(key)"
    add "SHOUDAN_${name}_INDEX_KEY" "$(key)"
done
# Seals the ledger: keep it where the database is not.
add SHOUDAN_PAY_LEDGER_KEYS "s$(random)"
