"""Corrections: what a person says of a study where its files are wrong. A correction stands over what the files say and
never touches them; every one is kept with who made it and can be undone, and the same value seen again in another study
is offered the earlier correction. The catalogue's writer asks here that later arrivals leave corrections alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias, cast

import msgspec
import sqlalchemy as sa

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, NotFound, PreconditionFailed
from hilum.core.events import Event
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.study_json import keep_attributes
from hilum.imaging.dicom.names import body_part_word

Field: TypeAlias = Literal["modality", "body_part", "study_description", "accession_number"]
FIELDS: Final[tuple[Field, ...]] = ("modality", "body_part", "study_description", "accession_number")
EDITED: Final = "hilum.study.edited.v1"

_LISTED: Final = (
    "c.id, c.study_id, c.field, c.old, c.new, c.undoes, c.made_by as who, c.made_at as when, "
    "s.study_instance_uid, (select key from hilum.source where id = s.source_id) as source"
)
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An earlier correction of the value that a study's field has now.

    Attributes
    ----------
    field, value : str
        The field, and what the files say.
    suggested : str
        What it was corrected to elsewhere.
    times_used : int
        In how many studies of the source.
    """

    field: str
    value: str
    suggested: str
    times_used: int


def version_of(row: Mapping[str, object] | sa.RowMapping) -> str:
    """The version of a study's row, for an ETag."""
    changed = row["updated_at"]
    return f"{row['id']}-{changed.timestamp() * 1e6:.0f}"  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def correct_study(
    database: Database, study_id: int, changes: Mapping[Field, str], who: str, *, version: str | None = None
) -> None:
    """Correct fields of a study; a value that the field has already is no change.

    Parameters
    ----------
    database
        The catalogue.
    study_id
        Hilum's id of the study.
    changes
        New values by field.
    who
        Makes the change.
    version
        Of the study that the change was made for (see ``version_of``); None for any.

    Raises
    ------
    NotFound
        There is no such study.
    PreconditionFailed
        The study has another version by now.
    """
    with database.transaction() as sql:
        row = _locked(sql, study_id)
        if version is not None and version != version_of(row):
            raise PreconditionFailed("The study has been changed since you read it: read it again.")
        changed: list[Field] = [field for field, value in changes.items() if row[field] != value]
        for field in changed:
            _change(sql, row, field, changes[field], who)
        if changed:
            _settle(sql, row, changed)


def undo_correction(database: Database, study_id: int, correction_id: int, who: str) -> None:
    """Undo a correction, which is itself a correction; what stood on the files falls back to what they say now.

    Raises
    ------
    Conflict
        The field has been corrected again since.
    NotFound
        The study has no such correction.
    """
    with database.transaction() as sql:
        row = _locked(sql, study_id)
        found = sql.rows(
            "select c.*, (select max(id) from hilum.correction l where l.study_id = c.study_id and l.field = c.field) "
            "as latest from hilum.correction c where c.study_id = %s and c.id = %s",
            (study_id, correction_id),
        )
        if not found:
            raise NotFound(f"The study has no correction {correction_id}.")
        undone = found[0]
        field = cast("Field", undone["field"])
        if undone["latest"] != correction_id:
            raise Conflict(
                f"The {field} has been corrected again since: undo correction {undone['latest']} first, or correct it."
            )
        back = _of_file(row, field) if undone["old"] == undone["of_file"] else cast("str", undone["old"])
        _change(sql, row, field, back, who, undoes=correction_id)
        _settle(sql, row, [field])


def corrections_of(connection: sa.Connection, study_id: int) -> Sequence[sa.RowMapping]:
    """The corrections of a study, latest first."""
    statement = sa.text(
        f"select {_LISTED} from hilum.correction c join hilum.study s on s.id = c.study_id "
        "where c.study_id = :study order by c.id desc"
    )
    return connection.execute(statement, {"study": study_id}).mappings().all()


def all_corrections(database: Database, source: str | None = None) -> Iterator[sa.RowMapping]:
    """Every correction of studies that are not deleted, in order, however many there are."""
    statement = sa.text(
        f"select {_LISTED} from hilum.correction c join hilum.study s on s.id = c.study_id "
        "where c.id > :after and s.deleted_at is null "
        "and (cast(:source as text) is null or s.source_id = (select id from hilum.source where key = :source)) "
        "order by c.id limit :page"
    )
    after = 0
    while True:
        with database.connect() as connection:
            values = {"after": after, "source": source, "page": _PAGE}
            page = connection.execute(statement, values).mappings().all()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["id"]


def suggestions_for(connection: sa.Connection, row: sa.RowMapping) -> list[Suggestion]:
    """What the fields of a study were corrected to in other studies of its source that said the same.

    Nothing is applied. A field that is corrected already, or empty, gets no suggestion.
    """
    statement = sa.text(
        "select corrected->:field->>'now' as suggested, count(*) as times from hilum.study "
        "where source_id = :source and corrected <> '{}' and corrected->:field->>'file' = :value "
        "and id <> :study and deleted_at is null group by 1 order by 2 desc, 1"
    )
    found: list[Suggestion] = []
    for field in FIELDS:
        value = row[field]
        if value and field not in row["corrected"]:
            values = {"field": field, "source": row["source_id"], "value": value, "study": row["id"]}
            rows = connection.execute(statement, values)
            found.extend(Suggestion(field, value, each.suggested, each.times) for each in rows)
    return found


def keep_corrections(sql: Transaction, studies: Sequence[Row], given: Mapping[object, Mapping[str, object]]) -> None:
    """Put corrections back over what arrivals have just said of their studies.

    Parameters
    ----------
    sql
        The transaction that wrote the studies.
    studies
        Their rows as written; corrected here in place.
    given
        What the arrivals say, by study id.
    """
    changed = [row for row in studies if row["corrected"]]
    for row in changed:
        for field, over in _corrected(row).items():
            if field == "modality":
                over["file"] = cast("str", row["modality"])
            over["file"] = over["file"] or cast("str", given[row["id"]].get(field) or "")
        _lay_over(row)
    _write(sql, changed)


def bring_back_corrections(
    sql: Transaction, study_id: int, corrected: Mapping[str, Mapping[str, str]], corrections: Sequence[Row]
) -> None:
    """Lay recorded corrections over a study that was made again from its files, with their history."""
    numbers: dict[object, object] = {None: None}
    known = {
        row["made_at"] for row in sql.rows("select made_at from hilum.correction where study_id = %s", (study_id,))
    }
    for each in corrections:
        if datetime.fromisoformat(str(each["made_at"])) in known:
            continue
        values = [each[name] for name in ("field", "old", "new", "of_file", "made_by", "made_at")]
        (made,) = sql.rows(
            "insert into hilum.correction (study_id, undoes, field, old, new, of_file, made_by, made_at) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s) returning id",
            (study_id, numbers.get(each["undoes"]), *values),
        )
        numbers[each["id"]] = made["id"]
    row = _locked(sql, study_id)
    row["corrected"] = {field: dict(over) for field, over in corrected.items() if field in FIELDS}
    _lay_over(row)
    _write(sql, [row])
    keep_attributes(sql, [row])


def _locked(sql: Transaction, study_id: int) -> Row:
    found = sql.rows(
        "select *, (select key from hilum.source where id = source_id) as source_key from hilum.study "
        "where id = %s and deleted_at is null for no key update",
        (study_id,),
    )
    if not found:
        raise NotFound("There is no such study.")
    return found[0]


def _change(sql: Transaction, row: Row, field: Field, value: str, who: str, undoes: int | None = None) -> None:
    """Change a field of a locked row, and keep the change; the row is written by ``_settle``."""
    of_file = _of_file(row, field)
    sql.rows(
        "insert into hilum.correction (study_id, field, old, new, of_file, undoes, made_by) "
        "values (%s, %s, %s, %s, %s, %s, %s)",
        (row["id"], field, row[field], value, of_file, undoes, who),
    )
    corrected = _corrected(row)
    corrected.pop(field, None)
    if value != of_file:
        corrected[field] = {"file": of_file, "now": value}
    row[field] = value


def _settle(sql: Transaction, row: Row, fields: Sequence[str]) -> None:
    """Write a changed row, with all that follows from it."""
    levels = sql.rows("select distinct modality, body_part from hilum.series where study_id = %s", (row["id"],))
    row["modalities"] = sorted({cast("str", level["modality"]) for level in levels} - {""})
    row["body_parts"] = sorted({body_part_word(cast("str", level["body_part"])) for level in levels} - {""})
    _lay_over(row)
    _write(sql, [row])
    keep_attributes(sql, [row])
    mark_studies(sql, [cast("int", row["id"])])
    data = {"study_id": row["id"], "study_instance_uid": row["study_instance_uid"], "fields": list(fields)}
    sql.emit(Event(EDITED, str(row["source_key"]), str(row["study_instance_uid"]), data))


def _lay_over(row: Row) -> None:
    """Lay the corrections over a row that says what the files say; lists follow their field."""
    for field, over in _corrected(row).items():
        row[field] = over["now"]
        if field == "modality":
            row["modalities"] = _exchanged(row["modalities"], over["file"], over["now"])
        elif field == "body_part":
            row["body_parts"] = _exchanged(row["body_parts"], body_part_word(over["file"]), body_part_word(over["now"]))


def _exchanged(values: object, old: str, new: str) -> list[str]:
    return sorted((set(cast("Sequence[str]", values)) - {old}) | ({new} - {""}))


def _write(sql: Transaction, rows: Sequence[Row]) -> None:
    if not rows:
        return
    names = ("id", *FIELDS, "modalities", "body_parts", "corrected")
    document = msgspec.json.encode([{name: row[name] for name in names} for row in rows]).decode()
    sql.rows(
        "update hilum.study s set modality = g.modality, body_part = g.body_part, "
        "study_description = g.study_description, accession_number = g.accession_number, "
        "modalities = g.modalities, body_parts = g.body_parts, corrected = g.corrected, updated_at = clock_timestamp() "
        "from json_populate_recordset(null::hilum.study, %s) g where s.id = g.id",
        (document,),
    )


def _corrected(row: Row) -> dict[str, dict[str, str]]:
    return cast("dict[str, dict[str, str]]", row["corrected"])


def _of_file(row: Row, field: Field) -> str:
    over = _corrected(row).get(field)
    return over["file"] if over else cast("str", row[field])
