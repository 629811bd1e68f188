"""Users: contacts, devices, preferences."""

from typing import Annotated, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from api.auth import KeyedRoute, Tenant
from api.context import Uses
from api.fields import Email, LocalTime, Name, Phone, Request, Shown, TimeZone, Token
from api.problems import FieldError, Problem, documented, invalid, pointer
from domain.notification import Channel, Device, QuietHours
from domain.preferences import ANY_TYPE
from storage.people import Contacts, Preferences

router = APIRouter(
    prefix="/users/{user_id:path}",
    tags=["users"],
    route_class=KeyedRoute,
    responses=documented(401, 404, 422, 503),
)

UserId = Annotated[Name, Path(description="The client's own id of the user.")]


class ContactsBody(Request):
    """A user's own addresses."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"phone": "+2348031236789", "email": "ada@example.com"}]}
    )

    phone: Phone | None = None
    email: Email | None = None
    whatsapp: Phone | None = Field(default=None, description="For WhatsApp only. Default: the phone.")


class DeviceIn(Request):
    """A device. With both tokens it is reached through FCM first, directly through APNs as fallback."""

    device_id: Name
    fcm_token: Token | None = None
    apns_token: Token | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.fcm_token is None and self.apns_token is None:
            raise PydanticCustomError("required", "a device needs fcm_token, apns_token or both")
        return self


class DevicesIn(Request):
    """All of a user's devices, the preferred one first."""

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


class DeviceView(BaseModel):
    """A registered device. A token that a provider called dead is gone, and `deactivated_reason` says why."""

    device_id: str
    fcm_token: str | None
    apns_token: str | None
    registered_at: Shown
    deactivated_at: Shown | None
    deactivated_reason: str | None


class DevicesView(BaseModel):
    """A user's devices, in the order in which they are tried."""

    devices: list[DeviceView]


class QuietHoursBody(Request):
    """Local times between which nothing that can wait is sent. `start` may be later than `end`."""

    start: LocalTime
    end: LocalTime

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end:
            # All day, or never? Whoever wants no quiet hours sends none.
            raise PydanticCustomError(
                "quiet_hours_empty", "start and end are the same: leave quiet_hours out for none"
            )
        return self


class PreferencesBody(Request):
    """What a user wants. What is not said is wanted; a type goes before `*`, which speaks for every type."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "types": {"*": {"email": False}, "price_alert": {"sms": True}},
                    "time_zone": "Africa/Lagos",
                    "quiet_hours": {"start": "22:00", "end": "07:00"},
                }
            ]
        }
    )

    types: dict[Name, dict[Channel, StrictBool]] = Field(
        default_factory=dict, examples=[{"*": {"email": False}, "price_alert": {"sms": True}}]
    )
    time_zone: TimeZone | None = None
    quiet_hours: QuietHoursBody | None = None


@router.put("/contacts")
async def put_contacts(user_id: UserId, body: ContactsBody, tenant: Tenant, uses: Uses) -> ContactsBody:
    """Replace a user's addresses. They are stored in one spelling: E.164, and the domain in lower case."""
    await uses.people.set_contacts(tenant, user_id, Contacts(body.phone, body.email, body.whatsapp))
    return body


@router.get("/contacts")
async def get_contacts(user_id: UserId, tenant: Tenant, uses: Uses) -> ContactsBody:
    """A user's addresses."""
    contacts = await uses.people.contacts(tenant, user_id)
    if contacts is None:
        raise _not_found()
    # Stored addresses are shown as they are, whatever the rules have become since.
    return ContactsBody.model_construct(
        phone=contacts.phone, email=contacts.email, whatsapp=contacts.whatsapp
    )


@router.put("/devices")
async def put_devices(user_id: UserId, body: DevicesIn, tenant: Tenant, uses: Uses) -> DevicesView:
    """Replace a user's devices. One that a provider called dead is active again once its token is given."""
    devices = [Device(device.device_id, device.fcm_token, device.apns_token) for device in body.devices]
    await uses.people.set_devices(tenant, user_id, devices)
    return await get_devices(user_id, tenant, uses)


@router.get("/devices")
async def get_devices(user_id: UserId, tenant: Tenant, uses: Uses) -> DevicesView:
    """A user's devices."""
    devices = await uses.people.devices(tenant, user_id)
    if devices is None:
        raise _not_found()
    return DevicesView(devices=[DeviceView.model_validate(d, from_attributes=True) for d in devices])


@router.put("/preferences")
async def put_preferences(
    user_id: UserId, body: PreferencesBody, tenant: Tenant, uses: Uses
) -> PreferencesBody:
    """Replace what a user wants. An opt-out holds for everything that is not yet being sent."""
    unknown = [name for name in body.types if name != ANY_TYPE and name not in uses.catalog.types]
    if unknown:
        message = f"there is no such type; there are {', '.join(uses.catalog.types)}, and `*` for all"
        raise invalid([FieldError(pointer("types", name), "unknown_type", message) for name in unknown])
    settings = {
        (name, channel): enabled
        for name, channels in body.types.items()
        for channel, enabled in channels.items()
    }
    quiet = QuietHours(body.quiet_hours.start, body.quiet_hours.end) if body.quiet_hours else None
    await uses.people.set_preferences(tenant, user_id, Preferences(settings, body.time_zone, quiet))
    return body


@router.get("/preferences")
async def get_preferences(user_id: UserId, tenant: Tenant, uses: Uses) -> PreferencesBody:
    """What a user wants."""
    preferences = await uses.people.preferences(tenant, user_id)
    if preferences is None:
        raise _not_found()
    types: dict[str, dict[Channel, bool]] = {}
    for (name, channel), enabled in preferences.settings.items():
        types.setdefault(name, {})[channel] = enabled
    quiet = preferences.quiet_hours
    return PreferencesBody.model_construct(
        types=types,
        time_zone=preferences.time_zone,
        quiet_hours=QuietHoursBody.model_construct(start=quiet.start, end=quiet.end) if quiet else None,
    )


def _not_found() -> Problem:
    return Problem(404, "user_not_found", "Nothing is stored for this user.")
