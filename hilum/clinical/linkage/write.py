"""How links are written: only those that are not so already, for even a row that is left as it is would be locked, and
so written, by an insert that finds it."""

from typing import Final, LiteralString

_WRITE: Final[LiteralString] = """
  insert into hilum.study_link as l (study_id, kind, target_id, method, evidence, reason, made_by)
  select g.id, '<kind>', g.target_id, g.method, g.evidence, g.reason, g.made_by from said g
  where not exists (select from hilum.study_link k where k.study_id = g.id and k.kind = '<kind>'
    and (k.target_id, k.method, k.evidence, k.reason, k.made_by) is not distinct from
      (g.target_id, g.method, g.evidence, g.reason, g.made_by))
  on conflict (study_id, kind) do update set target_id = excluded.target_id, method = excluded.method,
    evidence = excluded.evidence, reason = excluded.reason, made_by = excluded.made_by, made_at = now()
"""


def write_links(kind: LiteralString) -> LiteralString:
    """The end of a statement that writes the links of a kind: those of its part ``said``, with the columns ``id`` (of
    the study), ``target_id``, ``method``, ``evidence``, ``reason`` and ``made_by``."""
    return _WRITE.replace("<kind>", kind)
