"""A study's attributes in the DICOM JSON Model (PS3.18 Annex F), made and kept once when the study changes, so that
QIDO-RS serves them as they lie. The Retrieve URL depends on the request and is added there."""

from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import cast

import msgspec

from hilum.core.database import Transaction
from hilum.imaging.dicom.names import person_groups

_encode = msgspec.json.Encoder().encode


def element(vr: str, *values: object) -> dict[str, object]:
    """Make one attribute of the DICOM JSON Model; empty values leave its VR alone."""
    kept = [value for value in values if value not in (None, "")]
    return {"vr": vr, "Value": kept} if kept else {"vr": vr}


def person(name: object) -> dict[str, object]:
    """Make an attribute of VR PN from a name as DICOM writes it."""
    return {"vr": "PN", "Value": [person_groups(str(name))]} if name else {"vr": "PN"}


def da(value: object) -> str | None:
    """Write a date as DICOM does."""
    return value.strftime("%Y%m%d") if isinstance(value, date) else None


def tm(value: object) -> str | None:
    """Write a time as DICOM does."""
    if not isinstance(value, time):
        return None
    return value.strftime("%H%M%S.%f") if value.microsecond else value.strftime("%H%M%S")


def study_attributes(row: Mapping[str, object]) -> str:
    """Write the attributes that a study has in a QIDO-RS answer (PS3.18 table 10.6.3-3), as one JSON object."""
    modalities = cast("Sequence[str]", row["modalities"])
    attributes = {
        "00080005": element("CS", "ISO_IR 192"),
        "00080020": element("DA", da(row["study_date"])),
        "00080030": element("TM", tm(row["study_time"])),
        "00080050": element("SH", row["accession_number"]),
        "00080056": element("CS", "ONLINE" if row["availability"] == "local" else "UNAVAILABLE"),
        "00080061": element("CS", *(modalities or ["OT"])),
        "00080080": element("LO", row["facility"]),
        "00080090": person(row["referring_physician_dicom"]),
        "00080201": element("SH", row["timezone_offset"]),
        "00081030": element("LO", row["study_description"]),
        "00100010": person(row["patient_name_dicom"]),
        "00100020": element("LO", row["patient_id"]),
        "00100030": element("DA", da(row["patient_birth_date"])),
        "00100040": element("CS", row["patient_sex"]),
        "0020000D": element("UI", row["study_instance_uid"]),
        "00200010": element("SH", row["study_id"]),
        "00201206": element("IS", row["num_series"]),
        "00201208": element("IS", row["num_instances"]),
    }
    if not row["timezone_offset"]:
        del attributes["00080201"]
    return _encode(attributes).decode()


def keep_attributes(sql: Transaction, studies: Sequence[Mapping[str, object]]) -> None:
    """Make the attributes of changed studies anew, from their rows as they are now."""
    rows = [{"study_id": row["id"], "attributes": study_attributes(row)} for row in studies]
    sql.rows(
        "insert into hilum.study_json (study_id, attributes) "
        "select study_id, attributes from json_populate_recordset(null::hilum.study_json, %s) "
        "on conflict (study_id) do update set attributes = excluded.attributes",
        (_encode(rows).decode(),),
    )
