"""What belongs to a data set, in words: a selection of studies, which of their series, around which day, and how it is
given out. A definition is plain data; its digest tells two of them apart."""

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from blake3 import blake3

from hilum.core.config import Settings
from hilum.core.errors import Invalid
from hilum.research.deid.profile import Profile, load_profile, profile_names

LayoutName: TypeAlias = Literal["chorus", "dicom", "nifti"]
LAYOUTS: Final[tuple[LayoutName, ...]] = ("chorus", "dicom", "nifti")
MAX_LISTED: Final = 100_000
_MAX_DAYS: Final = 40_000
MAX_BYTES: Final = 32 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}", re.ASCII)
_PROFILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the studies have in common; the words of the study list."""

    modality: list[str] = msgspec.field(default_factory=list[str])
    person_id: int | None = None
    patient_id: str | None = None
    body_part: str | None = None
    date_from: date | None = None
    date_to: date | None = None
    accession_number: str | None = None
    q: str | None = None


class SeriesRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which series of the studies belong; an empty rule lets all pass.

    Attributes
    ----------
    description, without
        Words of which the series' description holds one, and none.
    min_instances, max_instances
        How many instances the series has.
    max_slice_thickness
        In mm.
    """

    description: list[str] = msgspec.field(default_factory=list[str])
    without: list[str] = msgspec.field(default_factory=list[str])
    body_part: list[str] = msgspec.field(default_factory=list[str])
    min_instances: int | None = None
    max_instances: int | None = None
    max_slice_thickness: float | None = None


class PersonOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A person of the data set, with the day that the window is about."""

    person_id: int
    index_date: date | None = None


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days around a person's index date; without one, around their first study of the selection."""

    days_before: int
    days_after: int


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A data set.

    Attributes
    ----------
    studies
        UIDs; empty: whatever the filter and the persons select.
    modalities
        Of series; ``XR`` is CR or DX. Empty: all.
    xr
        Whether folders say XR for CR and DX; None: as the profile says.
    clinical
        Whether the persons' rows of the CDM go with the images (``OMOP/``).
    """

    name: str
    source: str = "default"
    description: str = ""
    studies: list[str] = msgspec.field(default_factory=list[str])
    filter: Filter | None = None
    persons: list[PersonOf] = msgspec.field(default_factory=list[PersonOf])
    modalities: list[str] = msgspec.field(default_factory=list[str])
    series: SeriesRules | None = None
    window: Window | None = None
    profile: str = "chorus"
    layout: LayoutName = "chorus"
    xr: bool | None = None
    clinical: bool = True
    licence: str = ""

    def as_json(self) -> dict[str, object]:
        """The definition as it is kept."""
        return msgspec.to_builtins(self)

    def digest(self) -> str:
        """Tells definitions apart, whatever they are called."""
        said = self.as_json() | {"name": "", "description": ""}
        return blake3(msgspec.json.encode(said, order="deterministic")).hexdigest()


def read_definition(given: object) -> Definition:
    """A definition from JSON.

    Raises
    ------
    Invalid
        It is none, or selects everything there is by saying nothing.
    """
    try:
        found = msgspec.convert(given, Definition)
    except msgspec.ValidationError as error:
        raise Invalid(f"The definition cannot be read: {error}.") from None
    if not _NAME.fullmatch(found.name):
        raise Invalid("The name of a data set is up to 80 letters, digits, blanks, - _ and . after a letter or digit.")
    if not (found.studies or found.persons or found.filter is not None):
        raise Invalid("Say which studies belong: list them, or give a filter (an empty one takes all) or persons.")
    if len(found.studies) > MAX_LISTED or len(found.persons) > MAX_LISTED:
        raise Invalid(f"A definition lists at most {MAX_LISTED} studies and persons: use a filter.")
    if len(found.licence) > 1 << 16 or len(found.description) > 1 << 16:
        raise Invalid("Licence and description have at most 65536 characters.")
    window = found.window
    if window is not None and not all(0 <= days < _MAX_DAYS for days in (window.days_before, window.days_after)):
        raise Invalid(f"A window counts days from 0 to {_MAX_DAYS - 1}.")
    return msgspec.structs.replace(
        found,
        studies=sorted(set(found.studies)),
        persons=sorted(set(found.persons), key=lambda one: (one.person_id, str(one.index_date))),
        modalities=sorted({modality.upper() for modality in found.modalities}),
    )


def read_definition_file(path: Path) -> Definition:
    """A definition from a file, ``.toml`` or ``.json``; raises ``Invalid``."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Invalid(f"{path.name} is too large to be a definition.")
        data = path.read_bytes()
        given: object = tomllib.loads(data.decode()) if path.suffix == ".toml" else msgspec.json.decode(data)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError):
        raise Invalid(f"{path} cannot be read as a definition, JSON or TOML.") from None
    return read_definition(given)


def profile_of(definition: Definition, settings: Settings) -> Profile:
    """The profile of a definition; raises ``Invalid`` where there is none of its name."""
    return profile_named(definition.profile, settings)


def profile_named(name: str, settings: Settings) -> Profile:
    """A profile by its name: one that ships, or a site's own in ``profiles/`` of the data folder.

    Raises
    ------
    Invalid
        There is none of this name.
    """
    if not _PROFILE.fullmatch(name):
        raise Invalid("A profile is named by letters, digits, - and _.")
    own = settings.data_path / "profiles" / f"{name}.toml"
    if name not in profile_names() and not own.is_file():
        there = ", ".join(profile_names())
        raise Invalid(f"There is no profile {name}: take one of {there}, or put {name}.toml into the data's profiles/.")
    return load_profile(name if name in profile_names() else str(own))
