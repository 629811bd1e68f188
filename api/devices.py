"""Users' devices: apps with tokens, and browsers with push subscriptions."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.acts import Source
from api.auth import Clear, Tenant
from api.bodies import Body
from api.context import Ctx
from api.fields import Endpoint, Name, PublicKey, Request, SharedSecret, Shown, Token
from api.problems import FieldError, invalid, pointer
from api.users import UserId, user_not_found, user_router
from domain.audit import Action
from domain.masking import HIDDEN, shown
from domain.notification import Channel, Device
from domain.web_push import Subscription, is_push_service, stored
from storage.users import RegisteredDevice

router = user_router()


class SubscriptionKeys(BaseModel):
    """The keys that encrypt a browser's messages, in base64url."""

    p256dh: PublicKey
    auth: SharedSecret


class SubscriptionIn(Request):
    """A browser's push subscription, as `PushSubscription.toJSON()` returns it.

    `expirationTime` is not stored: the push service reports when a subscription has ended.
    """

    endpoint: Endpoint
    expiration_time: float | None = Field(default=None, alias="expirationTime")
    keys: SubscriptionKeys

    @property
    def text(self) -> str:
        """The form in which a device's address is stored."""
        return Subscription(self.endpoint, self.keys.p256dh, self.keys.auth).text


class DeviceIn(Request):
    """A device. If it has several addresses, they are tried in the order of the push route."""

    device_id: Name
    fcm_token: Token | None = None
    apns_token: Token | None = None
    webpush: SubscriptionIn | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.fcm_token is None and self.apns_token is None and self.webpush is None:
            raise PydanticCustomError("required", "a device needs fcm_token, apns_token or webpush")
        return self

    @property
    def device(self) -> Device:
        """The device as it is stored."""
        subscription = self.webpush.text if self.webpush else None
        return Device(self.device_id, self.fcm_token, self.apns_token, subscription)


class DevicesIn(Request):
    """All of a user's devices, in order of preference."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "devices": [
                        {"device_id": "ada-phone", "fcm_token": "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1"}
                    ]
                }
            ]
        }
    )

    devices: Annotated[list[DeviceIn], Field(max_length=50)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        ids = [device.device_id for device in self.devices]
        if len(set(ids)) < len(ids):
            raise PydanticCustomError("not_unique", "each device may be named once")
        return self


class SubscriptionView(BaseModel):
    """A browser's push subscription."""

    endpoint: str
    keys: SubscriptionKeys

    @classmethod
    def of(cls, text: str, *, clear: bool) -> Self:
        """Build the view of a stored subscription, unchecked: the rules may have changed since."""
        known = stored(text)
        p256dh, auth = (known.p256dh, known.auth) if clear else (HIDDEN, HIDDEN)
        keys = SubscriptionKeys.model_construct(p256dh=p256dh, auth=auth)
        return cls.model_construct(endpoint=shown(Channel.PUSH, known.endpoint, clear=clear), keys=keys)


class DeviceView(BaseModel):
    """A registered device. `deactivated_reason` is set when a provider reported its token as dead. Tokens and
    subscriptions are masked without the scope `read:pii`.
    """

    device_id: str
    fcm_token: str | None
    apns_token: str | None
    webpush: SubscriptionView | None
    registered_at: Shown
    deactivated_at: Shown | None
    deactivated_reason: str | None

    @classmethod
    def of(cls, device: RegisteredDevice, *, clear: bool) -> Self:
        """Build the view of a stored device."""
        return cls(
            device_id=device.device_id,
            fcm_token=device.fcm_token and shown(Channel.PUSH, device.fcm_token, clear=clear),
            apns_token=device.apns_token and shown(Channel.PUSH, device.apns_token, clear=clear),
            webpush=SubscriptionView.of(device.webpush, clear=clear) if device.webpush else None,
            registered_at=device.registered_at,
            deactivated_at=device.deactivated_at,
            deactivated_reason=device.deactivated_reason,
        )


class DevicesView(BaseModel):
    """A user's devices, in the order in which they are tried."""

    devices: list[DeviceView]

    @classmethod
    def of(cls, devices: Sequence[RegisteredDevice] | None, *, clear: bool) -> Self:
        """Build the view of stored devices. Raises Problem (404) for None: nothing is stored for the user."""
        if devices is None:
            raise user_not_found()
        return cls(devices=[DeviceView.of(device, clear=clear) for device in devices])


@router.put("/devices", summary="Replace a user's devices")
async def put_devices(
    user_id: UserId, body: Body[DevicesIn], tenant: Tenant, ctx: Ctx, clear: Clear
) -> DevicesView:
    """Replace a user's devices. A deactivated one becomes active when its token is sent again."""
    elsewhere = [
        number
        for number, device in enumerate(body.devices)
        if device.webpush and not is_push_service(device.webpush.endpoint, ctx.push_services)
    ]
    if elsewhere:
        message = f"unknown push service; the host must be one of {', '.join(ctx.push_services)}"
        places = [pointer("devices", number, "webpush", "endpoint") for number in elsewhere]
        raise invalid([FieldError(place, "endpoint_not_allowed", message) for place in places])
    await ctx.users.set_devices(tenant, user_id, [device.device for device in body.devices])
    return DevicesView.of(await ctx.users.devices(tenant, user_id), clear=clear)


@router.get("/devices", summary="Get a user's devices")
async def get_devices(user_id: UserId, tenant: Tenant, ctx: Ctx, clear: Clear, origin: Source) -> DevicesView:
    """Get a user's devices."""
    view = DevicesView.of(await ctx.users.devices(tenant, user_id), clear=clear)
    if clear and view.devices:
        entry = origin.entry(Action.DEVICES_READ, user_id, after={"count": len(view.devices)})
        await ctx.audit.record_reading(entry)
    return view
