"""What is looked at before a version may be published, as CHoRUS asks of an upload: that every file can be read, that
nothing is missing without a reason, which fields are missing how often, that folders say what the tags say, that dates
lie where the person was observed, and that each person's dates moved by one number of days."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, LiteralString, cast

from blake3 import blake3

from hilum.clinical.cdm.cdm import find_cdm
from hilum.core.errors import HilumError
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.contents import SetInstance, instances_of, placed
from hilum.research.datasets.definition import Definition, LayoutName
from hilum.research.datasets.facts import BEFORE, WANTED
from hilum.research.datasets.outputs import OutFile
from hilum.research.datasets.people import SetPerson
from hilum.research.deid.keys import Keys
from hilum.research.deid.layout import Layout
from hilum.research.deid.profile import Profile
from hilum.research.deid.seal import Seal

_EXAMPLES: Final = 20
_PAGE: Final = 1000


@dataclass(slots=True)
class Check:
    """One thing that is looked at.

    Attributes
    ----------
    binding
        Whether a version that fails it cannot be published.
    wrong, total
        Of how many things how many are not as they should be; ``examples`` are new UIDs or paths.
    """

    name: str
    text: str
    binding: bool = True
    total: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list[str])

    def see(self, good: object, example: str) -> None:
        """Count one thing."""
        self.total += 1
        if not good:
            self.wrong += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(example)

    def as_json(self) -> dict[str, object]:
        """As the report has it."""
        return {
            "name": self.name, "text": self.text, "passed": not self.wrong, "binding": self.binding,
            "total": self.total, "wrong": self.wrong, "examples": self.examples,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """The version that is looked at."""

    archive: Archive
    version_id: int
    definition: Definition
    layout: LayoutName
    profile: Profile
    keys: Keys
    people: Mapping[str, SetPerson]
    files: Sequence[OutFile]


def check_version(subject: Subject) -> dict[str, object]:
    """Look at a version; gives its report, which says nothing of the originals."""
    checks = [
        _readable(subject), _complete(subject), *_instances(subject), _shifts(subject), _valid(subject),
    ]  # fmt: skip
    return {
        "passed": not any(check.wrong for check in checks if check.binding),
        "checks": [check.as_json() for check in checks],
        "missing": _missing(subject),
    }


def _readable(subject: Subject) -> Check:
    check = Check("readable", "Every file can be read, and its bytes are those that the manifest tells.")
    for file in subject.files:
        digest = blake3()
        try:
            for chunk in subject.archive.blobs.stream(file.blob_key):
                digest.update(chunk)
        except HilumError:
            check.see(False, file.path)
        else:
            check.see(digest.hexdigest() == file.digest, file.path)
    return check


def _complete(subject: Subject) -> Check:
    check = Check("complete", "Every instance that was selected is in the set; others are held back.", binding=False)
    with subject.archive.database.transaction() as sql:
        rows = sql.rows(_STUDIES, (subject.version_id,))
    for row in rows:
        check.see(not row["held"], f"{row['study']}: {row['held']} of {row['instances']} held back")
    return check


def _instances(subject: Subject) -> list[Check]:
    tags = Check("folder_is_tags", "Folders and file names say what the tags of the file say.")
    ids = Check("ids", "PatientID, AccessionNumber and UIDs are those that were planned; each instance is there once.")
    marked = Check("marked", "Each file says that it was de-identified.")
    observed = Check("observed", "Dates lie in the person's observation period.", binding=False)
    xr = subject.profile.xr if subject.definition.xr is None else subject.definition.xr
    periods = _periods(subject)
    seen: set[str] = set()
    instances: Iterator[SetInstance] = instances_of(subject.archive.database, subject.version_id)
    if subject.layout == "chorus":
        instances = placed(instances, Layout(xr=xr))
    for one in instances:
        facts = one.facts
        said = (facts.get("PatientID"), facts.get("AccessionNumber"), facts.get("StudyInstanceUID"),
            facts.get("SeriesInstanceUID"), facts.get("SOPInstanceUID"))  # fmt: skip
        ids.see(said == (one.person_id, one.accession, one.study, one.series, one.sop) and one.sop not in seen, one.sop)
        seen.add(one.sop)
        marked.see(facts.get("PatientIdentityRemoved") == "YES", one.sop)
        if one.target:
            tags.see(_as_tags(one, xr=xr), one.target)
        period = periods.get(one.person_id)
        if period and one.datetime:
            observed.see(period[0] <= one.datetime[:10] <= period[1], one.sop)
    return [tags, ids, marked, observed]


def _as_tags(one: SetInstance, *, xr: bool) -> bool:
    person, images, modality, accession, series, name = one.target.split("/")
    said = str(one.facts.get("Modality", "OT"))
    expected = "XR" if xr and said in ("CR", "DX") else said
    number = int(name.removesuffix(".dcm").partition("_")[0])
    return (person, images, modality, accession, series, number) == (
        one.facts.get("PatientID"), "Images", expected, one.facts.get("AccessionNumber"),
        one.facts.get("SeriesInstanceUID"), one.facts.get("InstanceNumber", 0),
    )  # fmt: skip


def _periods(subject: Subject) -> dict[str, tuple[str, str]]:
    """From when to when the CDM observes each person, moved as the dates are."""
    by_number = {one.person_id: one for one in subject.people.values() if one.person_id is not None}
    found: dict[str, tuple[str, str]] = {}
    with subject.archive.database.transaction() as sql:
        cdm = find_cdm(sql, subject.definition.source)
        rows = sql.rows(cdm.sql(_PERIODS), (list(by_number),)) if cdm is not None else []
    for row in rows:
        one = by_number[cast("int", row["person_id"])]
        days = dt.timedelta(one.person.days)
        first, last = cast("dt.date", row["first"]) + days, cast("dt.date", row["last"]) + days
        found[one.person.person_id] = (first.isoformat(), last.isoformat())
    return found


def _shifts(subject: Subject) -> Check:
    """By what the crosswalk has of each date, before and after."""
    check = Check("one_shift", "All dates of a person moved by one number of whole days.")
    if not subject.profile.modified_dates:
        return check
    seal, after = Seal(subject.keys), 0
    while True:
        with subject.archive.database.transaction() as sql:
            rows = sql.rows(_SEALED, (BEFORE, subject.version_id, after, _PAGE))
        for row in rows:
            days = subject.people[str(row["person"])].person.days
            moved = set(_moved(cast("list[list[str]]", seal.open(cast("bytes", row["sealed"])))))
            check.see(moved <= ({0, days} if row["before"] else {days}), str(row["sop"]))
        if len(rows) < _PAGE:
            return check
        after = cast("int", rows[-1]["id"])


def _moved(changes: Sequence[Sequence[str]]) -> Iterator[int]:
    for _, vr, original, action, _, new in changes:
        if vr == "DA" and action == "shift" and len(original) == len(new) == 8:
            try:
                yield (_day(new) - _day(original)).days
            except ValueError:
                continue


def _day(text: str) -> dt.date:
    return dt.date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _valid(subject: Subject) -> Check:
    """By what was compared while instances were made: the first of each series."""
    text = "dciodvfy finds no error in the first file of a series that its original lacks; others are held back."
    check = Check("valid", text, binding=False)
    with subject.archive.database.transaction() as sql:
        rows = sql.rows(_VALIDATED, (subject.version_id,))
    for row in rows:
        check.see(row["state"] == "done", str(row["sop"]))
    return check


def _missing(subject: Subject) -> dict[str, dict[str, dict[str, int]]]:
    """How often each wanted field is missing, by modality."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for one in instances_of(subject.archive.database, subject.version_id):
        fields = found.setdefault(one.modality, {name: {"missing": 0, "of": 0} for name in WANTED})
        for name in WANTED:
            fields[name]["of"] += 1
            fields[name]["missing"] += one.facts.get(name) is None
    return dict(sorted(found.items()))


_STUDIES: Final[LiteralString] = """
  select study, count(*) as instances, count(*) filter (where state <> 'done') as held
  from hilum.dataset_instance where version_id = %s group by 1 order by 1
"""
_VALIDATED: Final[LiteralString] = """
  select sop, state from hilum.dataset_instance
  where version_id = %s and (state = 'done' and validated or state = 'held' and code = 'invalid') order by sop
"""
_PERIODS: Final[LiteralString] = """
  select person_id, min(observation_period_start_date) as first, max(observation_period_end_date) as last
  from {cdm}.observation_period where person_id = any(%s) group by 1
"""
_SEALED: Final[LiteralString] = """
  select id, person, sop, sealed, facts ? %s as before from hilum.dataset_instance
  where version_id = %s and state = 'done' and id > %s order by id limit %s
"""
