"""The OpenAPI document is complete, documents error responses, and its examples work."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from api.access import ACCESS, Whose
from domain.reasons import Reason

KEYLESS = ("/healthz", "/readyz", "/v1/callbacks/{provider}", "/v1/unsubscribe/{token}")
PROBLEM = "application/problem+json"

Operations = list[tuple[str, str, dict[str, Any]]]


@pytest_asyncio.fixture(scope="module")
async def document(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        return (await client.get("/openapi.json")).json()


def operations(document: dict[str, Any]) -> Operations:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs(inner)


async def test_every_reference_resolves_and_every_schema_is_used(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["info"].keys() >= {"title", "version"}
    found = set(refs(document))
    assert found == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    schemes = document["components"]["securitySchemes"]
    for _, path, operation in operations(document):
        assert all(name in schemes for need in operation.get("security", ()) for name in need), path


async def test_every_operation_is_complete(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids) >= 24
    for method, path, operation in operations(document):
        place = f"{method} {path}"
        assert operation.get("description"), f"{place} has no description"
        if path not in KEYLESS:
            access = ACCESS[method.upper(), path.removeprefix("/v1")]
            assert operation["security"] == [{"HTTPBearer": [access.scope]}], place
            assert operation["x-key"] == access.whose, place
        parameters = [(one["in"], one["name"]) for one in operation.get("parameters", ())]
        assert len(set(parameters)) == len(parameters), place
        in_path = {name for where, name in parameters if where == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), place
        assert all(one["required"] for one in operation.get("parameters", ()) if one["in"] == "path"), place
        assert all(one["description"] for one in operation["responses"].values()), place


@pytest.mark.parametrize("schema", ["NotificationView", "DeliveryView", "Timeline"])
async def test_reason_codes_are_listed(document: dict[str, Any], schema: str) -> None:
    found = document["components"]["schemas"][schema]["properties"]["reason_code"]["anyOf"]
    assert {code for one in found for code in one.get("enum", ())} == set(Reason)


async def test_error_responses_are_documented(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        place, answers = f"{method} {path}", operation["responses"]
        if path not in KEYLESS:
            assert {"400", "401", "403", "422", "503"} <= answers.keys(), place
        if "requestBody" in operation:
            assert {"400", "413"} <= answers.keys(), place
        for status, answer in answers.items():
            if status >= "400" and path != "/readyz":
                page = {"text/html"} if (path, status) == ("/v1/unsubscribe/{token}", "404") else set[str]()
                assert answer["content"].keys() == {PROBLEM} | page, f"{place} {status}"
    submit = document["paths"]["/v1/notifications"]["post"]
    assert {"202", "200"} <= submit["responses"].keys()
    assert [parameter["name"] for parameter in submit["parameters"]] == ["Idempotency-Key", "Herald-Tenant"]


async def test_request_examples_are_accepted(
    api: httpx.AsyncClient, operator: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    tried = 0
    for method, path, operation in operations(document):
        brings = operation.get("requestBody", {}).get("content", {})
        if "application/json" not in brings:
            continue
        schema = brings["application/json"]["schema"]
        (name,) = {ref.rpartition("/")[2] for ref in refs(schema)}
        for example in document["components"]["schemas"][name]["examples"]:
            asked = path.format(user_id="ada", id=uuid4(), name="twilio").removeprefix("/v1")
            of_installation = ACCESS[method.upper(), path.removeprefix("/v1")].whose is Whose.INSTALLATION
            client = operator if of_installation else api
            answer = await client.request(method, asked, json=example, headers={"Idempotency-Key": "txn-981"})
            # The id in the path does not exist: the 404 comes after the body is validated.
            there = (404,) if "{id}" in path else (200, 201, 202)
            assert answer.status_code in there, f"{method} {path}: {answer.text}"
            assert answer.json().get("refused", 0) == 0
            tried += 1
    assert tried >= 10
