"""A load that was planned before there were attempts, as at the beginning of a first broadcast."""

import asyncio
from uuid import UUID

from plans import Explained, row_id, wasteful

from domain.notification import Notification
from storage.postgres import open_pool

ACCEPTED = """
INSERT INTO notifications (id, tenant, user_id, type, idempotency_key, fingerprint, fingerprint_key_id,
                           fingerprint_version, lane, strategy, status, accepted_at, expires_at)
SELECT md5('n' || n)::uuid, 'acme', 'user-' || n, 'marketing', 'key-' || n, '\\x00', 'k', 1, 3, 'all',
       'sending', now(), now() + interval '1 day'
FROM generate_series(1, 5000) n;
INSERT INTO deliveries (id, notification_id, tenant, user_id, type, channel, position, status, attempts_made,
                        next_pass_at, expires_at, accepted_at)
SELECT md5('d' || n)::uuid, md5('n' || n)::uuid, 'acme', 'user-' || n, 'marketing', 'sms', 0, 'sending', 1,
       now(), now() + interval '1 day', now()
FROM generate_series(1, 5000) n;
"""
"""Inserted in one transaction: all rows have the same `accepted_at`."""
ATTEMPTED = """
INSERT INTO notification_attempts (delivery_id, number, accepted_at, notification_id, channel, provider,
                                   pass_number, target_masked, selection, intended_at, send_deadline)
SELECT id, 1, accepted_at, notification_id, 'sms', 'twilio', 0, '+234', '{}', now(), now() FROM deliveries
"""
IDS = [row_id("n", number) for number in range(1, 21)]


async def _loaded(explained: Explained, ids: list[UUID]) -> list[Notification]:
    found = await asyncio.gather(*map(explained.ledger.load, ids))
    return [notification for notification in found if notification]


async def test_attempts_are_found_by_their_delivery_and_not_by_their_time(database: str) -> None:
    pool = await open_pool(database, size_max=1)
    async with pool.acquire() as connection:
        explained = Explained(connection)
        await explained.start()
        await connection.execute(ACCEPTED)
        assert len(await _loaded(explained, IDS)) == len(IDS)
        await connection.execute(ATTEMPTED)
        explained.plans()
        loaded = await _loaded(explained, IDS)
        assert [len(one.deliveries[0].attempts) for one in loaded] == [1] * len(IDS)
        assert wasteful(explained.plans(), rows_max=4 * len(IDS)) == set()
        explained.stop()
    await pool.close()
