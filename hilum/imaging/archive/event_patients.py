"""What ``HILUM_EVENT_PATIENT_DATA`` adds to events as they leave: whose study it is, as the catalogue knows it then.
The feed itself holds no patient data but UIDs, whatever is set."""

from collections.abc import Sequence
from typing import cast

from hilum.core.database import Database
from hilum.core.delivery.consumer import CloudEvent, Enrich

_FIND = (
    "select distinct on (k.key, s.study_instance_uid) "
    "k.key as source, s.study_instance_uid, s.patient_id, s.accession_number "
    "from hilum.study s join hilum.source k on k.id = s.source_id "
    "join unnest(%s::text[], %s::text[]) wanted (source, uid) on wanted.source = k.key "
    "and wanted.uid = s.study_instance_uid order by k.key, s.study_instance_uid, s.id desc"
)


def naming_patients(database: Database) -> Enrich:
    """Have ``patient_id`` and ``accession_number`` added to the data of events that tell of a study."""

    def enrich(events: Sequence[CloudEvent]) -> Sequence[CloudEvent]:
        studies = [_study(event) for event in events]
        named = sorted({study for study in studies if study})
        if not named:
            return events
        with database.transaction() as sql:
            rows = sql.rows(_FIND, ([source for source, _ in named], [uid for _, uid in named]))
        known = {
            (str(row["source"]), str(row["study_instance_uid"])): {
                "patient_id": row["patient_id"],
                "accession_number": row["accession_number"],
            }
            for row in rows
        }
        return [
            {**event, "data": {**cast("dict[str, object]", event["data"]), **known[study]}} if study in known else event
            for event, study in zip(events, studies, strict=True)
        ]

    return enrich


def _study(event: CloudEvent) -> tuple[str, str] | None:
    """The source and the UID of the study that an event tells of."""
    uid = cast("dict[str, object]", event["data"]).get("study_instance_uid")
    return (str(event["source"]).rpartition("/")[2], uid) if isinstance(uid, str) else None
