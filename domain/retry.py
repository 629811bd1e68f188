"""When a failed pass is retried."""

from collections.abc import Sequence
from datetime import datetime, timedelta


def next_pass_at(
    now: datetime,
    schedule: Sequence[float],
    passes_failed: int,
    jitter_share: float,
    jitter: float,
    retry_after_s: float | None,
    expires_at: datetime,
) -> datetime | None:
    """When the next pass starts; None if the schedule is used up.

    `schedule` holds the waits in seconds after the first, second, … failed pass; `jitter` (0 to 1) is the
    part of `jitter_share` of the wait that is added to it. A longer Retry-After of a provider replaces the
    wait. A time after `expires_at` becomes `expires_at`, so that the expiry is handled when it passes.
    """
    if passes_failed < 1:
        raise ValueError(f"passes_failed is {passes_failed}: a retry follows a failed pass")
    if passes_failed > len(schedule):
        return None
    wait_s = schedule[passes_failed - 1] * (1 + jitter_share * jitter)
    if retry_after_s is not None and retry_after_s > wait_s:
        wait_s = retry_after_s
    left_s = (expires_at - now).total_seconds()
    # Compared as numbers: a vendor may ask for more seconds than a date can hold.
    return expires_at if wait_s >= left_s else now + timedelta(seconds=wait_s)
