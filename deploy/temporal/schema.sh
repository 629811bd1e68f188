#!/bin/sh
# Migrate Temporal's two databases to this image's schema. Safe to repeat: setup-schema leaves a schema above
# version 0.0 to update-schema. The tool reads SQL_PASSWORD itself.
set -eu

for database in temporal:temporal temporal_visibility:visibility; do
    set -- --plugin postgres12 --endpoint "$POSTGRES_SEEDS" --port 5432 --user "$POSTGRES_USER" \
        --database "${database%%:*}"
    temporal-sql-tool "$@" setup-schema --version 0.0
    temporal-sql-tool "$@" update-schema \
        --schema-dir "/etc/temporal/schema/postgresql/v12/${database##*:}/versioned"
done
