#!/bin/sh
# Print the secrets that the manifests name, with fresh passwords and keys:
#   sh deploy/kubernetes/new-secrets.sh https://pay.example.com KEPT_FILE | kubectl apply -n shoudan -f -
# KEPT_FILE holds what was made (docker/new-env.sh); run it again after an update, it adds what is new. Keep it where
# the databases are not. External secrets of the same names do as well.
set -eu
umask 077
[ $# -eq 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
made=$2
sh "$here/../../docker/new-env.sh" "$1" "$made"
value() { sed -n "s/^$1=//p" "$made"; }
begin() { printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: { name: %s }\ntype: %s\nstringData:\n' "$1" "$2"; }
password() {
    begin "$1" kubernetes.io/basic-auth
    printf '  username: "%s"\n  password: "%s"\n' "$2" "$(value "$3")"
}

for service in order pay delivery erp_ingest identity finance console; do
    big=$(echo "$service" | tr '[:lower:]' '[:upper:]')
    name=$(echo "$service" | tr _ -)
    password "$name-db-service" "shoudan_$service" "SHOUDAN_${big}_PASSWORD"
    password "$name-db-owner" "shoudan_${service}_owner" "SHOUDAN_${big}_OWNER_PASSWORD"
    password "$name-db-reader" shoudan_reader SHOUDAN_READER_PASSWORD
    [ "$service" != console ] || continue # it seals with what browsers keep
    begin "$name" Opaque
    for key in audit_log_keys personal_keys index_key notify_key component_secret ledger_keys ledger_statement_keys; do
        variable=SHOUDAN_${big}_$(echo "$key" | tr '[:lower:]' '[:upper:]')
        [ -z "$(value "$variable")" ] || printf '  %s: "%s"\n' "$key" "$(value "$variable")"
    done
done
for kind in partners suppliers payments; do
    begin "$kind" Opaque
    if [ -s "$made.$kind" ]; then
        sed -n 's/^\(SHOUDAN_[A-Z0-9_]*\)=\(.*\)$/  \1: "\2"/p' "$made.$kind"
    else
        printf '  {}\n'
    fi
done
