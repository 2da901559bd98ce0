"""Every option of Hilum, once: its name, its default and what it is for. A value comes from the command line, else from
a ``HILUM_*`` environment variable, else from ``hilum.toml`` in the data directory, else from here."""

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hilum.core.cors import CrossOrigin
from hilum.core.errors import Invalid
from hilum.core.forwarded import Proxies

DEFAULT_DATA = Path("hilum-data")


def _split_paths(value: object) -> object:
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


def _split_names(value: object) -> object:
    """Names parted by commas; one within parentheses parts nothing."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in re.findall(r"(?:[^,(]|\([^)]*\)?)+", value) if part.strip()]


def _as_json(value: object) -> object:
    """Options as JSON; in ``hilum.toml`` they may be a table."""
    return json.dumps(value) if isinstance(value, dict) else value


def _checked_proxies(value: str) -> str:
    Proxies.parse(value)
    return value


def _checked_origins(value: str) -> str:
    CrossOrigin.parse(value)
    return value


class Settings(BaseSettings):
    """The options that hold for one process; each field's description is its line in the documentation."""

    model_config = SettingsConfigDict(env_prefix="HILUM_", frozen=True, extra="forbid")

    data: Path = Field(DEFAULT_DATA, description="Folder of the embedded database, the stored objects and hilum.toml.")
    database_url: str = Field("", description="PostgreSQL 16 or later, postgresql://…; empty: the embedded one.")
    blobs_url: str = Field(
        "",
        description="Where objects are kept: file:///…, s3://bucket/prefix, gs://… or az://…; empty: objects/ in the "
        "data folder.",
    )
    blobs_options: Annotated[SecretStr, BeforeValidator(_as_json)] = Field(
        SecretStr(""),
        description="For a bucket, a JSON object of endpoint, region, access_key_id, secret_access_key and what else "
        "obstore takes; the cloud's own variables (AWS_…, GOOGLE_…, AZURE_…) hold for the rest.",
    )
    public_url: str = Field("", description="The address users see, such as https://hilum.example; it stands in URLs.")
    trusted_proxies: Annotated[str, AfterValidator(_checked_proxies)] = Field(
        "",
        description="Addresses or networks of proxies whose Forwarded or X-Forwarded-* fields hold, with spaces.",
    )
    cors_origins: Annotated[str, AfterValidator(_checked_origins)] = Field(
        "",
        description="Origins whose pages may use DICOMweb from elsewhere, https://viewer.example, with spaces; *: any.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; another than loopback only with HILUM_TRUSTED_PROXIES, whose requests alone "
        "are then answered.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port of the page, the REST API and DICOMweb.")
    http_processes: int = Field(2, ge=1, le=64, description="HTTP processes that serve runs side by side.")
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of HILUM_HOST on which a worker that runs alone and a proxy answer /health and /ready, the "
        "proxy also /metrics; 0: none.",
    )
    workers: int = Field(1, ge=0, le=64, description="Processes that run jobs, started by serve.")
    aet: str = Field("HILUM", description="AE title that the DICOM listener answers to, with the source default.")
    dicom_host: str = Field(
        "127.0.0.1", description="Address of the DICOM listener; off loopback it needs HILUM_DICOM_PEERS."
    )
    dicom_port: int = Field(11112, ge=0, le=65535, description="Port of the DICOM listener; 0: any free one.")
    dicom_peers: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="AE titles that may call, separated by commas; with =host:port, =tls://host:port or, behind a "
        "proxy, =nats:channel where C-MOVE and storage commitment find them. Empty: any, on loopback.",
    )
    dicom_sources: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="Further AE titles that the listener answers to, each with its source, TITLE=source, with commas.",
    )
    dicom_max_associations: int = Field(
        64, ge=1, le=1000, description="Most DICOM associations that one process serves at once."
    )
    dicom_idle_seconds: float = Field(
        600, gt=0, description="How long a DICOM association may rest between two messages, in seconds."
    )
    dicom_private_classes: bool = Field(
        True, description="Take instances of SOP classes that DICOM does not define; off: refused when negotiated."
    )
    dicom_tls_certificate: Path | None = Field(
        None,
        description="Certificate of the DICOM listener or the proxy, PEM; with it connections are taken by TLS alone.",
    )
    dicom_tls_key: Path | None = Field(None, description="Key of that certificate, PEM; empty: in the same file.")
    dicom_tls_ca: Path | None = Field(None, description="Whose certificates of DICOM peers are trusted, PEM.")
    dicom_tls_clients: bool = Field(
        False, description="Whether callers must show a certificate that HILUM_DICOM_TLS_CA has signed."
    )
    dicom_targets: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="Called AE titles whose relayed associations go elsewhere than to Hilum: TITLE=host:port, with "
        "commas.",
    )
    relay_channels: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="Channels on NATS whose DICOM associations the listener takes, with commas; empty: none. A proxy "
        "has one.",
    )
    relay_titles: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="Called AE titles that the proxy takes, with commas; empty: any, for the other end to decide.",
    )
    relay_locals: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="Where the proxy finds the AE titles that it answers for to the other end: TITLE=host:port, with "
        "commas.",
    )
    relay_silence_seconds: float = Field(
        30, ge=1, description="A relayed association whose other end is not heard for so long is aborted."
    )
    relay_keep: Path | None = Field(
        None, description="Folder in which the proxy keeps instances while the other end is away; empty: it keeps none."
    )
    relay_keep_always: bool = Field(
        False, description="Keep instances in that folder first also while the other end is there."
    )
    import_roots: Annotated[list[Path], NoDecode, BeforeValidator(_split_paths)] = Field(
        default_factory=list,
        description="Folders the page may import from, separated by a colon; relative ones lie in the data folder.",
    )
    on_replace: Literal["replace", "reject"] = Field(
        "replace", description="What other bytes for a known SOP Instance UID do: replace the instance or be refused."
    )
    derived_studies: bool = Field(
        True, description="Derive study and series of files that do not name theirs from folder or zip; off: set aside."
    )
    qido_attributes: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="Further attributes to search by and to return in QIDO-RS, separated by commas: keywords, tags, "
        "paths such as ProcedureCodeSequence.CodeValue, private tags such as 0009xx01(CREATOR), each perhaps with "
        "study:, series: or instance: before it. Then run hilum reindex.",
    )
    delivery_retry_seconds: Annotated[list[PositiveFloat], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=lambda: [1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0],
        min_length=1,
        max_length=50,
        description="Seconds between the attempts to deliver an event that its consumer refuses, separated by commas; "
        "after the last it is a dead letter.",
    )
    delivery_patience_hours: float = Field(
        72, ge=0, description="How long events wait for a consumer that cannot be reached before they are dead letters."
    )
    event_patient_data: bool = Field(
        False, description="Add patient_id and accession_number to events that leave by webhooks and NATS."
    )
    outgoing_ca: Path | None = Field(
        None,
        description="Certificates (PEM) that receivers of webhooks and FHIR servers are believed by, "
        "beside those that this machine trusts.",
    )
    nats_url: str = Field(
        "",
        description="NATS with JetStream that events are published to, nats://… or tls://…, with commas; empty: none.",
    )
    nats_credentials: Path | None = Field(
        None, description="File with the credentials for NATS: .creds, or an nkey's seed."
    )
    nats_ca: Path | None = Field(None, description="Certificates (PEM) that NATS is believed by; empty: the system's.")
    nats_certificate: Path | None = Field(None, description="Hilum's own certificate (PEM), where NATS asks for one.")
    nats_key: Path | None = Field(None, description="The key of that certificate (PEM).")
    inbox: Path | None = Field(None, description="Folder that serve and watch import from as files land; empty: none.")
    study_quiet_seconds: float = Field(
        30, ge=0, le=86400, description="A study is complete when no instance has come for as long, in seconds."
    )
    delete_grace_days: float = Field(7, ge=0, description="How long a deleted study can be restored, in days.")
    worklist_keep_days: float = Field(
        30, ge=0, description="How long ended workitems are kept that no subscriber has locked, in days."
    )
    worklist_silent_hours: float = Field(
        24,
        ge=0,
        description="How long its performer may be silent before whoever asks may cancel a claimed workitem, in hours.",
    )
    forwarded_keep_days: float = Field(
        30, ge=1, description="How long it is remembered, instance by instance, what was forwarded, in days."
    )
    fhir_patient_reference: str = Field(
        "Patient/{person_id}",
        description="How the FHIR ImagingStudy of a linked study refers to its patient; empty: by identifier only.",
    )
    fhir_publish_url: str = Field(
        "", description="Base URL of a FHIR R4 server that every ImagingStudy is published to; empty: none."
    )
    fhir_publish_token: SecretStr = Field(SecretStr(""), description="Bearer token for that server.")
    fhir_publish_user: str = Field("", description="User name for that server, with HILUM_FHIR_PUBLISH_PASSWORD.")
    fhir_publish_password: SecretStr = Field(SecretStr(""), description="Password for that server.")
    omop_procedures: Literal["mint", "require"] = Field(
        "mint",
        description="A linked study whose procedure the CDM does not know: mint a procedure_occurrence of its own, or "
        "require a person to name one.",
    )
    omop_procedure_ids: str = Field(
        "2000000000-2000999999",
        pattern=r"^[0-9]{1,18}-[0-9]{1,18}$",
        description="The range that ids of minted procedures are taken from, when a CDM is created or attached.",
    )
    omop_feature_ids: str = Field(
        "1000000000-1999999999",
        pattern=r"^[0-9]{1,18}-[0-9]{1,18}$",
        description="The range that ids of measurements and observations made from features are taken from, when a CDM "
        "is created or attached.",
    )
    feature_extractors: Annotated[
        list[Literal["acquisition", "dose", "structured_report"]], NoDecode, BeforeValidator(_split_names)
    ] = Field(
        ["acquisition", "dose", "structured_report"],
        description="What is read from the files of a study as features when it is complete, with commas.",
    )
    acquisition_tags: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="The acquisition parameters that are read as features, by DICOM keyword, with commas; empty for "
        "the list that ships, `all` for every attribute that holds a number, a code or a time.",
    )
    registry_first_id: int = Field(
        1, ge=1, lt=1 << 62, description="The first image_registry_id, when a CDM is created or attached."
    )
    registry_trg_file: bool = Field(
        False,
        description="Fill trg_file of image_registry with where each file is kept; off: blank, as CHoRUS has it from "
        "sites. Of a CHoRUS upload that was taken in it is always filled.",
    )
    metadata_tags: Annotated[list[str], NoDecode, BeforeValidator(_split_names)] = Field(
        default_factory=list,
        description="Further attributes for the metadata tables of studies and series, named as in "
        "HILUM_QIDO_ATTRIBUTES and separated by commas.",
    )
    deid_key_file: Path | None = Field(
        None,
        description="Key file of data sets and their crosswalk, the same for all processes; empty: deid.key in the "
        "data folder, made when it is first needed. Keep a copy of it.",
    )
    deid_workers: int = Field(
        0, ge=0, le=64, description="Processes that de-identify for one version of a data set; 0: one a processor."
    )
    export_options: Annotated[SecretStr, BeforeValidator(_as_json)] = Field(
        SecretStr(""),
        description="For buckets that data sets are exported to, options as in HILUM_BLOBS_OPTIONS.",
    )
    max_upload_bytes: int = Field(1 << 30, gt=0, description="Largest upload by the page or POST /uploads.")
    max_unpacked_bytes: int = Field(4 << 30, gt=0, description="Largest sum of the members of one zip.")
    max_instance_bytes: int = Field(16 << 30, gt=0, description="Largest single DICOM instance.")
    max_archive_bytes: int = Field(
        0, ge=0, description="Most that all instances together may take, in bytes; 0: as much as the disk has."
    )
    min_free_bytes: int = Field(256 << 20, ge=0, description="Space on the disk below which nothing more is taken.")
    remote_wait_seconds: int = Field(
        60, ge=1, le=600, description="How long a request for images waits while they come from a remote archive."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Lines for people or JSON; auto: by whether a terminal reads them."
    )

    @property
    def data_path(self) -> Path:
        """The data folder as an absolute path."""
        return self.data.expanduser().absolute()

    @property
    def base_url(self) -> str:
        """The address that stands in URLs where no request says which one its client uses."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"

    def import_root_paths(self) -> list[Path]:
        """The folders that a job may import from, as absolute paths."""
        return [root if root.is_absolute() else self.data_path / root for root in self.import_roots]


@dataclass(frozen=True, slots=True)
class SettingSource:
    """One setting as it holds now: its environment variable, value, origin and what it is for."""

    name: str
    value: object
    origin: Literal["command line", "environment", "hilum.toml", "default"]
    description: str


def load_settings(data: Path | None = None, **given: object) -> Settings:
    """Read the settings of a data folder.

    Parameters
    ----------
    data
        The data folder; None takes ``HILUM_DATA`` or ``./hilum-data``.
    **given
        Options of the command line, by field name; None means not given.

    Raises
    ------
    Invalid
        A value, or a name in ``hilum.toml``, is not one that a setting takes.
    """
    try:
        return Settings(**_layers(data, given))  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise Invalid(f"The settings cannot be read: {problems}.") from error


def explain_settings(settings: Settings, given: dict[str, object] | None = None) -> list[SettingSource]:
    """List every setting with its value and where the value came from."""
    from_file = _read_file(settings.data_path)
    named = {key for key, value in (given or {}).items() if value is not None}

    def origin(name: str) -> Literal["command line", "environment", "hilum.toml", "default"]:
        if name in named:
            return "command line"
        if f"HILUM_{name.upper()}" in os.environ:
            return "environment"
        return "hilum.toml" if name in from_file else "default"

    return [
        SettingSource(
            f"HILUM_{name.upper()}", _shown(name, getattr(settings, name)), origin(name), field.description or ""
        )
        for name, field in Settings.model_fields.items()
    ]


def _shown(name: str, value: object) -> object:
    """A setting as it may be seen: of an address that may hold a secret, all but that."""
    if name == "database_url":
        return _without_password(str(value))
    if name == "nats_url":
        return re.sub(r"//[^/,]*@", "//***@", str(value))
    return value


def _without_password(url: str) -> str:
    """The URL of a database with its password masked, wherever libpq takes one: before the host, among the options."""
    # Before the query if there is an @, for a password may hold one by mistake.
    url = re.sub(r"^([^:/?#]+://[^/?#:@]*):(?:[^?]*|[^@]*)@", r"\1:***@", url)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def _layers(data: Path | None, given: dict[str, object]) -> dict[str, object]:
    folder = data or Path(os.environ.get("HILUM_DATA") or DEFAULT_DATA)
    from_file = {k: v for k, v in _read_file(folder).items() if f"HILUM_{k.upper()}" not in os.environ}
    return from_file | {key: value for key, value in given.items() if value is not None} | {"data": folder}


def _read_file(folder: Path) -> dict[str, object]:
    path = folder.expanduser() / "hilum.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"{path} cannot be read: {error}.") from error
