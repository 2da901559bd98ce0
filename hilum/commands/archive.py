"""The commands about what is archived: import, watch, check, index anew."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, cast

import typer

from hilum.commands.terminal import Data, Json, Supervised, err, out, print_summary, progress_bar, read_settings
from hilum.core.errors import Invalid

if TYPE_CHECKING:
    from hilum.core.config import Settings
    from hilum.imaging.archive.repair import Repaired

commands = typer.Typer()

# Of findings so many are printed; --json has more.
_SHOWN: Final = 20


class Layout(StrEnum):
    """How the folder of an upload is made."""

    CHORUS = "chorus"


@commands.command("import")
def import_files(
    paths: Annotated[list[Path], typer.Argument(help="Folders, DICOM files or zip bundles.")],
    data: Data = None,
    source: Annotated[str, typer.Option("--source", help="Key of the source to import into.")] = "default",
    in_place: Annotated[bool, typer.Option("--in-place", help="Index files where they lie, without a copy.")] = False,
    patient_id: Annotated[str, typer.Option("--patient-id", help="Whose all of it is, whatever it says.")] = "",
    wrap: Annotated[bool, typer.Option("--wrap", help="Wrap JPEG and PNG images as DICOM of the named study.")] = False,
    wrap_pdf: Annotated[bool, typer.Option("--wrap-pdf", help="Wrap PDFs as well.")] = False,
    study_uid: Annotated[str, typer.Option("--study-uid", help="Study of the wrapped images.")] = "",
    study_date: Annotated[str, typer.Option("--study-date", help="Date of that study, YYYY-MM-DD.")] = "",
    study_description: Annotated[str, typer.Option("--study-description", help="What that study is called.")] = "",
    patient_name: Annotated[str, typer.Option("--patient-name", help="For the images, Family^Given.")] = "",
    modality: Annotated[str, typer.Option("--modality", help="Of the wrapped images.  [default: OT]")] = "",
    layout: Annotated[
        Layout | None, typer.Option("--layout", help="The folder is an upload of a site, with registry and tables.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="With --layout: JSON file of every row and file that is amiss.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import DICOM from folders, files and zip bundles; on request also images, wrapped as DICOM."""
    missing = [str(path) for path in paths if not path.exists() and not path.is_symlink()]
    if missing:
        raise Invalid(f"There is no such file or folder: {', '.join(missing)}.")
    settings = read_settings(data)
    if layout:
        if len(paths) > 1 or patient_id or wrap or wrap_pdf:
            raise Invalid("An upload in a layout is one folder, and says itself whose its images are.")
        _import_upload(settings, source, paths[0], report, in_place=in_place, as_json=as_json)
    if report:
        raise Invalid("--report goes with --layout.")
    from hilum.imaging.archive.patients import Chosen, check_patient
    from hilum.imaging.intake.command import run_import
    from hilum.imaging.intake.lanes import process_lanes
    from hilum.imaging.intake.tally import HARMLESS
    from hilum.imaging.intake.wrap import make_wrap

    chosen = Chosen(check_patient(patient_id)) if patient_id else None
    study = {
        "study_instance_uid": study_uid, "study_date": study_date, "study_description": study_description,
        "patient_name": patient_name,
    }  # fmt: skip
    if not wrap and (wrap_pdf or modality or any(study.values())):
        raise Invalid("What names a study goes with --wrap.")
    images = make_wrap(patient_id, pdf=wrap_pdf, modality=modality, **study) if wrap else None
    with process_lanes(settings) as lanes, progress_bar("Importing", hidden=as_json) as bar:
        begin = time.monotonic()
        summary = run_import(
            settings, source, paths, bar, in_place=in_place, chosen=chosen, wrap=images, lanes=lanes,
            count=err.is_terminal,
        )  # fmt: skip
    if as_json:
        print(json.dumps(summary.as_json(), ensure_ascii=False))  # noqa: T201
    else:
        print_summary(summary.counts, summary.reasons, time.monotonic() - begin)
    if summary.stopped:
        _say_stopped(summary.stopped)
    rejected = summary.stopped or any(reason["code"] not in HARMLESS for reason in summary.reasons)
    raise typer.Exit(1 if rejected else 0)


def _import_upload(
    settings: "Settings", source: str, folder: Path, report: Path | None, *, in_place: bool, as_json: bool
) -> NoReturn:
    """Take in an upload, and end the command."""
    from hilum.clinical.upload.take import take_upload
    from hilum.imaging.intake.lanes import process_lanes
    from hilum.imaging.intake.tally import HARMLESS

    begin = time.monotonic()
    with process_lanes(settings) as lanes, progress_bar("Importing", hidden=as_json) as bar:
        taken = take_upload(settings, source, folder, bar, lanes=lanes, in_place=in_place, report_path=report)
    if as_json:
        print(json.dumps(taken.as_json(), ensure_ascii=False))  # noqa: T201
    else:
        reasons = taken.files.reasons + taken.report.reasons
        reasons += [
            {"reason": f"studies wait for a {each['kind']}: {each['reason']}", "count": each["studies"], "examples": ()}
            for each in taken.report.waiting
        ]
        print_summary(taken.files.counts | taken.report.counts, reasons, time.monotonic() - begin)
        for table, told in taken.report.tables.items():
            text = f"{told:,} rows added" if isinstance(told, int) else told
            out.print(f"OMOP {table}: {text}", markup=False, highlight=False, soft_wrap=True)
    if taken.files.stopped:
        _say_stopped(taken.files.stopped)
    rejected = taken.files.stopped or any(reason["code"] not in HARMLESS for reason in taken.files.reasons)
    raise typer.Exit(1 if rejected or not taken.report.complete else 0)


def _say_stopped(text: str) -> None:
    err.print(f"hilum: {text}", style="red", markup=False, highlight=False, soft_wrap=True)


@commands.command()
def watch(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="The inbox.  [default: HILUM_INBOX]", show_default=False)
    ] = None,
    data: Data = None,
    settle: Annotated[
        float, typer.Option("--settle", min=0, help="Seconds a file must stay unchanged before it counts as whole.")
    ] = 2.0,
    supervised: Supervised = False,
) -> None:
    """Import what lands in a folder; its first-level folders name the source. Ctrl+C stops it."""
    settings = read_settings(data, inbox=folder)
    if settings.inbox is None:
        raise Invalid("Name the folder to watch, or set HILUM_INBOX.")
    from hilum.core.supervise import die_with_parent
    from hilum.imaging.intake.watch import watch as run_watch

    inbox = settings.inbox
    if supervised:
        die_with_parent()

    def ready() -> None:
        if not supervised:
            out.print(f"Watching {inbox}  (Ctrl+C stops it)", markup=False, highlight=False, soft_wrap=True)

    run_watch(settings, inbox, ready, settle)


@commands.command("check")
def check_archive(
    data: Data = None,
    source: Annotated[str | None, typer.Option("--source", help="Key of the source to check.  [default: all]")] = None,
    mend: Annotated[
        bool, typer.Option("--repair", help="Catalogue anew what is missing, and move damaged objects aside.")
    ] = False,
    sizes: Annotated[bool, typer.Option("--sizes", help="Compare sizes alone, and read no file.")] = False,
    as_json: Json = False,
) -> None:
    """Check the catalogue against the objects: every row has its bytes, every object a row."""
    settings = read_settings(data)
    from hilum.clinical.features.restore import bring_back
    from hilum.clinical.linkage.restore import take_up
    from hilum.core.blobs import open_blobs
    from hilum.core.database import open_database
    from hilum.imaging.archive.check import check
    from hilum.imaging.archive.repair import Repaired, repair
    from hilum.imaging.archive.sources import source_keys
    from hilum.imaging.archive.store import Archive

    begin = time.monotonic()
    with open_database(settings, pool_size=3) as database, progress_bar("Checking", hidden=as_json) as bar:
        blobs = open_blobs(settings)
        archive = Archive(database, blobs, settings)
        if source is not None and not mend:
            archive.source(source)
        if mend:
            done = repair(archive, source=source, step=bar, parts={"features": bring_back})
            for key in source_keys(database):
                done.count("image_occurrences", take_up(database, settings, key))
        else:
            done = Repaired(check(database, blobs, source=source, digests=not sizes, step=bar))
    seconds = time.monotonic() - begin
    if as_json:
        print(json.dumps(done.as_json(seconds)))  # noqa: T201
    else:
        _print_check(done, seconds)
    left = [kind for kind in done.report.found if not (mend and kind == "orphan")]
    raise typer.Exit(1 if done.lost or left else 0)


def _print_check(done: "Repaired", seconds: float) -> None:
    from hilum.imaging.archive.check import MEANING

    report = done.report
    rate = f"{report.files / seconds:,.0f} files/s" if seconds > 0 else ""
    out.print(
        f"{report.files:,} files and {report.objects:,} objects checked in {seconds:.1f} s ({rate})", markup=False
    )
    for kind, count in report.found.items():
        out.print(f"{count:,} x {MEANING[kind]}", markup=False, highlight=False, soft_wrap=True)
        for finding in [each for each in report.findings if each.kind == kind][:_SHOWN]:
            out.print(f"    {finding.what}", markup=False, highlight=False, soft_wrap=True, style="dim")
    if not report.found:
        out.print("Nothing is missing, damaged or left over.")
    for name, count in done.counts.items():
        if count:
            out.print(f"{count:,} {name.replace('_', ' ')} brought back", markup=False, highlight=False)
    if done.lost:
        out.print(f"{len(done.lost):,} x lost or to be looked at:", markup=False, highlight=False)
    for line in done.lost[:_SHOWN]:
        out.print(f"    {line}", markup=False, highlight=False, soft_wrap=True, style="dim")


@commands.command("reindex")
def reindex_studies(data: Data = None, as_json: Json = False) -> None:
    """Read what is archived for the attributes of HILUM_QIDO_ATTRIBUTES, after that setting has changed."""
    settings = read_settings(data)
    from hilum.core.blobs import open_blobs
    from hilum.core.database import open_database
    from hilum.core.progress import job_here
    from hilum.imaging.archive.reindex import KIND, reindex
    from hilum.imaging.archive.store import Archive

    with open_database(settings, pool_size=2) as database, progress_bar("Reading studies", hidden=as_json) as bar:
        archive = Archive(database, open_blobs(settings), settings)
        choice = archive.choice
        begin = time.monotonic()
        with job_here(database, KIND, f"Reading for {len(choice.attributes)} further attributes", "", bar) as progress:
            reindex(archive, progress)
    reasons = cast("list[dict[str, object]]", progress.summary()["reasons"])
    if as_json:
        print(json.dumps({"counts": progress.counts, "reasons": reasons}))  # noqa: T201
    else:
        print_summary(progress.counts, reasons, time.monotonic() - begin)
    raise typer.Exit(1 if reasons else 0)
