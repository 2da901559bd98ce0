"""A run over a folder: every file is looked at, matched with the site's maps, made, verified and only then put
where the CHoRUS layout has it. The crosswalk says how far a run is, so that one that was ended, even by kill -9,
goes on where it was and comes to the same bytes. What cannot leave is reported with its reason."""

import os
import shutil
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Final, Protocol

import msgspec

import hilum
from hilum.core.errors import Invalid
from hilum.imaging.intake.walk import walk
from hilum.research.deid.crosswalk import Crosswalk, FileRow, check_same_run
from hilum.research.deid.identifiers import Kind
from hilum.research.deid.keys import Keys, read_keys
from hilum.research.deid.layout import Layout
from hilum.research.deid.maps import ImageRow, Maps, read_maps
from hilum.research.deid.person import Person
from hilum.research.deid.pixel_text.regions import device_rules
from hilum.research.deid.pixel_text.step import text_step
from hilum.research.deid.pixels import Decision, PixelStep
from hilum.research.deid.profile import Profile, load_profile
from hilum.research.deid.registry import write_registry
from hilum.research.deid.report import Report
from hilum.research.deid.review import read_decisions
from hilum.research.deid.team import Team, pieces, processors
from hilum.research.deid.work import Batch, Order, Outcome, Seen, Setup, Worker

TEMPORARY: Final = ".hilum-deid"
_LOOK_AT_ONCE: Final = 64
_MAKE_AT_ONCE: Final = 48
_LEFT_OUT: Final = frozenset(("not_dicom", "empty", "bad_dicomdir"))
_MAX_KNOWN: Final = 4000


class Bar(Protocol):
    """What shows how far a run is."""

    def __call__(self, done: int, total: int | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: folders and files, as of the command."""

    source: Path
    target: Path
    profile: str
    key_file: Path | None
    maps: Path | None = None
    crosswalk: Path | None = None
    registry: Path | None = None
    report: Path | None = None
    workers: int = 0
    dry: bool = False
    pixel_step: PixelStep | None = None
    review: Path | None = None


def deidentify_folder(request: Request, bar: Bar) -> Report:
    """De-identify a folder.

    Raises
    ------
    Invalid, Conflict
        When what was asked for cannot be done as it stands; nothing was written then.
    """
    profile = load_profile(request.profile)
    _check_paths(request, profile)
    maps = read_maps(request.maps) if request.maps else Maps()
    assert request.key_file is not None
    keys = read_keys(request.key_file, create=request.crosswalk is None or not request.crosswalk.exists())
    with _workplace(request) as (temporary, crosswalk_path):
        crosswalk = Crosswalk(crosswalk_path, keys)
        try:
            check_same_run(crosswalk, _fingerprint(profile, request))
            run = _Run(request, profile, maps, keys, crosswalk, temporary)
            return run.carry_out(bar)
        finally:
            crosswalk.close()


def _check_paths(request: Request, profile: Profile) -> None:
    source, target = request.source.resolve(), request.target.resolve()
    if not source.is_dir():
        raise Invalid(f"There is no folder {request.source}.")
    if request.key_file is None:
        raise Invalid("Name the key file with --key-file; it is made where there is none yet.")
    if request.maps is None and profile.unmapped == "quarantine":
        raise Invalid(f"The profile {profile.name} needs the folder of personal_map.csv and image_map.csv: --maps.")
    if request.crosswalk is None and not request.dry:
        raise Invalid("Name the crosswalk with --crosswalk; it stays at the site.")
    if _within(target, source) or _within(source, target):
        raise Invalid("The output folder must lie neither in the input folder nor around it.")
    if target.exists() and not target.is_dir():
        raise Invalid(f"{request.target} is no folder.")
    for path in (request.crosswalk, request.report, request.key_file, request.review):
        if path is not None and _within(path.resolve(), target):
            raise Invalid(f"{path.name} lies in the output folder, but must never leave the site: put it elsewhere.")
    for path in (request.crosswalk, request.report, request.key_file, request.registry):
        if path is not None and _within(path.resolve(), source):
            raise Invalid(f"{path.name} would be written into the input folder: put it elsewhere.")


def _within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _fingerprint(profile: Profile, request: Request) -> str:
    said = repr((profile.name, sorted(profile.options), sorted(profile.attributes.items()), sorted(profile.words),
                 sorted(profile.safe_private.items()), profile.time_zone, profile.faces, profile.xr,
                 profile.pixels, profile.markers, profile.ultrasound, device_rules(profile.device_rules)))  # fmt: skip
    return blake2b(f"{said}{'' if request.dry else request.target.resolve()}".encode()).hexdigest()


@contextmanager
def _workplace(request: Request) -> Generator[tuple[Path, Path]]:
    """A folder for what is not verified yet, in the output folder (so that a move is one), and the crosswalk's path."""
    if request.dry:
        import tempfile

        with tempfile.TemporaryDirectory(prefix="hilum-deid-") as folder:
            yield Path(folder), Path(folder, "crosswalk")
        return
    temporary = request.target / TEMPORARY
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        assert request.crosswalk is not None
        yield temporary, request.crosswalk
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass(slots=True)
class _Run:
    request: Request
    profile: Profile
    maps: Maps
    keys: Keys
    crosswalk: Crosswalk
    temporary: Path
    known: dict[str, set[tuple[Kind, str]]] = field(default_factory=lambda: defaultdict(set))
    days: dict[str, int] = field(default_factory=dict[str, int])
    report: Report = field(init=False)
    decisions: dict[str, Decision] = field(init=False)

    def __post_init__(self) -> None:
        self.decisions = read_decisions(self.request.review) if self.request.review else {}
        self.report = Report(self.profile.name, dry=self.request.dry)

    def carry_out(self, bar: Bar) -> Report:
        setup = Setup(
            self.profile, self.keys.uids, str(self.request.source), str(self.request.target), str(self.temporary),
            self.request.pixel_step or text_step(self.profile), self.request.dry,
        )  # fmt: skip
        with Team(self.request.workers or processors(), Worker, setup) as team:
            self._look(team, bar)
            self._place()
            self._make(team, bar)
        self._finish()
        return self.report

    def _look(self, team: Team[Worker], bar: Bar) -> None:
        """Note every file with what it is, whose it is, and what is known of that person."""
        stamps: dict[str, str] = {}
        count = 0

        def paths() -> Iterator[str]:
            for found in walk([self.request.source], self.request.source):
                path = os.path.relpath(found.path, self.request.source)
                if found.trouble is not None:
                    self.report.leave_out(path, found.trouble, "The file cannot be read, or is none.")
                    continue
                stamps[path] = found.stamp
                yield path

        for seen in team.spread(Worker.look, pieces(paths(), _LOOK_AT_ONCE)):
            with self.crosswalk.transaction():
                for one in seen:
                    self._note(one, stamps.pop(one.path))
            count += len(seen)
            bar(count, None)

    def _note(self, seen: Seen, stamp_text: str) -> None:
        if seen.code in _LEFT_OUT:
            self.report.leave_out(seen.path, seen.code, seen.reason)
            return
        person = None if seen.code else self._person(seen.patient_id)
        image = None if person is None else self._image(seen)
        site = self._site(seen.patient_id, person)
        decision = self.decisions.get(seen.path)
        said = repr((stamp_text, person and (person[0], person[1]), image, sorted(site), decision))
        stamp = self.crosswalk.blind("stamp", said)
        if person is not None:
            known = self.known[person[0]]
            if len(known) < _MAX_KNOWN:
                known.update(seen.known | site)
            self.days[person[0]] = person[1]
        before = self.crosswalk.known(seen.path, stamp)
        if before is not None and (before.state == "planned" or self._is_there(before)):
            return
        values: dict[str, object] = {"state": "planned"}
        code, reason = seen.code, seen.reason
        if not code and person is None:
            code, reason = "no_person", "Its PatientID is not in personal_map.csv."
        elif not code and image is None:
            code, reason = "no_accession", "Its PatientID and AccessionNumber are not in image_map.csv."
        elif not code and self.crosswalk.holds_instance(seen.sop, seen.path):
            code, reason = "duplicate_instance", "Another file has the same SOPInstanceUID."
        if code:
            values = {"state": "quarantined", "code": code, "reason": reason}
        elif person is not None and image is not None:
            values |= {
                "person_id": person[0], "accession": image.image_occurrence_id, "study": seen.study,
                "procedure_id": image.procedure_occurrence_id, "visit_id": image.visit_occurrence_id,
                "series": seen.series, "sop": seen.sop, "modality": seen.modality, "number": seen.number,
            }  # fmt: skip
        looked_up = [("value", value) for value in (seen.patient_id, seen.accession_number)]
        former = self.crosswalk.plan(seen.path, stamp, values, looked_up)
        if former and not self.request.dry:
            (self.request.target / former).unlink(missing_ok=True)

    def _is_there(self, row: FileRow) -> bool:
        """Whether what was done stays done: the file is out as it was written, or was set aside by the maps."""
        if row.state == "done" and row.target:
            path = self.request.target / row.target
            return path.is_file() and path.stat().st_size == row.size
        return False

    def _person(self, patient_id: str) -> tuple[str, int] | None:
        found = self.maps.people.get(patient_id)
        if found is not None:
            return found[0], self.keys.drawn_shift(found[0]) if found[1] is None else found[1]
        if self.profile.unmapped == "quarantine" or not patient_id:
            return None
        return self.keys.pseudonym("person", patient_id), self.keys.drawn_shift(patient_id)

    def _site(self, patient_id: str, person: tuple[str, int] | None) -> frozenset[tuple[Kind, str]]:
        """What the site's list has of a person, by either id."""
        nothing: frozenset[tuple[Kind, str]] = frozenset()
        found = self.maps.known.get(patient_id, nothing)
        return found | self.maps.known.get(person[0], nothing) if person is not None else found

    def _image(self, seen: Seen) -> ImageRow | None:
        found = self.maps.images.get((seen.patient_id, seen.accession_number))
        if found is not None or self.profile.unmapped == "quarantine":
            return found
        return ImageRow(self.keys.pseudonym("accession", f"{seen.patient_id}\0{seen.accession_number}\0{seen.study}"))

    def _place(self) -> None:
        """Give every file that waits its place in the layout."""
        layout = Layout(xr=self.profile.xr)
        with self.crosswalk.transaction():
            for row in self.crosswalk.files("planned"):
                if row.target is None:
                    target = next(one for one in layout.targets(row) if not self.crosswalk.holds_target(one))
                    self.crosswalk.update(row.id, target=target)

    def _make(self, team: Team[Worker], bar: Bar) -> None:
        self.report.unchanged = self.crosswalk.count("done")
        total, done = self.crosswalk.count("planned"), 0
        under_way: dict[int, FileRow] = {}
        for outcomes in team.spread(Worker.carry_out, self._batches(under_way)):
            with self.crosswalk.transaction():
                for outcome in outcomes:
                    self._took(under_way.pop(outcome.file_id), outcome)
            done += len(outcomes)
            bar(done, total)

    def _batches(self, under_way: dict[int, FileRow]) -> Iterator[Batch]:
        """Orders of one person at a time, of a whole series where its volume is looked at; the first file of each
        series has its validity checked."""
        checked = ""
        person = Person("", 0)
        for (person_id, volume), rows in groupby(self.crosswalk.files("planned"), self._together):
            if person_id != person.person_id:
                person = Person(person_id, self.days[person_id], frozenset(self.known[person_id]))
            beside = tuple(self.crosswalk.paths(*volume)) if volume else None
            for piece in [list(rows)] if volume else pieces(rows, _MAKE_AT_ONCE):
                orders: list[Order] = []
                for row in piece:
                    under_way[row.id] = row
                    first, checked = row.series != checked, row.series
                    orders.append(
                        Order(row.id, row.path, person, row.accession, row.target or "", first,
                              self.decisions.get(row.path))
                    )  # fmt: skip
                yield Batch(orders, beside)

    def _together(self, row: FileRow) -> tuple[str, tuple[str, str, str] | None]:
        """What files have in common that are made together: the person, and the series where faces are taken off."""
        return row.person_id, (row.person_id, row.study, row.series) if self.profile.faces == "remove" else None

    def _took(self, row: FileRow, outcome: Outcome) -> None:
        if outcome.code:
            self.crosswalk.update(row.id, state="quarantined", code=outcome.code, reason=outcome.reason, target=None)
            if row.target and not self.request.dry:
                (self.request.target / row.target).unlink(missing_ok=True)
            return
        self.crosswalk.done(
            row.id, outcome.changes, datetime=outcome.datetime, digest=outcome.digest, size=outcome.size,
            before=int(outcome.before),
        )  # fmt: skip
        self.report.made(outcome)

    def _finish(self) -> None:
        self.report.finish(self.crosswalk, hilum.__version__)
        if self.request.registry is not None and not self.request.dry:
            self.report.counts["registry_rows"] = write_registry(
                self.request.registry, self.crosswalk.files("done"), self.keys
            )
        if self.request.report is not None:
            path = self.request.report
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            part.touch(mode=0o600)
            part.write_bytes(msgspec.json.format(msgspec.json.encode(self.report.as_json()), indent=1) + b"\n")
            part.replace(path)
