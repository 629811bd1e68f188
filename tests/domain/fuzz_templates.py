"""Renders random templates with random data for a while: `make fuzz`. Each costs at most 50 ms and 50 MiB."""

import json
import sys
import tracemalloc
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from template_bombs import BOMBS  # noqa: E402 (found by the line above)
from template_grammar import data, templates, wild_data, wild_templates  # noqa: E402 (as above)

from domain.template_language import TEMPLATE_BYTES_MAX, TemplateRefused  # noqa: E402 (as above)
from domain.template_run import RenderingFailed  # noqa: E402 (as above)
from domain.templates import BODY_CHARS_MAX, Template  # noqa: E402 (as above)

DATA_BYTES_MAX = 65_536
CPU_S_MAX = 0.05
SLOWER_MAX = 3
"""How much slower than the machine of the limits a machine may be, or how busy."""
MEMORY_BYTES_MAX = 50 * 1024 * 1024
TRIES = 4


def check(source: str, values: dict[str, Any]) -> None:
    """Read and render the template. Fails if this takes too long, too much memory, or ends in another way."""
    if len(source.encode(errors="replace")) > 2 * TEMPLATE_BYTES_MAX or _size(values) > DATA_BYTES_MAX:
        return
    taken = _cpu_s(source, values)
    for _ in range(TRIES):
        if taken <= CPU_S_MAX * SLOWER_MAX:
            break
        taken = min(taken, _cpu_s(source, values))
    assert taken <= CPU_S_MAX * SLOWER_MAX, f"{taken:.3f} s of CPU time"
    tracemalloc.start()
    try:
        render(source, values)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY_BYTES_MAX, f"{peak} bytes"


def render(source: str, values: dict[str, Any]) -> str | None:
    """The text, or None if the template or the data is refused."""
    try:
        text = Template(source, BODY_CHARS_MAX).run(values).text
    except (TemplateRefused, RenderingFailed):
        return None
    assert len(text) <= BODY_CHARS_MAX
    return text


def _cpu_s(source: str, values: dict[str, Any]) -> float:
    begins = process_time()
    render(source, values)
    return process_time() - begins


def _size(values: dict[str, Any]) -> int:
    return len(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
@given(wild_templates | templates, wild_data | data)
def _some(source: str, values: dict[str, Any]) -> None:
    check(source, values)


def main() -> None:
    """Fuzz for as many seconds as the first argument says, 60 without one."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    ends, count = monotonic() + seconds, 0
    for bomb in BOMBS.values():
        check(bomb.source, bomb.data)
    while monotonic() < ends:
        _some()
        count += 100
    print(f"{len(BOMBS)} bombs and {count} random templates kept within the limits")


if __name__ == "__main__":
    main()
