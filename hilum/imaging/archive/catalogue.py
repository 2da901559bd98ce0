"""The catalogue's one writer: a batch of arrived instances becomes rows in one transaction, with the counts, the
ready-made QIDO attributes and the events that follow from them.

Safe with any number of writers at once, also into one study: every table is taken in the same order, its keys sorted,
and the studies are locked before their series and instances are touched. Rows travel as one JSON document a table
(``json_populate_recordset``), which costs the client next to nothing and types itself by the table.
"""

from collections.abc import Callable, Sequence
from typing import LiteralString, cast

from hilum.core.database import Row, Transaction
from hilum.core.events import Event
from hilum.imaging.archive.arrivals import Arrival, Outcome, SourceRef, State, Written
from hilum.imaging.archive.describe import Values
from hilum.imaging.archive.edit import keep_corrections
from hilum.imaging.archive.entries import Entry, entries_of
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.objects import is_unchanged
from hilum.imaging.archive.patients import CONFLICT, CONFLICT_REASON, Chosen, move
from hilum.imaging.archive.people import tie_people
from hilum.imaging.archive.remote import REMOTE, localise
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.statements import (
    KNOWN_INSTANCES,
    KNOWN_SERIES,
    MODALITY_RANK,
    NOT_IMAGES,
    SERIES_UPDATE,
    STUDY_UPDATE,
    add_counted,
    add_up,
    document,
    insert_into,
)
from hilum.imaging.archive.study_json import keep_attributes


def write(
    transaction: Transaction,
    source: SourceRef,
    arrivals: Sequence[Arrival],
    *,
    origin: str,
    on_replace: str,
    chosen: Chosen | None = None,
    choice: str = "",
    sender: str = "",
) -> Written:
    """Catalogue a batch of instances.

    Parameters
    ----------
    transaction
        Where to write; its commit is the acknowledgement.
    source
        The data source that they belong to.
    arrivals
        Instances with sound identity; the same SOP Instance UID may come more than once.
    origin
        The way they came in: ``import``, ``stow``, ``bundle``, ``upload``.
    on_replace
        ``replace`` or ``reject`` what has a known SOP Instance UID and other bytes.
    chosen
        Whose a person said they are.
    choice
        Name of the choice of further attributes that the arrivals were read for.
    sender
        AE title or network address of who sent them, where somebody did.

    Returns
    -------
    Written
        An outcome for each arrival (their order may differ), what is new, and what must be set aside.
    """
    written = Written()
    entries = entries_of(transaction, source, arrivals, origin, chosen, choice)
    for entry in entries:
        entry.instance["sender"] = sender
    while entries:
        now: dict[str, Entry] = {}
        later: list[Entry] = []
        for entry in entries:
            if now.setdefault(entry.sop_uid, entry) is not entry:
                later.append(entry)
        _Batch(transaction, source, origin, on_replace, chosen, written).write(list(now.values()))
        entries = later
    return written


class _Batch:
    """One pass over distinct SOP Instance UIDs."""

    def __init__(
        self,
        transaction: Transaction,
        source: SourceRef,
        origin: str,
        on_replace: str,
        chosen: Chosen | None,
        written: Written,
    ) -> None:
        self.sql = transaction
        self.source = source
        self.origin = origin
        self.on_replace = on_replace
        self.chosen = chosen
        self.written = written
        self.new_patients: set[int] = set()
        self.new_studies: dict[int, str] = {}
        self.new_series: dict[int, tuple[str, str]] = {}

    def write(self, given: list[Entry]) -> None:
        if known := self._known_series(given):
            self._instances(given, says_more=any(_says_more(entry, known) for entry in given))
            return
        studies, entries = self._studies(given)
        if entries:
            series = self._series(entries, studies)
            for entry in entries:
                entry.instance["study_id"] = studies[entry.study_uid]
                entry.instance["series_id"] = series[entry.study_uid, entry.series_uid]
        self._forget_unused(self._instances(entries) if entries else [])

    def _known_series(self, entries: list[Entry]) -> dict[object, Row]:
        """Give the instances their place in one step, if each is of a series that is there and names the patient of
        its study, as all but the first of a series do; the studies are locked then, and only then.

        Returns
        -------
        dict
            The series by id, with what they and their studies lack; none unless all are known.
        """
        if self.chosen or not all(entry.patient for entry in entries):
            return {}
        places = sorted({(e.study_uid, e.series_uid, e.patient.patient_id, e.patient.issuer) for e in entries})
        found = self.sql.rows(KNOWN_SERIES, (*map(list, zip(*places, strict=True)), self.source.id, len(places)))
        known = {(row["study_instance_uid"], row["series_instance_uid"]): row for row in found}
        if len(known) < len(places):
            return {}
        for entry in entries:
            row = known[entry.study_uid, entry.series_uid]
            entry.instance["study_id"], entry.instance["series_id"] = row["study_id"], row["id"]
        return {row["id"]: row for row in found}

    def _instances(self, entries: list[Entry], *, says_more: bool = True) -> list[Entry]:
        """Take the instances; gives those that were added or replaced others. Unless they say more of series and study
        than is known, only the counts of these change with what is added."""
        added = self._insert_instances(entries, counted=not says_more)
        known = [entry for entry in entries if entry.sop_uid not in added]
        replaced = self._known(known) if known else {}
        changed = [entry for entry in entries if entry.sop_uid in added or entry.sop_uid in replaced]
        if counted := changed if says_more else [entry for entry in changed if entry.sop_uid in replaced]:
            self._count(counted, replaced)
        self._tell(changed, replaced)
        return changed

    def _patients(self, entries: list[Entry]) -> dict[str, int]:
        rows = _distinct(entries, lambda e: e.above.patient["key"], lambda e: e.above.patient)
        new = self.sql.rows(insert_into("patient", tuple(rows[0]), "key") + " returning id", (document(rows),))
        self.new_patients = {cast("int", row["id"]) for row in new}
        found = self.sql.rows(
            "select id, key from hilum.patient where source_id = %s and key = any(%s)",
            (self.source.id, [row["key"] for row in rows]),
        )
        return {cast("str", row["key"]): cast("int", row["id"]) for row in found}

    def _studies(self, entries: list[Entry]) -> tuple[dict[str, int], list[Entry]]:
        """Find or make the studies, and lock them; gives their ids, and the entries that are of the study's patient."""
        speakers: dict[str, Entry] = {}
        for entry in entries:
            speaker = speakers.setdefault(entry.study_uid, entry)
            if entry.patient and not speaker.patient:
                speakers[entry.study_uid] = entry
        patients = self._patients(list(speakers.values()))
        for entry in speakers.values():
            entry.above.study["patient_pk"] = patients[cast("str", entry.above.patient["key"])]
        rows = [speakers[uid].above.study for uid in sorted(speakers)]
        found: list[Row] = []
        while len(found) < len(rows):  # one that is deleted by now begins anew
            new = self.sql.rows(
                insert_into("study", tuple(rows[0]), "study_instance_uid") + " returning id, study_instance_uid",
                (document(rows),),
            )
            self.new_studies |= {cast("int", row["id"]): cast("str", row["study_instance_uid"]) for row in new}
            found = self.sql.rows(
                "select s.id, s.study_instance_uid, s.patient_pk, s.patient_id, s.availability, p.issuer_of_patient_id "
                "from hilum.study s join hilum.patient p on p.id = s.patient_pk "
                "where s.source_id = %s and s.study_instance_uid = any(%s) and s.deleted_at is null "
                "order by s.study_instance_uid for no key update of s",
                (self.source.id, list(speakers)),
            )
        for row in found:
            if row["availability"] == REMOTE:
                localise(self.sql, row)
        whose = {cast("str", row["study_instance_uid"]): self._owner(row, speakers) for row in found}
        ids = {cast("str", row["study_instance_uid"]): cast("int", row["id"]) for row in found}
        return ids, [entry for entry in entries if self._admit(entry, whose[entry.study_uid])]

    def _owner(self, row: Row, speakers: dict[str, Entry]) -> Patient:
        """Whose a study is from now on: a person's choice wins, and a patient is better than none."""
        study_id, uid = cast("int", row["id"]), cast("str", row["study_instance_uid"])
        archived = Patient(cast("str", row["patient_id"]), cast("str", row["issuer_of_patient_id"]))
        given = speakers[uid].patient
        is_certain = archived and row["availability"] != REMOTE
        if given and given != archived and (not is_certain or (self.chosen and self.chosen.patient)):
            archived = given
            move(self.sql, study_id, given)
        if self.chosen and self.chosen.person_id is not None:
            self.sql.rows("update hilum.study set person_id = %s where id = %s", (self.chosen.person_id, study_id))
            mark_studies(self.sql, [study_id])
        if not archived:
            self.written.quarantined.add(uid)
        return archived

    def _admit(self, entry: Entry, owner: Patient) -> bool:
        if not entry.patient or entry.patient.may_be(owner):
            return True
        self._refuse(entry, CONFLICT, CONFLICT_REASON)
        return False

    def _forget_unused(self, changed: list[Entry]) -> None:
        """Take back the rows that were made for instances that were not taken after all."""
        studies = {cast("int", entry.instance["study_id"]) for entry in changed}
        series = {cast("int", entry.instance["series_id"]) for entry in changed}
        unused = set(self.new_studies) - studies, set(self.new_series) - series
        if unused[1]:
            self.sql.rows("delete from hilum.series where id = any(%s)", (list(unused[1]),))
        if unused[0]:
            self.sql.rows("delete from hilum.study where id = any(%s)", (list(unused[0]),))
        if self.new_patients:
            self.sql.rows(
                "delete from hilum.patient p where id = any(%s) "
                "and not exists (select from hilum.study where patient_pk = p.id)",
                (list(self.new_patients),),
            )
        self.written.new_studies.update(uid for number, uid in self.new_studies.items() if number in studies)
        self.written.new_series.update(key for number, key in self.new_series.items() if number in series)

    def _series(self, entries: list[Entry], studies: dict[str, int]) -> dict[tuple[str, str], int]:
        for entry in entries:
            entry.above.series["study_id"] = studies[entry.study_uid]
        rows = _distinct(entries, lambda e: (e.study_uid, e.series_uid), lambda e: e.above.series)
        new = self.sql.rows(
            insert_into("series", tuple(rows[0]), "study_id, series_instance_uid") + " returning id", (document(rows),)
        )
        found = self.sql.rows(
            "select s.id, t.study_instance_uid, s.series_instance_uid from hilum.series s "
            "join hilum.study t on t.id = s.study_id join unnest(%s::bigint[], %s::text[]) as given(study_id, uid) "
            "on given.study_id = s.study_id and given.uid = s.series_instance_uid",
            ([row["study_id"] for row in rows], [row["series_instance_uid"] for row in rows]),
        )
        ids = {
            (cast("str", row["study_instance_uid"]), cast("str", row["series_instance_uid"])): cast("int", row["id"])
            for row in found
        }
        inserted = {row["id"] for row in new}
        self.new_series = {number: key for key, number in ids.items() if number in inserted}
        return ids

    def _insert_instances(self, entries: list[Entry], *, counted: bool) -> set[str]:
        rows = sorted((entry.instance for entry in entries), key=lambda row: cast("str", row["sop_instance_uid"]))
        columns = tuple(rows[0])
        if counted:
            statement = add_counted(columns)
        else:
            statement = insert_into("instance", columns, "sop_instance_uid") + " returning sop_instance_uid"
        return {cast("str", row["sop_instance_uid"]) for row in self.sql.rows(statement, (document(rows),))}

    def _known(self, entries: list[Entry]) -> dict[str, Row]:
        """Settle the instances whose SOP Instance UID is catalogued already; returns what was replaced, as it was."""
        found = self.sql.rows(
            KNOWN_INSTANCES,
            (self.source.id, [entry.sop_uid for entry in entries]),
        )
        before = {cast("str", row["sop_instance_uid"]): row for row in found}
        self._note_files(entries, before)
        replaced: dict[str, Row] = {}
        for entry in entries:
            old = before[entry.sop_uid]
            if entry.arrival.digest in (old["digest"], *cast("list[str]", old["earlier"])):
                self._duplicate(entry, old)
            elif old["series_id"] != entry.instance["series_id"]:
                reason = "Its SOP Instance UID belongs to an instance of another series or study."
                self._refuse(entry, "sop_instance_uid_taken", reason)
            elif self.on_replace == "reject":
                reason = "An instance with its SOP Instance UID and other bytes is archived, and replacing is off."
                self._refuse(entry, "replacement_rejected", reason)
            else:
                replaced[entry.sop_uid] = old
        if replaced:
            self._replace([entry for entry in entries if entry.sop_uid in replaced], replaced)
        return replaced

    def _note_files(self, entries: list[Entry], before: dict[str, Row]) -> None:
        """Remember which files hold what is archived already, so that they need not be read again."""
        files = [
            {"id": before[entry.sop_uid]["id"], "fingerprint": entry.arrival.fingerprint}
            for entry in entries
            if before[entry.sop_uid]["digest"] == entry.arrival.digest
            and entry.arrival.fingerprint not in (None, before[entry.sop_uid]["fingerprint"])
        ]
        if files:
            self.sql.rows(
                "update hilum.instance i set fingerprint = given.fingerprint "
                "from json_populate_recordset(null::hilum.instance, %s) given where i.id = given.id",
                (document(files),),
            )

    def _duplicate(self, entry: Entry, old: Row) -> None:
        """Settle what is archived already, or was until other bytes replaced it: nothing changes."""
        key = entry.arrival.blob_key
        stays = old["digest"] == entry.arrival.digest and not self._found_again(entry.arrival, old)
        if stays and key and old["blob_key"] != key:
            self.written.unneeded.append(key)
        where = cast("str", old["study_instance_uid"]), cast("str", old["series_instance_uid"])
        self._outcome(entry, "duplicate", where=where)

    def _found_again(self, arrival: Arrival, old: Row) -> bool:
        """Note where the bytes lie now if they were indexed in place, and came as a copy, or were moved or touched."""
        path = cast("str | None", old["path"])
        if path is None or (path, old["path_mtime_ns"]) == (arrival.path, arrival.path_mtime_ns):
            return False
        if arrival.path not in (None, path) and is_unchanged(path, old):
            return False
        self.sql.rows(
            "update hilum.instance set path = %s, path_mtime_ns = %s, blob_key = %s where id = %s",
            (arrival.path, arrival.path_mtime_ns, arrival.blob_key, old["id"]),
        )
        return True

    def _replace(self, entries: list[Entry], before: dict[str, Row]) -> None:
        ids = [before[entry.sop_uid]["id"] for entry in entries]
        self.sql.rows(
            "insert into hilum.replaced_instance (instance_id, size, digest, blob_key, path, origin, received_at) "
            "select id, size, digest, blob_key, path, origin, received_at from hilum.instance where id = any(%s)",
            (ids,),
        )
        columns = tuple(entries[0].instance)
        assignments = ", ".join(f"{column} = given.{column}" for column in columns)
        statement = (
            f"update hilum.instance i set {assignments}, received_at = now() "
            "from json_populate_recordset(null::hilum.instance, %s) given where i.id = given.id"
        )
        rows = [entry.instance | {"id": before[entry.sop_uid]["id"]} for entry in entries]
        self.sql.rows(cast("LiteralString", statement), (document(rows),))

    def _count(self, changed: list[Entry], replaced: dict[str, Row]) -> None:
        """Bring counts, filled-in attributes and the ready-made JSON of the touched series and studies up to date."""
        series_rows: dict[object, Values] = {}
        study_rows: dict[object, Values] = {}
        for entry in changed:
            old = replaced.get(entry.sop_uid)
            delta = {
                "num_instances": 0 if old else 1,
                "num_images": entry.arrival.frames - (cast("int", old["num_frames"]) if old else 0),
                "bytes": entry.arrival.size - (cast("int", old["size"]) if old else 0),
            }
            add_up(series_rows, entry.instance["series_id"], entry.above.series, delta)
            add_up(study_rows, entry.instance["study_id"], entry.above.study, delta)
        self.sql.rows(SERIES_UPDATE, (document(list(series_rows.values())),))
        studies = self.sql.rows(
            STUDY_UPDATE,
            {"rows": document(list(study_rows.values())), "rank": MODALITY_RANK, "not_images": NOT_IMAGES},
        )
        keep_corrections(self.sql, studies, study_rows)
        tie_people(self.sql, self.source.id, studies)
        keep_attributes(self.sql, studies)
        mark_studies(self.sql, [cast("int", row["id"]) for row in studies])

    def _tell(self, changed: list[Entry], replaced: dict[str, Row]) -> None:
        for entry in changed:
            change: State = "replaced" if entry.sop_uid in replaced else "added"
            self._outcome(entry, change)
            data = {
                "study_instance_uid": entry.study_uid,
                "series_instance_uid": entry.series_uid,
                "sop_instance_uid": entry.sop_uid,
                "sop_class_uid": entry.arrival.identity.sop_class_uid,
                "transfer_syntax_uid": entry.arrival.header.transfer_syntax_uid,
                "size": entry.arrival.size,
                "digest": f"blake3:{entry.arrival.digest}",
                "change": change,
                "origin": self.origin,
                "wado_url": f"/api/v1/imaging/wado/{entry.sop_uid}?source={self.source.key}",
            }
            self.sql.emit(Event("hilum.instance.stored.v1", self.source.key, entry.sop_uid, data))

    def _refuse(self, entry: Entry, code: str, reason: str) -> None:
        self.written.refused.append((entry.arrival, code, reason))
        self._outcome(entry, "set_aside", code, reason)

    def _outcome(
        self, entry: Entry, state: State, code: str = "", reason: str = "", where: tuple[str, str] | None = None
    ) -> None:
        study_uid, series_uid = where or (entry.study_uid, entry.series_uid)
        self.written.outcomes.append(
            Outcome(
                entry.arrival.name,
                state,
                code,
                reason,
                study_uid,
                series_uid,
                entry.sop_uid,
                entry.arrival.identity.sop_class_uid,
                entry.arrival.frames,
                None if entry.given == entry.patient else (entry.given.patient_id, entry.given.issuer),
            )
        )


def _says_more(entry: Entry, known: dict[object, Row]) -> bool:
    """Whether an instance fills in what its series or study, as they are known, lack."""
    row = known[entry.instance["series_id"]]
    if row["is_corrected"]:  # what is corrected keeps what the files said last
        return True
    for values, lacks in ((entry.above.study, row["study_lacks"]), (entry.above.series, row["series_lacks"])):
        if values.get("further") or any(values.get(name) not in (None, "") for name in str(lacks).split()):
            return True
    return False


def _distinct(entries: list[Entry], key: Callable[[Entry], object], row: Callable[[Entry], Values]) -> list[Values]:
    """Take the first row of each key, sorted by key."""
    rows: dict[object, Values] = {}
    for entry in entries:
        rows.setdefault(key(entry), row(entry))
    return [rows[k] for k in sorted(rows, key=str)]
