"""What an import adds up to: outcomes of the archive and things left out, told through the job's progress."""

from hilum.core.progress import Progress
from hilum.imaging.archive.arrivals import Outcome, Written

SKIPPED = {
    "empty": "The file is empty.",
    "not_dicom": "The file is not DICOM.",
    "dicomdir": "A DICOMDIR is the directory of a medium, not an instance.",
    "permission": "The file or folder may not be read.",
    "not_regular": "It is a pipe, socket or device, not a file.",
    "loop": "The link leads back to a folder above it.",
    "missing": "It does not exist.",
    "outside": "The link leads out of the folder that may be imported.",
    "unreadable_file": "The system cannot read it.",
    "bad_zip": "The zip is damaged or empty.",
    "damaged_member": "A member of the zip is damaged.",
    "encrypted": "A member of the zip is encrypted.",
    "zip_too_large": "The zip would unpack to more than is allowed (HILUM_MAX_UNPACKED_BYTES), or far beyond its size.",
    "zip_too_deep": "It is a zip in a zip in a zip in a zip; it is kept as it is.",
    "zip_link": "A link in a zip leads nowhere here.",
    "bad_dicomdir": "The DICOMDIR is damaged; the files beside it are imported without it.",
    "named_missing": "The DICOMDIR names it, and it is not there.",
    "not_text": "Its path has bytes that are no text, so it cannot be indexed in place; import it as a copy.",
    "too_large": "It is larger than HILUM_MAX_INSTANCE_BYTES.",
}

HARMLESS = frozenset(("not_dicom", "dicomdir", "zip_link"))
"""What is left out without harm: no fault of a DICOM file."""

_COUNTED = {"added": "instances", "duplicate": "duplicates", "replaced": "replaced", "set_aside": "set_aside"}


class Tally:
    """Counts of one import. Its memory grows with the studies, not with the instances."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.studies: set[str] = set()
        self._new: set[str] = set()
        self._changed: set[str] = set()
        self._waiting: set[str] = set()

    def written(self, written: Written) -> None:
        """Count what a batch changed."""
        self._new |= written.new_studies
        self.progress.count("series", len(written.new_series))
        self._waiting |= written.quarantined
        if self._waiting:
            self.progress.counts["studies_quarantined"] = len(self._waiting)
        for outcome in written.outcomes:
            self._outcome(outcome)
        self.progress.counts["studies_new"] = len(self._new)
        self.progress.counts["studies_updated"] = len(self._changed - self._new)
        self.progress.step(len(written.outcomes))

    def skip(self, code: str, name: str, reason: str = "") -> None:
        """Count a thing that was left where it lies."""
        self.progress.count("skipped")
        self.progress.leave_out(code, reason or SKIPPED[code], name)
        self.progress.step()

    def note(self, code: str, name: str) -> None:
        """Tell of a thing that was kept, but not taken as what it is."""
        self.progress.leave_out(code, SKIPPED[code], name)

    def _outcome(self, outcome: Outcome) -> None:
        self.progress.count(_COUNTED[outcome.state])
        if outcome.study_instance_uid:
            self.studies.add(outcome.study_instance_uid)
        if outcome.state == "set_aside":
            self.progress.leave_out(outcome.code, outcome.reason, outcome.name)
        elif outcome.state != "duplicate":
            self._changed.add(outcome.study_instance_uid)
            self.progress.count("images", outcome.images if outcome.state == "added" else 0)
