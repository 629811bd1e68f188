"""Logs to stderr, one line per event, with private values removed."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from datetime import date, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from telemetry.scrub import PRIVATE, scrub

PRIVATE_KEYS = frozenset(
    {
        *("to", "sms", "phone", "email", "address", "addresses", "contact", "contacts", "recipient"),
        *("from", "sender", "device", "devices", "target"),
        *("body", "title", "content", "text", "message", "subject", "payload", "metadata", "data"),
        *("token", "fcm_token", "apns_token", "device_token", "authorization", "headers", "cookie"),
        *("api_key", "auth_token", "password", "secret", "secret_key", "signature", "idempotency_key"),
        *("request", "response", "raw", "url", "params", "query", "args", "kwargs", "input"),
    }
)
"""Keys of addresses, content and credentials, whose values are not logged. Log an id or a code instead."""

_QUIET = ("httpx", "httpcore", "hpack", "aiohttp.access", "uvicorn.access", "temporalio", "asyncio")
_PLAIN = (int, float, bool, type(None), UUID, date, timedelta, Path)
_HANDLER_NAME = "herald"


def configure(level: str = "INFO", log_format: str = "json") -> None:
    """Send the logs of structlog and the standard library to stderr, in the format `json` or `console`.

    May be called again; the last call wins. Raises ValueError for an unknown level or format.
    HTTP clients and access logs log warnings only, because they print whole addresses and keys.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"the log level is {level!r}: use DEBUG, INFO, WARNING or ERROR")
    if log_format not in ("json", "console"):
        raise ValueError(f"the log format is {log_format!r}: use json or console")

    enrich: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = structlog.processors.JSONRenderer() if log_format == "json" else _console()
    handler = logging.StreamHandler(sys.stderr)
    handler.name = _HANDLER_NAME
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=enrich,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Format the traceback first, so that messages in it are scrubbed too.
                structlog.processors.format_exc_info,
                keep_private,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.name == _HANDLER_NAME]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *enrich,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def alert(event: str, **ids: Any) -> None:
    """Alert the operators: an ERROR event with `alert` set. `ids` are ids, codes and counts."""
    structlog.stdlib.get_logger("herald.alert").error(event, alert=True, **ids)


def keep_private(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove private values from an event (a structlog processor).

    Removes all values under PRIVATE_KEYS, masks addresses and credentials in texts, and logs only the class
    of objects whose text may be private.
    """
    return {key: PRIVATE if _is_private(key) else _shown(value) for key, value in event.items()}


def _is_private(key: object) -> bool:
    return str(key).lower().replace("-", "_") in PRIVATE_KEYS


def _shown(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, _PLAIN):
        return value if isinstance(value, int | float | None) else str(value)
    if isinstance(value, Mapping):
        return {
            scrub(str(key)): PRIVATE if _is_private(key) else _shown(inner) for key, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(inner) for inner in value]
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {scrub(str(value))}"
    return f"[{type(value).__name__}]"


def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
