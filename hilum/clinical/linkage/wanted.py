"""What a remote archive is asked for a visit: the numbers of its procedures, else the patients and the days. Exact
where linking is, and in doubt where the same days belong to several visits."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm
from hilum.core.database import Row, Transaction
from hilum.imaging.remote.lists import Line, Search

_DOUBT: Final = "The person has another visit on these days, and no number tells which the studies belong to."
_SHARED: Final = "The PatientID belongs to several persons."
_UNKNOWN: Final = "The CDM has no such visit."
_NO_PATIENT: Final = "No PatientID of the visit's person is known."
_LARGEST: Final = (1 << 63) - 1
_MOST: Final = 50
"""Numbers and patients of one visit that are asked for."""


def visit_lines(sql: Transaction, cdm: Cdm, visits: Sequence[str]) -> list[Line]:
    """What is asked for visits.

    Parameters
    ----------
    sql, cdm
        Where the visits are.
    visits
        Their ``visit_occurrence_id``, as a list has them.

    Returns
    -------
    list of Line
        One for each, in order.
    """
    numbers = {text: _number(text) for text in visits}
    known = [number for number in numbers.values() if number is not None]
    rows = sql.rows(cdm.sql(_VISITS), {"visits": known, "source": cdm.source_id})
    found = {cast("int", row["visit_occurrence_id"]): row for row in rows}
    return [_line(text, found.get(number) if number is not None else None) for text, number in numbers.items()]


def _line(name: str, row: Row | None) -> Line:
    if row is None:
        return Line(name, missing=_UNKNOWN)
    patients = cast("list[Mapping[str, str]]", row["patients"])[:_MOST]
    mapped = cast("list[Mapping[str, str]]", row["mapped"])[:_MOST]
    written = cast("list[str]", row["written"])[:_MOST]
    exact = [Search(each["number"], each["patient_id"]) for each in mapped]
    exact += [Search(number, each["patient_id"], each["issuer"]) for number in written for each in patients]
    days = str(row["first"]), str(row["last"])
    otherwise = [Search("", each["patient_id"], each["issuer"], days) for each in patients]
    doubt = _SHARED if row["shared"] else _DOUBT if row["others"] else ""
    return Line(name, exact, otherwise, doubt, "" if patients or mapped else _NO_PATIENT)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        return None
    return int(text) if int(text) <= _LARGEST else None


_VISITS: Final[LiteralString] = """
  with wanted as materialized (
    select v.visit_occurrence_id, v.person_id, v.visit_start_date as first,
      coalesce(v.visit_end_date, v.visit_start_date) as last
    from {cdm}.visit_occurrence v where v.visit_occurrence_id = any(%(visits)s::bigint[])
  ), patient as materialized (
    select w.visit_occurrence_id, m.patient_id, m.issuer_of_patient_id as issuer
    from wanted w join hilum.person_map m on m.source_id = %(source)s and m.person_id = w.person_id
    union
    select w.visit_occurrence_id, p.person_source_value, ''
    from wanted w join {cdm}.person p on p.person_id = w.person_id
    where coalesce(p.person_source_value, '') <> '' and not exists (select from hilum.person_map m
      where m.source_id = %(source)s and m.patient_id = p.person_source_value and m.issuer_of_patient_id = '')
  )
  select w.visit_occurrence_id, to_char(w.first, 'YYYYMMDD') as first, to_char(w.last, 'YYYYMMDD') as last,
    coalesce((select jsonb_agg(jsonb_build_object('patient_id', a.patient_id, 'issuer', a.issuer) order by a.patient_id)
      from patient a where a.visit_occurrence_id = w.visit_occurrence_id), '[]') as patients,
    coalesce((select jsonb_agg(jsonb_build_object('number', m.number, 'patient_id', m.patient_id) order by m.number)
      from {cdm}.procedure_occurrence o join hilum.procedure_map m on m.source_id = %(source)s
        and m.procedure_occurrence_id = o.procedure_occurrence_id
      where o.visit_occurrence_id = w.visit_occurrence_id), '[]') as mapped,
    coalesce((select jsonb_agg(distinct number) from {cdm}.procedure_occurrence o
      cross join lateral unnest(string_to_array(o.procedure_source_value, '|')) number
      where o.visit_occurrence_id = w.visit_occurrence_id and number <> ''), '[]') as written,
    exists (select from {cdm}.visit_occurrence x where x.person_id = w.person_id
      and x.visit_occurrence_id <> w.visit_occurrence_id and x.visit_start_date <= w.last
      and coalesce(x.visit_end_date, x.visit_start_date) >= w.first) as others,
    exists (select from patient a join {cdm}.person p on p.person_source_value = a.patient_id
      where a.visit_occurrence_id = w.visit_occurrence_id and a.issuer = '' and p.person_id <> w.person_id
        and not exists (select from hilum.person_map m where m.source_id = %(source)s
          and m.patient_id = a.patient_id)) as shared
  from wanted w
"""
