"""From the codes and units of features to concepts: by the site's own vocabulary, else by the concepts that ship. What
neither knows is concept 0 in the CDM, and is counted by ``unmapped``."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Final, LiteralString, cast

from pydicom.sr import _snomed_dict  # pyright: ignore[reportPrivateUsage] - pydicom compares codes by it

from hilum.clinical.cdm.cdm import Cdm, has_table
from hilum.clinical.cdm.concepts import seeds
from hilum.clinical.occurrence.anatomy import UNCODED, site_of
from hilum.core.database import Transaction

_VOCABULARIES: Final = {
    "SCT": "SNOMED",
    "LN": "LOINC",
    "DCM": "DICOM",
    "DICOM": "DICOM",
    "RADLEX": "RadLex",
    "UCUM": "UCUM",
    "NCIt": "NCIt",
}
_RETIRED: Final = ("SRT", "SNM3", "99SDM")
_TAG: Final = 8
_ONE: Final = "UCUM|1"


def code_of(scheme: str, value: str) -> str:
    """A code as features have it, ``scheme|value``; one of SNOMED-RT as SNOMED CT has it (PS3.16 section 8.1.1). Empty
    without a value."""
    if scheme in _RETIRED:
        known = cast("Mapping[str, str]", _snomed_dict.mapping["SRT"]).get(value)  # pyright: ignore[reportUnknownMemberType]
        return f"SCT|{known}" if known else f"SRT|{value}"
    return f"{scheme}|{value}" if scheme and value else ""


def concepts_of(sql: Transaction, cdm: Cdm, codes: Collection[str]) -> dict[str, int]:
    """The standard concepts of codes (``scheme|value``), or where there is none the concept itself; codes that the
    site does not know are left out."""
    asked = [(code, vocabulary, value) for code in codes for vocabulary, value in _spellings(code)]
    found: dict[str, int] = {code: _seeded()[code] for code in codes if code in _seeded()}
    if asked:
        maps = has_table(sql, cdm.schemas.vocabulary, "concept_relationship")
        statement = _CONCEPTS.replace("<MAPPED>", _MAPPED if maps else "null")
        for row in sql.rows(cdm.sql(statement), [list(part) for part in zip(*asked, strict=True)]):
            found[str(row["code"])] = cast("int", row["concept_id"])
    return found


def keep_concepts(sql: Transaction, cdm: Cdm, studies: Sequence[int]) -> None:
    """Look up the concepts of all codes and units of some studies' features; what is right already is not touched."""
    codes = [str(row["code"]) for row in sql.rows(_CODES, (list(studies),))]
    known = concepts_of(sql, cdm, codes)
    sites = {str(row["body_site"]) for row in sql.rows(_SITES, (list(studies),))}
    words = {word: site_of(UNCODED, "", word).concept_id for word in sites}
    values = {
        "studies": list(studies),
        "codes": list(known),
        "concepts": list(known.values()),
        "words": [word for word, concept in words.items() if concept],
        "sites": [concept for concept in words.values() if concept],
    }
    sql.rows(_KEEP_FINDINGS, values)
    sql.rows(_KEEP, values)


def unmapped(sql: Transaction, source: str | None) -> list[dict[str, object]]:
    """Codes, units and body sites of current features that have no concept, most frequent first."""
    return sql.rows(_UNMAPPED, {"source": source})


def _spellings(code: str) -> list[tuple[str, str]]:
    """Vocabulary and code under which a site may have a code, the best first: an attribute of DICOM is written in
    several ways, and the unit one (PS3.16 CID 82) is annotated where a vocabulary has no plain ``1``."""
    scheme, _, value = code.partition("|")
    vocabulary = _VOCABULARIES.get(scheme, scheme)
    if scheme == "DICOM" and len(value) == _TAG:
        pair = f"{value[:4]},{value[4:]}"
        return [(vocabulary, spelled) for spelled in (value, pair, f"({pair})", value.lower())]
    if code == _ONE:
        return [(vocabulary, value), (vocabulary, "{ratio}")]
    return [(vocabulary, value)]


@cache
def _seeded() -> Mapping[str, int]:
    """The concepts that ship, by code."""
    schemes = {vocabulary: scheme for scheme, vocabulary in reversed(_VOCABULARIES.items())}
    found = {
        f"{schemes[seed.vocabulary_id]}|{seed.concept_code}": seed.concept_id
        for seed in seeds()
        if seed.concept_code and seed.vocabulary_id in schemes
    }
    return {_ONE: found["UCUM|{ratio}"]} | found


_MAPPED: Final[LiteralString] = """(
    select min(r.concept_id_2) from {vocabulary}.concept_relationship r
    where r.concept_id_1 = c.concept_id and r.relationship_id = 'Maps to' and r.invalid_reason is null)"""
_CONCEPTS: Final[LiteralString] = """
  select distinct on (g.code) g.code,
    case when c.standard_concept = 'S' then c.concept_id else coalesce(<MAPPED>, c.concept_id) end as concept_id
  from unnest(%s::text[], %s::text[], %s::text[]) with ordinality g (code, vocabulary, value, place)
  join {vocabulary}.concept c on c.concept_code = g.value and c.vocabulary_id = g.vocabulary
  order by g.code, c.invalid_reason nulls first, c.standard_concept nulls last, g.place, c.concept_id
"""
_OF: Final[LiteralString] = "from hilum.feature f left join hilum.feature_finding n on n.id = f.finding_id"
_CODES: Final[LiteralString] = f"""
  select distinct c.code {_OF} cross join lateral (values (f.code), (f.value_code), (f.body_site_code), (n.code),
    (case when f.unit <> '' then 'UCUM|' || f.unit end)) c (code)
  where f.study_id = any(%s) and c.code <> ''
"""
_SITES: Final[LiteralString] = """
  select distinct body_site from hilum.feature where study_id = any(%s) and body_site <> ''
"""
_KNOWN: Final[LiteralString] = (
    "known as materialized (select * from unnest(%(codes)s::text[], %(concepts)s::bigint[]) k (code, concept_id))"
)
# Without a code the concept is as it was given.
_KEEP: Final[LiteralString] = f"""
  with {_KNOWN}, sites as materialized (
    select * from unnest(%(words)s::text[], %(sites)s::bigint[]) k (word, concept_id)
  ), right_now as (
    select f.id, case when f.code = '' then f.concept_id else c.concept_id end as concept_id,
      v.concept_id as value_concept_id, u.concept_id as unit_concept_id,
      coalesce(b.concept_id, w.concept_id) as body_site_concept_id
    from hilum.feature f left join known c on c.code = f.code left join known v on v.code = f.value_code
    left join known u on u.code = 'UCUM|' || f.unit left join known b on b.code = f.body_site_code
    left join sites w on w.word = f.body_site
    where f.study_id = any(%(studies)s)
  )
  update hilum.feature f set concept_id = r.concept_id, value_concept_id = r.value_concept_id,
    unit_concept_id = r.unit_concept_id, body_site_concept_id = r.body_site_concept_id
  from right_now r where r.id = f.id and
    (f.concept_id, f.value_concept_id, f.unit_concept_id, f.body_site_concept_id) is distinct from
    (r.concept_id, r.value_concept_id, r.unit_concept_id, r.body_site_concept_id)
"""
_KEEP_FINDINGS: Final[LiteralString] = f"""
  with {_KNOWN}
  update hilum.feature_finding n set concept_id = known.concept_id from known
  where known.code = n.code and n.concept_id is distinct from known.concept_id
    and n.id in (select finding_id from hilum.feature where study_id = any(%(studies)s))
"""
_UNMAPPED: Final[LiteralString] = f"""
  select c.part, c.code, min(c.name) as name, count(*) as features {_OF}
  join hilum.study s on s.id = f.study_id and s.deleted_at is null join hilum.source k on k.id = s.source_id
  cross join lateral (values
    ('feature', f.code, f.feature_name, f.concept_id), ('value', f.value_code, f.value_string, f.value_concept_id),
    ('unit', case when f.unit = '' then '' else 'UCUM|' || f.unit end, f.unit, f.unit_concept_id),
    ('body_site', coalesce(nullif(f.body_site_code, ''), f.body_site), f.body_site, f.body_site_concept_id),
    ('finding', n.code, n.name, n.concept_id)) c (part, code, name, concept_id)
  where not f.superseded and c.code <> '' and c.concept_id is null
    and k.key = coalesce(%(source)s, k.key) and k.cdm_schema <> ''
  group by c.part, c.code order by count(*) desc, c.part, c.code limit 1000
"""
