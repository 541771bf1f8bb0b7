#!/bin/sh
# Make the credentials that the units load, on the host that keeps them:
#   sh deploy/systemd/new-credentials.sh https://pay.example.com db-1.example.com,db-2.example.com [FOLDER]
# FOLDER is /etc/shoudan. Passwords and keys come from docker/new-env.sh and stay: run it again after an update, it adds
# what is new. Copy credentials/<service> to the hosts that run the service, and to no other.
set -eu
umask 077
[ $# -ge 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 1; }
url=$1 hosts=$2 folder=${3:-/etc/shoudan}
here=$(cd "$(dirname "$0")" && pwd)
made=$folder/credentials/made.env
mkdir -p "$folder/credentials"
sh "$here/../../docker/new-env.sh" "$url" "$made"
value() { sed -n "s/^$1=//p" "$made"; }
put() { printf '%s\n' "$2" >"$folder/credentials/$1"; }

for service in order pay delivery erp_ingest identity finance console; do
    big=$(echo "$service" | tr '[:lower:]' '[:upper:]')
    mkdir -p "$folder/credentials/$service"
    # pki/postgres-ca.crt: the authority of the databases, which every service may read.
    verified="sslmode=verify-full&sslrootcert=$folder/pki/postgres-ca.crt"
    put "$service/database_url" \
        "postgresql://shoudan_$service:$(value "SHOUDAN_${big}_PASSWORD")@$hosts/shoudan_$service?$verified"
    put "$service/owner_database_url" \
        "postgresql://shoudan_${service}_owner:$(value "SHOUDAN_${big}_OWNER_PASSWORD")@$hosts/shoudan_$service?$verified"
    for key in audit_log_keys personal_keys index_key notify_key component_secret ledger_keys ledger_statement_keys; do
        name=SHOUDAN_${big}_$(echo "$key" | tr '[:lower:]' '[:upper:]')
        [ -z "$(value "$name")" ] || put "$service/$key" "$(value "$name")"
    done
done
# Named secrets: files of SHOUDAN_SECRET_<NAME>=… lines, which you write.
for kind in partners suppliers payments; do
    mv -n "$made.$kind" "$folder/$kind.env"
    rm -f "$made.$kind"
done
echo "SHOUDAN_SYSTEM_ID=$(value SHOUDAN_SYSTEM_ID)"
