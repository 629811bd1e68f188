"""A crowd of tenants that ask for tokens of one bucket, on a simulated clock inside the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratelimit import limiter as limiters
from ratelimit.limiter import CONTENDS_US

_SCRIPT = Path(limiters.__file__).with_name("bucket.lua").read_text(encoding="utf-8")
_CLOCK = "redis.call('TIME')"

_SIMULATION = """
local seconds, micros = 0, 0
local function take(KEYS, ARGV)
TAKE
end
local rate, capacity, contends, until_us = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local tenants = {}
for place = 5, #ARGV, 4 do
  tenants[#tenants + 1] = {
    name = 't' .. #tenants, weight = ARGV[place], every = tonumber(ARGV[place + 1]),
    asks = tonumber(ARGV[place + 2]), at = tonumber(ARGV[place + 3]), taken = 0}
end
for _, key in ipairs(KEYS) do redis.call('DEL', key) end
local calls = 0
while true do
  local next = tenants[1]
  for _, one in ipairs(tenants) do
    if one.at < next.at then next = one end
  end
  if next.at > until_us or calls >= 15000 then break end
  seconds, micros = 1000000 + math.floor(next.at / 1000000), next.at % 1000000
  local wait = 0
  for _ = 1, next.asks do
    calls = calls + 1
    wait = take(KEYS, {rate, capacity, next.name, next.weight, contends})
    if wait == 0 then next.taken = next.taken + 1 end
  end
  next.at = next.at + (next.every > 0 and next.every or math.max(wait, 1000))
end
local found = {micros + (seconds - 1000000) * 1000000}
for _, one in ipairs(tenants) do found[#found + 1] = one.taken end
return found
"""

_WORK = """
local work = 0
local function counted(...)
  local found = redis.call(...)
  work = work + 1 + (type(found) == 'table' and #found or 0)
  return found
end
local seconds, micros = 1000000, 0
local function take(KEYS, ARGV)
TAKE
end
local most = 0
for place = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  work, micros = 0, place
  take(KEYS, {100, 100, 't' .. place % tonumber(ARGV[3]), 1, ARGV[4]})
  most = math.max(most, work)
end
return most
"""


@dataclass(frozen=True, slots=True)
class Asker:
    """A tenant that asks `asks` times every `every_s` seconds; 0: as often as it may.

    Its first question is at `from_s`.
    """

    weight: int = 1
    every_s: float = 0.0
    asks: int = 1
    from_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What each asker took of a new bucket within some seconds."""

    seconds: float
    by: list[int]


async def simulate(store: Any, rate: float, seconds: float, askers: Sequence[Asker]) -> Taken:
    """Let them ask, for the seconds given or some 15,000 questions."""
    assert _SCRIPT.count(_CLOCK) == 1
    script = _SIMULATION.replace("TAKE", _SCRIPT.replace(_CLOCK, "{seconds, micros}"))
    arguments: list[str | float] = [rate, max(1.0, rate), CONTENDS_US, round(seconds * 1e6)]
    for asker in askers:
        arguments += [asker.weight, round(asker.every_s * 1e6), asker.asks, round(asker.from_s * 1e6)]
    keys = [f"{{herald:limit}}:crowd:{part}" for part in range(4)]
    found: list[int] = await store.eval(script, len(keys), *keys, *arguments)
    return Taken(found[0] / 1e6, found[1:])


async def work(store: Any, tenants: int) -> int:
    """The most commands and values that a take costs, while all tenants ask for the second time."""
    script = _WORK.replace(
        "TAKE", _SCRIPT.replace(_CLOCK, "{seconds, micros}").replace("redis.call(", "counted(")
    )
    keys = [f"{{herald:limit}}:work:{tenants}:{part}" for part in range(4)]
    most = 0
    for first in range(0, 2 * tenants, 50):
        most = await store.eval(script, len(keys), *keys, first, first + 49, tenants, CONTENDS_US)
    return most
