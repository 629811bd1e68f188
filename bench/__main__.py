"""`python -m bench [topic …]`: measure, write the results as JSON, and print one table."""

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bench import accept, batches, broadcast, drain, fairness, growth, latency, memory, publish
from bench.comparison import measure as comparison
from bench.harness import Bench, TookTooLong
from bench.report import Report, table
from devstack.errors import DevStackError
from devstack.signals import until_stopped

TOPICS: Mapping[str, Callable[[Bench], Awaitable[Report]]] = {
    "accept": accept.measure,
    "drain": drain.measure,
    "batches": batches.measure,
    "latency": latency.measure,
    "fairness": fairness.measure,
    "broadcast": broadcast.measure,
    "growth": growth.measure,
    "memory": memory.measure,
    "comparison": comparison.measure,
}
"""Every topic, in the order they run. Each has the machine to itself."""
_WIDTH_PIPED = 150


def main() -> int:
    """Run the named topics, or all. Exit code 0 if all could be measured, whatever their figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"{', '.join(TOPICS)} (default: all)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for development")
    parser.add_argument("--essential", action="store_true", help="only what bench.before_after compares")
    parser.add_argument("--repetitions", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument(
        "--output",
        type=Path,
        help="write the JSON here, and no pages (default: bench/results; "
        "with --small or --essential: write nothing)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="name=value", help="an option of a topic, e.g. size=500"
    )
    arguments = parser.parse_args()
    if unknown := [topic for topic in arguments.topics if topic not in TOPICS]:
        parser.error(f"unknown topic: {', '.join(unknown)}; choose from {', '.join(TOPICS)}")
    options = dict[str, str](given.split("=", 1) for given in arguments.set)
    repetitions = 1 if arguments.small else arguments.repetitions
    bench = Bench(arguments.small, arguments.essential, repetitions, options)
    topics = arguments.topics or list(TOPICS)
    measured = _measure(bench, topics, arguments.output)
    reports = asyncio.run(until_stopped(measured, bench.say, _exit_now)) or []
    console = Console(highlight=False)
    Console(highlight=False, width=None if console.is_terminal else _WIDTH_PIPED).print(table(reports))
    return 0 if len(reports) == len(topics) else 1


async def _measure(bench: Bench, topics: Sequence[str], output: Path | None) -> list[Report]:
    reports: list[Report] = []
    for topic in topics:
        started = time.monotonic()
        bench.say(f"{topic} …")
        try:
            report = await TOPICS[topic](bench)
        except Exception as error:
            # Continue after any failure: each of the other topics starts its own stack.
            details = "" if isinstance(error, DevStackError | TookTooLong) else traceback.format_exc()
            bench.say(f"{topic} could not be measured: {error}\n{details}".strip())
            continue
        reports.append(report)
        if output:
            report.write(output)
        elif not (bench.small or bench.essential):
            report.write()
            publish.write()
        bench.say(f"{topic}: measured in {time.monotonic() - started:.0f} s")
    return reports


def _exit_now() -> None:
    # The kernel ends every process that a topic started together with this one.
    sys.stderr.write("stopped\n")
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
