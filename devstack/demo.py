"""`herald demo`: run every scenario on a separate stack and print a report."""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from devstack.errors import DevStackError
from devstack.ports import Ports
from devstack.scenarios.case import StackClients
from devstack.scenarios.registry import SCENARIOS
from devstack.scenarios.runner import run_all
from devstack.scenarios.scenario import Result, Scenario
from devstack.signals import until_stopped
from devstack.stack import Stack

CONFIG = Path(__file__).with_name("demo.toml")
_WIDTH_PIPED = 170
"""Columns of the report when the output is not a terminal."""


def environment() -> dict[str, str]:
    """The environment of the demo's processes: its configuration, and no settings of a real installation."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
    return {**inherited, "HERALD_CONFIG": str(CONFIG)}


def run(data_dir: Path, scenarios: Sequence[Scenario] = SCENARIOS) -> int:
    """Run the scenarios on an empty stack. Returns the exit code: 0 only if all passed."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_PIPED)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    try:
        stack = Stack(data_dir, Ports.free(), environment(), fresh=True, say=say)
        demo = _Demo(console, say, data_dir, stack, scenarios)
        passed = asyncio.run(until_stopped(demo.run(), say, stack.kill))
    except DevStackError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"herald: {error}", markup=False)
        return 1
    return 0 if passed else 1


class _Demo:
    """One run of the demo."""

    def __init__(
        self,
        console: Console,
        say: Callable[[str], None],
        data_dir: Path,
        stack: Stack,
        scenarios: Sequence[Scenario],
    ) -> None:
        self._console = console
        self._data_dir = data_dir
        self._say = say
        self._stack = stack
        self._scenarios = scenarios
        self._running = {scenario.number: scenario for scenario in scenarios}
        self._status = console.status("starting the stack …")

    async def run(self) -> bool:
        """Start the stack, run the scenarios, stop the stack and print the report. True if all passed."""
        started = time.monotonic()
        if not self._console.is_terminal:
            self._say("starting the stack …")
        async with AsyncExitStack() as cleanup:
            cleanup.enter_context(self._status)
            await cleanup.enter_async_context(self._stack)
            clients = await cleanup.enter_async_context(StackClients.connect(self._stack))
            self._say(f"the stack is ready after {time.monotonic() - started:.0f} s")
            self._show_progress()
            results = await run_all(clients, self._scenarios, self._on_result)
            self._status.update("stopping the stack …")
        self._report(results, time.monotonic() - started)
        return all(result.passed for result in results.values())

    def _on_result(self, scenario: Scenario, result: Result) -> None:
        del self._running[scenario.number]
        mark = "✓" if result.passed else "✗"
        self._say(f"{mark} {scenario.number:2} {scenario.title} ({result.took_s:.1f} s)")
        for line in result.failures:
            self._say(f"     {line}")
        self._show_progress()

    def _show_progress(self) -> None:
        remaining = ", ".join(str(number) for number in self._running)
        done = len(self._scenarios) - len(self._running)
        self._status.update(f"{done} of {len(self._scenarios)} done; remaining: {remaining}")

    def _report(self, results: Mapping[int, Result], took_s: float) -> None:
        self._console.print(_table(self._scenarios, results))
        self._say("\nWorkflows in the Temporal Web UI (start the stack again, as shown below, to open them):")
        for number, result in results.items():
            self._show_links(number, result)
        failed = {number: result for number, result in results.items() if not result.passed}
        passed = len(results) - len(failed)
        self._say(f"\n{passed} of {len(results)} scenarios passed in {took_s:.0f} s.")
        for number, result in failed.items():
            self._say(f"  {number:2} failed: {'; '.join(result.failures)}")
        if failed:
            self._say(f"The logs are in {self._data_dir / 'logs'}.")
        command = shlex.join([_herald(), "dev", "--data-dir", str(self._data_dir)])
        self._say(f"The stack is stopped. To open these histories, start it again with: {command}")

    def _show_links(self, number: int, result: Result) -> None:
        for id, path in result.links:
            where = f"{_ui_url()}{path}" if path else f"{id}: no separate workflow"
            self._say(f"  {number:2}  {where}")
        if result.more_links:
            self._say(f"  {number:2}  … and {result.more_links} more")


def _herald() -> str:
    """The path of the `herald` command next to this interpreter, for typing here: it may not be on PATH."""
    return os.path.relpath(Path(sys.executable).with_name("herald"))


def _ui_url() -> str:
    """The Web UI's address under `herald dev`. The demo itself ran on random free ports."""
    return f"http://127.0.0.1:{Ports().temporal_ui}"


def _table(scenarios: Sequence[Scenario], results: Mapping[int, Result]) -> Table:
    table = Table(
        title="Herald: expected and actual results",
        title_justify="left",
        show_lines=True,
        expand=True,
    )
    table.add_column("", justify="right", width=2)
    for header, ratio in (("scenario", 4), ("expected", 4), ("API result", 4), ("vendors received", 3)):
        table.add_column(header, ratio=ratio)
    table.add_column("attempts", ratio=5)
    table.add_column("", width=1)
    for scenario in scenarios:
        result = results[scenario.number]
        cells = (scenario.title, scenario.expected, result.api_result, result.received, result.attempts)
        mark = Text("✓", "green") if result.passed else Text("✗", "bold red")
        table.add_row(str(scenario.number), *map(Text, cells), mark)
    return table
