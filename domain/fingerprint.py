"""The fingerprint of a submission: equal for an honest retry, different for another body."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CANONICAL_VERSION = 1

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """An HMAC-SHA256 over the fields that the client supplied, with its key and version."""

    digest: bytes
    key_id: str
    version: int = CANONICAL_VERSION


def canonical(supplied: Mapping[str, Any]) -> bytes:
    """Version 1 of the canonical form: the supplied fields as compact JSON with sorted names.

    Defaults are not part of it, so that a new default never turns an honest retry into a conflict.
    """
    return _ENCODER.encode(supplied).encode()


def fingerprint(keys: Mapping[str, str], key_id: str, supplied: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of the supplied fields under one of the installation's keys.

    Raises KeyError if the key is no longer known.
    """
    return Fingerprint(hmac.digest(keys[key_id].encode(), canonical(supplied), "sha256"), key_id)


def matches(keys: Mapping[str, str], stored: Fingerprint, supplied: Mapping[str, Any]) -> bool:
    """Whether the stored fingerprint was made from the same supplied fields, under its own key.

    A stored fingerprint whose key or canonical form is gone matches everything: a retry must not fail because
    of our maintenance.
    """
    if stored.version != CANONICAL_VERSION or stored.key_id not in keys:
        return True
    return hmac.compare_digest(stored.digest, fingerprint(keys, stored.key_id, supplied).digest)


def upload_digest(keys: Mapping[str, str], sha256: bytes) -> bytes:
    """What is kept of an uploaded audience, made with the first key. `sha256`: of all its bytes."""
    return _upload_digest(next(iter(keys.values())), sha256)


def is_upload(keys: Mapping[str, str], stored: bytes, sha256: bytes) -> bool:
    """Whether the stored digest is of an upload with this SHA-256. Herald 0.1 stored the SHA-256 itself."""
    known = [sha256, *(_upload_digest(key, sha256) for key in keys.values())]
    return any(hmac.compare_digest(stored, digest) for digest in known)


def _upload_digest(key: str, sha256: bytes) -> bytes:
    return hmac.digest(key.encode(), b"upload:" + sha256, "sha256")
