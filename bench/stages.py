"""Where an OTP's time goes: what the ledger, Temporal and the vendor each wrote down of its way."""

from collections.abc import Sequence
from itertools import pairwise

from temporalio.client import Client

from bench.flow import Flow, Kind
from bench.load import percentile
from bench.report import Report
from domain.ids import workflow_id
from temporal.search_attributes import TYPE

STAGES = (
    "sent → accepted",
    "accepted → its workflow started",
    "started → the intent",
    "intent → the vendor",
)
"""Each from the time noted at its begin to the next one's. What is noted before a commit counts the commit
into the stage that follows.
"""

_TIMES = """
SELECT n.id, m.provider_message_id,
       extract(epoch FROM n.accepted_at)::float8 AS accepted,
       extract(epoch FROM a.intended_at)::float8 AS intended
FROM notifications n
JOIN notification_attempts a ON a.notification_id = n.id
JOIN provider_messages m ON m.delivery_id = a.delivery_id AND m.attempt_number = a.number
WHERE n.type = $1"""

Stages = Sequence[Sequence[float]]
"""Of each OTP the milliseconds of each stage."""


async def stages(flow: Flow, kind: Kind, until: float = float("inf")) -> Stages:
    """Of what the vendor holds with a stamp and was to be sent before `until` (seconds since the epoch)."""
    client = await Client.connect(flow.running.temporal_address)
    started = {
        run.id: run.start_time.timestamp()
        async for run in client.list_workflows(f"{TYPE.name} = '{kind.type}'")
    }
    stamps = await flow.stamps(kind.vendor)
    found: list[Sequence[float]] = []
    for row in await flow.running.query(_TIMES, kind.type):
        stamp, began = stamps.get(row["provider_message_id"]), started.get(workflow_id(row["id"]))
        if stamp is None or began is None or stamp.sent_at >= until:
            continue
        times = (stamp.sent_at, row["accepted"], began, row["intended"], stamp.received_at)
        found.append([(after - before) * 1000 for before, after in pairwise(times)])
    return found


def tell_stages(report: Report, group: str, runs: Sequence[Stages]) -> None:
    """Add each stage's mean and 99th percentile: means add up, percentiles do not."""
    for place, stage in enumerate(STAGES):
        each = [sorted(otp[place] for otp in run) for run in runs]
        report.add(f"{stage}: mean", [sum(run) / len(run) for run in each], "ms", group=group)
        report.add(f"{stage}: p99", [percentile(run, 99) for run in each], "ms", group=group)
