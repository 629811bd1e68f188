"""Corrections to vendors' documents that are wrong about the vendor's service, applied to a copy.

Every run prints its amendments. One that finds nothing to change stops the run: the vendor fixed it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PAGE_ADDRESSES = frozenset({"uri", "first_page_uri", "next_page_uri", "previous_page_uri"})


@dataclass(frozen=True, slots=True)
class Amendment:
    """One change. `amend` applies it and returns the number of places."""

    document: str
    reason: str
    amend: Callable[[dict[str, Any]], int]


class Stale(Exception):
    """An amendment that the document does not need. The message says which."""


def _relative_addresses(document: dict[str, Any]) -> int:
    """Twilio's lists use relative page addresses; a `uri` is absolute (RFC 3986, 4.1 and 4.3)."""
    changed = 0
    for properties in _all(document, "properties"):
        for name in PAGE_ADDRESSES & properties.keys():
            if properties[name].get("format") == "uri":
                properties[name]["format"] = "uri-reference"
                changed += 1
    return changed


def _our_reference(document: dict[str, Any]) -> int:
    """Meta documents the field for messages and statuses; the document lacks it."""
    properties = document["components"]["schemas"]["BaseMessageProperties"]["properties"]
    if "biz_opaque_callback_data" in properties:
        return 0
    properties["biz_opaque_callback_data"] = {"type": "string", "maxLength": 512}
    return 1


def _button_index(document: dict[str, Any]) -> int:
    """Its pattern contradicts its own example, "0", and its own description, "(0-9)"."""
    index = document["components"]["schemas"]["TemplateComponent"]["properties"]["index"]
    if index["pattern"] == "^[0-9]$":
        return 0
    index["pattern"] = "^[0-9]$"
    return 1


AMENDMENTS: Sequence[Amendment] = (
    Amendment(
        "twilio_api_v2010_messages.json",
        "page addresses in lists are relative, which is not `format: uri`",
        _relative_addresses,
    ),
    Amendment(
        "whatsapp_cloud_messages_trimmed.yaml",
        "`biz_opaque_callback_data` is documented with messages, and missing here",
        _our_reference,
    ),
    Amendment(
        "whatsapp_cloud_messages_trimmed.yaml",
        "a button's `index` is 0 to 9 in its description and example, but not in its pattern",
        _button_index,
    ),
)


def amended(document: Path, directory: Path) -> tuple[Path, list[str]]:
    """The document, or a copy with its amendments, and a line to print for each. Raises Stale."""
    ours = [one for one in AMENDMENTS if one.document == document.name]
    if not ours:
        return document, []
    text = document.read_text(encoding="utf-8")
    content = json.loads(text) if document.suffix == ".json" else yaml.load(text, yaml.CSafeLoader)
    lines: list[str] = []
    for one in ours:
        places = one.amend(content)
        if not places:
            raise Stale(f"{document.name} no longer needs this amendment: {one.reason}")
        lines.append(f"amended in {places} place{'s' * (places > 1)}: {one.reason}")
    copy = directory / f"{document.stem}.amended.json"
    copy.write_text(json.dumps(content, default=str), encoding="utf-8")
    return copy, lines


def _all(value: object, key: str) -> Iterator[dict[str, Any]]:
    """Every object below this key, anywhere."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key and isinstance(inner, dict):
                yield inner
            yield from _all(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _all(inner, key)
