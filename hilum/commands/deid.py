"""The commands of de-identification, which need neither server nor database."""

import getpass
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hilum.commands.terminal import Data, Json, out, print_summary, progress_bar, read_settings
from hilum.core.errors import Invalid

if TYPE_CHECKING:
    from hilum.core.config import Settings

_FOLDER = "folder"


class _Deid(TyperGroup):
    """``hilum deid IN OUT`` is short for ``hilum deid folder IN OUT``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the word that was left out."""
        if args and args[0] not in self.commands and args != ["--help"]:
            args = [_FOLDER, *args]
        return super().parse_args(ctx, args)


commands = typer.Typer()
group = typer.Typer(
    cls=_Deid,
    no_args_is_help=True,
    help="De-identify: hilum deid IN OUT is short for hilum deid folder IN OUT.",
)
commands.add_typer(group, name="deid")


@group.command(_FOLDER)
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
    review: Annotated[
        Path | None, typer.Option("--review", help="Decisions of hilum deid-review; the file stays at the site.")
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
        source, target, profile, key_file, maps, crosswalk, registry, report, workers or 0, dry_run, review=review
    )  # fmt: skip
    begin = time.monotonic()
    with progress_bar("De-identifying", hidden=as_json) as bar:
        done = deidentify_folder(request, bar)
    if as_json:
        print(json.dumps(done.as_json(), ensure_ascii=False))  # noqa: T201
    else:
        reasons: list[dict[str, object]] = [{**reason, "examples": list[str]()} for reason in done.reasons()]
        print_summary(done.counts, reasons, time.monotonic() - begin)
    raise typer.Exit(1 if done.quarantined else 0)


@commands.command("deid-review")
def review_pixels(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The input folder of the run.")],
    review: Annotated[Path, typer.Option("--review", help="Where decisions are kept; stays at the site.")],
    crosswalk: Annotated[Path | None, typer.Option("--crosswalk", help="The crosswalk of the run.")] = None,
    key_file: Annotated[Path | None, typer.Option("--key-file", help="The key file of the run.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="The profile of the run.")] = "chorus",
    file: Annotated[str, typer.Option("--file", help="One file, by its path within IN.")] = "",
    png: Annotated[Path | None, typer.Option("--png", help="Write before.png and after.png into this folder.")] = None,
    accept: Annotated[bool, typer.Option("--accept", help="What was found goes black; then it may leave.")] = False,
    only: Annotated[bool, typer.Option("--only", help="Nothing goes black but the boxes of --box.")] = False,
    box: Annotated[list[str] | None, typer.Option("--box", help="ROW,COLUMN,ROWS,COLUMNS; may be repeated.")] = None,
) -> None:
    """List images whose pixels a person must look at, show one before and after, and decide on it."""
    from hilum.core.errors import Invalid
    from hilum.imaging.dicom.picture import to_png
    from hilum.research.deid.pixel_text.step import text_step
    from hilum.research.deid.pixels import Decision
    from hilum.research.deid.profile import load_profile
    from hilum.research.deid.review import boxes_of, pictures, read_decisions, waiting, write_decision

    if not file:
        if crosswalk is None or key_file is None:
            raise Invalid("Name the crosswalk and the key file of the run, or one file with --file.")
        for one in waiting(crosswalk, key_file, read_decisions(review)):
            said = f"  [{one.decision.how}, {len(one.decision.boxes)} boxes]" if one.decision else ""
            out.print(f"{one.path}: {one.reason}{said}", markup=False, highlight=False, soft_wrap=True)
        return
    path = (source / file).resolve()
    if not path.is_relative_to(source.resolve()) or not path.is_file():
        raise Invalid("There is no such file in the input folder.")
    decision = read_decisions(review).get(file)
    if accept or only or box:
        decision = Decision("only" if only else "accept" if accept else "look", boxes_of(box or ()))
        write_decision(review, file, decision)
        out.print("Noted; the next hilum deid with --review carries it out.")
    if png is not None:
        step = text_step(load_profile(profile))
        if step is None:
            raise Invalid("Pixels are not looked at under this profile, or hilum[pixels] is not installed.")
        before, after, said = pictures(path, step, decision)
        png.mkdir(parents=True, exist_ok=True)
        (png / "before.png").write_bytes(to_png(before))
        if after is not None:
            (png / "after.png").write_bytes(to_png(after))
        out.print(said, markup=False, highlight=False)


@group.command("maps")
def maps(
    target: Annotated[Path | None, typer.Argument(metavar="[OUT]", help="Folder to write both maps to.")] = None,
    data: Data = None,
    source: Annotated[str, typer.Option("--source", help="Key of the source.")] = "default",
    check: Annotated[
        Path | None, typer.Option("--check", help="Folder of maps to compare with the links; writes nothing to it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write personal_map.csv and image_map.csv from the CDM's links, or compare given ones; they stay at the site."""
    if target is None and check is None:
        raise Invalid("Name a folder to write the maps to, or maps to --check.")
    from hilum.core.database import open_database
    from hilum.research.datasets.maps import check_maps, links_of, write_maps

    settings = read_settings(data)
    with open_database(settings, pool_size=1) as database:
        found = links_of(database, settings, source)
    compared = check_maps(found, check) if check is not None else {}
    counts = write_maps(found, target) if target is not None else {}
    checked = {name: {key: getattr(one, key) for key in ("same", "other", "unknown", "lacking")}
        for name, one in compared.items()}  # fmt: skip
    if as_json:
        print(json.dumps({"written": counts, "checked": checked}))  # noqa: T201
    else:
        for name, count in counts.items():
            out.print(f"{count:>10,}  {name.replace('_', ' ')}", markup=False, highlight=False)
        for name, one in checked.items():
            told = (
                f"{name}: {one['same']:,} as the links say, {one['other']:,} otherwise, {one['unknown']:,} of which no "
                f"link tells; {one['lacking']:,} are not in the map"
            )
            out.print(told, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if any(one["other"] for one in checked.values()) else 0)


@commands.command("crosswalk")
def read_crosswalk(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The crosswalk of a run; without it, that of the data sets.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option("--key-file", help="The key file of the run.")] = None,
    data: Data = None,
    dataset: Annotated[str, typer.Option("--dataset", help="Number or name of a data set.")] = "",
    version: Annotated[str, typer.Option("--version", help="Of the data set.")] = "latest",
    old: Annotated[str, typer.Option("--old", help="A PatientID, accession number or UID of an original.")] = "",
    new: Annotated[str, typer.Option("--new", help="A person_id, accession, UID or path of what was shared.")] = "",
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write CSV there instead of printing it.")] = None,
) -> None:
    """Print what became of each attribute, as CSV: of all files of a run or version, or of what a value names."""
    if path is None:
        _print_data_sets(read_settings(data), dataset, version, csv_file, old=old, new=new)
        return
    if key_file is None or dataset:
        raise Invalid("Beside the crosswalk of a run name its --key-file; --dataset is for those of the data sets.")
    from hilum.research.deid.crosswalk_csv import write_csv

    count = write_csv(path, key_file, csv_file, old=old, new=new)
    if csv_file is not None:
        out.print(f"{count:,} rows written.", markup=False, highlight=False)


def _print_data_sets(
    settings: "Settings", dataset: str, version: str, csv_file: Path | None, *, old: str, new: str
) -> None:
    """Print the crosswalk of data sets; who looked is noted as whoever runs the command."""
    from hilum.core.database import open_database
    from hilum.research.datasets.crosswalk import Question, csv_of
    from hilum.research.datasets.versions import made_version
    from hilum.research.deid.crosswalk_csv import opened

    with open_database(settings, pool_size=1) as database:
        number = None
        if dataset:
            with database.connect() as connection:
                number = made_version(connection, dataset, version)["id"]
        lines = csv_of(database, settings, Question(old, new, number), f"command ({getpass.getuser()})")
        with opened(csv_file) as file:
            file.writelines(lines)
