"""The time zones that exist."""

from functools import cache
from typing import Final
from zoneinfo import available_timezones

_OF_THE_MACHINE: Final = frozenset({"localtime", "posixrules", "Factory"})
"""Names that mean another time zone, or none, on another machine."""


@cache
def time_zones() -> frozenset[str]:
    """The names of IANA's time zones, such as `Africa/Lagos`."""
    # Read once: listing the zones opens every file of the time zone data.
    return frozenset(available_timezones()) - _OF_THE_MACHINE
