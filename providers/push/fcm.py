"""Firebase Cloud Messaging, HTTP v1 (the discovery document of `fcm.googleapis.com`, v1).

FCM has no idempotency key and no look-up. Instead every attempt of one delivery has the same collapse key
(while it waits for the device) and the same tag (when it is shown), so that a second copy replaces the
first. The `fid` field will replace `token`; a token still works, and installation ids are accepted in the
same field.
"""

import asyncio
import json
import re
from dataclasses import replace
from itertools import chain
from typing import Any, ClassVar

from domain.notification import Device
from domain.outcome import Outcome, SendResult
from providers.base import Capabilities, CodeMeaning, Message
from providers.code_meanings import AMBIGUOUS, DEAD_TOKEN, NOT_THIS_MESSAGE, REJECTED, UNAVAILABLE
from providers.http import Answer, RequestFailed, by_status, refused
from providers.installation import Installation
from providers.push.access_token import AccessTokens, NoToken, ServiceAccount
from providers.push.payload import too_large
from providers.push.replacement import replacement_id
from providers.push.send_only import SendOnly
from providers.settings import FcmSettings

TTL_S_MAX = 28 * 86_400
_ENUM_NAME = re.compile(r"[A-Z_]{1,64}")
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"

QUOTA_WAIT_S = 60.0
"""Google asks clients to wait at least a minute after a quota was exceeded (FCM's ErrorCode reference)."""

BY_ERROR_CODE: dict[str, CodeMeaning] = {
    "UNREGISTERED": DEAD_TOKEN,
    # Any field of ours may be the invalid one; only the violation of `message.token` blames the token.
    "INVALID_ARGUMENT": NOT_THIS_MESSAGE,
    # The token belongs to another project: ours to fix, so the token is kept.
    "SENDER_ID_MISMATCH": NOT_THIS_MESSAGE,
    "THIRD_PARTY_AUTH_ERROR": REJECTED,
    "QUOTA_EXCEEDED": CodeMeaning(Outcome.THROTTLED, retry_after_s=QUOTA_WAIT_S),
    "UNAVAILABLE": UNAVAILABLE,
    "INTERNAL": AMBIGUOUS,
}
"""The meanings of `FcmError.errorCode` (FCM's ErrorCode reference)."""

BY_STATUS: dict[str, CodeMeaning] = {
    "INVALID_ARGUMENT": NOT_THIS_MESSAGE,
    "UNAUTHENTICATED": REJECTED,
    "PERMISSION_DENIED": REJECTED,
    # Without an FcmError this is about the project or the URL, never the token.
    "NOT_FOUND": REJECTED,
    "RESOURCE_EXHAUSTED": CodeMeaning(Outcome.THROTTLED, retry_after_s=QUOTA_WAIT_S),
    "UNAVAILABLE": UNAVAILABLE,
    "INTERNAL": AMBIGUOUS,
    "DEADLINE_EXCEEDED": AMBIGUOUS,
}
"""`google.rpc.Code`, where there is no FcmError."""


class Fcm(SendOnly):
    """Push through FCM. Raises ValueError when the service account's file cannot be used."""

    name: ClassVar[str] = "fcm"
    vendor = "FCM"
    capabilities: ClassVar[Capabilities] = replace(
        SendOnly.capabilities, sandbox="validate_only (checked, not delivered)"
    )

    def __init__(self, settings: FcmSettings, installation: Installation) -> None:
        account = ServiceAccount.read(settings.service_account_file)
        self._client = installation.client(self.name, settings.base_url)
        self._path = f"/v1/projects/{settings.project_id}/messages:send"
        self._tokens = AccessTokens(account, settings.token_url, self._client)

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Send to one device. A refused access token is replaced once."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        body = build_payload(message)
        if refused_here := too_large(payload_bytes(body)):
            return refused_here
        try:
            token = await self._tokens.get(timeout_s=deadline - loop.time())
            answer = await self._post(body, token, deadline - loop.time())
            if isinstance(answer, Answer) and answer.status == 401 and _fcm_code(answer) is None:
                self._tokens.refuse(token)
                token = await self._tokens.get(timeout_s=deadline - loop.time())
                answer = await self._post(body, token, deadline - loop.time())
        except NoToken as error:
            return error.result
        return answer.result if isinstance(answer, RequestFailed) else parse_result(answer)

    async def _post(self, body: dict[str, Any], token: str, timeout_s: float) -> Answer | RequestFailed:
        headers = {"Authorization": f"Bearer {token}"}
        return await self._client.request("POST", self._path, timeout_s=timeout_s, headers=headers, json=body)

    def address_of(self, device: Device) -> str | None:
        return device.fcm_token

    async def aclose(self) -> None:
        await self._tokens.aclose()
        await self._client.aclose()


def build_payload(message: Message) -> dict[str, Any]:
    """The body of the request. FCM keeps it until the notification expires, at most 28 days."""
    same_delivery = replacement_id(message.attempt_ref)
    ttl_s = (message.expires_at - message.intended_at).total_seconds()
    alert = {"title": message.content.title, "body": message.content.body}
    return {
        "message": {
            "token": message.target.address,
            "notification": {name: text for name, text in alert.items() if text is not None},
            "data": {"herald_ref": message.attempt_ref},
            "android": {
                "priority": "HIGH",
                "ttl": f"{int(min(max(ttl_s, 0), TTL_S_MAX))}s",
                # Without one, notification messages collapse under the app's package name, and FCM keeps
                # only the last one that waits for the device ("collapsible messages").
                "collapse_key": same_delivery,
                "notification": {"tag": same_delivery},
            },
            "apns": {
                "headers": {
                    "apns-priority": "10",
                    "apns-expiration": str(int(message.expires_at.timestamp())),
                    "apns-collapse-id": same_delivery,
                }
            },
        }
    }


def payload_bytes(body: dict[str, Any]) -> int:
    """The size that FCM limits: what reaches the device, as compact JSON in UTF-8."""
    reaching = {name: body["message"][name] for name in ("notification", "data")}
    return len(json.dumps(reaching, ensure_ascii=False, separators=(",", ":")).encode())


def parse_result(answer: Answer) -> SendResult:
    """The result of a send."""
    if answer.status == 200:
        name = answer.fields.get("name")
        if isinstance(name, str) and name:
            return SendResult(Outcome.ACCEPTED, http_status=200, provider_message_id=name)
        return SendResult(Outcome.AMBIGUOUS, code="answer_malformed", http_status=200)
    code, status = _fcm_code(answer), _word(_error(answer).get("status"))
    if "INVALID_ARGUMENT" in (code, status) and _blames_the_token(answer):
        return refused(answer, DEAD_TOKEN, "invalid_argument:message.token")
    if code in BY_ERROR_CODE:
        return refused(answer, BY_ERROR_CODE[code], code)
    if status in BY_STATUS:
        return refused(answer, BY_STATUS[status], status)
    return refused(answer, by_status(answer.status, vendor_form=bool(_error(answer))), code or status)


def _blames_the_token(answer: Answer) -> bool:
    """Whether a field violation names the token; no other error is about it."""
    violations = [_dicts(detail.get("fieldViolations")) for detail in _details(answer, _BAD_REQUEST)]
    return any(violation.get("field") == "message.token" for violation in chain.from_iterable(violations))


def _error(answer: Answer) -> dict[str, Any]:
    error = answer.fields.get("error")
    return error if isinstance(error, dict) else {}


def _details(answer: Answer, kind: str) -> list[dict[str, Any]]:
    return [detail for detail in _dicts(_error(answer).get("details")) if detail.get("@type") == kind]


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _fcm_code(answer: Answer) -> str | None:
    codes = (_word(detail.get("errorCode")) for detail in _details(answer, _FCM_ERROR))
    return next((code for code in codes if code is not None), None)


def _word(value: object) -> str | None:
    """A name of Google's enums. Anything else might be text, which may contain the recipient."""
    return value if isinstance(value, str) and _ENUM_NAME.fullmatch(value) else None
