#!/bin/sh
# First start of PostgreSQL: one database per service, an owner that migrates and a role that
# serves and may not change tables, and one that reads all of them for reports. Nobody else may connect.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set password="$SHOUDAN_READER_PASSWORD" <<'SQL'
CREATE ROLE shoudan_reader LOGIN PASSWORD :'password';
ALTER ROLE shoudan_reader SET default_transaction_read_only = on;
ALTER ROLE shoudan_reader SET statement_timeout = '60s';
SQL

new_database() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set name="shoudan_$1" --set owner="shoudan_$1_owner" \
        --set password="$2" --set owner_password="$3" <<'SQL'
CREATE ROLE :"owner" LOGIN PASSWORD :'owner_password';
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"owner" ENCODING 'UTF8';
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"name" TO :"name", shoudan_reader;
SQL
}

new_database order "$SHOUDAN_ORDER_PASSWORD" "$SHOUDAN_ORDER_OWNER_PASSWORD"
new_database pay "$SHOUDAN_PAY_PASSWORD" "$SHOUDAN_PAY_OWNER_PASSWORD"
new_database delivery "$SHOUDAN_DELIVERY_PASSWORD" "$SHOUDAN_DELIVERY_OWNER_PASSWORD"
new_database erp_ingest "$SHOUDAN_ERP_INGEST_PASSWORD" "$SHOUDAN_ERP_INGEST_OWNER_PASSWORD"
new_database identity "$SHOUDAN_IDENTITY_PASSWORD" "$SHOUDAN_IDENTITY_OWNER_PASSWORD"
new_database finance "$SHOUDAN_FINANCE_PASSWORD" "$SHOUDAN_FINANCE_OWNER_PASSWORD"
new_database console "$SHOUDAN_CONSOLE_PASSWORD" "$SHOUDAN_CONSOLE_OWNER_PASSWORD"
