"""`image_registry.csv`: a row for each file that is out, in the columns of the CHoRUS Imaging SOP. The source file is
given by a surrogate; its real path is in the crosswalk alone."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from hilum.clinical.chorus import write_csv
from hilum.core.errors import Conflict
from hilum.research.deid.keys import Keys

FIRST_PROCEDURE: Final = 2_000_000_000
LAST_PROCEDURE: Final = 2_000_999_999
"""The range from which CHoRUS has sites take ids of imaging procedures that are in no record."""


class Registered(Protocol):
    """What the registry says of a file."""

    @property
    def person_id(self) -> str: ...
    @property
    def study(self) -> str: ...
    @property
    def sop(self) -> str: ...
    @property
    def procedure_id(self) -> str: ...
    @property
    def visit_id(self) -> str: ...
    @property
    def datetime(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def target(self) -> str | None: ...


def write_registry(path: Path, files: Iterable[Registered], keys: Keys) -> int:
    """Write the registry of files, given in the order of person, study, series and number; how many rows it has.

    Raises
    ------
    Conflict
        When there are more studies without a procedure than the range of ids holds.
    """
    return write_csv(path, _rows(files, keys))


def _rows(files: Iterable[Registered], keys: Keys) -> Iterator[tuple[object, ...]]:
    procedures: dict[str, int] = {}
    groups: dict[str, dict[str, int]] = {}
    for count, one in enumerate(files, 1):
        studies = groups.setdefault(one.person_id, {})
        group = studies.setdefault(one.study, len(studies) + 1)
        procedure = one.procedure_id or procedures.setdefault(one.study, FIRST_PROCEDURE + len(procedures))
        if FIRST_PROCEDURE + len(procedures) - 1 > LAST_PROCEDURE:
            raise Conflict(
                "More than a million studies have no procedure_occurrence_id: add that column to image_map.csv."
            )
        surrogate = keys.pseudonym("source", one.path, 16)
        yield count, one.sop, procedure, one.person_id, group, one.visit_id, one.datetime, surrogate, one.target
