"""What may lie open only to who holds the site's key: values sealed with it, and blind values to look them up by."""

import hashlib
import hmac
import json
import zlib
from typing import Final, cast

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from hilum.core.errors import Invalid
from hilum.research.deid.keys import Keys


class Seal:
    """Seals values and makes blind ones.

    Parameters
    ----------
    keys
        Of the site.
    """

    def __init__(self, keys: Keys) -> None:
        self._box: Final = SecretBox(keys.seal)
        self._index: Final = keys.index

    def blind(self, kind: str, value: str) -> bytes:
        """What a value is looked up by."""
        return hmac.digest(self._index, f"{kind}\0{value}".encode("utf-8", "surrogateescape"), hashlib.sha256)[:16]

    def seal(self, value: object) -> bytes:
        """A value, of JSON, that only the key opens."""
        return bytes(self._box.encrypt(zlib.compress(json.dumps(value, ensure_ascii=True).encode())))

    def open(self, sealed: bytes) -> object:
        """What `seal` has sealed; raises ``Invalid`` for another key."""
        try:
            return cast("object", json.loads(zlib.decompress(self._box.decrypt(sealed))))
        except CryptoError:
            raise Invalid("The crosswalk cannot be opened with this key file.") from None
