"""The contract of every provider: one suite over all of them, against their simulators."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from contract import CASES, EMPTY_CATALOG, RECORDED, Case, Vendors, message, settings_from, where

from domain.notification_types import Catalog, ProviderPolicy
from domain.outcome import Outcome, SendResult
from providers import registry
from providers.base import AmbiguityResolution, Provider
from providers.http import VendorClient

BUDGET_S = 5.0


def test_every_provider_is_in_the_suite(vendors: Vendors) -> None:
    assert set(CASES) == set(registry.KNOWN) == set(vendors.providers)


def test_its_capabilities_are_what_the_suite_tests(case: Case, provider: Provider) -> None:
    capabilities = provider.capabilities
    assert provider.name == case.name
    assert capabilities.channel is registry.KNOWN[case.name]
    assert (capabilities.resolves is AmbiguityResolution.LOOKUP) == case.lookup
    assert (capabilities.receipts, capabilities.polls) == (case.receipts, case.polls)


async def test_a_send_is_accepted_and_reaches_the_vendor_once(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    result = await provider.send(sent, timeout_s=BUDGET_S)
    assert result.outcome is Outcome.ACCEPTED
    assert result.provider_message_id
    [received] = await vendors.simulators.messages(case.name, to=sent.target.address)
    assert received["text"] == sent.content.body
    assert not case.carries_ref or received["ref"] == sent.attempt_ref


async def test_a_magic_recipient_is_refused_as_documented(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    for refusal in case.refusals:
        result = await provider.send(message(case, vendors.listener.url, refusal.to), timeout_s=BUDGET_S)
        assert (result.outcome, result.code) == (refusal.outcome, refusal.code), refusal
        assert result.address_verdict is refusal.verdict, refusal
        assert not await vendors.simulators.messages(case.name, to=refusal.to)


async def test_the_vendors_own_errors_are_classified_by_status(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    outcomes: dict[int, Outcome] = {}
    for status in case.by_status:
        sent = message(case, vendors.listener.url)
        await vendors.simulators.fault(case.name, "status", sent.target.address, status=status)
        outcomes[status] = (await provider.send(sent, timeout_s=BUDGET_S)).outcome
        await vendors.simulators.heal(case.name, sent.target.address)
    assert outcomes == dict(case.by_status)


def test_every_class_of_error_is_recorded_or_declared_impossible(case: Case, provider: Provider) -> None:
    recorded = {Outcome(answer["expect"]["outcome"]) for answer in RECORDED[case.name]["answers"]}
    classes = {
        Outcome.REJECTED_RECIPIENT,
        Outcome.REJECTED,
        Outcome.THROTTLED,
        Outcome.UNAVAILABLE,
        Outcome.AMBIGUOUS,
    }
    assert recorded & classes == classes - set(case.never)


async def test_a_throttled_send_says_how_long_to_wait(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.fault(case.name, "status", sent.target.address, status=429, retry_after_s=40)
    result = await provider.send(sent, timeout_s=BUDGET_S)
    assert result.outcome is Outcome.THROTTLED
    if case.throttle_wait:
        assert result.retry_after_s == pytest.approx(40, abs=2)
    assert not await vendors.simulators.messages(case.name, to=sent.target.address)


async def test_an_unprocessed_send_without_an_answer_is_ambiguous_and_not_found(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    for kind, budget_s in (("reset", BUDGET_S), ("black_hole", 0.5)):
        sent = message(case, vendors.listener.url)
        await vendors.simulators.fault(case.name, kind, sent.target.address)
        result = await provider.send(sent, timeout_s=budget_s)
        assert result.outcome is Outcome.AMBIGUOUS, kind
        assert list(await provider.lookup(sent, timeout_s=BUDGET_S)) == []


async def test_a_processed_send_without_an_answer_is_ambiguous(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    for kind, more, budget_s in (
        ("accept_then_close", {}, BUDGET_S),
        ("accept_then_stall", {"latency_s": 30}, 0.7),
    ):
        sent = message(case, vendors.listener.url)
        await vendors.simulators.fault(case.name, kind, sent.target.address, **more)
        result = await provider.send(sent, timeout_s=budget_s)
        assert result.outcome is Outcome.AMBIGUOUS, kind
        assert len(await vendors.simulators.messages(case.name, to=sent.target.address)) == 1, kind


async def test_an_unreadable_answer_is_ambiguous(case: Case, provider: Provider, vendors: Vendors) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.fault(case.name, "malformed", sent.target.address)
    result = await provider.send(sent, timeout_s=BUDGET_S)
    assert result.outcome is case.malformed
    assert len(await vendors.simulators.messages(case.name, to=sent.target.address)) == 1


async def test_a_503_from_an_intermediary_is_ambiguous(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.fault(case.name, "malformed", sent.target.address, status=503)
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.AMBIGUOUS


async def test_half_an_answer_has_the_declared_outcome(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.fault(case.name, "cut", sent.target.address)
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is case.cut
    assert len(await vendors.simulators.messages(case.name, to=sent.target.address)) == 1


async def has_no_content_types(case: Case, provider: Provider, vendors: Vendors) -> None:
    """It does not speak HTTP."""
    assert not vendors.variables[_base_url(case)].startswith("http")


@where("typed", has_no_content_types)
async def test_a_whole_answer_counts_with_any_content_type(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.fault(case.name, "mistyped", sent.target.address)
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED


async def test_a_refused_connection_is_not_sent(case: Case, vendors: Vendors) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = await _sent_to(port, case, vendors, timeout_s=BUDGET_S)
    assert result.outcome is Outcome.NOT_SENT


async def test_a_timeout_before_the_first_byte_is_not_sent(case: Case, vendors: Vendors) -> None:
    with _unaccepting() as port:
        result = await _sent_to(port, case, vendors, timeout_s=0.4)
    assert result.outcome is Outcome.NOT_SENT


def _base_url(case: Case) -> str:
    return f"HERALD_PROVIDERS__{case.name.upper()}__BASE_URL"


async def _sent_to(port: int, case: Case, vendors: Vendors, *, timeout_s: float) -> SendResult:
    """The result of a send to this port instead of the vendor's."""
    scheme = vendors.variables[_base_url(case)].partition("://")[0]
    moved = {**vendors.variables, _base_url(case): f"{scheme}://127.0.0.1:{port}"}
    built = registry.build(settings_from(moved), EMPTY_CATALOG, vendors.listener.url)
    try:
        return await built[case.name].send(message(case, vendors.listener.url), timeout_s=timeout_s)
    finally:
        for provider in built.values():
            await provider.aclose()


@contextmanager
def _unaccepting() -> Iterator[int]:
    """A port with a full backlog: the kernel accepts no further connection."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    try:
        yield listener.getsockname()[1]
    finally:
        for one in (*waiting, listener):
            one.close()


async def has_its_own_connections(case: Case, provider: Provider, vendors: Vendors) -> None:
    """It does not use the pool, whose steps the catalog limits."""
    assert not isinstance(vars(provider).get("_client"), VendorClient)


@where("pooled", has_its_own_connections)
async def test_the_catalog_limits_each_step_of_a_call(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    catalog = Catalog(types={}, providers={case.name: ProviderPolicy(read_s=0.2)})
    sent = message(case, vendors.listener.url)
    built = registry.build(settings_from(vendors.variables), catalog, vendors.listener.url)
    await vendors.simulators.fault(case.name, "black_hole", sent.target.address)
    try:
        async with asyncio.timeout(3):
            result = await built[case.name].send(sent, timeout_s=10)
    finally:
        for one in built.values():
            await one.aclose()
    assert (result.outcome, result.code) == (Outcome.AMBIGUOUS, "timeout")


async def test_nothing_is_sent_without_a_time_budget(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    result = await provider.send(sent, timeout_s=0)
    assert result.outcome is Outcome.NOT_SENT
    assert not await vendors.simulators.messages(case.name, to=sent.target.address)
