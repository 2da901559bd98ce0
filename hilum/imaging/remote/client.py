"""A DICOMweb server of others, asked by QIDO-RS and WADO-RS (PS3.18 sections 10.6 and 10.4): bounded in time and size,
and nobody else is asked: a redirect is an error, and no address that an answer names is followed. What the server says
of an error is not repeated, for its words may name a patient."""

import base64
import ssl
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias, cast
from urllib.parse import quote_plus, urlencode

import httpcore
import msgspec

from hilum.core.errors import HilumError, Unavailable
from hilum.core.outgoing import Forbidden, Network
from hilum.core.trust import trusting
from hilum.imaging.dicomweb.accept import DICOM, DICOM_JSON, RELATED, parse_media_type
from hilum.imaging.dicomweb.multipart import Part, check_boundary, read_parts
from hilum.imaging.dicomweb.problems import BadRequest
from hilum.imaging.remote.servers import USUAL_ROOT, Credentials, RemoteServer

Element: TypeAlias = Mapping[str, object]
"""A data set in the DICOM JSON Model."""
Parameters: TypeAlias = Sequence[tuple[str, str]]

MAX_ANSWER: Final = 32 << 20
MAX_TOKEN: Final = 64 << 10
SECONDS: Final = 60.0
STALL_SECONDS: Final = 60.0
"""How long nothing may come while instances are sent, and how long the first may take beside."""
SLOWEST: Final = 16 << 10
"""Bytes a second, on the average, below which a server is given up."""
_SOON: Final = 30.0
_EVERYTHING: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_USUAL: Final = 'multipart/related; type="application/dicom"'
_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)


class RemoteDown(Unavailable):
    """The remote archive cannot be used now; later it may."""


class RemoteRefuses(HilumError):
    """The remote archive answers, and not as it should: whoever runs it, or entered its address, has to look."""

    status = 502
    title = "The remote archive refuses"


class _Status(Exception):
    """An answer that is no success."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status: Final = status


class DicomWeb:
    """A remote archive's DICOMweb, over one connection; used by one thread at a time.

    Parameters
    ----------
    server
        Which.
    outgoing_ca
        Certificates (a file, PEM) that a setting adds to those that are believed.
    seconds
        How long the answer to one search may take in all.
    """

    def __init__(self, server: RemoteServer, outgoing_ca: Path | None = None, seconds: float = SECONDS) -> None:
        self.root = server.url
        """Base URL of its services, as far as it is known."""
        self._is_settled = server.url.endswith(USUAL_ROOT)
        self._seconds = seconds
        self._network = Network()
        urls = (server.url, server.credentials.get("token_url", ""))
        secure = any(url.lower().startswith("https:") for url in urls)
        self._pool = httpcore.ConnectionPool(
            ssl_context=_context(server.authorities, outgoing_ca) if secure else None,
            max_connections=1,
            network_backend=self._network,
        )
        self._credentials = server.credentials
        self._token = ""
        self._token_until = 0.0

    def __enter__(self) -> "DicomWeb":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._pool.close()

    def search(self, path: str, parameters: Parameters = ()) -> list[Element]:
        """The matches of a search (PS3.18 section 10.6), as far as they are data sets.

        Parameters
        ----------
        path
            Below the base URL, such as ``/studies``.
        parameters
            Query parameters, in order.

        Raises
        ------
        RemoteDown
            It cannot be reached, is too slow, or too busy.
        RemoteRefuses
            It does not let us in, or gives no answer of QIDO-RS.
        """
        with _explained():
            return self._search(path, parameters)

    def _search(self, path: str, parameters: Parameters) -> list[Element]:
        found = self._get_json(self.root, path, parameters) if self._is_settled else self._settle(path, parameters)
        if found is None:
            raise RemoteRefuses("The remote archive gave no answer of QIDO-RS: is this the base URL of its DICOMweb?")
        self._is_settled = True
        return found

    def _settle(self, path: str, parameters: Parameters) -> list[Element] | None:
        """Ask at the base URL, and below it, for Orthanc's own service has an address ``/studies`` as well."""
        refusal: _Status | None = None
        found = None
        try:
            found = self._get_json(self.root, path, parameters)
        except _Status as error:
            if error.status in (401, 403, *_PASSING):
                raise
            refusal = error
        if found:
            return found
        try:
            below = self._get_json(self.root + USUAL_ROOT, path, parameters)
        except _Status as error:
            if refusal is None and found is not None:
                return found
            raise (refusal or error) from None
        if below is not None:
            self.root += USUAL_ROOT
            return below
        if refusal is not None:
            raise refusal
        return found

    def _get_json(self, root: str, path: str, parameters: Parameters) -> list[Element] | None:
        """The data sets of an answer; None where it is no DICOM JSON."""
        url = f"{root}{path}" + (f"?{urlencode(parameters)}" if parameters else "")
        self._network.deadline = time.monotonic() + self._seconds
        with self._answer(url, f"{DICOM_JSON}, application/json;q=0.9") as response:
            if response.status == 204:
                return []
            body = _body(response, MAX_ANSWER)
        if not body.strip():
            return []
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(found, list):
            return None
        listed = cast("list[object]", found)
        sets = [cast("Element", one) for one in listed if isinstance(one, dict)]
        return sets if sets or not listed else None

    @contextmanager
    def instances(self, path: str) -> Generator[Iterator[Part]]:
        """The instances of a study or series (PS3.18 section 10.4.1.1), in the transfer syntaxes that they are kept in,
        as they stream in; errors as for ``search``, also while they are read."""
        with _explained():
            try:
                with self._retrieved(path, _EVERYTHING) as parts:
                    yield parts
                return
            except _Status as error:
                if error.status != 406:
                    raise
            with self._retrieved(path, _USUAL) as parts:
                yield parts

    @contextmanager
    def _retrieved(self, path: str, accept: str) -> Generator[Iterator[Part]]:
        begun = time.monotonic()
        self._network.deadline = begun + 2 * STALL_SECONDS
        with self._answer(f"{self.root}{path}", accept) as response:
            media_type, parameters = parse_media_type(_field(response, b"content-type") or "application/octet-stream")
            blocks = self._blocks(response, begun)
            if media_type == DICOM:
                yield iter([Part({"content-type": DICOM}, blocks)])
                return
            if media_type != RELATED or parameters.get("type", DICOM).strip().lower() != DICOM:
                raise RemoteRefuses("The remote archive sent something else than DICOM instances.")
            yield read_parts(blocks, check_boundary(parameters.get("boundary")))

    def _blocks(self, response: httpcore.Response, begun: float) -> Iterator[bytes]:
        received = 0
        for block in response.iter_stream():
            received += len(block)
            yield block
            on_average = begun + 2 * STALL_SECONDS + received / SLOWEST
            self._network.deadline = min(time.monotonic() + STALL_SECONDS, on_average)

    @contextmanager
    def _answer(self, url: str, accept: str) -> Generator[httpcore.Response]:
        headers = [(b"Accept", accept.encode()), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"Hilum")]
        known = self._authorization()
        if known:
            headers.append((b"Authorization", known.encode()))
        with self._pool.stream("GET", url, headers=headers) as response:
            if not 200 <= response.status < 300:
                raise _Status(response.status)
            if _field(response, b"content-encoding").lower() not in ("", "identity"):
                raise RemoteRefuses("The remote archive sent a content coding that nobody asked for.")
            yield response

    def _authorization(self) -> str:
        known = self._credentials
        if "password" in known:
            return f"Basic {_basic(known['username'], known['password'])}"
        if "token_url" in known:
            if time.monotonic() > self._token_until:
                self._sign_in(known)
            return f"Bearer {self._token}"
        return f"Bearer {known['token']}" if "token" in known else ""

    def _sign_in(self, known: Credentials) -> None:
        """Get a token by the client's own credentials (RFC 6749 section 4.4)."""
        form = {"grant_type": "client_credentials"} | ({"scope": known["scope"]} if known.get("scope") else {})
        name = _basic(quote_plus(known["client_id"]), quote_plus(known["client_secret"]))
        headers = {
            "Authorization": f"Basic {name}", "Accept": "application/json", "User-Agent": "Hilum",
            "Content-Type": "application/x-www-form-urlencoded",
        }  # fmt: skip
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        with self._pool.stream("POST", known["token_url"], headers=fields, content=urlencode(form).encode()) as answer:
            if answer.status != 200:
                raise RemoteRefuses(f"The sign-in for the remote archive failed ({answer.status}).")
            body = _body(answer, MAX_TOKEN)
        try:
            given = msgspec.json.decode(body, type=_Token)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RemoteRefuses("The sign-in for the remote archive gave no token.") from None
        if not given.access_token.isascii() or not given.access_token.isprintable() or not given.access_token:
            raise RemoteRefuses("The sign-in for the remote archive gave no token.")
        self._token = given.access_token
        self._token_until = time.monotonic() + max(given.expires_in - _SOON, 0)


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 60


@contextmanager
def _explained() -> Generator[None]:
    """Tell what went wrong in words of our own."""
    try:
        yield
    except _Status as error:
        raise _failure(error.status) from None
    except BadRequest as error:
        raise RemoteRefuses(f"The remote archive sent no instances that can be read. {error}") from None
    except Forbidden:
        raise RemoteRefuses(
            "The name of the remote archive stands for a link-local or metadata address, to which nothing is sent."
        ) from None
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        secure = "CERTIFICATE" in str(error).upper() or "SSL" in str(error).upper()
        if secure:
            raise RemoteRefuses("TLS could not be agreed on with the remote archive; see its certificate.") from None
        raise RemoteDown("The remote archive cannot be reached: nobody answers there.") from None
    except httpcore.TimeoutException:
        raise RemoteDown("The remote archive did not answer in time.") from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise RemoteDown("The connection to the remote archive was lost.") from None


def _failure(status: int) -> HilumError:
    if status in (401, 403):
        return RemoteRefuses(f"The remote archive does not let us in ({status}): see its credentials.")
    if 300 <= status < 400:
        return RemoteRefuses(
            f"The remote archive answered with a redirect ({status}), which is not followed: enter its final address."
        )
    if status in _PASSING:
        return RemoteDown(f"The remote archive cannot answer now ({status}).")
    if status in (404, 410):
        return RemoteRefuses(f"The remote archive does not have it, or no such service ({status}).")
    return RemoteRefuses(f"The remote archive refused the request ({status}).")


def _body(response: httpcore.Response, most: int) -> bytes:
    body = bytearray()
    for block in response.iter_stream():
        body += block
        if len(body) > most:
            raise RemoteRefuses("The remote archive's answer is larger than any should be.")
    return bytes(body)


def _field(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


def _basic(name: str, word: str) -> str:
    return base64.b64encode(f"{name}:{word}".encode()).decode()


@lru_cache(maxsize=32)
def _context(authorities: str, outgoing_ca: Path | None) -> ssl.SSLContext:
    if not authorities:
        return trusting(outgoing_ca)
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=authorities)
    if outgoing_ca is not None:
        context.load_verify_locations(outgoing_ca)
    return context
