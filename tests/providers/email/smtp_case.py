"""SMTP in the contract suite: its statuses are reply codes."""

import itertools

from contract import Case, Refusal

from domain.outcome import AddressVerdict, Outcome
from providers.email.smtp_replies import Stage, parse_result

_numbers = itertools.count(1)


def _refusal(
    word: str, outcome: Outcome, code: str, verdict: AddressVerdict = AddressVerdict.KEEP
) -> Refusal:
    return Refusal(f"{word}+contract@customers.example", outcome, code, verdict)


CASE = Case(
    name="smtp",
    recipient=lambda: f"contract.{next(_numbers)}@customers.example",
    read_answer=lambda reply: parse_result(reply["code"], reply["text"], Stage[reply["stage"]]),
    refusals=(
        _refusal("unknown", Outcome.REJECTED_RECIPIENT, "smtp_550:5.1.1", AddressVerdict.SUPPRESS),
        _refusal("disabled", Outcome.REJECTED_RECIPIENT, "smtp_550:5.2.1", AddressVerdict.SUPPRESS),
        _refusal("full", Outcome.REJECTED_RECIPIENT, "smtp_552:5.2.2"),
        _refusal("relay", Outcome.REJECTED, "smtp_554:5.7.1"),
        _refusal("plain", Outcome.REJECTED, "smtp_550"),
        _refusal("greylisted", Outcome.UNAVAILABLE, "smtp_451:4.7.1"),
        _refusal("spam", Outcome.REJECTED, "smtp_554:5.7.1"),
        _refusal("large", Outcome.REJECTED, "smtp_552:5.3.4"),
        _refusal("busy", Outcome.UNAVAILABLE, "smtp_451:4.3.0"),
        Refusal(
            "two@customers.example,three@customers.example", Outcome.REJECTED_RECIPIENT, "address_malformed"
        ),
    ),
    by_status={
        421: Outcome.UNAVAILABLE,
        450: Outcome.UNAVAILABLE,
        451: Outcome.UNAVAILABLE,
        452: Outcome.UNAVAILABLE,
        # About the server, not the recipient: without an extended code it may be policy.
        550: Outcome.REJECTED,
        552: Outcome.REJECTED,
        554: Outcome.REJECTED,
    },
    throttle_wait=False,
    lookup=False,
    receipts=False,
    polls=False,
    carries_ref=True,
    pooled=False,
    typed=False,
)
