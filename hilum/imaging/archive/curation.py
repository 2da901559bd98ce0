"""REST of what people change in the archive: corrections of studies, deletion and restoring, names of people."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Final, TypeAlias, cast

import msgspec
from fastapi import Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, Field

from hilum.core.errors import Invalid
from hilum.core.http import PROBLEMS, Limit, Model, Offset, Page, Router, refuse_unknown_parameters
from hilum.imaging.archive import delete, edit, people, query, schemas
from hilum.imaging.archive.delete import Part
from hilum.imaging.archive.people import Kind
from hilum.imaging.archive.routes import Of, TheArchive, show_study
from hilum.imaging.archive.store import Archive

router = Router(
    prefix=schemas.API, tags=["curation"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS
)

# Without credentials whoever uses this machine is one user.
WHO: Final = "local user"
_CODE: Final = re.compile(r"[A-Z0-9 _]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")


def _code(value: str) -> str:
    value = value.strip().upper()
    if not _CODE.fullmatch(value):
        raise ValueError("a code has letters A to Z, digits, spaces and underscores only (PS3.5, VR CS)")
    return value


def _text(value: str) -> str:
    value = value.strip()
    if _CONTROL.search(value):
        raise ValueError("a text has no backslash and no control characters (PS3.5)")
    return value


# What is left out is told by its absence; a default would stand in the description as if it were sent.
Code: TypeAlias = Annotated[str, Field(max_length=16, default_factory=str), AfterValidator(_code)]


class StudyChange(Model):
    """Fields of a study to correct; one that is left out stays as it is, an empty text empties it."""

    modality: Code
    body_part: Code
    study_description: Annotated[str, Field(max_length=64, default_factory=str), AfterValidator(_text)]
    accession_number: Annotated[str, Field(max_length=16, default_factory=str), AfterValidator(_text)]


class Deletion(Model):
    """That a study was deleted, or the one series or instance that is named."""

    source: str
    study_instance_uid: str
    series_instance_uid: str | None
    sop_instance_uid: str | None
    who: str
    when: datetime
    restored_at: datetime | None
    purged_at: datetime | None


class Correction(Model):
    """One change of one field of a study."""

    id: int
    source: str
    study_id: int
    study_instance_uid: str
    field: str
    old: str
    new: str
    who: str
    when: datetime
    undoes: int | None = Field(description="The correction that this one undid.")


class Suggestion(Model):
    """What the value of a field was corrected to in other studies of the source."""

    field: str
    value: str
    suggested: str
    times_used: int


class Person(Model):
    """A physician or a facility."""

    id: int
    source: str
    name: str
    also: list[str] = Field(description="Names that were merged into it.")
    merged_into: int | None
    studies: int


class PersonChange(Model):
    """A new name, or which other one it really is; null makes it one of its own again."""

    name: Annotated[str, Field(max_length=200, default_factory=str), AfterValidator(_text)]
    merged_into: Annotated[int | None, Field(default_factory=lambda: None)]


class NameChange(Model):
    """One change of a physician or facility."""

    id: int
    field: str
    old: str
    new: str
    who: str
    when: datetime


@router.patch("/studies/{study}")
def patch_study(
    archive: TheArchive,
    response: Response,
    study: str,
    change: StudyChange,
    source: Of = None,
    if_match: Annotated[str | None, Header(description="The ETag of the study that the change is made for.")] = None,
) -> schemas.StudyDetail:
    """Correct fields of a study. Its files stay as they are; every change is kept and can be undone."""
    study_id = _find(archive, study, source)
    changes = cast("Mapping[edit.Field, str]", change.model_dump(exclude_unset=True))
    version = if_match.strip().removeprefix("W/").strip('"') if if_match and if_match.strip() != "*" else None
    edit.correct_study(archive.database, study_id, changes, WHO, version=version)
    return show_study(archive, response, str(study_id), None)


@router.get("/studies/{study}/corrections")
def get_corrections(archive: TheArchive, study: str, source: Of = None) -> list[Correction]:
    """How a study was corrected, latest first."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        return [Correction.model_validate(dict(each)) for each in edit.corrections_of(connection, row["id"])]


@router.post("/studies/{study}/corrections/{correction}/undo")
def undo_correction(
    archive: TheArchive, response: Response, study: str, correction: int, source: Of = None
) -> schemas.StudyDetail:
    """Undo a correction, unless the field has been corrected again since."""
    study_id = _find(archive, study, source)
    edit.undo_correction(archive.database, study_id, correction, WHO)
    return show_study(archive, response, str(study_id), None)


@router.get("/studies/{study}/suggestions")
def get_suggestions(archive: TheArchive, study: str, source: Of = None) -> list[Suggestion]:
    """What other studies' same values were corrected to, most used first; nothing is applied by itself."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        return [Suggestion.model_validate(each) for each in edit.suggestions_for(connection, row)]


@router.get("/corrections", response_class=StreamingResponse)
def get_all_corrections(archive: TheArchive, source: str | None = None) -> StreamingResponse:
    """Every correction, in order, as JSON Lines."""

    def lines() -> Iterator[bytes]:
        encode = msgspec.json.Encoder().encode
        for row in edit.all_corrections(archive.database, source):
            yield encode(dict(row)) + b"\n"

    return StreamingResponse(lines(), media_type="application/jsonl")


@router.delete("/studies/{study}", status_code=204)
def delete_study(archive: TheArchive, study: str, source: Of = None) -> None:
    """Delete a study: hidden at once, its bytes go after the grace (HILUM_DELETE_GRACE_DAYS)."""
    delete.delete_study(archive.database, _find(archive, study, source), WHO)


@router.post("/studies/{study}/restore")
def restore_study(archive: TheArchive, response: Response, study: str, source: Of = None) -> schemas.StudyDetail:
    """Bring a deleted study back within the grace."""
    return show_study(archive, response, str(delete.restore_study(archive.database, study, source)), None)


@router.delete("/studies/{study}/series/{series}", status_code=204)
def delete_series(archive: TheArchive, study: str, series: str, source: Of = None) -> None:
    """Delete a series as a study is deleted; with its last series a study goes."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
        uid = query.find_series(connection, row["id"], series)["series_instance_uid"]
    delete.delete_part(archive.database, row["id"], Part(uid), WHO)


@router.post("/studies/{study}/series/{series_instance_uid}/restore")
def restore_series(
    archive: TheArchive, response: Response, study: str, series_instance_uid: str, source: Of = None
) -> schemas.StudyDetail:
    """Bring a deleted series back within the grace."""
    return _restored(archive, response, study, source, Part(series_instance_uid))


@router.delete("/studies/{study}/instances/{sop_instance_uid}", status_code=204)
def delete_instance(archive: TheArchive, study: str, sop_instance_uid: str, source: Of = None) -> None:
    """Delete an instance as a study is deleted; with its last instance a series goes."""
    part = Part(sop_instance_uid=sop_instance_uid)
    delete.delete_part(archive.database, _find(archive, study, source), part, WHO)


@router.post("/studies/{study}/instances/{sop_instance_uid}/restore")
def restore_instance(
    archive: TheArchive, response: Response, study: str, sop_instance_uid: str, source: Of = None
) -> schemas.StudyDetail:
    """Bring a deleted instance back within the grace."""
    return _restored(archive, response, study, source, Part(sop_instance_uid=sop_instance_uid))


def _restored(archive: Archive, response: Response, study: str, source: str | None, part: Part) -> schemas.StudyDetail:
    study_id = delete.restore_study(archive.database, study, source, part)
    return show_study(archive, response, str(study_id), None)


@router.get("/deletions")
def get_deletions(
    archive: TheArchive, source: str | None = None, limit: Limit = 20, offset: Offset = 0
) -> Page[Deletion]:
    """What was deleted, by whom and when, and what came of it, latest first."""
    with archive.database.connect() as connection:
        rows, total = query.list_deletions(connection, source, limit=limit, offset=offset)
    return Page(items=[_deletion(row) for row in rows], total=total, limit=limit, offset=offset)


def _deletion(row: query.Row) -> Deletion:
    return Deletion(
        source=row["source_key"],
        study_instance_uid=row["study_instance_uid"],
        series_instance_uid=row["series_instance_uid"] or None,
        sop_instance_uid=row["sop_instance_uid"] or None,
        who=row["made_by"],
        when=row["made_at"],
        restored_at=row["restored_at"],
        purged_at=row["purged_at"],
    )


def _add_people(plural: str, kind: Kind) -> None:
    @router.get(f"/{plural}", summary=f"Get {plural}")
    def get_people(
        archive: TheArchive,
        q: Annotated[str, Query(max_length=200, description="Words that must all occur.")] = "",
        source: str | None = None,
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> Page[Person]:
        """By name, with their number of studies."""
        with archive.database.connect() as connection:
            rows, total = people.list_people(connection, kind, q, source, limit=limit, offset=offset)
        items = [Person.model_validate(dict(row)) for row in rows]
        return Page(items=items, total=total, limit=limit, offset=offset)

    @router.get(f"/{plural}/{{number}}", summary=f"Get {kind}")
    def get_person(archive: TheArchive, number: int) -> Person:
        """One by its id."""
        with archive.database.connect() as connection:
            return Person.model_validate(dict(people.find_person(connection, kind, number)))

    @router.patch(f"/{plural}/{{number}}", summary=f"Change {kind}")
    def patch_person(archive: TheArchive, number: int, change: PersonChange) -> Person:
        """Rename it, or merge it into another; its studies follow, their files stay as they are."""
        given = change.model_dump(exclude_unset=True)
        if len(given) != 1:
            raise Invalid("Give either a name or merged_into.")
        if "name" in given:
            people.rename(archive.database, kind, number, change.name, WHO)
        else:
            people.merge(archive.database, kind, number, change.merged_into, WHO)
        return get_person(archive, number)

    @router.get(f"/{plural}/{{number}}/history", summary=f"Get history of {kind}")
    def get_history(archive: TheArchive, number: int) -> list[NameChange]:
        """How it was changed, latest first."""
        with archive.database.connect() as connection:
            people.find_person(connection, kind, number)
            rows = people.history_of(connection, kind, number)
        return [NameChange.model_validate(dict(row)) for row in rows]

    _ = (get_people, patch_person, get_history)


_add_people("physicians", "physician")
_add_people("facilities", "facility")


def _find(archive: Archive, study: str, source: str | None) -> int:
    with archive.database.connect() as connection:
        return query.find_study(connection, study, source)["id"]
