"""The concept of a procedure that the files code themselves (Procedure Code Sequence): LOINC/RSNA Radiology Playbook
and other schemes, looked up in the site's vocabulary. A code that it does not have is evidence all the same."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, cast

import msgspec

from hilum.clinical.cdm.cdm import Cdm, has_table
from hilum.core.database import Row, Transaction

# Coding Scheme Designators (PS3.16 table 8-1) by the vocabulary of OMOP, the one that tells most first.
_VOCABULARIES: Final[Mapping[str, str]] = {
    "LN": "LOINC", "RADLEX": "RadLex", "RPID": "RadLex", "SCT": "SNOMED", "C4": "CPT4", "CPT4": "CPT4",
    "HCPCS": "HCPCS", "I10P": "ICD10PCS", "OPCS4": "OPCS4",
}  # fmt: skip
_ORDER: Final = tuple(dict.fromkeys(_VOCABULARIES))


def procedure_codes(sql: Transaction, cdm: Cdm, studies: Sequence[int]) -> dict[int, str]:
    """What the files of studies code as their procedure.

    Parameters
    ----------
    sql
        Where.
    cdm
        Of the studies' source.
    studies
        Their numbers.

    Returns
    -------
    dict
        Of each study that has a code, the most telling one as a JSON object: ``scheme``, ``code``, ``meaning``; and
        where the vocabulary has it, ``source_concept_id``, and ``concept_id`` of the standard concept for it.
    """
    given = sql.rows(_CODES, (list(studies),))
    if not given:
        return {}
    vocabularies = [_VOCABULARIES.get(str(row["scheme"]).upper(), "") for row in given]
    codes = sorted({(name, str(row["code"])) for name, row in zip(vocabularies, given, strict=True) if name})
    mapped = has_table(sql, cdm.schemas.vocabulary, "concept_relationship")
    statement = _CONCEPTS if mapped else _CONCEPTS.replace("{vocabulary}.concept_relationship", _NO_RELATIONS)
    rows = sql.rows(cdm.sql(statement), ([name for name, _ in codes], [code for _, code in codes])) if codes else []
    concepts = {(str(row["vocabulary"]), str(row["code"])): row for row in rows}
    found: dict[int, tuple[tuple[bool, int], Row]] = {}
    for name, row in zip(vocabularies, given, strict=True):
        concept = concepts.get((name, str(row["code"])), {})
        rank = (not concept.get("concept_id"), _rank(str(row["scheme"])))
        study = cast("int", row["study_id"])
        if study not in found or rank < found[study][0]:
            ids = {key: concept[key] for key in ("source_concept_id", "concept_id") if concept.get(key)}
            found[study] = rank, {key: row[key] for key in ("scheme", "code", "meaning")} | ids
    return {study: msgspec.json.encode(code).decode() for study, (_, code) in found.items()}


def _rank(scheme: str) -> int:
    return _ORDER.index(scheme.upper()) if scheme.upper() in _ORDER else len(_ORDER)


_NO_RELATIONS: Final[LiteralString] = (
    "(select null::int as concept_id_1, null::int as concept_id_2, ''::text as relationship_id, "
    "null::text as invalid_reason limit 0)"
)
_CODES: Final[LiteralString] = """
  select e.study_id, c.scheme, c.code, min(c.meaning) as meaning
  from hilum.series e join hilum.series_order o on o.series_id = e.id
  cross join lateral jsonb_to_recordset(o.procedure_codes) c (scheme text, code text, meaning text)
  where e.study_id = any(%s) group by 1, 2, 3 order by 1, 2, 3
"""
_CONCEPTS: Final[LiteralString] = """
  select distinct on (g.vocabulary, g.code) g.vocabulary, g.code, c.concept_id as source_concept_id,
    case when c.standard_concept = 'S' then c.concept_id else t.concept_id end as concept_id
  from unnest(%s::text[], %s::text[]) g (vocabulary, code)
  join {vocabulary}.concept c on c.concept_code = g.code and c.vocabulary_id = g.vocabulary
  left join {vocabulary}.concept_relationship r on r.concept_id_1 = c.concept_id and r.relationship_id = 'Maps to'
    and r.invalid_reason is null and c.standard_concept is distinct from 'S'
  left join {vocabulary}.concept t on t.concept_id = r.concept_id_2 and t.standard_concept = 'S'
  order by g.vocabulary, g.code, c.standard_concept nulls last, t.concept_id nulls last, c.concept_id
"""
