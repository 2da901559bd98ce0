"""A hospital whose files are also read for features, and what stands in its CDM, asked in words of the tests' own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hilum.clinical.features import store
from hilum.clinical.features.extract import Choice
from hilum.clinical.features.said import Extraction, Said
from hilum.clinical.features.tasks import handle
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.events import read_events
from tests.clinical.cdm.conftest import Row, Site, cdm_database, make_site
from tests.make import uid

__all__ = ["cdm_database"]

TABLES = ("measurement", "observation", "image_feature")


@dataclass
class Hospital(Site):
    """A site that reads features."""

    extractors: tuple[str, ...] = ("acquisition", "dose", "structured_report")
    tags: tuple[str, ...] = ()
    read: int = 0

    def work(self) -> None:
        """As workers do: link, and read the files of revised studies, twice."""
        super().work()
        choice = Choice.of(Settings(feature_extractors=list(self.extractors), acquisition_tags=list(self.tags)))  # pyright: ignore
        with self.archive.database.connect() as connection:
            events = read_events(connection, "", after=self.read, types=["hilum.study.revised.v1"], limit=1000)
        for event in events:
            handle(self.archive, choice, event)
            handle(self.archive, choice, event)
            self.read = int(str(event["sequence"]))

    def said(
        self, version: str = "1", *features: Said, study: int = 1, extractor: str = "test", series: str = ""
    ) -> Any:
        """Write an extraction."""
        extraction = Extraction(extractor=extractor, version=version, features=features, series_uid=series)
        with self.archive.database.transaction() as sql:
            return store.write_extraction(sql, store.lock_study(sql, self.study(study)), extraction)

    def features(self, *columns: str, where: str = "not superseded") -> list[tuple[Any, ...]]:
        """The store, by study and key."""
        rows = self.rows(f"select {', '.join(columns)} from hilum.feature where {where} order by study_id, key")
        return [tuple(row.values()) for row in rows]

    def table(self, table: str) -> list[Row]:
        """A table of the CDM in which features are, with what tells one version of a row from another."""
        schema = (
            self.cdm.schemas.cdm if not self.cdm.attached and table != "image_feature" else self.cdm.schemas.imaging
        )
        return self.rows(f"select xmin::text as row_version, ctid::text as place, * from {schema}.{table} order by 3")

    def cdm_rows(self) -> dict[str, list[Row]]:
        """All rows that features are, with their versions."""
        return {table: self.table(table) for table in TABLES}

    def counts(self) -> tuple[int, int, int]:
        """How many measurements, observations and features the CDM has."""
        numbers = [len(rows) for rows in self.cdm_rows().values()]
        return numbers[0], numbers[1], numbers[2]

    def feature_events(self) -> list[Row]:
        with self.archive.database.connect() as connection:
            events = read_events(connection, "", types=[store.CHANGED], limit=1000)
        return [event["data"] for event in events]  # pyright: ignore


def number(key: str, value: float, **content: Any) -> Said:
    """A measured feature."""
    given = {"feature_type": "radiomic", "feature_name": "Volume", "unit": "mm", **content}
    return Said(key=key, value_numeric=value, **given)


def word(key: str, value: str, **content: Any) -> Said:
    """A feature in words."""
    given = {"feature_type": "nlp_finding", "feature_name": "Effusion", **content}
    return Said(key=key, value_string=value, **given)


@pytest.fixture
def site(cdm_database: Database, tmp_path: Path) -> Hospital:
    """An archive with an empty CDM of Hilum's own."""
    made = make_site(cdm_database, tmp_path)
    return Hospital(made.archive, made.cdm)


__all__ += ["Hospital", "number", "uid", "word"]
