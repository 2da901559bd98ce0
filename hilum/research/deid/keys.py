"""The key file of a site and the keys made from it, one for each purpose. Whoever has the file can open the crosswalk;
without it neither new UIDs nor pseudonyms can be tied to old ones."""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hilum.core.errors import Invalid

_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of 32 bytes: for new UIDs, for pseudonyms and drawn shifts, for looking up, for sealing."""

    uids: bytes
    people: bytes
    index: bytes
    seal: bytes

    def pseudonym(self, kind: str, value: str, digits: int = 10) -> str:
        """A number that stands for a value and tells nothing of it."""
        made = hmac.digest(self.people, f"{kind}\0{value}".encode(), hashlib.sha256)
        return str(10 ** (digits - 1) + int.from_bytes(made) % (9 * 10 ** (digits - 1)))

    def drawn_shift(self, patient_id: str) -> int:
        """Days to move a person's dates by where no map says so: -1 to -730, always the same."""
        made = hmac.digest(self.people, f"shift\0{patient_id}".encode(), hashlib.sha256)
        return -1 - int.from_bytes(made) % 730


def read_keys(path: Path, *, create: bool) -> Keys:
    """The keys of a key file: 64 hexadecimal digits.

    Parameters
    ----------
    path
        Of the file.
    create
        Whether to make it where there is none, readable by its owner only.

    Raises
    ------
    Invalid
        When there is no such file, or it holds something else.
    """
    try:
        text = path.read_text(encoding="ascii").strip() if path.exists() or not create else _made(path)
        master = bytes.fromhex(text)
    except (OSError, ValueError):
        raise Invalid(f"The key file {path} cannot be read: it holds 64 hexadecimal digits.") from None
    if len(master) != _BYTES:
        raise Invalid(f"The key file {path} does not hold 64 hexadecimal digits.")
    return Keys(*(hmac.digest(master, f"hilum.deid.{name}".encode(), hashlib.sha256) for name in _PURPOSES))


_PURPOSES: Final = ("uids", "people", "index", "seal")


def _made(path: Path) -> str:
    text = secrets.token_hex(_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    return text
