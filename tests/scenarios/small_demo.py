"""A program for the tests: the demo with one scenario that passes and one that fails."""

import sys
from pathlib import Path

from devstack.demo import run
from devstack.scenarios.case import Case
from devstack.scenarios.delivery import OTP
from devstack.scenarios.scenario import Scenario


async def failing(case: Case) -> None:
    id = await case.accepted("otp", ["sms"], to={"sms": case.phone()})
    await case.becomes(id, "delivered")
    await case.expect_received(twilio=2)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), [OTP, Scenario(2, "a failing scenario", "two messages", failing)]))
