"""`python -m bench [topic …]`: measure, keep the results as JSON, write the pages, and print one table."""

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence

from rich.console import Console

from bench import accept, broadcast, drain, growth, latency, memory, pages, publish
from bench.harness import Bench, TookTooLong
from bench.peers import measure as peers
from bench.report import Report, table
from devstack.errors import DevStackError
from devstack.signals import until_stopped

TOPICS: Mapping[str, Callable[[Bench], Awaitable[Report]]] = {
    "accept": accept.measure,
    "drain": drain.measure,
    "pages": pages.measure,
    "latency": latency.measure,
    "broadcast": broadcast.measure,
    "growth": growth.measure,
    "memory": memory.measure,
    "peers": peers.measure,
}
"""Every topic, in the order they run. Each gets the machine to itself."""
_WIDTH_PIPED = 150


def main() -> int:
    """Run the named topics, or all. The exit code: 0 when all were measured, whatever their figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"{', '.join(TOPICS)} (default: all)")
    parser.add_argument("--small", action="store_true", help="small sizes, for development; writes nothing")
    parser.add_argument("--repetitions", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument(
        "--set", action="append", default=[], metavar="name=value", help="an option of a topic, e.g. size=500"
    )
    arguments = parser.parse_args()
    if unknown := [topic for topic in arguments.topics if topic not in TOPICS]:
        parser.error(f"no such topic: {', '.join(unknown)}; there are {', '.join(TOPICS)}")
    options = dict[str, str](given.split("=", 1) for given in arguments.set)
    bench = Bench(arguments.small, 1 if arguments.small else arguments.repetitions, options)
    topics = arguments.topics or list(TOPICS)
    reports = asyncio.run(until_stopped(_measure(bench, topics), bench.say, _at_once)) or []
    console = Console(highlight=False)
    Console(highlight=False, width=None if console.is_terminal else _WIDTH_PIPED).print(table(reports))
    return 0 if len(reports) == len(topics) else 1


async def _measure(bench: Bench, topics: Sequence[str]) -> list[Report]:
    reports: list[Report] = []
    for topic in topics:
        started = time.monotonic()
        bench.say(f"{topic} …")
        try:
            report = await TOPICS[topic](bench)
        except Exception as error:
            # Whatever it was: the topics that follow have stacks of their own.
            told = "" if isinstance(error, DevStackError | TookTooLong) else traceback.format_exc()
            bench.say(f"{topic} could not be measured: {error}\n{told}".strip())
            continue
        reports.append(report)
        if not bench.small:
            report.write()
            publish.write()
        bench.say(f"{topic}: measured in {time.monotonic() - started:.0f} s")
    return reports


def _at_once() -> None:
    # Every process that a topic started ends with this one: the kernel sees to it.
    sys.stderr.write("ended at once\n")
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
