#!/bin/sh
# PostgreSQL's archive_command: a finished file of its log, that file's name, and where it is kept. Kept whole or not at all; what is
# kept already is done when it is the same, and a mistake when it is not: another server writes here, too.
set -eu
kept=${3:-/wal}/$2.gz
if [ -e "$kept" ]; then
    gzip -dc "$kept" | cmp - "$1"
    exit
fi
gzip -1 <"$1" >"$kept.part"
sync "$kept.part"
mv "$kept.part" "$kept"
sync "${3:-/wal}"
