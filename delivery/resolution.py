"""Resolves an open attempt: finds out what the provider has, before anything else is sent.

If the provider accepts an idempotency key, the call is repeated under the same key; otherwise it is looked
up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from delivery.call import MadeCall, ProviderCalls
from delivery.messages import Messages
from delivery.transitions import Transitions
from domain.contracts import PassResult
from domain.decision import decide
from domain.notification import Attempt, Channel, Target
from domain.notification_types import Catalog
from domain.outcome import Match, Outcome, SendResult
from domain.required_action import required_action
from domain.resolution_decision import Finding, Resolved, answered, own_match
from domain.routing import Candidate
from domain.snapshot import DeliverySnapshot
from domain.transition import Resolve, Transition, Wait
from providers.base import AmbiguityResolution, LookupFailed, Provider
from storage.ledger import Ledger
from storage.receipts import Receipts
from storage.records import Updated


@dataclass(frozen=True, slots=True)
class Inquiry:
    """The answer about an attempt. `match`: its message at the provider; `made`: the repeated call."""

    finding: Finding
    snapshot: DeliverySnapshot
    match: Match | None = None
    made: MadeCall | None = None
    refused: str | None = None
    """Why the repeated call was refused by ProviderHealth."""


class Resolver:
    """Closes open attempts by their providers' answers, or by the type's `on_unknown`."""

    def __init__(
        self,
        ledger: Ledger,
        receipts: Receipts,
        providers: Mapping[str, Provider],
        calls: ProviderCalls,
        transitions: Transitions,
        messages: Messages,
        catalog: Catalog,
    ) -> None:
        self._ledger = ledger
        self._receipts = receipts
        self._providers = providers
        self._calls = calls
        self._transitions = transitions
        self._messages = messages
        self._catalog = catalog

    async def resolve(self, snapshot: DeliverySnapshot, resolve: Resolve) -> PassResult | None:
        """Resolve the open attempt, or return when to ask again. None: it changed; read it again."""
        attempt = resolve.attempt
        inquiry = await self._ask(snapshot, attempt)
        if inquiry is None:
            return None
        resolved = _resolved(attempt, resolve.conclusive, inquiry)
        after = decide(inquiry.snapshot, resolved)
        if isinstance(after, Wait):
            return await self._ask_later(inquiry, attempt, after)
        await self._close(inquiry, attempt, after)
        return None

    async def _ask(self, snapshot: DeliverySnapshot, attempt: Attempt) -> Inquiry | None:
        provider = self._providers.get(attempt.provider)
        resolves = provider.capabilities.resolves if provider else AmbiguityResolution.NONE
        if provider is None or resolves is AmbiguityResolution.NONE:
            return Inquiry(Finding.UNRESOLVABLE, snapshot)
        target = _target(snapshot, attempt, provider)
        if resolves is AmbiguityResolution.IDEMPOTENT:
            return await self._repeat(snapshot, attempt, target)
        if target is None:
            return Inquiry(Finding.INCONCLUSIVE, snapshot)
        try:
            found = await self._look_up(snapshot, attempt, provider, target)
        except LookupFailed:
            return Inquiry(Finding.INCONCLUSIVE, snapshot)
        return await self._matched(snapshot, attempt, found)

    async def _repeat(
        self, snapshot: DeliverySnapshot, attempt: Attempt, target: Target | None
    ) -> Inquiry | None:
        """Repeat the call under the same key. None: the attempt changed."""
        candidate = Candidate(attempt.provider, target) if target else None
        if candidate is None or not self._calls.may_repeat(snapshot, attempt, candidate):
            return Inquiry(Finding.UNRESOLVABLE, snapshot)
        refused = await self._calls.reserve(attempt.provider, snapshot.notification.tenant)
        if refused is not None:
            return Inquiry(Finding.INCONCLUSIVE, snapshot, refused=refused)
        made = await self._calls.repeat(snapshot, attempt, candidate)
        if made is None:
            return None
        return Inquiry(answered(made.result.outcome), made.snapshot, made=made)

    async def _look_up(
        self, snapshot: DeliverySnapshot, attempt: Attempt, provider: Provider, target: Target
    ) -> Sequence[Match]:
        candidate = Candidate(attempt.provider, target)
        message = self._messages.message(snapshot, candidate, attempt.number, attempt.intended_at)
        timeout_s = self._catalog.provider(attempt.provider).timeout_s
        return await provider.lookup(message, timeout_s=timeout_s)

    async def _matched(self, snapshot: DeliverySnapshot, attempt: Attempt, found: Sequence[Match]) -> Inquiry:
        ids = [match.provider_message_id for match in found]
        claimed = await self._ledger.claimed_messages(attempt.provider, ids) if ids else set[str]()
        finding, match = own_match(
            found, claimed, is_distinguishable=await self._is_distinguishable(snapshot, attempt)
        )
        return Inquiry(finding, snapshot, match)

    async def _is_distinguishable(self, snapshot: DeliverySnapshot, attempt: Attempt) -> bool:
        key = attempt.match_key
        return key is None or not await self._ledger.indistinguishable_attempts(key, snapshot.delivery.id)

    async def _close(self, inquiry: Inquiry, attempt: Attempt, after: Transition) -> None:
        snapshot, match = inquiry.snapshot, inquiry.match
        try:
            updated = await self._record(inquiry, attempt, after)
        except asyncpg.UniqueViolationError:
            # Another attempt claimed the message in the meantime: it was not this attempt's.
            return
        if updated is not None and updated.status is after.status:
            await self._transitions.conclude(snapshot, after, provider=attempt.provider)
        if match is not None and match.receipt is not None:
            await self._receipts.apply_one(snapshot.delivery.id, attempt.number, match.receipt, "lookup")

    async def _ask_later(self, inquiry: Inquiry, attempt: Attempt, wait: Wait) -> PassResult | None:
        if wait.postponement is not None:
            updated = await self._record(inquiry, attempt, wait.postponement, code=inquiry.refused)
            if updated is None:
                return None
        return required_action(inquiry.snapshot, wait)

    async def _record(
        self, inquiry: Inquiry, attempt: Attempt, after: Transition, *, code: str | None = None
    ) -> Updated | None:
        """Record what was found out. `code`: why the provider could not be asked. None: it changed."""
        if inquiry.made is not None:
            return await self._calls.record(inquiry.made, after)
        message_id = inquiry.match.provider_message_id if inquiry.match else None
        return await self._calls.settle(
            inquiry.snapshot, attempt, after, provider_message_id=message_id, code=code
        )


def _resolved(attempt: Attempt, conclusive: bool, inquiry: Inquiry) -> Resolved:
    """The event for the decision; for an accepted message, also how it was found, for the timeline."""
    if inquiry.match is not None:
        data = {"provider": attempt.provider, "certain": inquiry.match.certain}
        return Resolved(attempt, inquiry.finding, conclusive, event="message_matched", data=data)
    if inquiry.made is not None:
        data = {"provider": attempt.provider}
        return Resolved(
            attempt, inquiry.finding, conclusive, inquiry.made.result, event="sent_again", data=data
        )
    result = SendResult(Outcome.NOT_SENT, code=inquiry.refused) if inquiry.refused else None
    return Resolved(attempt, inquiry.finding, conclusive, result)


def _target(snapshot: DeliverySnapshot, attempt: Attempt, provider: Provider) -> Target | None:
    """The target of the attempt among the recipient's current addresses; None if it is gone."""
    recipient = snapshot.notification.recipient
    if snapshot.delivery.channel is Channel.PUSH:
        device = next((d for d in recipient.devices if d.device_id == attempt.device_id), None)
        token = provider.address_of(device) if device else None
        return Target(token, attempt.device_id) if token else None
    address = recipient.address(snapshot.delivery.channel)
    return Target(address) if address else None
