"""A token that a provider reported as dead is valid again once its device registers it again."""

from datetime import timedelta

from domain.notification import Channel, Device
from domain.outcome import AddressVerdict
from storage.address_verdicts import apply_verdict
from storage.postgres import Pool
from storage.users import RegisteredDevice, Users

PHONE = Device("phone", fcm_token="fcm-token-of-the-phone", apns_token="apns-token-of-the-phone")


async def registered(users: Users) -> RegisteredDevice:
    [device] = await users.devices("acme", "ada") or ()
    return device


async def test_a_dead_token_is_valid_again_once_it_is_registered_again(pool: Pool) -> None:
    users = Users(pool)

    async def report_dead(begun_after_s: float) -> None:
        """Apply a provider's verdict about a send that began `begun_after_s` after the registration."""
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
    await report_dead(begun_after_s=1)
    dead = await registered(users)
    assert (dead.fcm_token, dead.apns_token) == (None, PHONE.apns_token)
    assert dead.deactivated_reason == "unregistered"

    await users.set_devices("acme", "ada", [PHONE])
    valid = await registered(users)
    assert (valid.fcm_token, valid.deactivated_at, valid.deactivated_reason) == (PHONE.fcm_token, None, None)

    # The verdict about a send before the second registration does not apply to it.
    await report_dead(begun_after_s=-1)
    assert await registered(users) == valid
