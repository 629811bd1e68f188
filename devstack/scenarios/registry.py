"""All scenarios, in the order of the report."""

from devstack.scenarios import (
    crashes,
    delivery,
    idempotency,
    lookups_and_polling,
    outage,
    preferences_and_limits,
)
from devstack.scenarios.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    delivery.OTP,
    delivery.SMS_FAILOVER,
    delivery.EMAIL_FAILOVER,
    delivery.PUSH_FAILOVER,
    idempotency.SAME_REQUEST,
    idempotency.OTHER_BODY,
    preferences_and_limits.OPTED_OUT,
    preferences_and_limits.RATE_LIMITED,
    lookups_and_polling.LOOKED_UP,
    outage.DEAD_LETTERED,
    delivery.UNDELIVERED,
    lookups_and_polling.POLLED,
    delivery.UNREGISTERED_TOKEN,
    outage.EXPIRED,
    preferences_and_limits.CANCELLED,
    crashes.WORKER_KILLED,
    crashes.TEMPORAL_STOPPED,
    crashes.SENDER_PAUSED,
    delivery.WHATSAPP_FAILOVER,
    preferences_and_limits.UNSUBSCRIBED,
    crashes.BATCH_INTERRUPTED,
)
