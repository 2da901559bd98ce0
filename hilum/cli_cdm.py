"""The commands of ``hilum cdm``: the OMOP CDM of a source, each a few lines over the room that does the work."""

import json
import time
from typing import Annotated

import typer

from hilum.terminal import Data, Json, bar, out, print_summary, settings

cdm = typer.Typer(help="The OMOP CDM of a source.", no_args_is_help=True)

Source = Annotated[str, typer.Option("--source", help="Key of the source.")]


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

    chosen = settings(data)
    schemas = default_schemas(
        source, cdm=cdm_schema, vocabulary=vocabulary_schema, imaging=imaging_schema, results=results_schema
    )
    with open_database(chosen, pool_size=1) as database:
        create_cdm(database, source, schemas, chosen.omop_procedure_ids)
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

    chosen = settings(data)
    schemas = Schemas(
        cdm_schema,
        vocabulary_schema or cdm_schema,
        imaging_schema or f"{cdm_schema}_imaging",
        results_schema or f"{cdm_schema}_results",
    )
    with open_database(chosen, pool_size=1) as database:
        attach_cdm(database, source, schemas, chosen.omop_procedure_ids)
    out.print(
        f"The CDM in {schemas.cdm} is attached to source {source}; Hilum writes {schemas.imaging} and "
        f"{schemas.results}.", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


@cdm.command("link")
def link(data: Data = None, source: Source = "default", as_json: Json = False) -> None:
    """Tie every study of a source to its person, procedure and visit, and write image_occurrence."""
    from hilum.clinical.linkage.bulk import KIND, link_all
    from hilum.clinical.linkage.queue import waiting
    from hilum.clinical.linkage.settle import Manner
    from hilum.core.database import open_database
    from hilum.core.progress import job_here

    chosen = settings(data)
    begin = time.monotonic()
    with open_database(chosen, pool_size=2) as database, bar("Linking studies", hidden=as_json) as step:
        with job_here(database, KIND, "Linking studies", source, step) as progress:
            link_all(database, source, Manner.of(chosen), progress)
        with database.transaction() as sql:
            reasons = waiting(sql, source)
    if as_json:
        print(json.dumps({"counts": progress.counts, "waiting": reasons}))  # noqa: T201
    else:
        print_summary(progress.counts, [_told(each) for each in reasons], time.monotonic() - begin)


def _told(reason: dict[str, object]) -> dict[str, object]:
    return {"reason": f"{reason['kind']}: {reason['text']}", "count": reason["studies"], "examples": ()}
