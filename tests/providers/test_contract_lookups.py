"""The contract of every provider's look-ups and polls: found, not yet found, twice, unreadable, late."""

from dataclasses import replace

import pytest
from contract import Case, Vendors, message, where

from domain.outcome import Outcome, ReceiptStatus
from providers.base import AmbiguityResolution, LookupFailed, Provider

BUDGET_S = 5.0


async def has_no_lookup(case: Case, provider: Provider, vendors: Vendors) -> None:
    """It declares so, and a look-up finds nothing even for a message that it has."""
    capabilities = provider.capabilities
    assert capabilities.resolves is not AmbiguityResolution.LOOKUP
    assert bool(capabilities.matches_by) == (capabilities.resolves is AmbiguityResolution.IDEMPOTENT)
    sent = message(case, vendors.listener.url)
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED
    assert list(await provider.lookup(sent, timeout_s=BUDGET_S)) == []


async def has_no_poll(case: Case, provider: Provider, vendors: Vendors) -> None:
    """It declares so, and a poll returns nothing."""
    assert not provider.capabilities.polls
    sent = message(case, vendors.listener.url)
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    assert id
    assert await provider.poll(id, timeout_s=BUDGET_S) is None


@where("lookup", has_no_lookup)
async def test_not_found_is_not_yet_not_sent(case: Case, provider: Provider, vendors: Vendors) -> None:
    capabilities = provider.capabilities
    assert capabilities.visibility_delay_s > 0, "no vendor promises that a message is visible at once"
    assert capabilities.matches_by
    assert list(await provider.lookup(message(case, vendors.listener.url), timeout_s=BUDGET_S)) == []


@where("lookup", has_no_lookup)
async def test_a_lookup_finds_exactly_the_message_that_is_asked_for(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    other = replace(message(case, vendors.listener.url), target=sent.target)
    await vendors.simulators.callbacks(case.name, sent.target.address, mode="held")
    first = await provider.send(sent, timeout_s=BUDGET_S)
    await provider.send(other, timeout_s=BUDGET_S)
    [found] = await provider.lookup(sent, timeout_s=BUDGET_S)
    assert found.certain is case.certain
    assert found.provider_message_id == first.provider_message_id


@where("lookup", has_no_lookup)
async def test_only_a_reference_identifies_ours_among_equal_messages(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    twin = replace(message(case, vendors.listener.url), target=sent.target, content=sent.content)
    ids = [(await provider.send(one, timeout_s=BUDGET_S)).provider_message_id for one in (sent, twin)]
    found = await provider.lookup(sent, timeout_s=BUDGET_S)
    assert [one.provider_message_id for one in found if one.certain] == (ids[:1] if case.certain else [])
    assert {one.provider_message_id for one in found} == set(ids[:1] if case.certain else ids)


@where("lookup", has_no_lookup)
async def test_a_duplicate_is_found_twice_or_for_certain(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    ids = {(await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id for _ in range(2)}
    found = await provider.lookup(sent, timeout_s=BUDGET_S)
    assert {one.provider_message_id for one in found} <= ids
    assert all(one.certain for one in found) if case.certain else len(found) == 2


@where("lookup", has_no_lookup)
async def test_a_lookup_without_a_readable_answer_proves_nothing(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    for kind, more in (("status", {"status": 500}), ("malformed", {}), ("cut", {}), ("reset", {})):
        sent = message(case, vendors.listener.url)
        await vendors.simulators.fault(case.name, kind, operation="lookup", **more)
        try:
            with pytest.raises(LookupFailed):
                await provider.lookup(sent, timeout_s=BUDGET_S)
        finally:
            await vendors.simulators.heal(case.name)


@where("lookup", has_no_lookup)
async def test_a_late_lookup_proves_nothing(case: Case, provider: Provider, vendors: Vendors) -> None:
    await vendors.simulators.fault(case.name, "black_hole", operation="lookup")
    try:
        with pytest.raises(LookupFailed):
            await provider.lookup(message(case, vendors.listener.url), timeout_s=0.3)
    finally:
        await vendors.simulators.heal(case.name)


@where("polls", has_no_poll)
async def test_a_poll_replaces_a_lost_callback(case: Case, provider: Provider, vendors: Vendors) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.callbacks(case.name, sent.target.address, mode="held")
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    assert id
    before = await provider.poll(id, timeout_s=BUDGET_S)
    assert before is None or before.status in (ReceiptStatus.QUEUED, ReceiptStatus.SENT)
    [received] = await vendors.simulators.messages(case.name, to=sent.target.address)
    await vendors.simulators.report(case.name, received["id"], "delivered")
    after = await provider.poll(id, timeout_s=BUDGET_S)
    assert after
    assert after.status is ReceiptStatus.DELIVERED
