"""What every provider keeps, whatever its vendor: one suite over all of them, against their simulators."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from contract import CASES, EMPTY_CATALOG, Case, Vendors, message, settings_from

from domain.notification_types import Catalog, ProviderPolicy
from domain.outcome import Outcome, Receipt, ReceiptStatus
from providers import registry
from providers.base import CallbackRefused, LookupFailed, Provider, Resolves

BUDGET_S = 5.0


def test_every_provider_is_in_the_suite(vendors: Vendors) -> None:
    assert set(CASES) == set(registry.KNOWN) == set(vendors.providers)


def test_its_capabilities_are_what_the_suite_tests(case: Case, provider: Provider) -> None:
    capabilities = provider.capabilities
    assert provider.name == case.name
    assert capabilities.channel is registry.KNOWN[case.name]
    assert (capabilities.resolves is Resolves.LOOKUP) == case.lookup
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
    came: dict[int, Outcome] = {}
    for status in case.by_status:
        sent = message(case, vendors.listener.url)
        await vendors.simulators.fault(case.name, "status", sent.target.address, status=status)
        came[status] = (await provider.send(sent, timeout_s=BUDGET_S)).outcome
        await vendors.simulators.heal(case.name, sent.target.address)
    assert came == dict(case.by_status)


async def test_a_throttled_send_says_how_long_to_stay_away(
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
    sent = message(case, vendors.listener.url)
    await vendors.simulators.fault(case.name, "accept_then_close", sent.target.address)
    result = await provider.send(sent, timeout_s=BUDGET_S)
    assert result.outcome is Outcome.AMBIGUOUS
    assert len(await vendors.simulators.messages(case.name, to=sent.target.address)) == 1


@pytest.mark.needs("lookup")
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


@pytest.mark.needs("lookup")
async def test_a_lookup_without_a_readable_answer_proves_nothing(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    for kind, more in (("status", {"status": 500}), ("malformed", {}), ("reset", {})):
        sent = message(case, vendors.listener.url)
        await vendors.simulators.fault(case.name, kind, operation="lookup", **more)
        try:
            with pytest.raises(LookupFailed):
                await provider.lookup(sent, timeout_s=BUDGET_S)
        finally:
            await vendors.simulators.heal(case.name)


async def test_an_unreadable_answer_is_ambiguous(case: Case, provider: Provider, vendors: Vendors) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.fault(case.name, "malformed", sent.target.address)
    result = await provider.send(sent, timeout_s=BUDGET_S)
    assert result.outcome is case.malformed
    assert len(await vendors.simulators.messages(case.name, to=sent.target.address)) == 1


async def test_a_503_from_something_in_between_is_ambiguous(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.fault(case.name, "malformed", sent.target.address, status=503)
    assert (await provider.send(sent, timeout_s=BUDGET_S)).outcome is Outcome.AMBIGUOUS


async def test_nothing_is_sent_where_nobody_listens(case: Case, vendors: Vendors) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    variable = f"HERALD_PROVIDERS__{case.name.upper()}__BASE_URL"
    scheme = vendors.variables[variable].partition("://")[0]
    settings = settings_from({**vendors.variables, variable: f"{scheme}://127.0.0.1:{port}"})
    built = registry.build(settings, EMPTY_CATALOG, vendors.listener.url)
    result = await built[case.name].send(message(case, vendors.listener.url), timeout_s=BUDGET_S)
    for provider in built.values():
        await provider.aclose()
    assert result.outcome is Outcome.NOT_SENT


@pytest.mark.needs("pooled")
async def test_the_catalog_limits_each_step_of_a_call(case: Case, vendors: Vendors) -> None:
    catalog = Catalog(types={}, providers={case.name: ProviderPolicy(read_s=0.2)})
    sent = message(case, vendors.listener.url)
    built = registry.build(settings_from(vendors.variables), catalog, vendors.listener.url)
    await vendors.simulators.fault(case.name, "black_hole", sent.target.address)
    try:
        async with asyncio.timeout(3):
            result = await built[case.name].send(sent, timeout_s=10)
    finally:
        for provider in built.values():
            await provider.aclose()
    assert (result.outcome, result.code) == (Outcome.AMBIGUOUS, "timeout")


async def test_nothing_is_sent_without_time(case: Case, provider: Provider, vendors: Vendors) -> None:
    sent = message(case, vendors.listener.url)
    result = await provider.send(sent, timeout_s=0)
    assert result.outcome is Outcome.NOT_SENT
    assert not await vendors.simulators.messages(case.name, to=sent.target.address)


@pytest.mark.needs("receipts")
async def test_a_genuine_callback_reports_delivery(case: Case, provider: Provider, vendors: Vendors) -> None:
    sent = message(case, vendors.listener.url)
    result = await provider.send(sent, timeout_s=BUDGET_S)
    receipts = await vendors.listener.receipts(provider, _delivered(result.provider_message_id))
    ours = [receipt for _, receipt in receipts if receipt.provider_message_id == result.provider_message_id]
    assert len({receipt.event_key for receipt in ours}) == len(ours)
    if case.carries_ref:
        assert {receipt.attempt_ref for receipt in ours} == {sent.attempt_ref}


@pytest.mark.needs("receipts")
async def test_a_repeated_callback_has_the_same_event_key(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    await vendors.simulators.callbacks(case.name, sent.target.address, mode="repeated")
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id

    def twice(receipts: Sequence[Receipt]) -> bool:
        return [(r.provider_message_id, r.status) for r in receipts].count((id, ReceiptStatus.DELIVERED)) == 2

    receipts = await vendors.listener.receipts(provider, twice)
    delivered = [
        r for _, r in receipts if r.provider_message_id == id and r.status is ReceiptStatus.DELIVERED
    ]
    assert delivered[0].event_key == delivered[1].event_key


@pytest.mark.needs("receipts")
async def test_a_forged_callback_is_refused(case: Case, provider: Provider, vendors: Vendors) -> None:
    sent = message(case, vendors.listener.url)
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    receipts = await vendors.listener.receipts(provider, _delivered(id))
    genuine = next(request for request, receipt in receipts if receipt.provider_message_id == id)
    assert provider.parse_callback(genuine)
    forgeries = [replace(genuine, body=forged) for forged in case.forge(genuine.body)]
    for name in case.signature_headers:
        forgeries.append(replace(genuine, headers={k: v for k, v in genuine.headers.items() if k != name}))
        forgeries.append(replace(genuine, headers={**genuine.headers, name: "AAAA"}))
        forgeries.append(replace(genuine, headers={**genuine.headers, name: "\u00e9\u20ac"}))
    for name in case.signature_query:
        forgeries.append(replace(genuine, query={k: v for k, v in genuine.query.items() if k != name}))
        forgeries.append(replace(genuine, query={**genuine.query, name: genuine.query[name][:-1]}))
        forgeries.append(replace(genuine, query={**genuine.query, name: "\u00e9\u20ac\ud800"}))
    for forged in forgeries:
        with pytest.raises(CallbackRefused):
            provider.parse_callback(forged)


@pytest.mark.needs("key_setting")
async def test_two_keys_are_believed_while_one_is_rotated(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    variable = f"HERALD_PROVIDERS__{case.name.upper()}__{case.key_setting}"
    sent = message(case, vendors.listener.url)
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    receipts = await vendors.listener.receipts(provider, _delivered(id))
    genuine = next(request for request, receipt in receipts if receipt.provider_message_id == id)
    changed = {**vendors.variables, variable: case.other_key}
    both = {**changed, f"{variable}_PREVIOUS": vendors.variables[variable]}
    after, during = (
        registry.build(settings_from(variables), EMPTY_CATALOG, vendors.listener.url)
        for variables in (changed, both)
    )
    try:
        assert during[case.name].parse_callback(genuine)
        with pytest.raises(CallbackRefused):
            after[case.name].parse_callback(genuine)
    finally:
        for built in (*during.values(), *after.values()):
            await built.aclose()


@pytest.mark.needs("signature_age_s")
async def test_a_callback_that_is_replayed_later_is_refused(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    sent = message(case, vendors.listener.url)
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    receipts = await vendors.listener.receipts(provider, _delivered(id))
    genuine = next(request for request, receipt in receipts if receipt.provider_message_id == id)
    assert provider.parse_callback(genuine)
    assert case.signature_age_s
    for seconds in (case.signature_age_s + 2, -case.signature_age_s - 2):
        with pytest.raises(CallbackRefused):
            provider.parse_callback(replace(genuine, now=genuine.now + timedelta(seconds=seconds)))


@pytest.mark.needs("polls")
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


def _delivered(id: str | None) -> Callable[[Sequence[Receipt]], bool]:
    def enough(receipts: Sequence[Receipt]) -> bool:
        return any(r.provider_message_id == id and r.status is ReceiptStatus.DELIVERED for r in receipts)

    return enough
