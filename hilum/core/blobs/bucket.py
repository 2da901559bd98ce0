"""A bucket of S3, Google Cloud Storage or Azure, reached by ``obstore``: opened from a URL and options, its refusals
turned into sentences. Calls block in threads; connections that are lost are tried again with back-off."""

import json
import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from hilum.core.blobs.interface import StorageRefused, check_key
from hilum.core.errors import HilumError, Invalid, NotFound, Unavailable

T = TypeVar("T")

SCHEMES: Final = frozenset(("s3", "gs", "az"))

_RETRIES: Final = {
    "max_retries": 10,
    "retry_timeout": timedelta(seconds=45),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
_NO_RETRIES: Final = {"max_retries": 1, "retry_timeout": timedelta(seconds=5)}
_CLIENT: Final = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "120s"}
_QUICK_CLIENT: Final = {"connect_timeout": "2s", "read_timeout": "4s", "timeout": "5s"}
# Beside the library's own retries, which do not cover a write that timed out or a connection that broke off.
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_ABSENT: Final = "hilum-looks-whether-this-can-be-asked-for"
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_BEYOND: Final = "Wanted range starting at"  # said by the library of a server that answers such a range with a success
_STATUS: Final = re.compile(r"status code: ([1-5][0-9]{2})")
_REFUSED: Final = frozenset(("401", "403"))
_PASSING: Final = frozenset(("408", "429"))


class EmptyRange(HilumError):
    """A range begins at the end of the object, or beyond it."""

    status = 416
    title = "Not a range"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket as this process reaches it.

    Attributes
    ----------
    name : str
        Its URL, for sentences.
    store : ObjectStore
        What the calls of obstore take; it tries again.
    quick : ObjectStore
        The same bucket for a question that has to be answered soon.
    patience : float
        For how many seconds something is asked anew.
    """

    name: str
    store: ObjectStore
    quick: ObjectStore
    patience: float

    def call(self, ask: Callable[[], T], key: str = "") -> T:
        """Ask the bucket for something that may be asked twice.

        Raises
        ------
        NotFound
            There is no object ``key``.
        Unavailable
            The bucket cannot be reached, or refuses.
        """
        pause = _FIRST_PAUSE_SECONDS
        deadline = time.monotonic() + self.patience
        while True:
            try:
                with self.explained(key):
                    return ask()
            except StorageRefused:
                raise
            except Unavailable:
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    @contextmanager
    def explained(self, key: str = "") -> Generator[None]:
        """Turn a refusal of the bucket into a sentence; what the bucket says itself may quote keys and is not shown."""
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise self._sentence(error, key) from error

    def check(self) -> None:
        """Ask for an object that is not there, which tells whether the bucket is, and lets Hilum in.

        Raises
        ------
        StorageRefused
            It is missing, or the credentials are wrong.
        Unavailable
            It cannot be reached.
        """
        import obstore

        try:
            with self.explained(_ABSENT):
                obstore.get(self.quick, _ABSENT)
        except NotFound:
            return

    def _sentence(self, error: Exception, key: str) -> HilumError:
        text = str(error)
        if any(code in text for code in _NO_BUCKET):
            return StorageRefused(f"The bucket of {self.name} does not exist: make it, or correct HILUM_BLOBS_URL.")
        found = _STATUS.search(text)
        status = found[1] if found else ""
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or status in _REFUSED:
            return StorageRefused(
                f"{self.name} refuses the credentials: correct HILUM_BLOBS_OPTIONS, or grant them to read, write, list "
                "and delete there."
            )
        if isinstance(error, FileNotFoundError):
            return NotFound(f"There is no object {key}.")
        if status == "416" or _BEYOND in text:
            return EmptyRange("The range begins behind the end of the object.")
        if status.startswith("4") and status not in _PASSING:
            return StorageRefused(f"{self.name} refuses a request (status {status}): look at HILUM_BLOBS_OPTIONS.")
        return Unavailable(f"The objects in {self.name} cannot be reached now; try again in a moment.")


def open_bucket(url: str, options: str = "") -> Bucket:
    """Open a bucket; nothing is asked of it yet.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``; the prefix may be left out.
    options
        A JSON object of what obstore takes for such a bucket, such as ``endpoint``, ``region``, ``access_key_id`` and
        ``secret_access_key``; within it ``client_options`` (of its HTTP client) and ``retry_config`` (times in
        seconds). The cloud's own environment variables hold for what is not given.

    Raises
    ------
    Invalid
        The URL or an option is not one that can be used; the sentence repeats no value of an option.
    """
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if parts.scheme not in SCHEMES or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise Invalid(
            "HILUM_BLOBS_URL must be of the form s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."
        )
    if prefix:
        check_key(prefix)
    given = _options(options)
    client = _part(given, "client_options")
    retries = _part(given, "retry_config")
    for name in ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url"):
        if str(given.get(name, "")).startswith("http://"):
            client.setdefault("allow_http", True)  # who names such an endpoint means it
    retrying = _RETRIES | _times(retries)
    name = f"{parts.scheme}://{parts.netloc}{'/' + prefix if prefix else ''}"
    try:
        return Bucket(
            name,
            _store(parts.scheme, parts.netloc, prefix, given, _CLIENT | client, retrying),
            _store(parts.scheme, parts.netloc, prefix, given, client | _QUICK_CLIENT, dict(_NO_RETRIES)),
            cast("timedelta", retrying["retry_timeout"]).total_seconds(),
        )
    except (BaseError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise Invalid(
            "HILUM_BLOBS_OPTIONS cannot be used: it is a JSON object of the options that obstore takes for "
            f"{parts.scheme}:// ({_without_values(str(error), given)})."
        ) from error


def _store(
    scheme: str, bucket: str, prefix: str, given: Mapping[str, object], client: dict[str, object],
    retries: dict[str, object],
) -> ObjectStore:  # fmt: skip
    more: dict[str, Any] = {"config": dict(given), "client_options": client, "retry_config": retries}
    kind = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[scheme]
    return kind(bucket, prefix=prefix or None, **more)


def _options(text: str) -> dict[str, object]:
    try:
        given: object = json.loads(text) if text.strip() else {}
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Invalid('HILUM_BLOBS_OPTIONS must be a JSON object, such as {"region": "eu-central-1"}.')
    return cast("dict[str, object]", given)


def _part(given: dict[str, object], name: str) -> dict[str, object]:
    found = given.pop(name, {})
    if not isinstance(found, dict):
        raise Invalid(f"{name} in HILUM_BLOBS_OPTIONS must be a JSON object.")
    return cast("dict[str, object]", found)


def _times(retries: Mapping[str, object]) -> dict[str, object]:
    """Times are numbers of seconds in JSON, and objects to the library."""

    def read(name: str, value: object) -> object:
        if isinstance(value, dict):
            return _times(cast("dict[str, object]", value))
        if name in ("retry_timeout", "init_backoff", "max_backoff") and isinstance(value, (int, float)):
            return timedelta(seconds=value)
        return value

    return {name: read(name, value) for name, value in retries.items()}


def _without_values(text: str, given: Mapping[str, object]) -> str:
    """What the library says is wrong, as far as it repeats nothing secret."""
    line = text.partition("\n")[0][:200]
    return "see its documentation" if any(str(value) in line for value in given.values() if value) else line
