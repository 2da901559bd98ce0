"""Sites: edges that events wait for until they have read them, however long they are away. An event goes to a site
because it is addressed to it (`addressed`), or because the site is told of its source. One that is addressed to a site
nobody knows becomes a dead letter. How they get there is `mailboxes`, and how they are read there `edge`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, cast

from hilum.core.database import Database, Row
from hilum.core.delivery import ledger
from hilum.core.delivery.consumer import CloudEvent
from hilum.core.errors import Conflict, NotFound
from hilum.core.events import Event

ADDRESS: Final = "to_site"
ADDED: Final = "hilum.site.added.v1"
REMOVED: Final = "hilum.site.removed.v1"
MAX_SITES: Final = 200
# These events are of no data source.
OWN: Final = "hilum"


@dataclass(frozen=True, slots=True)
class SiteRef:
    """An edge: told of events that are addressed to it, and of those of some sources since it was added.

    Attributes
    ----------
    key
        Its name in subjects.
    name
        What people call it.
    sources, types
        The events of these sources go to it, if they are of these types; no types are all, no sources are none.
    after
        The last event before it was added.
    """

    key: str
    name: str
    sources: Sequence[str]
    types: Sequence[str]
    after: int
    created_at: datetime

    def is_told_of(self, event: CloudEvent, source: str) -> bool:
        """Whether an event goes to this site though it is not addressed to any."""
        fits = source in self.sources and (not self.types or event["type"] in self.types)
        return fits and int(str(event["sequence"])) > self.after


def addressed(event: Event, site: str) -> Event:
    """Address an event to a site: it goes to that one only, and waits there until it has been read."""
    return replace(event, data={**event.data, ADDRESS: site})


def sites(database: Database) -> list[SiteRef]:
    """All sites, by key."""
    with database.transaction() as sql:
        return [_site(row) for row in sql.rows("select * from hilum.site order by key")]


def add_site(
    database: Database, key: str, name: str = "", *, sources: Sequence[str] = (), types: Sequence[str] = ()
) -> SiteRef:
    """Add a site; the first event that it reads is that it was added.

    Raises
    ------
    Conflict
        There is one with this key, or there are as many as there may be.
    """
    with database.transaction() as sql:
        if len(sql.rows("select 1 from hilum.site limit %s", (MAX_SITES,))) >= MAX_SITES:
            raise Conflict(f"There are {MAX_SITES} sites, which is the most: delete one first.")
        rows = sql.rows(
            "insert into hilum.site (key, name, sources, types, after) values (%s, %s, %s, %s, %s) "
            "on conflict do nothing returning *",
            (key, name, list(sources), list(types), ledger.last_event(sql)),
        )
        if not rows:
            raise Conflict(f"There is a site '{key}' already: delete it first, or choose another key.")
        sql.emit(addressed(Event(ADDED, OWN, key, {"name": name}), key))
    return _site(rows[0])


def remove_site(database: Database, key: str) -> None:
    """Delete a site, and what waits for it; raises ``NotFound``."""
    with database.transaction() as sql:
        if not sql.rows("delete from hilum.site where key = %s returning 1", (key,)):
            raise NotFound(f"There is no site '{key}'.")
        sql.emit(Event(REMOVED, OWN, key, {}))


def _site(row: Row) -> SiteRef:
    return SiteRef(
        key=str(row["key"]),
        name=str(row["name"]),
        sources=cast("list[str]", row["sources"]),
        types=cast("list[str]", row["types"]),
        after=cast("int", row["after"]),
        created_at=cast("datetime", row["created_at"]),
    )
