"""The activities of broadcasts: each calls delivery/broadcast.py and heartbeats its progress."""

from uuid import UUID

from temporalio import activity

from activities.errors import retry_later
from delivery.broadcast import BroadcastProcessor, TypeNotConfigured
from domain.broadcasts import Command
from domain.contracts import BroadcastCommand, BroadcastRef, BroadcastTurn

TYPE_MISSING_S = 60.0
"""How long a broadcast waits for its type to be configured before it looks again, in seconds."""


class Broadcasting:
    """Advances broadcasts; each activity returns what the broadcast needs next."""

    def __init__(self, processor: BroadcastProcessor) -> None:
        self._processor = processor

    @activity.defn(name="gather_recipients")
    async def gather_recipients(self, ref: BroadcastRef) -> BroadcastTurn:
        """Turn the users that match the query now into recipients."""
        return await self._processor.gather(UUID(ref.broadcast_id), activity.heartbeat)

    @activity.defn(name="accept_recipients")
    async def accept_recipients(self, ref: BroadcastRef) -> BroadcastTurn:
        """Accept chunks until something else is needed, or the turn ends."""
        try:
            return await self._processor.accept(UUID(ref.broadcast_id), activity.heartbeat)
        except TypeNotConfigured as error:
            raise retry_later(str(error), TYPE_MISSING_S) from error

    @activity.defn(name="stop_accepted")
    async def stop_accepted(self, ref: BroadcastRef) -> BroadcastTurn:
        """Cancel the notifications of a cancelled broadcast that are not being sent."""
        return await self._processor.stop(UUID(ref.broadcast_id), activity.heartbeat)

    @activity.defn(name="follow_broadcast")
    async def follow_broadcast(self, ref: BroadcastRef) -> BroadcastTurn:
        """Report the broadcast's progress, and delete what is no longer needed."""
        return await self._processor.follow(UUID(ref.broadcast_id))

    @activity.defn(name="apply_broadcast_command")
    async def apply_broadcast_command(self, command: BroadcastCommand) -> BroadcastTurn:
        """Pause, resume or cancel it, as over REST."""
        return await self._processor.apply_command(UUID(command.broadcast_id), Command(command.command))
