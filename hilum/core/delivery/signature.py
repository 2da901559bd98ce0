"""Signatures as in Standard Webhooks: the receiver, who has the same secret, knows by them who sent what and when."""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

from hilum.core.errors import Invalid

PREFIX: Final = "whsec_"
_OWN_BYTES: Final = 32
_LEAST_BYTES: Final = 24
_MOST_BYTES: Final = 64


def new_secret() -> str:
    """Make a secret of 32 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_OWN_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """Read the key out of a secret.

    Raises
    ------
    Invalid
        It is not ``whsec_`` and 24 to 64 bytes in Base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise Invalid("A secret is whsec_ followed by 24 to 64 random bytes in Base64; leave it out to be given one.")
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Give the header fields that sign a message.

    Parameters
    ----------
    secret
        Shared with the receiver.
    message_id
        The event's id, the same whenever the event is sent again.
    timestamp
        When it is sent, in seconds since 1970.
    body
        What is sent.
    """
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
