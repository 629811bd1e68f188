"""Pages of a list, written item by item: one call for two hundred large items would hold the event loop."""

import json
from collections.abc import Iterable

from fastapi import Response
from pydantic import BaseModel

from api.context import AppContext
from api.cursors import cursor_of, position_of
from api.models import NotificationView
from api.turns import Turns
from storage.queries import Filter


async def page_of(name: str, views: Iterable[BaseModel], next_cursor: str | None) -> Response:
    """The response with these views, in a list of this name. Each is made when its turn comes."""
    turns, parts = Turns(), list[str]()
    for view in views:
        parts.append(view.model_dump_json())
        await turns.give()
    content = f'{{"{name}":[{",".join(parts)}],"next_cursor":{json.dumps(next_cursor)}}}'
    return Response(content, media_type="application/json")


async def notification_page(
    ctx: AppContext, tenant: str, matching: Filter, cursor: str | None, limit: int
) -> Response:
    """A page of the matching notifications. Raises Problem (422) for an invalid cursor."""
    after = position_of(cursor) if cursor else None
    found = await ctx.queries.list_page(tenant, matching, limit, after)
    rows = await ctx.queries.notifications(tenant, [position.id for position in found.positions])
    shown = (rows[position.id] for position in found.positions if position.id in rows)
    next_cursor = cursor_of(found.next) if found.next else None
    return await page_of("notifications", map(NotificationView.of, shown), next_cursor)
