"""The search attributes by which notifications are found in the Temporal Web UI."""

from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

TENANT = SearchAttributeKey.for_keyword("HeraldTenant")
TYPE = SearchAttributeKey.for_keyword("HeraldType")
CHANNEL = SearchAttributeKey.for_keyword_list("HeraldChannel")
STAGE = SearchAttributeKey.for_keyword("HeraldStage")
"""Where a notification left the happy path: `retrying`, `awaiting_receipt_late`, `dead_lettered`, … Upserts
are expensive, so a notification on the happy path has no stage.
"""

SEARCH_ATTRIBUTES: Final = {
    TENANT.name: "Keyword",
    TYPE.name: "Keyword",
    STAGE.name: "Keyword",
    CHANNEL.name: "KeywordList",
}
"""Each with its kind, as the `temporal` program names kinds."""

INDEXED_TYPES: Final = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}


def attributes(tenant: str, type: str, channels: "list[str]") -> TypedSearchAttributes:
    """The search attributes that a workflow starts with."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(TENANT, tenant),
            SearchAttributePair(TYPE, type),
            SearchAttributePair(CHANNEL, channels),
        ]
    )
