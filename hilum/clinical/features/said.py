"""A feature as somebody or something says it, before it is in the store: what extractors make and the door takes."""

import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import quote

import msgspec
from blake3 import blake3

Type: TypeAlias = Literal[
    "nlp_finding", "ai_classification", "radiomic", "manual", "structured_report", "acquisition", "dose"
]
TYPES: Final[tuple[Type, ...]] = get_args(Type)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What several features are said of, such as one nodule.

    Attributes
    ----------
    key
        Names it within its study, the same whenever it is extracted.
    name, code, concept_id
        What it is: in words, as ``scheme|value``, and, where no code is given, as a concept.
    """

    key: str
    name: str = ""
    code: str = ""
    concept_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One feature of a study.

    Attributes
    ----------
    key
        Names it among those of its extractor and study, the same whenever it is extracted.
    feature_type, feature_name
        Of what kind it is, and what it is.
    code, concept_id
        What it is, as ``scheme|value`` (``SCT|410668003``) or, without a code, as a concept.
    algorithm, algorithm_version, algorithm_time
        What said it; empty for a person. Without a time it is that of writing.
    value_numeric, unit
        A number and its unit in UCUM.
    value_string, value_code
        A value in words, and as ``scheme|value``.
    body_site, body_site_code, laterality
        Where it is.
    assertion
        Whether it is there: ``present``, ``absent``, ``possible``, or another word.
    confidence
        0 to 1.
    series_uid
        Of the series that it is seen in; empty for the study.
    finding
        What it is said of, where there are several features of one thing.
    provenance
        Further facts about its origin; no patient data.
    superseded
        Whether a later version says otherwise already.
    """

    key: str
    feature_type: Type
    feature_name: str
    code: str = ""
    concept_id: int | None = None
    algorithm: str = ""
    algorithm_version: str = ""
    algorithm_time: datetime | None = None
    value_numeric: float | None = None
    value_string: str = ""
    value_code: str = ""
    unit: str = ""
    body_site: str = ""
    body_site_code: str = ""
    laterality: str = ""
    assertion: str = ""
    confidence: float | None = None
    series_uid: str = ""
    finding: Finding | None = None
    provenance: dict[str, object] = field(default_factory=dict[str, object])
    superseded: bool = False

    def digest(self) -> str:
        """What tells this feature from another content under the same key; the time at which it was said does not."""
        content = asdict(self) | {"algorithm_time": None, "superseded": None}
        return blake3(msgspec.json.encode(content, order="deterministic")).hexdigest(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """All that one version of an extractor says of a study, or of one series of it.

    Attributes
    ----------
    extractor, version
        What extracted it.
    series_uid
        The only series that it speaks of; empty for the whole study.
    features
        What it says; what it has said before and not now is no longer so.
    """

    extractor: str
    version: str
    series_uid: str = ""
    features: tuple[Said, ...] = ()


def alg_system(algorithm: str, version: str) -> str:
    """The URI of an algorithm with its version, as alg_system of image_feature has it (``uri|version``); a name that is
    no URI becomes one."""
    if not algorithm:
        return ""
    uri = algorithm if _URI.fullmatch(algorithm) else f"hilum:algorithm/{quote(algorithm)}"
    return f"{uri}|{version}" if version else uri
