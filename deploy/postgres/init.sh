#!/bin/sh
# The Postgres image runs this once, on an empty data directory. It creates separate roles and databases for
# Herald and Temporal, so that neither can read the other's data.
set -eu

psql --set ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname postgres \
    --set herald_password="$DATABASE_PASSWORD" --set temporal_password="$TEMPORAL_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE herald LOGIN PASSWORD :'herald_password';
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';
CREATE DATABASE herald OWNER herald;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE CONNECT ON DATABASE herald, temporal, temporal_visibility FROM PUBLIC;
SQL
