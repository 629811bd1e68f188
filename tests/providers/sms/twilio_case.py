"""Twilio in the contract suite."""

import itertools

from contract import Case, Refusal, over_http

from domain.outcome import AddressVerdict, Outcome
from providers.sms import twilio

_numbers = itertools.count(2348031000000)

CASE = Case(
    name="twilio",
    recipient=lambda: f"+{next(_numbers)}",
    read_answer=over_http(twilio.parse_result),
    read_report={"callback": twilio.parse_receipt},
    refusals=(
        Refusal("+15005550001", Outcome.REJECTED_RECIPIENT, "21211"),
        Refusal("+15005550002", Outcome.REJECTED, "21612"),
        Refusal("+15005550003", Outcome.REJECTED, "21408"),
        Refusal("+15005550004", Outcome.REJECTED_RECIPIENT, "21610", AddressVerdict.STOPPED),
        Refusal("+15005550009", Outcome.REJECTED_RECIPIENT, "21614"),
    ),
    carries_ref=True,
    signature_headers=("x-twilio-signature",),
    key_setting="AUTH_TOKEN",
    replies=True,
)
