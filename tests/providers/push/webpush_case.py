"""Web Push in the contract suite."""

import itertools

from contract import Case, Refusal, over_http

from domain.outcome import AddressVerdict, Outcome
from domain.web_push import Subscription
from providers.push.webpush import parse_result
from simulators import webpush

_numbers = itertools.count(1)


def browser(id: str) -> str:
    """The address of a simulated browser."""
    given = webpush.subscription(id)
    return Subscription(given["endpoint"], **given["keys"]).text


CASE = Case(
    name="webpush",
    recipient=lambda: browser(f"browser-{next(_numbers)}"),
    read_answer=over_http(lambda answer: parse_result(answer, "sent-ref")),
    refusals=(
        Refusal(
            browser("unknown-1"), Outcome.REJECTED_RECIPIENT, "errno_102", AddressVerdict.DEACTIVATE_TOKEN
        ),
        Refusal(browser("gone-1"), Outcome.REJECTED_RECIPIENT, "errno_106", AddressVerdict.DEACTIVATE_TOKEN),
        Refusal(browser("otherkey-1"), Outcome.REJECTED_RECIPIENT, "subscribed_with_another_key"),
        Refusal(browser("large-1"), Outcome.REJECTED, "errno_104"),
        Refusal(browser("busy-1"), Outcome.THROTTLED, "errno_201"),
        Refusal(browser("unavailable-1"), Outcome.UNAVAILABLE, "errno_201"),
        Refusal(browser("internal-1"), Outcome.AMBIGUOUS, "errno_999"),
    ),
    by_status={
        400: Outcome.REJECTED,
        401: Outcome.REJECTED,
        403: Outcome.REJECTED,
        404: Outcome.REJECTED_RECIPIENT,
        406: Outcome.THROTTLED,
        410: Outcome.REJECTED_RECIPIENT,
        413: Outcome.REJECTED,
        500: Outcome.AMBIGUOUS,
        502: Outcome.AMBIGUOUS,
        503: Outcome.UNAVAILABLE,
        504: Outcome.AMBIGUOUS,
    },
    # An acceptance has no body that could be cut: it is in the status and headers.
    cut=Outcome.ACCEPTED,
    lookup=False,
    receipts=False,
    polls=False,
    carries_ref=True,
    push=True,
)
