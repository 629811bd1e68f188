"""Resend in the contract suite."""

import itertools

from contract import Case, Refusal, over_http

from domain.outcome import Outcome
from providers.email import resend

_numbers = itertools.count(1)

CASE = Case(
    name="resend",
    recipient=lambda: f"contract.{next(_numbers)}@customers.example",
    read_answer=over_http(resend.parse_result),
    read_report={"callback": resend.parse_receipt, "poll": resend.parse_last_receipt},
    refusals=(
        Refusal("invalid+contract@customers.example", Outcome.REJECTED_RECIPIENT, "to_invalid"),
        Refusal(
            "two@customers.example,three@customers.example", Outcome.REJECTED_RECIPIENT, "address_malformed"
        ),
    ),
    by_status={
        400: Outcome.REJECTED,
        401: Outcome.REJECTED,
        403: Outcome.REJECTED,
        # The key is in use: an earlier call of this attempt arrived.
        409: Outcome.AMBIGUOUS,
        422: Outcome.REJECTED,
        451: Outcome.REJECTED,
        500: Outcome.AMBIGUOUS,
        502: Outcome.AMBIGUOUS,
        503: Outcome.UNAVAILABLE,
        504: Outcome.AMBIGUOUS,
    },
    lookup=False,
    carries_ref=True,
    signature_headers=("svix-id", "svix-timestamp", "svix-signature"),
    key_setting="WEBHOOK_SECRET",
    other_key="whsec_YW5vdGhlciBzZWNyZXQ=",
    signature_age_s=300,
)
