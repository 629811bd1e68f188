"""Seals texts that a client keeps for us, such as a position in a list, so that it cannot read them."""

import base64
import binascii
import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12


class Seal:
    """Encrypts and authenticates with a key that is derived from the installation's secret key."""

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(hmac.digest(secret.encode(), b"herald/seal/v1", "sha256"))

    def close(self, text: str) -> str:
        """Return the text sealed, in base64url."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, text.encode(), None)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, sealed: str) -> str:
        """Return the text of a sealed one. Raises ValueError for anything that `close` did not return."""
        try:
            given = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._cipher.decrypt(given[:_NONCE_BYTES], given[_NONCE_BYTES:], None).decode()
        except (binascii.Error, InvalidTag) as error:
            raise ValueError("not sealed by this installation") from error
