"""How requests end on the worker's loop: its socket errors show whether a request may have been written."""

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import test_http
import uvloop

CASES = (
    test_http.test_an_answer_comes_whole_with_lower_case_headers,
    test_http.test_refused_is_not_written,
    test_http.test_a_connect_timeout_is_not_written,
    test_http.test_a_budget_that_ends_while_connecting_is_not_written,
    test_http.test_tls_that_fails_is_not_written,
    test_http.test_accept_then_close_may_be_written,
    test_http.test_closing_at_once_may_be_written,
    test_http.test_a_reset_may_be_written,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("test_"))
def test_on_uvloop(case: Callable[[], Coroutine[Any, Any, None]]) -> None:
    # In another thread: this one runs the session's loop.
    with ThreadPoolExecutor(1) as beside:
        beside.submit(uvloop.run, case()).result()
