"""The OpenAPI document: what FastAPI generates, corrected where it does not describe this API."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from api.access import ACCESS, TENANT_HEADER, Access, Whose
from api.problems import MEDIA_TYPE, documented

_SCHEMAS: Final = "#/components/schemas/"
_OF_ALL: Final = (400,)
"""Errors that any route may return: a query can have too many parameters."""
_OF_BODIES: Final = (400, 408, 413)
"""Errors that any route with a body may return."""
_OF_KEYS: Final = (400, 403)
"""Errors that any route with a key may return."""
_TENANT: Final[dict[str, Any]] = {
    "name": TENANT_HEADER,
    "in": "header",
    "required": False,
    "description": "The tenant for which a key of the installation acts. Other keys omit it.",
    "schema": {"type": "string", "maxLength": 64},
    "example": "acme",
}


def correct(app: FastAPI) -> None:
    """Make the document describe errors as problems only, and successes by the name of their status."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _correct(generate())
        return generate()

    app.openapi = openapi


def _correct(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            if access := ACCESS.get((method.upper(), path.removeprefix("/v1"))):
                _describe_access(operation, access)
            if path.startswith("/v1/"):
                _add_problems(responses, _OF_ALL)
            if "security" in operation or "callbacks" in operation["tags"]:
                _add_problems(responses, (429,))
            if "requestBody" in operation:
                _add_problems(responses, _OF_BODIES)
            _only_problems(responses)
            _name_successes(responses)
            operation["responses"] = dict(sorted(responses.items()))
    # Routers are in the order of their traffic. Readers want what they call before what providers call.
    paths = sorted(document["paths"].items(), key=lambda item: item[0].startswith("/v1/callbacks/"))
    document["paths"] = dict(paths)
    _drop_unused(document)


def _describe_access(operation: dict[str, Any], access: Access) -> None:
    """Say which scope the operation needs, and whose key."""
    whose = " of a key of the installation" if access.whose is Whose.INSTALLATION else ""
    operation["description"] += f"\n\nNeeds the scope `{access.scope}`{whose}."
    operation["security"] = [{scheme: [access.scope.value] for scheme in operation["security"][0]}]
    operation["x-key"] = access.whose.value
    if access.whose is not Whose.INSTALLATION:
        operation["parameters"] = [*operation.get("parameters", ()), dict(_TENANT)]
    _add_problems(operation["responses"], _OF_KEYS)


def _add_problems(responses: dict[str, Any], statuses: Sequence[int]) -> None:
    for status, response in documented(*statuses).items():
        shown = {name: value for name, value in response.items() if name != "model"}
        responses.setdefault(str(status), shown)


def _only_problems(responses: dict[str, Any]) -> None:
    for status, response in list(responses.items()):
        content = response.get("content", {})
        if MEDIA_TYPE in content:
            content.pop("application/json", None)
        elif status == "422":
            del responses[status]


def _name_successes(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if response["description"] == "Successful Response":
            response["description"] = HTTPStatus(int(status)).phrase


def _drop_unused(document: dict[str, Any]) -> None:
    """Drop the schemas that nothing refers to: FastAPI's own validation errors."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    used: set[str] = set()
    found = set(_names(document["paths"]))
    while found:
        used |= found
        found = {name for known in found for name in _names(schemas[known])} - used
    document["components"]["schemas"] = {name: schemas[name] for name in schemas if name in used}


def _names(value: Any) -> Iterator[str]:
    """Yield the schemas that a part of the document refers to."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref" and isinstance(inner, str):
                yield inner.removeprefix(_SCHEMAS)
            else:
                yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)
