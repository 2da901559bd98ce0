"""From arrivals to rows: each instance with the rows of patient, study and series above it, and whose it is. How rows
get into the tables is for ``catalogue``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from hilum.core.database import Transaction
from hilum.imaging.archive.arrivals import Arrival, SourceRef
from hilum.imaging.archive.describe import Above, Values, describe_above, describe_instance
from hilum.imaging.archive.further import Kept, merged
from hilum.imaging.archive.identity import Patient, patient_of
from hilum.imaging.archive.patients import Chosen, decide, decisions, effective


@dataclass(frozen=True, slots=True)
class Entry:
    """An arrival with its rows; those of patient, study and series are shared by all arrivals of a series. ``given`` is
    the patient that it names, ``patient`` the one it belongs to."""

    arrival: Arrival
    above: Above
    instance: Values
    patient: Patient
    given: Patient

    @property
    def study_uid(self) -> str:
        """The UID of its study."""
        return self.arrival.identity.study_instance_uid

    @property
    def series_uid(self) -> str:
        """The UID of its series."""
        return self.arrival.identity.series_instance_uid

    @property
    def sop_uid(self) -> str:
        """Its own UID."""
        return self.arrival.identity.sop_instance_uid


def entries_of(
    transaction: Transaction,
    source: SourceRef,
    arrivals: Sequence[Arrival],
    origin: str,
    chosen: Chosen | None,
    choice: str,
) -> list[Entry]:
    """Make the rows of arrivals; of each series the first in the batch speaks for what lies above it. Whose an instance
    is that names another patient than was decided, or that a person chose another for, is written down."""
    decided = decisions(transaction, source.id, {arrival.identity.study_instance_uid for arrival in arrivals})
    above: dict[tuple[str, str, Patient], Above] = {}
    studies: dict[tuple[str, Patient], Values] = {}
    entries: list[Entry] = []
    choices: dict[tuple[str, Patient], Patient] = {}
    for arrival in arrivals:
        uid = arrival.identity.study_instance_uid
        given = patient_of(arrival.header)
        patient = effective(given, uid, decided, chosen)
        if patient not in (given, decided.get((uid, given))):
            choices[uid, given] = patient
        key = uid, arrival.identity.series_instance_uid, patient
        if key not in above:
            rows = describe_above(arrival.header, arrival.known, patient)
            rows.patient["source_id"] = rows.study["source_id"] = source.id
            rows.series["folder_path"] = (arrival.blob_key or arrival.path or "").rpartition("/")[0]
            rows.series["further"] = arrival.excerpt.series
            rows.study["indexed_for"] = choice
            study = studies.setdefault((uid, patient), rows.study)
            study["further"] = merged(cast("Kept", study.get("further")), arrival.excerpt.study)
            study.update({name: value for name, value in rows.study.items() if study[name] in (None, "")})
            above[key] = Above(rows.patient, study, rows.series)
        entries.append(Entry(arrival, above[key], _instance(source, arrival, origin), patient, given))
    for uid, given in sorted(choices, key=str):
        decide(transaction, source.id, uid, given, choices[uid, given], origin)
    return entries


def _instance(source: SourceRef, arrival: Arrival, origin: str) -> Values:
    return describe_instance(arrival.header) | {
        "source_id": source.id,
        "sop_instance_uid": arrival.identity.sop_instance_uid,
        "sop_class_uid": arrival.identity.sop_class_uid,
        "num_frames": arrival.frames,
        "size": arrival.size,
        "digest": arrival.digest,
        "crc32": arrival.crc32,
        "blob_key": arrival.blob_key,
        "path": arrival.path,
        "path_mtime_ns": arrival.path_mtime_ns,
        "frame_offsets": arrival.frame_offsets,
        "derived": arrival.known.derived,
        "fingerprint": arrival.fingerprint,
        "origin": origin,
        "further": arrival.excerpt.instance,
    }
