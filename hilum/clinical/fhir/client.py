"""A FHIR server of others, spoken to over HTTP by `hilum.core.outgoing`: what is sent and asked, bounded in time and
size. No redirect is followed, and what the server says of an error is told by its codes alone, for its words may name a
patient."""

import base64
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, cast
from urllib.parse import urlencode, urlsplit

import httpcore
import msgspec

from hilum.clinical.fhir.codes import Element
from hilum.clinical.fhir.outcome import FHIR_JSON
from hilum.core.config import Settings
from hilum.core.errors import Invalid
from hilum.core.outgoing import Forbidden, Network, check_url
from hilum.core.retry_after import seconds_of
from hilum.core.trust import trusting

MAX_ANSWER: Final = 32 << 20
SECONDS: Final = 30.0
# Not the resource is at fault but the way to the server, its state, or what it knows of us.
_OF_SERVER: Final = frozenset((401, 403, 404, 405, 407, 408, 425, 429, 502, 503, 504))
_CODE: Final = re.compile(r"[a-z-]{1,30}")
_PATH: Final = re.compile(r"[A-Za-z][A-Za-z0-9.\[\]]{0,100}")
_ADDRESS: Final = re.compile("[!-~]{1,8000}")
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
_REASONS: Final = {
    401: "it does not know the credentials",
    403: "the credentials do not allow it",
    404: "is this the base URL of FHIR?",
    405: "it does not take conditional updates",
    412: "it has several resources with this identifier: remove all but one there",
}


class ServerFailed(Exception):
    """The server cannot be used now, whatever is sent; ``retry_after`` is what it asked for, in seconds."""

    def __init__(self, words: str, retry_after: float = 0) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class Refused(Exception):
    """The server is there and does not take what was sent."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a server knows us: by a bearer token, else by name and password, else not."""

    token: str = ""
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Credentials":
        """Those of the settings for the server that is published to."""
        password = settings.fhir_publish_password.get_secret_value()
        return cls(settings.fhir_publish_token.get_secret_value(), settings.fhir_publish_user, password)

    def __repr__(self) -> str:
        return "Credentials(…)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: Element


class FhirServer:
    """A FHIR R4 server, by its base URL, over one connection; used by one thread at a time.

    Parameters
    ----------
    base
        Its base URL.
    credentials
        How it knows us.
    seconds
        How long one answer may take in all.
    authorities
        Certificates that are believed over TLS beside the system's; see `trusting`.
    """

    def __init__(
        self, base: str, credentials: Credentials, seconds: float = SECONDS, authorities: Path | None = None
    ) -> None:
        self.base = checked_url(base)
        self._seconds = seconds
        self._headers = {"Accept": FHIR_JSON, "Accept-Encoding": "identity", "User-Agent": "Hilum"}
        if credentials.token:
            self._headers["Authorization"] = f"Bearer {credentials.token}"
        elif credentials.user:
            login = base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"
        self._network = Network()
        self._pool = httpcore.ConnectionPool(
            ssl_context=trusting(authorities) if self.base.lower().startswith("https:") else None,
            max_connections=1,
            network_backend=self._network,
        )

    def __enter__(self) -> "FhirServer":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._pool.close()

    def put(self, kind: str, identifier: str, resource: bytes) -> str:
        """Create a resource, or update the one that has an identifier (conditional update, R4 section 3.1.0.4.3).

        Returns
        -------
        str
            Its id on the server; empty where the answer does not tell.

        Raises
        ------
        Refused
            This resource is not taken.
        ServerFailed
            None would be.
        """
        headers = {"Content-Type": FHIR_JSON, "Prefer": "return=minimal"}
        return _id_of(kind, self._ask("PUT", self._named(kind, identifier), headers, resource))

    def find(self, kind: str, identifier: str) -> str:
        """Id of the resource that has an identifier; raises ``Refused`` when it is not exactly one."""
        bundle = self._ask("GET", self._named(kind, identifier)).body
        entries = cast("list[Mapping[str, object]]", bundle.get("entry") or [])
        ids = [str(cast("Element", entry.get("resource") or {}).get("id", "")) for entry in entries]
        if len(ids) != 1 or not _ID.fullmatch(ids[0]):
            raise Refused(f"The server has {len(ids)} {kind} resources of one identifier.")
        return ids[0]

    def get(self, address: str) -> Element:
        """What is at an address of the server; raises ``Refused`` where that is another server's."""
        if not _ADDRESS.fullmatch(address) or not self.owns(address):
            raise Refused("The server names a page that lies elsewhere.")
        return self._ask("GET", address).body

    def owns(self, address: str) -> bool:
        """Whether an address is one of this server."""
        mine = urlsplit(self.base)
        try:
            other = urlsplit(address)
        except ValueError:
            return False
        return (mine.scheme, mine.netloc) == (other.scheme, other.netloc)

    def _named(self, kind: str, identifier: str) -> str:
        return f"{self.base}/{kind}?{urlencode({'identifier': identifier})}"

    def _ask(
        self, method: str, address: str, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Answer:
        fields = [(name.encode(), value.encode()) for name, value in {**self._headers, **(headers or {})}.items()]
        self._network.deadline = time.monotonic() + self._seconds
        try:
            with self._pool.stream(method, address, headers=fields, content=content) as response:
                answer = Answer(response.status, _fields(response.headers), _read(response))
        except (httpcore.ReadTimeout, httpcore.WriteTimeout):
            raise ServerFailed(f"The server did not answer within {self._seconds:g} s.") from None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise ServerFailed(f"The server cannot be reached ({type(error).__name__}).") from None
        except Forbidden:
            raise ServerFailed(
                "The server's name stands for a link-local or metadata address, to which nothing is sent."
            ) from None
        _check(answer)
        return answer


def checked_url(url: str) -> str:
    """The base URL of a server, without a slash at its end.

    Raises
    ------
    Invalid
        It is not one of HTTP, holds credentials, a query or a fragment, or names a place to which nothing is sent.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or parts.username or parts.password or parts.query or parts.fragment or not _ADDRESS.fullmatch(url):
        raise Invalid(
            "The base URL of a FHIR server is of the form https://fhir.example/r4, without credentials in it: "
            "those have settings of their own."
        )
    check_url(url)
    return url.rstrip("/")


def _fields(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _read(response: httpcore.Response) -> Element:
    """The JSON object of an answer; nothing where there is none."""
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise ServerFailed("The server's answer is larger than any should be.")
    try:
        found: object = msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = {}
    return cast("Element", found) if isinstance(found, dict) else {}


def _check(answer: Answer) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    issues = _issues(answer.body)
    words = f"The server answered {status}{f' ({issues})' if issues else ''}"
    words += f": {_REASONS[status]}." if status in _REASONS else "."
    if status in _OF_SERVER or 300 <= status < 400:
        raise ServerFailed(words, seconds_of(answer.headers.get("retry-after", "")))
    raise Refused(words)


def _issues(body: Element) -> str:
    """The codes of an OperationOutcome and where they apply."""
    found: list[str] = []
    try:
        for issue in msgspec.convert(body.get("issue", []), list[dict[str, object]])[:5]:
            places = [p for p in msgspec.convert(issue.get("expression", []), list[str])[:2] if _PATH.fullmatch(p)]
            code = str(issue.get("code", ""))
            if _CODE.fullmatch(code):
                found.append(" ".join([code, *(f"at {place}" for place in places)]))
    except msgspec.ValidationError:
        return ""
    return ", ".join(dict.fromkeys(found))


def _id_of(kind: str, answer: Answer) -> str:
    own = answer.body.get("id") if answer.body.get("resourceType") == kind else None
    if isinstance(own, str) and _ID.fullmatch(own):
        return own
    for name in ("location", "content-location"):
        match = re.search(rf"/{kind}/([A-Za-z0-9.-]{{1,64}})(?:/_history/[^/]*)?$", answer.headers.get(name, ""))
        if match:
            return match[1]
    return ""
