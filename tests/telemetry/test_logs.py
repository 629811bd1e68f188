"""Logs: one line per event, without private data."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import structlog

from telemetry import logs

PHONE = "+2348031236789"
EMAIL = "jo@example.com"
CODE = "code 4711"
ID = UUID(int=7)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_an_event_is_one_json_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")
    structlog.stdlib.get_logger("herald.test").info("claimed", lane="critical", count=3, id=ID, ok=True)
    [line] = _lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "claimed",
        "level": "info",
        "logger": "herald.test",
        "lane": "critical",
        "count": 3,
        "id": str(ID),
        "ok": True,
    }


@dataclass
class _Contact:
    phone: str


@pytest.mark.parametrize(
    "given",
    [
        {"to": PHONE},
        {"body": CODE},
        {"Authorization": CODE},
        {"fcm-token": CODE},
        {"detail": {"email": EMAIL, "inner": [{"title": CODE}]}},
        {"detail": [f"sent to {PHONE}", (EMAIL,)]},
        {"detail": _Contact(PHONE)},
        {"detail": {EMAIL: 1}},
        {"detail": CODE.encode()},
        {"error": ValueError(f"bad {PHONE}")},
    ],
)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_contacts_and_content_cannot_be_logged(
    given: dict[str, Any], log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("INFO", log_format)
    structlog.stdlib.get_logger().bind(**given).info("attempt")
    structlog.stdlib.get_logger().info("attempt", **given)
    logging.getLogger("some.library").warning("given %s", PHONE, extra=given)
    logging.getLogger("some.library").warning("%s wrote", EMAIL)
    printed = capsys.readouterr().err
    assert printed.count("attempt") == 2
    for private in (PHONE, PHONE[1:], EMAIL, CODE):
        assert private not in printed


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_printed_without_private_values(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("INFO", log_format)
    to = PHONE
    try:
        try:
            raise KeyError(EMAIL)
        except KeyError as error:
            raise ValueError(f"cannot send to {to}\nDETAIL:  Failing row contains ({CODE})") from error
    except ValueError:
        structlog.stdlib.get_logger().exception("failed", id=str(ID))
        logging.getLogger("temporalio.activity").warning("failed too", exc_info=True)
    printed = capsys.readouterr().err
    assert printed.count("ValueError") == 2
    assert "test_a_traceback_is_printed" in printed
    for private in (PHONE, EMAIL, CODE):
        assert private not in printed


def test_http_clients_and_access_logs_log_warnings_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure("DEBUG", "json")
    # A server that ran in this process before took its access log out of the tree.
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", True)
    for name in ("httpx", "httpcore.connection", "aiohttp.access", "uvicorn.access", "temporalio.worker"):
        logging.getLogger(name).info("GET https://api.example.com/?api_key=x")
        logging.getLogger(name).warning("slow")
    assert [line["event"] for line in _lines(capsys)] == ["slow"] * 5


def test_the_level_applies_and_the_last_configuration_wins(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("DEBUG", "json")
    logs.configure("warning", "json")
    structlog.stdlib.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    structlog.stdlib.get_logger().warning("loud")
    assert [line["event"] for line in _lines(capsys)] == ["loud"]


def test_an_alert_is_an_error_event_with_alert_set(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")
    logs.alert("dead_lettered", notification_id=ID, channel="sms", to=PHONE)
    [line] = _lines(capsys)
    assert (line["level"], line["alert"], line["event"]) == ("error", True, "dead_lettered")
    assert (line["notification_id"], line["to"]) == (str(ID), "[private]")


@pytest.mark.parametrize(("level", "log_format"), [("LOUD", "json"), ("INFO", "xml")])
def test_an_unknown_level_or_format_is_refused(level: str, log_format: str) -> None:
    with pytest.raises(ValueError, match="use"):
        logs.configure(level, log_format)
