"""When a study of a source with a CDM is processed: once its latest revision is linked, or waits for a person, and was
read for features, whatever comes first, twice, late or not at all."""

from typing import Any

import pytest

from hilum.clinical.cdm.cdm import FEATURES, LINKED
from hilum.clinical.cdm.create import create_cdm, default_schemas
from hilum.clinical.features import tasks as features_tasks
from hilum.clinical.features.extract import Choice, extract_study
from hilum.clinical.linkage import tasks as linkage_tasks
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.errors import Unavailable
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.studies import revisions, steps
from tests.clinical.cdm.conftest import site_of_database
from tests.clinical.features.conftest import Hospital
from tests.conftest import fresh_database
from tests.make import ct, uid

CHOICE = Choice.of(Settings())


def state(site: Hospital, number: int = 1) -> tuple[str, list[str]]:
    """The status of a study, and what it waits for."""
    study = site.study(number)
    with site.archive.database.connect() as connection:
        awaits = steps.awaited(connection, study)
    return site.one("select status from hilum.study where id = %s", study), awaits


def put(site: Hospital, *files: bytes) -> None:
    """Store files, and nothing more."""
    with site.archive.batch(site.archive.source(), "import") as batch:
        for number, file in enumerate(files):
            batch.add(f"file {number}", [file])
        batch.commit()


def revise(site: Hospital) -> dict[str, Any]:
    """Make the revision that is waited for; gives its event."""
    site.rows("update hilum.study_clock set due_at = now() where due_at is not null")
    revisions.revise_due(site.archive.database, mark_studies)
    return {"source": "http://hilum/sources/default", "data": site.told("revised")[-1]}


def link(site: Hospital, event: dict[str, Any]) -> None:
    linkage_tasks.handle(site.archive, site.manner, event)


def read(site: Hospital, event: dict[str, Any]) -> None:
    features_tasks.handle(site.archive, CHOICE, event)


@pytest.mark.parametrize("first", ["linked", "read"])
def test_a_study_is_processed_when_both_are_done(site: Hospital, first: str) -> None:
    """In whatever order, and twice; a later instance takes it back until its revision has gone the same way."""
    site.person(1)
    done = (link, read) if first == "linked" else (read, link)
    left = FEATURES if first == "linked" else LINKED
    for revision in (1, 2):
        put(site, ct(1, 1, revision))
        assert state(site) == ("indexed", ["instances", FEATURES, LINKED])
        event = revise(site)
        assert state(site) == ("indexed", [FEATURES, LINKED])
        done[0](site, event)
        done[0](site, event)
        assert state(site) == ("indexed", [left])
        assert len(site.told("processed")) == revision - 1
        done[1](site, event)
        done[1](site, event)
        done[0](site, event)
        assert state(site) == ("processed", [])
        assert site.told("processed")[revision - 1 :] == [
            {"study_id": site.study(), "study_instance_uid": uid(1), "revision": revision}
        ]


def test_a_study_that_waits_for_a_person_is_processed(site: Hospital) -> None:
    """Linking has said what it could: the study is in the queue with the reason."""
    site.store(ct(1, 1, 1, PatientID="stranger"))
    assert site.links()["person"] == (None, "no_person")
    assert state(site) == ("processed", [])


def test_what_was_done_for_an_earlier_revision_does_not_count(site: Hospital) -> None:
    """A worker that began before a revision was made, and is slow; also one that ends while instances come."""
    site.person(1)
    put(site, ct(1, 1, 1))
    event = revise(site)
    link(site, event)
    with site.archive.database.transaction() as sql:
        known = steps.revisions_of(sql, [site.study()])
    put(site, ct(1, 1, 2))
    finish(site, FEATURES, known)
    assert state(site) == ("indexed", ["instances", FEATURES, LINKED])
    later = revise(site)
    finish(site, FEATURES, known)
    assert state(site) == ("indexed", [FEATURES, LINKED])
    link(site, later)
    read(site, later)
    assert state(site) == ("processed", [])
    assert [told["revision"] for told in site.told("processed")] == [2]


def finish(site: Hospital, step: str, known: dict[int, int]) -> None:
    with site.archive.database.transaction() as sql:
        steps.finish(sql, step, known)


def test_instances_that_go_before_their_revision_leave_it_processed(site: Hospital) -> None:
    """For then its latest revision is what it is."""
    site.person(1)
    site.store(ct(1, 1, 1))
    assert state(site) == ("processed", [])
    put(site, ct(1, 1, 2))
    site.rows("update hilum.instance set deleted_at = now() where sop_instance_uid = %s", uid(1, 1, 2))
    revise(site)
    assert state(site) == ("processed", [])
    assert [told["revision"] for told in site.told("processed")] == [1, 1]


def test_a_step_that_fails_is_waited_for(site: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    site.person(1)
    put(site, ct(1, 1, 1))
    event = revise(site)
    link(site, event)

    def away(*_: object, **__: object) -> Any:
        raise Unavailable("The bucket does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr("hilum.imaging.archive.series_header.opened_instance", away)
        with pytest.raises(Unavailable):
            read(site, event)
    assert state(site) == ("indexed", [FEATURES])
    read(site, event)
    assert state(site) == ("processed", [])


def test_a_cdm_that_comes_later_is_linked_first(cluster: EmbeddedPostgres, tmp_path: Any) -> None:
    """What was processed without one is so again once `hilum cdm link` has been there; its features are known."""
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=4)
        bare = site_of_database(database, None, tmp_path)  # pyright: ignore - there is none yet
        site = Hospital(bare.archive, bare.cdm)
        put(site, ct(1, 1, 1), ct(2, 1, 1))
        event = revise(site)
        assert [told["revision"] for told in site.told("processed")] == [1, 1]
        link(site, event)
        assert state(site) == ("processed", []), "without a CDM nothing more is done"
        for study in (1, 2):
            extract_study(site.archive, site.study(study), CHOICE)
        site.cdm = create_cdm(database, "default", default_schemas("default"), "2000000000-2000999999")
        assert [state(site, study) for study in (1, 2)] == [("indexed", [LINKED])] * 2
        site.link_all()
        assert [state(site, study) for study in (1, 2)] == [("processed", [])] * 2
        assert len(site.told("processed")) == 4
        database.close()
