"""Postgres spells an address in the suppression list as domain/contacts.py does."""

import unicodedata

from domain.contacts import suppression_key
from domain.notification import Channel
from storage.postgres import Pool

EMAILS = (
    "Ada@Example.COM",
    "İDİL@example.com",
    "ΟΔΥΣΣΕΥΣ@example.com",
    "ΣΑΣ.ΣΑΣ@example.com",
    "STRAẞE@example.com",
    "Ǆenan@example.com",
    "ﬁona@example.com",
    "𐐀da@example.com",
)
OTHERS = {
    Channel.SMS: ("+2348031230000",),
    Channel.WHATSAPP: ("+2348031230000",),
    Channel.PUSH: ("Token:A-b_C", "https://push.example.com/Send/1#p256dh=a&auth=b", "#", "a#b#c", ""),
}


async def _spelt(pool: Pool, channel: Channel, addresses: list[str]) -> list[str]:
    return await pool.fetchval(
        "SELECT array_agg(suppression_key_v1($1, address) ORDER BY place)"
        " FROM unnest($2::text[]) WITH ORDINALITY AS input (address, place)",
        channel.value,
        addresses,
    )


async def test_postgres_and_python_spell_addresses_alike(pool: Pool) -> None:
    for channel, addresses in ({Channel.EMAIL: EMAILS} | OTHERS).items():
        expected = [suppression_key(channel, address) for address in addresses]
        assert await _spelt(pool, channel, list(addresses)) == expected


async def test_postgres_and_python_agree_on_every_letter(pool: Pool) -> None:
    known = [letter for letter in map(chr, range(0x110000)) if unicodedata.category(letter)[0] == "L"]
    spelt = await _spelt(pool, Channel.EMAIL, known)
    assert [
        letter
        for letter, lower in zip(known, spelt, strict=True)
        if lower != suppression_key(Channel.EMAIL, letter)
    ] == []
