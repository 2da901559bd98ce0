"""The crosswalk of data sets, looked up both ways: by what an original said, or by what stands in a shared file. Each
look is noted with who looked; what was looked for is noted only blind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString, cast

from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.errors import Invalid
from hilum.research.datasets.site_key import site_keys
from hilum.research.deid.engine import Change
from hilum.research.deid.seal import Seal
from hilum.research.deid.uids import UidMap

_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was given out, the original it was made of, and what was done to each attribute."""

    dataset_id: int
    version: int
    path: str
    person: str
    accession: str
    study: str
    series: str
    sop: str
    source: str
    original_study: str
    original_series: str
    original_sop: str
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for: a PatientID, accession number or UID of an original (``old``), or a person_id, accession,
    UID or path of a shared file (``new``)."""

    old: str = ""
    new: str = ""

    def __post_init__(self) -> None:
        if bool(self.old) == bool(self.new):
            raise Invalid("Name an old value or a new one, and not both.")
        if len(self.old) + len(self.new) > _MAX:
            raise Invalid(f"A value has at most {_MAX} characters.")


def look_up(
    database: Database, settings: Settings, question: Question, who: str, *, limit: int, offset: int
) -> tuple[list[Entry], int]:
    """Look into the crosswalk; the entries of a page, and how many there are.

    Raises
    ------
    Conflict
        The key file is another one.
    """
    keys = site_keys(database, settings)
    seal = Seal(keys)
    with database.transaction() as sql:
        names = [question.new]
        if question.old:
            names = [question.old, UidMap(keys.uids).new(question.old)] if _is_uid(question.old) else []
            blind = seal.blind("value", question.old)
            names += [
                str(row["new"]) for row in sql.rows("select new from hilum.dataset_value where value = %s", (blind,))
            ]
        given = {"names": names, "limit": limit, "offset": offset, "old": bool(question.old)}
        total = cast("int", sql.rows(_COUNT, given)[0]["n"])
        rows = sql.rows(_FIND, given)
        kind = "old" if question.old else "new"
        sql.rows(
            "insert into hilum.crosswalk_look (who, kind, value, found) values (%s, %s, %s, %s)",
            (who, kind, seal.blind("value", question.old or question.new), total),
        )
    entries: list[Entry] = []
    for row in rows:
        said = cast("list[list[str]]", seal.open(cast("bytes", row.pop("sealed"))))
        entries.append(Entry(**row, changes=[Change(*one) for one in said]))  # pyright: ignore[reportArgumentType]
    return entries, total


def _is_uid(value: str) -> bool:
    return len(value) <= 64 and bool(value) and set(value) <= set("0123456789.")


_WHERE: Final[LiteralString] = """
  where i.state = 'done' and (i.person = any(%(names)s) or i.accession = any(%(names)s) or i.study = any(%(names)s)
    or i.series = any(%(names)s) or i.sop = any(%(names)s) or (not %(old)s and i.id in (
      select j.id from hilum.dataset_file f join hilum.dataset_instance j on j.version_id = f.version_id
        and j.blob_key = f.blob_key where f.path = any(%(names)s))))
"""
_COUNT: Final[LiteralString] = f"select count(*) as n from hilum.dataset_instance i {_WHERE}"
_FIND: Final[LiteralString] = f"""
  select v.dataset_id, v.number as version, coalesce((select min(f.path) from hilum.dataset_file f
      where f.version_id = i.version_id and f.blob_key = i.blob_key), '') as path,
    i.person, i.accession, i.study, i.series, i.sop, coalesce(k.key, '') as source,
    coalesce(s.study_instance_uid, '') as original_study, coalesce(e.series_instance_uid, '') as original_series,
    coalesce(o.sop_instance_uid, '') as original_sop, i.sealed
  from hilum.dataset_instance i join hilum.dataset_version v on v.id = i.version_id
  left join hilum.instance o on o.id = i.instance_id left join hilum.series e on e.id = o.series_id
  left join hilum.study s on s.id = o.study_id left join hilum.source k on k.id = s.source_id
  {_WHERE} order by i.id desc limit %(limit)s offset %(offset)s
"""
