"""The private key that signs a push vendor's tokens: P-256, for ES256."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from configuration.environment import shown


def read_key(file: Path) -> EllipticCurvePrivateKey:
    """The signing key in a PEM file (Apple's .p8 is one). Raises ValueError saying what is wrong."""
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise ValueError(
            f"the key file {shown(file)} cannot be read: {error.strerror}; point KEY_FILE at the key"
        ) from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError(f"{file} is not a signing key: it must hold one unencrypted P-256 private key (PEM)")
    return key
