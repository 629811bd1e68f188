"""What SMS take and cost, counted once a provider has taken them."""

from collections.abc import Mapping
from typing import Any

import structlog

from domain.outcome import Outcome, SendResult
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)


def count_sms(metrics: Metrics, provider: str, size: Mapping[str, Any] | None, result: SendResult) -> None:
    """Count an accepted SMS by its size (activities.attempt_facts.sized; None: it was none).

    A vendor that counted other segments than we did charges for other ones: prices or our tables are off.
    """
    if size is None or result.outcome is not Outcome.ACCEPTED:
        return
    metrics.sms_segments.add(size["segments"], provider=provider)
    if "cost" in size:
        metrics.sms_cost.add(float(size["cost"]), provider=provider, currency=size["currency"])
    if result.segments not in (None, size["segments"]):
        metrics.sms_segments_differ.add(provider=provider)
        log.warning("segments_differ", provider=provider, ours=size["segments"], theirs=result.segments)
