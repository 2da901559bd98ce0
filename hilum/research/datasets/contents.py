"""The instances of a version that are made, in their order (person, study, series, number), as its tables, layouts and
checks see them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, LiteralString, cast

from hilum.core.database import Database
from hilum.research.datasets.facts import Value
from hilum.research.deid.layout import Layout

_PAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class SetInstance:
    """An instance of a version; everything in it is of the new file.

    Attributes
    ----------
    target
        Its path in the layout; empty before it has one.
    """

    id: int
    person_id: str
    study: str
    series: str
    sop: str
    accession: str
    procedure_id: str
    visit_id: str
    modality: str
    number: int
    datetime: str
    digest: str
    size: int
    crc32: int
    blob_key: str
    facts: Mapping[str, Value]
    target: str = ""

    @property
    def path(self) -> str:
        """What the surrogate of its source file is made of."""
        return self.sop


def instances_of(database: Database, version_id: int) -> Iterator[SetInstance]:
    """The instances of a version that are made, a page at a time."""
    after: tuple[object, ...] = ("", "", "", -1, "", -1)
    while True:
        with database.transaction() as sql:
            rows = sql.rows(_NEXT, (version_id, *after, _PAGE))
        for row in rows:
            facts = cast("dict[str, Value]", row.pop("facts"))
            number, modality = facts.get("InstanceNumber"), facts.get("Modality")
            yield SetInstance(
                **{name: row[name] for name in row if name not in ("number", "modality")},  # pyright: ignore[reportArgumentType]
                number=max(0, number) if isinstance(number, int) else cast("int", row["number"]),
                modality=modality.upper() if isinstance(modality, str) else str(row["modality"]),
                facts=facts,
            )
        if len(rows) < _PAGE:
            return
        last = rows[-1]
        after = tuple(last[name] for name in ("person_id", "study", "series", "number", "sop", "id"))


def placed(instances: Iterator[SetInstance], layout: Layout) -> Iterator[SetInstance]:
    """Instances, each with its place in the CHoRUS layout."""
    taken: set[str] = set()
    person = ""
    for one in instances:
        if one.person_id != person:
            taken.clear()
            person = one.person_id
        target = next(path for path in layout.targets(one) if path not in taken)
        taken.add(target)
        yield replace(one, target=target)


_NEXT: Final[LiteralString] = """
  select id, person as person_id, study, series, sop, accession, procedure_id, visit_id, modality, number, datetime,
    digest, size, crc32, blob_key, facts
  from hilum.dataset_instance
  where version_id = %s and state = 'done' and (person, study, series, number, sop, id) > (%s, %s, %s, %s, %s, %s)
  order by person, study, series, number, sop, id limit %s
"""
