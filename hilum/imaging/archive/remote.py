"""Studies that are known but not here: indexed from what a remote archive tells of them, with counts and series, but no
instances. One that is archived or was deleted here is left as it is; and when its instances do come, what the remote
archive told gives way to what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, LiteralString, TypeAlias, cast

from hilum.core.database import Row, Transaction
from hilum.core.events import Event
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.describe import NO_PATIENT, Values, patient_key
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.intake import refuse_as_it_is
from hilum.imaging.archive.statements import document, insert_into
from hilum.imaging.archive.study_json import keep_attributes

Became: TypeAlias = Literal["new", "updated", "archived", "deleted"]

REMOTE: Final = "remote"
INDEXED: Final = "hilum.study.indexed.v1"


@dataclass(frozen=True, slots=True)
class RemoteStudy:
    """What a remote archive tells of a study.

    Attributes
    ----------
    patient : Patient
        Whose it is; blank where it does not tell.
    study, series
        Columns of the study and of each of its series.
    """

    patient: Patient
    study: Mapping[str, object]
    series: Sequence[Mapping[str, object]]


def keep_remote(sql: Transaction, source_id: int, source_key: str, found: RemoteStudy, indexed_for: str) -> Became:
    """Index a remote study, or bring what is indexed of it up to date.

    Parameters
    ----------
    sql
        Where to write.
    source_id, source_key
        Whose remote archive it is.
    found
        What that tells.
    indexed_for
        The choice of further attributes; of a study without files there is nothing more to read.
    """
    (source,) = sql.rows("select intake_profile from hilum.source where id = %s", (source_id,))
    refuse_as_it_is(SourceRef(source_id, source_key, str(source["intake_profile"])), "it indexes no remote studies")
    uid = str(found.study["study_instance_uid"])
    named = {"source": source_id, "uid": uid}
    study: Values = dict(found.study) | _OF_REMOTE | {
        "source_id": source_id, "patient_pk": _patient(sql, source_id, found.patient, uid),
        "patient_id": found.patient.patient_id, "quarantine": "" if found.patient else NO_PATIENT,
        "indexed_for": indexed_for,
    }  # fmt: skip
    new = ()
    if not sql.rows(_LIVE, named):
        if sql.rows(_DELETED, named):
            return "deleted"
        new = sql.rows(insert_into("study", tuple(study), "study_instance_uid") + " returning id", (document([study]),))
    (row,) = sql.rows(_LIVE, named)
    if row["availability"] != REMOTE:
        return "archived"
    if not new:
        sql.rows(_update(tuple(study)), (document([study | {"id": row["id"]}]),))
        sql.rows("delete from hilum.series where study_id = %s", (row["id"],))
    series = [dict(each) | {"study_id": row["id"], "metadata_version": None} for each in found.series]
    if series:
        sql.rows(insert_into("series", tuple(series[0]), "series_instance_uid"), (document(series),))
    keep_attributes(sql, sql.rows("select * from hilum.study where id = %s", (row["id"],)))
    data = {"study_id": row["id"], "study_instance_uid": uid}
    sql.emit(Event(INDEXED, source_key, uid, data))
    return "new" if new else "updated"


def localise(sql: Transaction, study: Row) -> None:
    """Let a locked remote study be one whose first instances are just coming."""
    sql.rows("delete from hilum.series where study_id = %s", (study["id"],))
    sql.rows(_LOCALISE, (study["id"],))


def _patient(sql: Transaction, source_id: int, patient: Patient, uid: str) -> int:
    row = patient_key(patient, uid) | {"source_id": source_id}
    sql.rows(insert_into("patient", tuple(row), "key"), (document([row]),))
    (found,) = sql.rows("select id from hilum.patient where source_id = %s and key = %s", (source_id, row["key"]))
    return cast("int", found["id"])


def _update(columns: tuple[str, ...]) -> LiteralString:
    """Write the statement that takes columns of a study from a document; corrections of people stay."""
    assignments = ", ".join(
        f"{name} = coalesce(s.corrected->'{name}'->>'now', given.{name})"
        if name in _CORRECTED
        else f"{name} = given.{name}"
        for name in columns
    )
    statement = (
        f"update hilum.study s set {assignments}, updated_at = clock_timestamp() "
        "from json_populate_recordset(null::hilum.study, %s) given where s.id = given.id"
    )
    return cast("LiteralString", statement)


_OF_REMOTE: Final[Values] = {"availability": REMOTE, "num_images": 0, "bytes": 0, "derived": False}
_CORRECTED: Final = frozenset(("modality", "body_part", "study_description", "accession_number"))
_LIVE: Final[LiteralString] = """
  select id, availability from hilum.study
  where source_id = %(source)s and study_instance_uid = %(uid)s and deleted_at is null for no key update
"""
_DELETED: Final[LiteralString] = """
  select 1 from hilum.deletion where source_id = %(source)s and study_instance_uid = %(uid)s
    and series_instance_uid = '' and restored_at is null limit 1
"""
_LOCALISE: Final[LiteralString] = """
  update hilum.study set availability = 'local', num_series = 0, num_instances = 0, num_images = 0, bytes = 0,
    study_date = null, study_time = null, timezone_offset = '', accession_number = '', study_description = '',
    body_part = '', patient_name = '', patient_name_dicom = ''
  where id = %s
"""
