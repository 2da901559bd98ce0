"""Import from a folder of the server, asked for by the page or the API: only below the roots that a setting names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hilum.core.config import Settings
from hilum.core.errors import Invalid, NotFound
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.directory import import_paths
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally

KIND: Final = "import-local"
DEFAULT_FOLDER: Final = "dicom_samples"


def local_folder(settings: Settings, folder: str) -> Path:
    """Find a folder below the import roots.

    Parameters
    ----------
    settings
        Naming the roots.
    folder
        Path relative to a root.

    Raises
    ------
    Invalid
        No root is configured, or the path leads out of them.
    NotFound
        There is no such folder.
    """
    roots = settings.import_root_paths()
    if not roots:
        raise Invalid("Importing from the server's folders is off; set HILUM_IMPORT_ROOTS to the folders to allow.")
    inside = False
    for root in roots:
        path = (root / folder).resolve()
        if path == root.resolve() or root.resolve() in path.parents:
            inside = True
            if path.is_dir():
                return path
    if inside:
        raise NotFound("There is no such folder below the import roots.")
    raise Invalid("The folder lies outside the import roots.")


def import_local(archive: Archive, arguments: Mapping[str, object], progress: Progress) -> None:
    """Import a folder of the server; run by a worker."""
    path = local_folder(archive.settings, str(arguments["dir"]))
    manner = Manner(archive.source(str(arguments["source"])))
    import_paths(archive, manner, [path], Tally(progress), within=path)
