"""`herald demo`: every scenario on a stack of its own, and one table of what came of them."""

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
from devstack.scenarios.case import Stage
from devstack.scenarios.play import play_all
from devstack.scenarios.registry import SCENARIOS
from devstack.scenarios.scenario import Result, Scenario
from devstack.signals import until_stopped
from devstack.stack import Stack

CONFIG = Path(__file__).with_name("demo.toml")
_WIDTH_PIPED = 170
"""How wide the table is where no terminal says so."""


def environment() -> dict[str, str]:
    """What the demo's processes are given: its own configuration, and nothing of a real installation's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
    return {**inherited, "HERALD_CONFIG": str(CONFIG)}


def run(data_dir: Path, scenarios: Sequence[Scenario] = SCENARIOS) -> int:
    """Play the scenarios on an empty stack; the exit code: 0 only if every one came out as expected."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_PIPED)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    try:
        stack = Stack(data_dir, Ports.free(), environment(), fresh=True, say=say)
        demo = _Demo(console, say, data_dir, stack, scenarios)
        played = asyncio.run(until_stopped(demo.play(), say, stack.kill))
    except DevStackError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return 1
    return 0 if played else 1


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
        self._open = {scenario.number: scenario for scenario in scenarios}
        self._status = console.status("starting the stack …")

    async def play(self) -> bool:
        """Start the stack, play, stop, show; whether everything came out as expected."""
        started = time.monotonic()
        if not self._console.is_terminal:
            self._say("starting the stack …")
        async with AsyncExitStack() as open:
            open.enter_context(self._status)
            await open.enter_async_context(self._stack)
            stage = await open.enter_async_context(Stage.on(self._stack))
            self._say(f"the stack runs after {time.monotonic() - started:.0f} s")
            self._waiting()
            results = await play_all(stage, self._scenarios, self._told)
            self._status.update("stopping the stack …")
        self._show(results, time.monotonic() - started)
        return all(result.as_expected for result in results.values())

    def _told(self, scenario: Scenario, result: Result) -> None:
        del self._open[scenario.number]
        mark = "✓" if result.as_expected else "✗"
        self._say(f"{mark} {scenario.number:2} {scenario.title} ({result.took_s:.1f} s)")
        for line in result.why_not:
            self._say(f"     {line}")
        self._waiting()

    def _waiting(self) -> None:
        playing = ", ".join(str(number) for number in self._open)
        done = len(self._scenarios) - len(self._open)
        self._status.update(f"{done} of {len(self._scenarios)} played; still to end: {playing}")

    def _show(self, results: Mapping[int, Result], took_s: float) -> None:
        self._console.print(_table(self._scenarios, results))
        self._say("\nTheir workflows in the Temporal Web UI, once the stack runs again as said below:")
        for number, result in results.items():
            self._show_links(number, result)
        wrong = {number: result for number, result in results.items() if not result.as_expected}
        fine = len(results) - len(wrong)
        self._say(f"\n{fine} of {len(results)} scenarios as expected, in {took_s:.0f} s.")
        for number, result in wrong.items():
            self._say(f"  {number:2} is not as expected: {'; '.join(result.why_not)}")
        if wrong:
            self._say(f"The logs are in {self._data_dir / 'logs'}.")
        command = shlex.join([_herald(), "dev", "--data-dir", str(self._data_dir)])
        self._say(f"The stack is stopped. Open the same histories again with: {command}")

    def _show_links(self, number: int, result: Result) -> None:
        for id, path in result.links:
            where = f"{_ui_url()}{path}" if path else f"{id}: no workflow of its own"
            self._say(f"  {number:2}  {where}")
        if result.more_links:
            self._say(f"  {number:2}  … and {result.more_links} more like these")


def _herald() -> str:
    """The command beside this interpreter, as it is to be typed here: it may not be on the PATH."""
    return os.path.relpath(Path(sys.executable).with_name("herald"))


def _ui_url() -> str:
    """Where `herald dev` serves the Web UI: the demo's own ports were any that were free."""
    return f"http://127.0.0.1:{Ports().temporal_ui}"


def _table(scenarios: Sequence[Scenario], results: Mapping[int, Result]) -> Table:
    table = Table(
        title="Herald: what was promised, and what happened",
        title_justify="left",
        show_lines=True,
        expand=True,
    )
    table.add_column("", justify="right", width=2)
    for header, ratio in (("scenario", 4), ("expected", 4), ("REST says", 4), ("vendors received", 3)):
        table.add_column(header, ratio=ratio)
    table.add_column("attempts", ratio=5)
    table.add_column("", width=1)
    for scenario in scenarios:
        result = results[scenario.number]
        cells = (scenario.title, scenario.expected, result.rest, result.received, result.attempts)
        mark = Text("✓", "green") if result.as_expected else Text("✗", "bold red")
        table.add_row(str(scenario.number), *map(Text, cells), mark)
    return table
