"""From rows of the catalogue to the JSON objects of the door."""

from collections.abc import Sequence

from hilum.imaging.archive.query import Row
from hilum.imaging.archive.schemas import (
    API,
    BundleFile,
    Instance,
    Modality,
    Replaced,
    Series,
    SetAside,
    Study,
    StudyDetail,
)
from hilum.imaging.dicom.names import modality_name
from hilum.imaging.dicom.uids import uid_name


def dicomweb_root(source: str) -> str:
    """The path of a source's DICOMweb service."""
    return "/dicom-web" if source == "default" else f"/sources/{source}/dicom-web"


def study(row: Row) -> Study:
    """A study as the list shows it."""
    return Study.model_validate(_study(row, Study))


def study_detail(
    row: Row,
    series: list[Series],
    files: list[BundleFile],
    origins: Sequence[str],
    num_features: int,
    awaits: Sequence[str],
) -> StudyDetail:
    """A study with all that is known of it."""
    also = {
        "num_features": num_features,
        "awaits": list(awaits),
        "dicomweb_url": f"{dicomweb_root(row['source_key'])}/studies/{row['study_instance_uid']}",
        "series": series,
        "bundle_files": files,
        "origins": list(origins),
    }
    return StudyDetail.model_validate(_study(row, StudyDetail) | also)


def series(row: Row, owner: Row) -> Series:
    """A series of a study."""
    url = f"{API}/studies/{owner['id']}/series/{row['id']}"
    root = f"{dicomweb_root(owner['source_key'])}/studies/{owner['study_instance_uid']}"
    also = {
        "modality_name": modality_name(row["modality"]),
        "thumbnail_url": f"{url}/thumbnail?v={row['version']}" if row["num_images"] else None,
        "dicomweb_url": f"{root}/series/{row['series_instance_uid']}",
    }
    return Series.model_validate({name: row[name] for name in Series.model_fields if name in row} | also)


def instance(row: Row, source: str) -> Instance:
    """A SOP instance."""
    also = {
        "sop_class_name": uid_name(row["sop_class_uid"]),
        "transfer_syntax_name": uid_name(row["transfer_syntax_uid"]),
        "digest": f"blake3:{row['digest']}",
        "wado_url": f"{API}/wado/{row['sop_instance_uid']}?source={source}",
    }
    return Instance.model_validate({name: row[name] for name in Instance.model_fields if name in row} | also)


def bundle_file(row: Row, study_id: int) -> BundleFile:
    """A file that came with a study."""
    url = f"{API}/studies/{study_id}/bundle-files/{row['id']}"
    return BundleFile(name=row["name"], kind=row["kind"], size=row["size"], url=url)


def replaced(row: Row, study_id: int) -> Replaced:
    """Earlier bytes of an instance."""
    also = {
        "digest": f"blake3:{row['digest']}",
        "file_url": f"{API}/studies/{study_id}/replaced/{row['id']}/file",
    }
    return Replaced.model_validate({name: row[name] for name in Replaced.model_fields if name in row} | also)


def set_aside(row: Row) -> SetAside:
    """A file that could not be catalogued."""
    also = {"source": row["source_key"], "file_url": f"{API}/set-aside/{row['id']}/file"}
    return SetAside.model_validate({name: row[name] for name in SetAside.model_fields if name in row} | also)


def _study(row: Row, model: type[Study]) -> dict[str, object]:
    also: dict[str, object] = {
        "source": row["source_key"],
        "modalities": [Modality(code=code, name=modality_name(code)) for code in row["modalities"]],
    }
    return {name: row[name] for name in model.model_fields if name in row} | also
