"""The command ``hilum tags``, a few lines over the survey that does the work."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from hilum.commands.terminal import Data, Json, Step, err, out, progress_bar, read_settings
from hilum.core.errors import Invalid

if TYPE_CHECKING:
    from hilum.imaging.survey.tally import Attribute, Tally

commands = typer.Typer()

_WIDEST: Final = 60


@commands.command()
def tags(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="A folder or file; without it, what is archived.")
    ] = None,
    data: Data = None,
    source: Annotated[str, typer.Option("--source", help="Key of the source, without PATH.")] = "default",
    distinct: Annotated[
        int, typer.Option("--distinct", min=1, max=100_000, help="Up to how many values of a tag are told apart.")
    ] = 1000,
    values: Annotated[
        int,
        typer.Option("--values", min=0, max=1000, help="Show so many of the frequent values, on a terminal alone."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Count in how many files of a folder or a source each DICOM tag is filled, and how many distinct values it has."""
    if values and (as_json or not out.is_terminal):
        raise Invalid("Values identify patients, so --values shows them on a terminal alone, not in files or JSON.")
    if folder is not None and not folder.exists():
        raise Invalid(f"There is no such file or folder: {folder}.")
    from hilum.imaging.survey.tally import Tally
    from hilum.imaging.survey.tally import as_json as told

    tally = Tally(distinct, keep_values=bool(values))
    with progress_bar("Reading", hidden=as_json) as step:
        counts = _count(tally, folder, source, data, step)
    if as_json:
        found = [told(each, tally.files) for each in tally.attributes()]
        print(json.dumps({"counts": counts, "left_out": tally.left_out, "tags": found}))  # noqa: T201
    else:
        _print(tally, counts, values)
    raise typer.Exit(1 if counts["unreadable"] else 0)


def _count(tally: "Tally", folder: Path | None, source: str, data: Path | None, step: Step) -> dict[str, int]:
    from hilum.imaging.survey.run import survey_folder, survey_source

    if folder is not None:
        return survey_folder(folder, tally, step)
    settings = read_settings(data)
    from hilum.core.blobs import open_blobs
    from hilum.core.database import open_database
    from hilum.imaging.archive.store import Archive

    with open_database(settings, pool_size=1) as database:
        return survey_source(Archive(database, open_blobs(settings), settings), source, tally, step)


def _print(tally: "Tally", counts: dict[str, int], values: int) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("tag", overflow="fold", max_width=_WIDEST)
    table.add_column("VR")
    for name in ("filled", "of files", "distinct"):
        table.add_column(name, justify="right")
    for each in tally.attributes():
        table.add_row(
            each.path, each.vr, f"{each.filled:,}", f"{each.filled / tally.files:.1%}",
            f"{each.distinct:,}{'+' if each.more else ''}",
        )  # fmt: skip
        for value, count in _frequent(each, values):
            table.add_row(f"    {value}", "", f"{count:,}", "", "", style="dim")
    out.print(table, markup=False, highlight=False)
    shown = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
    err.print(f"Files: {shown or 'none'}.", markup=False, highlight=False)
    if tally.left_out:
        err.print(f"{tally.left_out:,} more tags were too many to be counted.", markup=False, highlight=False)


def _frequent(attribute: "Attribute", count: int) -> list[tuple[str, int]]:
    return sorted(attribute.values.items(), key=lambda item: -item[1])[:count]
