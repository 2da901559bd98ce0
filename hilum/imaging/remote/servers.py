"""The DICOMweb server of a source's remote archive: where it is, what it asks for, what is fetched from it and how long
copies are kept. Its credentials go no further than to the one who asks it."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, LiteralString, TypeAlias, cast
from urllib.parse import urlsplit

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.core.outgoing import check_url
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.sources import checked_url

Fetch: TypeAlias = Literal["never", "asked", "indexed"]
"""When images are fetched: never, when somebody asks for them, or also by themselves once they are indexed."""
Login: TypeAlias = Literal["none", "basic", "bearer", "oidc"]
Credentials: TypeAlias = Mapping[str, str]

USUAL_ROOT: Final = "/dicom-web"
_LOGINS: Final[Mapping[Login, frozenset[str]]] = {
    "none": frozenset(),
    "basic": frozenset(("username", "password")),
    "bearer": frozenset(("token",)),
    "oidc": frozenset(("token_url", "client_id", "client_secret")),
}
_OPTIONAL: Final = frozenset(("scope",))


@dataclass(frozen=True, slots=True)
class RemoteServer:
    """The remote archive of a source.

    Attributes
    ----------
    url
        Base URL of its DICOMweb, perhaps without ``/dicom-web``.
    credentials
        ``username`` and ``password``, or ``token``, or ``token_url``, ``client_id``, ``client_secret`` and perhaps
        ``scope`` (OIDC client credentials), or nothing.
    authorities
        Certificates, in PEM, that are believed over TLS beside the system's.
    fetch, modalities
        When images are fetched; by themselves only of these modalities, if any are named.
    keep_days, keep_bytes
        How long, and how much in all, copies are kept; None for ever, and all.
    """

    source: SourceRef
    url: str
    credentials: Credentials = field(default_factory=dict[str, str], repr=False)
    authorities: str = ""
    fetch: Fetch = "asked"
    modalities: tuple[str, ...] = ()
    keep_days: int | None = None
    keep_bytes: int | None = None

    @property
    def login(self) -> Login:
        """What kind of credentials it has."""
        return login_of(self.credentials)


def login_of(credentials: Credentials) -> Login:
    """What kind credentials are of."""
    for kind, parts in _LOGINS.items():
        if parts and parts <= set(credentials):
            return kind
    return "none"


def find_server(database: Database, source: str) -> RemoteServer:
    """The remote archive of a source, by the source's key.

    Raises
    ------
    Conflict
        It has none.
    NotFound
        There is no such source.
    """
    with database.transaction() as sql:
        server = read_server(_row(sql, source))
    if not server.url:
        raise Conflict(f"Source '{source}' names no remote archive: hilum source remote {source} --url URL.")
    return server


def read_server(row: Row) -> RemoteServer:
    """Make the server of a source's row with `COLUMNS`."""
    return RemoteServer(
        SourceRef(cast("int", row["source_id"]), str(row["source_key"])),
        str(row["dicomweb_url"]),
        cast("Credentials", row["dicomweb_credentials"]),
        str(row["dicomweb_ca"]),
        cast("Fetch", row["remote_fetch"]),
        tuple(cast("list[str]", row["remote_modalities"])),
        cast("int | None", row["remote_keep_days"]),
        cast("int | None", row["remote_keep_bytes"]),
    )


def change_server(database: Database, source: str, changes: Mapping[str, object]) -> None:
    """Change parts of a source's remote archive.

    Parameters
    ----------
    database, source
        Where, and the source's key.
    changes
        ``name`` (of the source), ``url``, ``credentials``, ``authorities``, ``fetch``, ``modalities``, ``keep_days``,
        ``keep_bytes``. Credentials are forgotten when the server becomes that of another host, unless new ones come.

    Raises
    ------
    Invalid
        A part of it is none.
    NotFound
        There is no such source.
    """
    with database.transaction() as sql:
        before = read_server(_row(sql, source, lock=True))
        url = checked_url(str(changes.get("url", before.url)))
        if url:
            check_url(url)
        stays = _host(url) == _host(before.url)
        given = changes.get("credentials", before.credentials if stays else {})
        credentials = cast("Credentials", given)
        _check_credentials(credentials)
        authorities = str(changes.get("authorities", before.authorities))
        _check_authorities(authorities)
        sql.rows(
            "update hilum.source set name = coalesce(%s, name), dicomweb_url = %s, dicomweb_credentials = %s::jsonb, "
            "dicomweb_ca = %s, remote_fetch = %s, remote_modalities = %s, remote_keep_days = %s, "
            "remote_keep_bytes = %s where id = %s",
            (
                changes.get("name"), url, json.dumps(dict(credentials)), authorities,
                changes.get("fetch", before.fetch), list(cast("tuple[str]", changes.get("modalities",
                before.modalities))), changes.get("keep_days", before.keep_days),
                changes.get("keep_bytes", before.keep_bytes), before.source.id,
            ),
        )  # fmt: skip


def note_root(database: Database, server: RemoteServer, root: str) -> None:
    """Note where the server's DICOMweb really is, once that has answered."""
    if root != server.url:
        with database.transaction() as sql:
            query: LiteralString = "update hilum.source set dicomweb_url = %s where id = %s and dicomweb_url = %s"
            sql.rows(query, (root, server.source.id, server.url))


def _row(sql: Transaction, source: str, *, lock: bool = False) -> Row:
    query: LiteralString = f"select {COLUMNS} from hilum.source s where s.key = %s and not s.removed"
    rows = sql.rows(query + " for update" if lock else query, (source,))
    if not rows:
        raise NotFound(f"There is no source '{source}'.")
    return rows[0]


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _check_credentials(credentials: Credentials) -> None:
    if set(credentials) - _OPTIONAL not in [set(parts) for parts in _LOGINS.values()] or (
        "scope" in credentials and "token_url" not in credentials
    ):
        raise Invalid(
            "Credentials are username and password, or token, or token_url, client_id, client_secret and perhaps scope."
        )
    if any(ord(character) < 32 or ord(character) == 127 for value in credentials.values() for character in value):
        raise Invalid("Credentials hold no line breaks and no other control characters.")
    if "token_url" in credentials:
        check_url(credentials["token_url"])


def _check_authorities(authorities: str) -> None:
    if authorities:
        try:
            ssl.create_default_context(cadata=authorities)
        except (ssl.SSLError, ValueError):
            raise Invalid("The certificates of authorities are none in PEM.") from None


COLUMNS: Final[LiteralString] = (
    "s.id as source_id, s.key as source_key, s.dicomweb_url, s.dicomweb_credentials, s.dicomweb_ca, s.remote_fetch, "
    "s.remote_modalities, s.remote_keep_days, s.remote_keep_bytes"
)
