"""Where instances are sent to: other archives, by STOW-RS or C-STORE. A destination's credentials go no further than to
the one who sends."""

import re
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final, Literal, LiteralString, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec
import psycopg.errors

from hilum.core.database import Database, Row, Transaction
from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.imaging.dicom.encode import SYNTAXES

Kind: TypeAlias = Literal["stow", "cstore"]
Login: TypeAlias = Literal["none", "basic", "bearer", "certificate"]
Credentials: TypeAlias = Mapping[str, str]

MAX_NAME: Final = 100
_AE_TITLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}")
_LOGINS: Final[Mapping[Login, frozenset[str]]] = {
    "none": frozenset(),
    "basic": frozenset(("username", "password")),
    "bearer": frozenset(("token",)),
    "certificate": frozenset(("certificate", "private_key")),
}


@dataclass(frozen=True, slots=True)
class Address:
    """How a destination is reached.

    Attributes
    ----------
    url
        Of a ``stow`` one: the root of its DICOMweb service, under which ``/studies`` is.
    base_url
        Where requests go instead of ``url``, such as a tunnel; empty for there.
    host, port, called_ae_title, calling_ae_title, tls
        Of a ``cstore`` one.
    tls_ca
        Certificates, in PEM, of those who may vouch for it; empty for those that this machine trusts.
    transfer_syntax_uid
        What instances are converted to; empty: they go as they are stored, where it takes that.
    timeout_seconds
        How long it may take to answer.
    retry_seconds
        How long the first wait after a failure is; each further one is twice as long, up to five minutes.
    max_attempts
        How often one instance is tried before it is a dead letter.
    """

    url: str = ""
    base_url: str = ""
    host: str = ""
    port: int = 104
    called_ae_title: str = ""
    calling_ae_title: str = "HILUM"
    tls: bool = False
    tls_ca: str = ""
    transfer_syntax_uid: str = ""
    timeout_seconds: float = 60.0
    retry_seconds: float = 5.0
    max_attempts: int = 8

    @property
    def root(self) -> str:
        """The base of its DICOMweb addresses, without a slash at the end."""
        return (self.base_url or self.url).rstrip("/")

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that it is known by, in lower case."""
        names = (urlsplit(self.url).hostname, urlsplit(self.base_url).hostname, self.host)
        return frozenset(name.lower() for name in names if name)


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination, with how it fares."""

    id: int
    name: str
    kind: Kind
    address: Address
    active: bool = True
    failures: int = 0
    retry_at: datetime | None = None
    error: str = ""
    last_sent_at: datetime | None = None
    batch_size: int = 1
    credentials: Credentials = field(default_factory=dict[str, str], repr=False)

    @property
    def login(self) -> Login:
        """What kind of credentials it has."""
        for kind, parts in _LOGINS.items():
            if parts and parts <= set(self.credentials):
                return kind
        return "none"


COLUMNS: Final[LiteralString] = (
    "d.id, d.name, d.kind, d.address, d.credentials, d.active, d.failures, d.retry_at, d.error, d.last_sent_at, "
    "d.batch_size"
)


def read_address(parts: Mapping[str, object]) -> Address:
    """Make an address of its parts by name."""
    return Address(**dict(parts))  # pyright: ignore[reportArgumentType]


def read_destination(row: Row) -> Destination:
    """Make a destination of a row with `COLUMNS`."""
    parts = dict(row) | {"address": read_address(cast("Mapping[str, object]", row["address"]))}
    return Destination(**parts)  # pyright: ignore[reportArgumentType]


def list_destinations(database: Database) -> list[Destination]:
    """All destinations, by name."""
    with database.transaction() as sql:
        query: LiteralString = (
            f"select {COLUMNS} from hilum.routing_destination d where d.deleted_at is null order by lower(d.name), d.id"
        )
        return [read_destination(row) for row in sql.rows(query)]


def find_destination(database: Database, number: int) -> Destination:
    """Find one; raises ``NotFound``."""
    with database.transaction() as sql:
        return _find(sql, number)


def _find(sql: Transaction, number: int, *, lock: bool = False) -> Destination:
    query: LiteralString = f"select {COLUMNS} from hilum.routing_destination d where d.id = %s and d.deleted_at is null"
    rows = sql.rows(query + " for update" if lock else query, (number,))
    if not rows:
        raise NotFound(f"There is no destination {number}.")
    return read_destination(rows[0])


def add_destination(database: Database, name: str, kind: Kind, address: Address, credentials: Credentials) -> int:
    """Add a destination.

    Returns
    -------
    int
        Its id.

    Raises
    ------
    Conflict
        There is one of that name.
    Invalid
        A part of it is none.
    """
    check_address(kind, address)
    check_credentials(kind, credentials, address)
    with distinct(name), database.transaction() as sql:
        (row,) = sql.rows(
            "insert into hilum.routing_destination (name, kind, address, credentials) "
            "values (%s, %s, %s::jsonb, %s::jsonb) returning id",
            (name, kind, as_json(asdict(address)), as_json(credentials)),
        )
    return cast("int", row["id"])


def change_destination(
    database: Database,
    number: int,
    *,
    name: str | None = None,
    address: Mapping[str, object] | None = None,
    credentials: Credentials | None = None,
    active: bool | None = None,
) -> None:
    """Change parts of a destination; what waits for it goes by the new ones, at once.

    Raises
    ------
    Conflict, Invalid
        As for `add_destination`.
    NotFound
        There is no such destination.
    """
    with distinct(name or ""), database.transaction() as sql:
        before = _find(sql, number, lock=True)
        after = read_address(asdict(before.address) | dict(address or {}))
        known = before.credentials if credentials is None else credentials
        moved = (after.root, after.host, after.port) != (before.address.root, before.address.host, before.address.port)
        if moved and credentials is None and before.credentials:
            raise Invalid("A destination that moves to another address needs its credentials again.")
        check_address(before.kind, after)
        check_credentials(before.kind, known, after)
        sql.rows(
            "update hilum.routing_destination set name = coalesce(%s, name), address = %s::jsonb, "
            "credentials = %s::jsonb, active = coalesce(%s, active), retry_at = now() where id = %s",
            (name, as_json(asdict(after)), as_json(known), active, number),
        )


def delete_destination(database: Database, number: int) -> None:
    """Delete a destination that no rule names; for some days `restore_destination` brings it back.

    Raises
    ------
    Conflict
        Rules send to it.
    NotFound
        There is no such destination.
    """
    with database.transaction() as sql:
        found = _find(sql, number, lock=True)
        rules = sql.rows(
            "select name from hilum.routing_rule where destination_id = %s and deleted_at is null order by id",
            (number,),
        )
        if rules:
            names = ", ".join(f"'{row['name']}'" for row in rules[:3])
            raise Conflict(f"Rules send to '{found.name}' ({names}). Delete those first, or send them elsewhere.")
        sql.rows("update hilum.routing_destination set deleted_at = now() where id = %s", (number,))


def restore_destination(database: Database, number: int) -> None:
    """Bring back a deleted destination; raises ``NotFound``, and ``Conflict`` when its name has been taken since."""
    with distinct("so"), database.transaction() as sql:
        back: LiteralString = "update hilum.routing_destination set deleted_at = null where id = %s returning id"
        if not sql.rows(back, (number,)):
            raise NotFound(f"There is no destination {number}, or it has been deleted for too long.")


def check_address(kind: Kind, address: Address) -> None:
    """Refuse an address that cannot be sent to; raises ``Invalid``."""
    if kind == "stow":
        _check_url("url", address.url)
        if address.base_url:
            _check_url("base_url", address.base_url)
    else:
        if not _HOST.fullmatch(address.host):
            raise Invalid("A C-STORE destination needs its host: a name or an address.")
        for title in (address.called_ae_title, address.calling_ae_title):
            if not _AE_TITLE.fullmatch(title):
                raise Invalid("An AE title has 1 to 16 characters, with no backslash and no space at its ends.")
    if address.transfer_syntax_uid and address.transfer_syntax_uid not in SYNTAXES:
        raise Invalid(f"Instances can be converted to {', '.join(SYNTAXES)} only.")
    if address.tls_ca:
        try:
            ssl.create_default_context(cadata=address.tls_ca)
        except (ssl.SSLError, ValueError):
            raise Invalid("tls_ca holds no certificate in PEM.") from None


def check_credentials(kind: Kind, credentials: Credentials, address: Address) -> None:
    """Refuse credentials that the kind of destination has no use for; raises ``Invalid``."""
    if set(credentials) not in [set(parts) for parts in _LOGINS.values()]:
        raise Invalid("Credentials are username and password, or token, or certificate and private_key (PEM).")
    if kind == "cstore" and credentials and "certificate" not in credentials:
        raise Invalid("A C-STORE destination knows its callers by AE title and certificate only.")
    secure = address.tls if kind == "cstore" else address.root.startswith("https://")
    if "certificate" in credentials and not secure:
        raise Invalid("A certificate is shown over TLS only.")
    if any("\n" in value or "\r" in value for name, value in credentials.items() if name in ("username", "token")):
        raise Invalid("A user name or a token has no line breaks.")


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid, parts = False, urlsplit("")
    if not valid or parts.username is not None or parts.query or parts.fragment or len(url) > 2000:
        raise Invalid(
            f"{name} is the root of a DICOMweb service, such as https://pacs.example/dicom-web, without a user, "
            "a question mark or a hash."
        )


@contextmanager
def distinct(name: str) -> Generator[None]:
    """Say of which name there is one already.

    Raises
    ------
    Conflict
        The block broke the rule that names are unique.
    """
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        if not str(error.diag.constraint_name).endswith("_name"):
            raise Conflict("Something else was changed at the same time; try again.") from error
        raise Conflict(f"There is one called '{name}' already; take another name.") from error


def as_json(value: object) -> str:
    """A value as a JSON text."""
    return msgspec.json.encode(value).decode()
