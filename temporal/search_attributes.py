"""The search attributes by which notifications are found in the Temporal Web UI: these four, no more."""

from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

TENANT = SearchAttributeKey.for_keyword("HeraldTenant")
TYPE = SearchAttributeKey.for_keyword("HeraldType")
CHANNEL = SearchAttributeKey.for_keyword_list("HeraldChannel")
STAGE = SearchAttributeKey.for_keyword("HeraldStage")
"""Where a notification has left its happy path: `retrying`, `awaiting_receipt_late`, `dead_lettered`, … An
upsert is expensive, so a notification that simply goes through never gets one.
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
    """What a workflow is found by from its start."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(TENANT, tenant),
            SearchAttributePair(TYPE, type),
            SearchAttributePair(CHANNEL, channels),
        ]
    )
