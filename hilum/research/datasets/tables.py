"""The metadata tables of a version, as CSV and Parquet: a row for each study, series and instance, so that the data can
be queried without opening a DICOM file. What stands in them was read from the new files."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO, cast

import pyarrow
import pyarrow.parquet as parquet

from hilum.research.datasets.contents import SetInstance
from hilum.research.datasets.facts import FIELDS, Level, Type, Value

_AT_ONCE: Final = 5000
_ARROW: Final = cast("Any", pyarrow)  # it has no types of its own
_PARQUET: Final = cast("Any", parquet)
_TYPES: Final[Mapping[Type, object]] = {
    "text": _ARROW.string(), "integer": _ARROW.int64(), "number": _ARROW.float64(),
    "texts": _ARROW.list_(_ARROW.string()), "numbers": _ARROW.list_(_ARROW.float64()),
}  # fmt: skip
_KEYS: Final[Mapping[Level, tuple[str, ...]]] = {
    "study": ("StudyInstanceUID",), "series": ("StudyInstanceUID", "SeriesInstanceUID"),
    "instance": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}  # fmt: skip
_OWN: Final[Mapping[Level, Mapping[str, Type]]] = {
    "study": {
        "person_id": "text", "image_occurrence_id": "text", "procedure_occurrence_id": "text",
        "visit_occurrence_id": "text", "modalities": "texts", "num_series": "integer", "num_instances": "integer",
        "bytes": "integer",
    },
    "series": {"person_id": "text", "num_instances": "integer", "bytes": "integer"},
    "instance": {
        "person_id": "text", "path": "text", "size": "integer", "digest": "text", "datetime": "text",
        "TransferSyntaxUID": "text",
    },
}  # fmt: skip
NAMES: Final[Mapping[Level, str]] = {"study": "studies", "series": "series", "instance": "instances"}


def columns(level: Level) -> dict[str, Type]:
    """The columns of a table, in their order, each with its type."""
    found: dict[str, Type] = dict(_OWN[level])
    found.update((name, "text") for name in _KEYS[level])
    found.update((name, kind) for name, (of, kind) in FIELDS.items() if of == level)
    return found


class Tables:
    """Writes the three tables of instances that come in their order; a context manager.

    Parameters
    ----------
    folder
        Where the files are written: ``studies.csv``, ``studies.parquet`` and so on.
    """

    def __init__(self, folder: Path) -> None:
        self._stack: Final = ExitStack()
        self._tables: Final = {level: _Table(folder, level, self._stack) for level in NAMES}
        self._series: list[SetInstance] = []
        self._study: list[tuple[SetInstance, int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._end_series()
                self._end_study()
                for table in self._tables.values():
                    table.flush()

    def add(self, one: SetInstance) -> None:
        """Take the next instance."""
        if self._series and (self._series[0].study, self._series[0].series) != (one.study, one.series):
            self._end_series()
        if not self._series and self._study and self._study[0][0].study != one.study:
            self._end_study()
        self._series.append(one)
        own = {"path": one.target, "size": one.size, "digest": f"blake3:{one.digest}", "datetime": one.datetime}
        self._tables["instance"].add({**one.facts, "person_id": one.person_id, **own})

    def _end_series(self) -> None:
        if not self._series:
            return
        first = self._series[0]
        size = sum(one.size for one in self._series)
        own = {"person_id": first.person_id, "num_instances": len(self._series), "bytes": size}
        self._tables["series"].add({**first.facts, **own})
        self._study.append((first, len(self._series), size))
        self._series = []

    def _end_study(self) -> None:
        if not self._study:
            return
        first = self._study[0][0]
        self._tables["study"].add(
            {
                **first.facts, "person_id": first.person_id, "image_occurrence_id": first.accession,
                "procedure_occurrence_id": first.procedure_id or None, "visit_occurrence_id": first.visit_id or None,
                "modalities": sorted({one.modality for one, _, _ in self._study}), "num_series": len(self._study),
                "num_instances": sum(count for _, count, _ in self._study),
                "bytes": sum(size for _, _, size in self._study),
            }
        )  # fmt: skip
        self._study = []


class _Table:
    def __init__(self, folder: Path, level: Level, stack: ExitStack) -> None:
        self._types: Final = columns(level)
        path = folder / f"{NAMES[level]}.csv"
        self._file: Final[TextIO] = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        self._csv: Final = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow(self._types)
        self._schema: Final = _ARROW.schema([_ARROW.field(name, _TYPES[kind]) for name, kind in self._types.items()])
        self._parquet: Final = stack.enter_context(
            _PARQUET.ParquetWriter(path.with_suffix(".parquet"), self._schema, compression="zstd")
        )
        self._rows: list[dict[str, Any]] = []

    def add(self, row: Mapping[str, Value | Sequence[str]]) -> None:
        self._rows.append({name: row.get(name) for name in self._types})
        if len(self._rows) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        self._csv.writerows([_cells(row.values()) for row in self._rows])
        self._parquet.write_table(_ARROW.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def _cells(values: Iterable[object]) -> list[object]:
    found: list[object] = []
    for value in values:
        found.append("\\".join(map(str, cast("list[object]", value))) if isinstance(value, list) else value)
    return found
