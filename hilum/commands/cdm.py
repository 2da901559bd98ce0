"""The commands of ``hilum cdm``: the OMOP CDM of a source, each a few lines over the room that does the work."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hilum.commands.terminal import Data, Json, out, print_summary, progress_bar, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hilum.clinical.cdm.concepts import Seed

# Of missing concepts so many are printed; --json has all.
_SHOWN: Final = 20

commands = typer.Typer()
cdm = typer.Typer(help="The OMOP CDM of a source.", no_args_is_help=True)
commands.add_typer(cdm, name="cdm")

Source = Annotated[str, typer.Option("--source", help="Key of the source.")]


ShowSql = Annotated[bool, typer.Option("--sql", help="Show the SQL of each check.")]


def _schema(name: str, what: str) -> object:
    return typer.Option(f"--{name}", help=what, show_default=False)


CdmSchema = Annotated[str, _schema("cdm-schema", "Schema of the clinical tables.")]
VocabularySchema = Annotated[str, _schema("vocabulary-schema", "Schema of the vocabulary.")]
ImagingSchema = Annotated[str, _schema("imaging-schema", "Schema of the image tables.")]
ResultsSchema = Annotated[str, _schema("results-schema", "Schema of cohorts and union views.")]


@cdm.command("create")
def create(
    data: Data = None,
    source: Source = "default",
    cdm_schema: CdmSchema = "",
    vocabulary_schema: VocabularySchema = "",
    imaging_schema: ImagingSchema = "",
    results_schema: ResultsSchema = "",
) -> None:
    """Create an OMOP CDM 5.4 with image tables and the small vocabulary that ships."""
    from hilum.clinical.cdm.create import create_cdm, default_schemas
    from hilum.core.database import open_database

    chosen = read_settings(data)
    schemas = default_schemas(
        source, cdm=cdm_schema, vocabulary=vocabulary_schema, imaging=imaging_schema, results=results_schema
    )
    with open_database(chosen, pool_size=1) as database:
        ids = chosen.omop_procedure_ids, chosen.omop_feature_ids, chosen.registry_first_id
        create_cdm(database, source, schemas, *ids)
    out.print(
        f"The CDM of source {source} is in {schemas.cdm}, with {schemas.vocabulary}, {schemas.imaging} and "
        f"{schemas.results}.", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


@cdm.command("attach")
def attach(
    cdm_schema: Annotated[str, typer.Option("--cdm-schema", help="Schema of the clinical tables.")],
    data: Data = None,
    source: Source = "default",
    vocabulary_schema: VocabularySchema = "",
    imaging_schema: ImagingSchema = "",
    results_schema: ResultsSchema = "",
) -> None:
    """Attach an OMOP CDM that is in the database already; only imaging and results are written."""
    from hilum.clinical.cdm.attach import attach_cdm
    from hilum.clinical.cdm.cdm import Schemas
    from hilum.core.database import open_database

    chosen = read_settings(data)
    schemas = Schemas(
        cdm_schema,
        vocabulary_schema or cdm_schema,
        imaging_schema or f"{cdm_schema}_imaging",
        results_schema or f"{cdm_schema}_results",
    )
    with open_database(chosen, pool_size=1) as database:
        ids = chosen.omop_procedure_ids, chosen.omop_feature_ids, chosen.registry_first_id
        attach_cdm(database, source, schemas, *ids)
    out.print(
        f"The CDM in {schemas.cdm} is attached to source {source}; Hilum writes {schemas.imaging} and "
        f"{schemas.results}.", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


@cdm.command("link")
def link(
    data: Data = None,
    source: Source = "default",
    again: Annotated[
        bool, typer.Option("--all", help="Also studies of which nothing has changed since they were last linked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tie every study of a source to its person, procedure and visit, and write image_occurrence."""
    from hilum.clinical.linkage.bulk import KIND, link_all
    from hilum.clinical.linkage.queue import waiting
    from hilum.clinical.linkage.settle import Manner
    from hilum.core.blobs import open_blobs
    from hilum.core.database import open_database
    from hilum.core.progress import job_here
    from hilum.imaging.archive.store import Archive

    chosen = read_settings(data)
    begin = time.monotonic()
    with open_database(chosen, pool_size=4) as database, progress_bar("Linking studies", hidden=as_json) as step:
        with job_here(database, KIND, "Linking studies", source, step) as progress:
            archive = Archive(database, open_blobs(chosen), chosen)
            link_all(archive, source, Manner.of(chosen), progress, again=again)
        with database.transaction() as sql:
            reasons = waiting(sql, source)
    if as_json:
        print(json.dumps({"counts": progress.counts, "waiting": reasons}))  # noqa: T201
    else:
        print_summary(progress.counts, [_told(each) for each in reasons], time.monotonic() - begin)


@cdm.command("vocabulary")
def vocabulary(
    folder: Annotated[
        Path | None, typer.Argument(help="Athena's files; without it, the small vocabulary that ships.")
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option("--add", help="CSV of further concepts or relationships, added to what is there; repeatable."),
    ] = None,
    data: Data = None,
    source: Source = "default",
    as_json: Json = False,
) -> None:
    """Load a vocabulary from Athena, and tell what Hilum's own concepts lack in it."""
    from hilum.clinical.cdm.additions import add_vocabulary
    from hilum.clinical.cdm.cdm import require_cdm
    from hilum.clinical.cdm.concepts import missing_concepts
    from hilum.clinical.cdm.seed import load_seed
    from hilum.clinical.cdm.vocabulary import load_vocabulary
    from hilum.core.database import open_database

    with open_database(read_settings(data), pool_size=1) as database, progress_bar("Loading", hidden=as_json) as step:
        counts = load_vocabulary(database, source, folder, step) if folder else {}
        added = add_vocabulary(database, source, add, step) if add else {}
        with database.transaction() as sql:
            cdm = require_cdm(sql, source)
            if folder is None and not add and not cdm.attached:
                counts["concept"] = load_seed(sql, cdm)
            missing = missing_concepts(sql, cdm)
    if as_json:
        lacking = [{"concept_id": seed.concept_id, "use": seed.use, "word": seed.word} for seed in missing]
        print(json.dumps({"rows": counts, "added": added, "missing": lacking}))  # noqa: T201
        return
    for table, rows in counts.items():
        out.print(f"{table}: {'as before' if rows is None else f'{rows:,} rows'}", markup=False, highlight=False)
    for table, rows in added.items():
        out.print(f"{table}: {rows:,} rows added or changed", markup=False, highlight=False)
    _print_missing(missing)


@cdm.command("status")
def status(data: Data = None, source: Source = "default", as_json: Json = False, show_sql: ShowSql = False) -> None:
    """Tell how well the images of a source are tied to its CDM, and what is wrong."""
    from hilum.clinical.linkage.status import status_of
    from hilum.core.database import open_database

    with open_database(read_settings(data), pool_size=1) as database:
        found = status_of(database, source)
    if as_json:
        checks = [{"name": c.name, "text": c.text, "count": c.count, "sql": c.sql} for c in found.checks]
        lacking = [seed.concept_id for seed in found.missing]
        print(json.dumps({"checks": checks, "waiting": found.waiting, "missing_concepts": lacking}))  # noqa: T201
        return
    for check in found.checks:
        style = "yellow" if check.count and not check.good else None
        out.print(f"{check.count:>10,}  {check.text}", markup=False, highlight=False, soft_wrap=True, style=style)
        if show_sql:
            out.print(f"            {check.sql}", markup=False, highlight=False, style="dim", soft_wrap=True)
    for each in found.waiting:
        out.print(
            f"{each['studies']:>10,}  wait for a {each['kind']}: {each['text']}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    _print_missing(found.missing)


def _print_missing(missing: "Sequence[Seed]") -> None:
    if missing:
        out.print(f"{len(missing):,} of Hilum's concepts are not in the vocabulary:", markup=False, highlight=False)
    for seed in missing[:_SHOWN]:
        text = f"    {seed.concept_id} {seed.concept_name} ({seed.use} {seed.word})"
        out.print(text, markup=False, highlight=False, soft_wrap=True, style="dim")


def _told(reason: dict[str, object]) -> dict[str, object]:
    return {"reason": f"{reason['kind']}: {reason['text']}", "count": reason["studies"], "examples": ()}
