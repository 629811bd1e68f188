"""The reference of the API: the OpenAPI document, and a page that shows it.

The page is plain HTML without scripts, so that it needs no other site and works offline.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:auto;padding:1rem}"
    "code{font-family:ui-monospace,monospace}h3 code{font-size:1rem}"
    "table{border-collapse:collapse}td,th{border:1px solid;padding:.2rem .5rem;text-align:left}"
    "pre{overflow-x:auto}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
}

Pages = tuple[bytes, str]


class Reference:
    """Serves /openapi.json and /docs. Both are made on first use, in a thread: this takes a while."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._made: asyncio.Task[Pages] | None = None
        app.add_api_route("/openapi.json", self.document, include_in_schema=False)
        app.add_api_route("/docs", self.page, include_in_schema=False)

    async def document(self) -> Response:
        """Return the OpenAPI document."""
        return Response((await self._pages())[0], media_type="application/json")

    async def page(self) -> HTMLResponse:
        """Return the page that shows the document."""
        return HTMLResponse((await self._pages())[1], headers=_HEADERS)

    async def _pages(self) -> Pages:
        if self._made is None:
            self._made = asyncio.create_task(asyncio.to_thread(self._make))
        return await asyncio.shield(self._made)

    def _make(self) -> Pages:
        document = self._app.openapi()
        return json.dumps(document, separators=(",", ":")).encode(), "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
    yield f"<title>{escape(info['title'])}</title>\n"
    yield f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n'
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>\n<p>{escape(info['summary'])}</p>\n"
    yield '<p>For tools: <a href="openapi.json">openapi.json</a>.</p>\n'
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for tag in dict.fromkeys(tag for *_, operation in operations for tag in operation["tags"]):
        yield f"<h2>{escape(tag.capitalize())}</h2>\n"
        for method, path, operation in operations:
            if tag in operation["tags"]:
                yield from _operation(method, path, operation)
    yield "<h2>Schemas</h2>\n"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3>\n{_text(schema.get("description", ""))}'
        needed = schema.get("required", ())
        properties: dict[str, Any] = schema.get("properties", {})
        yield from _table(
            (
                f"<code>{escape(field)}</code>",
                _kind(of),
                "required" if field in needed else "",
                _notes(of),
            )
            for field, of in properties.items()
        )
        if "enum" in schema:
            yield f"<p>One of {_values(schema['enum'])}.</p>\n"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h3 id="{escape(operation["operationId"])}">{escape(operation["summary"])} '
    yield f"<code>{method.upper()} {escape(path)}</code></h3>\n{_text(operation['description'])}"
    yield from _table(
        (
            f"<code>{escape(one['name'])}</code>",
            f"in {one['in']}, {_kind(one['schema'])}",
            "required" if one.get("required") else "",
            escape(one.get("description", "")),
        )
        for one in operation.get("parameters", ())
    )
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: {escape(media_type)}, {_kind(content.get('schema', {}))}</p>\n"
    yield from _table(
        (status, escape(answer["description"]), _bodies(answer), "")
        for status, answer in operation["responses"].items()
    )


def _table(rows: Iterator[tuple[str, str, str, str]]) -> Iterator[str]:
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows]
    if lines:
        yield f"<table>\n{''.join(lines)}</table>\n"


def _text(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>\n" for part in text.split("\n\n") if part)


def _bodies(answer: Mapping[str, Any]) -> str:
    contents: dict[str, Any] = answer.get("content", {})
    return "; ".join(f"{escape(kind)} {_kind(of.get('schema', {}))}" for kind, of in contents.items())


def _kind(schema: Mapping[str, Any]) -> str:
    """Return what a schema is, in a few words with links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_kind(one) for one in schema[several])
    if schema.get("type") == "array":
        return f"array of {_kind(schema.get('items', {}))}"
    return escape(schema.get("format") or schema.get("type") or "")


def _notes(schema: Mapping[str, Any]) -> str:
    notes = [escape(schema["description"])] if "description" in schema else []
    if "enum" in schema:
        notes.append(f"One of {_values(schema['enum'])}.")
    return " ".join(notes)


def _values(values: list[Any]) -> str:
    return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)
