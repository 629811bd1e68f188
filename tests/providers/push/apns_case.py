"""APNs in the contract suite."""

import itertools

from contract import Case, Refusal, over_http

from domain.outcome import AddressVerdict, Outcome
from providers.push import apns

_numbers = itertools.count(1)

CASE = Case(
    name="apns",
    recipient=lambda: f"{next(_numbers):064x}",
    read_answer=over_http(lambda answer: apns.parse_result(answer, "sent-id")),
    refusals=(
        Refusal(
            "unregistered-1", Outcome.REJECTED_RECIPIENT, "unregistered", AddressVerdict.DEACTIVATE_TOKEN
        ),
        Refusal("expired-1", Outcome.REJECTED_RECIPIENT, "expired_token", AddressVerdict.DEACTIVATE_TOKEN),
        Refusal("bad-1", Outcome.REJECTED_RECIPIENT, "bad_device_token", AddressVerdict.DEACTIVATE_TOKEN),
        Refusal("othertopic-1", Outcome.REJECTED_RECIPIENT, "device_token_not_for_topic"),
        Refusal("toomany-1", Outcome.THROTTLED, "too_many_requests"),
        Refusal("unavailable-1", Outcome.UNAVAILABLE, "service_unavailable"),
        Refusal("internal-1", Outcome.AMBIGUOUS, "internal_server_error"),
    ),
    by_status={
        400: Outcome.REJECTED,
        403: Outcome.REJECTED,
        405: Outcome.REJECTED,
        410: Outcome.REJECTED_RECIPIENT,
        413: Outcome.REJECTED,
        500: Outcome.AMBIGUOUS,
        502: Outcome.AMBIGUOUS,
        503: Outcome.UNAVAILABLE,
        504: Outcome.AMBIGUOUS,
    },
    lookup=False,
    receipts=False,
    polls=False,
    carries_ref=True,
    push=True,
    pooled=False,
    cut=Outcome.ACCEPTED,  # its acceptance has no body
)
