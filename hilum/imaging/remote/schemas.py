"""Sources and their remote archives as clients see them. Credentials only ever go in."""

from datetime import datetime
from typing import Annotated, Final, TypeAlias

from pydantic import Field, SecretStr

from hilum.core.http import Credentials, Model
from hilum.imaging.remote.copies import State
from hilum.imaging.remote.indexing import LIMIT, MAX_LIMIT
from hilum.imaging.remote.servers import Fetch, Login

_MAX_SECRET: Final = 16 << 10
_MAX_URL: Final = 1000

Secret: TypeAlias = Annotated[SecretStr, Field(min_length=1, max_length=_MAX_SECRET)]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Modality: TypeAlias = Annotated[str, Field(pattern="^[A-Z0-9_]{1,16}$")]


class RemoteCredentials(Credentials):
    """What a remote archive asks for: a user name and password, or a token, or the client credentials by which an OIDC
    server gives one; empty for nothing. They are never returned."""

    username: Name | None = None
    password: Secret | None = None
    token: Secret | None = None
    token_url: Annotated[str, Field(max_length=_MAX_URL)] | None = None
    client_id: Name | None = None
    client_secret: Secret | None = None
    scope: Annotated[str, Field(max_length=1000)] | None = None


class SourceChange(Model):
    """What of a source to change; what is left out stays, but credentials go when the host becomes another."""

    name: Name | None = None
    dicomweb_url: Annotated[str, Field(max_length=_MAX_URL)] | None = Field(
        None, description="Base URL of its remote archive, with or without /dicom-web; empty for none."
    )
    dicomweb_credentials: RemoteCredentials | None = None
    dicomweb_ca: Annotated[str, Field(max_length=_MAX_SECRET * 4)] | None = Field(
        None, description="Certificates (PEM) that are believed over TLS beside the system's."
    )
    fetch: Fetch | None = Field(
        None, description="When images come: never, once asked for, or also by themselves once indexed."
    )
    fetch_modalities: Annotated[list[Modality], Field(max_length=50)] | None = Field(
        None, description="By themselves come only studies of these; empty for all."
    )
    keep_days: Annotated[int, Field(ge=0, le=36500)] | None = Field(
        None, description="How long copies are kept; null for ever."
    )
    keep_bytes: Annotated[int, Field(ge=0, lt=1 << 62)] | None = Field(
        None, description="How much of them is kept in all; null for all."
    )

    def changes(self) -> dict[str, object]:
        """Those that were given."""
        names = {"dicomweb_url": "url", "dicomweb_ca": "authorities", "fetch_modalities": "modalities"}
        given = {name: getattr(self, name) for name in self.model_fields_set}
        found: dict[str, object] = {
            names.get(name, name): value
            for name, value in given.items()
            if name != "dicomweb_credentials" and (value is not None or name.startswith("keep_"))
        }
        if self.dicomweb_credentials is not None:
            found["credentials"] = self.dicomweb_credentials.plain()
        return found


class SourceIn(SourceChange):
    """A source to be added."""

    key: Annotated[str, Field(pattern="^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]


class Copies(Model):
    """How many studies are fetched from the remote archive, and how many bytes those have that are here."""

    waiting: int = 0
    failed: int = 0
    held: int = 0
    bytes: int = 0


class SourceSummary(Model):
    """A source: how many studies it holds, where its CDM is, and its remote archive."""

    key: str
    name: str
    studies: int
    cdm_schema: str
    vocabulary_schema: str
    imaging_schema: str
    results_schema: str
    cdm_attached: bool = Field(description="Whether the CDM is another's; only imaging and results are written.")
    intake_profile: str = Field(description="De-identifies what comes in; empty: it is kept as it comes.")
    dicomweb_url: str
    dicomweb_credentials: Login = Field(description="What kind there are; they are never returned.")
    dicomweb_ca: str
    fetch: Fetch
    fetch_modalities: list[str]
    keep_days: int | None
    keep_bytes: int | None
    copies: Copies


class SourceRemoved(Model):
    """A source that was removed."""

    key: str
    studies: int = Field(description="How many studies, known from its remote archive, went with it.")


class SourceTest(Model):
    """How a remote archive answered."""

    ok: bool
    message: str
    services: list[str]
    milliseconds: float


class DicomWebIndex(Model):
    """Which studies of which source's remote archive to index."""

    source: str = "default"
    limit: int = Field(LIMIT, ge=1, le=MAX_LIMIT, description="How many studies at most.")
    modality: Modality | None = Field(None, description="Only studies that have it; XR is CR or DX.")
    all: bool = Field(False, description="All there are; `limit` does not matter then.")
    series: bool = Field(False, description="With the series of each study.")


class SeriesCounts(Model):
    """What became of the series of a study."""

    new: int
    updated: int
    unchanged: int


class StudyCopy(Model):
    """Where the copy of a remote study stands."""

    state: State = Field(description="none: it was never fetched; released: it was given up again.")
    num_instances: int
    bytes: int
    error: str
    asked_at: datetime | None
    fetched_at: datetime | None
