"""Instances to a destination by STOW-RS (PS3.18 section 10.5): many in a request, read as they are sent; the answer
says what became of each. Nothing is asked of any other host than the one that was named: redirects are errors."""

import secrets
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Final, cast

import httpx
import msgspec

from hilum.core.errors import HilumError, Unavailable
from hilum.core.retry_after import seconds_of
from hilum.imaging.archive.convert import converted
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.attributes import EXPLICIT_LITTLE
from hilum.imaging.routing.destinations import Destination
from hilum.imaging.routing.queue import Item, Result
from hilum.imaging.routing.trouble import CONNECT_SECONDS, Refused, Unreachable, tls_context
from hilum.imaging.routing.verdicts import TRANSFER_SYNTAX, failed, stored

MAX_ANSWER: Final = 8 << 20
_JSON: Final = "application/dicom+json"
_WRITE_SECONDS: Final = 60.0
_TELLING: Final = (200, 202, 400, 409, 413, 415, 422)
_FAILED_SEQUENCE, _STORED_SEQUENCE = "00081198", "00081199"
_INSTANCE, _FAILURE, _WARNING = "00081155", "00081197", "00081196"


@dataclass(slots=True)
class _Sending:
    """A request's body as it is read; ``current`` is the instance that is being read, and so to blame for an error."""

    archive: Archive
    boundary: str = field(default_factory=lambda: secrets.token_hex(16))
    current: Item | None = None

    def size(self, parts: Sequence[tuple[Item, str]]) -> int | None:
        """The length of the body in bytes; None where something is converted on the way."""
        if any(syntax != item.transfer_syntax_uid for item, syntax in parts):
            return None
        return sum(len(self._head(syntax)) + item.size for item, syntax in parts) + len(self._end())

    def body(self, parts: Sequence[tuple[Item, str]]) -> Iterator[bytes]:
        """The body: each instance in its transfer syntax."""
        for item, syntax in parts:
            self.current = item
            pieces = converted(self.archive, item.instance, syntax)
            yield self._head(syntax)
            yield from pieces
        self.current = None
        yield self._end()

    def _head(self, syntax: str) -> bytes:
        media_type = f"application/dicom; transfer-syntax={syntax}"
        return f"\r\n--{self.boundary}\r\nContent-Type: {media_type}\r\n\r\n".encode("ascii")

    def _end(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode("ascii")


def send(archive: Archive, destination: Destination, items: Sequence[Item]) -> Iterator[Result]:
    """Send instances in one request, and once more what is not taken in the transfer syntax it is stored in.

    Raises
    ------
    Refused
        The request failed as a whole.
    Unavailable
        The archive cannot read it now.
    Unreachable
        The destination cannot be reached, or lets nobody in.
    """
    forced = destination.address.transfer_syntax_uid
    with _client(destination) as client:
        parts = [(item, forced or item.transfer_syntax_uid) for item in items]
        again: list[tuple[Item, str]] = []
        for result, syntax, reason in _request(archive, client, destination, parts):
            if reason == TRANSFER_SYNTAX and syntax != EXPLICIT_LITTLE:
                again.append((result.item, EXPLICIT_LITTLE))
            else:
                yield result
        for part in again:  # each alone, for one that cannot be converted spoils a request
            try:
                yield from (result for result, _, _ in _request(archive, client, destination, [part]))
            except Refused as error:
                yield Result(part[0], sent=False, permanent=error.permanent, error=str(error))


def _request(
    archive: Archive, client: httpx.Client, destination: Destination, parts: Sequence[tuple[Item, str]]
) -> Iterator[tuple[Result, str, int]]:
    """One request: of each instance what became of it, the syntax it was sent in, and its failure reason."""
    sending = _Sending(archive)
    try:
        status, body, after = _post(client, destination, sending, parts)
    except Unavailable:
        raise
    except HilumError as error:
        if sending.current is None:
            raise
        yield Result(sending.current, sent=False, permanent=True, error=str(error)), "", 0
        return
    told = _read(body) if status in _TELLING else {}
    if status != 200 and not told:
        _fail(status, after)
    for item, syntax in parts:
        result, reason = _verdict(item, status, told)
        yield result, syntax, reason


def _verdict(item: Item, status: int, told: Mapping[str, tuple[bool, int]]) -> tuple[Result, int]:
    if item.sop_instance_uid not in told:
        if status == 200:
            return stored(item), 0
        error = f"It answered {status} and did not say what became of the instance."
        return Result(item, sent=False, uncertain=True, error=error), 0
    is_stored, reason = told[item.sop_instance_uid]
    return (stored(item, reason), 0) if is_stored else (failed(item, reason), reason)


def _fail(status: int, after: float = 0.0) -> None:
    """Tell whose fault an answer without further words is; ``after`` is what it asks for by Retry-After, in seconds."""
    if status in (401, 403):
        raise Unreachable(f"It does not let us in ({status}): its credentials are missing, wrong or too weak.")
    if 300 <= status < 400:
        raise Unreachable(f"It answered with a redirect ({status}), which is not followed: enter its final address.")
    if status in (400, 409, 411, 413, 415, 422):
        raise Refused(f"It refused the request ({status}).", permanent=True)
    if status in (404, 405, 406):
        raise Unreachable(f"There is no STOW-RS at its address ({status}).")
    if status in (408, 429, 502, 503, 504, 507):
        raise Unreachable(f"It cannot take anything now ({status}).", after)
    if status == 202:
        raise Refused("It stored a part (202), and did not say which.", uncertain=True)
    raise Refused(f"It failed ({status}).", uncertain=True)


def _post(
    client: httpx.Client, destination: Destination, sending: _Sending, parts: Sequence[tuple[Item, str]]
) -> tuple[int, bytes, float]:
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={sending.boundary}',
        "Accept": _JSON,
    }
    size = sending.size(parts)
    if size is not None:
        headers["Content-Length"] = str(size)
    url = f"{destination.address.root}/studies"
    with _reached(), client.stream("POST", url, content=sending.body(parts), headers=headers) as answer:
        body = _bounded(answer, time.monotonic() + destination.address.timeout_seconds)
        return answer.status_code, body, seconds_of(answer.headers.get("Retry-After", ""))


def _bounded(answer: httpx.Response, deadline: float) -> bytes:
    body = bytearray()
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > MAX_ANSWER or time.monotonic() > deadline:
            raise Refused("Its answer is longer than any answer should be.", uncertain=True)
    return bytes(body)


@contextmanager
def _reached() -> Generator[None]:
    """Tell a destination that is not there from one that broke off; neither's own words are repeated."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        secure = "CERTIFICATE" in str(error).upper() or "SSL" in str(error).upper()
        sentence = "TLS could not be agreed on with it; see its certificate." if secure else "Nobody answers there."
        raise Unreachable(sentence) from error
    except httpx.TimeoutException as error:
        raise Refused("It did not answer in time.", uncertain=True) from error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Unreachable("Its address is none that anybody can have.") from error
    except httpx.HTTPError as error:
        raise Refused("The connection was lost before it answered.", uncertain=True) from error


@contextmanager
def _client(destination: Destination) -> Generator[httpx.Client]:
    address, known = destination.address, destination.credentials
    verify = tls_context(destination) if address.root.startswith("https:") else SSLContext(PROTOCOL_TLS_CLIENT)
    auth = httpx.BasicAuth(known["username"], known["password"]) if "password" in known else None
    headers = {"Authorization": f"Bearer {known['token']}"} if "token" in known else {}
    timeout = httpx.Timeout(address.timeout_seconds, connect=CONNECT_SECONDS, write=_WRITE_SECONDS)
    with httpx.Client(verify=verify, auth=auth, headers=headers, timeout=timeout, trust_env=False) as client:
        yield client


def _read(body: bytes) -> dict[str, tuple[bool, int]]:
    """What an answer tells (PS3.18 table I.1-1): by SOP Instance UID whether it was stored, and the reason of a failure
    or warning; nothing where it is no DICOM JSON."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    if isinstance(document, list) and document:
        document = cast("list[object]", document)[0]
    if not isinstance(document, dict):
        return {}
    told: dict[str, tuple[bool, int]] = {}
    answer = cast("Mapping[str, object]", document)
    for name, is_stored, reason in ((_STORED_SEQUENCE, True, _WARNING), (_FAILED_SEQUENCE, False, _FAILURE)):
        for item in _values(answer, name):
            if isinstance(item, dict):
                part = cast("Mapping[str, object]", item)
                uid, code = _values(part, _INSTANCE), _values(part, reason)
                if uid:
                    told[str(uid[0])] = is_stored, code[0] if code and isinstance(code[0], int) else 0
    return told


def _values(data: Mapping[str, object], tag: str) -> list[object]:
    element = data.get(tag)
    values = cast("Mapping[str, object]", element).get("Value") if isinstance(element, dict) else None
    return cast("list[object]", values) if isinstance(values, list) else []


def check(destination: Destination) -> str:
    """Ask a destination's DICOMweb service for a sign of life by a search, and say how it went.

    Raises
    ------
    Unreachable
        It gave none, or does not let us in.
    """
    try:
        url = f"{destination.address.root}/studies"
        with (
            _client(destination) as client,
            _reached(),
            client.stream("GET", url, params={"limit": "1"}, headers={"Accept": _JSON}) as answer,
        ):
            status = answer.status_code
        if status >= 300 and status not in (405, 406, 501):
            _fail(status)
    except Refused as error:
        raise Unreachable(str(error)) from error
    return "It answers." if status < 300 else f"It answers, though not to a search ({status})."
