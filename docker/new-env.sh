#!/bin/sh
# Make what compose.yaml reads, readable by its owner alone: sh docker/new-env.sh [PUBLIC URL] [FILE]
#   .env            fresh passwords and keys, and the public URL: where partners and suppliers reach the gateway
#   .env.partners   SHOUDAN_SECRET_<NAME>=… of down channels; the gateway and the order service read it
#   .env.suppliers  SHOUDAN_SECRET_<NAME>=… of suppliers; delivery reads it
#   .env.payments   SHOUDAN_COMPONENT_…=… and SHOUDAN_SECRET_<NAME>=… of components and platforms; pay reads it
# What the files have stays: run it again after an update, it adds what is new.
set -eu
umask 077
url=
case ${1:-} in http://* | https://*) url=${1%/} && shift ;; esac
file=${1:-.env}
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }
add() { grep -q "^$1=" "$file" || printf '%s=%s\n' "$1" "$2" >>"$file"; }

for one in "$file" "$file.partners" "$file.suppliers" "$file.payments"; do
    touch "$one"
    chmod 600 "$one"
done
if [ -z "$url" ] && ! grep -q '^SHOUDAN_PUBLIC_URL=' "$file"; then
    echo "say where partners and suppliers reach the gateway: sh docker/new-env.sh https://pay.example.com" >&2
    exit 1
fi
add SHOUDAN_PUBLIC_URL "$url"
for name in POSTGRES READER \
    ORDER ORDER_OWNER PAY PAY_OWNER DELIVERY DELIVERY_OWNER ERP_INGEST ERP_INGEST_OWNER \
    IDENTITY IDENTITY_OWNER FINANCE FINANCE_OWNER CONSOLE CONSOLE_OWNER; do
    add "SHOUDAN_${name}_PASSWORD" "s$(random)"
done
# Stands in every operator's token: a token of one system is refused at another.
add SHOUDAN_SYSTEM_ID "s$(random)"
add SHOUDAN_DELIVERY_NOTIFY_KEY "s$(random)"
add SHOUDAN_PAY_COMPONENT_SECRET "s$(random)"
for name in ORDER PAY DELIVERY ERP_INGEST IDENTITY; do
    add "SHOUDAN_${name}_PERSONAL_KEYS" "k1:$(key)"
    add "SHOUDAN_${name}_INDEX_KEY" "$(key)"
done
add SHOUDAN_FINANCE_INDEX_KEY "$(key)" # of the digests that the books compare accounts by
# Seals the audit log of each service: keep it where the databases are not.
for name in ORDER PAY DELIVERY ERP_INGEST IDENTITY FINANCE; do
    add "SHOUDAN_${name}_AUDIT_LOG_KEYS" "k1:$(key)"
done
# Seals the ledger: keep it where the database is not.
add SHOUDAN_PAY_LEDGER_KEYS "s$(random)"
# Signs the daily statements of the ledger.
add SHOUDAN_PAY_LEDGER_STATEMENT_KEYS "s$(random)"
