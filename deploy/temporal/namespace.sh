#!/bin/sh
# Create Herald's namespace if it does not exist. Safe to repeat; the restart policy retries a failure.
set -eu

temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" > /dev/null 2>&1 \
    || temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
