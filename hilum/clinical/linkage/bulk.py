"""Linking all studies of a source at once: some thousand studies a transaction, so that memory stays flat, and a run
that was killed is simply run again."""

from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import LINKED, require_cdm
from hilum.clinical.features.rows import drop_orphans
from hilum.clinical.linkage.orders import read_orders
from hilum.clinical.linkage.settle import Manner, settle
from hilum.clinical.linkage.unchanged import base_of, keep_looks, look_at
from hilum.clinical.registry.keep import remove_orphans
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.imaging.studies import steps

KIND: Final = "cdm_link"
_AT_FIRST: Final = 100
_AT_ONCE: Final = 2000
_TIDIED: Final = (1, 2, 6, 30)
_GROWING: Final[tuple[LiteralString, ...]] = (
    "study_link", "settled_study", "series_occurrence", "minted_procedure", "series_order", "link_decision",
)  # fmt: skip
MANY: Final = 5000
"""From so many studies on it is worth looking first of which something has changed."""


def link_all(
    archive: Archive, source: str, manner: Manner, progress: Progress, *, again: bool = False, many: int = MANY
) -> None:
    """Bring the links of every study of a source up to date, deleted ones included.

    Parameters
    ----------
    archive
        Where, and where the files are that have not been read for their orders.
    source
        Key of the source.
    manner
        How studies are linked.
    progress
        Told of each batch; its counts are ``studies``, ``changed``, ``series_read``, and ``unchanged``: studies that
        were passed over, since nothing has changed that they depend on.
    again
        Link those as well.
    many
        From how many studies on that is looked at; fewer are all linked.

    Raises
    ------
    Conflict
        The source has no CDM.
    Unavailable
        The objects cannot be reached; what is done stays, and may be gone on with.
    """
    database = archive.database
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
        (row,) = sql.rows("select count(*) as studies from hilum.study where source_id = %s", (cdm.source_id,))
        progress.expect(cast("int", row["studies"]))
        base = base_of(sql, cdm, manner) if cast("int", row["studies"]) >= many else ""
    after = batches = 0
    while True:
        with database.transaction() as sql:
            limit = _AT_ONCE if batches else _AT_FIRST  # tables that nobody has counted are joined row by row
            studies = [cast("int", row["id"]) for row in sql.rows(_NEXT, (cdm.source_id, after, limit))]
            revisions = steps.revisions_of(sql, studies)
        if not studies:
            break
        progress.count("series_read", read_orders(archive, studies))
        with database.transaction() as sql:
            looks = look_at(sql, cdm, studies, base) if base else {}
            due = studies if again else [n for n in studies if n not in looks or not looks[n].same]
            if due:
                progress.count("changed", settle(sql, cdm, due, manner))
            if due and base:
                keep_looks(sql, cdm, looks, due)
        if base:
            progress.count("unchanged", len(studies) - len(due))
        with database.transaction() as sql:
            steps.finish(sql, LINKED, revisions)
        after, batches = studies[-1], batches + 1
        if batches in _TIDIED and due:
            database.tidy(
                "study_link", "settled_study", "series_occurrence", "minted_procedure", "series_order", "link_decision"
            )
            with database.transaction() as sql:
                sql.rows(cdm.sql("analyze {imaging}.image_occurrence"))
                sql.rows(cdm.sql("analyze {write}.procedure_occurrence"))
        progress.count("studies", len(studies))
        progress.step(len(studies))
    with database.transaction() as sql:
        removed = drop_orphans(sql, cdm) + len(sql.rows(cdm.sql(_ORPHANS), (cdm.source_id,)))
        progress.count("orphans_removed", removed + remove_orphans(sql, cdm))


_NEXT: Final[LiteralString] = "select id from hilum.study where source_id = %s and id > %s order by id limit %s"
# Rows of studies that were purged before anybody was told of it.
_ORPHANS: Final[LiteralString] = """
  delete from {imaging}.image_occurrence i using hilum.series_occurrence known
  where known.source_id = %s and not known.adopted and i.image_occurrence_id = known.image_occurrence_id
    and not exists (select from hilum.study s where s.source_id = known.source_id
      and s.study_instance_uid = known.study_instance_uid and s.deleted_at is null)
  returning i.image_occurrence_id
"""
