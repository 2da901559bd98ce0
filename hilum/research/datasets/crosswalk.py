"""The crosswalk of data sets, looked up both ways: by what an original said, or by what stands in a shared file; or all
of a version, for the site. Each look is noted with who looked; what was looked for is noted only blind."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, LiteralString, TypeAlias, cast

from hilum.core.config import Settings
from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Invalid
from hilum.research.datasets.site_key import site_keys
from hilum.research.deid.engine import Change
from hilum.research.deid.keys import Keys
from hilum.research.deid.seal import Seal
from hilum.research.deid.uids import UidMap

Kind: TypeAlias = Literal["old", "new", "version", "before"]

COLUMNS: Final = (
    "dataset", "version", "path", "source", "original_study", "original_series", "original_sop", "person_id",
    "attribute", "vr", "original", "action", "rule", "new",
)  # fmt: skip
_MAX: Final = 256
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was given out, the original it was made of, and what was done to each attribute."""

    id: int
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
    """What is looked for: a PatientID, accession number or UID of an original (``old``), a person_id, accession, UID or
    path of a shared file (``new``), in one version (Hilum's id of it) or in all; or all of one version."""

    old: str = ""
    new: str = ""
    version_id: int | None = None

    def __post_init__(self) -> None:
        if self.old and self.new:
            raise Invalid("Name an old value or a new one, and not both.")
        if not (self.old or self.new or self.version_id):
            raise Invalid("Name an old value or a new one, or a version.")
        if len(self.old) + len(self.new) > _MAX or "\0" in self.old + self.new:
            raise Invalid(f"A value has at most {_MAX} characters, none of them NUL.")

    @property
    def kind(self) -> Kind:
        """Which way is looked."""
        return "old" if self.old else "new" if self.new else "version"


@dataclass(frozen=True, slots=True)
class Look:
    """A look at what identifies somebody: whose, what for, and how much was found."""

    who: str
    kind: Kind
    value: str
    found: int
    version_id: int | None = None


def note_look(sql: Transaction, seal: Seal, look: Look) -> None:
    """Note a look; the value blind."""
    value = seal.blind("value", look.value)
    sql.rows(_NOTE, (look.who, look.kind, look.version_id, value, look.found))


def list_looks(sql: Transaction, *, limit: int, offset: int) -> tuple[Sequence[Row], int]:
    """Who looked, latest first, and how many looks there were."""
    total = cast("int", sql.rows("select count(*) as n from hilum.crosswalk_look")[0]["n"])
    return sql.rows(_LOOKS, (limit, offset)), total


def look_up(
    database: Database, settings: Settings, question: Question, who: str, *, limit: int, offset: int
) -> tuple[list[Entry], int]:
    """Look into the crosswalk; the entries of a page, latest first, and how many there are.

    Raises
    ------
    Conflict
        The key file is another one.
    """
    keys = site_keys(database, settings)
    seal = Seal(keys)
    with database.transaction() as sql:
        given = _asked(sql, question, keys)
        total = _noted(sql, seal, question, given, who)
        page = {**given, "limit": limit, "offset": offset}
        rows = sql.rows(f"{_SELECT} {_WHERE} order by i.id desc limit %(limit)s offset %(offset)s", page)
    return [_entry(row, seal) for row in rows], total


def csv_of(database: Database, settings: Settings, question: Question, who: str) -> Iterator[str]:
    """What was done, as CSV in pieces: a row for each attribute of each file that a question finds. The look is noted
    before the first piece; errors as of `look_up`, and then, too."""
    keys = site_keys(database, settings)
    seal = Seal(keys)
    with database.transaction() as sql:
        given = _asked(sql, question, keys)
        _noted(sql, seal, question, given, who)
    return _csv(database, seal, given)


def _csv(database: Database, seal: Seal, given: Mapping[str, object]) -> Iterator[str]:
    yield _lines([COLUMNS])
    after = 0
    while True:
        with database.transaction() as sql:
            page = {**given, "after": after, "limit": _PAGE}
            rows = sql.rows(f"{_SELECT} {_WHERE} and i.id > %(after)s order by i.id limit %(limit)s", page)
        for row in rows:
            one = _entry(row, seal)
            after = one.id
            told = (one.dataset_id, one.version, one.path, one.source, one.original_study, one.original_series,
                one.original_sop, one.person)  # fmt: skip
            yield _lines(
                [(*told, each.path, each.vr, each.original, each.action, each.reason, each.new) for each in one.changes]
            )
        if len(rows) < _PAGE:
            return


def _lines(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _asked(sql: Transaction, question: Question, keys: Keys) -> dict[str, object]:
    """The question as SQL takes it: the new names that an old value has become."""
    names = [question.new]
    if question.old:
        blind = Seal(keys).blind("value", question.old)
        names = [question.old, UidMap(keys.uids).new(question.old)] if _is_uid(question.old) else []
        names += [str(row["new"]) for row in sql.rows("select new from hilum.dataset_value where value = %s", (blind,))]
    return {"names": names, "kind": question.kind, "version": question.version_id}


def _noted(sql: Transaction, seal: Seal, question: Question, given: Mapping[str, object], who: str) -> int:
    total = cast("int", sql.rows(f"select count(*) as n from hilum.dataset_instance i {_WHERE}", given)[0]["n"])
    note_look(sql, seal, Look(who, question.kind, question.old or question.new, total, question.version_id))
    return total


def _entry(row: Row, seal: Seal) -> Entry:
    said = cast("list[list[str]]", seal.open(cast("bytes", row.pop("sealed"))))
    return Entry(**row, changes=[Change(*one) for one in said])  # pyright: ignore[reportArgumentType]


def _is_uid(value: str) -> bool:
    return len(value) <= 64 and bool(value) and set(value) <= set("0123456789.")


_NOTE: Final[LiteralString] = """
  insert into hilum.crosswalk_look (who, kind, version_id, value, found) values (%s, %s, %s, %s, %s)
"""
_LOOKS: Final[LiteralString] = """
  select l.id, l.who, l.kind, v.dataset_id, v.number as version, l.found, l.looked_at from hilum.crosswalk_look l
  left join hilum.dataset_version v on v.id = l.version_id order by l.id desc limit %s offset %s
"""
_WHERE: Final[LiteralString] = """
  where i.state = 'done' and (%(version)s::bigint is null or i.version_id = %(version)s) and (%(kind)s = 'version'
    or i.person = any(%(names)s) or i.accession = any(%(names)s) or i.study = any(%(names)s)
    or i.series = any(%(names)s) or i.sop = any(%(names)s) or (%(kind)s = 'new' and i.id in (
      select j.id from hilum.dataset_file f join hilum.dataset_instance j on j.version_id = f.version_id
        and j.blob_key = f.blob_key where f.path = any(%(names)s))))
"""
_SELECT: Final[LiteralString] = """
  select i.id, v.dataset_id, v.number as version, coalesce((select min(f.path) from hilum.dataset_file f
      where f.version_id = i.version_id and f.blob_key = i.blob_key), '') as path,
    i.person, i.accession, i.study, i.series, i.sop, coalesce(k.key, '') as source,
    coalesce(s.study_instance_uid, '') as original_study, coalesce(e.series_instance_uid, '') as original_series,
    coalesce(o.sop_instance_uid, '') as original_sop, i.sealed
  from hilum.dataset_instance i join hilum.dataset_version v on v.id = i.version_id
  left join hilum.instance o on o.id = i.instance_id left join hilum.series e on e.id = o.series_id
  left join hilum.study s on s.id = o.study_id left join hilum.source k on k.id = s.source_id
"""
