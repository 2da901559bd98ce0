"""Repair: the catalogue made again from the objects. Every object without a row is catalogued as it was the first
time, and what the objects do not tell comes back from the records beside them (see ``sidecar``), or is named as lost.
Damaged objects are moved out of the way, never deleted. It may be stopped and run again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final, LiteralString, cast

from hilum.core.blobs import Blobs
from hilum.core.database import Transaction
from hilum.core.errors import HilumError
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.check import AREAS, DAMAGED, Finding, Objects, Report, check, chunks, find_orphans
from hilum.imaging.archive.delete import hide_instances
from hilum.imaging.archive.edit import bring_back_corrections
from hilum.imaging.archive.people import KINDS, bring_back_people
from hilum.imaging.archive.recorded import Arrived, arrivals, runs
from hilum.imaging.archive.sidecar import RECORDS, Record, mark_studies, read_record, read_records, record_changes
from hilum.imaging.archive.sources import bring_back_cdm, bring_back_maps
from hilum.imaging.archive.store import Archive, Batch, Damaged
from hilum.imaging.dicom.header import NotDicom, Unreadable
from hilum.imaging.studies.clock import go_on_from

Step = Callable[[int, int | None, str], None]
BringBack = Callable[[Transaction, int, Mapping[str, object]], int]
"""Brings back what a study's record says for a room above this one: in the transaction that catalogues the study, whose
number it is given; tells how many things it brought."""

SET_ASIDE: Final = "set-aside"
BUNDLES: Final = "bundles"
LOST_RECORD: Final = "lost_record"
_BATCH: Final = 250


@dataclass(slots=True)
class Repaired:
    """What a repair found, did, and could not bring back; ``parts`` are what rooms above do in it."""

    report: Report
    parts: Mapping[str, BringBack] = field(default_factory=dict[str, BringBack])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    lost: list[str] = field(default_factory=list[str])

    def count(self, name: str, by: int = 1) -> None:
        """Count something that was done."""
        self.counts[name] = self.counts.get(name, 0) + by

    def as_json(self, seconds: float) -> dict[str, object]:
        """All of it as a document."""
        report = self.report
        return {
            "files": report.files,
            "objects": report.objects,
            "bytes": report.bytes,
            "seconds": round(seconds, 3),
            "files_per_second": round(report.files / seconds, 1) if seconds else None,
            "found": report.found,
            "findings": [{"kind": each.kind, "what": each.what} for each in report.findings],
            "repaired": {name: count for name, count in self.counts.items() if count},
            "lost": self.lost,
        }


@dataclass(slots=True)
class _Folders:
    """Where something may be to do: records of studies by the id that the study had, folders of studies with objects
    that no row names, and what lies beside the studies."""

    records: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    studies: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    sources: set[str] = field(default_factory=set[str])
    beside: set[str] = field(default_factory=set[str])
    unplaced: list[str] = field(default_factory=list[str])

    def take(self, key: str, *, orphan: bool) -> None:
        parts = key.split("/")
        if parts[0] in AREAS:
            return
        if len(parts) < 3:
            self.unplaced.append(key)
            return
        self.sources.add(parts[0])
        if parts[1] in (SET_ASIDE, BUNDLES):
            if orphan:
                self.beside.add(f"{parts[0]}/{parts[1]}")
        elif parts[1] != RECORDS and parts[2] == RECORDS:
            number = parts[-1].partition("-")[0]
            if number.isdecimal() and len(parts) == 4:
                self.records.append((int(number), key))
        elif parts[1] != RECORDS and orphan:
            self.studies.add((parts[0], parts[1]))


def repair(
    archive: Archive,
    *,
    source: str | None = None,
    step: Step = lambda _done, _total, _text: None,
    parts: Mapping[str, BringBack] = MappingProxyType({}),
) -> Repaired:
    """Check everything, then mend what can be mended.

    Parameters
    ----------
    archive
        The catalogue and the objects.
    source
        Key of the source to look at; None for all.
    step
        Told how many things are done, of how many, and what is going on.
    parts
        What rooms above bring back of a study, by the name under which it is counted.
    """
    # What replaced something once does so again, whatever the setting is now.
    archive = Archive(archive.database, archive.blobs, archive.settings.model_copy(update={"on_replace": "replace"}))
    folders = _Folders()
    damaged: list[str] = []

    def told(finding: Finding) -> None:
        if finding.kind == "damaged":
            damaged.append(finding.what)

    def listed(objects: Objects) -> None:
        for key in objects.orphans:
            folders.take(key, orphan=True)
        for key in objects.others:
            folders.take(key, orphan=False)

    report = check(archive.database, archive.blobs, source=source, step=step, told=told, listed=listed)
    done = Repaired(report, parts)
    done.lost.extend(f"{key}: no object of Hilum's has such a name" for key in folders.unplaced)
    for key in damaged:
        _move_aside(archive.blobs, key, done)
    sources = {key: _bring_back_source(archive, key, done) for key in sorted(folders.sources)}
    for key in sorted(folders.sources):
        _bring_back_set_aside(archive, sources[key], done)
    _bring_back_studies(archive, sources, folders, done, step)
    for folder in sorted(folders.beside):
        _keep_lost(archive, sources[folder.partition("/")[0]], folder, done)
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    _drop_stale_records(archive, [key for _, key in folders.records])
    return done


def _bring_back_studies(
    archive: Archive, sources: Mapping[str, SourceRef], folders: _Folders, done: Repaired, step: Step
) -> None:
    """First what records tell, in the order of the ids that the studies had; then what no record tells of.

    A study that the catalogue knows is not changed by its record, which may be older, unless instances of it are
    missing from the catalogue.
    """
    known: dict[tuple[str, str], bool] = {}
    total = len(folders.records) + len(folders.studies)
    for number, key in enumerate(_in_order(archive.blobs, folders.records), start=1):
        source, name = key.split("/")[:2]
        study = _Study(archive, sources[source], name, done)
        if (source, name) not in known:
            known[source, name] = study.is_known()
        if not known[source, name] or (source, name) in folders.studies:
            record = read_record(archive.blobs, key)
            if record is not None and not (known[source, name] and study.is_finished(record)):
                study.from_record(record)
        step(number, total, "Cataloguing studies")
    for number, (source, name) in enumerate(sorted(folders.studies), start=len(folders.records) + 1):
        _Study(archive, sources[source], name, done).from_objects()
        step(number, total, "Cataloguing studies")


def _in_order(blobs: Blobs, records: Sequence[tuple[int, str]]) -> Iterator[str]:
    """Records by id; of several of one study that of the live one last, for the others only tell what it lost."""
    folders: dict[str, list[str]] = {}
    for _, key in sorted(records):
        folders.setdefault(key.rpartition("/")[0], []).append(key)
    for keys in folders.values():
        if len(keys) > 1:
            keys.sort(key=lambda key: (record := read_record(blobs, key)) is None or record["deleted_at"] is None)
    for _, key in sorted(records):
        yield folders[key.rpartition("/")[0]].pop(0)


def _drop_stale_records(archive: Archive, keys: Sequence[str]) -> None:
    """Remove records under ids that a study no longer has, once its present one is written."""
    for key in keys:
        source, study, _, name = key.split("/")
        with archive.database.transaction() as sql:
            rows = sql.rows(
                "select t.id, u.study_id is not null as waiting from hilum.study t "
                "join hilum.source s on s.id = t.source_id left join hilum.unrecorded_study u on u.study_id = t.id "
                "where s.key = %s and t.study_instance_uid = %s",
                (source, study),
            )
        number = int(name.partition("-")[0])
        if rows and not any(row["waiting"] or row["id"] == number for row in rows):
            archive.blobs.delete([key])


def _move_aside(blobs: Blobs, key: str, done: Repaired) -> None:
    with blobs.group() as group:
        item = group.create()
        for chunk in blobs.stream(key):
            item.write(chunk)
        item.finish(f"{DAMAGED}/{key}")
        group.commit()
    blobs.delete([key])
    done.count("damaged_moved_aside")
    done.lost.append(f"{key}: damaged, moved to {DAMAGED}/{key}; store the file again to mend it")


def _bring_back_source(archive: Archive, key: str, done: Repaired) -> SourceRef:
    records = [record for _, record in read_records(archive.blobs, key)]
    with archive.database.transaction() as sql:
        known = sql.rows("select id, cdm_schema from hilum.source where key = %s", (key,))
        if not known:
            name = str(records[-1]["name"]) if records else key
            profile = str(records[-1].get("intake_profile") or "") if records else ""
            removed_at = records[-1].get("removed_at") if records else None
            insert: LiteralString = (
                "insert into hilum.source (key, name, intake_profile, removed, removed_at) "
                "values (%s, %s, %s, %s, %s::timestamptz) returning id, cdm_schema"
            )
            known = sql.rows(insert, (key, name, profile, removed_at is not None, removed_at))
            done.count("sources")
            if not records:
                done.lost.append(f"{key}: the name of the source")
        cdm = cast("Mapping[str, object] | None", records[-1].get("cdm") if records else None)
        if cdm and not known[0]["cdm_schema"]:
            if bring_back_cdm(sql, key, cdm):
                done.count("cdms")
            else:
                place = f"schema {cdm['cdm_schema']} is not in this database"
                done.lost.append(f"{key}: its CDM in {place}; restore it, then hilum cdm attach")
        source = SourceRef(cast("int", known[0]["id"]), key)
        for record in records:
            _bring_back_names(sql, source, record, done)
            for table, lines in bring_back_maps(sql, source.id, record).items():
                done.count(f"{table}_lines", lines)
    return source


def _bring_back_names(sql: Transaction, source: SourceRef, record: Record, done: Repaired) -> None:
    """Physicians and facilities that a person changed, unless the catalogue has any."""
    for kind, plural in zip(KINDS, ("physicians", "facilities"), strict=True):
        people = cast("Sequence[Mapping[str, object]]", record[plural])
        changes = [c for c in cast("Sequence[Mapping[str, object]]", record["changes"]) if c["kind"] == kind]
        done.count(plural, bring_back_people(sql, kind, source.id, people, changes))


def _bring_back_set_aside(archive: Archive, source: SourceRef, done: Repaired) -> None:
    for _, record in read_records(archive.blobs, f"{source.key}/{SET_ASIDE}"):
        items = cast("Sequence[Mapping[str, object]]", record["items"])
        with archive.database.transaction() as sql:
            for item in items:
                if item["blob_key"] is not None and not archive.blobs.exists(str(item["blob_key"])):
                    continue  # released or damaged since
                done.count("set_aside", _insert(sql, "set_aside", {**item, "source_id": source.id, "recorded": True}))


def _insert(sql: Transaction, table: str, values: Mapping[str, object]) -> int:
    """Insert a recorded row unless there is such a one; a column that is unknown by now is left out."""
    columns = {
        row["column_name"]
        for row in sql.rows(
            "select column_name from information_schema.columns where table_schema = 'hilum' and table_name = %s",
            (table,),
        )
    }
    kept = {name: value for name, value in values.items() if name in columns}
    names = ", ".join(f'"{name}"' for name in kept)
    marks = ", ".join(["%s"] * len(kept))
    statement = f"insert into hilum.{table} ({names}) values ({marks}) on conflict do nothing"
    with sql.driver.cursor() as cursor:
        cursor.execute(statement, list(kept.values()))  # pyright: ignore[reportArgumentType, reportCallIssue]
        return cursor.rowcount


def _keep_lost(archive: Archive, source: SourceRef, folder: str, done: Repaired) -> None:
    """Objects beside the studies whose record is lost: set aside, so that a person can look at them."""
    for chunk in chunks((k for k, _ in archive.blobs.list(folder) if f"/{RECORDS}/" not in k), _BATCH):
        for key in find_orphans(archive.database, chunk):
            _set_aside(archive, source, key, LOST_RECORD, "Its record is lost: what it was called and why it was kept.")
            done.lost.append(f"{key}: what it was called and where it belongs; set aside")
            done.count("set_aside")


def _set_aside(archive: Archive, source: SourceRef, key: str, code: str, reason: str) -> None:
    values = {
        "source_id": source.id, "name": key, "code": code, "reason": reason, "size": archive.blobs.size(key),
        "digest": key.rpartition("/")[2].partition(".")[0], "blob_key": key, "origin": "repair",
    }  # fmt: skip
    with archive.database.transaction() as sql:
        _insert(sql, "set_aside", values)


class _Study:
    """One folder of a study, its objects by their digest."""

    def __init__(self, archive: Archive, source: SourceRef, study: str, done: Repaired) -> None:
        self.archive = archive
        self.source = source
        self.study = study
        self.done = done

    @cached_property
    def objects(self) -> dict[str, str]:
        """Keys of the objects by their digest."""
        return {
            key.rpartition("/")[2].partition(".")[0]: key
            for key, _ in self.archive.blobs.list(f"{self.source.key}/{self.study}")
            if f"/{RECORDS}/" not in key
        }

    def is_known(self) -> bool:
        """Whether the catalogue has this study, be it deleted."""
        with self.archive.database.transaction() as sql:
            statement = "select id from hilum.study where source_id = %s and study_instance_uid = %s limit 1"
            return bool(sql.rows(statement, (self.source.id, self.study)))

    def from_objects(self) -> None:
        """Catalogue the objects that no row names, though no record tells how they came in."""
        keys = [
            key for chunk in chunks(self.objects.values(), _BATCH) for key in find_orphans(self.archive.database, chunk)
        ]
        if not keys:
            return
        new = not self.is_known()
        self._catalogue([Arrived(key.rpartition("/")[2].partition(".")[0], "repair", "") for key in keys])
        if new and self.is_known():
            text = f"how its {len(keys)} instances came in, and what was changed or came with it"
            self.done.lost.append(f"{self.source.key}/{self.study}: {text}")
            self.done.count("studies")

    def from_record(self, record: Record) -> None:
        """Catalogue a study as its record tells."""
        arrived = list(arrivals(record))
        if record["deleted_at"] is not None and not any(each.digest in self.objects for each in arrived):
            return  # its grace passed while the record was being written
        for each in arrived:
            if each.path is None and each.digest not in self.objects:
                self.done.lost.append(f"{self.source.key}/{self.study}/{each.digest}: its bytes")

        with self.archive.database.transaction() as sql:
            for decision in cast("Sequence[Mapping[str, object]]", record.get("decisions", ())):
                values = {**decision, "source_id": self.source.id}
                self.done.count("decisions", _insert(sql, "patient_decision", values))
            for decision in cast("Sequence[Mapping[str, object]]", record.get("link_decisions", ())):
                values = {**decision, "source_id": self.source.id}
                self.done.count("link_decisions", _insert(sql, "link_decision", values))

        def tell(sql: Transaction) -> None:
            found = sql.rows(
                "select id from hilum.study where source_id = %s and study_instance_uid = %s and deleted_at is null",
                (self.source.id, self.study),
            )
            if found:
                self._settle(sql, cast("int", found[0]["id"]), record, arrived)
                self.done.count("studies")

        self._catalogue(arrived, tell)

    def is_finished(self, record: Record) -> bool:
        """Whether all objects that a record tells of have a row, unlike in a study that a repair was stopped in."""
        keys = [self.objects[each.digest] for each in arrivals(record) if each.digest in self.objects]
        return not any(find_orphans(self.archive.database, chunk) for chunk in chunks(keys, _BATCH))

    def _catalogue(self, arrived: Sequence[Arrived], last: Callable[[Transaction], None] | None = None) -> None:
        """Catalogue arrivals in batches; the last one's transaction ends with ``last``."""
        batches = list(runs(arrived, _BATCH))
        for number, run in enumerate(batches, start=1):
            with self.archive.batch(self.source, run[0].origin) as batch:
                for each in run:
                    self._take(batch, each)
                if len(batch) or number == len(batches):
                    batch.commit(last if number == len(batches) else None)
                    self.done.count("instances", len(batch))

    def _take(self, batch: Batch, each: Arrived) -> None:
        if each.path is not None:
            if Path(each.path).is_file():
                batch.index(each.path, each.path, within=(self.study, each.series))
            else:
                self.done.lost.append(f"{each.path}: indexed in place, no longer there")
            return
        key = self.objects.get(each.digest)
        if key is None:
            return
        try:
            batch.adopt(key)
        except Damaged:
            _move_aside(self.archive.blobs, key, self.done)
        except (NotDicom, Unreadable) as error:
            _set_aside(self.archive, self.source, key, error.code, str(error))
            self.done.count("set_aside")
        except HilumError as error:
            self.done.lost.append(f"{key}: {error}")

    def _settle(self, sql: Transaction, study_id: int, record: Record, arrived: Sequence[Arrived]) -> None:
        """Apply the record, and delete what it tells of: the study, or what was taken out of one that lives."""
        if record["deleted_at"] is None:
            self._apply(sql, study_id, record, arrived)
            return
        owned = sql.rows(_OWNED, ([each.digest for each in arrived], study_id))
        if not any(row["other"] for row in owned):
            self._apply(sql, study_id, record, arrived)
        ids = [cast("int", row["id"]) for row in owned if not row["other"]]
        if ids:
            self._hide(sql, hide_instances(sql, study_id, ids, str(record["deleted_at"])), record)

    def _apply(self, sql: Transaction, study_id: int, record: Record, arrived: Sequence[Arrived]) -> None:
        """What the study's files do not tell."""
        now = [each for each in arrived if each.replaced_at is None]
        sql.rows(_RECEIVED, ([a.digest for a in now], [a.received_at for a in now], study_id))
        before = [each for each in arrived if each.replaced_at is not None]
        moments = [a.received_at for a in before], [a.replaced_at for a in before]
        sql.rows(_REPLACED, ([a.digest for a in before], *moments, study_id))
        sql.rows(_KEPT, {"id": study_id} | {name: record.get(name) for name in _KEPT_COLUMNS})
        go_on_from(sql, self.source.id, self.study, cast("int", record["revision"]))
        corrected = cast("Mapping[str, Mapping[str, str]]", record["corrected"])
        corrections = cast("Sequence[dict[str, object]]", record["corrections"])
        if corrected or corrections:
            bring_back_corrections(sql, study_id, corrected, corrections)
        self.done.count("corrections", len(corrections))
        for file in cast("Sequence[Mapping[str, object]]", record["bundle_files"]):
            if self.archive.blobs.exists(str(file["blob_key"])):
                self.done.count("bundle_files", _insert(sql, "bundle_file", {**file, "study_id": study_id}))
            else:
                self.done.lost.append(f"{file['blob_key']}: the bytes of a bundle file")
        for name, bring_back in self.done.parts.items():
            self.done.count(name, bring_back(sql, study_id, record))
        if record.get("features_left_out"):
            self.done.lost.append(f"{self.source.key}/{self.study}: {record['features_left_out']} of its features")
        mark_studies(sql, [study_id])

    def _hide(self, sql: Transaction, study_id: int, record: Record) -> None:
        values = {
            "id": study_id, "at": record["deleted_at"], "uid": self.study, "source": self.source.id,
            "who": record["deleted_by"] or "", "series": record.get("deleted_series") or "",
            "instance": record.get("deleted_instance") or "",
        }  # fmt: skip
        sql.rows(
            "insert into hilum.deletion (source_id, study_id, study_instance_uid, series_instance_uid, "
            "sop_instance_uid, made_by, made_at) "
            "select %(source)s, %(id)s, %(uid)s, %(series)s, %(instance)s, %(who)s, %(at)s::timestamptz where not "
            "exists (select from hilum.deletion where study_id = %(id)s and restored_at is null)",
            values,
        )
        self.done.count("deletions")


_OWNED: Final[LiteralString] = """
  select id, digest <> all(%s::text[]) as other from hilum.instance where study_id = %s
"""
_KEPT_COLUMNS: Final = (
    "received_at", "revision", "status", "status_reason", "availability", "person_id", "report_status", "document_id",
)  # fmt: skip
_KEPT: Final[LiteralString] = """
  update hilum.study set received_at = %(received_at)s::timestamptz, revision = %(revision)s, status = %(status)s,
    status_reason = %(status_reason)s, availability = %(availability)s, person_id = %(person_id)s,
    report_status = %(report_status)s, document_id = %(document_id)s
  where id = %(id)s
"""
_RECEIVED: Final[LiteralString] = """
  update hilum.instance t set received_at = given.received_at
  from unnest(%s::text[], %s::timestamptz[]) as given(digest, received_at)
  where t.study_id = %s and t.digest = given.digest
"""
_REPLACED: Final[LiteralString] = """
  update hilum.replaced_instance t set received_at = given.received_at, replaced_at = given.replaced_at
  from unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) as given(digest, received_at, replaced_at)
  where t.instance_id in (select id from hilum.instance where study_id = %s) and t.digest = given.digest
"""
