"""What a study consists of at a moment: its series and instances with their digests, how that is kept small, and what
differs between two of them. Pure but for reading the catalogue's rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, LiteralString, NamedTuple, TypeAlias, cast

import msgspec
from isal import isal_zlib

from hilum.core.database import Transaction

_compress = cast("Callable[[bytes, int], bytes]", isal_zlib.compress)  # pyright: ignore[reportUnknownMemberType]
_decompress = cast("Callable[[bytes], bytes]", isal_zlib.decompress)  # pyright: ignore[reportUnknownMemberType]
_LEVEL: Final = 1


class ManifestInstance(NamedTuple):
    """A SOP instance; ``digest`` is ``blake3:<hex>`` of its bytes, ``size`` how many they are."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    num_frames: int
    digest: str
    size: int


class ManifestSeries(NamedTuple):
    """A series and its instances, in the order of their numbers."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    instances: tuple[ManifestInstance, ...]


Manifest: TypeAlias = tuple[ManifestSeries, ...]

_decoder: Final = msgspec.json.Decoder(Manifest)


@dataclass(frozen=True, slots=True)
class SeriesChanges:
    """How many instances of a series differ."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    added: int
    removed: int
    replaced: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from the manifest before: members are ``<Series Instance UID>/<SOP Instance UID>``."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.replaced)

    def __len__(self) -> int:
        return len(self.added) + len(self.removed) + len(self.replaced)


def read_manifest(sql: Transaction, study_id: int) -> Manifest:
    """Read what a study consists of now; one statement, and so one moment."""
    with sql.driver.cursor() as cursor:
        cursor.execute(_ROWS, (study_id,))
        rows = cast("list[tuple[str, str, int | None, str, str, str, int | None, int, str, int]]", cursor.fetchall())
    return tuple(
        ManifestSeries(*series, tuple(ManifestInstance(*row[3:8], f"blake3:{row[8]}", row[9]) for row in members))
        for series, members in groupby(rows, key=lambda row: row[:3])
    )


def pack(manifest: Manifest) -> bytes:
    """Make a manifest small: about 60 bytes an instance, half of them its digest."""
    return _compress(msgspec.json.encode(manifest), _LEVEL)


def unpack(packed: bytes) -> Manifest:
    """Give a manifest back."""
    return _decoder.decode(_decompress(packed))


def compare(before: Manifest, now: Manifest) -> Changes:
    """Tell what was added, removed and replaced."""
    old, new = dict(_members(before)), dict(_members(now))
    return Changes(
        tuple(key for key in new if key not in old),
        tuple(key for key in old if key not in new),
        tuple(key for key, digest in new.items() if old.get(key, digest) != digest),
    )


def compare_series(before: Manifest, now: Manifest) -> list[SeriesChanges]:
    """Tell of each series how many instances were added, removed and replaced; unchanged ones are left out."""
    old, new = ({series.series_instance_uid: series for series in each} for each in (before, now))
    found: list[SeriesChanges] = []
    for uid, series in (old | new).items():
        changes = compare(*((each[uid],) if uid in each else () for each in (old, new)))
        if changes:
            numbers = len(changes.added), len(changes.removed), len(changes.replaced)
            found.append(SeriesChanges(uid, series.modality, series.series_number, *numbers))
    return found


def _members(manifest: Manifest) -> Iterator[tuple[str, str]]:
    for series in manifest:
        for instance in series.instances:
            yield f"{series.series_instance_uid}/{instance.sop_instance_uid}", instance.digest


def series_document(series: ManifestSeries, *, whole: bool = True) -> dict[str, object]:
    """A series as a JSON object; unless ``whole``, with the number of its instances alone."""
    document: dict[str, object] = {
        "series_instance_uid": series.series_instance_uid,
        "modality": series.modality,
        "series_number": series.series_number,
        "num_instances": len(series.instances),
    }
    if whole:
        document["instances"] = [instance._asdict() for instance in series.instances]
    return document


def changes_document(changes: Changes) -> Mapping[str, Sequence[str]]:
    """Changes as a JSON object."""
    return {"added": changes.added, "removed": changes.removed, "replaced": changes.replaced}


_ROWS: Final[LiteralString] = """
  select se.series_instance_uid, se.modality, se.series_number, i.sop_instance_uid, i.sop_class_uid,
    i.transfer_syntax_uid, i.instance_number, i.num_frames, i.digest, i.size
  from hilum.instance i join hilum.series se on se.id = i.series_id
  where i.study_id = %s and i.deleted_at is null
  order by se.series_number nulls last, se.id, i.instance_number nulls last, i.sop_instance_uid collate "C"
"""
