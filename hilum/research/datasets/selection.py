"""Which studies and instances a definition selects, as the catalogue and the links stand now, and what of them is held
back and why. Only reading; nothing is opened but the catalogue."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Final, LiteralString, TypeAlias, cast

import sqlalchemy as sa

from hilum.clinical.cdm.models import StudyLink
from hilum.core.database import Row, Transaction
from hilum.core.errors import Invalid
from hilum.imaging.archive.models import Instance, Series, Source, Study
from hilum.imaging.archive.query import XRAY, StudyFilter
from hilum.research.datasets.definition import Definition, SeriesRules
from hilum.research.deid.profile import Profile

AT_ONCE: Final = 500
MAX_STUDIES: Final = 2_000_000

HELD: Final[Mapping[str, str]] = {
    "remote": "The study lies in the remote archive only.",
    "incomplete": "The study is still arriving, or has not been linked and read for features yet.",
    "error": "The study could not be processed.",
    "patient_conflict": "A person must say whose the study is.",
    "derived": "The file does not name its study and series.",
    "no_person": "The study is tied to no person of the CDM.",
    "no_image_occurrence": "The study has no image_occurrence: it waits for a procedure, or has no date.",
    "shift_conflict": "The site's map has another shift than the one that this person's dates were moved by.",
}
"""Why something is held back before it is made."""


@dataclass(frozen=True, slots=True)
class SelectedStudy:
    """A study of the selection; ``code`` says why it is held back."""

    id: int
    uid: str
    revision: int
    patient_id: str
    accession_number: str
    study_date: date | None
    modalities: tuple[str, ...]
    person_id: int | None
    procedure_id: int | None
    visit_id: int | None
    code: str = ""

    @property
    def accession_key(self) -> "AccessionKey":
        """What shares a new accession number: patient and number, or the study where there is none."""
        return self.patient_id, self.accession_number, "" if self.accession_number else self.uid


AccessionKey: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class Selection:
    """The studies that a definition selects.

    Attributes
    ----------
    studies
        Those that may leave, by id.
    held
        Those that may not, with the reason in ``code``.
    occurrences
        The image_occurrence_id that stands for each accession.
    """

    studies: list[SelectedStudy] = field(default_factory=list[SelectedStudy])
    held: list[SelectedStudy] = field(default_factory=list[SelectedStudy])
    occurrences: dict[AccessionKey, int] = field(default_factory=dict["AccessionKey", int])


def select_studies(sql: Transaction, definition: Definition, profile: Profile) -> Selection:
    """Find the studies of a definition.

    Raises
    ------
    Invalid
        It selects more than a data set holds.
    """
    found = [_study(row) for row in sql.connection.execute(_studies(definition)).mappings()]
    if len(found) > MAX_STUDIES:
        raise Invalid(f"The definition selects more than {MAX_STUDIES} studies: narrow it.")
    selection = Selection()
    selection.occurrences = _occurrences(sql, definition.source, found)
    for study in _within(definition, found):
        code = study.code or _code(study, profile, selection.occurrences)
        if code:
            selection.held.append(replace(study, code=code))
        else:
            selection.studies.append(study)
    return selection


def select_instances(
    sql: Transaction, definition: Definition, studies: Sequence[SelectedStudy]
) -> Iterator[tuple[SelectedStudy, list[Row]]]:
    """The instances of studies that the definition takes, study by study.

    Yields
    ------
    SelectedStudy, list of row
        Rows with ``id``, ``sop_instance_uid``, ``series_instance_uid``, ``modality``, ``instance_number``, ``size``,
        ``sop_class_uid``, ``pixel_offset``, ``derived``, ``series_derived``, ``digest``; studies of
        which nothing is taken are passed over.
    """
    for begin in range(0, len(studies), AT_ONCE):
        page = {study.id: study for study in studies[begin : begin + AT_ONCE]}
        query = (
            sa.select(
                Instance.id, Instance.study_id, Instance.sop_instance_uid, Instance.sop_class_uid, Instance.size,
                Instance.instance_number, Instance.digest, Instance.derived, Series.series_instance_uid,
                Series.modality, Series.derived.label("series_derived"), Instance.pixel_offset,
            )
            .join(Series, Series.id == Instance.series_id)
            .where(Instance.study_id.in_(list(page)), Instance.deleted_at.is_(None), *_series(definition))
            .order_by(Instance.study_id, Series.series_instance_uid, Instance.id)
        )  # fmt: skip
        by_study: dict[int, list[Row]] = defaultdict(list)
        for row in sql.connection.execute(query).mappings():
            by_study[row["study_id"]].append(dict(row))
        for study_id, rows in by_study.items():
            yield page[study_id], rows


def _studies(definition: Definition) -> sa.Select[*tuple[Any, ...]]:
    procedure, visit = sa.alias(StudyLink.__table__), sa.alias(StudyLink.__table__)
    conditions = _filter(definition)
    return (
        sa.select(
            Study.id, Study.study_instance_uid, Study.revision, Study.patient_id, Study.accession_number,
            Study.study_date, Study.modalities, Study.person_id, Study.status, Study.availability, Study.quarantine,
            Study.derived, procedure.c.target_id.label("procedure_id"), visit.c.target_id.label("visit_id"),
        )
        .outerjoin(procedure, (procedure.c.study_id == Study.id) & (procedure.c.kind == "procedure"))
        .outerjoin(visit, (visit.c.study_id == Study.id) & (visit.c.kind == "visit"))
        .where(*conditions)
        .order_by(Study.id)
        .limit(MAX_STUDIES + 1)
    )  # fmt: skip


def _filter(definition: Definition) -> list[sa.ColumnElement[bool]]:
    given = definition.filter
    wanted = StudyFilter(source=definition.source)
    if given is not None:
        wanted = StudyFilter(
            source=definition.source, modality=given.modality, person_id=given.person_id, patient_id=given.patient_id,
            body_part=given.body_part, date_from=given.date_from, date_to=given.date_to,
            accession_number=given.accession_number, q=given.q,
        )  # fmt: skip
    found = wanted.conditions()
    if definition.studies:
        found.append(Study.study_instance_uid.in_(definition.studies))
    if definition.persons:
        found.append(Study.person_id.in_([person.person_id for person in definition.persons]))
    if definition.modalities:
        found.append(Study.modalities.overlap(_modalities(definition)))
    return found


def _modalities(definition: Definition) -> list[str]:
    codes = set(definition.modalities)
    return sorted(codes | set(XRAY) if "XR" in codes else codes)


def _series(definition: Definition) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if definition.modalities:
        found.append(Series.modality.in_(_modalities(definition)))
    rules = definition.series or SeriesRules()
    if rules.description:
        found.append(
            sa.or_(*(Series.series_description.icontains(word, autoescape=True) for word in rules.description))
        )
    found += [~Series.series_description.icontains(word, autoescape=True) for word in rules.without]
    if rules.body_part:
        found.append(sa.func.upper(Series.body_part).in_([part.upper() for part in rules.body_part]))
    if rules.min_instances is not None:
        found.append(Series.num_instances >= rules.min_instances)
    if rules.max_instances is not None:
        found.append(Series.num_instances <= rules.max_instances)
    if rules.max_slice_thickness is not None:
        found.append(Series.slice_thickness <= rules.max_slice_thickness)
    return found


def _study(row: sa.RowMapping) -> SelectedStudy:
    code = ""
    if row["availability"] == "remote":
        code = "remote"
    elif row["status"] == "error":
        code = "error"
    elif row["quarantine"]:
        code = "patient_conflict"
    elif row["status"] != "processed" or not row["revision"]:
        code = "incomplete"
    elif row["derived"]:
        code = "derived"
    return SelectedStudy(
        row["id"], row["study_instance_uid"], row["revision"], row["patient_id"], row["accession_number"],
        row["study_date"], tuple(row["modalities"]), row["person_id"], row["procedure_id"], row["visit_id"], code,
    )  # fmt: skip


def _code(study: SelectedStudy, profile: Profile, occurrences: Mapping[AccessionKey, int]) -> str:
    """Why a study may not leave although its files could: with no place in the CDM it has no new ids."""
    if profile.unmapped == "pseudonym":
        return ""
    if study.person_id is None:
        return "no_person"
    if study.procedure_id is None or study.accession_key not in occurrences:
        return "no_image_occurrence"
    return ""


def _within(definition: Definition, studies: Sequence[SelectedStudy]) -> list[SelectedStudy]:
    """The studies within the window around each person's index date."""
    window = definition.window
    if window is None:
        return list(studies)
    index: dict[object, date] = {}
    for study in studies:
        whose = study.person_id or study.patient_id
        if study.study_date is not None and (whose not in index or study.study_date < index[whose]):
            index[whose] = study.study_date
    index |= {one.person_id: one.index_date for one in definition.persons if one.index_date is not None}
    before, after = timedelta(window.days_before), timedelta(window.days_after)
    kept: list[SelectedStudy] = []
    for study in studies:
        day = index.get(study.person_id or study.patient_id)
        if day is not None and study.study_date is not None and day - before <= study.study_date <= day + after:
            kept.append(study)
    return kept


def _occurrences(sql: Transaction, source: str, studies: Sequence[SelectedStudy]) -> dict[AccessionKey, int]:
    """The image_occurrence_id that stands for each accession: the lowest of its studies' series, whichever of them are
    selected, so that every data set has the same."""
    rows = sql.rows(_OCCURRENCES, (source, [study.id for study in studies]))
    return {
        (str(row["patient_id"]), str(row["accession_number"]), str(row["uid"])): cast("int", row["occurrence"])
        for row in rows
    }


_OCCURRENCES: Final[LiteralString] = """
  with wanted as materialized (
    select distinct s.source_id, s.patient_id, s.accession_number,
      case when s.accession_number = '' then s.study_instance_uid else '' end as uid
    from hilum.study s join hilum.source k on k.id = s.source_id where k.key = %s and s.id = any(%s)
  )
  select w.patient_id, w.accession_number, w.uid, min(o.image_occurrence_id) as occurrence
  from wanted w
  join hilum.study s on s.source_id = w.source_id and s.patient_id = w.patient_id
    and s.accession_number = w.accession_number and (w.uid = '' or s.study_instance_uid = w.uid)
  join hilum.series_occurrence o on o.source_id = s.source_id and o.study_instance_uid = s.study_instance_uid
  where s.deleted_at is null
  group by 1, 2, 3
"""


def source_id(sql: Transaction, key: str) -> int:
    """The number of a source; raises ``Invalid`` where there is none of this key."""
    found = sql.connection.scalar(sa.select(Source.id).where(Source.key == key))
    if found is None:
        raise Invalid(f"There is no source '{key}'.")
    return found


def held_counts(held: Sequence[SelectedStudy]) -> list[dict[str, object]]:
    """How many studies are held back, by reason."""
    counted = Counter(study.code for study in held)
    return [{"code": code, "reason": HELD[code], "studies": count} for code, count in counted.most_common()]
