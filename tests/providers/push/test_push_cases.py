"""Recorded answers of the push vendors, each with its source, and what they mean."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from providers.http import Answer
from providers.push import apns, fcm

CASES = {
    name: json.loads((Path(__file__).parent / "cases" / f"{name}.json").read_text())
    for name in ("fcm", "apns")
}
RESULT_OF = {"fcm": fcm.read, "apns": lambda answer: apns.read(answer, "sent-id")}
READ_AT = datetime.fromtimestamp(1767225600, UTC)


@pytest.mark.parametrize(
    ("vendor", "case"),
    [
        pytest.param(vendor, case, id=f"{vendor}: {case['case']}")
        for vendor, cases in CASES.items()
        for case in cases["answers"]
    ],
)
def test_an_answer_means(vendor: str, case: dict[str, Any]) -> None:
    body = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
    result = RESULT_OF[vendor](Answer(case["status"], case["headers"], body.encode(), READ_AT))
    assert {name: getattr(result, name) for name in case["expect"]} == case["expect"]
    assert result.http_status == case["status"]
    assert case["source"]
