"""Whose a study is. A study takes its patient from its files, or from a person's decision, which is kept and holds for
whatever comes later. A study without a patient waits in quarantine; instances that name another patient than their
study are set aside as a conflict. Nothing is guessed, merged or lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

import sqlalchemy as sa

from hilum.core.database import Transaction
from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.core.events import Event
from hilum.imaging.archive.describe import NO_PATIENT, patient_key
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.models import SetAside, Source, Study
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.study_json import keep_attributes

Row = sa.RowMapping
Keep: TypeAlias = Literal["archived", "arrived"]

CONFLICT: Final = "patient_conflict"
CONFLICT_REASON: Final = "Its study is archived under another patient; decide under conflicts whose it is."
MAX_PATIENT_ID: Final = 64


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whom a person named for all that comes in one upload or import; without a patient the files say whose it is."""

    patient: Patient | None = None
    person_id: int | None = None


def check_patient(patient_id: str, issuer: str = "") -> Patient:
    """Make a patient of what a person wrote.

    Raises
    ------
    Invalid
        It is blank, longer than 64 characters, or holds a backslash or a control character (PS3.5 section 6.2, LO).
    """
    patient = Patient(patient_id.strip(), issuer.strip())
    if not patient:
        raise Invalid("Give the patient's id: it may not be blank.")
    for text in (patient.patient_id, patient.issuer):
        if len(text) > MAX_PATIENT_ID or "\\" in text or not text.isprintable():
            raise Invalid(
                "A patient's id and its issuer have at most 64 characters, no backslash or control character."
            )
    return patient


def decisions(transaction: Transaction, source_id: int, studies: Iterable[str]) -> dict[tuple[str, Patient], Patient]:
    """What was decided for some studies: whose the instances are that name a patient."""
    rows = transaction.rows(
        "select study_instance_uid, given_patient_id, given_issuer_of_patient_id, patient_id, issuer_of_patient_id "
        "from hilum.patient_decision where source_id = %s and study_instance_uid = any(%s)",
        (source_id, list(studies)),
    )
    found: dict[tuple[str, Patient], Patient] = {}
    for row in rows:
        study, given_id, given_issuer, patient_id, issuer = cast("tuple[str, ...]", tuple(row.values()))
        found[study, Patient(given_id, given_issuer)] = Patient(patient_id, issuer)
    return found


def decide(transaction: Transaction, source_id: int, study: str, given: Patient, patient: Patient, origin: str) -> None:
    """Keep the decision that a study's instances naming one patient (perhaps none) belong to another."""
    transaction.rows(
        "insert into hilum.patient_decision as d (source_id, study_instance_uid, given_patient_id, "
        "given_issuer_of_patient_id, patient_id, issuer_of_patient_id, origin) values (%s, %s, %s, %s, %s, %s, %s) "
        "on conflict (source_id, study_instance_uid, given_patient_id, given_issuer_of_patient_id) do update set "
        "patient_id = excluded.patient_id, issuer_of_patient_id = excluded.issuer_of_patient_id, "
        "origin = excluded.origin, decided_at = now() where (d.patient_id, d.issuer_of_patient_id) is distinct from "
        "(excluded.patient_id, excluded.issuer_of_patient_id)",
        (source_id, study, given.patient_id, given.issuer, patient.patient_id, patient.issuer, origin),
    )


def move(transaction: Transaction, study_id: int, patient: Patient) -> None:
    """Give a study, whose row is locked, to a patient; everything else of it stays as it is."""
    values = patient_key(patient, "") | {"study": study_id}
    transaction.rows(
        "insert into hilum.patient (source_id, key, patient_id, issuer_of_patient_id, patient_name_dicom, birth_date, "
        "sex) select source_id, %(key)s, %(patient_id)s, %(issuer_of_patient_id)s, patient_name_dicom, "
        "patient_birth_date, patient_sex from hilum.study where id = %(study)s on conflict do nothing",
        values,
    )
    (row,) = transaction.rows(
        "update hilum.study s set patient_pk = p.id, patient_id = p.patient_id, quarantine = '', updated_at = now() "
        "from hilum.patient p where s.id = %(study)s and p.source_id = s.source_id and p.key = %(key)s "
        "returning s.study_instance_uid, (select key from hilum.source where id = s.source_id) as source",
        values,
    )
    transaction.rows(  # the row of a patient without identifier was this study's alone
        "delete from hilum.patient where key = %s and source_id = (select source_id from hilum.study where id = %s)",
        (patient_key(Patient(), cast("str", row["study_instance_uid"]))["key"], study_id),
    )
    keep_attributes(transaction, transaction.rows("select * from hilum.study where id = %s", (study_id,)))
    mark_studies(transaction, [study_id])
    uid = cast("str", row["study_instance_uid"])
    data = {"study_instance_uid": uid, "changed": ["patient_id"]}
    transaction.emit(Event("hilum.study.edited.v1", cast("str", row["source"]), uid, data))


def quarantined(
    connection: sa.Connection, source: str | None = None, *, limit: int = 20, offset: int = 0
) -> tuple[Sequence[Row], int]:
    """The studies that wait for a person to say whose they are, latest first, and how many there are."""
    query = sa.select(Study.__table__, Source.key.label("source_key")).join(Source, Source.id == Study.source_id)
    query = query.where(Study.quarantine != "", Study.deleted_at.is_(None), *([Source.key == source] if source else []))
    total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    page = query.order_by(Study.received_at.desc(), Study.id.desc()).limit(limit).offset(offset)
    return connection.execute(page).mappings().all(), total or 0


def release(transaction: Transaction, study_id: int, patient: Patient) -> None:
    """Say whose a quarantined study is; its instances that come again, or later, follow.

    Raises
    ------
    Conflict
        The study is not in quarantine.
    NotFound
        There is no such study.
    """
    row = _locked(transaction, study_id)
    if row["quarantine"] != NO_PATIENT:
        raise Conflict("The study is not in quarantine; it has a patient.")
    decide(transaction, row["source_id"], row["study_instance_uid"], Patient(), patient, "release")
    move(transaction, study_id, patient)


def conflicts(
    connection: sa.Connection, source: str | None = None, *, limit: int = 20, offset: int = 0
) -> tuple[Sequence[Row], int]:
    """Studies with instances that name another patient, latest first, and how many such conflicts there are.

    Each row has the number of the conflict (that of the first file set aside for it), the study with its patient, the
    patient that arrived and how many files name that one.
    """
    arrived = (SetAside.source_id, SetAside.study_instance_uid, SetAside.patient_id, SetAside.issuer_of_patient_id)
    grouped = (
        sa.select(
            sa.func.min(SetAside.id).label("id"),
            *arrived,
            sa.func.min(SetAside.patient_name_dicom).label("patient_name_dicom"),
            sa.func.count().label("files"),
            sa.func.min(SetAside.received_at).label("received_at"),
        )
        .where(SetAside.code == CONFLICT)
        .group_by(*arrived)
        .subquery()
    )
    belongs = (Study.source_id == grouped.c.source_id) & (Study.study_instance_uid == grouped.c.study_instance_uid)
    belongs &= Study.deleted_at.is_(None)
    query = (
        sa.select(
            grouped,
            Source.key.label("source_key"),
            Study.id.label("study"),
            Study.patient_id.label("archived_patient_id"),
            Study.patient_name.label("archived_patient_name"),
        )
        .join(Source, Source.id == grouped.c.source_id)
        .outerjoin(Study, belongs)
    )
    query = query.where(Source.key == source) if source else query
    total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    page = query.order_by(grouped.c.id.desc()).limit(limit).offset(offset)
    return connection.execute(page).mappings().all(), total or 0


def settle(transaction: Transaction, conflict: int, keep: Keep) -> tuple[str, str]:
    """Decide a conflict; gives the source's key and the study, whose files that were set aside can now be taken.

    Parameters
    ----------
    transaction
        Where to write.
    conflict
        Its number.
    keep
        ``archived``: all belongs to the patient of the archived study; ``arrived``: to the one that came later. Of a
        study that has been deleted since, only the files that came later are left.

    Raises
    ------
    NotFound
        There is no such conflict, or no archived study to keep.
    """
    connection = transaction.connection
    row = connection.execute(
        sa.select(SetAside.__table__, Source.key.label("source_key"))
        .join(Source, Source.id == SetAside.source_id)
        .where(SetAside.id == conflict, SetAside.code == CONFLICT)
    ).mappings().first()  # fmt: skip
    if row is None:
        raise NotFound(f"There is no conflict {conflict}.")
    arrived = Patient(row["patient_id"], row["issuer_of_patient_id"])
    uid, source_id = row["study_instance_uid"], row["source_id"]
    study_id = connection.scalar(
        sa.select(Study.id).where(
            Study.source_id == source_id, Study.study_instance_uid == uid, Study.deleted_at.is_(None)
        )
    )
    if study_id is None and keep == "archived":
        raise NotFound("The archived study is no longer there; only the files that arrived later can be archived.")
    if study_id is None:
        return row["source_key"], uid
    study = _locked(transaction, study_id)
    archived = Patient(study["patient_id"], study["issuer_of_patient_id"])
    if keep == "archived":
        decide(transaction, source_id, uid, arrived, archived, "conflict")
    else:
        decide(transaction, source_id, uid, archived, arrived, "conflict")
        for (_, given), patient in decisions(transaction, source_id, [uid]).items():
            if patient == archived:
                decide(transaction, source_id, uid, given, arrived, "conflict")
        move(transaction, study_id, arrived)
    mark_studies(transaction, [study_id])
    return row["source_key"], uid


def _locked(transaction: Transaction, study_id: int) -> Row:
    query = sa.text(
        "select s.*, p.issuer_of_patient_id from hilum.study s join hilum.patient p on p.id = s.patient_pk "
        "where s.id = :id and s.deleted_at is null for no key update of s"
    )
    row = transaction.connection.execute(query, {"id": study_id}).mappings().first()
    if row is None:
        raise NotFound("There is no such study.")
    return row


def effective(
    given: Patient, study: str, decided: dict[tuple[str, Patient], Patient], chosen: Chosen | None
) -> Patient:
    """Whose an instance is: of whom a person chose for it, else decided for its like, else named by itself."""
    if chosen and chosen.patient:
        return chosen.patient
    return decided.get((study, given), given)
