"""A ledger with hooks between its steps, which counts its reads."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from domain.notification import Notification
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.records import AttemptOutcome, Intent, OpenAttempt, Updated

Hook = Callable[[], Awaitable[Any]]


class WatchedLedger(Ledger):
    """The real ledger. Each hook runs once."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.before_intent: Hook | None = None
        self.after_intent: Hook | None = None
        self.before_close: Hook | None = None
        self.after_close: Hook | None = None
        self.loads = 0

    async def load(self, notification_id: UUID) -> Notification | None:
        self.loads += 1
        return await super().load(notification_id)

    async def intend(self, intent: Intent) -> OpenAttempt | None:
        await self._happens("before_intent")
        opened = await super().intend(intent)
        await self._happens("after_intent")
        return opened

    async def close_attempt(self, outcome: AttemptOutcome) -> Updated | None:
        await self._happens("before_close")
        updated = await super().close_attempt(outcome)
        await self._happens("after_close")
        return updated

    async def _happens(self, moment: str) -> None:
        hook = getattr(self, moment)
        if hook is not None:
            setattr(self, moment, None)
            await hook()
