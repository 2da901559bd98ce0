"""Behind ``hilum demo``: makes the demo's data once, and imports it as anybody's would be."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from hilum.clinical.linkage.bulk import KIND, link_all
from hilum.clinical.linkage.settle import Manner
from hilum.core.blobs import open_blobs
from hilum.core.config import Settings
from hilum.core.database import open_database
from hilum.core.errors import Conflict
from hilum.core.postgres import remove_database
from hilum.core.progress import job_here
from hilum.demo import make, real_files
from hilum.demo.load_cdm import load_demo_cdm
from hilum.imaging.archive.sources import add_source
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.command import run_import
from hilum.imaging.intake.lanes import Lanes

Step: TypeAlias = Callable[[int, int | None, str | None], None]

DEFAULT: Final = "default"
SAMPLES: Final = "samples"
_OWN: Final = ("demo-files", "objects", "run")


def demo_files(settings: Settings) -> Path:
    """Where the demo's files are made."""
    return settings.data_path / "demo-files"


def write_settings(settings: Settings) -> bool:
    """Write ``hilum.toml`` into the demo's folder unless it has one; gives whether it was written. A study without an
    order in the CDM shall wait for a person, so that the queue has such ones to show."""
    file = settings.data_path / "hilum.toml"
    if file.exists():
        return False
    settings.data_path.mkdir(parents=True, exist_ok=True)
    file.write_text('omop_procedures = "require"\n', encoding="utf-8")
    return True


def prepare(settings: Settings, lanes: Lanes, step: Step) -> None:
    """Make the demo's files unless they are there, and import them; what is archived already stays as it is.

    Parameters
    ----------
    settings
        Of the demo's data folder.
    lanes
        What imports the files side by side.
    step
        Told what is done, how much there is, and what is being done.
    """
    folder = demo_files(settings)
    if not (folder / "manifest.json").is_file():
        unfinished = folder.with_name("demo-files.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished, lambda done, total: step(done, total, "Making studies"))
        unfinished.rename(folder)
    with open_database(settings, pool_size=4) as database:
        add_source(database, DEFAULT, "Demo hospital")
        add_source(database, SAMPLES, "Sample files of pydicom")
        paths = [folder / "dicom", *sorted((folder / "cd").glob("*.zip"))]
        for source, found, text in (
            (DEFAULT, paths, "Importing studies"),
            (SAMPLES, real_files(), "Importing samples"),
        ):
            run_import(settings, source, found, lambda d, t, text=text: step(d, t, text), lanes=lanes)
        if load_demo_cdm(database, DEFAULT, folder / "cdm", settings.omop_procedure_ids):
            with job_here(database, KIND, "Linking the demo's studies", DEFAULT, _silent) as progress:
                link_all(Archive(database, open_blobs(settings), settings), DEFAULT, Manner.of(settings), progress)


def _silent(done: int, total: int | None) -> None:
    """It takes less than a second."""


def reset_demo(settings: Settings) -> None:
    """Delete the data that a demo folder holds; its settings (``hilum.toml``) and keys stay.

    Raises
    ------
    Conflict
        The folder is not a demo's: it may hold data that somebody needs. Or the data are elsewhere.
    InUse
        It is being served.
    """
    if not settings.data_path.exists():
        return
    if not demo_files(settings).is_dir():
        raise Conflict(f"{settings.data_path} was not made by hilum demo; nothing was deleted.")
    if settings.database_url or settings.blobs_url:
        raise Conflict("The demo's data are where HILUM_DATABASE_URL or HILUM_BLOBS_URL says: empty that yourself.")
    remove_database(settings.data_path)
    for name in _OWN:
        shutil.rmtree(settings.data_path / name, ignore_errors=True)
