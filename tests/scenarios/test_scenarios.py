"""Every scenario of the demo passes on the whole stack."""

from collections.abc import Mapping

import pytest

from devstack.scenarios.registry import SCENARIOS
from devstack.scenarios.scenario import Result, Scenario

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"{s.number:02d} {s.title}")
def test_scenario(scenario: Scenario, results: Mapping[int, Result]) -> None:
    result = results[scenario.number]
    assert result.passed, f"{scenario.expected}: {result.failures}\n{result}"
    assert result.api_result
    assert result.received
    assert result.attempts
