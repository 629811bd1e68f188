"""Which request ids are adopted: what would identify a person is not."""

import re

import pytest
from starlette.types import Scope

from api.request_ids import request_id
from telemetry.scrub import scrub

PRIVATE = [
    *(
        "ada@example.com",
        "user:ada@example.com",
        "ada@example.com/+2348031230077",
        "req=ada+x@mail.example.com",
    ),
    *(
        "+2348031230077",
        "sms:+2348031230077",
        "2348031230077",
        "08031230077",
        "0712345678",
        "user/2348031230077",
    ),
    *(
        "req-2348031230077",
        "req_2348031230077",
        "req.2348031230077",
        "to-+2348031230077",
        "a-b_c-2348031230077",
    ),
    *(
        "0803-123-0077",
        "0803.123.0077",
        "req-0803-123-0077",
        "0803_123_0077",
        "415-555-0132",
        "call:415.555.0132",
    ),
    *("234-803-123-0077", "234_803_123_0077", "6f1e0000-1111-4222-8333-123456789012:2348031230077"),
    *("a1-2348031230077", "v2.2348031230077", "7_2348031230077", "20261130-2348031230077"),
    *("2026-11-30:2348031230077", "10.1.2.3-2348031230077", "2348031230077.1"),
    *(
        "hk_live_0a1b2c3d_abcdef",
        "req_hk_live_0a1b2c3d_abcdef",
        "hk_12345678_abcdef",
        "token=abcdef",
        "x:hk_test_0a1b2c3d_abc",
    ),
]
ADOPTED = [
    *(
        "req-1/2:3=4",
        "x" * 128,
        "1",
        "INC-4711",
        "order-100-200-300",
        "team@host",
        "a+b",
        "v1.2.3",
        "10.0.19045.3930",
    ),
    *("6f1e0000-1111-4222-8333-123456789012", "00000000-1111-4222-8333-444455556666", "ntf-" + "0" * 32),
    *(
        "abcdefab-0111-4222-abcd-123456789012",
        "req_01234567-89ab-4cde-8f01-234567890123",
        "9122821270554876574",
    ),
    *(
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "1-67891233-abcdef012345678912345678",
    ),
    *("2026-11-30", "build-2026-11-30-0648", "2026-11-30T06:48:43Z", "req-20261130-064843", "1764512345.678"),
    *("10.1.2.3-1764512345", "192.168.100.200", "Root=1-67891233-abcdef012345678912345678", "c0ffee/7"),
]
TRACE = "ab" * 16


def scope_of(**headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": raw}


@pytest.mark.parametrize("given", PRIVATE)
def test_an_id_that_holds_an_address_is_not_adopted(given: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", request_id(scope_of(x_request_id=given)))
    assert request_id(scope_of(x_request_id=given, traceparent=f"00-{TRACE}-{'cd' * 8}-01")) == TRACE


@pytest.mark.parametrize("given", ADOPTED)
def test_other_ids_are_adopted_and_the_log_shows_them(given: str) -> None:
    assert request_id(scope_of(x_request_id=given, traceparent=f"00-{TRACE}-{'cd' * 8}-01")) == given
    assert scrub(given) == given


def test_it_stays_the_same() -> None:
    scope = scope_of(x_request_id="ada@example.com")
    assert request_id(scope) == request_id(scope)
