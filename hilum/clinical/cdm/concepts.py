"""The concepts that Hilum asks for by a word: modalities, procedures, types, findings. They come from the data files of
this room, and where the site's own vocabulary knows the code, from there. Whatever is missing in it is reported."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm
from hilum.core.database import Transaction

IMAGING_PROCEDURE: Final = 4180938
"""Procedure concept of a minted procedure_occurrence (CHoRUS Imaging SOP)."""
MINTED_TYPE: Final = 32880
"""Its type concept (CHoRUS Imaging SOP: interim)."""
MALE: Final = 8507
FEMALE: Final = 8532


@dataclass(frozen=True, slots=True)
class Seed:
    """A concept of the data files; ``word`` is what it is asked for by, of the kind ``use``."""

    concept_id: int
    concept_name: str
    domain_id: str
    vocabulary_id: str
    concept_class_id: str
    standard_concept: str
    concept_code: str
    use: str
    word: str


def read_data(name: str) -> list[dict[str, str]]:
    """A data file of this room, by line."""
    text = files("hilum.clinical.cdm").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def seeds() -> tuple[Seed, ...]:
    """The concepts of the data files, each id once; those of anatomy are among them."""
    found = {int(row["concept_id"]): Seed(int(row.pop("concept_id")), **row) for row in read_data("concepts.csv")}
    for row in read_data("anatomy.csv"):
        number = int(row["concept_id"])
        site = Seed(
            number, row["name"], "Spec Anatomic Site", "SNOMED", "Body Structure", "S", "", "anatomy", row["body_part"]
        )
        found.setdefault(number, site)
    return tuple(found.values())


@cache
def modality_words() -> tuple[tuple[int, str, str], ...]:
    """Concept, use (``modality`` or ``procedure``) and value of Modality (0008,0060), for all that have one."""
    named = [seed for seed in seeds() if seed.use in ("modality", "procedure")]
    return tuple((seed.concept_id, seed.use, word) for seed in named for word in seed.word.split())


def modality_concepts(sql: Transaction, cdm: Cdm) -> Mapping[str, int]:
    """The concept of each value of Modality, as the site's vocabulary has it."""
    local = resolved(sql, cdm)
    return {word: local.get(concept, concept) for concept, use, word in modality_words() if use == "modality"}


def snomed_concepts(sql: Transaction, cdm: Cdm, codes: Iterable[str]) -> dict[str, int]:
    """The standard concept of each code of SNOMED CT that the site's vocabulary has one for."""
    wanted = sorted({code for code in codes if code})
    rows = sql.rows(cdm.sql(_SNOMED), (wanted,)) if wanted else []
    return {str(row["concept_code"]): cast("int", row["concept_id"]) for row in rows}


def resolved(sql: Transaction, cdm: Cdm) -> dict[int, int]:
    """Concepts of the data files whose code the site's vocabulary has under another id: from ours to the site's."""
    coded = [seed for seed in seeds() if seed.concept_code and seed.concept_id]
    rows = sql.rows(
        cdm.sql(_BY_CODE),
        (
            [seed.concept_id for seed in coded],
            [seed.vocabulary_id for seed in coded],
            [seed.concept_code for seed in coded],
        ),
    )
    return {cast("int", row["ours"]): cast("int", row["theirs"]) for row in rows}


def missing_concepts(sql: Transaction, cdm: Cdm) -> list[Seed]:
    """Concepts of the data files that the site's vocabulary does not have; their ids are written all the same."""
    numbers = [seed.concept_id for seed in seeds()]
    rows = sql.rows(cdm.sql("select concept_id from {vocabulary}.concept where concept_id = any(%s)"), (numbers,))
    there = {row["concept_id"] for row in rows} | set(resolved(sql, cdm))
    return [seed for seed in seeds() if seed.concept_id not in there]


_SNOMED: Final[LiteralString] = """
  select concept_code, min(concept_id) as concept_id from {vocabulary}.concept
  where concept_code = any(%s) and vocabulary_id = 'SNOMED' and standard_concept = 'S' and invalid_reason is null
  group by 1
"""
_BY_CODE: Final[LiteralString] = """
  select distinct on (given.ours) given.ours, c.concept_id as theirs
  from unnest(%s::bigint[], %s::text[], %s::text[]) given (ours, vocabulary, code)
  join {vocabulary}.concept c on c.concept_code = given.code and c.vocabulary_id = given.vocabulary
  where c.concept_id <> given.ours and c.invalid_reason is null and c.standard_concept = 'S'
    and not exists (select from {vocabulary}.concept o where o.concept_id = given.ours)
  order by given.ours, c.concept_id
"""
