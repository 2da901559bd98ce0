"""Destinations, rules and their queue as clients see them. Credentials only ever go in."""

from datetime import datetime
from typing import Annotated, Final, TypeAlias

from pydantic import Field, SecretStr

from hilum.core.http import Credentials, Model
from hilum.imaging.routing.conditions import MAX_CONDITIONS, MAX_PATTERN
from hilum.imaging.routing.destinations import MAX_NAME, Kind, Login
from hilum.imaging.routing.queue import State
from hilum.imaging.routing.rules import When

_MAX_SECRET: Final = 64 << 10
_MAX_LISTED: Final = 100

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=r"^\S(.*\S)?$")]
Listed: TypeAlias = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=_MAX_LISTED)]
Secret: TypeAlias = Annotated[SecretStr, Field(min_length=1, max_length=_MAX_SECRET)]


class DestinationCredentials(Credentials):
    """What a destination asks for: a user name and password, or a token, or (over TLS) a certificate and its private
    key; empty for nothing. They are never returned."""

    username: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    password: Secret | None = None
    token: Secret | None = None
    certificate: Annotated[str, Field(min_length=1, max_length=_MAX_SECRET)] | None = Field(None, description="PEM.")
    private_key: Secret | None = Field(None, description="PEM, not encrypted.")


class DestinationAddress(Model):
    """How a destination is reached; what does not belong to its kind is left out."""

    url: str = Field("", max_length=2000, description="stow: root of its DICOMweb service, such as …/dicom-web.")
    base_url: str = Field("", max_length=2000, description="stow: where requests go instead, such as a tunnel.")
    host: str = Field("", max_length=255, description="cstore")
    port: int = Field(104, ge=1, le=65535, description="cstore")
    called_ae_title: str = Field("", max_length=16, description="cstore: its AE title.")
    calling_ae_title: str = Field("HILUM", max_length=16, description="cstore: our AE title.")
    tls: bool = Field(False, description="cstore: whether it speaks DICOM over TLS.")
    tls_ca: str = Field(
        "", max_length=_MAX_SECRET, description="PEM of who vouches for it; empty: who this host trusts."
    )
    transfer_syntax_uid: str = Field(
        "", max_length=64, description="Convert to it; empty: as stored where it is taken."
    )
    timeout_seconds: float = Field(60, ge=1, le=3600, description="How long an answer may take.")
    retry_seconds: float = Field(
        5, ge=0.1, le=3600, description="First wait after a failure; it doubles, to 5 minutes."
    )
    max_attempts: int = Field(8, ge=1, le=1000, description="Attempts with one instance until it is a dead letter.")


class DestinationIn(Model):
    """A destination to be added."""

    name: Name
    kind: Kind = Field(description="stow: STOW-RS; cstore: C-STORE.")
    address: DestinationAddress
    credentials: DestinationCredentials | None = None


class DestinationChange(Model):
    """Parts of a destination to change; one that is left out stays as it is. Credentials are replaced as a whole, and
    are needed again when it moves to another address."""

    name: Name | None = None
    address: DestinationAddress | None = None
    credentials: DestinationCredentials | None = None
    active: bool | None = Field(None, description="While false nothing is sent there; rules queue all the same.")


class Destination(Model):
    """A destination, and how it fares."""

    id: int
    name: str
    kind: Kind
    address: DestinationAddress
    credentials: Login = Field(description="Which kind it has.")
    active: bool
    failures: int = Field(description="Failures in a row; 0 when it answers.")
    retry_at: datetime | None = Field(description="When it is asked again, if it failed.")
    error: str = Field(description="Why it failed last.")
    last_sent_at: datetime | None


class DestinationTest(Model):
    """How a destination answered a sign of life."""

    ok: bool
    message: str
    milliseconds: float


class RulePattern(Model):
    """A regular expression (RE2) that some part of an attribute's value matches."""

    attribute: str = Field(min_length=1, max_length=200, description="Keyword, such as StudyDescription.")
    pattern: str = Field(min_length=1, max_length=MAX_PATTERN)


class RuleConditions(Model):
    """All must hold; of a list any member; an empty list asks for nothing."""

    sources: Listed = Field(default_factory=list[str], description="Keys of sources.")
    modalities: Listed = Field(default_factory=list[str])
    senders: Listed = Field(default_factory=list[str], description="Calling AE titles, or addresses of STOW clients.")
    station_names: Listed = Field(default_factory=list[str])
    patterns: Annotated[list[RulePattern], Field(max_length=MAX_CONDITIONS)] = Field(default_factory=list[RulePattern])


class RuleIn(Model):
    """A rule to be added; it holds for what arrives from now on."""

    name: Name
    destination_id: int
    when: When = Field("instance", description="Each instance as it arrives, or a study once a revision is complete.")
    conditions: RuleConditions = Field(default_factory=RuleConditions)
    active: bool = True
    priority: int = Field(0, ge=-1000, le=1000, description="Higher goes first, and decides where rules overlap.")


class RuleChange(Model):
    """Parts of a rule to change; one that is left out stays as it is. What the rule has queued stays queued."""

    name: Name | None = None
    destination_id: int | None = None
    when: When | None = None
    conditions: RuleConditions | None = None
    active: bool | None = Field(None, description="While false it queues nothing, and what it has queued waits.")
    priority: int | None = Field(None, ge=-1000, le=1000)


class RuleCounts(Model):
    """How much of a rule is in which state."""

    waiting: int
    sending: int
    sent: int = Field(description="Since the rule was made.")
    dead: int = Field(description="Dead letters: given up until they are replayed.")
    per_minute: int = Field(description="Sent within the last minute.")
    oldest_at: datetime | None = Field(description="Since when the oldest waits that is not sent yet.")


class Rule(Model):
    """A rule, and how far it is."""

    id: int
    name: str
    destination_id: int
    when: When
    conditions: RuleConditions
    active: bool
    priority: int
    created_at: datetime
    counts: RuleCounts


class QueueItem(Model):
    """An instance in the queue of a rule."""

    id: int
    state: State
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    digest: str = Field(description="blake3:…, of the bytes that are, or were, sent.")
    size: int
    attempts: int
    retry_at: datetime
    error: str
    warning: str
    queued_at: datetime
    sent_at: datetime | None


class QueueReplay(Model):
    """How many dead letters were queued anew."""

    replayed: int
