"""Registers the search attributes with a Temporal server."""

from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from configuration.tls import TlsFiles
from temporal.search_attributes import INDEXED_TYPES, SEARCH_ATTRIBUTES
from temporal.tls import tls_config


class RegistrationError(Exception):
    """The search attributes are not registered. The message says where, and what to do."""


async def register_search_attributes(
    address: str, namespace: str, *, api_key: str | None = None, tls: TlsFiles | None = None
) -> list[str]:
    """Register the missing search attributes; returns their names. Safe to repeat. Raises RegistrationError.

    A server needs some seconds before workflows can use a new one. On a self-hosted server the caller needs
    access to the operator service.
    """
    try:
        client = await Client.connect(address, namespace=namespace, api_key=api_key, tls=tls_config(tls))
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=namespace)
        )
        missing = {
            name: INDEXED_TYPES[kind]
            for name, kind in SEARCH_ATTRIBUTES.items()
            if name not in listed.custom_attributes
        }
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=namespace, search_attributes=missing)
            )
    except (RPCError, RuntimeError) as error:
        raise RegistrationError(
            f"Temporal at {address}, namespace {namespace}, cannot be prepared: {error}. "
            "Check HERALD_TEMPORAL__ADDRESS and HERALD_TEMPORAL__NAMESPACE."
        ) from error
    return sorted(missing)
