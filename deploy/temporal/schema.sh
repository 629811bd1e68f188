#!/bin/sh
# Brings Temporal's two databases to the schema of this image. Safe to repeat: a schema that is newer than
# 0.0 is left to the update. SQL_PASSWORD is read by the tool itself.
set -eu

for database in temporal:temporal temporal_visibility:visibility; do
    set -- --plugin postgres12 --endpoint "$POSTGRES_SEEDS" --port 5432 --user "$POSTGRES_USER" \
        --database "${database%%:*}"
    temporal-sql-tool "$@" setup-schema --version 0.0
    temporal-sql-tool "$@" update-schema \
        --schema-dir "/etc/temporal/schema/postgresql/v12/${database##*:}/versioned"
done
