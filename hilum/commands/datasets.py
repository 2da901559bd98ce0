"""The commands about data sets, which are few lines over ``hilum.research.datasets``."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from hilum.commands.terminal import Data, Json, out, print_summary, progress_bar, read_settings

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from hilum.imaging.archive.store import Archive
    from hilum.research.datasets.preview import Preview

commands = typer.Typer()
_WHO = "command"


@commands.command("export")
def export(
    dataset: Annotated[str, typer.Argument(help="Number or name of a data set, or its definition: a .toml or .json.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A folder, or s3://…, gs://… or az://….")],
    data: Data = None,
    version: Annotated[
        int | None, typer.Option("--version", help="Which version.  [default: the latest; made if there is none]")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Make a new version of what is selected now.")] = False,
    layout: Annotated[
        Literal["chorus", "dicom", "nifti"] | None, typer.Option("--layout", help="[default: the data set's own]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what a new version would be made of.")] = False,
    as_json: Json = False,
) -> None:
    """Write a version of a data set, de-identified and checked; run again, it goes on where it was."""
    settings = read_settings(data)
    from hilum.core.database import open_database
    from hilum.core.errors import Conflict
    from hilum.research.datasets import versions
    from hilum.research.datasets.export import export_version
    from hilum.research.datasets.preview import preview
    from hilum.services import open_archive

    begin = time.monotonic()
    with open_database(settings, pool_size=3) as database:
        archive = open_archive(settings, database)
        number = _dataset(archive, dataset)
        with database.connect() as connection:
            found = versions.find_dataset(connection, str(number))
        if dry_run:
            _print_preview(preview(database, settings, versions.read_definition(found["definition"])), as_json)
            return
        row = None if new else _version(archive, number, version)
        if row is None:
            row = _make(archive, number, as_json)
        if row["state"] != "published":
            raise Conflict(
                f"Version {row['number']} of data set {number} is {row['state']}: only what is published is given out."
            )
        own = versions.definition_of(row).layout
        with progress_bar("Writing", hidden=as_json) as bar:
            done = export_version(archive, row["id"], own, target, layout or own, bar)
    counts = {"files": done.files, "unchanged": done.unchanged, "bytes": done.bytes}
    reasons: list[dict[str, object]] = [
        {"reason": reason, "count": count, "examples": ()} for reason, count in done.left_out.items()
    ]
    if as_json:
        said = {"dataset": number, "version": row["number"], "digest": f"blake3:{row['digest']}", "counts": counts,
            "reasons": reasons}  # fmt: skip
        print(json.dumps(said))  # noqa: T201
    else:
        out.print(f"Version {row['number']} of data set {number} is in {target}.", markup=False, highlight=False)
        print_summary(counts, reasons, time.monotonic() - begin)
    raise typer.Exit(1 if reasons else 0)


def _dataset(archive: "Archive", reference: str) -> int:
    """The number of a data set; one that is given by its definition is kept first, under its name."""
    from hilum.research.datasets import versions
    from hilum.research.datasets.definition import profile_of, read_definition_file

    if not reference.endswith((".toml", ".json")):
        with archive.database.connect() as connection:
            return versions.find_dataset(connection, reference)["id"]
    definition = read_definition_file(Path(reference))
    profile_of(definition, archive.settings)
    with archive.database.connect() as connection:
        rows, _ = versions.list_datasets(connection, limit=1_000_000, offset=0)
    same = next((row for row in rows if row["name"] == definition.name), None)
    if same is None:
        return versions.add_dataset(archive.database, definition, _WHO)
    if versions.read_definition(same["definition"]) != definition:
        versions.change_dataset(archive.database, same["id"], definition)
    return same["id"]


def _version(archive: "Archive", number: int, version: int | None) -> "RowMapping | None":
    from hilum.core.errors import NotFound
    from hilum.research.datasets import versions

    with archive.database.connect() as connection:
        if version is not None:
            return versions.find_version(connection, number, version)
        try:
            return versions.find_version(connection, number)
        except NotFound:
            return None


def _make(archive: "Archive", number: int, as_json: bool) -> "RowMapping":
    from hilum.core.progress import job_here
    from hilum.research.datasets import versions
    from hilum.research.datasets.build import build_version

    with archive.database.connect() as connection:
        found = versions.find_dataset(connection, str(number))
    with archive.database.transaction() as sql:
        version = versions.add_version(sql, found, _WHO)
    begin = time.monotonic()
    title = f"Making a version of data set {number}"
    with (
        progress_bar("De-identifying", hidden=as_json) as bar,
        job_here(archive.database, versions.KIND, title, str(found["source"]), bar) as progress,
    ):
        build_version(archive, version, progress)
    if not as_json:
        reasons = cast("list[dict[str, object]]", progress.summary()["reasons"])
        print_summary(progress.counts, reasons, time.monotonic() - begin)
    with archive.database.connect() as connection:
        return versions.version_by_id(connection, version)


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
    for held in found.held_back:
        count = held.get("studies", held.get("instances"))
        what = "studies" if "studies" in held else "files"
        out.print(f"{count:>20,}  {what} held back: {held['reason']}", markup=False, highlight=False, soft_wrap=True)
