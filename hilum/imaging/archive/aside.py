"""Files that are set aside with their reason, as rows: what claims to be DICOM and cannot be catalogued, what conflicts
with what is archived, what came along without a study."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.dialects.postgresql import insert

from hilum.core.database import Transaction
from hilum.imaging.archive.arrivals import Arrival, SourceRef
from hilum.imaging.archive.identity import patient_of
from hilum.imaging.archive.models import SetAside
from hilum.imaging.archive.patients import CONFLICT


@dataclass(frozen=True, slots=True)
class Aside:
    """A file that is set aside: its name, a code and a sentence for the reason, where its bytes are; ``claims``
    are what it says of itself, by column."""

    name: str
    code: str
    reason: str
    size: int
    digest: str
    blob_key: str | None
    path: str | None
    claims: dict[str, str] = field(default_factory=dict[str, str])


def refused_arrival(arrival: Arrival, code: str, reason: str) -> Aside:
    """Set aside what the catalogue refused; of a conflict, with whose it says it is."""
    claims: dict[str, str] = {}
    if code == CONFLICT:
        patient = patient_of(arrival.header)
        claims = {
            "study_instance_uid": arrival.identity.study_instance_uid,
            "patient_id": patient.patient_id,
            "issuer_of_patient_id": patient.issuer,
            "patient_name_dicom": arrival.header.text("PatientName").replace("\0", ""),
        }
    return Aside(arrival.name, code, reason, arrival.size, arrival.digest, arrival.blob_key, arrival.path, claims)


def write_aside(transaction: Transaction, source: SourceRef, origin: str, files: Sequence[Aside]) -> None:
    """List files as set aside; one that is listed already stays as it is."""
    for file in files:
        values = {
            "source_id": source.id, "name": file.name, "code": file.code, "reason": file.reason, "size": file.size,
            "digest": file.digest, "blob_key": file.blob_key, "path": file.path, "origin": origin, **file.claims,
        }  # fmt: skip
        transaction.connection.execute(insert(SetAside).values(values).on_conflict_do_nothing())
