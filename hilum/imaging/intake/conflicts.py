"""What follows from a decision about a conflict: the files that were set aside for it are taken again, by a job."""

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from hilum.core.errors import NotFound
from hilum.core.progress import Progress
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.identity import Place
from hilum.imaging.archive.models import SetAside
from hilum.imaging.archive.patients import CONFLICT
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.header import NotDicom
from hilum.imaging.intake.tally import Tally

KIND: Final = "settle-conflict"
_GROUP: Final = 100


def retake(archive: Archive, arguments: Mapping[str, object], progress: Progress) -> None:
    """Take the files of a study that wait in conflict again; those whose conflict is not decided stay there."""
    source = archive.source(str(arguments["source"]))
    waiting = [
        SetAside.source_id == source.id,
        SetAside.code == CONFLICT,
        SetAside.study_instance_uid == str(arguments["study_instance_uid"]),
    ]
    with archive.database.connect() as connection:
        rows = connection.execute(sa.select(SetAside.__table__).where(*waiting).order_by(SetAside.id)).mappings().all()
    progress.expect(len(rows))
    tally = Tally(progress)
    for start in range(0, len(rows), _GROUP):
        _retake(archive, source, rows[start : start + _GROUP], tally)


def _retake(archive: Archive, source: SourceRef, rows: Sequence[sa.RowMapping], tally: Tally) -> None:
    taken: dict[str, int] = {}
    with archive.batch(source, "conflict") as batch:
        for row in rows:
            name = f"set aside as {row['id']}"
            place = Place(row["name"].rpartition("/")[0])
            try:
                if row["path"] is not None:
                    batch.index(name, row["path"], place=place)
                else:
                    batch.add(name, archive.blobs.stream(row["blob_key"]), place=place)
            except (OSError, NotFound, NotDicom):
                tally.skip("missing", name)
            else:
                taken[name] = row["id"]
        written = batch.commit()
    done = [taken[outcome.name] for outcome in written.outcomes if outcome.state != "set_aside"]
    with archive.database.transaction() as transaction:
        transaction.connection.execute(sa.delete(SetAside).where(SetAside.id.in_(done)))
    tally.written(written)
