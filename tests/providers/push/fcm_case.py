"""FCM in the contract suite."""

import itertools

from contract import Case, Refusal, over_http

from domain.outcome import AddressVerdict, Outcome
from providers.push import fcm

_numbers = itertools.count(1)

CASE = Case(
    name="fcm",
    recipient=lambda: f"fcm-token-{next(_numbers)}",
    read_answer=over_http(fcm.parse_result),
    refusals=(
        Refusal(
            "unregistered-1", Outcome.REJECTED_RECIPIENT, "unregistered", AddressVerdict.DEACTIVATE_TOKEN
        ),
        Refusal(
            "bad-1",
            Outcome.REJECTED_RECIPIENT,
            "invalid_argument:message.token",
            AddressVerdict.DEACTIVATE_TOKEN,
        ),
        Refusal("mismatch-1", Outcome.REJECTED, "sender_id_mismatch"),
        Refusal("thirdparty-1", Outcome.REJECTED, "third_party_auth_error"),
        Refusal("quota-1", Outcome.THROTTLED, "quota_exceeded"),
        Refusal("unavailable-1", Outcome.UNAVAILABLE, "unavailable"),
        Refusal("internal-1", Outcome.AMBIGUOUS, "internal"),
    ),
    lookup=False,
    receipts=False,
    polls=False,
    carries_ref=True,
    push=True,
)
