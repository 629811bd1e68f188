"""FCM in the contract suite. It reports nothing later and cannot be asked."""

import itertools

from contract import Case, Refusal

from domain.outcome import AddressVerdict, Outcome

_numbers = itertools.count(1)
_GONE = AddressVerdict.DEACTIVATE_TOKEN

CASE = Case(
    name="fcm",
    recipient=lambda: f"fcm-contract-token-{next(_numbers)}",
    refusals=(
        Refusal("unregistered-contract", Outcome.REJECTED_RECIPIENT, "unregistered", _GONE),
        Refusal("bad-contract", Outcome.REJECTED_RECIPIENT, "invalid_argument:message.token", _GONE),
        Refusal("thirdparty-contract", Outcome.REJECTED, "third_party_auth_error"),
    ),
    lookup=False,
    receipts=False,
    polls=False,
    carries_ref=True,
    push=True,
)
