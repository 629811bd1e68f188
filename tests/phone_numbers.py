"""Phone numbers for tests."""

import random


def unused_number() -> str:
    """A number that no other test uses. It is not magic: what a test key sends to it is delivered."""
    # providers.simulated.MAGIC has the last four digits 0100 to 0199.
    return f"+2348{random.randrange(10**5):05}{random.randrange(1000, 10**4)}"
