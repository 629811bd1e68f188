"""Recorded answers and events of the mail vendors, each with its source, and what they mean."""

import importlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.http import Answer

CASES = {
    file.stem: json.loads(file.read_text())
    for file in sorted((Path(__file__).parent / "cases").glob("*.json"))
}
VENDORS = [
    importlib.import_module(f"providers.email.{name}") for name, cases in CASES.items() if "answers" in cases
]
RESULT_OF = {vendor.__name__.rpartition(".")[2]: vendor.result_of for vendor in VENDORS}
RECEIPT_OF = {vendor.__name__.rpartition(".")[2]: vendor.receipt_of for vendor in VENDORS}
READ_AT = datetime.fromtimestamp(1767225600, UTC)


def each(kind: str) -> list[Any]:
    return [
        pytest.param(vendor, case, id=f"{vendor}: {case['case']}")
        for vendor, cases in CASES.items()
        for case in cases.get(kind, ())
    ]


def told(value: object, names: dict[str, Any]) -> dict[str, Any]:
    seen = {name: getattr(value, name) for name in names}
    return {name: item.isoformat() if isinstance(item, datetime) else item for name, item in seen.items()}


@pytest.mark.parametrize(("vendor", "case"), each("answers"))
def test_an_answer_means(vendor: str, case: dict[str, Any]) -> None:
    body = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
    result = RESULT_OF[vendor](Answer(case["status"], case["headers"], body.encode(), READ_AT))
    assert told(result, case["expect"]) == case["expect"]
    assert result.http_status == case["status"]


@pytest.mark.parametrize(("vendor", "case"), each("events"))
def test_an_event_means(vendor: str, case: dict[str, Any]) -> None:
    receipt = RECEIPT_OF[vendor](case["event"])
    assert (receipt and told(receipt, case["expect"])) == case["expect"]


@pytest.mark.parametrize(("vendor", "case"), each("answers") + each("events"))
def test_a_case_names_its_source(vendor: str, case: dict[str, Any]) -> None:
    assert case["source"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
event_names = st.sampled_from(
    sorted(
        {"event", "type", "status", "reason", "timestamp", "id", "sg_event_id", "sg_message_id", "herald_ref"}
        | {"message", "user-variables", "tags", "severity", "delivery-status", "bounce-type", "headers"}
    )
)
known = st.sampled_from(["bounce", "dropped", "delivered", "failed", "permanent", "accepted"])


@pytest.mark.parametrize("vendor", sorted(RECEIPT_OF))
@given(event=st.dictionaries(event_names, json_values | known, max_size=8))
def test_no_event_can_break_the_translation(vendor: str, event: dict[str, Any]) -> None:
    receipt = RECEIPT_OF[vendor](event)
    if receipt:
        kept = [receipt.event_key, receipt.provider_message_id, receipt.attempt_ref, receipt.code]
        assert all(text is None or (text.isascii() and text.isprintable() and text) for text in kept)


def test_a_refusal_keeps_nothing_of_the_vendors_text() -> None:
    said = {"message": "victim@example.com refused", "errors": [{"message": "victim@example.com refused"}]}
    for result_of in RESULT_OF.values():
        for status in (400, 401, 403, 429, 500, 503):
            result = result_of(Answer(status, {}, json.dumps(said).encode(), READ_AT))
            assert "victim" not in repr(result)
