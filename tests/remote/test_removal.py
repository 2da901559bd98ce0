"""A source that is removed: refused while something lies only there, hidden with what is known of its remote archive,
and brought back within the grace."""

from datetime import timedelta

import pytest

from hilum.core.errors import Conflict, NotFound
from hilum.core.events import read_events
from hilum.imaging.archive.delete import delete_study, purge
from hilum.imaging.archive.edit import correct_study
from hilum.imaging.archive.query import sources
from hilum.imaging.archive.repair import repair
from hilum.imaging.archive.sidecar import record_changes
from hilum.imaging.archive.sources import add_source
from hilum.imaging.remote.keeping import release
from hilum.imaging.remote.removal import finish_removals, remove_source, restore_source
from hilum.imaging.remote.servers import find_server
from tests.make import ct, uid
from tests.remote.conftest import Here, Liar, reply

WHO = "ann"


def told(number: int) -> dict[str, object]:
    """What a server says of a study."""
    return {
        "0020000D": {"vr": "UI", "Value": [uid(number)]}, "00100020": {"vr": "LO", "Value": [f"P{number}"]},
        "00080050": {"vr": "SH", "Value": [f"A{number}"]}, "00201206": {"vr": "IS", "Value": [1]},
    }  # fmt: skip


@pytest.fixture
def far(here: Here, liar: Liar) -> Here:
    """Ours, which knows three studies of a remote archive."""
    liar.answer = lambda handler: reply(handler, [told(n) for n in (1, 2, 3)])
    here.name(liar.url, credentials={"token": "s3cret-word"})
    assert here.index().counts == {"studies_new": 3}
    return here


def keys(here: Here) -> list[str]:
    with here.archive.database.connect() as connection:
        return [str(row["key"]) for row in sources(connection)]


def events(here: Here) -> list[tuple[str, str]]:
    with here.archive.database.connect() as connection:
        found = read_events(connection, "", limit=1000)
    kinds = ("source.removed", "source.restored", "study.deleted", "study.restored")
    return [(str(e["type"])[6:-3], str(e["subject"])) for e in found if str(e["type"])[6:-3] in kinds]


def test_what_is_known_only_there_has_to_be_given_up_by_word(far: Here) -> None:
    database = far.archive.database
    with pytest.raises(Conflict, match=r"3 studies are known .* forget=true"):
        remove_source(database, "far", WHO)
    with pytest.raises(Conflict, match="always there"):
        remove_source(database, "default", WHO, forget=True)
    with pytest.raises(NotFound):
        remove_source(database, "nowhere", WHO, forget=True)
    assert (keys(far), len(far.studies()), events(far)) == (["default", "far"], 3, [])


def test_images_that_lie_here_are_never_removed(far: Here) -> None:
    database = far.archive.database
    with far.archive.batch(far.archive.source("far"), "stow") as batch:
        batch.add("x", [ct(4, 1, 1)])
        batch.commit()
    with pytest.raises(Conflict, match=r"images of 1 studies .* lie here"):
        remove_source(database, "far", WHO, forget=True)
    far.quiet()
    delete_study(database, int(str(far.studies()[uid(4)]["id"])), WHO)
    with pytest.raises(Conflict, match="1 deleted studies that can be restored"):
        remove_source(database, "far", WHO, forget=True)
    purge(database, far.archive.blobs, timedelta(0))
    assert remove_source(database, "far", WHO, forget=True) == 3


def test_it_is_gone_at_once_and_comes_back_as_it_was(far: Here) -> None:
    database = far.archive.database
    correct_study(database, int(str(far.studies()[uid(2)]["id"])), {"study_description": "Better"}, WHO)
    delete_study(database, int(str(far.studies()[uid(3)]["id"])), WHO)
    before = far.studies()
    assert remove_source(database, "far", WHO, forget=True) == 2
    assert (keys(far), far.studies()) == (["default"], {})
    for ask in (far.archive.source, lambda key: find_server(database, key)):
        with pytest.raises(NotFound):
            ask("far")
    with pytest.raises(NotFound):
        remove_source(database, "far", WHO, forget=True)
    with pytest.raises(Conflict, match="hilum source restore far"):
        add_source(database, "far", "Far")
    assert restore_source(database, "far", WHO) == 2
    after = far.studies()
    assert keys(far) == ["default", "far"]
    changed = {"updated_at", "version"}
    assert {u: {k: v for k, v in row.items() if k not in changed} for u, row in after.items()} == {
        u: {k: v for k, v in row.items() if k not in changed} for u, row in before.items()
    }
    assert find_server(database, "far").login == "none", "its credentials were forgotten"
    with pytest.raises(NotFound, match="was removed"):
        restore_source(database, "far", WHO)
    assert sorted(events(far)) == sorted([
        ("study.deleted", uid(3)), ("source.removed", "far"), ("study.deleted", uid(1)), ("study.deleted", uid(2)),
        ("source.restored", "far"), ("study.restored", uid(1)), ("study.restored", uid(2)),
    ])  # fmt: skip
    assert far.index().counts == {"studies_unchanged": 2}, "the one that was deleted by itself stays so"


def test_after_the_grace_the_index_brings_the_studies_again(far: Here) -> None:
    database = far.archive.database
    remove_source(database, "far", WHO, forget=True)
    purge(database, far.archive.blobs, timedelta(0))
    assert restore_source(database, "far", WHO) == 0
    assert far.studies() == {}
    assert far.index().counts == {"studies_new": 3}


def test_what_was_interrupted_or_came_late_is_finished(far: Here) -> None:
    database = far.archive.database
    source = far.archive.source("far")
    with database.transaction() as sql:  # as one that was ended after its first step
        sql.rows("update hilum.source set removed = true, removed_at = clock_timestamp() where key = 'far'")
    assert len(far.studies()) == 3
    finish_removals(database)
    assert far.studies() == {}
    with database.transaction() as sql:
        sql.rows("update hilum.source set removed = false where id = %s", (source.id,))
    finish_removals(database)
    assert len(far.studies()) == 3
    finish_removals(database)
    assert len(far.studies()) == 3


def test_a_copy_that_was_given_up_keeps_its_revision(far: Here) -> None:
    database = far.archive.database
    with far.archive.batch(far.archive.source("far"), "remote") as batch:
        batch.add("x", [ct(1, 1, 1)])
        batch.commit()
    far.quiet()
    study = int(str(far.studies()[uid(1)]["id"]))
    with database.transaction() as sql:
        sql.rows("insert into hilum.remote_copy (study_id, state, fetched_at) values (%s, 'held', now())", (study,))
        sql.rows("update hilum.study set revision = 1 where id = %s", (study,))
        sql.rows("update hilum.study_clock set revision = 1")
    release(database, study)
    remove_source(database, "far", WHO, forget=True)
    assert restore_source(database, "far", WHO) == 3
    assert far.studies()[uid(1)]["availability"] == "remote"


def test_a_repair_knows_that_it_was_removed(far: Here) -> None:
    archive = far.archive
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    remove_source(archive.database, "far", WHO, forget=True)
    record_changes(archive.database, archive.blobs, quiet_seconds=0)
    with archive.database.transaction() as sql:
        sql.rows("delete from hilum.source where key = 'far'")
    repair(archive)
    assert keys(far) == ["default"]
    assert restore_source(archive.database, "far", WHO) == 0
