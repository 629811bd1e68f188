"""Every scenario, in the order of the table."""

from devstack.scenarios import crashes, delivery, evidence, idempotency, outage, respect
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
    evidence.LOOKED_UP,
    outage.DEAD_LETTERED,
    delivery.UNDELIVERED,
    evidence.POLLED,
    delivery.DEAD_TOKEN,
    outage.EXPIRED,
    respect.CANCELLED,
    crashes.WORKER_KILLED,
    crashes.TEMPORAL_STOPPED,
    crashes.SENDER_STOPPED,
    delivery.WHATSAPP_FAILOVER,
    respect.UNSUBSCRIBED,
    crashes.PAGE_KILLED,
)
