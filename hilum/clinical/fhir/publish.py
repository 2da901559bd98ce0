"""Publication: every ImagingStudy is sent to the FHIR server that a setting names, as a conditional update by its Study
Instance UID, so that the server has it once and as it is now. What is due stands in the table, with the version that
the server has: whatever is killed, and however long the server is away, the newest version is sent in the end.

A worker takes a study for a while before it sends it, so that no two send it at once, nor another source's study of its
UID: there are servers whose conditional updates make duplicates then. When the server
itself fails, all wait; when it refuses one study, that one waits. Of studies of one UID in several sources one is
published, the first that is not deleted."""

import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, LiteralString, cast

import msgspec
import structlog

from hilum.clinical.fhir import codes
from hilum.clinical.fhir.client import Credentials, FhirServer, Refused, ServerFailed, checked_url
from hilum.clinical.fhir.codes import Element
from hilum.clinical.fhir.endpoint import Endpoint, list_endpoints
from hilum.core.config import Settings
from hilum.core.database import Database, Transaction

log = structlog.get_logger()

MAX_REFUSED: Final = 5
_LEASE: Final = timedelta(minutes=3)
_ENDPOINT_LOCK: Final = 484_512
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Manners:
    """How long an answer may take, how long a round may last, and how failures are waited for; all in seconds.

    The wait doubles with each failure, from the first of its pair to the second.
    """

    answer: float = 30.0
    round: float = 10.0
    server_wait: tuple[float, float] = (2.0, 300.0)
    study_wait: tuple[float, float] = (30.0, 3600.0)


@dataclass(frozen=True, slots=True)
class _Due:
    """A study that is being sent."""

    id: int
    version: int
    uid: str
    attempts: int
    content: str


class Publisher:
    """Publishes what is due.

    Parameters
    ----------
    database
        Where the resources are.
    settings
        For the server, its credentials, and the address under which this Hilum is found.
    manners
        How patient it is.

    Raises
    ------
    Invalid
        The address of the server is none.
    """

    def __init__(self, database: Database, settings: Settings, manners: Manners | None = None) -> None:
        self._database = database
        self._manners = manners or Manners()
        self._url = checked_url(settings.fhir_publish_url)
        self._base = public_base(settings)
        self._credentials = Credentials.of(settings)
        self._authorities = settings.outgoing_ca
        self._running = threading.Lock()
        self._endpoints: dict[str, tuple[Endpoint, str]] = {}

    @property
    def target(self) -> str:
        """What published versions count for: the server, and the address under which it finds the images."""
        return f"{self._url} {self._base}"

    def run(self) -> int:
        """Send what is due, until nothing is, the time is up or the server fails; gives how many were sent.

        Safe to run at any time, any number of times and in any number of processes.
        """
        if not self._running.acquire(blocking=False):
            return 0
        try:
            if not self._aim():
                return 0
            sent = self._send_all()
        finally:
            self._running.release()
        if sent:
            log.info("fhir.published", studies=sent)
        return sent

    def _aim(self) -> bool:
        """Begin anew with a server that was not published to before; false while the server is waited for."""
        with self._database.transaction() as sql:
            sql.rows(_SETTLE)
            (state,) = sql.rows("select target, next_at <= now() as due from hilum.fhir_state for update")
            if state["target"] == self.target:
                return bool(state["due"])
            sql.rows(
                "update hilum.fhir_state set target = %s, failures = 0, next_at = now(), problem = ''", (self.target,)
            )
            sql.rows(_BEGIN_ANEW)
        return True

    def _send_all(self) -> int:
        sent, refused = 0, 0
        until = time.monotonic() + self._manners.round
        with FhirServer(self._url, self._credentials, self._manners.answer, self._authorities) as server:
            while time.monotonic() < until and refused < MAX_REFUSED:
                due = self._take()
                if due is None:
                    break
                try:
                    self._send(server, due)
                except Refused as error:
                    refused += 1
                    self._note_refused(due, str(error))
                except ServerFailed as error:
                    self._note_failed(due, error)
                    break
                else:
                    sent += 1
                    self._note_sent(due)
            else:
                if refused >= MAX_REFUSED and not sent:
                    self._note_failed(None, ServerFailed("The server refuses one study after the other."))
        return sent

    def _send(self, server: FhirServer, due: _Due) -> None:
        resource = cast("Element", msgspec.json.decode(due.content))
        references = cast("list[Element]", resource.get("endpoint", []))
        for reference in references:
            name = str(reference["reference"]).removeprefix("Endpoint/")
            reference["reference"] = f"Endpoint/{self._endpoint(server, name)}"
        try:
            server.put("ImagingStudy", f"{codes.DICOM_UID}|urn:oid:{due.uid}", _encode(resource))
        except Refused:
            self._endpoints.clear()  # which it may have lost
            raise

    def _endpoint(self, server: FhirServer, name: str) -> str:
        """Id that an Endpoint has on the server, which is told of it first."""
        with self._database.connect() as connection:
            found = {each.id: each for each in list_endpoints(connection, self._base)}
        endpoint = found.get(name)
        if endpoint is None:
            raise Refused("The address of its remote archive is not known: set it for the source.")
        known = self._endpoints.get(name)
        if known and known[0] == endpoint:
            return known[1]
        identifier = f"{codes.URI}|{endpoint.address}"
        with self._database.transaction() as sql:
            # One worker at a time, for a server that looks and writes in two steps would make two of one identifier.
            sql.rows("select pg_advisory_xact_lock(%s)", (_ENDPOINT_LOCK,))
            number = server.put("Endpoint", identifier, _encode(endpoint.resource()))
        number = number or server.find("Endpoint", identifier)
        self._endpoints[name] = (endpoint, number)
        return number

    def _take(self) -> _Due | None:
        with self._database.transaction() as sql:
            found = sql.rows(_TAKE, {"lease": _LEASE})
        return msgspec.convert(found[0], _Due) if found else None

    def _note_sent(self, due: _Due) -> None:
        with self._database.transaction() as sql:
            sql.rows(_SENT, {"id": due.id, "version": due.version})
            # The server has one resource a UID, and it is this one now.
            sql.rows(_OTHERS, {"id": due.id, "uid": due.uid})
            if sql.rows("update hilum.fhir_state set failures = 0, problem = '' where failures > 0 returning id"):
                sql.rows(_WAIT_NO_MORE)

    def _note_refused(self, due: _Due, words: str) -> None:
        with self._database.transaction() as sql:
            self._wait(sql, due, words, _waited(self._manners.study_wait, due.attempts))
        log.warning("fhir.refused", imaging_study=due.id, problem=words)

    def _note_failed(self, due: _Due | None, error: ServerFailed) -> None:
        """Let all studies wait for the server; which of them it was does not matter."""
        self._endpoints.clear()
        with self._database.transaction() as sql:
            (state,) = sql.rows("select failures from hilum.fhir_state for update")
            failures = cast("int", state["failures"]) + 1
            wait = max(_waited(self._manners.server_wait, failures), timedelta(seconds=error.retry_after))
            sql.rows(
                "update hilum.fhir_state set failures = %s, problem = %s, next_at = now() + %s",
                (failures, str(error), wait),
            )
            if due:
                self._wait(sql, due, str(error), timedelta(0))
        log.warning("fhir.server_failed", failures=failures, problem=str(error))

    def _wait(self, sql: Transaction, due: _Due, words: str, wait: timedelta) -> None:
        """Let a study wait, unless it has changed: then it is due again at once."""
        sql.rows(_WAIT, {"id": due.id, "version": due.version, "problem": words, "wait": wait})


def public_base(settings: Settings) -> str:
    """The address of this Hilum as others are told it: the setting's, else that which it listens on."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _waited(bounds: tuple[float, float], failures: int) -> timedelta:
    shortest, longest = bounds
    return timedelta(seconds=min(shortest * 2 ** min(max(failures - 1, 0), 20), longest))


_BEGIN_ANEW: Final[LiteralString] = """
  update hilum.fhir_imaging_study
  set published_version = 0, published_at = null, offered = false, attempts = 0, next_at = now(), problem = ''
  where not deleted
"""
# What was deleted before the server heard of it, it need not hear of.
_SETTLE: Final[LiteralString] = """
  update hilum.fhir_imaging_study set published_version = version
  where published_version < version and status = 'cancelled' and not offered
"""
SPEAKS: Final[LiteralString] = """
  not exists (select from hilum.fhir_imaging_study o
    where o.study_instance_uid = h.study_instance_uid and o.id <> h.id and not o.deleted
      and (o.status <> 'cancelled', -o.id) > (h.status <> 'cancelled', -h.id))
"""
"""Whether a study is the one of its UID that is published."""
_TAKE: Final[LiteralString] = f"""
  with taken as (
    update hilum.fhir_imaging_study set offered = true, attempts = attempts + 1, taken_until = now() + %(lease)s
    where id = (
      select h.id from hilum.fhir_imaging_study h
      where h.published_version < h.version and h.next_at <= now()
        and coalesce(h.taken_until < now(), true) and {SPEAKS}
        and not exists (select from hilum.fhir_imaging_study o
          where o.study_instance_uid = h.study_instance_uid and o.id <> h.id and o.taken_until >= now())
      order by h.next_at, h.id limit 1 for update skip locked
    )
    returning id, version, study_instance_uid, attempts
  )
  select t.id, t.version, t.study_instance_uid as uid, t.attempts, v.content from taken t
  join hilum.fhir_imaging_study_version v on v.imaging_study_id = t.id and v.version = t.version
"""
_SENT: Final[LiteralString] = """
  update hilum.fhir_imaging_study set published_version = %(version)s, published_at = now(), attempts = 0,
    problem = '', next_at = now(), taken_until = null
  where id = %(id)s
"""
_OTHERS: Final[LiteralString] = """
  update hilum.fhir_imaging_study set published_version = 0
  where study_instance_uid = %(uid)s and id <> %(id)s and published_version > 0 and not deleted
"""
_WAIT_NO_MORE: Final[LiteralString] = """
  update hilum.fhir_imaging_study set next_at = now() where published_version < version and next_at > now()
"""
_WAIT: Final[LiteralString] = """
  update hilum.fhir_imaging_study set problem = %(problem)s, taken_until = null,
    next_at = case when version = %(version)s then now() + %(wait)s else now() end
  where id = %(id)s
"""
