"""Termii in the contract suite."""

import itertools

from contract import Case, Refusal, over_http

from domain.outcome import Outcome
from providers.sms import termii

_numbers = itertools.count(2348032000000)

CASE = Case(
    name="termii",
    recipient=lambda: f"+{next(_numbers)}",
    read_answer=over_http(termii.parse_result),
    read_report={"callback": termii.parse_receipt},
    refusals=(
        Refusal("+2340000000001", Outcome.REJECTED_RECIPIENT, "invalid_phone_number"),
        Refusal("+2340000000002", Outcome.REJECTED, "country_inactive"),
        Refusal("+2340000000003", Outcome.REJECTED, "route_not_set_up"),
    ),
    signature_headers=("x-termii-signature",),
    key_setting="WEBHOOK_SECRET",
    replies=True,
)
