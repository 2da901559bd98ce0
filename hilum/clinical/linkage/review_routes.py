"""REST of the page where links are worked on: what else a study may be tied to, decisions of many studies at once with
the way back, and how well a source's images are tied to its CDM."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from hilum.clinical.cdm.cdm import require_cdm
from hilum.clinical.linkage import candidates, decisions, queue, schemas
from hilum.clinical.linkage.decisions import Choice
from hilum.clinical.linkage.queue import Kind
from hilum.clinical.linkage.settle import Manner
from hilum.clinical.linkage.status import status_of
from hilum.core.errors import Invalid
from hilum.core.http import PROBLEMS, refuse_unknown_parameters
from hilum.imaging.archive import query
from hilum.imaging.archive.curation import WHO
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API

router = APIRouter(prefix=API, tags=["links"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)

_MOST: Final = 1000


@router.get("/links/sources")
def get_link_sources(archive: TheArchive) -> list[schemas.LinkSource]:
    """The sources, and which of them have a CDM that studies are tied to."""
    with archive.database.transaction() as sql:
        return [schemas.LinkSource.model_validate(row) for row in queue.sources(sql)]


@router.get("/links/candidates")
def get_candidates(
    archive: TheArchive,
    study: Annotated[int, Query(ge=0, lt=1 << 63, description="Hilum's id.")],
    kind: Kind,
    q: Annotated[str, Query(max_length=200, description="An id, or how a source value begins.")] = "",
) -> list[schemas.Candidate]:
    """Rows of the CDM that a study may be tied to; procedures and visits are those of its person. At most 20."""
    with archive.database.connect() as connection:
        row = query.find_study(connection, str(study))
    with archive.database.transaction() as sql:
        found = candidates.search(sql, require_cdm(sql, str(row["source_key"])), kind, study, q)
    return [schemas.Candidate.model_validate(one) for one in found]


@router.post("/links/decisions")
def post_decisions(archive: TheArchive, given: schemas.Decisions) -> schemas.Decided:
    """Decide of many studies at once: they belong to a row of the CDM, must not be linked, or are linked by the rules;
    all of them or none. What is answered can be sent as it is to take it back."""
    chosen = {one.study_id: Choice(one.study_id, one.action, one.target_id) for one in given.decisions}
    if given.alike:
        with archive.database.transaction() as sql:
            for one in list(chosen.values()):
                for study in queue.alike(sql, one.study):
                    chosen.setdefault(study, Choice(study, one.action, one.target))
    if len(chosen) > _MOST:
        raise Invalid(f"At most {_MOST} studies are decided of at once; these are {len(chosen)}.")
    manner = Manner.of(archive.settings)
    before = decisions.choose_all(archive.database, given.kind, list(chosen.values()), WHO, manner)
    return schemas.Decided(
        kind=given.kind,
        decisions=[schemas.Decision(study_id=one.study, action=one.action, target_id=one.target) for one in before],
    )


@router.get("/links/quality")
def get_quality(archive: TheArchive, source: str = "default") -> schemas.Quality:
    """How well the images of a source are tied to its CDM, each figure with the SQL that counts it."""
    found = status_of(archive.database, source)
    return schemas.Quality(
        source=found.cdm.source,
        attached=found.cdm.attached,
        cdm_schema=found.cdm.schemas.cdm,
        imaging_schema=found.cdm.schemas.imaging,
        checks=[schemas.Check.model_validate(check) for check in found.checks],
        waiting=[schemas.QueueCount.model_validate(row) for row in found.waiting],
        missing_concepts=[schemas.MissingConcept.model_validate(seed) for seed in found.missing],
    )
