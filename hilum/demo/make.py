"""Making the demo: 40 invented persons, their 60 imaging studies and their clinical story, as files in a folder. No
server and no database: `hilum demo` imports the folder like anybody's. The same libraries
on the same kind of processor give the same bytes."""

import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from hilum.demo.cd import write_cd
from hilum.demo.cdm import person_ids, write_cdm, write_map
from hilum.demo.dicom_writer import SYNTAXES, Pixels, SeriesWriter
from hilum.demo.exams import functional, planar, sections
from hilum.demo.exams.common import Exam, Series, exam_of
from hilum.demo.people import Finding, Story, story
from hilum.demo.reports import report_of

_EXAMS: dict[str, Callable[[Exam], list[Series]]] = {
    "ct_chest": sections.ct_chest,
    "ct_chest_contrast": sections.ct_chest,
    "ct_head": sections.ct_head,
    "ct_abdomen": sections.ct_abdomen,
    "ct_abdomen_contrast": sections.ct_abdomen,
    "mr_brain": sections.mr_brain,
    "mr_knee": sections.mr_knee,
    "mr_spine": sections.mr_spine,
    "pet_ct": sections.pet_ct,
    "cr_chest": planar.chest_cr,
    "cr_chest_bedside": planar.chest_cr,
    "dx_chest": planar.chest_dx,
    "dx_chest_single": planar.chest_dx,
    "dx_chest_mono1": planar.chest_dx,
    "mg_screening": planar.mammography,
    "xa_coronary": planar.angiography,
    "xa_cerebral": planar.angiography,
    "rf_swallow": planar.fluoroscopy,
    "us_abdomen": functional.ultrasound_still,
    "us_thyroid": functional.ultrasound_still,
    "us_heart": functional.ultrasound_cine,
    "nm_bone": functional.scintigraphy,
    "nm_renal": functional.scintigraphy,
    "nm_thyroid": functional.scintigraphy,
}


class SeriesEntry(msgspec.Struct, frozen=True):
    """A series that was made."""

    series_instance_uid: str
    series_number: int
    modality: str
    series_description: str
    instances: int
    frames: int


class StudyEntry(msgspec.Struct, frozen=True):
    """A study that was made and what is true of it; `location` is relative to the folder. The accession number and the
    patient id are those of its files; `misfit` says why the queue of links has it, empty for most."""

    key: str
    study_instance_uid: str
    accession_number: str
    patient_id: str
    person_id: int
    study_date: str
    study_description: str
    body_part: str
    modalities: tuple[str, ...]
    transfer_syntax_uid: str
    location: str
    on_cd: bool
    misfit: str
    prior: str
    findings: tuple[Finding, ...]
    series: tuple[SeriesEntry, ...]
    instances: int
    frames: int
    size: int


class DemoManifest(msgspec.Struct, frozen=True):
    """What lies in the folder; counts are of everything, the CD included."""

    persons: int
    studies: tuple[StudyEntry, ...]
    series: int
    instances: int
    frames: int
    size: int
    cdm_rows: dict[str, int]


def make(folder: Path, progress: Callable[[int, int], None] | None = None) -> DemoManifest:
    """Write the demo into `folder`: ``dicom/``, ``cd/``, ``cdm/``, ``maps/`` and ``manifest.json``.

    Parameters
    ----------
    folder : made if it does not exist; files of the same name in it are replaced
    progress : called with (studies done, studies in all) after each study

    Returns
    -------
    DemoManifest
        The content of ``manifest.json``.
    """
    told = story()
    persons, ids = {person.patient_id: person for person in told.persons}, person_ids(told)
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[StudyEntry] = []
    for study in told.studies:
        exam = exam_of(told, study, persons[study.patient_id])
        entries.append(_write_study(told, exam, ids[study.patient_id], folder))
        if progress:
            progress(len(entries), len(told.studies))
    manifest = DemoManifest(
        persons=len(told.persons),
        studies=tuple(entries),
        series=sum(len(entry.series) for entry in entries),
        instances=sum(entry.instances for entry in entries),
        frames=sum(entry.frames for entry in entries),
        size=sum(entry.size for entry in entries),
        cdm_rows=write_cdm(told, folder / "cdm"),
    )
    write_map(told, folder / "maps")
    (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    return manifest


def real_files() -> list[Path]:
    """The DICOM files that came with the installed pydicom, for import beside the demo; nothing is downloaded.

    Left out is what neither is named ``.dcm`` nor begins like a DICOM file. Damaged files stay: the archive sets aside,
    with a reason, what it cannot read.
    """
    folder = Path(str(resources.files("pydicom"))) / "data" / "test_files"
    return sorted(path for path in folder.rglob("*") if path.is_file() and (path.suffix == ".dcm" or _has_magic(path)))


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _write_study(told: Story, exam: Exam, person_id: int, folder: Path) -> StudyEntry:
    study = exam.study
    taken = _EXAMS[study.protocol](exam)
    if study.on_cd:
        location = f"cd/{exam.site.prefix}_{exam.accession_number}.zip"
        files = [data for series in taken for data in _files(series)]
        size = write_cd(folder / location, files, _preview(taken[-1]), exam.site.name, report_of(told, study)[1])
    else:
        location = f"dicom/{_study_folder(exam)}"
        size = 0
        for series in taken:
            for number, data in enumerate(_files(series), 1):
                target = folder / "dicom" / _file_name(exam, series, number)
                target.parent.mkdir(parents=True, exist_ok=True)
                size += target.write_bytes(data)
    entries = tuple(_series_entry(series) for series in taken)
    said = exam.misfit.header if exam.misfit else {}
    return StudyEntry(
        key=study.key,
        study_instance_uid=exam.study_uid,
        accession_number=said.get("AccessionNumber", exam.accession_number),
        patient_id=said.get("PatientID", study.patient_id),
        person_id=person_id,
        study_date=study.date,
        study_description=exam.protocol.description,
        body_part=exam.protocol.body_part,
        modalities=tuple(sorted({series.modality for series in taken})),
        transfer_syntax_uid=SYNTAXES[study.syntax],
        location=location,
        on_cd=study.on_cd,
        misfit=exam.misfit.reason if exam.misfit else "",
        prior=study.prior,
        findings=study.findings,
        series=entries,
        instances=sum(entry.instances for entry in entries),
        frames=sum(entry.frames for entry in entries),
        size=size,
    )


def _files(series: Series) -> Iterator[bytes]:
    # Half of the encapsulated series carry an offset table, the others leave it empty; both are allowed.
    writer = SeriesWriter(series.shared, series.syntax, offset_table=series.number % 2 == 1 or len(series.images) > 30)
    for header, pixels in series.images:
        yield writer.file(header, pixels)


def _series_entry(series: Series) -> SeriesEntry:
    frames = series.shared.get("NumberOfFrames", 1)
    return SeriesEntry(
        series_instance_uid=str(series.shared["SeriesInstanceUID"]),
        series_number=series.number,
        modality=series.modality,
        series_description=series.description,
        instances=len(series.images),
        frames=len(series.images) * (frames if isinstance(frames, int) else 1),
    )


def _study_folder(exam: Exam) -> str:
    """Where a study lies below ``dicom/``: each site exports in its own way."""
    study = exam.study
    return {
        "silberbach": f"SILBERBACH/{study.patient_id}/{study.date}_{exam.protocol.modality}",
        "marisol": f"marisol_export/PAT{study.patient_id[-4:]}/ST{study.key[1:].zfill(6)}",
        "northfell": f"northfell/{exam.accession_number}",
        "kazehara": f"kazehara/{study.date[:4]}/{study.date[4:6]}/{exam.accession_number}",
    }[exam.site.key]


def _file_name(exam: Exam, series: Series, number: int) -> str:
    sop_instance_uid = series.images[number - 1][0]["SOPInstanceUID"]
    words = re.sub(r"[^A-Za-z0-9]+", "_", series.description).strip("_")
    return {
        "silberbach": f"{_study_folder(exam)}/SE{series.number:04d}/IM{number:04d}.dcm",
        "marisol": f"{_study_folder(exam)}/SE{series.number:06d}/I{number:07d}",
        "northfell": f"{_study_folder(exam)}/{series.number:02d}-{words}/{sop_instance_uid}.dcm",
        "kazehara": f"{_study_folder(exam)}/{series.modality}.{series.number}.{number}.IMA",
    }[exam.site.key]


def _preview(series: Series) -> NDArray[np.uint8]:
    """The middle image of a series in the window of its header, as grey values."""
    pixels: Pixels = series.images[len(series.images) // 2][1]
    center, width = (float(str(series.shared[word])) for word in ("WindowCenter", "WindowWidth"))
    intercept = float(str(series.shared.get("RescaleIntercept", 0)))
    shown = (pixels.astype(np.float32) + intercept - (center - width / 2)) / width
    return (np.clip(shown, 0, 1) * 255).astype(np.uint8)
