"""A token's life: dead by a provider's word, alive again once its device gives it anew."""

from datetime import timedelta

from domain.notification import Channel, Device
from domain.outcome import AddressVerdict
from storage.users import Users, RegisteredDevice
from storage.postgres import Pool
from storage.address_verdicts import apply_verdict

PHONE = Device("phone", fcm_token="fcm-token-of-the-phone", apns_token="apns-token-of-the-phone")


async def registered(users: Users) -> RegisteredDevice:
    [device] = await users.devices("acme", "ada") or ()
    return device


async def test_a_dead_token_is_alive_again_once_it_is_given_anew(pool: Pool) -> None:
    users = Users(pool)

    async def dies(begun_after_s: float) -> None:
        """What a provider says of a send that was begun so long after the registration."""
        begun = (await registered(users)).registered_at + timedelta(seconds=begun_after_s)
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

    await users.set_devices("acme", "ada", [PHONE])
    await dies(begun_after_s=1)
    dead = await registered(users)
    assert (dead.fcm_token, dead.apns_token) == (None, PHONE.apns_token)
    assert dead.deactivated_reason == "unregistered"

    await users.set_devices("acme", "ada", [PHONE])
    alive = await registered(users)
    assert (alive.fcm_token, alive.deactivated_at, alive.deactivated_reason) == (PHONE.fcm_token, None, None)

    # A send that was under way when the token was given anew says nothing of it.
    await dies(begun_after_s=-1)
    assert await registered(users) == alive
