"""Benign failures by which a retried activity asks to run again later."""

from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

LEDGER_AWAY_S = 5.0
"""How long after the ledger did not answer an activity runs again, in seconds."""


def retry_later(detail: str, wait_s: float) -> ApplicationError:
    """The error that has Temporal run this activity again in `wait_s` seconds.

    The Web UI shows it as the pending activity's last failure, so `detail` holds codes and provider names
    only.
    """
    return ApplicationError(
        f"{detail}; again in {wait_s:.0f} s" if wait_s >= 1 else detail,
        type="RetryLater",
        next_retry_delay=timedelta(seconds=max(wait_s, 0.05)),
        category=ApplicationErrorCategory.BENIGN,
    )


def ledger_away(error: Exception) -> ApplicationError:
    """The error that has Temporal run this activity again after the ledger did not answer."""
    return retry_later(f"the ledger did not answer ({type(error).__name__})", LEDGER_AWAY_S)


def is_local() -> bool:
    """Whether this is a local activity. Its failure would fail the workflow: report it in the
    result instead.
    """
    return activity.info().is_local
