"""Users: contacts and preferences. Their devices are in api/devices.py."""

from dataclasses import asdict
from typing import Annotated, Self

from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from api.acts import AuditedRoute, Source
from api.auth import Clear, Tenant
from api.bodies import Body
from api.context import Ctx
from api.fields import Email, LocalTime, Name, Phone, Request, TimeZone
from api.problems import ERRORS_MAX, FieldError, Problem, documented, invalid, pointer
from domain.audit import Action
from domain.masking import shown
from domain.notification import Channel, QuietHours
from domain.preferences import ANY_TYPE
from storage.users import Contacts, Preferences

UserId = Annotated[Name, Path(description="The client's own id for the user.")]


def user_router() -> APIRouter:
    """Return a router for the resources of a user."""
    return APIRouter(
        prefix="/users/{user_id:path}",
        tags=["users"],
        route_class=AuditedRoute,
        responses=documented(400, 401, 404, 422, 503),
    )


router = user_router()


class ContactsBody(Request):
    """A user's own addresses."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"phone": "+2348031236789", "email": "ada@example.com"}]}
    )

    phone: Phone | None = None
    email: Email | None = None
    whatsapp: Phone | None = Field(default=None, description="For WhatsApp only. Default: `phone`.")


class QuietHoursBody(Request):
    """Local times between which types that can wait are not sent. `start` may be later than `end`."""

    start: LocalTime
    end: LocalTime

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end:
            # It could mean all day or never.
            raise PydanticCustomError(
                "quiet_hours_empty", "`start` and `end` are the same; omit `quiet_hours` for none"
            )
        return self


class PreferencesBody(Request):
    """A user's preferences. What is not turned off is on; a type overrides `*`, which covers all types."""

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


@router.put("/contacts", summary="Replace a user's contacts")
async def put_contacts(user_id: UserId, body: Body[ContactsBody], tenant: Tenant, ctx: Ctx) -> ContactsBody:
    """Replace a user's addresses. Numbers are stored in E.164, mail domains in lower case."""
    await ctx.users.set_contacts(tenant, user_id, Contacts(body.phone, body.email, body.whatsapp))
    return body


@router.get("/contacts", summary="Get a user's contacts")
async def get_contacts(
    user_id: UserId, tenant: Tenant, ctx: Ctx, clear: Clear, origin: Source
) -> ContactsBody:
    """Get a user's addresses; masked without the scope `read:pii`."""
    contacts = await ctx.users.contacts(tenant, user_id)
    if contacts is None:
        raise user_not_found()
    given = [name for name, address in asdict(contacts).items() if address]
    if clear and given:
        entry = origin.entry(Action.CONTACTS_READ, user_id, after={"addresses": given})
        await ctx.audit.record_reading(entry)
    # Not validated again: the rules may have changed since the addresses were stored.
    return ContactsBody.model_construct(
        phone=contacts.phone and shown(Channel.SMS, contacts.phone, clear=clear),
        email=contacts.email and shown(Channel.EMAIL, contacts.email, clear=clear),
        whatsapp=contacts.whatsapp and shown(Channel.WHATSAPP, contacts.whatsapp, clear=clear),
    )


@router.put("/preferences", summary="Replace a user's preferences")
async def put_preferences(
    user_id: UserId, body: Body[PreferencesBody], tenant: Tenant, ctx: Ctx
) -> PreferencesBody:
    """Replace a user's preferences. An opt-out applies to everything that is not yet being sent."""
    unknown = [name for name in body.types if name != ANY_TYPE and name not in ctx.catalog.types]
    if unknown:
        message = f"unknown type; expected one of {', '.join(ctx.catalog.types)}, or `*` for all"
        shown = [FieldError(pointer("types", name), "unknown_type", message) for name in unknown[:ERRORS_MAX]]
        raise invalid(shown, len(unknown) - len(shown))
    settings = {
        (name, channel): enabled
        for name, channels in body.types.items()
        for channel, enabled in channels.items()
    }
    quiet = QuietHours(body.quiet_hours.start, body.quiet_hours.end) if body.quiet_hours else None
    await ctx.users.set_preferences(tenant, user_id, Preferences(settings, body.time_zone, quiet))
    return body


@router.get("/preferences", summary="Get a user's preferences")
async def get_preferences(user_id: UserId, tenant: Tenant, ctx: Ctx) -> PreferencesBody:
    """Get a user's preferences."""
    preferences = await ctx.users.preferences(tenant, user_id)
    if preferences is None:
        raise user_not_found()
    types: dict[str, dict[Channel, bool]] = {}
    for (name, channel), enabled in preferences.settings.items():
        types.setdefault(name, {})[channel] = enabled
    quiet = preferences.quiet_hours
    return PreferencesBody.model_construct(
        types=types,
        time_zone=preferences.time_zone,
        quiet_hours=QuietHoursBody.model_construct(start=quiet.start, end=quiet.end) if quiet else None,
    )


def user_not_found() -> Problem:
    """Build the problem for a user for whom nothing is stored."""
    return Problem(404, "user_not_found", "Nothing is stored for this user.")
