"""Pausing, resuming and cancelling a broadcast, over REST or through Temporal."""

from typing import Final
from uuid import UUID

from domain.audit import Action, AuditEntry, Origin
from domain.broadcasts import COMMANDS, Command
from storage.audit import AuditLog
from storage.broadcasts import apply_command
from storage.postgres import Connection

_ACTIONS: Final = {
    Command.PAUSE: Action.BROADCAST_PAUSE,
    Command.RESUME: Action.BROADCAST_RESUME,
    Command.CANCEL: Action.BROADCAST_CANCEL,
}


async def command_broadcast(audit: AuditLog, tenant: str, id: UUID, command: Command, origin: Origin) -> bool:
    """Pause, resume or cancel; False if its status does not allow it, or it does not exist."""

    async def act(connection: Connection) -> tuple[bool, list[AuditEntry]]:
        before = await apply_command(connection, tenant, id, command)
        if before is None:
            return False, []
        after = COMMANDS[command].after
        return True, [
            origin.entry(_ACTIONS[command], str(id), {"status": before.value}, {"status": after.value})
        ]

    return await audit.perform(act)
