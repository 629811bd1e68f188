"""A token's life: dead by a provider's word, alive again once its device gives it anew."""

from datetime import timedelta

from domain.notification import Channel, Device
from domain.outcome import AddressVerdict
from storage.people import People, RegisteredDevice
from storage.postgres import Pool
from storage.verdicts import apply_verdict

PHONE = Device("phone", fcm_token="fcm-token-of-the-phone", apns_token="apns-token-of-the-phone")


async def registered(people: People) -> RegisteredDevice:
    [device] = await people.devices("acme", "ada") or ()
    return device


async def test_a_dead_token_is_alive_again_once_it_is_given_anew(pool: Pool) -> None:
    people = People(pool)

    async def dies(begun_after_s: float) -> None:
        """What a provider says of a send that was begun so long after the registration."""
        begun = (await registered(people)).registered_at + timedelta(seconds=begun_after_s)
        await apply_verdict(
            pool,
            AddressVerdict.DEACTIVATE_TOKEN,
            tenant="acme",
            user_id="ada",
            channel=Channel.PUSH,
            address="fcm-token-of-the-phone",
            code="unregistered",
            provider="fcm",
            intended_at=begun,
        )

    await people.set_devices("acme", "ada", [PHONE])
    await dies(begun_after_s=1)
    dead = await registered(people)
    assert (dead.fcm_token, dead.apns_token) == (None, PHONE.apns_token)
    assert dead.deactivated_reason == "unregistered"

    await people.set_devices("acme", "ada", [PHONE])
    alive = await registered(people)
    assert (alive.fcm_token, alive.deactivated_at, alive.deactivated_reason) == (PHONE.fcm_token, None, None)

    # A send that was under way when the token was given anew says nothing of it.
    await dies(begun_after_s=-1)
    assert await registered(people) == alive
