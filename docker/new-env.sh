#!/bin/sh
# Print a .env for compose.yaml with fresh passwords: sh docker/new-env.sh > .env
set -eu
umask 077
password() { printf 's%s' "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"; }
for name in POSTGRES NATS READER \
    ORDER ORDER_OWNER PAY PAY_OWNER DELIVERY DELIVERY_OWNER ERP_INGEST ERP_INGEST_OWNER; do
    printf 'SHOUDAN_%s_PASSWORD=%s\n' "$name" "$(password)"
done
printf 'SHOUDAN_DELIVERY_NOTIFY_KEY=%s\n' "$(password)"
