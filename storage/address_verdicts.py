"""What a provider's answer means for an address: it is suppressed, or its token is dead."""

from datetime import datetime

from domain.contacts import suppression_key
from domain.notification import Channel
from domain.outcome import AddressVerdict
from storage.postgres import Connection, Pool
from storage.statements import statement


async def apply_verdict(
    pool: Pool | Connection,
    verdict: AddressVerdict,
    *,
    tenant: str,
    user_id: str,
    channel: Channel,
    address: str,
    code: str,
    provider: str,
    intended_at: datetime,
) -> None:
    """Suppress the address, for this tenant or (`stopped`) for all; or empty the token where it is still the
    user's; nothing for `keep`. `intended_at` is when the send was begun that this was learnt from.
    """
    if verdict is AddressVerdict.SUPPRESS:
        key = suppression_key(channel, address)
        await pool.execute(statement("suppress_by_verdict"), tenant, channel.value, key, code, provider)
    elif verdict is AddressVerdict.STOPPED:
        await pool.execute(
            statement("suppress_globally"), channel.value, suppression_key(channel, address), provider
        )
    elif verdict is AddressVerdict.DEACTIVATE_TOKEN:
        await pool.execute(statement("deactivate_token"), tenant, user_id, address, code, intended_at)
