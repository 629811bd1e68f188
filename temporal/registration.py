"""Registers the search attributes with a Temporal server."""

from dataclasses import dataclass

from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

from configuration.tls import TlsFiles
from temporal.search_attributes import INDEXED_TYPES, SEARCH_ATTRIBUTES
from temporal.tls import tls_config


class RegistrationError(Exception):
    """The search attributes are not registered. The message says where, and what to do."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What Temporal says about itself. `missing`: search attributes that are not registered."""

    version: str
    missing: tuple[str, ...]


async def inspect_server(
    address: str, namespace: str, *, api_key: str | None = None, tls: TlsFiles | None = None
) -> ServerState:
    """The server's version and what is missing in the namespace. Raises RegistrationError."""
    try:
        client = await Client.connect(address, namespace=namespace, api_key=api_key, tls=tls_config(tls))
        system = await client.workflow_service.get_system_info(GetSystemInfoRequest())
        return ServerState(system.server_version, tuple(await _missing(client, namespace)))
    except (RPCError, RuntimeError) as error:
        raise _failed(address, namespace, error) from error


async def register_search_attributes(
    address: str, namespace: str, *, api_key: str | None = None, tls: TlsFiles | None = None
) -> list[str]:
    """Register the missing search attributes; returns their names. Safe to repeat. Raises RegistrationError.

    A server needs some seconds before workflows can use a new one. On a self-hosted server the caller needs
    access to the operator service.
    """
    try:
        client = await Client.connect(address, namespace=namespace, api_key=api_key, tls=tls_config(tls))
        missing = await _missing(client, namespace)
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=namespace,
                    search_attributes={name: INDEXED_TYPES[SEARCH_ATTRIBUTES[name]] for name in missing},
                )
            )
    except (RPCError, RuntimeError) as error:
        raise _failed(address, namespace, error) from error
    return missing


async def _missing(client: Client, namespace: str) -> list[str]:
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=namespace)
    )
    return sorted(SEARCH_ATTRIBUTES.keys() - listed.custom_attributes.keys())


def _failed(address: str, namespace: str, error: Exception) -> RegistrationError:
    return RegistrationError(
        f"Temporal at {address}, namespace {namespace}, cannot be prepared: {error}. "
        "Check HERALD_TEMPORAL__ADDRESS and HERALD_TEMPORAL__NAMESPACE."
    )
