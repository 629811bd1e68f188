"""A workflow that waits and returns its search attributes."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey

CHANNEL = SearchAttributeKey.for_keyword_list("HeraldChannel")
STAGE = SearchAttributeKey.for_keyword("HeraldStage")


@workflow.defn
class Patient:
    @workflow.run
    async def run(self, wait_s: float) -> list[str]:
        await workflow.sleep(timedelta(seconds=wait_s))
        workflow.upsert_search_attributes([STAGE.value_set("waited")])
        attributes = workflow.info().typed_search_attributes
        return [*(attributes.get(CHANNEL) or []), attributes.get(STAGE) or ""]
