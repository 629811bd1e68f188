"""How a retried activity says "not yet": an expected, benign failure that carries its own next time."""

from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

UNAVAILABLE_S = 5.0
"""How long after the ledger did not answer it is asked again, in seconds."""


def not_yet(detail: str, wait_s: float) -> ApplicationError:
    """The error that has Temporal run this activity again in `wait_s` seconds. It shows in the Web UI as
    the pending activity's last failure, so `detail` holds codes and provider names only.
    """
    wait = timedelta(seconds=max(wait_s, 0.05))
    return ApplicationError(
        f"{detail}; again in {wait_s:.0f} s" if wait_s >= 1 else detail,
        type="NotYet",
        next_retry_delay=wait,
        category=ApplicationErrorCategory.BENIGN,
    )


def is_local() -> bool:
    """Whether this runs inside a workflow task, where a failure would fail the workflow."""
    return activity.info().is_local
