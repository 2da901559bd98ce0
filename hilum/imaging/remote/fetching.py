"""The images of a study, fetched by WADO-RS into the archive's one way in: series by series, each acknowledged as a
whole, and only what belongs to the study that was asked for. Fetched twice it is the same."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, LiteralString, cast

import structlog

from hilum.core.database import Transaction
from hilum.core.errors import Conflict, Gone, HilumError, Unavailable
from hilum.core.leased import Crew, Trade
from hilum.imaging.archive.store import Archive, Batch
from hilum.imaging.dicom.header import Header, NotDicom, Unreadable
from hilum.imaging.dicomweb.multipart import Part
from hilum.imaging.remote import copies
from hilum.imaging.remote.client import DicomWeb, RemoteRefuses
from hilum.imaging.remote.copies import Wanted
from hilum.imaging.remote.reading import text
from hilum.imaging.remote.series import all_series
from hilum.imaging.remote.servers import note_root

ORIGIN: Final = "remote"
THREADS: Final = 3
_GRACE_SECONDS: Final = 3.0
MAX_INSTANCES: Final = 200_000
"""Of one study; a server that sends more is not believed."""
BATCH_INSTANCES: Final = 2000
BATCH_BYTES: Final = 4 << 30

log = structlog.get_logger()


class _Other(Exception):
    """The instance belongs to another study than was asked for."""


def fetchers(archive: Archive) -> Crew[Wanted]:
    """The threads of one process that fetch."""
    database = archive.database
    trade = Trade(
        "remote.fetcher", lambda: copies.lease(database), lambda wanted: fetch(archive, wanted),
        lambda leases: copies.keep(database, leases), copies.HEARTBEAT_SECONDS,
    )  # fmt: skip
    return Crew(trade, THREADS, _GRACE_SECONDS)


def fetch(archive: Archive, wanted: Wanted) -> None:
    """Fetch the images of a study, and note how it ended."""
    begun = time.monotonic()
    try:
        received = _Study(archive, wanted).fetch()
    except Gone:  # deleted in the meantime: nobody waits for it
        copies.failed(archive.database, wanted, "The study has been deleted.", passing=False)
    except Unavailable as error:
        copies.failed(archive.database, wanted, str(error), passing=True)
        log.warning("remote.fetch.failed", study=wanted.study_id, reason=str(error))
    except HilumError as error:
        copies.failed(archive.database, wanted, str(error), passing=False)
        log.warning("remote.fetch.failed", study=wanted.study_id, reason=str(error))
    else:
        log.info(
            "remote.fetched", study=wanted.study_id, instances=received, seconds=round(time.monotonic() - begun, 1)
        )


class _Study:
    """One study on its way in."""

    def __init__(self, archive: Archive, wanted: Wanted) -> None:
        self._archive = archive
        self._wanted = wanted
        self._uid = wanted.study_instance_uid
        self._received = 0

    def fetch(self) -> int:
        """Fetch what is not here yet; gives how many instances came.

        Raises
        ------
        RemoteDown, RemoteRefuses
            The remote archive cannot be used, or sends something else.
        Gone
            The study has been deleted here.
        OutOfSpace
            The archive is full.
        """
        server = self._wanted.server
        if not server.url or server.fetch == "never":
            raise Conflict("Nothing is fetched from this remote archive any more.")
        with DicomWeb(server, self._archive.settings.outgoing_ca) as client:
            listed = all_series(client, self._uid)
            note_root(self._archive.database, server, client.root)
            if not listed:
                raise RemoteRefuses("The remote archive does not have the study any more.")
            here = self._counts()
            for each in listed:
                series, expected = str(each["series_instance_uid"]), cast("int", each["num_instances"])
                if not 0 < expected <= here.get(series, 0):
                    self._fetch_series(client, series)
        here = self._counts()
        if not here:
            raise RemoteRefuses("The remote archive sent no instance of the study that can be stored.")
        told = {str(each["series_instance_uid"]): cast("int", each["num_instances"]) for each in listed}
        missing = sum(max(number - here.get(series, 0), 0) for series, number in told.items())
        with self._archive.database.transaction() as sql:
            self._check(sql)
            copies.fetched(sql, self._wanted, missing)
        return self._received

    def _counts(self) -> dict[str, int]:
        """How many instances of each series are here; some may be from a time before that did not come to its end."""
        with self._archive.database.transaction() as sql:
            rows = sql.rows(_HERE, (self._wanted.study_id,))
        return {str(row["series_instance_uid"]): cast("int", row["instances"]) for row in rows}

    def _fetch_series(self, client: DicomWeb, series: str) -> None:
        with client.instances(f"/studies/{self._uid}/series/{series}") as parts:
            more = True
            while more:
                with self._archive.batch(self._wanted.server.source, ORIGIN) as batch:
                    more = self._fill(batch, parts)
                    if len(batch):
                        batch.commit(self._check)

    def _fill(self, batch: Batch, parts: Iterator[Part]) -> bool:
        """Fill a batch; false when nothing follows."""
        size = 0

        def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                yield chunk

        for part in parts:
            self._received += 1
            if self._received > MAX_INSTANCES:
                raise RemoteRefuses(f"The remote archive sends more than {MAX_INSTANCES} instances of one study.")
            with suppress(NotDicom, Unreadable, _Other):
                batch.add(str(self._received), counted(part.chunks), self._inspect)
            if len(batch) >= BATCH_INSTANCES or size >= BATCH_BYTES:
                return True
        return False

    def _inspect(self, header: Header) -> None:
        if header.first("StudyInstanceUID") != self._uid:
            raise _Other

    def _check(self, sql: Transaction) -> None:
        """Store nothing of a study that was deleted while it came: it would begin anew."""
        if not sql.rows(_LIVE, (self._wanted.study_id,)):
            raise Gone("The study has been deleted.")


def services_of(client: DicomWeb) -> list[str]:
    """The services that a remote archive has, tried with one study of it: QIDO-RS, WADO-RS; raises as ``search``."""
    studies = client.search("/studies", [("limit", "1")])
    services = ["QIDO-RS"]
    if studies:
        study = text(studies[0], "0020000D", 64)
        series = client.search(f"/studies/{study}/series", [("limit", "1")])
        uid = text(series[0], "0020000E", 64) if series else ""
        if uid and client.search(f"/studies/{study}/series/{uid}/metadata"):
            services.append("WADO-RS")
    return services


_LIVE: Final[LiteralString] = "select 1 from hilum.study where id = %s and deleted_at is null"
_HERE: Final[LiteralString] = """
  select e.series_instance_uid, count(*) as instances from hilum.instance i join hilum.series e on e.id = i.series_id
  where i.study_id = %s group by e.series_instance_uid
"""
