"""Applies what a provider reported about an address: suppresses it, or empties a dead token."""

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
    """Suppress the address for this tenant or, for `stopped`, for all tenants; or empty the token if the user
    still has it; do nothing for `keep`. `intended_at`: the start of the send that led to the verdict.
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
