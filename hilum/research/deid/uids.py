"""New UIDs for old ones: an HMAC with the run's key under the root 2.25 (PS3.5 annex B.2), so that whoever lacks the
key can neither go back nor check a guess, and every reference comes out the same."""

import hashlib
import hmac
import re
from typing import Final

# Of DICOM itself; its numbers are short, so that what someone invents below this root, with a date or an id in it, is
# none.
_REGISTERED: Final = re.compile(r"1\.2\.840\.10008(?:\.\d{1,4}){1,12}", re.ASCII)


class UidMap:
    """The new UID of each old one under a key.

    Parameters
    ----------
    key : bytes
        For UIDs alone (`keys.Keys.uids`).
    """

    def __init__(self, key: bytes) -> None:
        self._key: Final = key
        self._known: dict[str, str] = {}

    def new(self, uid: str) -> str:
        """The new UID; one that DICOM registers (a SOP class, a transfer syntax) and an empty one stay."""
        uid = uid.strip(" \0")
        if not uid or _REGISTERED.fullmatch(uid):
            return uid
        found = self._known.get(uid)
        if found is None:
            number = int.from_bytes(hmac.digest(self._key, uid.encode("utf-8"), hashlib.sha256)[:16])
            # The bits of a UUID of version 8 (RFC 9562), which the root 2.25 asks for.
            number = number & ~(0xF << 76) | 8 << 76
            number = number & ~(3 << 62) | 2 << 62
            found = f"2.25.{number}"
            if len(self._known) > 200_000:
                self._known.clear()
            self._known[uid] = found
        return found
