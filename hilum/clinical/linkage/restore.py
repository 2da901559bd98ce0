"""After the catalogue was made again from the objects: rows of the CDM that Hilum had written are known as its own
again, so that linking keeps them up to date under the ids that they have."""

from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import STEPS, find_cdm, has_table
from hilum.clinical.cdm.image_tables import OCCURRENCE
from hilum.clinical.features.restore import drop_unknown
from hilum.clinical.occurrence.keep import Places, occurrence_columns
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.imaging.archive.views import dicomweb_root
from hilum.imaging.studies import steps


def take_up(database: Database, settings: Settings, source: str) -> int:
    """Take up what Hilum had written into the CDM of a source, whose studies have to be linked again.

    Parameters
    ----------
    database
        Where.
    settings
        Hilum's rows are those whose ``wadors_uri`` begins with the address that these give it.
    source
        Key of the source.

    Returns
    -------
    int
        How many rows of image_occurrence are Hilum's and were not known as such.
    """
    with database.transaction() as sql:
        cdm = find_cdm(sql, source)
        if cdm is None:
            return 0
        steps.need(sql, cdm.source_id, STEPS)
        if not has_table(sql, cdm.schemas.imaging, OCCURRENCE):
            return 0
        if "wadors_uri" not in occurrence_columns(sql, cdm):
            return 0
        root = f"{Places.of(settings).base_url}{dicomweb_root(source)}/studies/"
        values = {"source": cdm.source_id, "root": root, "sequence": cdm.sql("{imaging}.hilum_procedure_id")}
        sql.rows(cdm.sql(_PROCEDURES), values)
        (row,) = sql.rows(cdm.sql(_SERIES), values)
        drop_unknown(sql, cdm)
    return cast("int", row["taken"])


_PROCEDURES: Final[LiteralString] = """
  insert into hilum.minted_procedure (source_id, study_instance_uid, procedure_occurrence_id)
  select %(source)s, i.image_study_uid, min(i.procedure_occurrence_id) from {imaging}.image_occurrence i
  join pg_sequence q on q.seqrelid = to_regclass(%(sequence)s)
    and i.procedure_occurrence_id between q.seqmin and q.seqmax
  where starts_with(i.wadors_uri, %(root)s) group by i.image_study_uid
  on conflict do nothing
"""
_SERIES: Final[LiteralString] = """
  with taken as (
    insert into hilum.series_occurrence (source_id, study_instance_uid, series_instance_uid, image_occurrence_id)
    select distinct on (i.image_study_uid, i.image_series_uid) %(source)s, i.image_study_uid, i.image_series_uid,
      i.image_occurrence_id
    from {imaging}.image_occurrence i where starts_with(i.wadors_uri, %(root)s)
    order by i.image_study_uid, i.image_series_uid, i.image_occurrence_id
    on conflict do nothing returning 1
  ) select count(*) as taken from taken
"""
