"""Studies by a list: of each line of a site's list what the remote archive has for it, so that it can be told what was
found, what is missing, and where a person has to choose. What is asked for a line is the caller's: accession numbers
here, and what is known of visits above."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from hilum.core.errors import Invalid
from hilum.core.progress import Progress
from hilum.imaging.archive.patients import MAX_PATIENT_ID
from hilum.imaging.archive.remote import RemoteStudy
from hilum.imaging.archive.store import Archive
from hilum.imaging.remote.client import DicomWeb, Parameters, RemoteDown, RemoteRefuses
from hilum.imaging.remote.indexing import keep_studies
from hilum.imaging.remote.reading import INCLUDE_STUDY, read_patient, read_study, text
from hilum.imaging.remote.series import SeriesSearch
from hilum.imaging.remote.servers import find_server, note_root

State: TypeAlias = Literal["found", "missing", "ambiguous"]

MAX_LINES: Final = 1_000_000
_PAGE: Final = 200
_LONGEST: Final = 64


@dataclass(frozen=True, slots=True)
class Search:
    """One way to look for what a line means.

    Attributes
    ----------
    accession_number, patient_id
        What the studies must have; empty where it does not matter.
    issuer
        Of the PatientID; a study that names another one is another's.
    days
        First and last day on which they may be, as DA.
    """

    accession_number: str = ""
    patient_id: str = ""
    issuer: str = ""
    days: tuple[str, str] | None = None

    def parameters(self) -> Parameters:
        """As QIDO-RS asks it."""
        given = [
            ("AccessionNumber", self.accession_number),
            ("PatientID", self.patient_id),
            ("StudyDate", "-".join(self.days) if self.days else ""),
        ]
        return [(name, value) for name, value in given if value]


@dataclass(frozen=True, slots=True)
class Line:
    """What is looked for.

    Attributes
    ----------
    name
        How the list names it.
    exact
        Ways to look that leave no doubt; all of them count.
    otherwise
        Ways to look where those find nothing.
    doubt
        Why what these find may be something else; empty where it may not.
    missing
        Why nobody has to be asked.
    """

    name: str
    exact: Sequence[Search] = ()
    otherwise: Sequence[Search] = ()
    doubt: str = ""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a line: its studies by UID, and in words why it is missing or ambiguous."""

    name: str
    state: State
    studies: Sequence[str] = ()
    reason: str = ""


@dataclass(slots=True)
class Report:
    """What became of a list."""

    lines: list[Found] = field(default_factory=list[Found])

    def of(self, state: State) -> list[Found]:
        """The lines that became so."""
        return [line for line in self.lines if line.state == state]


def read_list(data: bytes, column: str) -> list[str]:
    """The values of a list: one a line, or a column of a CSV with a header; blank lines and repetitions are left out.

    Raises
    ------
    Invalid
        It is no list in UTF-8, or too long.
    """
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid("The list is no text or CSV in UTF-8.") from error
    if len(rows) > MAX_LINES:
        raise Invalid(f"The list has more than {MAX_LINES} lines.")
    names = ["".join(filter(str.isalnum, cell)).casefold() for cell in rows[0]] if rows else []
    wanted = "".join(filter(str.isalnum, column)).casefold()
    place = names.index(wanted) if wanted in names else 0
    if len(names) > 1 and wanted not in names:
        raise Invalid(f"The header of the list does not name {column}.")
    found = (row[place].strip() for row in (rows[1:] if wanted in names else rows) if len(row) > place)
    return list(dict.fromkeys(value for value in found if value))


def accession_lines(numbers: Iterable[str]) -> list[Line]:
    """The lines of a list of accession numbers."""
    return [Line(number, [Search(accession_number=number)]) for number in numbers]


def index_lines(
    archive: Archive, source: str, lines: Sequence[Line], progress: Progress, *, series: bool = False
) -> Report:
    """Index the studies that lines mean, in a source's remote archive; those of an ambiguous line are not.

    Raises
    ------
    Conflict
        The source names no remote archive.
    RemoteDown, RemoteRefuses
        It cannot be asked.
    """
    server = find_server(archive.database, source)
    report = Report()
    pending: dict[str, RemoteStudy] = {}
    progress.expect(len(lines))
    authorities = archive.settings.outgoing_ca
    with DicomWeb(server, authorities) as client, SeriesSearch(client, server, authorities) as searched:

        def keep(*, alone: bool = False) -> None:
            studies = [*pending.values()]
            wanted = searched.add_to(studies) if series and not alone else studies
            if wanted:
                with archive.database.transaction() as sql:
                    keep_studies(sql, archive, server, wanted, progress)
            pending.clear()

        try:
            for number, line in enumerate(lines, 1):
                found, studies = _look(client, line)
                report.lines.append(found)
                progress.count(found.state)
                if found.state == "found":
                    pending |= {str(study.study["study_instance_uid"]): study for study in studies}
                    if len(pending) >= _PAGE:
                        keep()
                else:
                    progress.leave_out(found.state, found.reason, f"number {number} of the list")
                progress.step()
            keep()
        except (RemoteDown, RemoteRefuses):
            keep(alone=True)  # what was found before
            raise
        note_root(archive.database, server, client.root)
    return report


def _look(client: DicomWeb, line: Line) -> tuple[Found, list[RemoteStudy]]:
    """What a remote archive has for a line."""
    studies = _union(client, line.exact)
    patients = {(study.patient.patient_id, study.patient.issuer) for study in studies.values()}
    named = all(search.patient_id for search in line.exact)
    doubt = "Its studies are of several patients." if len(patients) > 1 and not named else ""
    if not studies:
        studies, doubt = _union(client, line.otherwise), line.doubt
    uids = list(studies)
    if not studies:
        return Found(line.name, "missing", (), line.missing or "The remote archive has no study for it."), []
    if doubt:
        return Found(line.name, "ambiguous", uids, doubt), []
    return Found(line.name, "found", uids), list(studies.values())


def _union(client: DicomWeb, searches: Sequence[Search]) -> dict[str, RemoteStudy]:
    """The studies that any of some searches finds, by UID."""
    found: dict[str, RemoteStudy] = {}
    for search in searches:
        if _can_be_asked(search):
            found |= _matches(client, search)
    return found


def _can_be_asked(search: Search) -> bool:
    """Whether a search means one thing: in others' hands a star, a question mark or a backslash matches more."""
    values = (search.accession_number, search.patient_id)
    longest = max(_LONGEST, MAX_PATIENT_ID)
    return any(values) and not any(set(value) & set("*?\\,") or len(value) > longest for value in values)


def _matches(client: DicomWeb, search: Search) -> dict[str, RemoteStudy]:
    """The studies that a search finds, as far as they are what was asked for: not every server matches every key."""
    asked = [*search.parameters(), ("limit", str(_PAGE)), *INCLUDE_STUDY]
    found: dict[str, RemoteStudy] = {}
    for data in client.search("/studies", asked):
        try:
            study = read_study(data)
        except ValueError:
            continue
        patient, day = read_patient(data), text(data, "00080020", 16)
        agrees = (
            search.accession_number in ("", study.study["accession_number"])
            and search.patient_id in ("", patient.patient_id)
            and (not search.issuer or patient.issuer in ("", search.issuer))
            and (search.days is None or search.days[0] <= day <= search.days[1])
        )
        if agrees:
            found.setdefault(str(study.study["study_instance_uid"]), study)
    return found
