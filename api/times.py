"""When something that was submitted may start and expire."""

from datetime import datetime, timedelta
from typing import Final

from api.problems import FieldError

AHEAD_MAX: Final = timedelta(days=366)
"""How far ahead it may be scheduled, and how long after that it may expire."""


def time_refused(
    now: datetime, start_field: str, starts_at: datetime | None, expires_at: datetime | None
) -> FieldError | None:
    """The error of a start (in the field `start_field`) and an expiry; None if there is none."""
    if expires_at is not None and expires_at <= now:
        return FieldError("/expires_at", "in_the_past", "this time has passed")
    if starts_at is not None and starts_at > now + AHEAD_MAX:
        return FieldError(f"/{start_field}", "out_of_range", f"at most {AHEAD_MAX.days} days ahead")
    if expires_at is not None and expires_at > now + 2 * AHEAD_MAX:
        return FieldError("/expires_at", "out_of_range", f"at most {2 * AHEAD_MAX.days} days ahead")
    if starts_at is not None and expires_at is not None and expires_at <= starts_at:
        return FieldError("/expires_at", f"before_{start_field}", f"it is not later than `{start_field}`")
    return None
