"""REST of links: what studies are tied to, by hand or by the rules, and what waits for a decision."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query

from hilum.clinical.linkage import decisions, queue, schemas
from hilum.clinical.linkage.queue import Kind, QueueFilter
from hilum.clinical.linkage.settle import Manner
from hilum.core.http import PROBLEMS, Limit, Offset, Page, refuse_unknown_parameters
from hilum.imaging.archive import query
from hilum.imaging.archive.curation import WHO
from hilum.imaging.archive.routes import Of, TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.store import Archive

router = APIRouter(prefix=API, tags=["links"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)


@router.get("/links/queue")
def get_queue(
    archive: TheArchive,
    source: str | None = None,
    kind: Kind | None = None,
    reason: Annotated[str | None, Query(max_length=64, description="Such as no_person.")] = None,
    refused: Annotated[
        bool | None, Query(description="Only those that a person refused to link, or only the others.")
    ] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[schemas.QueueEntry]:
    """Studies that wait for a person, a procedure or a visit, with the rows of the CDM that come into question."""
    wanted = QueueFilter(source, kind, reason, refused)
    with archive.database.transaction() as sql:
        rows, total = queue.list_queue(sql, wanted, limit=limit, offset=offset)
    items = [schemas.QueueEntry.model_validate(row) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.get("/links/queue/counts")
def get_queue_counts(archive: TheArchive, source: str | None = None) -> list[schemas.QueueCount]:
    """How many studies wait, by kind and reason, most first."""
    with archive.database.transaction() as sql:
        return [schemas.QueueCount.model_validate(row) for row in queue.waiting(sql, source)]


@router.get("/studies/{study}/links")
def get_links(archive: TheArchive, study: str, source: Of = None) -> schemas.Links:
    """What a study is tied to and how that was found, or why it is not; and what was decided of it."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, study, source)
    with archive.database.transaction() as sql:
        links = queue.links_of(sql, row["id"])
        changes = decisions.changes_of(sql, row["id"])
    return schemas.Links(
        study_id=row["id"],
        study_instance_uid=row["study_instance_uid"],
        source=row["source_key"],
        links=[schemas.Link.model_validate(link) for link in links],
        decisions=[schemas.LinkChange.model_validate(change) for change in changes],
    )


@router.put("/studies/{study}/person")
def put_person(archive: TheArchive, study: str, given: schemas.PersonIn, source: Of = None) -> schemas.Links:
    """Say whose a study is; everything that was written for another person follows."""
    return _decide(archive, study, source, "person", given.person_id)


@router.put("/studies/{study}/procedure")
def put_procedure(archive: TheArchive, study: str, given: schemas.ProcedureIn, source: Of = None) -> schemas.Links:
    """Say which procedure of its person a study belongs to."""
    return _decide(archive, study, source, "procedure", given.procedure_occurrence_id)


@router.put("/studies/{study}/visit")
def put_visit(archive: TheArchive, study: str, given: schemas.VisitIn, source: Of = None) -> schemas.Links:
    """Say which visit of its person a study belongs to."""
    return _decide(archive, study, source, "visit", given.visit_occurrence_id)


@router.delete("/studies/{study}/person")
def delete_person(archive: TheArchive, study: str, source: Of = None) -> schemas.Links:
    """Undo the link to a person: one made by hand gives way to the rules, one made by a rule is refused."""
    return _release(archive, study, source, "person")


@router.delete("/studies/{study}/procedure")
def delete_procedure(archive: TheArchive, study: str, source: Of = None) -> schemas.Links:
    """Undo the link to a procedure: one made by hand gives way to the rules, one made by a rule is refused."""
    return _release(archive, study, source, "procedure")


@router.delete("/studies/{study}/visit")
def delete_visit(archive: TheArchive, study: str, source: Of = None) -> schemas.Links:
    """Undo the link to a visit: one made by hand gives way to the rules, one made by a rule is refused."""
    return _release(archive, study, source, "visit")


@router.post("/links/bulk")
def post_bulk(archive: TheArchive, given: schemas.Bulk) -> schemas.BulkDone:
    """Tie many studies to one person, or have them linked by the rules again; all of them or none."""
    manner = Manner.of(archive.settings)
    studies = sorted(set(given.studies))
    if given.person_id is None:
        decisions.release_all(archive.database, given.source, studies, WHO, manner)
    else:
        decisions.decide_all(archive.database, given.source, studies, given.person_id, WHO, manner)
    with archive.database.transaction() as sql:
        counted = "select count(person_id) as linked from hilum.study where id = any(%s)"
        (row,) = sql.rows(counted, (studies,))
    return schemas.BulkDone(studies=len(studies), linked=cast("int", row["linked"]))


def _decide(archive: Archive, study: str, source: str | None, kind: Kind, target: int) -> schemas.Links:
    number = _number(archive, study, source)
    decisions.decide(archive.database, number, kind, target, WHO, Manner.of(archive.settings))
    return get_links(archive, str(number))


def _release(archive: Archive, study: str, source: str | None, kind: Kind) -> schemas.Links:
    number = _number(archive, study, source)
    decisions.release(archive.database, number, kind, WHO, Manner.of(archive.settings))
    return get_links(archive, str(number))


def _number(archive: Archive, study: str, source: str | None) -> int:
    with archive.database.connect() as connection:
        return cast("int", query.find_study(connection, study, source)["id"])
