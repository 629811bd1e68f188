"""APNs in the contract suite. It reports nothing later and cannot be asked."""

import itertools

from contract import Case, Refusal

from domain.outcome import AddressVerdict, Outcome

_numbers = itertools.count(1)
_GONE = AddressVerdict.DEACTIVATE_TOKEN

CASE = Case(
    name="apns",
    recipient=lambda: f"{next(_numbers):064x}",
    refusals=(
        Refusal("unregistered-contract", Outcome.REJECTED_RECIPIENT, "unregistered", _GONE),
        Refusal("bad-contract", Outcome.REJECTED_RECIPIENT, "bad_device_token", _GONE),
    ),
    # Apple's own reasons decide, and it has no 401, 502 or 504.
    by_status={
        403: Outcome.REJECTED,
        413: Outcome.REJECTED,
        500: Outcome.AMBIGUOUS,
        503: Outcome.UNAVAILABLE,
    },
    lookup=False,
    receipts=False,
    polls=False,
    carries_ref=True,
    push=True,
)
