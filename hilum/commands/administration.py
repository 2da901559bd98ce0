"""The commands of those who run Hilum: sources, schema, settings, what works here."""

import json
from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table

from hilum.commands.terminal import Data, Json, out, read_settings
from hilum.core.config import explain_settings

commands = typer.Typer()
db = typer.Typer(help="The database's schema.", no_args_is_help=True)
source = typer.Typer(help="Data sources.", no_args_is_help=True)
commands.add_typer(db, name="db")
commands.add_typer(source, name="source")


@commands.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Try everything that Hilum needs here, and tell of each part whether it works."""
    settings = read_settings(data)
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


@source.command("add")
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
    intake_profile: Annotated[
        str | None,
        typer.Option("--intake-profile", help="De-identify what comes in by this profile; the original is not kept."),
    ] = None,
    data: Data = None,
) -> None:
    """Add a data source, or change it."""
    from hilum.core.database import open_database
    from hilum.imaging.archive.sources import add_source as add

    secret = fhir_secret.read(4096).strip() if fhir_secret else ""
    settings = read_settings(data)
    if intake_profile:
        from hilum.research.datasets.definition import profile_named

        profile_named(intake_profile, settings)
    with open_database(settings, pool_size=1) as database:
        add(
            database,
            key,
            name or key,
            dicomweb_url=dicomweb_url,
            fhir_url=fhir_url,
            fhir_user=fhir_user,
            fhir_secret=secret,
            intake_profile=intake_profile,
        )
    out.print(f"Source {key} is there.", markup=False, highlight=False)


@source.command("list")
def list_sources(data: Data = None, as_json: Json = False) -> None:
    """List the data sources."""
    from hilum.core.database import open_database
    from hilum.imaging.archive.query import sources

    with open_database(read_settings(data), pool_size=1) as database, database.connect() as connection:
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

    settings = read_settings(data)
    if objects:
        open_blobs(settings).check()
    with open_database(settings, pool_size=1):
        if not quiet:
            out.print("The database is up to date.")


@commands.command()
def config(data: Data = None, as_json: Json = False) -> None:
    """Print every setting, its value and where it came from."""
    settings = read_settings(data)
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


@commands.command(hidden=True)
def openapi() -> None:
    """Print the OpenAPI description, from which the page's types are made."""
    from hilum.app import openapi_document

    print(json.dumps(openapi_document(), indent=1, sort_keys=True))  # noqa: T201
