"""The meaning of every vendor's recorded answers and reports, each with its source.

A case states the full expected result: for an omitted address verdict, effect on the provider's health or
retry time it expects the value in `USUAL`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from contract import CASES, RECORDED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tables import rows_of

from domain.outcome import Outcome, Receipt, SendResult
from providers import registry

CODE = set("abcdefghijklmnopqrstuvwxyz0123456789_.:-")
USUAL = {
    "answers": {"address_verdict": "keep", "about_provider": True, "retry_after_s": None},
    "events": {"address_verdict": "keep", "permanent": False},
}


def recorded(kind: str) -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}: {case['case']}")
        for name in CASES
        for case in RECORDED[name].get(kind, ())
    ]


def read(name: str, kind: str, case: Mapping[str, Any]) -> SendResult | Receipt | None:
    if kind == "answers":
        return CASES[name].read_answer(case)
    return CASES[name].read_report[case.get("by", "callback")](case["event"])


def deviation(name: str, kind: str, case: Mapping[str, Any]) -> dict[str, object]:
    """The fields that differ from the expected ones."""
    result, expect = read(name, kind, case), case["expect"]
    if result is None or expect is None:
        return {} if result is expect else {"result": result}
    usual = dict(USUAL[kind])
    if expect.get("outcome") == Outcome.REJECTED_RECIPIENT:
        usual["about_provider"] = False
    expected = usual | expect
    actual = {field: _plain(getattr(result, field)) for field in expected}
    return {field: actual[field] for field, value in expected.items() if actual[field] != value}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


@pytest.mark.parametrize(("name", "case"), recorded("answers"))
def test_the_meaning_of_an_answer(name: str, case: dict[str, Any]) -> None:
    assert deviation(name, "answers", case) == {}
    result = CASES[name].read_answer(case)
    assert result.http_status == case.get("status")
    assert result.code is None or set(result.code) <= CODE


@pytest.mark.parametrize(("name", "case"), recorded("events"))
def test_the_meaning_of_a_report(name: str, case: dict[str, Any]) -> None:
    assert deviation(name, "events", case) == {}


@pytest.mark.parametrize(("name", "case"), recorded("answers") + recorded("events"))
def test_a_case_names_its_source(name: str, case: dict[str, Any]) -> None:
    assert case["source"]


@pytest.mark.parametrize("name", CASES)
def test_every_row_of_every_table_has_a_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a row is changed, a case must fail: a row without a case could be wrong unnoticed."""
    cases = [(kind, case) for kind in USUAL for case in RECORDED[name].get(kind, ())]
    rows = list(rows_of(registry.KNOWN[name], name))
    assert rows
    untold: list[str] = []
    for row in rows:
        monkeypatch.setattr(row.module, row.table, row.changed)
        if not any(deviation(name, kind, case) for kind, case in cases):
            untold.append(str(row))
        monkeypatch.undo()
    assert untold == []


@pytest.mark.parametrize("name", CASES)
def test_a_429_is_never_ambiguous(name: str) -> None:
    """Whatever its body: every recorded error again with status 429."""
    for case in RECORDED[name]["answers"]:
        if case.get("status", 200) >= 400:
            result = CASES[name].read_answer({**case, "status": 429})
            assert result.outcome is not Outcome.AMBIGUOUS, case["case"]


@pytest.mark.parametrize("name", CASES)
def test_a_refused_recipient_never_affects_the_providers_health(name: str) -> None:
    for case in RECORDED[name]["answers"]:
        result = CASES[name].read_answer(case)
        assert not (result.outcome is Outcome.REJECTED_RECIPIENT and result.about_provider), case["case"]


@pytest.mark.parametrize(("name", "case"), recorded("answers"))
def test_the_vendors_text_is_not_kept(name: str, case: dict[str, Any]) -> None:
    result = replace(CASES[name].read_answer(case), provider_message_id=None)
    assert not any(private in repr(result) for private in ("example.com", "+234", "+254", "handset"))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("x@example.com"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def spoilt(draw: st.DrawFn, kind: str) -> tuple[str, dict[str, Any]]:
    """A recorded case with junk in one place of the vendor's text."""
    part = {"answers": "body", "events": "event"}[kind]
    known = [(name, case) for name in CASES for case in RECORDED[name].get(kind, ()) if part in case]
    name, case = draw(st.sampled_from(known))
    # A report is always a JSON object: the adapters pass no other value.
    return name, {**case, part: _with_junk(draw, json.loads(json.dumps(case[part])), whole=kind == "answers")}


def _with_junk(draw: st.DrawFn, value: Any, *, whole: bool = True) -> Any:
    places: Any = ()
    if isinstance(value, dict):
        places = sorted(value)
    elif isinstance(value, list):
        places = range(len(value))
    if not places or (whole and draw(st.integers(0, 2)) == 0):
        return draw(JUNK)
    place = draw(st.sampled_from(places))
    value[place] = _with_junk(draw, value[place])
    return value


# No deadline: the machine may be busy.
unhurried = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(spoilt("answers"))
def test_no_answer_breaks_the_parser(one: tuple[str, dict[str, Any]]) -> None:
    result = CASES[one[0]].read_answer(one[1])
    assert result.code is None or set(result.code) <= CODE
    assert "x@example.com" not in repr(replace(result, provider_message_id=None))


@unhurried
@given(spoilt("events"))
def test_no_report_breaks_the_parser(one: tuple[str, dict[str, Any]]) -> None:
    receipt = read(one[0], "events", one[1])
    if isinstance(receipt, Receipt):
        kept = [receipt.event_key, receipt.provider_message_id, receipt.attempt_ref, receipt.code]
        assert all(text is None or (text.isascii() and text.isprintable() and text) for text in kept)
