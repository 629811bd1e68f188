"""From a validated request to a submission for the ledger, and back to what the client is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from api.context import AppContext
from api.models import DeliveryView, NotificationIn, NotificationView
from api.problems import FieldError, Problem, invalid
from domain.fingerprint import fingerprint, matches
from domain.ids import notification_id
from domain.notification import Channel, Lane, Strategy
from domain.paging import needs_workflow
from domain.preferences import is_allowed
from domain.reasons import Reason
from domain.status import Status
from storage.rows import Acceptance, Submission

KEY_CHARS_MAX: Final = 255
AHEAD_MAX: Final = timedelta(days=366)
"""How far ahead a notification may be scheduled, and how long after that it may live."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A submission with the fields that its fingerprint stands for.

    `refused_if_new` says what the clock or the countries that SMS go to have against it: it holds for a
    new notification, and not for the honest retry of one that was accepted before.
    """

    submission: Submission
    supplied: Mapping[str, Any]
    refused_if_new: FieldError | None = None


def key_from(header: list[str], in_body: str | None) -> str:
    """The idempotency key of a request. Raises Problem (400)."""
    given = set(header)
    if len(given) > 1:
        raise Problem(400, "idempotency_key_conflict", "There are several Idempotency-Key headers.")
    if not given and in_body is None:
        raise Problem(
            400,
            "idempotency_key_missing",
            "Send an Idempotency-Key header (or `idempotency_key` in the body): a retry with the same key "
            "never sends twice.",
        )
    key = given.pop() if given else in_body
    assert key is not None
    if not 0 < len(key) <= KEY_CHARS_MAX:
        detail = f"The Idempotency-Key has {len(key)} characters: it must have 1 to {KEY_CHARS_MAX}."
        raise Problem(400, "idempotency_key_invalid", detail)
    if header and not (key.isascii() and key.isprintable()):
        raise Problem(400, "idempotency_key_invalid", "The Idempotency-Key is not printable ASCII.")
    if in_body is not None and in_body != key:
        raise Problem(
            400, "idempotency_key_conflict", "The Idempotency-Key header and `idempotency_key` differ."
        )
    return key


def prepare(ctx: AppContext, tenant: str, request: NotificationIn, key: str) -> Prepared:
    """The submission of a request. Raises Problem (422) for what the configuration does not know."""
    kind = ctx.catalog.types.get(request.type)
    if kind is None:
        known = ", ".join(ctx.catalog.types)
        raise invalid([FieldError("/type", "unknown_type", f"there is no such type; there are {known}")])
    if request.lane is Lane.CRITICAL and kind.lane is not Lane.CRITICAL:
        message = f"only types whose lane is critical may use it; the lane of {request.type} is {kind.lane}"
        raise invalid([FieldError("/lane", "lane_not_allowed", message)])
    supplied = request.model_dump(mode="json", exclude_unset=True, exclude={"idempotency_key"})
    keys = ctx.fingerprint_keys
    to = request.to
    submission = Submission(
        id=notification_id(ctx.namespace, tenant, request.user_id, request.type, key),
        tenant=tenant,
        user_id=request.user_id,
        type=request.type,
        idempotency_key=key,
        fingerprint=fingerprint(keys, next(iter(keys)), supplied),
        lane=request.lane or kind.lane,
        strategy=request.strategy,
        channels=tuple(request.channels),
        body=request.content.body,
        title=request.content.title,
        to_sms=to.sms if to else None,
        to_email=to.email if to else None,
        to_push=to.push if to else None,
        to_whatsapp=to.whatsapp if to else None,
        metadata=request.metadata,
        send_at=request.send_at,
        expires_at=request.expires_at,
        expires_s=kind.expires_s,
        scrub=kind.scrub_when_final,
        solo=needs_workflow(kind, request.strategy),
    )
    if Channel.SMS in request.channels and (refusal := country_refused(ctx, submission.to_sms)):
        return Prepared(submission, supplied, refusal)
    return Prepared(submission, supplied, _too_late(datetime.now(UTC), request))


def is_same(ctx: AppContext, prepared: Prepared, acceptance: Acceptance) -> bool:
    """Whether what was accepted before had the same body."""
    return matches(ctx.fingerprint_keys, acceptance.fingerprint, prepared.supplied)


def reused() -> Problem:
    """The key was used before, for another body."""
    return Problem(
        422,
        "idempotency_key_reused",
        "This idempotency key was used before with another body, for the same user and type. Repeat the "
        "first body to see that notification, or use a new key.",
    )


def accepted_view(submission: Submission, acceptance: Acceptance) -> NotificationView:
    """A notification that was accepted just now, without reading it back."""
    accepted_at, expires_at, status = acceptance.accepted_at, acceptance.expires_at, acceptance.status
    assert accepted_at is not None
    assert expires_at is not None
    assert status is not None
    starts_at = max(accepted_at, submission.send_at or accepted_at)
    deliveries = [
        DeliveryView(channel=channel, status=Status.WAITING, expires_at=expires_at)
        if submission.strategy is Strategy.FIRST and position > 0
        else DeliveryView(channel=channel, status=status, next_pass_at=starts_at, expires_at=expires_at)
        for position, channel in enumerate(submission.channels)
    ]
    return NotificationView(
        id=submission.id,
        user_id=submission.user_id,
        type=submission.type,
        idempotency_key=submission.idempotency_key,
        lane=submission.lane,
        strategy=submission.strategy,
        channels=list(submission.channels),
        status=status,
        created_at=accepted_at,
        send_at=submission.send_at,
        expires_at=expires_at,
        metadata=dict(submission.metadata),
        deliveries=deliveries,
    )


def country_refused(ctx: AppContext, number: str | None) -> FieldError | None:
    """What is wrong with an SMS to the number of `/to/sms`, if its country is not one that SMS go to."""
    countries = ctx.catalog.sms.countries
    if number is None or is_allowed(number, countries):
        return None
    message = f"SMS go to numbers of {', '.join(countries)} only"
    return FieldError("/to/sms", Reason.COUNTRY_NOT_ALLOWED, message)


def _too_late(now: datetime, request: NotificationIn) -> FieldError | None:
    send_at, expires_at = request.send_at, request.expires_at
    if expires_at is not None and expires_at <= now:
        return FieldError("/expires_at", "in_the_past", "it has passed already")
    if send_at is not None and send_at > now + AHEAD_MAX:
        return FieldError("/send_at", "out_of_range", f"at most {AHEAD_MAX.days} days ahead")
    if expires_at is not None and expires_at > now + 2 * AHEAD_MAX:
        return FieldError("/expires_at", "out_of_range", f"at most {2 * AHEAD_MAX.days} days ahead")
    if send_at is not None and expires_at is not None and expires_at <= send_at:
        return FieldError("/expires_at", "before_send_at", "it passes before `send_at`")
    return None
