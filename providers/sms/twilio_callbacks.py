"""Twilio's callbacks: who signed them, and their fields.

Twilio signs the callback's URL, followed by the fields of a form; a JSON body is covered by its hash in the
URL, as the SDK's RequestValidator checks it.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from providers.base import CallbackRefused, CallbackRequest, refuse_long

FIELDS_MAX: Final = 200
_DIGESTS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}


def read_callback(request: CallbackRequest, keys: Sequence[bytes], public_url: str) -> Mapping[str, Any]:
    """The fields of a callback that Twilio signed with one of the keys. Raises CallbackRefused."""
    signature = request.headers.get("x-twilio-signature")
    if not signature:
        raise CallbackRefused("signature_missing", "the status callback has no X-Twilio-Signature")
    algorithm = algorithm_of(request.headers.get("x-twilio-webhooks-signature-settings", ""))
    if algorithm not in _DIGESTS:
        raise CallbackRefused("signature_unknown", "the status callback uses an unknown signature algorithm")

    def verify_signature(suffix: str) -> None:
        for url in spellings(public_url, request.url):
            for key in keys:
                signed = base64.b64encode(hmac.digest(key, (url + suffix).encode(), _DIGESTS[algorithm]))
                if hmac.compare_digest(signed, signature.encode()):
                    return
        raise CallbackRefused("signature_wrong", "the status callback's signature does not match")

    body_hash = request.query.get("bodySHA256")
    if body_hash is not None and "json" in request.headers.get("content-type", ""):
        given, expected = body_hash.lower().encode(), hashlib.sha256(request.body).hexdigest().encode()
        if not hmac.compare_digest(given, expected):
            raise CallbackRefused("signature_wrong", "the status callback's body was changed")
        verify_signature("")
        return _json_fields(request.body)
    refuse_long(request)
    pairs = _form_pairs(request.body)
    verify_signature("".join(name + value for name, value in sorted(set(pairs))))
    return dict(pairs)


def algorithm_of(settings: str) -> str:
    """The algorithm in `X-Twilio-Webhooks-Signature-Settings: key=…,algorithm=…`; HMAC_SHA1 by default."""
    for part in settings.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return value.strip().upper()
    return "HMAC_SHA1"


def spellings(public_url: str, url: str) -> list[str]:
    """The public URLs that Twilio may have signed for a request that came in as `url`.

    Its backend is inconsistent about the port, so both forms are tried, as in its SDK.
    """
    public, received = urlsplit(public_url), urlsplit(url)
    path = received.path if received.path.startswith(public.path + "/") else public.path + received.path
    rest = path + (f"?{received.query}" if received.query else "")
    host = f"[{public.hostname}]" if ":" in (public.hostname or "") else public.hostname or ""
    port = public.port or (443 if public.scheme == "https" else 80)
    return [f"{public.scheme}://{host}{rest}", f"{public.scheme}://{host}:{port}{rest}"]


def _form_pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=FIELDS_MAX
        )
    except ValueError as error:
        raise CallbackRefused("malformed", "the status callback's body is not a form") from error


def _json_fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallbackRefused("malformed", "the status callback's body is not JSON") from error
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}
