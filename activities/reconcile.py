"""The activities of reconciliation: repair and report what dispatching by due time does not see."""

from dataclasses import asdict, dataclass, field

import structlog
from temporalio import activity

from domain.access import is_test
from domain.notification_types import RetentionPolicy
from storage import maintenance
from storage.postgres import Pool
from storage.retention import retain
from telemetry.logs import alert
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

ROWS_MAX = 1000
"""The most rows that one repair changes in a round."""
MONTHS_AHEAD = 3
ORPHANS_KEPT_S = 72 * 3600
RETENTION_S = 20.0
"""The longest that one round removes old rows, in seconds: well within the activity's timeout."""
DEAD_LETTER_OLD_S = 24 * 3600
"""Each round alerts for parked notifications that were accepted longer ago than this, in seconds."""


@dataclass(frozen=True)
class Round:
    """What one activity of a round did, by kind."""

    counts: dict[str, int] = field(default_factory=dict[str, int])


class Reconcile:
    """Finds and repairs drift in the ledger. Every activity is bounded and safe to repeat."""

    def __init__(self, pool: Pool, metrics: Metrics, retention: RetentionPolicy) -> None:
        self._pool = pool
        self._metrics = metrics
        self._retention = retention

    @activity.defn(name="requeue_lost")
    async def requeue_lost(self) -> Round:
        """Requeue live notifications that the queue lost, and process orphaned receipts again."""
        requeued = await maintenance.requeue_live_without_due(self._pool, ROWS_MAX)
        revived = await maintenance.revive_orphans(self._pool, ROWS_MAX)
        if requeued:
            alert("requeued_lost", count=requeued)
        return Round({"requeued": requeued, "orphans_revived": revived})

    @activity.defn(name="report_drift")
    async def report_drift(self) -> Round:
        """Count inconsistencies by kind, and alert if there are any."""
        drift = await maintenance.drift(self._pool)
        found = {kind: count for kind, count in asdict(drift).items() if count}
        for kind, count in found.items():
            self._metrics.drift.add(count, kind=kind)
        if found:
            alert("drift", **found)
        return Round(found)

    @activity.defn(name="watch_dead_letters")
    async def watch_dead_letters(self) -> Round:
        """Count what is parked, and alert where the oldest was accepted long ago. Test keys do not count."""
        letters = [
            group for group in await maintenance.age_dead_letters(self._pool) if not is_test(group.tenant)
        ]
        self._metrics.dead_letters_open.set(sum(group.count for group in letters))
        for group in letters:
            if group.oldest_age_s > DEAD_LETTER_OLD_S:
                alert(
                    "dead_letters_ageing",
                    tenant=group.tenant,
                    type=group.type,
                    status=group.status,
                    count=group.count,
                    oldest_s=round(group.oldest_age_s),
                )
        return Round({"dead_letters": sum(group.count for group in letters)})

    @activity.defn(name="maintain")
    async def maintain(self) -> Round:
        """Create the partitions of the next months, and remove what retention no longer keeps."""
        await maintenance.ensure_partitions(self._pool, MONTHS_AHEAD)
        await maintenance.watch_parked_contents(self._pool, ROWS_MAX)
        orphans = await maintenance.drop_orphans(self._pool, ORPHANS_KEPT_S)
        removed = await retain(self._pool, self._retention, within_s=RETENTION_S)
        counts = {
            "orphans_dropped": orphans,
            "partitions_dropped": len(removed.partitions),
            "messages_dropped": removed.messages,
            "notifications_dropped": removed.notifications,
        }
        for kind, count in counts.items():
            if count:
                self._metrics.removed.add(count, kind=kind.removesuffix("_dropped"))
        if removed.partitions or removed.messages or removed.notifications:
            log.info("retention", partitions=list(removed.partitions), more=removed.more, **counts)
        return Round(counts)
