"""The commands about data sets, which are few lines over ``hilum.research.datasets``."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.markup import escape
from rich.table import Table

from hilum.commands.terminal import Data, Json, out, print_summary, progress_bar, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import RowMapping

    from hilum.imaging.archive.store import Archive
    from hilum.research.datasets.definition import Definition
    from hilum.research.datasets.preview import Preview

commands = typer.Typer()
group = typer.Typer(help="Data sets and their versions.", no_args_is_help=True)
commands.add_typer(group, name="dataset")
_WHO = "command"
_ALL = 1_000_000


@commands.command("export")
def export(
    dataset: Annotated[str, typer.Argument(help="Number or name of a data set, or its definition: a .toml or .json.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A folder, or s3://…, gs://… or az://….")],
    data: Data = None,
    version: Annotated[
        int | None,
        typer.Option(
            "--version", help="Which version.  [default: the latest of the definition as it is; made if there is none]"
        ),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Make a new version of what is selected now.")] = False,
    layout: Annotated[
        Literal["chorus", "dicom", "nifti"] | None, typer.Option("--layout", help="[default: the data set's own]")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=64, help="Processes.  [default: one a processor]", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what a new version would be made of.")] = False,
    as_json: Json = False,
) -> None:
    """Write a version of a data set, de-identified and checked; run again, it goes on where it was."""
    settings = read_settings(data, deid_workers=workers)
    from hilum.core.database import open_database
    from hilum.research.datasets import versions
    from hilum.research.datasets.export import export_version
    from hilum.research.datasets.preview import preview
    from hilum.services import open_archive

    begin = time.monotonic()
    with open_database(settings, pool_size=3) as database:
        archive = open_archive(settings, database)
        if dry_run:
            _print_preview(preview(database, settings, _definition(archive, dataset)), as_json)
            return
        number = _dataset(archive, dataset)
        row = None if new else _version(archive, number, version)
        is_new = row is None
        if row is None:
            row = _make(archive, number, new=new, as_json=as_json)
        versions.check_given_out(row)
        with database.connect() as connection:
            held = versions.held_back(connection, row)
        own = versions.definition_of(row).layout
        with progress_bar("Writing", hidden=as_json) as bar:
            done = export_version(archive, row["id"], own, target, layout or own, bar)
    counts = {"files": done.files, "unchanged": done.unchanged, "bytes": done.bytes}
    reasons: list[dict[str, object]] = [
        {"reason": reason, "count": count, "examples": ()} for reason, count in done.left_out.items()
    ]
    if as_json:
        said = {"dataset": number, "version": row["number"], "digest": f"blake3:{row['digest']}", "counts": counts,
            "held_back": held, "reasons": reasons}  # fmt: skip
        print(json.dumps(said))  # noqa: T201
    else:
        out.print(f"Version {row['number']} of data set {number} is in {target}.", markup=False, highlight=False)
        print_summary(counts, reasons, time.monotonic() - begin)
        _print_held(held)
    raise typer.Exit(1 if reasons or (is_new and held) else 0)


def _is_file(reference: str) -> bool:
    return reference.endswith((".toml", ".json"))


def _definition(archive: "Archive", reference: str) -> "Definition":
    """The definition that a file holds, or a data set has."""
    from hilum.research.datasets import versions
    from hilum.research.datasets.definition import profile_of, read_definition, read_definition_file

    if _is_file(reference):
        definition = read_definition_file(Path(reference))
        profile_of(definition, archive.settings)
        return definition
    with archive.database.connect() as connection:
        return read_definition(versions.find_dataset(connection, reference)["definition"])


def _dataset(archive: "Archive", reference: str) -> int:
    """The number of a data set; one that is given by its definition is kept first, under its name."""
    from hilum.core.errors import NotFound
    from hilum.research.datasets import versions

    definition = _definition(archive, reference)
    try:
        with archive.database.connect() as connection:
            is_file = _is_file(reference)
            found = versions.find_dataset(connection, definition.name if is_file else reference, named=is_file)
    except NotFound:
        return versions.add_dataset(archive.database, definition, _WHO)
    if versions.read_definition(found["definition"]) != definition:
        versions.change_dataset(archive.database, found["id"], definition)
    return found["id"]


def _version(archive: "Archive", number: int, version: int | None) -> "RowMapping | None":
    """The version that is asked for; without a number the latest published one of the definition as it is now."""
    from hilum.core.errors import NotFound
    from hilum.research.datasets import versions

    with archive.database.connect() as connection:
        if version is not None:
            return versions.find_version(connection, number, version)
        try:
            found = versions.find_version(connection, number)
        except NotFound:
            return None
        now = versions.find_dataset(connection, str(number))["definition"]
    return found if found["definition"] == now else None


def _make(archive: "Archive", number: int, *, new: bool, as_json: bool) -> "RowMapping":
    from hilum.core.progress import job_here
    from hilum.research.datasets import versions
    from hilum.research.datasets.build import build_version

    with archive.database.connect() as connection:
        found = versions.find_dataset(connection, str(number))
    with archive.database.transaction() as sql:
        begin_one = versions.add_version if new else versions.take_up_version
        version = begin_one(sql, found, _WHO)
    begin = time.monotonic()
    title = f"Making a version of data set {number}"
    with (
        progress_bar("De-identifying", hidden=as_json) as bar,
        job_here(archive.database, versions.KIND, title, str(found["source"]), bar) as progress,
    ):
        build_version(archive, version, progress)
    if not as_json:
        out.print(f"A version of data set {number} is made.", highlight=False)
        print_summary(progress.counts, [], time.monotonic() - begin)
    with archive.database.connect() as connection:
        return versions.version_by_id(connection, version)


@group.command("list")
def list_versions(data: Data = None, as_json: Json = False) -> None:
    """List data sets with their versions, latest first."""
    from hilum.core.database import open_database
    from hilum.research.datasets import versions

    with open_database(read_settings(data), pool_size=1) as database, database.connect() as connection:
        rows, _ = versions.list_datasets(connection, limit=_ALL, offset=0)
        found = [(row, versions.list_versions(connection, row["id"], limit=_ALL, offset=0)[0]) for row in rows]
    if as_json:
        said = [
            {
                "id": row["id"], "name": row["name"], "source": row["source"],
                "versions": [
                    {"version": one["number"], "state": one["state"], "counts": one["counts"], "size": one["size"],
                     "digest": f"blake3:{one['digest']}" if one["digest"] else ""}
                    for one in made
                ],
            }
            for row, made in found
        ]  # fmt: skip
        print(json.dumps(said))  # noqa: T201
        return
    table = Table("data set", "name", "source", "version", "state", "files", "bytes", box=None)
    for row, made in found:
        which = (str(row["id"]), escape(row["name"]), row["source"])
        for one in made:
            files = f"{one['counts'].get('files', 0):,}"
            table.add_row(*which, str(one["number"]), one["state"], files, f"{one['size']:,}")
        if not made:
            table.add_row(*which, "", "", "", "")
    out.print(table)


@group.command("delete")
def delete(
    dataset: Annotated[str, typer.Argument(help="Number or name of a data set.")],
    version: Annotated[int | None, typer.Option("--version", help="Only this version.")] = None,
    data: Data = None,
) -> None:
    """Delete a data set with all of its versions, or one version; who and when stays on record."""
    settings = read_settings(data)
    from hilum.core.database import open_database
    from hilum.research.datasets import delete as deletion
    from hilum.research.datasets.versions import find_dataset
    from hilum.services import open_archive

    with open_database(settings, pool_size=2) as database:
        archive = open_archive(settings, database)
        with database.connect() as connection:
            number = find_dataset(connection, dataset)["id"]
        if version is None:
            deletion.delete_dataset(database, archive.blobs, number, _WHO)
            out.print(f"Data set {number} is deleted.", highlight=False)
        else:
            deletion.delete_version(database, archive.blobs, number, version, _WHO)
            out.print(f"Version {version} of data set {number} is deleted.", highlight=False)


@group.command("collect")
def collect(data: Data = None) -> None:
    """Remove objects of data sets that no version names, as a killed process may leave them; not after the database was
    restored from a backup or made anew, for what lies there may be of versions that it does not know."""
    settings = read_settings(data)
    from hilum.core.database import open_database
    from hilum.research.datasets import delete as deletion
    from hilum.services import open_archive

    with open_database(settings, pool_size=2) as database:
        removed = deletion.collect(database, open_archive(settings, database).blobs)
    out.print(f"Objects removed: {removed}.", highlight=False)


def _print_preview(found: "Preview", as_json: bool) -> None:
    import msgspec

    if as_json:
        print(msgspec.json.encode(found).decode())  # noqa: T201
        return
    for name, value in msgspec.to_builtins(found).items():
        if isinstance(value, dict):
            counts = cast("dict[str, int]", value)
            value = ", ".join(f"{key} {count:,}" for key, count in counts.items())
        if name != "held_back" and value is not None:
            out.print(f"{name.replace('_', ' '):>20}  {value}", markup=False, highlight=False)
    _print_held(found.held_back)


def _print_held(reasons: "Sequence[Mapping[str, object]]") -> None:
    for held in reasons:
        count = held.get("studies", held.get("instances"))
        what = "studies" if "studies" in held else "files"
        out.print(f"{count:>20,}  {what} held back: {held['reason']}", markup=False, highlight=False, soft_wrap=True)
