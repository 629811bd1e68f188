"""Registers the search attributes by which notifications are found in the Temporal Web UI."""

from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from workflows.search_attributes import SEARCH_ATTRIBUTES

_KINDS: Final = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}


class RegistrationError(Exception):
    """The search attributes are not registered. The message says with whom, and what to do."""


async def register_search_attributes(
    address: str, namespace: str, *, api_key: str | None = None, tls: bool = False
) -> list[str]:
    """Register those that are missing; returns their names. Safe to repeat. Raises RegistrationError.

    A server takes some seconds to let workflows use a new one; on a self-hosted server the caller needs
    access to the operator service.
    """
    try:
        client = await Client.connect(address, namespace=namespace, api_key=api_key, tls=tls)
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=namespace)
        )
        missing = {n: _KINDS[k] for n, k in SEARCH_ATTRIBUTES.items() if n not in listed.custom_attributes}
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=namespace, search_attributes=missing)
            )
    except (RPCError, RuntimeError) as error:
        raise RegistrationError(
            f"Temporal at {address}, namespace {namespace}, cannot be prepared: {error}. "
            "HERALD_TEMPORAL__ADDRESS and HERALD_TEMPORAL__NAMESPACE say which one is used."
        ) from error
    return sorted(missing)
