"""A version is made, from its definition to its publication, by a job or a command. It may be ended anywhere and begun
again: what was planned stays, what is durable is not made twice, and the last transaction makes the whole visible."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, LiteralString

import msgspec

from hilum.core.blobs import disk
from hilum.core.database import Transaction
from hilum.core.errors import HilumError, Unavailable
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.assemble import Assembly, assemble
from hilum.research.datasets.checklist import Subject, check_version
from hilum.research.datasets.definition import LayoutName, profile_of
from hilum.research.datasets.delete import in_use
from hilum.research.datasets.make import make_instances, people_of
from hilum.research.datasets.outputs import OutFile
from hilum.research.datasets.plan import plan_version
from hilum.research.datasets.site_key import site_keys
from hilum.research.datasets.versions import definition_of, publish, version_by_id
from hilum.research.datasets.work import Setup, software
from hilum.research.deid.keys import Keys

RULES: Final = "the rules"


def build_version(archive: Archive, version_id: int, progress: Progress) -> None:
    """Make a version; one that is made already stays as it is.

    Parameters
    ----------
    archive
        Where the originals are, and where the version goes.
    version_id
        Hilum's id of it.
    progress
        Told of each batch; its counts are ``instances``, its reasons say what is held back.

    Raises
    ------
    Conflict, Invalid
        The key file is another, or the profile is gone.
    """
    try:
        with in_use(archive.database, version_id):
            with archive.database.connect() as connection:
                version = version_by_id(connection, version_id)
            if version["state"] == "building":
                _build(archive, version_id, progress)
    except HilumError as error:
        if not isinstance(error, Unavailable):
            _note(archive, version_id, str(error))
        raise


def _build(archive: Archive, version_id: int, progress: Progress) -> None:
    keys = site_keys(archive.database, archive.settings)
    with archive.database.transaction() as sql:
        definition = definition_of(version_by_id(sql.connection, version_id))
        plan_version(sql, version_id, definition, archive.settings, keys)
        profile = profile_of(definition, archive.settings)
        _by_one_software(sql, version_id, software(profile))
    make_instances(archive, version_id, Setup(archive.settings, profile, keys), progress)
    progress.say("All instances are made; the tables are written.")
    with workplace(archive) as folder:
        work = assembly(archive, version_id, definition.layout, keys, folder)
        manifest = assemble(work)
        subject = Subject(
            archive, version_id, definition, definition.layout, profile, keys, work.people, work.outputs.files
        )
        report = check_version(subject)
        progress.write()
        _finish(archive, version_id, work, manifest, report)
    for name, count in work.counts.items():
        if name != "instances":
            progress.count(name, count)
    for reason, count in work.unplaced.items():
        progress.say(f"{count} instances: {reason}")


def _by_one_software(sql: Transaction, version_id: int, now: dict[str, str]) -> None:
    """See that all of a version is made by the same software: what another one made of it is made again."""
    (row,) = sql.rows("select software from hilum.dataset_version where id = %s for update", (version_id,))
    if row["software"] != now:
        sql.rows(_AGAIN, (version_id,))
        said = msgspec.json.encode(now).decode()
        sql.rows("update hilum.dataset_version set software = %s where id = %s", (said, version_id))


def assembly(archive: Archive, version_id: int, layout: LayoutName, keys: Keys, folder: Path) -> Assembly:
    """What it takes to put a version together in a layout, its own or another."""
    with archive.database.connect() as connection:
        definition = definition_of(version_by_id(connection, version_id))
    profile = profile_of(definition, archive.settings)
    people = people_of(archive.database, version_id, keys)
    return Assembly(archive, version_id, definition, layout, profile, keys, people, folder)


@contextmanager
def workplace(archive: Archive) -> Generator[Path]:
    """A folder for what is being written; what a kill leaves of it, the next process that needs one removes."""
    root = archive.settings.data_path / "spool"
    disk.make_root(root)
    held = disk.TemporaryFolder(root)
    try:
        yield held.folder
    finally:
        held.remove()


def _finish(archive: Archive, version_id: int, work: Assembly, manifest: OutFile, report: dict[str, object]) -> None:
    with archive.database.transaction() as sql:
        (row,) = sql.rows("select state, review from hilum.dataset_version where id = %s for update", (version_id,))
        if row["state"] != "building":
            return
        sql.rows("delete from hilum.dataset_file where version_id = %s", (version_id,))
        copy = "copy hilum.dataset_file (version_id, path, size, crc32, digest, blob_key) from stdin"
        with sql.driver.cursor().copy(copy) as into:
            for one in work.outputs.files:
                into.write_row((version_id, one.path, one.size, one.crc32, one.digest, one.blob_key))
        counts = work.counts | {"files": len(work.outputs.files)}
        values = {
            "id": version_id, "counts": msgspec.json.encode(counts).decode(), "digest": manifest.digest,
            "report": msgspec.json.encode(report).decode(), "size": sum(one.size for one in work.outputs.files),
        }  # fmt: skip
        sql.rows(_DRAFT, values)
        if report["passed"] and not row["review"]:
            publish(sql, version_id, RULES)


def _note(archive: Archive, version_id: int, why: str) -> None:
    with archive.database.transaction() as sql:
        sql.rows("update hilum.dataset_version set note = %s where id = %s", (why, version_id))


_AGAIN: Final[LiteralString] = """
  update hilum.dataset_instance set state = 'planned', code = '', reason = ''
  where version_id = %s and (state = 'done' or state = 'held' and code <> 'derived')
"""
_DRAFT: Final[LiteralString] = """
  update hilum.dataset_version set state = 'draft', counts = %(counts)s, report = %(report)s, digest = %(digest)s,
    size = %(size)s, note = '' where id = %(id)s
"""
