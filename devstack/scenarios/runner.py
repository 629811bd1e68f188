"""Run scenarios and summarise their results."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from uuid import UUID

import httpx

from devstack.scenarios.case import Case, ScenarioAborted, StackClients, counted
from devstack.scenarios.scenario import Result, Scenario
from devstack.scenarios.waiting import WaitTimeout
from domain.ids import workflow_id

_LINKS_MAX = 4

OnResult = Callable[[Scenario, Result], None]


async def run_all(
    clients: StackClients, scenarios: Sequence[Scenario], on_result: OnResult
) -> dict[int, Result]:
    """Run scenarios in parallel, then one by one those that need the stack alone.

    Calls `on_result` when a scenario ends. Returns the results by number, in order.
    """
    cases: dict[int, Case] = {}
    results: dict[int, Result] = {}

    async def run_one(scenario: Scenario) -> None:
        case = cases[scenario.number] = Case(scenario.number, clients)
        results[scenario.number] = result = await run_scenario(scenario, case)
        on_result(scenario, result)

    await asyncio.gather(*(run_one(scenario) for scenario in scenarios if not scenario.alone))
    for scenario in scenarios:
        if scenario.alone:
            await run_one(scenario)
    return {number: await _checked_again(results[number], cases[number]) for number in sorted(results)}


async def run_scenario(scenario: Scenario, case: Case) -> Result:
    """Run one scenario. An exception in it becomes a failure of its result."""
    started = time.monotonic()
    try:
        await scenario.run(case)
    except (WaitTimeout, ScenarioAborted) as error:
        case.failures.append(str(error))
    except Exception as error:
        # A bug in the scenario itself: report it in its row, and let the other scenarios continue.
        case.failures.append(f"{type(error).__name__}: {error}")
    return await _result(case, time.monotonic() - started)


async def _checked_again(result: Result, case: Case) -> Result:
    """The result after a second check for messages received since the scenario ended."""
    known = len(case.failures)
    await case.check_received()
    if len(case.failures) == known or not result.passed:
        return result
    return await _result(case, result.took_s)


async def _result(case: Case, took_s: float) -> Result:
    try:
        api_result, attempts = await _api_result(case), await _attempts(case)
        received = await _received(case)
        links = await _links(case)
    except httpx.HTTPError as error:
        case.failures.append(f"the stack stopped responding ({type(error).__name__})")
        return Result("", "", "", tuple(case.failures), (), 0, took_s)
    more = len(case.notifications) - len(links)
    return Result(api_result, received, attempts, tuple(case.failures), links, more, took_s)


async def _api_result(case: Case) -> str:
    views = await asyncio.gather(*(case.api.notification(id) for id in case.notifications))
    statuses = [_status(view["status"], view["reason_code"]) for view in views]
    responses = grouped(str(status) for status in case.response_statuses)
    return "; ".join([f"{responses} → {grouped(statuses)}", *case.notes])


async def _attempts(case: Case) -> str:
    of_each = await asyncio.gather(*(case.api.attempts(id) for id in case.notifications))
    return "\n".join(_counted(_passes(attempts) for attempts in of_each))


async def _received(case: Case) -> str:
    processed = counted(Counter(name for name, _ in await case.received()))
    refused = await case.refused()
    return f"{processed}; refused by {counted(refused)}" if refused.total() else processed


def _status(status: str, reason: str | None) -> str:
    return status if reason in (None, status) else f"{status} ({reason})"


def _passes(attempts: Iterable[Mapping[str, object]]) -> str:
    """The attempts in order, by pass; equal passes in a row are counted, not repeated."""
    passes = [
        " → ".join(_attempt(attempt) for attempt in same_pass)
        for _, same_pass in groupby(attempts, key=lambda attempt: attempt["pass_number"])
    ]
    runs = [(text, len(list(equal))) for text, equal in groupby(passes)]
    return " → ".join(text if count == 1 else f"{count} × ({text})" for text, count in runs) or "none"


def _attempt(attempt: Mapping[str, object]) -> str:
    outcome = str(attempt["outcome"] or "open")
    if attempt["resolved_by"] not in (None, "response"):
        outcome += f" (by {attempt['resolved_by']})"
    elif attempt["outcome"] != "accepted" and attempt["code"] not in (None, attempt["outcome"]):
        outcome += f" ({attempt['code']})"
    return f"{attempt['provider']} {outcome}"


async def _links(case: Case) -> tuple[tuple[str, str | None], ...]:
    """The first notifications' workflows that the Web UI finds, as its paths."""
    links: list[tuple[str, str | None]] = []
    async with httpx.AsyncClient(
        base_url=case.stack.description["temporal_ui_url"], trust_env=False, timeout=10
    ) as client:
        for id in case.notifications[:_LINKS_MAX]:
            path = f"namespaces/default/workflows/{workflow_id(UUID(id))}"
            found = await client.get(f"/api/v1/{path}")
            links.append((id, f"/{path}" if found.is_success else None))
    return tuple(links)


def grouped(words: Iterable[str]) -> str:
    """Distinct words with their counts, in order of first appearance: `202, 19 × 200`."""
    return ", ".join(_counted(words))


def _counted(words: Iterable[str]) -> list[str]:
    return [word if count == 1 else f"{count} × {word}" for word, count in Counter(words).items()]
