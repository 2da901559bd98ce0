"""Which studies are wanted from remote archives, and which were fetched: the queue between those who ask and those who
fetch. An entry is leased, and due again when the one who had it did not live to tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, LiteralString, TypeAlias, cast
from uuid import UUID, uuid4

import sqlalchemy as sa

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, NotFound
from hilum.imaging.remote.models import RemoteCopy
from hilum.imaging.remote.servers import COLUMNS, RemoteServer, read_server

State: TypeAlias = Literal["none", "waiting", "fetching", "held", "failed", "released"]

LEASE_SECONDS: Final = 30.0
HEARTBEAT_SECONDS: Final = 5.0
MAX_ATTEMPTS: Final = 5
MAX_LEASES: Final = 20
"""How often the one who fetches a study may not live to tell, before it is left alone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A study that somebody is to fetch."""

    study_id: int
    study_instance_uid: str
    attempts: int
    lease: UUID
    server: RemoteServer


@dataclass(frozen=True, slots=True)
class Copy:
    """Where the copy of a study stands; sizes in bytes."""

    state: State
    num_instances: int = 0
    bytes: int = 0
    error: str = ""
    asked_at: datetime | None = None
    fetched_at: datetime | None = None


def want(sql: Transaction, study_id: int) -> Copy:
    """Ask for the images of a study, unless they are here or coming already.

    Raises
    ------
    Conflict
        They lie here, or nothing is to be fetched from its source's remote archive.
    NotFound
        There is no such study.
    """
    rows = sql.rows(_STUDY, (study_id,))
    if not rows:
        raise NotFound("There is no such study.")
    found = find_copy(sql, study_id)
    if found.state in ("waiting", "fetching"):
        sql.rows("update hilum.remote_copy set rule = false where study_id = %s and rule", (study_id,))
        return found
    if rows[0]["availability"] != "remote":
        raise Conflict("The images of the study are here.")
    if not rows[0]["dicomweb_url"] or rows[0]["remote_fetch"] == "never":
        raise Conflict(f"Nothing is fetched from the remote archive of source '{rows[0]['source_key']}'.")
    sql.rows(_WANT, (study_id,))
    return find_copy(sql, study_id)


def want_indexed(sql: Transaction, server: RemoteServer, uids: Sequence[str]) -> int:
    """Ask for what was just indexed, by the rule of its source; what was asked for before is left as it is."""
    values = {"source": server.source.id, "uids": list(uids), "modalities": list(server.modalities)}
    return len(sql.rows(_WANT_INDEXED, values))


def find_copy(sql: Transaction, study_id: int) -> Copy:
    """Where the copy of a study stands."""
    columns = (RemoteCopy.__table__.columns[name] for name in Copy.__slots__)
    row = sql.connection.execute(sa.select(*columns).where(RemoteCopy.study_id == study_id)).first()
    return Copy(*row) if row else Copy("none")


def is_anything_due(database: Database) -> bool:
    """Whether there is something to fetch."""
    with database.transaction() as sql:
        return bool(sql.rows(f"select 1 from hilum.remote_copy c where {_DUE} limit 1"))


def lease(database: Database) -> Wanted | None:
    """Take what is to be fetched next: first what somebody waits for, the oldest first."""
    with database.transaction() as sql:
        sql.rows(_GIVE_UP, (MAX_LEASES,))
        rows = sql.rows(_LEASE, {"lease": uuid4(), "seconds": LEASE_SECONDS})
        if not rows:
            return None
        row = sql.rows(_LEASED, (rows[0]["study_id"],))[0]
    uid = str(row["study_instance_uid"])
    return Wanted(
        cast("int", row["study_id"]), uid, cast("int", row["attempts"]), cast("UUID", row["lease"]), read_server(row)
    )


def keep(database: Database, leases: Sequence[UUID]) -> None:
    """Say that what is being fetched is in good hands."""
    with database.transaction() as sql:
        sql.rows(
            "update hilum.remote_copy set leased_until = now() + make_interval(secs => %s) where lease = any(%s)",
            (LEASE_SECONDS, list(leases)),
        )


def fetched(sql: Transaction, wanted: Wanted, missing: int) -> None:
    """Note that the images of a study are here; ``missing`` is how many the remote archive told of and did not send."""
    error = f"The remote archive told of {missing} more instances and did not send them." if missing else ""
    sql.rows(_FETCHED, {"study": wanted.study_id, "lease": wanted.lease, "error": error})


def failed(database: Database, wanted: Wanted, error: str, *, passing: bool) -> None:
    """Note that the images of a study could not be fetched; what may pass is tried again, after doubling waits."""
    again = passing and wanted.attempts < MAX_ATTEMPTS
    values = {
        "study": wanted.study_id, "lease": wanted.lease, "error": error, "state": "waiting" if again else "failed",
        "seconds": 2.0**wanted.attempts,
    }  # fmt: skip
    with database.transaction() as sql:
        sql.rows(_FAILED, values)


def held_by_source(database: Database) -> dict[int, Row]:
    """Of each source how many studies wait, failed and are held, and how many bytes these have."""
    with database.transaction() as sql:
        return {cast("int", row["source_id"]): row for row in sql.rows(_BY_SOURCE)}


_STUDY: Final[LiteralString] = """
  select t.availability, s.key as source_key, s.dicomweb_url, s.remote_fetch
  from hilum.study t join hilum.source s on s.id = t.source_id where t.id = %s and t.deleted_at is null
"""
_WANT: Final[LiteralString] = """
  insert into hilum.remote_copy as c (study_id) values (%s)
  on conflict (study_id) do update set state = 'waiting', rule = false, attempts = 0, retry_at = now(), error = '',
    asked_at = now()
  where c.state not in ('waiting', 'fetching')
"""
_WANT_INDEXED: Final[LiteralString] = """
  insert into hilum.remote_copy (study_id, rule)
  select id, true from hilum.study
  where source_id = %(source)s and study_instance_uid = any(%(uids)s) and deleted_at is null
    and availability = 'remote' and (%(modalities)s::text[] = '{}' or modalities && %(modalities)s::text[])
  order by id on conflict (study_id) do nothing returning study_id
"""
_DUE: Final[LiteralString] = """
  ((c.state = 'waiting' and c.retry_at <= now()) or (c.state = 'fetching' and c.leased_until <= now()))
"""
_LEASE: Final[LiteralString] = f"""
  update hilum.remote_copy set state = 'fetching', lease = %(lease)s, attempts = attempts + 1,
    leased_until = now() + make_interval(secs => %(seconds)s)
  where study_id = (select c.study_id from hilum.remote_copy c join hilum.study t on t.id = c.study_id
    where {_DUE} and t.deleted_at is null
    order by c.rule, c.asked_at, c.study_id limit 1 for update of c skip locked)
  returning study_id
"""
_GIVE_UP: Final[LiteralString] = """
  update hilum.remote_copy set state = 'failed', lease = null, leased_until = null,
    error = 'Whoever fetched it was ended each time.'
  where state = 'fetching' and leased_until <= now() and attempts >= %s
"""
_LEASED: Final[LiteralString] = f"""
  select c.study_id, c.attempts, c.lease, t.study_instance_uid, {COLUMNS}
  from hilum.remote_copy c join hilum.study t on t.id = c.study_id join hilum.source s on s.id = t.source_id
  where c.study_id = %s
"""
_FETCHED: Final[LiteralString] = """
  update hilum.remote_copy c set state = 'held', lease = null, leased_until = null, error = %(error)s,
    fetched_at = now(), num_instances = t.num_instances, bytes = t.bytes
  from hilum.study t where c.study_id = %(study)s and c.lease = %(lease)s and t.id = c.study_id
"""
_FAILED: Final[LiteralString] = """
  update hilum.remote_copy set state = %(state)s, lease = null, leased_until = null, error = %(error)s,
    retry_at = now() + make_interval(secs => %(seconds)s)
  where study_id = %(study)s and lease = %(lease)s
"""
_BY_SOURCE: Final[LiteralString] = """
  select t.source_id, count(*) filter (where c.state in ('waiting', 'fetching')) as waiting,
    count(*) filter (where c.state = 'failed') as failed, count(*) filter (where c.state = 'held') as held,
    coalesce(sum(c.bytes) filter (where c.state = 'held'), 0)::bigint as bytes
  from hilum.remote_copy c join hilum.study t on t.id = c.study_id where t.deleted_at is null group by t.source_id
"""
