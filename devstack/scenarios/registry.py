"""Every scenario, in the order of the table."""

from devstack.scenarios import delivery, idempotency, respect
from devstack.scenarios.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    delivery.OTP,
    delivery.SMS_FAILOVER,
    delivery.EMAIL_FAILOVER,
    delivery.PUSH_FAILOVER,
    idempotency.TWENTY_AT_ONCE,
    idempotency.OTHER_BODY,
    respect.OPTED_OUT,
    respect.TOO_MANY,
    delivery.UNDELIVERED,
    delivery.DEAD_TOKEN,
    respect.CANCELLED,
)
