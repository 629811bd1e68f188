"""What a provider's answer means for an address: it is suppressed, or its token is dead."""

from domain.contacts import suppression_key
from domain.notification import Channel
from domain.outcome import AddressVerdict
from storage.postgres import Connection, Pool, statement


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
) -> None:
    """Suppress the address, or empty the token where it is still the user's; nothing for `keep`."""
    if verdict is AddressVerdict.SUPPRESS:
        key = suppression_key(channel, address)
        await pool.execute(statement("suppress_verdict"), tenant, channel.value, key, code, provider)
    elif verdict is AddressVerdict.DEACTIVATE_TOKEN:
        await pool.execute(statement("deactivate_token"), tenant, user_id, address, code)
