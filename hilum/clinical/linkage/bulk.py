"""Linking all studies of a source at once: some thousand studies a transaction, so that memory stays flat, and a run
that was killed is simply run again."""

from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import require_cdm
from hilum.clinical.linkage.settle import Manner, settle
from hilum.clinical.registry.keep import remove_orphans
from hilum.core.database import Database
from hilum.core.progress import Progress

KIND: Final = "cdm_link"
_AT_ONCE: Final = 2000
_TIDIED: Final = (1, 5, 25)


def link_all(database: Database, source: str, manner: Manner, progress: Progress) -> None:
    """Bring the links of every study of a source up to date, deleted ones included.

    Parameters
    ----------
    database
        Where.
    source
        Key of the source.
    manner
        How studies are linked.
    progress
        Told of each batch; its counts are ``studies`` and ``changed``.

    Raises
    ------
    Conflict
        The source has no CDM.
    """
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
        (row,) = sql.rows("select count(*) as studies from hilum.study where source_id = %s", (cdm.source_id,))
        progress.expect(cast("int", row["studies"]))
    after = batches = 0
    while True:
        with database.transaction() as sql:
            rows = sql.rows(_NEXT, (cdm.source_id, after, _AT_ONCE))
            if not rows:
                break
            studies = [cast("int", row["id"]) for row in rows]
            progress.count("changed", settle(sql, cdm, studies, manner))
        after, batches = studies[-1], batches + 1
        if batches in _TIDIED:  # tables that grow from nothing are searched badly until they are counted
            database.tidy("study_link", "series_occurrence", "minted_procedure")
            with database.transaction() as sql:
                sql.rows(cdm.sql("analyze {imaging}.image_occurrence"))
        progress.count("studies", len(studies))
        progress.step(len(studies))
    with database.transaction() as sql:
        progress.count("orphans_removed", len(sql.rows(cdm.sql(_ORPHANS), (cdm.source_id,))))
        progress.count("orphans_removed", remove_orphans(sql, cdm))


_NEXT: Final[LiteralString] = "select id from hilum.study where source_id = %s and id > %s order by id limit %s"
# Rows of studies that were purged before anybody was told of it.
_ORPHANS: Final[LiteralString] = """
  delete from {imaging}.image_occurrence i using hilum.series_occurrence known
  where known.source_id = %s and not known.adopted and i.image_occurrence_id = known.image_occurrence_id
    and not exists (select from hilum.study s where s.source_id = known.source_id
      and s.study_instance_uid = known.study_instance_uid and s.deleted_at is null)
  returning i.image_occurrence_id
"""
