"""The link in a mail by which its recipient unsubscribes from the type: RFC 8058's one click.

It names a delivery, and so its tenant, user, type and channel, without revealing them: the id is a time and
random bits. It is signed, so that no one can make a link for another user.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable
from typing import Final
from uuid import UUID

_MAC_BYTES: Final = 16
_TOKEN_BYTES: Final = 16 + _MAC_BYTES


def token_of(secret: str, delivery_id: UUID) -> str:
    """The token of a delivery: always the same under one secret, 43 characters of base64url."""
    signed = delivery_id.bytes + _mac(secret, delivery_id.bytes)
    return _written(signed)


def delivery_named_by(token: str, secrets: Iterable[str]) -> UUID | None:
    """The delivery of a token that was signed with one of the secrets; None for any other text."""
    try:
        signed = base64.b64decode(token.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    # The last letter has two unused bits: accept only one spelling.
    if len(signed) != _TOKEN_BYTES or _written(signed) != token:
        return None
    named, mac = signed[:16], signed[16:]
    # Try every secret, even after a match: the time taken must reveal nothing.
    fits = [hmac.compare_digest(_mac(secret, named), mac) for secret in secrets]
    return UUID(bytes=named) if any(fits) else None


def _written(signed: bytes) -> str:
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def _mac(secret: str, named: bytes) -> bytes:
    return hmac.digest(secret.encode(), b"herald/unsubscribe/v1\n" + named, "sha256")[:_MAC_BYTES]
