#!/bin/sh
# PostgreSQL reads a private key only from a file of its own user: copy it, then start as the image does.
# After a renewal: docker compose restart postgres
set -eu
umask 077
cp /tls/current/tls.crt /tls/current/tls.key /tmp/
chmod 600 /tmp/tls.key
exec docker-entrypoint.sh "$@"
