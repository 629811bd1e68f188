"""Turns a validated request into a submission for the ledger, and its acceptance into a response."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from api.context import AppContext
from api.models import NotificationIn, NotificationView
from api.problems import FieldError, Problem, invalid
from api.times import time_refused
from domain.access import is_test
from domain.batching import needs_workflow
from domain.fingerprint import fingerprint, matches
from domain.ids import notification_id
from domain.notification import Channel, Lane, Strategy
from domain.status import Status
from storage.records import Acceptance, Submission

KEY_CHARS_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Prepared:
    """A submission, and the fields that its fingerprint covers.

    `refused_if_new`: an error of its times, or a number that SMS may not go to. It refuses a new
    notification, but not the repeated request for one that was accepted earlier.
    """

    submission: Submission
    supplied: Mapping[str, Any]
    refused_if_new: FieldError | None = None


def key_from(header: list[str], in_body: str | None) -> str:
    """Return the idempotency key of a request. Raises Problem (400)."""
    given = set(header)
    if len(given) > 1:
        raise Problem(
            400, "idempotency_key_conflict", "The request has several different Idempotency-Key headers."
        )
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
    """Build the submission of a request. Raises Problem (422) for a type or lane that is not allowed."""
    rules = ctx.catalog.types.get(request.type)
    if rules is None:
        known = ", ".join(ctx.catalog.types)
        raise invalid([FieldError("/type", "unknown_type", f"unknown type; expected one of {known}")])
    if request.lane is Lane.CRITICAL and rules.lane is not Lane.CRITICAL:
        message = f"only types whose lane is critical may use it; the lane of {request.type} is {rules.lane}"
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
        lane=request.lane or rules.lane,
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
        expires_s=rules.expires_s,
        scrub=rules.scrub_when_final,
        private_metadata=rules.private_keys(request.metadata) if rules.scrub_when_final else (),
        dedicated_workflow=needs_workflow(rules, request.strategy),
    )
    if Channel.SMS in request.channels and (refusal := number_refused(ctx, tenant, submission.to_sms)):
        return Prepared(submission, supplied, refusal)
    late = time_refused(datetime.now(UTC), "send_at", request.send_at, request.expires_at)
    return Prepared(submission, supplied, late)


def is_same(ctx: AppContext, prepared: Prepared, acceptance: Acceptance) -> bool:
    """Return whether the notification that was accepted before had the same body."""
    return matches(ctx.fingerprint_keys, acceptance.fingerprint, prepared.supplied)


def reused() -> Problem:
    """Build the problem for a key that was used before with another body."""
    return Problem(
        422,
        "idempotency_key_reused",
        "This idempotency key was used before with another body, for the same user and type. Send the "
        "first body again to get that notification, or use a new key.",
    )


def accepted_view(submission: Submission, acceptance: Acceptance) -> NotificationView:
    """Build the view of a notification that was just accepted, without reading it back."""
    accepted_at, expires_at, status = acceptance.accepted_at, acceptance.expires_at, acceptance.status
    assert accepted_at is not None
    assert expires_at is not None
    assert status is not None
    starts_at = max(accepted_at, submission.send_at or accepted_at)
    waits = submission.strategy is Strategy.FIRST
    deliveries = [
        {"channel": channel, "status": Status.WAITING, "expires_at": expires_at}
        if waits and position > 0
        else {"channel": channel, "status": status, "next_pass_at": starts_at, "expires_at": expires_at}
        for position, channel in enumerate(submission.channels)
    ]
    # One validation of everything costs less than building each part.
    return NotificationView.model_validate(
        {
            "id": submission.id,
            "user_id": submission.user_id,
            "type": submission.type,
            "idempotency_key": submission.idempotency_key,
            "lane": submission.lane,
            "strategy": submission.strategy,
            "channels": submission.channels,
            "status": status,
            "created_at": accepted_at,
            "send_at": submission.send_at,
            "expires_at": expires_at,
            "metadata": submission.metadata,
            "test": is_test(submission.tenant),
            "deliveries": deliveries,
        }
    )


def number_refused(ctx: AppContext, tenant: str, number: str | None) -> FieldError | None:
    """Return the error for a number in `/to/sms` that SMS may not go to, or None."""
    policy = ctx.catalog.sms.of(tenant)
    refusal = policy.refusal_of(number) if number is not None else None
    return FieldError("/to/sms", refusal, policy.explain(refusal)) if refusal else None
