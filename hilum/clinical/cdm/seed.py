"""The small vocabulary that ships, for a CDM whose vocabulary has not been loaded from Athena: only concepts that Hilum
itself writes or asks for."""

from typing import Final, LiteralString

import msgspec

from hilum.clinical.cdm.cdm import Cdm
from hilum.clinical.cdm.concepts import seeds
from hilum.core.database import Transaction


def load_seed(sql: Transaction, cdm: Cdm) -> int:
    """Add the concepts that ship and are missing, with their vocabularies, domains and classes; gives how many."""
    rows = [{name: getattr(seed, name) for name in _FIELDS} for seed in seeds()]
    for row in rows:
        row["standard_concept"] = row["standard_concept"] or None
    document = msgspec.json.encode(rows).decode()
    added = sql.rows(cdm.sql(_CONCEPTS), (document,))
    for statement in (_VOCABULARIES, _DOMAINS, _CLASSES):
        sql.rows(cdm.sql(statement), (document,))
    return len(added)


_FIELDS: Final = (
    "concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_class_id", "standard_concept", "concept_code",
)  # fmt: skip
_GIVEN: Final[LiteralString] = "json_populate_recordset(null::{vocabulary}.concept, %s) g"
_CONCEPTS: Final[LiteralString] = f"""
  insert into {{vocabulary}}.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id,
    standard_concept, concept_code, valid_start_date, valid_end_date)
  select g.concept_id, g.concept_name, g.domain_id, g.vocabulary_id, g.concept_class_id, g.standard_concept,
    g.concept_code, date '1970-01-01', date '2099-12-31' from {_GIVEN} on conflict (concept_id) do nothing
  returning concept_id
"""
_VOCABULARIES: Final[LiteralString] = f"""
  insert into {{vocabulary}}.vocabulary (vocabulary_id, vocabulary_name, vocabulary_reference, vocabulary_version,
    vocabulary_concept_id)
  select distinct g.vocabulary_id, g.vocabulary_id, 'Hilum seed', 'seed', 0 from {_GIVEN} on conflict do nothing
"""
_DOMAINS: Final[LiteralString] = f"""
  insert into {{vocabulary}}.domain (domain_id, domain_name, domain_concept_id)
  select distinct g.domain_id, g.domain_id, 0 from {_GIVEN} on conflict do nothing
"""
_CLASSES: Final[LiteralString] = f"""
  insert into {{vocabulary}}.concept_class (concept_class_id, concept_class_name, concept_class_concept_id)
  select distinct g.concept_class_id, g.concept_class_id, 0 from {_GIVEN} on conflict do nothing
"""
