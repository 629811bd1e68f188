"""HTTP/2 on uvloop, the worker's loop: its transport classes and failures differ from asyncio's."""

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import test_h2
import uvloop
from contract import INSTALLATION
from push_options import options

from providers.push.apns import Apns
from providers.settings import ApnsSettings
from simulators.base import SimulatorContext
from simulators.server import serve

Case = Callable[..., Coroutine[Any, Any, None]]

CASES: tuple[Case, ...] = (
    test_h2.test_many_requests_share_one_connection,
    test_h2.test_a_timeout_does_not_disturb_its_neighbours,
    test_h2.test_a_request_refused_by_goaway_goes_over_a_new_connection,
    test_h2.test_goaway_on_the_first_stream_and_again_is_not_sent,
    test_h2.test_answers_after_a_goaway_are_read,
    test_h2.test_a_refused_stream_was_not_processed_and_is_tried_again,
    test_h2.test_a_silent_connection_is_pinged_before_use,
    test_h2.test_a_connection_that_fell_silent_is_not_used_again,
    test_h2.test_nothing_is_written_after_the_budget,
)


async def _run(case: Case, keys: Path, a_message: Callable[..., Any]) -> None:
    async with serve(SimulatorContext("http://127.0.0.1:9", keys, apns_port=0)) as running:
        vendor = running.simulators["apns"]
        adapter = Apns(ApnsSettings(**options(vendor.settings(running.url))), INSTALLATION)
        await case(adapter, vendor, a_message)
        await adapter.aclose()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("test_"))
def test_on_uvloop(case: Case, push_keys: Path, a_message: Callable[..., Any]) -> None:
    # In another thread: this one runs the session's loop.
    with ThreadPoolExecutor(1) as beside:
        beside.submit(uvloop.run, _run(case, push_keys, a_message)).result()
