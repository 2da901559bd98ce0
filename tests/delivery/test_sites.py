"""Sites: an event waits for its edge until that edge has read it, and goes to no other."""

import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from hilum.core.database import Database
from hilum.core.delivery.edge import receive
from hilum.core.delivery.ledger import replay
from hilum.core.delivery.mailboxes import STREAM, SitePost
from hilum.core.delivery.sites import ADDED, add_site, addressed, remove_site
from hilum.core.errors import Conflict, NotFound
from hilum.core.events import Event
from hilum.core.nats import Link, NatsOptions
from tests.conftest import wait_until
from tests.delivery.conftest import Nats, emit, rows

Start = Callable[..., None]


class Edge:
    """A site that reads."""

    def __init__(self, server: Nats, site: str) -> None:
        self.read: list[str] = []
        self.ids: list[str] = []
        self.fails: tuple[str, str] | None = None
        """A subject that it fails on until it has read another."""
        self.stop = threading.Event()
        self._thread = threading.Thread(target=receive, args=(NatsOptions((server.url,)), site, self, self.stop))
        self._thread.start()

    def __call__(self, event: Mapping[str, object]) -> None:
        if self.fails and event["subject"] == self.fails[0] and self.fails[1] not in self.read:
            raise ValueError
        if event["type"] != ADDED:
            self.read.append(str(event["subject"]))
            self.ids.append(str(event["id"]))

    def end(self) -> None:
        self.stop.set()
        self._thread.join(30)


@pytest.fixture
def edge(nats_server: Nats) -> Iterator[Callable[[str], Edge]]:
    edges: list[Edge] = []

    def start(site: str) -> Edge:
        edges.append(Edge(nats_server, site))
        return edges[-1]

    yield start
    for one in edges:
        one.stop.set()
    for one in edges:
        one.end()


def post(database: Database, server: Nats, couriers: Start) -> None:
    couriers(SitePost(database, Link(NatsOptions((server.url,))), "http://hilum", list).group())


def send(database: Database, site: str, *subjects: str) -> None:
    for subject in subjects:
        with database.transaction() as transaction:
            transaction.emit(addressed(Event("hilum.x.v1", "default", subject, {}), site))


def test_an_event_waits_for_its_site_and_goes_to_no_other(
    database: Database, couriers: Start, nats_server: Nats, edge: Callable[[str], Edge]
) -> None:
    add_site(database, "north")
    add_site(database, "south")
    post(database, nats_server, couriers)
    send(database, "north", "1", "2")
    emit(database, "3")
    south = edge("south")
    wait_until(lambda: nats_server.count(STREAM) == 3)  # south has read that it was added
    assert south.read == []
    north = edge("north")
    wait_until(lambda: north.read == ["1", "2"])
    wait_until(lambda: nats_server.count(STREAM) == 0)
    assert south.read == []


def test_what_was_read_does_not_come_again_and_what_was_not_waits_over_a_kill_of_nats(
    database: Database, couriers: Start, nats_server: Nats, edge: Callable[[str], Edge]
) -> None:
    add_site(database, "north")
    post(database, nats_server, couriers)
    first = edge("north")
    send(database, "north", "1")
    wait_until(lambda: first.read == ["1"])
    wait_until(lambda: nats_server.count(STREAM) == 0)
    first.end()
    send(database, "north", "2", "3")
    wait_until(lambda: nats_server.count(STREAM) == 2)
    nats_server.kill()
    send(database, "north", "4")
    nats_server.start()
    second = edge("north")
    wait_until(lambda: second.read == ["2", "3", "4"])


def test_an_edge_survives_a_kill_of_nats(
    database: Database, couriers: Start, nats_server: Nats, edge: Callable[[str], Edge]
) -> None:
    add_site(database, "north")
    post(database, nats_server, couriers)
    north = edge("north")
    send(database, "north", "1")
    wait_until(lambda: north.read == ["1"])
    nats_server.kill()
    send(database, "north", "2")
    nats_server.start()
    wait_until(lambda: "2" in north.read, 60)


def test_a_site_is_told_of_its_sources_since_it_was_added(
    database: Database, couriers: Start, nats_server: Nats, edge: Callable[[str], Edge]
) -> None:
    emit(database, "before", source="a")
    add_site(database, "north", sources=["a", "b"], types=["x.v1"])
    add_site(database, "south", sources=["b"])
    post(database, nats_server, couriers)
    emit(database, "1", source="a")
    emit(database, "2", source="b")
    emit(database, "3", source="c")
    emit(database, "4", source="b", type="y.v1")
    north, south = edge("north"), edge("south")
    wait_until(lambda: (north.read, south.read) == (["1", "2"], ["2", "4"]))


def test_an_event_to_an_unknown_site_is_a_dead_letter_until_the_site_is_known(
    database: Database, couriers: Start, nats_server: Nats, edge: Callable[[str], Edge]
) -> None:
    add_site(database, "north")
    post(database, nats_server, couriers)
    send(database, "nrth", "1")
    send(database, "north", "2")
    north = edge("north")
    wait_until(lambda: north.read == ["2"])
    ((state, reason, consumer),) = rows(database, "select state, reason, consumer from hilum.delivery")
    assert (state, consumer) == ("dead", "sites")
    assert "'nrth'" in str(reason)
    add_site(database, "nrth")
    assert replay(database, consumer="sites") == 1
    wait_until(lambda: edge_read(edge, "nrth") == ["1"])


def edge_read(edge: Callable[[str], Edge], site: str) -> list[str]:
    known: dict[str, Edge] = edge.__dict__.setdefault("known", {})
    if site not in known:
        known[site] = edge(site)
    return known[site].read


def test_an_event_that_a_site_fails_on_comes_again_and_holds_up_no_other(
    database: Database, couriers: Start, nats_server: Nats, edge: Callable[[str], Edge]
) -> None:
    add_site(database, "north")
    post(database, nats_server, couriers)
    north = edge("north")
    north.fails = ("1", "3")
    send(database, "north", "1", "2", "3")
    wait_until(lambda: north.read == ["2", "3", "1"], 60)


def test_what_waits_for_a_site_goes_with_it(database: Database, couriers: Start, nats_server: Nats) -> None:
    add_site(database, "north")
    add_site(database, "south")
    post(database, nats_server, couriers)
    send(database, "north", "1", "2")
    send(database, "south", "3")
    wait_until(lambda: nats_server.count(STREAM) == 5)
    remove_site(database, "north")
    wait_until(lambda: nats_server.count(STREAM) == 2)


def test_a_site_is_added_once_and_removed_once(database: Database) -> None:
    add_site(database, "north")
    with pytest.raises(Conflict):
        add_site(database, "north")
    remove_site(database, "north")
    with pytest.raises(NotFound):
        remove_site(database, "north")
