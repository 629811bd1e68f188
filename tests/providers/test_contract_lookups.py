"""What every provider keeps when it is asked what it has: found, not found yet, twice, unreadable, late."""

from dataclasses import replace

import pytest
from contract import Case, Vendors, message, where

from domain.outcome import Outcome, ReceiptStatus
from providers.base import AmbiguityResolution, LookupFailed, Provider

BUDGET_S = 5.0


async def cannot_be_asked(case: Case, provider: Provider, vendors: Vendors) -> None:
    """It says so, and a look-up gives nothing even for a message that it has."""
    capabilities = provider.capabilities
    assert capabilities.resolves is not AmbiguityResolution.LOOKUP
    assert bool(capabilities.matches_by) == (capabilities.resolves is AmbiguityResolution.IDEMPOTENT)
    sent = message(case, vendors.listener.url)
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.ACCEPTED
    assert list(await provider.lookup(sent, timeout_s=BUDGET_S)) == []


async def cannot_be_polled(case: Case, provider: Provider, vendors: Vendors) -> None:
    """It says so, and a poll tells nothing."""
    assert not provider.capabilities.polls
    sent = message(case, vendors.listener.url)
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    assert id
    assert await provider.poll(id, timeout_s=BUDGET_S) is None


@where("lookup", cannot_be_asked)
async def test_not_found_is_not_yet_not_sent(case: Case, provider: Provider, vendors: Vendors) -> None:
    capabilities = provider.capabilities
    assert capabilities.visibility_delay_s > 0, "no vendor promises to show a message at once"
    assert capabilities.matches_by
    assert list(await provider.lookup(message(case, vendors.listener.url), timeout_s=BUDGET_S)) == []


@where("lookup", cannot_be_asked)
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


@where("lookup", cannot_be_asked)
async def test_of_two_alike_only_a_reference_tells_which_is_ours(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    twin = replace(message(case, vendors.listener.url), target=sent.target, content=sent.content)
    ids = [(await provider.send(one, timeout_s=BUDGET_S)).provider_message_id for one in (sent, twin)]
    found = await provider.lookup(sent, timeout_s=BUDGET_S)
    assert [one.provider_message_id for one in found if one.certain] == (ids[:1] if case.certain else [])
    assert {one.provider_message_id for one in found} == set(ids[:1] if case.certain else ids)


@where("lookup", cannot_be_asked)
async def test_one_that_is_there_twice_is_found_twice_or_for_certain(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    ids = {(await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id for _ in range(2)}
    found = await provider.lookup(sent, timeout_s=BUDGET_S)
    assert {one.provider_message_id for one in found} <= ids
    assert all(one.certain for one in found) if case.certain else len(found) == 2


@where("lookup", cannot_be_asked)
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


@where("lookup", cannot_be_asked)
async def test_a_lookup_that_does_not_come_in_time_proves_nothing(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    await vendors.simulators.fault(case.name, "black_hole", operation="lookup")
    try:
        with pytest.raises(LookupFailed):
            await provider.lookup(message(case, vendors.listener.url), timeout_s=0.3)
    finally:
        await vendors.simulators.heal(case.name)


@where("polls", cannot_be_polled)
async def test_a_poll_tells_what_a_lost_callback_did_not(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
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
