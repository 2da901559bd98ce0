"""A version is put together: its instances in a layout, the tables and the clinical rows beside them, the licence, and
at last the manifest that lists every file. Nothing in it depends on when or where it is done."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, LiteralString, cast

import msgspec
import pyarrow as pa
import pydicom
from blake3 import blake3

import hilum
from hilum.clinical.cdm.cdm import find_cdm
from hilum.core.database import Row
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.clinical import Images, write_clinical
from hilum.research.datasets.contents import SetInstance, instances_of, placed
from hilum.research.datasets.definition import Definition, LayoutName
from hilum.research.datasets.outputs import OutFile, Outputs
from hilum.research.datasets.people import SetPerson
from hilum.research.datasets.tables import Tables
from hilum.research.deid.keys import Keys
from hilum.research.deid.layout import Layout
from hilum.research.deid.pixel_text.regions import device_rules
from hilum.research.deid.profile import Profile
from hilum.research.deid.registry import write_registry
from hilum.research.deid.seal import Seal
from hilum.research.deid.uids import UidMap

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
REGISTRY: Final = "image_registry.csv"


@dataclass(slots=True)
class Assembly:
    """What putting together needs, and what it came to.

    Attributes
    ----------
    unplaced
        Series that the layout has no place for, by reason: how many instances.
    seen
        The people of whom there is an instance, by their new ids.
    series
        New study and series, accession and folder, by the new series UID.
    """

    archive: Archive
    version_id: int
    definition: Definition
    layout: LayoutName
    profile: Profile
    keys: Keys
    people: Mapping[str, SetPerson]
    folder: Path
    outputs: Outputs = field(init=False)
    unplaced: dict[str, int] = field(default_factory=dict[str, int])
    clinical: dict[str, int] = field(default_factory=dict[str, int])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    seen: set[str] = field(default_factory=set[str])
    series: dict[str, tuple[str, str, str, str]] = field(default_factory=dict[str, tuple[str, str, str, str]])

    def __post_init__(self) -> None:
        self.outputs = Outputs(self.archive.blobs)


def assemble(work: Assembly) -> OutFile:
    """Put a version together; gives its manifest, which is the last of the files in ``work.outputs``."""
    tables_folder = work.folder / "tables"
    (tables_folder / "Metadata").mkdir(parents=True)
    with Tables(tables_folder / "Metadata") as rows:

        def each() -> Iterator[SetInstance]:
            for one in _LAYOUTS[work.layout](work):
                rows.add(one)
                _count(work, one)
                yield one

        write_registry(tables_folder / REGISTRY, each(), work.keys)
    work.counts |= {"persons": len(work.seen), "series": len(work.series),
        "studies": len({study for study, *_ in work.series.values()})}  # fmt: skip
    if work.definition.clinical:
        _clinical(work, tables_folder)
    if work.definition.licence:
        (tables_folder / "LICENSE.txt").write_text(work.definition.licence.rstrip("\n") + "\n", encoding="utf-8")
    work.outputs.put_all(tables_folder)
    work.outputs.files.sort(key=lambda one: one.path)
    manifest = work.folder / MANIFEST
    manifest.write_bytes(msgspec.json.format(msgspec.json.encode(_manifest(work)), indent=1) + b"\n")
    return work.outputs.put(MANIFEST, manifest)


def _count(work: Assembly, one: SetInstance) -> None:
    counts = work.counts
    counts["instances"] = counts.get("instances", 0) + 1
    counts["bytes"] = counts.get("bytes", 0) + one.size
    work.seen.add(one.person_id)
    if one.series not in work.series:
        work.series[one.series] = (one.study, one.series, one.accession, one.target.rpartition("/")[0])


def _chorus(work: Assembly) -> Iterator[SetInstance]:
    xr = work.profile.xr if work.definition.xr is None else work.definition.xr
    for one in placed(instances_of(work.archive.database, work.version_id), Layout(xr=xr)):
        work.outputs.files.append(OutFile.of(one, one.target))
        yield one


def _dicom(work: Assembly) -> Iterator[SetInstance]:
    from hilum.research.datasets.dicomdir import NAME, write_dicomdir

    instances = instances_of(work.archive.database, work.version_id)
    uid = UidMap(work.keys.uids).new(f"fileset {work.definition.digest()}")
    folder = work.folder / "dicomdir"
    folder.mkdir()
    listed, others = write_dicomdir(instances, work.archive.blobs, uid, folder)
    for one in listed:
        work.outputs.files.append(OutFile.of(one, one.target))
        yield one
    if others:
        work.unplaced["A DICOMDIR does not list instances of this kind."] = len(others)
    work.outputs.put(NAME, folder / NAME)


def _nifti(work: Assembly) -> Iterator[SetInstance]:
    from hilum.research.datasets.nifti import describe, volumes

    folder = work.folder / "nifti"
    folder.mkdir()
    people: set[str] = set()
    for volume in volumes(instances_of(work.archive.database, work.version_id), work.archive.blobs, folder):
        if volume.reason:
            work.unplaced[volume.reason] = work.unplaced.get(volume.reason, 0) + len(volume.instances)
            continue
        for path, file in volume.files:
            work.outputs.put(path, file)
        people.add(volume.instances[0].person_id)
        yield from volume.instances
    about = work.folder / "about"
    about.mkdir()
    describe(work.definition.name, work.definition.licence, sorted(people), about)
    work.outputs.put_all(about)


_LAYOUTS: Final[Mapping[LayoutName, Callable[[Assembly], Iterator[SetInstance]]]] = {
    "chorus": _chorus, "dicom": _dicom, "nifti": _nifti,
}  # fmt: skip


def _clinical(work: Assembly, folder: Path) -> None:
    with work.archive.database.transaction() as sql:
        cdm = find_cdm(sql, work.definition.source)
        if cdm is None:
            return
        (folder / "OMOP").mkdir()
        occurrences: dict[int, tuple[str, str, str, str]] = {}
        for row in sql.rows(_OCCURRENCES, (work.version_id,)):
            place = work.series.get(str(row["series"]))
            if place is not None:
                occurrences[cast("int", row["occurrence"])] = place
        work.clinical = write_clinical(sql, cdm, work.people, Images(occurrences), folder / "OMOP")


def software(layout: LayoutName) -> dict[str, str]:
    """What the files around the instances are made with."""
    found = {"hilum": hilum.__version__, "pydicom": pydicom.__version__, "pyarrow": pa.__version__}
    if layout == "nifti":
        from hilum.research.datasets.nifti import version

        found["dcm2niix"] = version()
    return found


def profile_facts(profile: Profile) -> dict[str, object]:
    """A profile as a manifest tells it."""
    return {
        "name": profile.name, "title": profile.title, "options": sorted(profile.options), "unmapped": profile.unmapped,
        "time_zone": profile.time_zone, "faces": profile.faces, "pixels": profile.pixels, "markers": profile.markers,
        "ultrasound": profile.ultrasound,
        "device_rules": f"blake3:{blake3(repr(device_rules(profile.device_rules)).encode()).hexdigest()}",
        "attributes": {f"{tag:08X}": action.value for tag, action in sorted(profile.attributes.items())},
        "words": sorted(profile.words),
        "safe_private": [
            {"group": f"{group:04X}", "creator": creator, "element": f"{element:02X}", "vr": vr}
            for (group, creator, element), vr in sorted(profile.safe_private.items())
        ],
    }  # fmt: skip


def _manifest(work: Assembly) -> dict[str, object]:
    """What a version consists of. It tells neither when nor as which version, nor anything of the originals."""
    with work.archive.database.transaction() as sql:
        studies = sql.rows(_STUDIES, (work.version_id,))
        held = _held(sql.rows(_HELD, (work.version_id,)))
        (version,) = sql.rows("select held, software from hilum.dataset_version where id = %s", (work.version_id,))
    said = work.definition.as_json()
    wanted = {name: said.get(name) for name in ("modalities", "series", "window")}
    before = cast("dict[str, object]", version["held"]).get("reasons", [])
    return {
        "format": FORMAT,
        "name": work.definition.name,
        "description": work.definition.description,
        "layout": work.layout,
        "selection": {"modalities": wanted["modalities"], "series": wanted["series"], "window": wanted["window"]},
        "definition": Seal(work.keys).blind("definition", work.definition.digest()).hex(),
        "profile": profile_facts(work.profile),
        "software": {"instances": version["software"], "layout": software(work.layout)},
        "licence": work.definition.licence,
        "counts": dict(sorted(work.counts.items())) | {"files": len(work.outputs.files)},
        "clinical_rows": work.clinical,
        "held_back": {"studies": before, "instances": held, "not_in_layout": work.unplaced},
        "studies": studies,
        "files": [{"path": one.path, "size": one.size, "digest": f"blake3:{one.digest}"} for one in work.outputs.files],
    }


def _held(rows: list[Row]) -> list[dict[str, object]]:
    return [{"code": row["code"], "reason": row["reason"], "instances": row["n"]} for row in rows]


_STUDIES: Final[LiteralString] = """
  select study, person as person_id, revision from hilum.dataset_study s where version_id = %s and exists (
    select from hilum.dataset_instance i where i.version_id = s.version_id and i.study = s.study and i.state = 'done')
  order by person, study
"""
_HELD: Final[LiteralString] = """
  select code, min(reason) as reason, count(*) as n from hilum.dataset_instance
  where version_id = %s and state = 'held' group by 1 order by 3 desc, 1
"""
_OCCURRENCES: Final[LiteralString] = """
  select distinct on (d.series) d.series, o.image_occurrence_id as occurrence
  from hilum.dataset_instance d
  join hilum.instance i on i.id = d.instance_id join hilum.series e on e.id = i.series_id
  join hilum.study s on s.id = e.study_id
  join hilum.series_occurrence o on o.source_id = s.source_id and o.study_instance_uid = s.study_instance_uid
    and o.series_instance_uid = e.series_instance_uid
  where d.version_id = %s and d.state = 'done' order by d.series
"""
