"""The command line: every command of Hilum, each a few lines over the room that does the work."""

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table

import hilum
from hilum.cli_cdm import cdm
from hilum.core.config import Settings, explain_settings
from hilum.core.errors import HilumError, Invalid
from hilum.core.supervise import exit_on_signals
from hilum.terminal import Data, Json, err, out
from hilum.terminal import bar as _bar
from hilum.terminal import print_summary as _print_summary
from hilum.terminal import settings as _settings

if TYPE_CHECKING:
    from hilum.imaging.archive.repair import Repaired

app = typer.Typer(
    name="hilum",
    help="The gate through which medical imaging enters clinical research.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
db = typer.Typer(help="The database's schema.", no_args_is_help=True)
source_commands = typer.Typer(help="Data sources.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(source_commands, name="source")
app.add_typer(cdm, name="cdm")

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.  [default: 127.0.0.1]")]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on.  [default: 8000]")]
DicomHost = Annotated[
    str | None, typer.Option("--dicom-host", help="Address of the DICOM listener.  [default: 127.0.0.1]")
]
DicomPort = Annotated[int | None, typer.Option("--dicom-port", help="Port of the DICOM listener.  [default: 11112]")]
Title = Annotated[str | None, typer.Option("--aet", help="AE title of the DICOM listener.  [default: HILUM]")]
Nats = Annotated[
    str | None, typer.Option("--nats", help="Where NATS is, nats://… or tls://….  [default: HILUM_NATS_URL]")
]
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]

# The relay's channel where none is named.
_CHANNEL = "main"
# Of findings so many are printed; --json has more.
_SHOWN = 20


def main() -> None:
    """Run the command line; an error with a sentence becomes that sentence and an exit code."""
    try:
        with exit_on_signals():
            app()
    except Invalid as error:
        _say_error(error)
        sys.exit(2)
    except HilumError as error:
        _say_error(error)
        sys.exit(1)


def _say_error(error: HilumError) -> None:
    err.print(f"hilum: {error}", style="red", markup=False, highlight=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The gate through which medical imaging enters clinical research."""
    if show:
        out.print(f"hilum {hilum.__version__}", highlight=False)
        raise typer.Exit


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="Folder of the demo.")] = Path("hilum-demo"),
    port: Port = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin anew: delete what the demo folder holds.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Make demo data (about 40 people, 60 studies), import it and serve it."""
    from hilum.demo.run import prepare, reset_demo
    from hilum.imaging.intake.lanes import process_lanes

    settings = _settings(data, port=port)
    if reset:
        reset_demo(settings)
    with process_lanes(settings) as lanes, _bar("Demo data") as bar:
        prepare(settings, lanes, bar)
    _serve(settings, demo=True, open_browser=not no_open)


@app.command()
def serve(
    data: Data = None,
    host: Host = None,
    port: Port = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes that run jobs.  [default: 1]")] = None,
    inbox: Annotated[Path | None, typer.Option("--inbox", help="Folder to import from as files land.")] = None,
    dicom_host: DicomHost = None,
    dicom_port: DicomPort = None,
    aet: Title = None,
) -> None:
    """Serve the page, the REST API, DICOMweb and DICOM, and run jobs."""
    settings = _settings(
        data, host=host, port=port, workers=workers, inbox=inbox, dicom_host=dicom_host, dicom_port=dicom_port, aet=aet
    )
    _serve(settings)


def _serve(settings: Settings, *, demo: bool = False, open_browser: bool = False) -> None:
    from hilum.serve import serve as run_serve

    def ready(url: str, dicom: str) -> None:
        out.print(f"Hilum is at [bold]{settings.public_url or url}[/bold]  (Ctrl+C stops it)", highlight=False)
        out.print(f"DICOM is at {dicom}", highlight=False, markup=False)
        if open_browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    # The demo shall start beside whatever has the usual port of DICOM.
    raise typer.Exit(run_serve(settings, ready, any_dicom_port=demo))


@app.command()
def api(
    data: Data = None,
    host: Host = None,
    port: Port = None,
    listener: Annotated[int | None, typer.Option("--listener", hidden=True)] = None,
    supervised: Supervised = False,
) -> None:
    """Run one HTTP process alone, to scale out."""
    from hilum.serve import serve_http

    del supervised
    serve_http(_settings(data, host=host, port=port), listener)


@app.command()
def dicom(
    data: Data = None,
    dicom_host: DicomHost = None,
    dicom_port: DicomPort = None,
    aet: Title = None,
    nats_url: Nats = None,
    channel: Annotated[
        str | None,
        typer.Option("--channel", help="Channels whose associations it takes.  [default with --nats: main]"),
    ] = None,
    listener: Annotated[int | None, typer.Option("--listener", hidden=True)] = None,
    supervised: Supervised = False,
) -> None:
    """Run the DICOM listener alone, to scale out; with --nats it also takes what proxies relay."""
    from hilum.serve import serve_dicom

    def ready(address: str) -> None:
        out.print(f"DICOM is at {address}  (Ctrl+C stops it)", highlight=False, markup=False)

    settings = _settings(
        data, dicom_host=dicom_host, dicom_port=dicom_port, aet=aet, nats_url=nats_url, relay_channels=channel
    )
    if nats_url is not None and not settings.relay_channels:
        settings = settings.model_copy(update={"relay_channels": [_CHANNEL]})
    serve_dicom(settings, listener, ready, supervised=supervised)


@app.command()
def proxy(
    data: Data = None,
    nats_url: Nats = None,
    channel: Annotated[str | None, typer.Option("--channel", help="The channel it works on.  [default: main]")] = None,
    listen_host: Annotated[
        str | None, typer.Option("--listen-host", help="Address to listen on.  [default: 127.0.0.1]")
    ] = None,
    listen_port: Annotated[
        int | None, typer.Option("--listen-port", help="Port to listen on.  [default: 11112]")
    ] = None,
    aet: Annotated[
        str | None, typer.Option("--aet", help="Called AE titles that it takes, with commas.  [default: any]")
    ] = None,
    peers: Annotated[
        str | None, typer.Option("--peers", help="AE titles that may call, with commas; needed off loopback.")
    ] = None,
    local: Annotated[
        list[str] | None,
        typer.Option("--local", help="TITLE=host:port of an AE here that the other end may reach; may be repeated."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Folder to keep instances in while nobody answers.")
    ] = None,
) -> None:
    """Relay DICOM associations over NATS, at a hospital's edge; needs no database."""
    from hilum.imaging.relay.proxy import serve_proxy

    settings = _settings(
        data, nats_url=nats_url, relay_channels=channel, dicom_host=listen_host, dicom_port=listen_port,
        relay_titles=aet, dicom_peers=peers, relay_locals=local or None, relay_keep=keep,
    )  # fmt: skip
    if not settings.relay_channels:
        settings = settings.model_copy(update={"relay_channels": [_CHANNEL]})

    def ready(address: str) -> None:
        out.print(f"The proxy is at {address}  (Ctrl+C stops it)", highlight=False, markup=False)

    serve_proxy(settings, ready)


@app.command()
def worker(
    only: Annotated[
        str,
        typer.Option(
            "--only",
            metavar="NAME,...",
            help="Keep to some kinds of work: jobs, upkeep, studies, delivery, fhir, routing.  [default: all]",
            show_default=False,
        ),
    ] = "",
    data: Data = None,
    supervised: Supervised = False,
) -> None:
    """Run one process of job workers alone, to scale out."""
    from hilum.serve import work

    work(_settings(data), [name.strip() for name in only.split(",") if name.strip()], supervised=supervised)


@app.command("import")
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
    as_json: Json = False,
) -> None:
    """Import DICOM from folders, files and zip bundles; on request also images, wrapped as DICOM."""
    missing = [str(path) for path in paths if not path.exists() and not path.is_symlink()]
    if missing:
        raise Invalid(f"There is no such file or folder: {', '.join(missing)}.")
    settings = _settings(data)
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
    with process_lanes(settings) as lanes, _bar("Importing", hidden=as_json) as bar:
        begin = time.monotonic()
        summary = run_import(
            settings, source, paths, bar, in_place=in_place, chosen=chosen, wrap=images, lanes=lanes,
            count=err.is_terminal,
        )  # fmt: skip
    if as_json:
        print(json.dumps(summary.as_json(), ensure_ascii=False))  # noqa: T201
    else:
        _print_summary(summary.counts, summary.reasons, time.monotonic() - begin)
    if summary.stopped:
        err.print(f"hilum: {summary.stopped}", style="red", markup=False, highlight=False, soft_wrap=True)
    rejected = summary.stopped or any(reason["code"] not in HARMLESS for reason in summary.reasons)
    raise typer.Exit(1 if rejected else 0)


@app.command()
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
    settings = _settings(data, inbox=folder)
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


@app.command()
def deid(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The folder to de-identify; it is only read.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Where the shared files go, in the CHoRUS layout.")],
    profile: Annotated[
        str, typer.Option("--profile", help="basic, research, chorus, limited-dataset, or a site's own file .toml.")
    ] = "chorus",
    maps: Annotated[
        Path | None, typer.Option("--maps", help="Folder of personal_map.csv, image_map.csv, known_identifiers.csv.")
    ] = None,
    crosswalk: Annotated[
        Path | None, typer.Option("--crosswalk", help="The encrypted crosswalk; it stays at the site.")
    ] = None,
    registry: Annotated[Path | None, typer.Option("--registry", help="image_registry.csv to write.")] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="The site's key; made where there is none yet.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="JSON file of what was done and set aside; it stays at the site.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes.  [default: one a core]", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing but the report, with what would become of each attribute.")
    ] = False,
    as_json: Json = False,
) -> None:
    """De-identify a folder of DICOM files (PS3.15 Annex E); needs no database. Run again, it goes on where it was."""
    from hilum.research.deid.run import Request, deidentify_folder

    request = Request(
        source, target, profile, key_file, maps, crosswalk, registry, report, workers or 0, dry_run
    )  # fmt: skip
    begin = time.monotonic()
    with _bar("De-identifying", hidden=as_json) as bar:
        done = deidentify_folder(request, bar)
    if as_json:
        print(json.dumps(done.as_json(), ensure_ascii=False))  # noqa: T201
    else:
        reasons: list[dict[str, object]] = [{**reason, "examples": list[str]()} for reason in done.reasons()]
        _print_summary(done.counts, reasons, time.monotonic() - begin)
    raise typer.Exit(1 if done.quarantined else 0)


@app.command("crosswalk")
def read_crosswalk(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The crosswalk of a run.")],
    key_file: Annotated[Path, typer.Option("--key-file", help="The key file of that run.")],
    old: Annotated[str, typer.Option("--old", help="A PatientID, accession number or UID of an original.")] = "",
    new: Annotated[str, typer.Option("--new", help="A person_id, accession, UID or path of what was shared.")] = "",
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write CSV there instead of printing it.")] = None,
) -> None:
    """Print what became of each attribute, as CSV: of all files, or of what an old or new value names."""
    from hilum.research.deid.crosswalk_csv import write_csv

    count = write_csv(path, key_file, csv_file, old=old, new=new)
    if csv_file is not None:
        out.print(f"{count:,} rows written.", markup=False, highlight=False)


@app.command("check")
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
    settings = _settings(data)
    from hilum.core.blobs import open_blobs
    from hilum.core.database import open_database
    from hilum.imaging.archive.check import check
    from hilum.imaging.archive.repair import Repaired, repair
    from hilum.imaging.archive.store import Archive

    begin = time.monotonic()
    with open_database(settings, pool_size=3) as database, _bar("Checking", hidden=as_json) as bar:
        blobs = open_blobs(settings)
        archive = Archive(database, blobs, settings)
        if source is not None and not mend:
            archive.source(source)
        if mend:
            done = repair(archive, source=source, step=bar)
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


@app.command("reindex")
def reindex_studies(data: Data = None, as_json: Json = False) -> None:
    """Read what is archived for the attributes of HILUM_QIDO_ATTRIBUTES, after that setting has changed."""
    settings = _settings(data)
    from hilum.core.blobs import open_blobs
    from hilum.core.database import open_database
    from hilum.core.progress import job_here
    from hilum.imaging.archive.reindex import KIND, reindex
    from hilum.imaging.archive.store import Archive

    with open_database(settings, pool_size=2) as database, _bar("Reading studies", hidden=as_json) as bar:
        archive = Archive(database, open_blobs(settings), settings)
        choice = archive.choice
        begin = time.monotonic()
        with job_here(database, KIND, f"Reading for {len(choice.attributes)} further attributes", "", bar) as progress:
            reindex(archive, progress)
    reasons = cast("list[dict[str, object]]", progress.summary()["reasons"])
    if as_json:
        print(json.dumps({"counts": progress.counts, "reasons": reasons}))  # noqa: T201
    else:
        _print_summary(progress.counts, reasons, time.monotonic() - begin)
    raise typer.Exit(1 if reasons else 0)


@app.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Try everything that Hilum needs here, and tell of each part whether it works."""
    settings = _settings(data)
    from hilum.doctor import Finding, examine

    findings: list[Finding] = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            mark = "[green]works[/green]" if finding.works else "[red]fails[/red]"
            out.print(f"{mark}  {finding.name:<20} ", end="", highlight=False)
            out.print(finding.text, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps([{"name": f.name, "works": f.works, "text": f.text} for f in findings]))  # noqa: T201
    raise typer.Exit(0 if all(finding.works for finding in findings) else 1)


@source_commands.command("add")
def add_source(
    key: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    name: Annotated[str, typer.Option("--name", help="What people call it.")] = "",
    dicomweb_url: Annotated[str, typer.Option("--dicomweb-url", help="DICOMweb of its remote archive.")] = "",
    fhir_url: Annotated[str, typer.Option("--fhir-url", help="FHIR of its remote archive.")] = "",
    fhir_user: Annotated[str, typer.Option("--fhir-user", help="Who Hilum is to that; empty: a token says it.")] = "",
    fhir_secret: Annotated[
        typer.FileText | None,
        typer.Option("--fhir-secret", help="File with the password, or with the token; - for standard input."),
    ] = None,
    data: Data = None,
) -> None:
    """Add a data source, or change it."""
    from hilum.core.database import open_database
    from hilum.imaging.archive.sources import add_source as add

    secret = fhir_secret.read(4096).strip() if fhir_secret else ""
    with open_database(_settings(data), pool_size=1) as database:
        add(
            database,
            key,
            name or key,
            dicomweb_url=dicomweb_url,
            fhir_url=fhir_url,
            fhir_user=fhir_user,
            fhir_secret=secret,
        )
    out.print(f"Source {key} is there.", markup=False, highlight=False)


@source_commands.command("list")
def list_sources(data: Data = None, as_json: Json = False) -> None:
    """List the data sources."""
    from hilum.core.database import open_database
    from hilum.imaging.archive.query import sources

    with open_database(_settings(data), pool_size=1) as database, database.connect() as connection:
        rows = [dict(row) for row in sources(connection)]
    if as_json:
        print(json.dumps(rows))  # noqa: T201
        return
    table = Table("key", "name", "studies", box=None)
    for row in rows:
        table.add_row(row["key"], row["name"], f"{row['studies']:,}")
    out.print(table)


@db.command()
def upgrade(
    data: Data = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing.")] = False,
    objects: Annotated[bool, typer.Option("--objects", hidden=True)] = False,
) -> None:
    """Bring the schema up to date; every start does so too."""
    from hilum.core.blobs import open_blobs
    from hilum.core.database import open_database

    settings = _settings(data)
    if objects:
        open_blobs(settings).check()
    with open_database(settings, pool_size=1):
        if not quiet:
            out.print("The database is up to date.")


@app.command()
def config(data: Data = None, as_json: Json = False) -> None:
    """Print every setting, its value and where it came from."""
    settings = _settings(data)
    from hilum.core.postgres import embedded_url
    from hilum.serve import told_dicom_port

    # What a setting leaves open is told as it really is.
    really: dict[str, object] = {"HILUM_DICOM_PORT": told_dicom_port(settings)}
    if not settings.database_url:
        really["HILUM_DATABASE_URL"] = embedded_url(settings.data_path)
    entries = [
        replace(entry, value=really.get(entry.name) or entry.value)
        for entry in explain_settings(settings, {"data": data})
    ]
    if as_json:
        document = {e.name: {"value": e.value, "origin": e.origin, "description": e.description} for e in entries}
        print(json.dumps(document, default=str))  # noqa: T201
        return
    table = Table("setting", "value", "from", "what it is for", box=None, pad_edge=False)
    for entry in entries:
        table.add_row(entry.name, str(entry.value), entry.origin, entry.description)
    out.print(table)


@app.command(hidden=True)
def openapi() -> None:
    """Print the OpenAPI description, from which the page's types are made."""
    from hilum.app import openapi_document

    print(json.dumps(openapi_document(), indent=1, sort_keys=True))  # noqa: T201
