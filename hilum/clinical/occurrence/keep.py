"""The rows of image_occurrence: one for each series of a study whose person and procedure are known, written anew
whenever the study, its series or its links have changed, with the id that the series always had. Rows that were there
before Hilum are used and left as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString, cast
from urllib.parse import urlsplit

from hilum.clinical.cdm.cdm import Cdm
from hilum.clinical.cdm.concepts import modality_concepts, snomed_concepts
from hilum.clinical.cdm.image_tables import writable_columns
from hilum.clinical.fhir.codes import region_code
from hilum.clinical.occurrence.anatomy import Coded, site_of
from hilum.core.config import Settings
from hilum.core.database import Transaction
from hilum.imaging.archive.views import dicomweb_root


@dataclass(frozen=True, slots=True)
class Places:
    """Where a reader of the CDM finds images: the base address of this Hilum, and what stands before an object's
    key."""

    base_url: str
    objects: str

    @classmethod
    def of(cls, settings: Settings) -> "Places":
        """As the settings say."""
        parts = urlsplit(settings.blobs_url)
        if parts.scheme in ("s3", "gs", "az"):
            root = settings.blobs_url.rstrip("/")
        else:
            root = str(Path(parts.path) if parts.path else settings.data_path / "objects")
        return cls(settings.base_url, f"{root}/")


def keep_occurrences(sql: Transaction, cdm: Cdm, studies: Sequence[int], uids: Sequence[str], places: Places) -> None:
    """Bring the rows of studies up to date; what is right already is not touched.

    Parameters
    ----------
    sql
        Where; one transaction with what has changed.
    cdm
        Of the studies' source.
    studies, uids
        The studies, by number and by UID: one that is deleted loses its rows.
    places
        Where the images are.
    """
    named = {"source": cdm.source_id, "uids": list(uids), "studies": list(studies)}
    columns = occurrence_columns(sql, cdm)
    values = named | _read_series(sql, cdm, named) | {
        "root": places.base_url + dicomweb_root(cdm.source), "objects": places.objects,
    }  # fmt: skip
    sql.rows(cdm.sql(_RESERVE), values)
    sql.rows(cdm.sql(_DELETE), values)
    sql.rows(cdm.sql(_write(columns)), values)


def occurrence_columns(sql: Transaction, cdm: Cdm) -> frozenset[str]:
    """The columns that the site's image_occurrence has and that can be written."""
    return frozenset(writable_columns(sql, cdm.sql("{imaging}.image_occurrence")))


def _read_series(sql: Transaction, cdm: Cdm, named: Mapping[str, object]) -> dict[str, object]:
    """Modality and body site of each series, as concepts."""
    rows = sql.rows(_SERIES, named)
    modalities = modality_concepts(sql, cdm)
    codes = [region_code(*_parts(str(row["anatomic_region"]))) for row in rows]
    concepts = snomed_concepts(sql, cdm, codes)
    sites = [
        site_of(Coded(code, concepts.get(code, 0)), *(str(row[name]) for name in _SAYING))
        for code, row in zip(codes, rows, strict=True)
    ]
    return {
        "series": [row["id"] for row in rows],
        "modality_words": [row["modality"] for row in rows],
        "modality": [modalities.get(str(row["modality"]), 0) for row in rows],
        "site": [site.concept_id or None for site in sites],
        "said_by": [site.said_by for site in sites],
        "word": [site.word for site in sites],
    }


def _parts(region: str) -> tuple[str, str]:
    """Code and scheme of a region, as the catalogue has them."""
    code, _, rest = region.partition("^")
    return code, rest.partition("^")[0]


def _write(columns: frozenset[str]) -> LiteralString:
    """The statement that writes rows into the columns that there are."""
    names = [name for name in _VALUES if name in columns]
    rest = names[1:]
    statement = (
        f"insert into {{imaging}}.image_occurrence ({', '.join(names)}) "
        f"select {', '.join(_VALUES[name] for name in names)} {_WANTED} and not o.adopted "
        "and not exists (select from {imaging}.image_occurrence i where i.image_occurrence_id = o.image_occurrence_id "
        f"and ({', '.join(f'i.{name}' for name in rest)}) is not distinct from "
        f"({', '.join(_VALUES[name] for name in rest)})) "
        f"on conflict (image_occurrence_id) do update set {', '.join(f'{name} = excluded.{name}' for name in rest)}"
    )
    return cast("LiteralString", statement)


# What says which body site a series shows.
_SAYING: Final = (
    "laterality", "body_part", "series_description", "protocol_name", "study_description", "of_study",
)  # fmt: skip
_SERIES: Final[LiteralString] = """
  select e.id, e.anatomic_region, e.laterality,
    case when s.corrected->'modality'->>'file' = e.modality then s.modality else e.modality end as modality,
    e.series_description, e.protocol_name, s.study_description, s.body_part as of_study,
    case when s.corrected->'body_part'->>'file' = e.body_part then s.body_part else e.body_part end as body_part
  from hilum.series e join hilum.study s on s.id = e.study_id
  where s.id = any(%(studies)s) and s.deleted_at is null
"""
# Date: of the series, else of acquisition, of content, of the study.
_DATE: Final[LiteralString] = "coalesce(e.series_date, w.acquisition_date, w.content_date, s.study_date)"
_VALUES: Final = {
    "image_occurrence_id": "o.image_occurrence_id",
    "person_id": "p.target_id",
    "procedure_occurrence_id": "r.target_id",
    "visit_occurrence_id": "v.target_id",
    "anatomic_site_concept_id": "g.site",
    "wadors_uri": "%(root)s || '/studies/' || s.study_instance_uid",
    "local_path": """case
      when s.availability = 'remote' then k.dicomweb_url || '/studies/' || s.study_instance_uid || '/series/' ||
        e.series_instance_uid
      when left(e.folder_path, 1) = '/' then e.folder_path else %(objects)s || e.folder_path end""",
    "image_occurrence_date": _DATE,
    "image_study_uid": "s.study_instance_uid",
    "image_series_uid": "e.series_instance_uid",
    "modality": "g.word_of_modality",
    "modality_concept_id": "g.modality",
    "accession_number": "nullif(s.accession_number, '')",
}
# Each is looked up by its key, row by row (lateral, limit 1): of tables that grow while linking fills them the planner
# knows too little, and would rather go through all series once for each of these.
_FROM: Final[LiteralString] = """
  from unnest(%(series)s::bigint[], %(modality_words)s::text[], %(modality)s::bigint[], %(site)s::bigint[],
    %(said_by)s::text[], %(word)s::text[]) g (id, word_of_modality, modality, site, said_by, word)
  cross join lateral (select e.* from hilum.series e where e.id = g.id limit 1) e
  cross join lateral (select s.* from hilum.study s where s.id = e.study_id limit 1) s
  join hilum.source k on k.id = s.source_id
  cross join lateral (select l.target_id from hilum.study_link l where l.study_id = s.id and l.kind = 'person'
    and l.target_id is not null limit 1) p
  cross join lateral (select l.target_id from hilum.study_link l where l.study_id = s.id and l.kind = 'procedure'
    and l.target_id is not null limit 1) r
  left join lateral (select l.target_id from hilum.study_link l where l.study_id = s.id and l.kind = 'visit' limit 1) v
    on true
  left join lateral (select w.* from hilum.series_order w where w.series_id = e.id limit 1) w on true
  left join lateral (select o.* from hilum.series_occurrence o where o.source_id = s.source_id
    and o.study_instance_uid = s.study_instance_uid and o.series_instance_uid = e.series_instance_uid limit 1) o on true
"""
_WHERE: Final[LiteralString] = f"where s.deleted_at is null and {_DATE} is not null"
_WANTED: Final[LiteralString] = f"{_FROM} {_WHERE}"
_THEIRS: Final[LiteralString] = """
  left join lateral (
    select min(x.image_occurrence_id) as image_occurrence_id from {imaging}.image_occurrence x
    where o.image_occurrence_id is null and x.image_study_uid = s.study_instance_uid
      and x.image_series_uid = e.series_instance_uid
  ) t on true
"""
_RESERVE: Final[LiteralString] = f"""
  insert into hilum.series_occurrence as known (source_id, study_instance_uid, series_instance_uid,
    image_occurrence_id, adopted, anatomy_from, anatomy_word)
  select s.source_id, s.study_instance_uid, e.series_instance_uid,
    coalesce(o.image_occurrence_id, t.image_occurrence_id, nextval('{{imaging}}.hilum_image_occurrence_id')),
    t.image_occurrence_id is not null, g.said_by, g.word
  {_FROM} {_THEIRS} {_WHERE}
    and (o.image_occurrence_id is null or (o.anatomy_from, o.anatomy_word) <> (g.said_by, g.word))
  on conflict (source_id, study_instance_uid, series_instance_uid) do update set
    anatomy_from = excluded.anatomy_from, anatomy_word = excluded.anatomy_word
"""
# An image_feature that was there before may be kept from losing its row, in a table that was made elsewhere.
_DELETE: Final[LiteralString] = f"""
  with gone as materialized (
    select known.image_occurrence_id as id from hilum.series_occurrence known
    where known.source_id = %(source)s and known.study_instance_uid = any(%(uids)s) and not known.adopted
    except select o.image_occurrence_id {_WANTED}
  ), features as (delete from {{imaging}}.image_feature where image_occurrence_id in (select id from gone))
  delete from {{imaging}}.image_occurrence i using gone where i.image_occurrence_id = gone.id
"""
