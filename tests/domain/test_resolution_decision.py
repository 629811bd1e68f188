"""What an answer about an open attempt means, before the type decides what follows."""

import pytest

from domain.outcome import Match, Outcome, contradicts
from domain.resolution_decision import Finding, answered, own_match

CERTAIN, ONE, TWO = Match("c", certain=True), Match("1", certain=False), Match("2", certain=False)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_an_acceptance_or_a_refused_recipient_settles_the_first_call(outcome: Outcome) -> None:
    settling = {
        Outcome.ACCEPTED: Finding.ACCEPTED,
        Outcome.REJECTED_RECIPIENT: Finding.RECIPIENT_REJECTED,
    }
    assert answered(outcome) is settling.get(outcome, Finding.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("found", "claimed", "is_distinguishable", "finding", "match"),
    [
        ([], set[str](), True, Finding.NOT_FOUND, None),
        ([], set[str](), False, Finding.INDISTINGUISHABLE, None),
        ([ONE], set[str](), True, Finding.ACCEPTED, ONE),
        ([ONE], set[str](), False, Finding.INDISTINGUISHABLE, None),
        ([ONE], {"1"}, True, Finding.NOT_FOUND, None),
        ([ONE, TWO], {"1"}, True, Finding.ACCEPTED, TWO),
        ([ONE, TWO], set[str](), True, Finding.INDISTINGUISHABLE, None),
        ([ONE, CERTAIN], set[str](), True, Finding.ACCEPTED, CERTAIN),
        ([ONE, CERTAIN], {"c"}, False, Finding.ACCEPTED, CERTAIN),
    ],
)
def test_a_message_is_ours_if_it_is_certain_or_the_only_one_left(
    found: list[Match],
    claimed: set[str],
    is_distinguishable: bool,
    finding: Finding,
    match: Match | None,
) -> None:
    assert own_match(found, claimed, is_distinguishable=is_distinguishable) == (finding, match)


@pytest.mark.parametrize("resolved", [None, *Outcome])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_late_outcome_contradicts_if_a_message_may_be_out_uncounted(
    outcome: Outcome, resolved: Outcome | None
) -> None:
    accepted = outcome is Outcome.ACCEPTED and resolved not in (None, Outcome.ACCEPTED)
    in_doubt = (outcome, resolved) == (Outcome.AMBIGUOUS, Outcome.NOT_SENT)
    assert contradicts(outcome, resolved) is (accepted or in_doubt)
