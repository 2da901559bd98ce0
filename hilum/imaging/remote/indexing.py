"""A remote archive's list of studies by QIDO-RS, page by page: its studies are known with counts and, on request, their
series, and lie where they are. It may be interrupted and run again; what is here is never touched by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString, cast

from hilum.core.database import Transaction
from hilum.core.errors import Conflict, NotFound
from hilum.core.progress import Progress
from hilum.imaging.archive.remote import Became, RemoteStudy, keep_remote, keep_remote_series, tell_indexed
from hilum.imaging.archive.store import Archive
from hilum.imaging.remote.client import DicomWeb, Element, Parameters, RemoteRefuses
from hilum.imaging.remote.copies import want_indexed
from hilum.imaging.remote.reading import INCLUDE_STUDY, read_study, text
from hilum.imaging.remote.series import SeriesSearch, all_series
from hilum.imaging.remote.servers import RemoteServer, find_server, note_root

LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_STUDIES: Final = 5_000_000
"""Of one run; a server that goes on has no end."""
PAGE: Final = 100
_MODALITIES: Final[Mapping[str, tuple[str, ...]]] = {"XR": ("CR", "DX")}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which studies to index: as many as ``limit`` or ``everything``, perhaps of one modality, with their series?"""

    limit: int = LIMIT
    modality: str = ""
    everything: bool = False
    series: bool = False


@dataclass(frozen=True, slots=True)
class SeriesIndexed:
    """What became of the series of a study."""

    new: int
    updated: int
    unchanged: int


def run(archive: Archive, arguments: Mapping[str, object], progress: Progress) -> None:
    """Index by the arguments of a job."""
    names = ("limit", "modality", "everything", "series")
    wish = Wish(**{name: arguments[name] for name in names if name in arguments})  # pyright: ignore[reportArgumentType]
    index_studies(archive, str(arguments["source"]), wish, progress)


def index_studies(archive: Archive, source: str, wish: Wish, progress: Progress) -> None:
    """Index the studies of a source's remote archive.

    Parameters
    ----------
    archive
        Where they become known.
    source
        Key of the source.
    wish
        Which.
    progress
        Told what became of each.

    Raises
    ------
    Conflict
        The source names no remote archive.
    RemoteDown, RemoteRefuses
        It cannot be asked.
    """
    server = find_server(archive.database, source)
    authorities = archive.settings.outgoing_ca
    with DicomWeb(server, authorities) as client, SeriesSearch(client, server, authorities) as series:
        for modality in _MODALITIES.get(wish.modality, (wish.modality,)):
            _Run(archive, server, client, series, progress, wish).run(modality)
        note_root(archive.database, server, client.root)


class _Run:
    """The pages of one question."""

    def __init__(
        self,
        archive: Archive,
        server: RemoteServer,
        client: DicomWeb,
        series: SeriesSearch,
        progress: Progress,
        wish: Wish,
    ) -> None:
        self._archive = archive
        self._server = server
        self._client = client
        self._series = series
        self._progress = progress
        self._wish = wish
        self._seen: set[int] = set()
        self._fields: Parameters = INCLUDE_STUDY

    def run(self, modality: str) -> None:
        """Ask for page after page until one brings nothing new."""
        query = f"modality={modality}&series={self._wish.series}"
        most = MAX_STUDIES if self._wish.everything else self._wish.limit - self._progress.done
        offset = begin = self._come_so_far(query) if self._wish.everything else 0
        if begin:
            self._progress.say(f"It goes on behind the first {begin} studies, as far as it had come before.")
        asked = [("ModalitiesInStudy", modality)] if modality else []
        while offset - begin < most:
            size = min(PAGE, most - (offset - begin))
            listed = self._page([*asked, ("limit", str(size)), ("offset", str(offset))])[:size]
            fresh = [data for data in listed if self._is_fresh(data)]
            if not fresh:
                break
            offset += len(listed)
            self._take(fresh, modality, query, offset)
        if self._wish.everything:
            with self._archive.database.transaction() as sql:
                sql.rows(_DONE, (self._server.source.id, query))

    def _page(self, parameters: Parameters) -> list[Element]:
        """A page; a server that does not know a field that is asked for is asked for none."""
        try:
            return self._client.search("/studies", [*parameters, *self._fields])
        except RemoteRefuses:
            if not self._fields:
                raise
            found = self._client.search("/studies", parameters)
            self._fields = ()
            return found

    def _is_fresh(self, data: Element) -> bool:
        """Whether a study comes for the first time; servers without paging begin anew with each page."""
        mark = hash(text(data, "0020000D", 64))
        if mark in self._seen:
            return False
        self._seen.add(mark)
        return True

    def _take(self, listed: Sequence[Element], modality: str, query: str, offset: int) -> None:
        studies: list[RemoteStudy] = []
        for data in listed:
            try:
                study = read_study(data)
            except ValueError as error:
                self._progress.leave_out("not_understood", f"It is no study: {error}.", "an answer without UID")
                continue
            known = cast("list[str]", study.study["modalities"])
            if modality and known and modality not in known:
                uid = str(study.study["study_instance_uid"])
                self._progress.leave_out("other_modality", "It is of another modality than was asked for.", uid)
                continue
            studies.append(study)
        if self._wish.series:
            studies = self._series.add_to(studies)
        with self._archive.database.transaction() as sql:
            keep_studies(sql, self._archive, self._server, studies, self._progress)
            if self._wish.everything:
                sql.rows(_COME, (self._server.source.id, query, offset))
        self._progress.step(len(listed))

    def _come_so_far(self, query: str) -> int:
        """Where to go on: a page before where an earlier run was interrupted, for studies may have come since."""
        with self._archive.database.transaction() as sql:
            rows = sql.rows(_COME_SO_FAR, (self._server.source.id, query))
        return max(cast("int", rows[0]["num_studies"]) - PAGE, 0) if rows else 0


def keep_studies(
    sql: Transaction, archive: Archive, server: RemoteServer, studies: Sequence[RemoteStudy], progress: Progress
) -> None:
    """Index studies in one transaction, and have fetched what the rule of their source says."""
    uids = [str(study.study["study_instance_uid"]) for study in studies]
    for uid, study, became in zip(
        uids, studies, keep_remote(sql, server.source, studies, archive.choice.name), strict=True
    ):
        _count(progress, became, uid, len(study.series))
    if server.fetch == "indexed" and (wanted := want_indexed(sql, server, uids)):
        progress.count("studies_to_fetch", wanted)


def _count(progress: Progress, became: Became, uid: str, series: int) -> None:
    if became == "deleted":
        progress.leave_out("deleted", "It has been deleted here.", uid)
        return
    progress.count(f"studies_{'unchanged' if became == 'same' else became}")
    if became != "archived" and series:
        progress.count("series", series)


def index_series(archive: Archive, study_id: int) -> SeriesIndexed:
    """Index the series of one study that is remote.

    Raises
    ------
    Conflict
        The study lies here, or its source names no remote archive.
    NotFound
        There is no such study.
    RemoteDown, RemoteRefuses
        The remote archive cannot be asked.
    """
    with archive.database.transaction() as sql:
        rows = sql.rows(_STUDY, (study_id,))
    if not rows:
        raise NotFound("There is no such study.")
    if rows[0]["availability"] != "remote":
        raise Conflict("The study lies here, with all its series: there is nothing to index.")
    server = find_server(archive.database, str(rows[0]["source_key"]))
    with DicomWeb(server, archive.settings.outgoing_ca) as client:
        series = all_series(client, str(rows[0]["study_instance_uid"]))
        note_root(archive.database, server, client.root)
    with archive.database.transaction() as sql:
        locked = sql.rows(f"{_STUDY} for no key update of t", (study_id,))
        if not locked or locked[0]["availability"] != "remote":
            return SeriesIndexed(0, 0, len(series))
        changed = keep_remote_series(sql, [(study_id, each) for each in series])
        if changed:
            tell_indexed(sql, [study_id], [study_id])
    new = sum(bool(row["new"]) for row in changed)
    return SeriesIndexed(new, len(changed) - new, len(series) - len(changed))


_STUDY: Final[LiteralString] = """
  select t.availability, t.study_instance_uid, s.key as source_key
  from hilum.study t join hilum.source s on s.id = t.source_id where t.id = %s and t.deleted_at is null
"""
_COME: Final[LiteralString] = """
  insert into hilum.remote_index (source_id, query, num_studies) values (%s, %s, %s)
  on conflict (source_id, query) do update set num_studies = excluded.num_studies, updated_at = now()
"""
_COME_SO_FAR: Final[LiteralString] = """
  select num_studies from hilum.remote_index where source_id = %s and query = %s
    and updated_at > now() - interval '1 day'
"""
_DONE: Final[LiteralString] = "delete from hilum.remote_index where source_id = %s and query = %s"
