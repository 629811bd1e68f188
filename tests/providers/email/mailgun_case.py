"""Mailgun in the contract suite."""

import itertools
import json
from collections.abc import Sequence

from contract import Case, Refusal, over_http

from domain.outcome import Outcome
from providers.email import mailgun, mailgun_events

_numbers = itertools.count(1)


def _forged(body: bytes) -> Sequence[bytes]:
    """The signature covers its timestamp and token only, but a token is valid for one event."""
    genuine = json.loads(body)
    event, signature = genuine["event-data"], genuine["signature"]
    later = {**signature, "timestamp": str(int(signature["timestamp"]) + 1)}
    changed = (later, {**signature, "token": "0" * 50}, {**signature, "signature": "0" * 64}, {}, None, [])
    bodies = [{"signature": one, "event-data": event} for one in changed]
    bodies.append({"signature": signature, "event-data": {**event, "event": "complained"}})
    return [b"", *(json.dumps(one).encode() for one in [*bodies, {"event-data": event}])]


CASE = Case(
    name="mailgun",
    recipient=lambda: f"contract.{next(_numbers)}@customers.example",
    read_answer=over_http(mailgun.parse_result),
    read_report={"callback": mailgun_events.parse_receipt},
    refusals=(
        Refusal("invalid+contract@customers.example", Outcome.REJECTED_RECIPIENT, "to_invalid"),
        Refusal(
            "two@customers.example,three@customers.example", Outcome.REJECTED_RECIPIENT, "address_malformed"
        ),
    ),
    # Mailgun has answered 5xx, in its own form too, for email that it sent.
    by_status={
        400: Outcome.REJECTED,
        401: Outcome.REJECTED,
        404: Outcome.REJECTED,
        500: Outcome.AMBIGUOUS,
        502: Outcome.AMBIGUOUS,
        503: Outcome.AMBIGUOUS,
        504: Outcome.AMBIGUOUS,
    },
    certain=True,
    carries_ref=True,
    forge=_forged,
    key_setting="SIGNING_KEY",
    signature_age_s=1200,
    never=(Outcome.UNAVAILABLE,),
)
