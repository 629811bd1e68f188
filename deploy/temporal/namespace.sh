#!/bin/sh
# Makes sure that Herald's namespace exists. Safe to repeat; a failure is repeated by the restart policy.
set -eu

temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" > /dev/null 2>&1 \
    || temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
