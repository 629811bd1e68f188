"""Submitting many notifications in one request."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from api.auth import Tenant
from api.bodies import Body
from api.body_sizes import VALUES_MAX
from api.context import AppContext, Ctx
from api.direct import DirectRoute
from api.models import BatchIn, BatchItem, BatchOut, NotificationIn, NotificationView
from api.problems import FieldError, Problem, documented, invalid, invalid_body
from api.requests import has_more_values, values_max_in
from api.submissions import Prepared, accepted_view, is_same, prepare, reused
from api.turns import Turns
from storage.queries import Row
from storage.records import Acceptance

direct = APIRouter(
    prefix="/v1", tags=["notifications"], route_class=DirectRoute, responses=documented(401, 503)
)

LISTED_ERRORS_MAX: Final = 1_000
"""How many errors the response lists, besides the first one of each item."""
_PORTION: Final = 25
"""How many items take each step together. Step by step, a processor keeps the step's code in its caches: a
sixth less time than item by item.
"""
_KINDS: Final = {202: "accepted", 200: "replayed", 422: "refused"}
"""The counts of the response, in its order."""
_ITEMS: Final = TypeAdapter(list[BatchItem])


@direct.post(
    "/notifications/batch",
    summary="Submit a batch of notifications",
    response_model=BatchOut,
    responses=documented(400, 413, 422),
)
async def submit_batch(body: Body[BatchIn], request: Request, tenant: Tenant, ctx: Ctx) -> Response:
    """Accept up to 1,000 notifications in one transaction, each accepted or refused separately.

    The response is 200 whatever the results; each item's `status` is 202 (new), 200 (replayed), or 422 with
    a `problem`. A refused item does not affect the others.
    """
    items = body.notifications
    ctx.rate_limits.charge(request.state.caller, len(items) - 1)
    turns, told = Turns(), _Told()
    spare = values_max_in(await request.body()) - sum(len(item) for item in items if type(item) is dict)
    async with ctx.one_batch:
        results = await _prepare_all(ctx, tenant, items, spare, turns, told)
    late = [item.submission.id for item in results if isinstance(item, Prepared) and item.refused_if_new]
    known = await ctx.ledger.accepted(late) if late else {}
    for index, item in enumerate(results):
        if isinstance(item, Prepared) and item.refused_if_new and item.submission.id not in known:
            results[index] = _refused(index, invalid([item.refused_if_new]), told)
    ready = [item for item in results if isinstance(item, Prepared)]
    acceptances = await ctx.ledger.accept_all([item.submission for item in ready]) if ready else []
    replayed = [
        acceptance.id
        for item, acceptance in zip(ready, acceptances, strict=True)
        if not acceptance.created and is_same(ctx, item, acceptance)
    ]
    rows = await ctx.queries.notifications(tenant, replayed) if replayed else {}
    _count(ctx, ready, acceptances)
    answers = iter(zip(ready, acceptances, strict=True))
    async with ctx.one_batch:
        content = await _write(ctx, results, answers, rows, turns, told)
    return Response(content, media_type="application/json")


class _Told:
    """How many errors a batch's response still lists: one of each item in any case."""

    def __init__(self) -> None:
        self._left = LISTED_ERRORS_MAX

    def first(self, errors: Sequence[FieldError]) -> Sequence[FieldError]:
        """Return those of an item's errors that are listed."""
        listed = errors[: max(1, self._left)]
        self._left -= len(listed)
        return listed


async def _prepare_all(
    ctx: AppContext, tenant: str, items: Sequence[Any], spare: int, turns: Turns, told: _Told
) -> list[Prepared | BatchItem]:
    """`spare`: how many values the body may have besides the fields of its items."""
    results: list[Prepared | BatchItem] = []
    for start in range(0, len(items), _PORTION):
        requests: list[NotificationIn | BatchItem] = []
        for index, item in enumerate(items[start : start + _PORTION], start):
            requests.append(_validate(index, item, spare, told))
            if turns.is_over():
                await turns.give()
        for index, request in enumerate(requests, start):
            results.append(
                request if isinstance(request, BatchItem) else _prepare(ctx, tenant, index, request, told)
            )
            if turns.is_over():
                await turns.give()
    return results


async def _write(
    ctx: AppContext,
    results: Sequence[Prepared | BatchItem],
    answers: Iterator[tuple[Prepared, Acceptance]],
    rows: Mapping[UUID, Row],
    turns: Turns,
    told: _Told,
) -> bytes:
    """Write the response as JSON: FastAPI, or one call for a thousand items, would hold the event loop."""
    counts: Counter[str] = Counter()
    parts: list[bytes] = []
    for start in range(0, len(results), _PORTION):
        items = [
            result if isinstance(result, BatchItem) else _item(ctx, index, *next(answers), rows, told)
            for index, result in enumerate(results[start : start + _PORTION], start)
        ]
        counts.update(_KINDS[item.status] for item in items)
        # Without the brackets of the list.
        parts.append(_ITEMS.dump_json(items)[1:-1])
        if turns.is_over():
            await turns.give()
    totals = ",".join(f'"{kind}":{counts[kind]}' for kind in _KINDS.values())
    return b'{%b,"results":[%b]}' % (totals.encode(), b",".join(parts))


def _validate(index: int, item: Any, spare: int, told: _Told) -> NotificationIn | BatchItem:
    try:
        few = type(item) is dict and spare + len(item) < VALUES_MAX
        if not few and has_more_values(item, VALUES_MAX):
            raise invalid([FieldError("", "too_many_values", f"more than {VALUES_MAX} values")])
        return NotificationIn.model_validate(item)
    except ValidationError as error:
        return _refused(index, invalid_body(error), told)
    except Problem as problem:
        return _refused(index, problem, told)


def _prepare(
    ctx: AppContext, tenant: str, index: int, request: NotificationIn, told: _Told
) -> Prepared | BatchItem:
    try:
        if request.idempotency_key is None:
            raise invalid([FieldError("/idempotency_key", "required", "each item needs an idempotency key")])
        return prepare(ctx, tenant, request, request.idempotency_key)
    except Problem as problem:
        return _refused(index, problem, told)


def _refused(index: int, problem: Problem, told: _Told) -> BatchItem:
    listed = told.first(problem.errors)
    errors = [replace(error, pointer=f"/notifications/{index}{error.pointer}") for error in listed]
    omitted = problem.omitted + len(problem.errors) - len(listed)
    placed = Problem(problem.status, problem.code, problem.detail, errors=errors, omitted=omitted)
    return BatchItem(index=index, status=problem.status, problem=placed.document())


def _count(ctx: AppContext, prepared: Sequence[Prepared], acceptances: Sequence[Acceptance]) -> None:
    created = Counter(
        (item.submission.type, item.submission.lane)
        for item, acceptance in zip(prepared, acceptances, strict=True)
        if acceptance.created
    )
    for (name, lane), amount in created.items():
        ctx.metrics.accepted.add(amount, type=name, lane=lane)


def _item(
    ctx: AppContext,
    index: int,
    prepared: Prepared,
    acceptance: Acceptance,
    rows: Mapping[UUID, Row],
    told: _Told,
) -> BatchItem:
    if acceptance.created:
        view = accepted_view(prepared.submission, acceptance)
        return BatchItem(index=index, status=202, id=acceptance.id, notification=view)
    if not is_same(ctx, prepared, acceptance):
        return _refused(index, reused(), told)
    view = NotificationView.of(rows[acceptance.id])
    return BatchItem(index=index, status=200, id=acceptance.id, replayed=True, notification=view)
