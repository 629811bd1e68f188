"""The contract of every provider's callbacks: genuine, repeated, forged, replayed, or several."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from contract import EMPTY_CATALOG, Case, Vendors, message, settings_from, where

from domain.outcome import Receipt, ReceiptStatus
from providers import registry
from providers.base import CallbackRefused, CallbackRequest, Provider

BUDGET_S = 5.0


async def has_no_callbacks(case: Case, provider: Provider, vendors: Vendors) -> None:
    """It declares so, and refuses every callback."""
    assert not provider.capabilities.receipts
    assert provider.capabilities.signature is None
    sent = message(case, vendors.listener.url)
    request = CallbackRequest(sent.callback_url or "", {}, {}, b"{}", sent.intended_at)
    with pytest.raises(CallbackRefused) as refused:
        provider.parse_callback(request)
    assert refused.value.code == "callbacks_not_supported"


async def carries_no_time(case: Case, provider: Provider, vendors: Vendors) -> None:
    """A callback that is replayed later has the same event key."""
    if not case.receipts:
        await has_no_callbacks(case, provider, vendors)
        return
    genuine, _ = await delivered(case, provider, vendors)
    later = replace(genuine, now=genuine.now + timedelta(days=7))
    first, again = provider.parse_callback(genuine), provider.parse_callback(later)
    assert first
    assert [one.event_key for one in first] == [one.event_key for one in again]


async def delivered(
    case: Case, provider: Provider, vendors: Vendors, text: str | None = None
) -> tuple[CallbackRequest, str]:
    """A genuine callback about a delivered message, and the message's id."""
    sent = message(case, vendors.listener.url, text=text)
    id = (await provider.send(sent, timeout_s=BUDGET_S)).provider_message_id
    assert id
    receipts = await vendors.listener.receipts(provider, _delivered(id))
    return next(request for request, receipt in receipts if _delivered(id)([receipt])), id


@where("receipts", has_no_callbacks)
async def test_a_genuine_callback_reports_delivery(case: Case, provider: Provider, vendors: Vendors) -> None:
    sent = message(case, vendors.listener.url)
    result = await provider.send(sent, timeout_s=BUDGET_S)
    receipts = await vendors.listener.receipts(provider, _delivered(result.provider_message_id))
    ours = [receipt for _, receipt in receipts if receipt.provider_message_id == result.provider_message_id]
    assert len({receipt.event_key for receipt in ours}) == len(ours)
    if case.carries_ref:
        assert {receipt.attempt_ref for receipt in ours} == {sent.attempt_ref}


@where("receipts", has_no_callbacks)
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


@where("receipts", has_no_callbacks)
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


@where("key_setting", has_no_callbacks)
async def test_two_keys_are_accepted_during_a_rotation(
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


@where("signature_age_s", carries_no_time)
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


@where("receipts", has_no_callbacks)
async def test_a_text_of_many_segments_is_one_message_with_one_delivery(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    _, id = await delivered(case, provider, vendors, text="Zażółć gęślą jaźń. " * 20)
    receipts = await vendors.listener.receipts(provider, _delivered(id))
    ours = [r for _, r in receipts if (r.provider_message_id, r.status) == (id, ReceiptStatus.DELIVERED)]
    assert len({receipt.event_key for receipt in ours}) == 1


@where("receipts", has_no_callbacks)
async def test_a_callback_about_an_unknown_message_is_parsed(
    case: Case, provider: Provider, vendors: Vendors
) -> None:
    """The ledger decides whose it is: another installation's, or ours before its answer was recorded."""
    genuine, id = await delivered(case, provider, vendors)
    settings = settings_from(vendors.variables)
    elsewhere = registry.build(settings, EMPTY_CATALOG, vendors.listener.url)
    try:
        assert [r.provider_message_id for r in elsewhere[case.name].parse_callback(genuine)] == [id]
    finally:
        for built in elsewhere.values():
            await built.aclose()


def _delivered(id: str | None) -> Callable[[Sequence[Receipt]], bool]:
    def enough(receipts: Sequence[Receipt]) -> bool:
        return any(r.provider_message_id == id and r.status is ReceiptStatus.DELIVERED for r in receipts)

    return enough
