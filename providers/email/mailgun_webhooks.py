"""Mailgun's webhooks: who signed them, and each token once.

Source: the user manual on documentation.mailgun.com (webhooks, webhook retries). A signature covers only a
timestamp and a token, not the event. The age limit bounds how long an intercepted webhook can be replayed,
and `UsedTokens` accepts one event per token.
"""

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from providers.base import CallbackRefused, CallbackRequest, refuse_long

SIGNATURE_AGE_S_MAX: Final = 1200
"""Mailgun retries a refused webhook after 5, then 10 minutes, and does not say whether it signs it again."""
TOKENS_MAX: Final = 200_000
"""Maximum number of tokens remembered: 80 webhooks per second for as long as each token is valid."""


def read_callback(
    request: CallbackRequest, signing_keys: Sequence[bytes], tokens: "UsedTokens"
) -> dict[str, Any]:
    """The event of a webhook that Mailgun signed with one of the keys. Raises CallbackRefused."""
    refuse_long(request)
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise CallbackRefused("malformed", "the webhook's body is not JSON") from error
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    token = verify_signature(signing_keys, fields.get("signature"), request.now)
    event = fields.get("event-data")
    if not isinstance(event, dict):
        raise CallbackRefused("malformed", "the webhook has no event-data")
    tokens.use(token, event, request.now)
    return cast("dict[str, Any]", event)


class UsedTokens:
    """The tokens of recent webhooks, each with the event that it came with.

    The signature covers only timestamp and token: an intercepted one would sign any event. The same event
    again is Mailgun's retry of a webhook that it saw no answer to, and is accepted. Each API process has
    its own tokens, so an intercepted one can be used once in each of the others.
    """

    def __init__(self) -> None:
        self._used: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def use(self, token: str, event: object, now: datetime) -> None:
        """Use the token for this event. Raises CallbackRefused when it was used for another one."""
        at_s = now.timestamp()
        while self._used:
            oldest, (_, used_s) = next(iter(self._used.items()))
            if at_s - used_s <= 2 * SIGNATURE_AGE_S_MAX and len(self._used) < TOKENS_MAX:
                break
            del self._used[oldest]
        digest = hashlib.sha256(json.dumps(event, sort_keys=True).encode()).digest()
        if self._used.setdefault(token, (digest, at_s))[0] != digest:
            raise CallbackRefused("token_used", "the webhook's token was used for another event")


def verify_signature(signing_keys: Sequence[bytes], signature: object, now: datetime) -> str:
    """The token of a webhook that Mailgun signed recently with one of the keys. Raises CallbackRefused."""
    parts: Mapping[str, Any] = cast("dict[str, Any]", signature) if isinstance(signature, dict) else {}
    timestamp, token, given = (parts.get(name) for name in ("timestamp", "token", "signature"))
    if isinstance(timestamp, int):
        timestamp = str(timestamp)
    if not (isinstance(timestamp, str) and isinstance(token, str) and isinstance(given, str)):
        raise CallbackRefused("signature_missing", "the webhook is not signed")
    signed = (timestamp + token).encode("utf-8", "replace")
    expected = [hmac.new(key, signed, "sha256").hexdigest().encode() for key in signing_keys]
    if not any(hmac.compare_digest(one, given.encode("utf-8", "replace")) for one in expected):
        raise CallbackRefused("signature_wrong", "the webhook's signature does not match")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise CallbackRefused("malformed", "the webhook's timestamp is not a number")
    if abs(now.timestamp() - int(timestamp)) > SIGNATURE_AGE_S_MAX:
        raise CallbackRefused("too_old", "the webhook was signed too long ago, or in the future")
    return token
