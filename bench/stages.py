"""Where an OTP's time goes: the timestamps of the ledger, Temporal and the vendor."""

from collections.abc import Sequence
from itertools import pairwise

from temporalio.client import Client

from bench.load import percentile
from bench.report import Report
from bench.traffic import Kind, Traffic
from domain.ids import workflow_id
from temporal.search_attributes import TYPE

STAGES = (
    "sent → accepted",
    "accepted → workflow started",
    "workflow started → intent",
    "intent → vendor",
)
"""Each ends where the next begins. A commit after its timestamp counts into the next stage."""

_TIMES = """
SELECT n.id, m.provider_message_id,
       extract(epoch FROM n.accepted_at)::float8 AS accepted,
       extract(epoch FROM a.intended_at)::float8 AS intended
FROM notifications n
JOIN notification_attempts a ON a.notification_id = n.id
JOIN provider_messages m ON m.delivery_id = a.delivery_id AND m.attempt_number = a.number
WHERE n.type = $1"""

Stages = Sequence[Sequence[float]]
"""The milliseconds of each stage, for each OTP."""


async def stages(traffic: Traffic, kind: Kind, until: float = float("inf")) -> Stages:
    """The stages of every stamped message scheduled before `until` (seconds since the epoch)."""
    client = await Client.connect(traffic.running.temporal_address)
    started = {
        run.id: run.start_time.timestamp()
        async for run in client.list_workflows(f"{TYPE.name} = '{kind.type}'")
    }
    stamps = await traffic.stamps(kind.vendor)
    found: list[Sequence[float]] = []
    for row in await traffic.running.query(_TIMES, kind.type):
        stamp, began = stamps.get(row["provider_message_id"]), started.get(workflow_id(row["id"]))
        if stamp is None or began is None or stamp.sent_at >= until:
            continue
        times = (stamp.sent_at, row["accepted"], began, row["intended"], stamp.received_at)
        found.append([(after - before) * 1000 for before, after in pairwise(times)])
    return found


def add_stages(report: Report, group: str, runs: Sequence[Stages]) -> None:
    """Add each stage's mean and 99th percentile. Only the means add up."""
    for place, stage in enumerate(STAGES):
        each = [sorted(otp[place] for otp in run) for run in runs]
        report.add(f"{stage}: mean", [sum(run) / len(run) for run in each], "ms", group=group)
        report.add(f"{stage}: p99", [percentile(run, 99) for run in each], "ms", group=group)
