"""The crosswalk: for each file what became of every attribute, and how far a run is. One SQLite file that stays at
the site. Everything of the originals in it is sealed with the site's key, and what is looked up by is an HMAC; new
ids stand open, for they are in the shared files anyway."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.research.deid.engine import Change
from hilum.research.deid.keys import Keys
from hilum.research.deid.seal import Seal

_SCHEMA: Final = """
create table if not exists meta (name text primary key, value text not null) without rowid;
create table if not exists file (
  id integer primary key,
  key blob not null unique,
  stamp blob not null,
  path blob not null,
  state text not null default 'planned',
  code text not null default '',
  reason text not null default '',
  person_id text not null default '',
  accession text not null default '',
  procedure_id text not null default '',
  visit_id text not null default '',
  modality text not null default '',
  study text not null default '',
  series text not null default '',
  sop text not null default '',
  number integer not null default 0,
  target text unique,
  datetime text not null default '',
  digest text not null default '',
  size integer not null default 0,
  before integer not null default 0,
  sealed blob
);
create index if not exists file_sop on file (sop);
create index if not exists file_order on file (person_id, study, series, number, sop);
create table if not exists lookup (
  value blob not null,
  file_id integer not null,
  primary key (value, file_id)
) without rowid;
"""
_VERSION: Final = "1"
_PAGE: Final = 2000


@dataclass(slots=True)
class FileRow:
    """A file of a run; ``state`` is planned, done, quarantined or left_out."""

    id: int
    path: str
    state: str
    code: str
    reason: str
    person_id: str
    accession: str
    procedure_id: str
    visit_id: str
    modality: str
    study: str
    series: str
    sop: str
    number: int
    target: str | None
    datetime: str
    digest: str
    size: int
    before: int


_COLUMNS: Final = (
    "id, path, state, code, reason, person_id, accession, procedure_id, visit_id, modality, study, series, sop, "
    "number, target, datetime, digest, size, before"
)


class Crosswalk:
    """A crosswalk file, opened by one process.

    Parameters
    ----------
    path
        Of the file; it is made where there is none.
    keys
        Of the site.
    create
        Whether it may be made.

    Raises
    ------
    NotFound
        When it is not there and may not be made.
    Invalid
        When it was made with another key, or is something else.
    """

    def __init__(self, path: Path, keys: Keys, *, create: bool = True) -> None:
        if not create and not path.is_file():
            raise NotFound(f"There is no crosswalk {path}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        self._seal: Final = Seal(keys)
        try:
            self._db: Final = sqlite3.connect(path, isolation_level=None)
            self._db.executescript("pragma journal_mode=wal; pragma synchronous=full;" + _SCHEMA)
            self._check("version", _VERSION)
            self._check("key", self.blind("key", "check").hex())
        except sqlite3.DatabaseError:
            raise Invalid(f"{path} is no crosswalk.") from None

    def _check(self, name: str, value: str) -> None:
        if not self.claim(name, value):
            raise Invalid("The crosswalk was made with another key file, or by another version: name the one it has.")

    def claim(self, name: str, value: str) -> bool:
        """Whether a fact of the run is as this says; it is noted the first time."""
        self._db.execute("insert or ignore into meta values (?, ?)", (name, value))
        (found,) = self._db.execute("select value from meta where name = ?", (name,)).fetchone()
        return found == value

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def blind(self, kind: str, value: str) -> bytes:
        """What a value is looked up by."""
        return self._seal.blind(kind, value)

    def seal(self, value: object) -> bytes:
        """A value that only the key opens."""
        return self._seal.seal(value)

    def open(self, sealed: bytes) -> object:
        """What `seal` has sealed."""
        return self._seal.open(sealed)

    def transaction(self) -> sqlite3.Connection:
        """Begin a transaction; the connection is its context."""
        self._db.execute("begin immediate")
        return self._db

    def known(self, path: str, stamp: bytes) -> FileRow | None:
        """The row of a file that is as it was, whatever became of it."""
        row = self._db.execute(
            f"select {_COLUMNS} from file where key = ? and stamp = ?", (self.blind("path", path), stamp)
        ).fetchone()
        return self._row(row) if row else None

    def plan(self, path: str, stamp: bytes, values: dict[str, object], looked_up: Iterable[tuple[str, str]]) -> str:
        """Note a file anew; its former target, which is then no longer true, is returned (empty when it had none)."""
        key = self.blind("path", path)
        row = self._db.execute("select id, target from file where key = ?", (key,)).fetchone()
        if row:
            self._db.execute("delete from lookup where file_id = ?", (row[0],))
            self._db.execute("delete from file where id = ?", (row[0],))
        names = ", ".join(values)
        cursor = self._db.execute(
            f"insert into file (key, stamp, path{', ' if names else ''}{names}) values (?, ?, ?{', ?' * len(values)})",
            (key, stamp, self.seal(path), *values.values()),
        )
        rows = {(self.blind(kind, value), cursor.lastrowid) for kind, value in looked_up if value}
        self._db.executemany("insert or ignore into lookup values (?, ?)", rows)
        return str(row[1] or "") if row else ""

    def update(self, file_id: int, **values: object) -> None:
        """Write what is known of a file."""
        names = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"update file set {names} where id = ?", (*values.values(), file_id))

    def done(self, file_id: int, changes: Sequence[Change], **values: object) -> None:
        """Write that a file is out, and what was done to it."""
        self.update(
            file_id, state="done", code="", reason="", sealed=self.seal([list(one) for one in changes]), **values
        )

    def holds_instance(self, sop: str, besides: str) -> bool:
        """Whether a file other than the one of a path is this SOP instance and was not set aside."""
        found = self._db.execute(
            "select 1 from file where sop = ? and key != ? and state in ('planned', 'done')",
            (sop, self.blind("path", besides)),
        )
        return found.fetchone() is not None

    def holds_target(self, target: str) -> bool:
        """Whether a place in the output is taken."""
        return self._db.execute("select 1 from file where target = ?", (target,)).fetchone() is not None

    def paths(self, person_id: str, study: str, series: str) -> Iterator[str]:
        """The paths of the files of a series that are out or to be made."""
        rows = self._db.execute(
            "select path from file where person_id = ? and study = ? and series = ? and state in ('planned', 'done')",
            (person_id, study, series),
        ).fetchall()
        for (path,) in rows:
            yield str(self.open(path))

    def count(self, state: str) -> int:
        """How many files are in a state."""
        (number,) = self._db.execute("select count(*) from file where state = ?", (state,)).fetchone()
        return int(number)

    def files(self, *states: str) -> Iterator[FileRow]:
        """Files by person, study, series and number, a page at a time, so that they may change meanwhile."""
        marks = ", ".join("?" * len(states))
        order = "person_id, study, series, number, sop, id"
        after: tuple[object, ...] = ("", "", "", -1, "", -1)
        while True:
            rows = self._db.execute(
                f"select {_COLUMNS} from file where state in ({marks}) and ({order}) > (?, ?, ?, ?, ?, ?) "
                f"order by {order} limit {_PAGE}",
                (*states, *after),
            ).fetchall()
            for row in rows:
                yield self._row(row)
            if len(rows) < _PAGE:
                return
            last = self._row(rows[-1])
            after = (last.person_id, last.study, last.series, last.number, last.sop, last.id)

    def rows(self, value: str = "", kind: str = "") -> Iterator[tuple[FileRow, list[Change]]]:
        """What was done, file by file: all, or those of one old or new value.

        Parameters
        ----------
        value
            A PatientID, accession number or UID of an original, or a person_id, UID or target of an output.
        kind
            ``old`` or ``new``; empty for all files.
        """
        if kind == "old":
            where = "id in (select file_id from lookup where value = ?)"
            arguments: tuple[object, ...] = (self.blind("value", value),)
        elif kind == "new":
            where = "? in (person_id, accession, study, series, sop, target)"
            arguments = (value,)
        else:
            where, arguments = "1", ()
        for row in self._db.execute(f"select {_COLUMNS}, sealed from file where state = 'done' and {where}", arguments):
            changes = cast("list[list[str]]", self.open(row[-1]))
            yield self._row(row[:-1]), [Change(*one) for one in changes]

    def _row(self, row: tuple[object, ...]) -> FileRow:
        return FileRow(row[0], str(self.open(cast("bytes", row[1]))), *row[2:])  # pyright: ignore[reportArgumentType]


def check_same_run(crosswalk: Crosswalk, fingerprint: str) -> None:
    """See that a crosswalk is continued as it was begun.

    Raises
    ------
    Conflict
        When it belongs to a run with another profile or output folder.
    """
    if not crosswalk.claim("run", fingerprint):
        raise Conflict("The crosswalk belongs to a run with another profile or output folder: name a new crosswalk.")
