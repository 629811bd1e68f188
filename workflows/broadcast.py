"""The workflow of one broadcast: gather, accept, wait, follow. It decides only WHEN.

Postgres is the authority: a pause or a cancel is a compare-and-set there, and a signal only means "read it
again". Nothing private enters the history: ids, statuses and counts only.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.broadcast import Broadcasting
    from domain.contracts import BroadcastCommand, BroadcastRef, BroadcastStep, BroadcastTurn

HEARTBEAT = timedelta(seconds=30)
TIMEOUT = timedelta(minutes=5)
PATIENT = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(minutes=1)
)
TURNS_MAX = 200
"""How many turns one run takes before it continues as new."""
FOLLOW_S_MIN, FOLLOW_S_MAX = 1.0, 300.0
"""How long to wait between reads of a broadcast with active notifications: at first, and at most."""
ACTIVITIES = {
    BroadcastStep.GATHER: Broadcasting.gather_recipients,
    BroadcastStep.ACCEPT: Broadcasting.accept_recipients,
    BroadcastStep.WAIT: Broadcasting.accept_recipients,
    BroadcastStep.STOP: Broadcasting.stop_accepted,
    BroadcastStep.FOLLOW: Broadcasting.follow_broadcast,
}


@workflow.defn(name="BroadcastWorkflow")
class BroadcastWorkflow:
    """One broadcast; its workflow ID is `brd-<broadcast id>`."""

    def __init__(self) -> None:
        self._wakes = 0
        self._commands: list[str] = []

    @workflow.signal
    def wake(self) -> None:
        """The ledger changed: read it again."""
        self._wakes += 1

    @workflow.signal
    def pause(self) -> None:
        """Accept no more recipients until it is resumed."""
        self._queue("pause")

    @workflow.signal
    def resume(self) -> None:
        """Resume a paused broadcast."""
        self._queue("resume")

    @workflow.signal
    def cancel(self) -> None:
        """Accept no more recipients, and cancel what is not being sent."""
        self._queue("cancel")

    @workflow.run
    async def run(self, ref: BroadcastRef) -> str:
        """Run the broadcast until none of its notifications is active; returns its final status."""
        step, follow_s, turns = BroadcastStep.ACCEPT, FOLLOW_S_MIN, 0
        while True:
            turns += 1
            if (turns > TURNS_MAX or workflow.info().is_continue_as_new_suggested()) and not self._commands:
                workflow.continue_as_new(ref)
            seen = self._wakes
            turn = await self._take(ref, step)
            self._show(turn)
            if turn.step is BroadcastStep.OVER:
                return turn.status
            wait_s = turn.wait_s
            if step is turn.step is BroadcastStep.FOLLOW:
                wait_s, follow_s = follow_s, min(follow_s * 1.5, FOLLOW_S_MAX)
            step = turn.step
            if wait_s > 0 and not self._commands:
                await self._woken(seen, wait_s, turn.waits_for or step)

    async def _take(self, ref: BroadcastRef, step: BroadcastStep) -> BroadcastTurn:
        if self._commands:
            command = self._commands.pop(0)
            return await workflow.execute_activity_method(
                Broadcasting.apply_broadcast_command,
                BroadcastCommand(ref.broadcast_id, command),
                start_to_close_timeout=TIMEOUT,
                retry_policy=PATIENT,
                summary=command,
            )
        return await workflow.execute_activity_method(
            ACTIVITIES[step],
            ref,
            start_to_close_timeout=TIMEOUT,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=PATIENT,
        )

    def _queue(self, command: str) -> None:
        self._commands.append(command)
        self._wakes += 1

    async def _woken(self, seen: int, wait_s: float, what: str) -> None:
        """Wait for a wake-up, at most `wait_s` seconds."""
        try:
            await workflow.wait_condition(
                lambda: self._wakes != seen,
                timeout=timedelta(seconds=max(wait_s, 0.01)),
                timeout_summary=f"{what}: reads the ledger again",
            )
        except TimeoutError:
            return

    def _show(self, turn: BroadcastTurn) -> None:
        """Set what the Web UI shows of a running workflow."""
        waits = f", waits for {turn.waits_for}" if turn.waits_for else ""
        workflow.set_current_details(
            f"**{turn.status}**{waits}\n\n"
            f"- {turn.accepted} of {turn.total} accepted, {turn.refused} refused\n"
            f"- {turn.active} active, {turn.sent} sent, {turn.delivered} delivered, "
            f"{turn.failed} failed"
        )
