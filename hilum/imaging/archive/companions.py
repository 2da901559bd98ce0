"""Files that come with instances and are none: those of a zip, kept beside its studies, and those that a person is to
look at. They are made durable as instances are."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import sqlalchemy as sa
from blake3 import blake3
from sqlalchemy.dialects.postgresql import insert

from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.aside import Aside, write_aside
from hilum.imaging.archive.delete import hold_objects
from hilum.imaging.archive.models import BundleFile, Study
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.store import Archive


def store_bundle_files(
    archive: Archive, source: SourceRef, studies: Sequence[str], files: Iterable[tuple[str, str, Iterable[bytes]]]
) -> int:
    """Keep the files that came in a zip beside the instances of its studies.

    Parameters
    ----------
    archive, source
        Where to keep them.
    studies
        Study Instance UIDs that the zip held; without any, the files are set aside.
    files
        Name, kind (``image``, ``pdf``, ``dicom``, ``other``) and bytes of each.

    Returns
    -------
    int
        How many files were kept: none of a source that de-identifies what comes in.
    """
    if source.intake_profile:  # nothing that cannot be de-identified is kept
        return 0
    kept: list[tuple[Aside, str]] = []
    with archive.blobs.group() as group, ExitStack() as stack:
        for name, kind, chunks in files:
            item, digest = group.create(), blake3()
            for chunk in chunks:
                item.write(chunk)
                digest.update(chunk)
            key = f"{source.key}/{'bundles' if studies else 'set-aside'}/{digest.hexdigest()}"
            reason = "It came in a zip without any DICOM study."
            kept.append((Aside(name, "no_study_in_bundle", reason, item.size, digest.hexdigest(), key, None), kind))
            item.finish(key)
        transaction = stack.enter_context(archive.database.transaction())
        hold_objects(transaction)
        group.commit()
        if not studies:
            write_aside(transaction, source, "bundle", [file for file, _ in kept])
            return len(kept)
        owners = transaction.connection.scalars(
            sa.select(Study.id).where(
                Study.source_id == source.id, Study.study_instance_uid.in_(studies), Study.deleted_at.is_(None)
            )
        ).all()
        mark_studies(transaction, owners)
        for owner in owners:
            for file, kind in kept:
                values = {
                    "study_id": owner, "name": file.name, "kind": kind, "size": file.size, "digest": file.digest,
                    "blob_key": file.blob_key,
                }  # fmt: skip
                transaction.connection.execute(insert(BundleFile).values(values).on_conflict_do_nothing())
    return len(kept)


def set_aside(
    archive: Archive, source: SourceRef, origin: str, name: str, chunks: Iterable[bytes], code: str, reason: str
) -> None:
    """Keep a file that is no instance, with its reason, for a person to look at; not of a source that de-identifies."""
    if source.intake_profile:
        return
    with archive.blobs.group() as group:
        item, digest = group.create(), blake3()
        for chunk in chunks:
            item.write(chunk)
            digest.update(chunk)
        key = f"{source.key}/set-aside/{digest.hexdigest()}"
        item.finish(key)
        group.commit()
        file = Aside(name, code, reason, item.size, digest.hexdigest(), key, None)
    with archive.database.transaction() as transaction:
        write_aside(transaction, source, origin, [file])
