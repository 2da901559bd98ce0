"""REST of features: find, add, change and take away; what an algorithm says of a whole study at once; reading the files
of all studies again; and what has no concept."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, Path, Query
from pydantic import FiniteFloat

from hilum.clinical.features import query, schemas, store
from hilum.clinical.features.coding import unmapped
from hilum.clinical.features.extract import KIND
from hilum.clinical.features.query import FeatureFilter
from hilum.clinical.features.said import Extraction, Finding, Said, Type
from hilum.core.database import Row, Transaction
from hilum.core.errors import Invalid
from hilum.core.http import PROBLEMS, Limit, Offset, Page, refuse_unknown_parameters
from hilum.core.routes import Job, TheJobs, show
from hilum.imaging.archive.curation import WHO
from hilum.imaging.archive.query import find_study
from hilum.imaging.archive.routes import Of, TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.store import Archive

router = APIRouter(prefix=API, tags=["features"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)

FeatureId = Annotated[int, Path(ge=1, lt=1 << 63)]
Key = Annotated[int | None, Query(ge=0, lt=1 << 63)]
Words = Annotated[str | None, Query(max_length=250)]


@router.get("/features")
def get_features(
    archive: TheArchive,
    study_id: Annotated[str | None, Query(max_length=64, description="Hilum's id, or the UID.")] = None,
    source: Words = None,
    person_id: Key = None,
    series_uid: Words = None,
    feature_type: Type | None = None,
    feature_name: Words = None,
    concept_id: Key = None,
    body_site: Words = None,
    assertion: Words = None,
    algorithm: Annotated[str | None, Query(max_length=320, description="As it was given, or uri|version.")] = None,
    unit: Words = None,
    finding: Words = None,
    value_min: FiniteFloat | None = None,
    value_max: FiniteFloat | None = None,
    min_confidence: Annotated[float | None, Query(ge=0, le=1)] = None,
    superseded: Annotated[bool, Query(description="Those that a later version replaced, instead of current ones.")] = (
        False
    ),
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[schemas.Feature]:
    """Features of all studies, by id."""
    wanted = FeatureFilter(
        study_id=_study(archive, study_id, source) if study_id is not None else None,
        source=source, person_id=person_id, series_uid=series_uid, feature_type=feature_type,
        feature_name=feature_name, concept_id=concept_id, body_site=body_site, assertion=assertion,
        algorithm=algorithm, unit=unit, finding=finding, value_min=value_min, value_max=value_max,
        min_confidence=min_confidence, superseded=superseded,
    )  # fmt: skip
    with archive.database.transaction() as sql:
        rows, total = query.list_features(sql, wanted, limit=limit, offset=offset)
    return Page(items=[_show(row) for row in rows], total=total, limit=limit, offset=offset)


@router.post("/features", status_code=201)
def post_feature(archive: TheArchive, given: schemas.FeatureIn, source: Of = None) -> schemas.Feature:
    """Add a feature. If it has an algorithm, what other versions of that said of the same study, or series, is
    superseded."""
    number = _study(archive, str(given.study_id), source)
    said = _said(given, store.fresh_key(), given.feature_type, given)
    with archive.database.transaction() as sql:
        study = store.lock_study(sql, number)
        _check_series(sql, study, [said])
        return _show(query.get_feature(sql, store.add(sql, study, said)))


@router.post("/features/extract", status_code=202)
def post_extract(
    archive: TheArchive,
    jobs: TheJobs,
    source: Annotated[str | None, Query(description="Only the studies of this source.")] = None,
) -> Job:
    """Read the files of all studies for features again, as after a setting or the vocabulary has changed."""
    if source is not None:
        archive.source(source)
    with archive.database.transaction() as sql:
        job_id = jobs.defer(sql, KIND, "Reading features from files", source or "")
    return show(jobs, job_id)


@router.get("/features/unmapped")
def get_unmapped(archive: TheArchive, source: str | None = None) -> list[schemas.Unmapped]:
    """Codes, units and body sites of current features that have no concept in their source's CDM, most frequent
    first, at most 1000."""
    with archive.database.transaction() as sql:
        return [schemas.Unmapped.model_validate(row) for row in unmapped(sql, source)]


@router.get("/features/{feature}")
def get_feature(archive: TheArchive, feature: FeatureId) -> schemas.Feature:
    """One feature."""
    with archive.database.transaction() as sql:
        return _show(query.get_feature(sql, feature))


@router.patch("/features/{feature}")
def patch_feature(archive: TheArchive, feature: FeatureId, given: schemas.FeatureChange) -> schemas.Feature:
    """Change a feature; null takes a value away. What is read from files again leaves the change alone, until the files
    or the extractor say something else."""
    with archive.database.transaction() as sql:
        before = query.get_feature(sql, feature)
        study = store.lock_study(sql, _number(before))
        before = query.get_feature(sql, feature)
        said = _changed(before, given)
        _check_series(sql, study, [said])
        store.change(sql, study, feature, said)
        return _show(query.get_feature(sql, feature))


@router.delete("/features/{feature}", status_code=204)
def delete_feature(archive: TheArchive, feature: FeatureId) -> None:
    """Take a feature away; one that is read from files comes back when they are read again."""
    with archive.database.transaction() as sql:
        study = store.lock_study(sql, _number(query.get_feature(sql, feature)))
        store.remove(sql, study, feature)


@router.put("/studies/{study}/features")
def put_features(
    archive: TheArchive, study: str, given: schemas.ExtractionIn, source: Of = None
) -> schemas.FeatureChanges:
    """Say all that one version of an algorithm says of a study, or of one series of it. The same again changes nothing;
    what it said before and does not say now goes; what other versions of it said is superseded."""
    features = tuple(_said(each, each.key, given.feature_type, given, given.series_uid) for each in given.features)
    extraction = Extraction(
        extractor=store.extractor_of(given.feature_type, given.algorithm),
        version=given.algorithm_version,
        series_uid=given.series_uid,
        features=features,
    )
    number = _study(archive, study, source)
    with archive.database.transaction() as sql:
        locked = store.lock_study(sql, number)
        _check_series(sql, locked, features)
        changes = store.write_extraction(sql, locked, extraction)
    return schemas.FeatureChanges.model_validate(changes)


def _said(
    content: schemas.Content,
    key: str,
    feature_type: Type,
    by: schemas.FeatureIn | schemas.ExtractionIn,
    series_uid: str = "",
) -> Said:
    values = {name: getattr(content, name) for name in _PLAIN}
    provenance = content.provenance.model_dump(exclude_none=True)
    if feature_type == "manual":
        provenance.setdefault("author", WHO)
    return Said(
        key=key,
        feature_type=feature_type,
        algorithm=by.algorithm,
        algorithm_version=by.algorithm_version,
        algorithm_time=by.algorithm_time,
        series_uid=content.series_uid or series_uid,
        concept_id=None if content.code else content.concept_id,
        finding=_finding(content),
        provenance=provenance,
        **values,
    )


def _finding(content: schemas.Content) -> Finding | None:
    if not content.finding:
        return None
    concept = None if content.finding_code else content.finding_concept_id
    return Finding(key=content.finding, name=content.finding_name, code=content.finding_code, concept_id=concept)


def _changed(before: Row, given: schemas.FeatureChange) -> Said:
    """A feature as it is to be: what is given, else what it was; a concept that is named replaces a code."""
    changes = given.model_dump(exclude_unset=True)
    if given.provenance is not None:
        changes["provenance"] = given.provenance.model_dump(exclude_none=True)
    for concept, code in (("concept_id", "code"), ("finding_concept_id", "finding_code")):
        if changes.get(concept) is not None:
            changes.setdefault(code, "")
    row: dict[str, Any] = before | changes
    if not row["feature_name"] or not row["feature_type"]:
        raise Invalid("A feature has a name and a type.")
    texts: dict[str, Any] = {name: row[name] or "" for name in _TEXTS}
    concept, finding = None if texts["code"] else row["concept_id"], None
    if row["finding"]:
        finding_concept = None if row["finding_code"] else row["finding_concept_id"]
        finding = Finding(
            key=row["finding"], name=row["finding_name"] or "", code=row["finding_code"] or "",
            concept_id=finding_concept,
        )  # fmt: skip
    others: dict[str, Any] = {name: row[name] for name in _OTHERS}
    return Said(concept_id=concept, finding=finding, provenance=row["provenance"] or {}, **others, **texts)


def _check_series(sql: Transaction, study: store.Study, features: Sequence[Said]) -> None:
    """Every series that is named is one of the study's."""
    named = {said.series_uid for said in features} - {""}
    asked = "select series_instance_uid from hilum.series where study_id = %s and series_instance_uid = any(%s)"
    known = {str(row["series_instance_uid"]) for row in sql.rows(asked, (study.number, list(named)))}
    if named - known:
        raise Invalid(f"The study has no series {min(named - known)}.")


def _study(archive: Archive, reference: str, source: str | None) -> int:
    with archive.database.connect() as connection:
        return find_study(connection, reference, source)["id"]


def _number(row: Row) -> int:
    return cast("int", row["study_id"])


def _show(row: Row) -> schemas.Feature:
    cdm = {"image_feature_id": row["image_feature_id"], "table": row["row_table"], "row_id": row["row_id"]}
    values = {name: row[name] for name in schemas.Feature.model_fields if name in row}
    return schemas.Feature.model_validate(values | {"cdm": cdm if row["row_id"] is not None else None})


_PLAIN: Final = (
    "feature_name", "code", "value_numeric", "value_string", "value_code", "unit", "body_site", "body_site_code",
    "laterality", "assertion", "confidence",
)  # fmt: skip
_TEXTS: Final = (
    "feature_name", "code", "algorithm", "algorithm_version", "value_string", "value_code", "unit", "body_site",
    "body_site_code", "laterality", "assertion", "series_uid",
)  # fmt: skip
_OTHERS: Final = ("key", "feature_type", "algorithm_time", "value_numeric", "confidence", "superseded")
