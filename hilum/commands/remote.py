"""The commands of remote archives: where one is, and what of it is indexed."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from hilum.commands.administration import source as source_commands
from hilum.commands.terminal import Data, Json, out, print_summary, progress_bar, read_settings
from hilum.core.errors import Invalid

if TYPE_CHECKING:
    from hilum.core.database import Database
    from hilum.imaging.remote.lists import Line, Report

commands = typer.Typer()

_WHO: Final = "command"
_MAX_LIST: Final = 64 << 20
_HARMLESS: Final = frozenset(("deleted", "other_modality"))


@source_commands.command("remote")
def set_remote(
    key: Annotated[str, typer.Argument(help="Key of the source.")],
    data: Data = None,
    url: Annotated[str | None, typer.Option("--url", help="Its DICOMweb, with or without /dicom-web.")] = None,
    user: Annotated[str, typer.Option("--user", help="Who Hilum is to it.")] = "",
    token_url: Annotated[str, typer.Option("--token-url", help="Where an OIDC server gives tokens to a client.")] = "",
    client_id: Annotated[str, typer.Option("--client-id", help="The client that Hilum is to that.")] = "",
    scope: Annotated[str, typer.Option("--scope", help="What the token is for.")] = "",
    secret: Annotated[
        typer.FileText | None,
        typer.Option("--secret", help="File with the password, token or client secret; - for standard input."),
    ] = None,
    authorities: Annotated[
        typer.FileText | None, typer.Option("--ca", help="File with certificates (PEM) to believe over TLS.")
    ] = None,
    fetch: Annotated[str | None, typer.Option("--fetch", help="When images come: never, asked, indexed.")] = None,
    keep_days: Annotated[int | None, typer.Option("--keep-days", min=0, help="How long copies are kept.")] = None,
    keep_bytes: Annotated[int | None, typer.Option("--keep-bytes", min=0, help="How much of them in all.")] = None,
) -> None:
    """Say where the remote archive of a source is, what it asks for, and what is fetched from it."""
    from hilum.core.database import open_database
    from hilum.imaging.remote.servers import change_server, find_server

    given: dict[str, object] = {
        "url": url, "fetch": fetch, "keep_days": keep_days, "keep_bytes": keep_bytes,
        "authorities": authorities.read(1 << 20) if authorities else None,
    }  # fmt: skip
    if fetch not in (None, "never", "asked", "indexed"):
        raise Invalid("Images are fetched never, when asked for, or once indexed: --fetch never|asked|indexed.")
    changes = {name: value for name, value in given.items() if value is not None}
    if secret:
        changes["credentials"] = _credentials(secret.read(16 << 10).strip(), user, token_url, client_id, scope)
    elif user or token_url or client_id:
        raise Invalid("A user or a client needs its secret, too: --secret FILE.")
    with open_database(read_settings(data), pool_size=1) as database:
        change_server(database, key, changes)
        server = find_server(database, key)
    out.print(
        f"The remote archive of {key} is {server.url} (credentials: {server.login}); images are fetched "
        f"{ {'never': 'never', 'asked': 'when asked for', 'indexed': 'once indexed'}[server.fetch]}.",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


@source_commands.command("remove")
def remove(
    key: Annotated[str, typer.Argument(help="Key of the source.")],
    forget: Annotated[
        bool, typer.Option("--forget", help="Also where studies are known from its remote archive.")
    ] = False,
    data: Data = None,
) -> None:
    """Remove a source that holds no images, with what is known from its remote archive; it can be brought back."""
    settings = read_settings(data)
    from hilum.core.database import open_database
    from hilum.imaging.remote.removal import remove_source

    with open_database(settings, pool_size=1) as database:
        studies = remove_source(database, key, _WHO, forget=forget)
    days = settings.delete_grace_days
    kept = f" Its {studies:,} studies can be brought back for {days:g} days: hilum source restore {key}."
    out.print(f"Source {key} is removed.{kept if studies else ''}", markup=False, highlight=False, soft_wrap=True)


@source_commands.command("restore")
def restore(key: Annotated[str, typer.Argument(help="Key of the source.")], data: Data = None) -> None:
    """Bring a removed source back, with its studies if the grace has not passed."""
    settings = read_settings(data)
    from hilum.core.database import open_database
    from hilum.imaging.remote.removal import restore_source

    with open_database(settings, pool_size=1) as database:
        studies = restore_source(database, key, _WHO)
    out.print(
        f"Source {key} is there again, with {studies:,} studies; its credentials have to be given anew.",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _credentials(secret: str, user: str, token_url: str, client_id: str, scope: str) -> dict[str, str]:
    if token_url or client_id:
        given = {"token_url": token_url, "client_id": client_id, "client_secret": secret}
        return given | ({"scope": scope} if scope else {})
    return {"username": user, "password": secret} if user else {"token": secret}


@commands.command("index")
def index(
    data: Data = None,
    source: Annotated[str, typer.Option("--source", help="Key of the source.")] = "default",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many studies at most.")] = 100,
    modality: Annotated[str, typer.Option("--modality", help="Only studies that have it; XR is CR or DX.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All studies; interrupted, it goes on.")] = False,
    series: Annotated[bool, typer.Option("--series", help="With the series of each study.")] = False,
    accessions: Annotated[
        Path | None, typer.Option("--accessions", help="List of accession numbers: only their studies.")
    ] = None,
    visits: Annotated[
        Path | None, typer.Option("--visits", help="List of visit_occurrence_id: only their studies.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Index the remote archive of a source by QIDO-RS: its studies are known here, and lie there."""
    if accessions and visits:
        raise Invalid("Give accession numbers or visits, not both.")
    settings = read_settings(data)
    from hilum.core.blobs import open_blobs
    from hilum.core.database import open_database
    from hilum.core.progress import job_here
    from hilum.imaging.archive.store import Archive
    from hilum.imaging.remote.indexing import Wish, index_studies
    from hilum.imaging.remote.lists import Report, index_lines
    from hilum.imaging.remote.tasks import KIND

    begin = time.monotonic()
    report = Report()
    with open_database(settings, pool_size=2) as database, progress_bar("Indexing", hidden=as_json) as bar:
        archive = Archive(database, open_blobs(settings), settings)
        archive.source(source)
        lines = _lines(database, source, accessions, visits)
        with job_here(database, KIND, "Indexing of a remote archive", source, bar) as progress:
            if lines is None:
                index_studies(archive, source, Wish(limit, modality.upper(), everything, series), progress)
            else:
                report = index_lines(archive, source, lines, progress, series=series)
    reasons = cast("list[dict[str, object]]", progress.summary()["reasons"])
    if as_json:
        document: dict[str, object] = {"counts": progress.counts, "reasons": reasons}
        print(json.dumps(document | (_listed(report) if lines is not None else {}), ensure_ascii=False))  # noqa: T201
    elif lines is None:
        print_summary(progress.counts, reasons, time.monotonic() - begin)
    else:
        print_summary(progress.counts, [], time.monotonic() - begin)
        for line in (*report.of("missing"), *report.of("ambiguous")):
            out.print(f"{line.state}: {line.name}  {line.reason}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if any(reason["code"] not in _HARMLESS for reason in reasons) else 0)


def _lines(database: "Database", source: str, accessions: Path | None, visits: Path | None) -> "list[Line] | None":
    """What a list asks for; None without one."""
    from hilum.imaging.remote.lists import accession_lines, read_list

    if accessions:
        return accession_lines(read_list(_read(accessions), "accession_number"))
    if visits is None:
        return None
    from hilum.clinical.cdm.cdm import require_cdm
    from hilum.clinical.linkage.wanted import visit_lines

    named = read_list(_read(visits), "visit_occurrence_id")
    with database.transaction() as sql:
        return visit_lines(sql, require_cdm(sql, source), named)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LIST + 1)
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_LIST:
        raise Invalid(f"{path} is larger than any list should be.")
    return data


def _listed(report: "Report") -> dict[str, object]:
    return {
        state: [{"name": each.name, "studies": list(each.studies), "reason": each.reason} for each in report.of(state)]
        for state in ("found", "missing", "ambiguous")
    }
