"""Data sources: each holds studies of its own."""

import re
from collections.abc import Mapping
from typing import Final, LiteralString, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from hilum.core.database import Database, Transaction
from hilum.core.errors import Conflict, Invalid
from hilum.imaging.archive.models import Source
from hilum.imaging.archive.sidecar import MAPS

DEFAULT: Final = "default"
"""Key of the source that is always there."""
_URL = re.compile(r"https?://[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]{0,260}(?:/[!-~]{0,1000})?")
_KEY = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def add_source(
    database: Database,
    key: str,
    name: str,
    *,
    dicomweb_url: str = "",
    fhir_url: str = "",
    fhir_user: str = "",
    fhir_secret: str = "",
    intake_profile: str | None = None,
) -> None:
    """Add a source, or name an existing one anew.

    Parameters
    ----------
    database
        Where.
    key, name
        What it is called, by programs and by people.
    dicomweb_url, fhir_url
        Base URLs of its remote archive's DICOMweb and FHIR; empty leaves those that it has.
    fhir_user, fhir_secret
        What its FHIR server asks for: a name and its password, or a bearer token without a name. Without a secret those
        that it has stay, unless the server becomes another one, which must not be told them.
    intake_profile
        De-identification of what comes in from now on, by the name of a profile; empty for none, None leaves it.

    Raises
    ------
    Conflict
        There was such a source, and it was removed.
    Invalid
        The key is not made of lower-case letters, digits and hyphens; a URL is none; there is a name without a secret.
    """
    if not _KEY.fullmatch(key):
        raise Invalid(f"'{key}' cannot be a source's key: lower-case letters, digits and hyphens, at most 64.")
    if fhir_user and not fhir_secret:
        raise Invalid("A user of the FHIR server needs a password: give its secret, too.")
    urls = {"dicomweb_url": checked_url(dicomweb_url), "fhir_url": checked_url(fhir_url)}
    given = {"name": name} | {column: url for column, url in urls.items() if url}
    if intake_profile is not None:
        given["intake_profile"] = intake_profile
    login = {"fhir_user": fhir_user, "fhir_secret": fhir_secret}
    stays = Source.fhir_url == urls["fhir_url"] if urls["fhir_url"] else sa.true()
    same = Source.dicomweb_url.in_((urls["dicomweb_url"], f"{urls['dicomweb_url']}/dicom-web"))
    forgotten = (
        {}
        if not urls["dicomweb_url"]
        else {"dicomweb_credentials": sa.case((same, Source.dicomweb_credentials), else_=sa.text("'{}'::jsonb"))}
    )
    kept = login if fhir_secret else {column: sa.case((stays, getattr(Source, column)), else_="") for column in login}
    statement = insert(Source).values(key=key, **given, **login)
    with database.transaction() as transaction:
        if transaction.rows("select 1 from hilum.source where key = %s and removed", (key,)):
            raise Conflict(f"Source '{key}' was removed: bring it back with hilum source restore {key}.")
        transaction.connection.execute(
            statement.on_conflict_do_update(index_elements=["key"], set_=given | kept | forgotten | {"recorded": False})
        )


def bring_back_cdm(sql: Transaction, key: str, cdm: Mapping[str, object]) -> bool:
    """Note again where a source's OMOP CDM is, by the columns of its record; False where it is not in the database."""
    if not all(row["there"] for row in sql.rows(_CDM_THERE, cdm)):
        return False
    sql.rows(_KEEP_CDM, {**cdm, "key": key})
    return True


def bring_back_maps(sql: Transaction, source_id: int, record: Mapping[str, object]) -> dict[str, int]:
    """Add the lines of mapping tables that a source's record has and the catalogue lacks; gives how many of each."""
    maps = cast("Mapping[str, list[object]]", record.get("maps") or {})
    added: dict[str, int] = {}
    for table, columns in MAPS.items():
        if maps.get(table):
            statement = cast(
                "LiteralString",
                f"insert into hilum.{table} (source_id, {columns}) select %s, {columns} "
                f"from json_populate_recordset(null::hilum.{table}, %s) on conflict do nothing returning 1",
            )
            added[table] = len(sql.rows(statement, (source_id, msgspec.json.encode(maps[table]).decode())))
    return added


def checked_url(url: str) -> str:
    """The base URL of an archive without a slash at its end; raises ``Invalid`` where it is none."""
    if url and (not _URL.fullmatch(url) or "?" in url or "#" in url):
        raise Invalid("The base URL of an archive is of the form https://pacs.example/dicom-web, without credentials.")
    return url.rstrip("/")


def source_keys(database: Database) -> list[str]:
    """The keys of all sources."""
    with database.connect() as connection:
        return list(connection.scalars(sa.select(Source.key).where(~Source.removed).order_by(Source.key)))


_CDM_THERE: Final[LiteralString] = """
  select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = g.schema and c.relname = g.name) as there
  from (values (%(cdm_schema)s, 'person'), (%(vocabulary_schema)s, 'concept'), (%(imaging_schema)s, 'image_occurrence'),
    (%(results_schema)s, 'cohort')) g (schema, name)
"""
_KEEP_CDM: Final[LiteralString] = """
  update hilum.source set cdm_schema = %(cdm_schema)s, vocabulary_schema = %(vocabulary_schema)s,
    imaging_schema = %(imaging_schema)s, results_schema = %(results_schema)s, cdm_attached = %(cdm_attached)s
  where key = %(key)s
"""
