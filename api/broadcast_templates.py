"""What a broadcast's template lacks for every recipient: found when the broadcast is created."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.broadcast_models import BroadcastIn, QueryIn
from api.problems import FieldError
from domain.broadcasts import BroadcastRecipient
from domain.template_locales import check_locale
from domain.template_run import RenderingFailed
from domain.templates import Message, absent_message


def template_refused(body: BroadcastIn, listed: Sequence[BroadcastRecipient]) -> list[FieldError]:
    """The errors of the template together with the shared data: values that are null or blank for everyone,
    and unless the recipients are still to be uploaded, also those that nobody has. `listed`: the recipients
    of a list.
    """
    message = Message(body.template.body, body.template.title)
    shared = _shared(body, listed)
    if message.uses_locale and "locale" in shared:
        try:
            check_locale(shared["locale"])
        except RenderingFailed as error:
            return [FieldError("/data/locale", "unknown_locale", str(error))]
    try:
        if isinstance(body.audience, QueryIn):
            message.render({**shared, "user_id": "user"})
            return []
        lacks = message.try_with(shared, _theirs(listed) if listed else None)
    except RenderingFailed as error:
        if not error.lacks:
            return [FieldError("/template/body", error.code, str(error))]
        lacks = error.lacks
    return [
        FieldError(_pointer(lack.path), "template_value_missing", absent_message((lack,))) for lack in lacks
    ]


def _shared(body: BroadcastIn, listed: Sequence[BroadcastRecipient]) -> Mapping[str, Any]:
    """The shared data that some recipient uses: not what every recipient in a list overrides."""
    if not listed:
        return body.data
    overridden = set.intersection(*({*(recipient.data or ())} for recipient in listed))
    return {name: value for name, value in body.data.items() if name not in overridden}


def _theirs(listed: Sequence[BroadcastRecipient]) -> set[str]:
    """The names in the data of some recipient, and `user_id`."""
    return {"user_id"}.union(*(recipient.data or () for recipient in listed))


def _pointer(path: tuple[str, ...]) -> str:
    return "/data/" + "/".join(_escaped(path)) if path else "/template/body"


def _escaped(path: tuple[str, ...]) -> Iterator[str]:
    return (key.replace("~", "~0").replace("/", "~1") for key in path)
