"""Which pages of other origins may use this server (the CORS protocol of the Fetch standard): what they are told before
they ask, and the header fields that let them read the answer."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from hilum.core.errors import Invalid

ALLOWED_METHODS: Final = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
ALLOWED_FIELDS: Final = (
    "Accept, Accept-Charset, Authorization, Cache-Control, Content-Type, If-Match, If-Modified-Since, If-None-Match, "
    "If-Range, Range"
)
EXPOSED_FIELDS: Final = (
    "Accept-Ranges, Content-Location, Content-Range, ETag, Location, Retry-After, Warning, WWW-Authenticate, "
    "X-Total-Count"
)
_MAX_AGE: Final = "7200"
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9][a-z0-9.-]{0,252}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class CrossOrigin:
    """Who may use the server from elsewhere.

    Attributes
    ----------
    origins : frozenset of str
        By name, such as ``https://viewer.example``; ``*`` is everyone.
    hosts : frozenset of str
        Host names of this server's own: their pages may on any port, as a viewer under development has one.
    """

    origins: frozenset[str]
    hosts: frozenset[str]

    @classmethod
    def parse(cls, text: str, hosts: Iterable[str] = ()) -> "CrossOrigin":
        """Read origins with spaces or commas between them.

        Raises
        ------
        Invalid
            One of them is none.
        """
        origins = frozenset(part.lower().rstrip("/") for part in re.split(r"[\s,]+", text.strip()) if part)
        if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in origins):
            raise Invalid("HILUM_CORS_ORIGINS is made of origins such as https://viewer.example, or is *.")
        return cls(origins, frozenset(hosts))

    def allows(self, origin: str) -> bool:
        """Whether pages of an origin may use the server."""
        origin = origin.lower()
        if _ORIGIN.fullmatch(origin) is None:
            return False
        return bool(self.origins & {"*", origin}) or urlsplit(origin).hostname in self.hosts

    def preflight(self, origin: str) -> Fields:
        """Fields of the answer to a page that asks whether it may, before it sends something."""
        given = {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": ALLOWED_METHODS,
            "access-control-allow-headers": ALLOWED_FIELDS,
            "access-control-max-age": _MAX_AGE,
            "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        }
        return _fields(given)

    def answer(self, origin: str) -> Fields:
        """Fields that let the page read an answer, or show it; without an origin those for everyone."""
        policy = "cross-origin" if self.origins else "same-site"
        given = {"vary": "Origin", "cross-origin-resource-policy": policy}
        if origin and self.allows(origin):
            given |= {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED_FIELDS}
        return _fields(given)


def is_preflight(method: str, fields: Mapping[bytes, str]) -> bool:
    """Whether a request is a page's question whether it may."""
    return method == "OPTIONS" and b"origin" in fields and b"access-control-request-method" in fields


def _fields(given: Mapping[str, str]) -> Fields:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in given.items()]
