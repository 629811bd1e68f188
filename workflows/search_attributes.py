"""The search attributes by which notifications are found in the Temporal Web UI: these four, no more."""

from temporalio.common import SearchAttributeKey

TENANT = SearchAttributeKey.for_keyword("HeraldTenant")
TYPE = SearchAttributeKey.for_keyword("HeraldType")
CHANNEL = SearchAttributeKey.for_keyword_list("HeraldChannel")
STAGE = SearchAttributeKey.for_keyword("HeraldStage")
"""Where a notification is off its happy path: `retrying`, `awaiting_receipt_late`, `dead_lettered`, … An
upsert is expensive, so that a notification that simply goes through never gets one.
"""

SEARCH_ATTRIBUTES = {
    TENANT.name: "Keyword",
    TYPE.name: "Keyword",
    STAGE.name: "Keyword",
    CHANNEL.name: "KeywordList",
}
"""Each with its kind, as the `temporal` program names kinds."""
