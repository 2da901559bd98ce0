"""What is noted of a file, also of one that says nonsense; and the site's key."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hilum.core.errors import Conflict
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.contents import SetInstance
from hilum.research.datasets.facts import facts_of
from hilum.research.datasets.site_key import site_keys
from hilum.research.datasets.tables import Tables
from tests.make import ct


def test_facts_are_typed() -> None:
    facts = facts_of(ct(KVP="120"))
    assert facts["KVP"] == 120.0
    assert facts["PixelSpacing"] == [1.0, 1.0]
    assert facts["InstanceNumber"] == 1
    assert facts["TransferSyntaxUID"] == "1.2.840.10008.1.2.1"
    assert "EchoTime" not in facts


@pytest.mark.parametrize("value", ["1e999", "-1e300", "nan"])
def test_nonsense_is_no_fact(value: str) -> None:
    data = ct(SliceThickness="11111").replace(b"11111 ", value.encode().ljust(6)[:6])
    assert "SliceThickness" not in facts_of(data)


def test_texts_fit_a_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = ct(SeriesDescription="XXAYY").replace(b"XXAYY", b"X\0A\xff\xfe")
    facts = facts_of(data)
    text = json.dumps(facts)
    assert "\\u0000" not in text
    assert "\\ud" not in text
    folder = tmp_path_factory.mktemp("tables")
    one = SetInstance(1, "1", "2.1", "2.2", "2.3", "4", "", "", "CT", 1, "", "d", 1, 2, "k", facts, "p")
    with Tables(folder) as tables:
        tables.add(one)
    assert pq.read_table(folder / "instances.parquet").num_rows == 1


def test_the_key_file_is_one_for_all(archive: Archive, tmp_path: Path) -> None:
    first = site_keys(archive.database, archive.settings)
    path = archive.settings.data_path / "deid.key"
    assert path.stat().st_mode & 0o077 == 0
    assert site_keys(archive.database, archive.settings) == first
    other = tmp_path / "other.key"
    other.write_text("ab" * 32)
    with pytest.raises(Conflict, match="not the key file"):
        site_keys(archive.database, archive.settings.model_copy(update={"deid_key_file": other}))
    path.unlink()
    with pytest.raises(Conflict, match="is gone"):
        site_keys(archive.database, archive.settings)
    with pytest.raises(Conflict, match="HILUM_DEID_KEY_FILE"):
        site_keys(archive.database, archive.settings.model_copy(update={"blobs_url": "s3://bucket"}))
