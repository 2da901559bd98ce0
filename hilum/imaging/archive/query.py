"""What the catalogue is asked: lists of studies with every filter, one study with its series, instances in the order of
their geometry, and what was set aside. All reading, no DICOM file is opened here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import sqlalchemy as sa

from hilum.core.errors import Conflict, Gone, Invalid, NotFound
from hilum.imaging.archive.curation_models import Deletion
from hilum.imaging.archive.models import BundleFile, Instance, ReplacedInstance, Series, SetAside, Source, Study
from hilum.imaging.dicom.names import body_part_synonyms

Row = sa.RowMapping

XRAY: Final = ("CR", "DX")
GEOMETRY: Final = (
    Instance.depth.asc().nulls_last(),
    Instance.instance_number.asc().nulls_last(),
    Instance.sop_instance_uid.asc(),
)
_SORTS: Final[Mapping[str, Sequence[sa.SQLColumnExpression[Any]]]] = {
    "study_date": (Study.study_date, Study.study_time),
    "modality": (Study.modality,),
    "body_part": (Study.body_part,),
    "patient": (sa.func.hilum.fold(Study.patient_name),),
    "facility": (sa.func.hilum.fold(Study.facility),),
    "physician": (sa.func.hilum.fold(Study.physician),),
    "report_status": (Study.report_status,),
    "received_at": (Study.received_at,),
}
# The table of a slide's frames has hundreds of thousands of entries; a list of instances does without.
_LISTED: Final = [column for column in Instance.__table__.columns if column.name != "frame_offsets"]
STUDY_SORTS: Final = tuple(f"{sign}{name}" for name in _SORTS for sign in ("", "-"))
INSTANCE_SORTS: Final = ("geometry", "instance_number", "-instance_number", "slice_location", "-slice_location")


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """What the studies of a list have in common; None asks for nothing.

    ``modality`` matches any of a study's modalities, ``XR`` stands for CR or DX; ``body_part`` takes synonyms with it;
    each word of ``q`` must occur in description, accession number, body part, facility, physician or patient.
    """

    source: str | None = None
    modality: Sequence[str] = ()
    person_id: int | None = None
    patient_id: str | None = None
    body_part: str | None = None
    date_from: date | None = None
    date_to: date | None = None
    status: str | None = None
    availability: str | None = None
    report_status: str | None = None
    accession_number: str | None = None
    q: str | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """The filter as conditions on ``study``."""
        equal = (
            (Study.person_id, self.person_id), (Study.patient_id, self.patient_id), (Study.status, self.status),
            (Study.availability, self.availability), (Study.report_status, self.report_status),
            (Study.accession_number, self.accession_number),
        )  # fmt: skip
        found = [Study.deleted_at.is_(None), *(column == value for column, value in equal if value is not None)]
        if self.source is not None:
            found.append(Study.source_id == sa.select(Source.id).where(Source.key == self.source).scalar_subquery())
        if self.modality:
            codes = {code.upper() for code in self.modality}
            found.append(Study.modalities.overlap(sorted(codes | set(XRAY)) if "XR" in codes else sorted(codes)))
        if self.body_part:
            found.append(Study.body_parts.overlap(sorted(body_part_synonyms(self.body_part))))
        if self.date_from:
            found.append(Study.study_date >= self.date_from)
        if self.date_to:
            found.append(Study.study_date <= self.date_to)
        words = (self.q or "").split()[:8]
        found.extend(Study.search.like(sa.func.hilum.fold(f"%{_escape(word)}%")) for word in words)
        return found


def list_studies(
    connection: sa.Connection, wanted: StudyFilter, *, sort: str = "-study_date", limit: int = 20, offset: int = 0
) -> tuple[Sequence[Row], int]:
    """List studies that match a filter.

    Returns
    -------
    tuple
        The page's rows (all columns of ``study`` and ``source_key``) and how many match in all.

    Raises
    ------
    Invalid
        The list cannot be sorted by this.
    """
    if sort not in STUDY_SORTS:
        raise Invalid(f"Studies cannot be sorted by '{sort}'; take one of {', '.join(_SORTS)}, with - for descending.")
    conditions = wanted.conditions()
    down = sort.startswith("-")
    order = [(c.desc() if down else c.asc()).nulls_last() for c in _SORTS[sort.removeprefix("-")]]
    order.append(Study.id.desc() if down else Study.id.asc())
    page = sa.select(Study.id).where(*conditions).order_by(*order).limit(limit).offset(offset).subquery()
    rows = connection.execute(
        sa.select(Study.__table__, Source.key.label("source_key"))
        .join(page, page.c.id == Study.id)
        .join(Source, Source.id == Study.source_id)
        .order_by(*order)
    ).mappings()
    total = connection.scalar(sa.select(sa.func.count()).select_from(Study).where(*conditions))
    return rows.all(), total or 0


def find_study(connection: sa.Connection, reference: str, source: str | None = None) -> Row:
    """Find one study by Hilum's id or its Study Instance UID.

    Raises
    ------
    Conflict
        The UID lies in several sources and none is named.
    Gone
        It has been deleted.
    NotFound
        There is no such study.
    """
    by_id = reference.isdecimal() and len(reference) < 19
    condition = Study.id == int(reference) if by_id else Study.study_instance_uid == reference
    query = (
        sa.select(Study.__table__, Source.key.label("source_key"))
        .join(Source, Source.id == Study.source_id)
        .where(condition, Study.deleted_at.is_(None))
    )
    rows = connection.execute(query.where(Source.key == source) if source else query).mappings().all()
    if not rows:
        _refuse_deleted(
            connection,
            Deletion.study_id == int(reference) if by_id else Deletion.study_instance_uid == reference,
            source,
        )
    return _only(rows, "study")


def live_study(connection: sa.Connection, study_instance_uid: str, source: str) -> int:
    """Hilum's id of the study of a UID in a source; raises ``Gone`` and ``NotFound``."""
    query = sa.select(Study.id).join(Source, Source.id == Study.source_id)
    query = query.where(
        Study.study_instance_uid == study_instance_uid, Source.key == source, Study.deleted_at.is_(None)
    )
    found = connection.scalar(query)
    if found is None:
        refuse_deleted(connection, study_instance_uid, source)
        raise NotFound("There is no such study.")
    return found


def list_deletions(
    connection: sa.Connection, source: str | None = None, *, limit: int = 20, offset: int = 0
) -> tuple[Sequence[Row], int]:
    """What was deleted, by whom and when, latest first, and how many deletions there are."""
    query = sa.select(Deletion.__table__, Source.key.label("source_key")).join(Source, Source.id == Deletion.source_id)
    query = query.where(Source.key == source) if source else query
    total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    page = query.order_by(Deletion.id.desc()).limit(limit).offset(offset)
    return connection.execute(page).mappings().all(), total or 0


def refuse_deleted(
    connection: sa.Connection,
    study_instance_uid: str,
    source: str,
    series_instance_uid: str | None = None,
    sop_instance_uid: str | None = None,
) -> None:
    """Raise ``Gone`` when what is not there was deleted and has not been stored again: the study, or the series or
    instance of it that is named."""
    live = sa.exists().where(
        Study.study_instance_uid == study_instance_uid, Study.source_id == Source.id, Study.deleted_at.is_(None)
    )
    deleted = Deletion.study_instance_uid == study_instance_uid
    _refuse_deleted(connection, sa.and_(deleted, ~live), source)
    if series_instance_uid is None:
        return
    of_series = deleted & (Deletion.series_instance_uid == series_instance_uid)
    if sop_instance_uid is not None:
        _refuse_deleted(
            connection, of_series & Deletion.sop_instance_uid.in_(["", sop_instance_uid]), source, "instance"
        )
        return
    live_series = live.where(Series.study_id == Study.id, Series.series_instance_uid == series_instance_uid)
    _refuse_deleted(connection, of_series & ~live_series, source, "series")


def _refuse_deleted(
    connection: sa.Connection, condition: sa.ColumnElement[bool], source: str | None, noun: str = "study"
) -> None:
    query = sa.select(Deletion.id).join(Source, Source.id == Deletion.source_id)
    query = query.where(condition, Deletion.restored_at.is_(None))
    if connection.execute((query.where(Source.key == source) if source else query).limit(1)).first():
        raise Gone(f"The {noun} has been deleted.")


def find_series(connection: sa.Connection, study_id: int, reference: str) -> Row:
    """Find one series of a study by Hilum's id or its Series Instance UID; raises ``NotFound``."""
    by_id = reference.isdecimal() and len(reference) < 19
    condition = Series.id == int(reference) if by_id else Series.series_instance_uid == reference
    row = (
        connection.execute(sa.select(Series.__table__).where(Series.study_id == study_id, condition)).mappings().first()
    )
    if row is None:
        of_study = sa.select(Study.source_id, Study.study_instance_uid).where(Study.id == study_id)
        deleted = sa.tuple_(Deletion.source_id, Deletion.study_instance_uid).in_(of_study)
        _refuse_deleted(connection, deleted & (Deletion.series_instance_uid == reference), None, "series")
        raise NotFound("There is no such series in this study.")
    return row


def find_instance(connection: sa.Connection, sop_instance_uid: str, source: str | None = None) -> Row:
    """Find one instance by its SOP Instance UID; raises ``NotFound``, or ``Gone`` and ``Conflict`` as for a study."""
    query = (
        sa.select(Instance.__table__, Source.key.label("source_key"))
        .join(Source, Source.id == Instance.source_id)
        .where(Instance.sop_instance_uid == sop_instance_uid)
    )
    query = query.where(Source.key == source) if source else query
    rows = connection.execute(query.where(Instance.deleted_at.is_(None))).mappings().all()
    if not rows:
        if connection.execute(query.where(Instance.deleted_at.is_not(None)).limit(1)).first():
            raise Gone("The instance has been deleted.")
        _refuse_deleted(connection, Deletion.sop_instance_uid == sop_instance_uid, source, "instance")
    return _only(rows, "instance")


def study_series(connection: sa.Connection, study_id: int) -> Sequence[Row]:
    """The series of a study, by number."""
    query = (
        sa.select(Series.__table__)
        .where(Series.study_id == study_id)
        .order_by(Series.series_number.asc().nulls_last(), Series.series_instance_uid)
    )
    return connection.execute(query).mappings().all()


def study_origins(connection: sa.Connection, study_id: int) -> Sequence[str]:
    """The ways that a study's instances came in, the first one first."""
    query = (
        sa.select(Instance.origin)
        .where(Instance.study_id == study_id)
        .group_by(Instance.origin)
        .order_by(sa.func.min(Instance.id))
    )
    return connection.scalars(query).all()


def study_features(connection: sa.Connection, study_id: int) -> int:
    """How many features a study has, as the room above counts them."""
    counted = sa.text("select coalesce(sum(features), 0)::bigint from hilum.feature_count where study_id = :study")
    return connection.execute(counted, {"study": study_id}).scalar_one()


def study_instances(
    connection: sa.Connection,
    study_id: int,
    series_id: int | None = None,
    *,
    sort: str = "geometry",
    limit: int | None = None,
    offset: int = 0,
) -> tuple[Sequence[Row], int]:
    """The instances of a study or of one of its series, and how many there are in all; raises ``Invalid`` for the sort.

    In ``geometry`` order they lie series by series, along the normal of their slices, then by Instance Number.
    """
    if sort not in INSTANCE_SORTS:
        raise Invalid(f"Instances cannot be sorted by '{sort}'; take one of {', '.join(INSTANCE_SORTS)}.")
    belongs = [Instance.study_id == study_id, *([Instance.series_id == series_id] if series_id else [])]
    query = (
        sa.select(*_LISTED, Series.series_instance_uid, Series.modality)
        .join(Series, Series.id == Instance.series_id)
        .where(*belongs)
        .order_by(*_instance_order(sort))
        .limit(limit)
        .offset(offset)
    )
    total = connection.scalar(sa.select(sa.func.count()).select_from(Instance).where(*belongs))
    return connection.execute(query).mappings().all(), total or 0


def find_frame(connection: sa.Connection, series_id: int, number: int) -> tuple[Row, int]:
    """Find a frame of a series, counted over its instances in geometric order.

    Parameters
    ----------
    series_id
        The series.
    number
        Frame number in the series, 1-based.

    Returns
    -------
    tuple
        The instance's row, without its table of frames, and the frame's number in it, 1-based.

    Raises
    ------
    NotFound
        The series has no such frame.
    """
    if not 0 < number < 2**31:
        raise NotFound(f"The series has no frame {number}.")
    up_to = sa.func.sum(Instance.num_frames).over(order_by=GEOMETRY).label("up_to")
    counted = sa.select(*_LISTED, up_to).where(Instance.series_id == series_id).subquery()
    row = (
        connection.execute(sa.select(counted).where(counted.c.up_to >= number).order_by(counted.c.up_to).limit(1))
        .mappings()
        .first()
    )
    if row is None:
        raise NotFound(f"The series has no frame {number}.")
    return row, number - (int(row["up_to"]) - row["num_frames"])


def frame_place(connection: sa.Connection, instance_id: int, frame: int) -> tuple[int, int] | tuple[()]:
    """Where a frame (1-based) of an instance begins and ends in its file, in bytes; empty if it is not compressed."""
    offsets = Instance.frame_offsets
    found = connection.execute(sa.select(offsets[frame], offsets[frame + 1]).where(Instance.id == instance_id)).one()
    begin, end = found
    return () if begin is None or end is None else (begin, end)


def bundle_files(connection: sa.Connection, study_id: int) -> Sequence[Row]:
    """The files that came with a study in its zip, by name."""
    query = sa.select(BundleFile.__table__).where(BundleFile.study_id == study_id).order_by(BundleFile.name)
    return connection.execute(query).mappings().all()


def replaced_instances(
    connection: sa.Connection, study_id: int, *, limit: int | None = None, offset: int = 0
) -> tuple[Sequence[Row], int]:
    """The earlier bytes of a study's instances, latest replacement first, and how many there are."""
    query = (
        sa.select(ReplacedInstance.__table__, Instance.sop_instance_uid, Series.series_instance_uid)
        .join(Instance, Instance.id == ReplacedInstance.instance_id)
        .join(Series, Series.id == Instance.series_id)
        .where(Instance.study_id == study_id)
    )
    total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    page = query.order_by(ReplacedInstance.id.desc()).limit(limit).offset(offset)
    return connection.execute(page).mappings().all(), total or 0


def list_set_aside(
    connection: sa.Connection, source: str | None = None, *, limit: int = 20, offset: int = 0
) -> tuple[Sequence[Row], int]:
    """What could not be catalogued, latest first, and how much of it there is."""
    query = sa.select(SetAside.__table__, Source.key.label("source_key")).join(Source, Source.id == SetAside.source_id)
    query = query.where(Source.key == source) if source else query
    total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    page = query.order_by(SetAside.id.desc()).limit(limit).offset(offset)
    return connection.execute(page).mappings().all(), total or 0


def find_set_aside(connection: sa.Connection, number: int) -> Row:
    """Find one file that was set aside; raises ``NotFound``."""
    row = connection.execute(sa.select(SetAside.__table__).where(SetAside.id == number)).mappings().first()
    if row is None:
        raise NotFound(f"Nothing was set aside under the number {number}.")
    return row


def sources(connection: sa.Connection) -> Sequence[Row]:
    """Every source with its number of studies, and where its CDM and its remote archive are."""
    belongs = Study.source_id == Source.id, Study.deleted_at.is_(None)
    count = sa.select(sa.func.count()).where(*belongs).scalar_subquery()
    cdm = Source.cdm_schema, Source.vocabulary_schema, Source.imaging_schema, Source.results_schema, Source.cdm_attached
    columns = Source.key, Source.name, Source.intake_profile, *cdm, Source.dicomweb_url
    query = sa.select(*columns, count.label("studies")).where(~Source.removed).order_by(Source.key)
    return connection.execute(query).mappings().all()


def statistics(connection: sa.Connection) -> dict[str, object]:
    """Counts over the whole archive."""
    totals = connection.execute(
        sa.select(
            sa.func.count().label("studies"),
            sa.func.coalesce(sa.func.sum(Study.num_series), 0).label("series"),
            sa.func.coalesce(sa.func.sum(Study.num_instances), 0).label("instances"),
            sa.func.coalesce(sa.func.sum(Study.num_images), 0).label("images"),
            sa.func.coalesce(sa.func.sum(Study.bytes), 0).label("bytes"),
            sa.func.count(Study.person_id.distinct()).label("persons_with_imaging"),
            sa.func.count(Study.person_id).label("linked_studies"),
            sa.func.count().filter(Study.quarantine != "").label("studies_quarantined"),
        ).where(Study.deleted_at.is_(None))
    ).mappings().one()  # fmt: skip
    by_modality = sa.text(
        "select code, count(*) from hilum.study, unnest(modalities) code where deleted_at is null "
        "group by code order by count(*) desc, code"
    )
    modalities = connection.execute(by_modality)
    # Of a room above, which counts them study by study.
    by_type = sa.text(
        "select c.feature_type, sum(c.features)::bigint from hilum.feature_count c "
        "join hilum.study s on s.id = c.study_id and s.deleted_at is null group by 1 order by 2 desc, 1"
    )
    features = {str(kind): int(count) for kind, count in connection.execute(by_type)}
    conflict = (SetAside.source_id, SetAside.study_instance_uid, SetAside.patient_id, SetAside.issuer_of_patient_id)
    of_conflicts = sa.func.count(sa.distinct(sa.tuple_(*conflict))).filter(SetAside.code == "patient_conflict")
    aside, conflicts = connection.execute(sa.select(sa.func.count(), of_conflicts).select_from(SetAside)).one()
    return {
        **{name: int(value) for name, value in totals.items()},
        "set_aside": aside,
        "conflicts": conflicts,
        "features": sum(features.values()),
        "studies_by_modality": {str(code): int(count) for code, count in modalities},
        "features_by_type": features,
    }


def _instance_order(sort: str) -> Sequence[sa.SQLColumnExpression[Any]]:
    series = (Series.series_number.asc().nulls_last(), Series.series_instance_uid.asc())
    if sort == "geometry":
        return (*series, *GEOMETRY)
    column = Instance.instance_number if sort.endswith("instance_number") else Instance.slice_location
    return ((column.desc() if sort.startswith("-") else column.asc()).nulls_last(), Instance.sop_instance_uid)


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _only(rows: Sequence[Row], what: str) -> Row:
    if not rows:
        raise NotFound(f"There is no such {what}.")
    if len(rows) > 1:
        keys = ", ".join(sorted(str(row["source_key"]) for row in rows))
        raise Conflict(f"This {what} lies in several sources ({keys}); name one with ?source=.")
    return rows[0]
