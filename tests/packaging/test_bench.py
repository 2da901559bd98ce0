"""The benchmark is worth reading only if its files are the same each time and its table says yes to no missed goal."""

from pathlib import Path

import pytest
from pydicom import dcmread

from bench import corpus
from bench.corpus import Corpus
from bench.table import Goal, Row, met, ratio, render

RATE = Row("rate", "import", "files/s", "higher", Goal("times better", 2))
DELAY = Row("delay", "first page", "ms", "lower", Goal("value", 10))
MEMORY = Row("full", "memory, full", "MB", "lower", Goal("times row", 1.25, "empty"))


def test_the_files_are_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[bytes]] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
        folder = corpus.ensure(Corpus("ct", studies=2, series=1, instances=2, edge=512))
        made.append([path.read_bytes() for path in sorted(folder.rglob("*.dcm"))])

    assert made[0] == made[1]
    assert len(set(made[0])) == 4
    assert all(520_000 < len(content) < 535_000 for content in made[0])


def test_a_file_has_121_elements_and_uids_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = corpus.ensure(Corpus("small", studies=2, series=2, instances=2, edge=64))
    headers = [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]

    assert {len(header) for header in headers} == {121}
    assert len({header.SOPInstanceUID for header in headers}) == 8
    assert len({header.SeriesInstanceUID for header in headers}) == 4
    assert len({header.StudyInstanceUID for header in headers}) == 2


@pytest.mark.parametrize(
    ("row", "ours", "theirs", "expected"),
    [
        (RATE, {"rate": [100.0, 220.0, 900.0]}, {"rate": [90.0, 110.0, 115.0]}, True),
        (RATE, {"rate": [100.0, 219.0, 900.0]}, {"rate": [90.0, 110.0, 115.0]}, False),
        (RATE, {"rate": [500.0]}, {}, None),
        (DELAY, {"delay": [9.0, 10.0, 30.0]}, {}, True),
        (DELAY, {"delay": [9.0, 10.1, 30.0]}, {}, False),
        (MEMORY, {"empty": [100.0], "full": [125.0]}, {}, True),
        (MEMORY, {"empty": [100.0], "full": [126.0]}, {}, False),
        (MEMORY, {"full": [126.0]}, {}, None),
        (Row("rate", "import", "files/s", "higher"), {"rate": [1.0]}, {"rate": [2.0]}, None),
    ],
)
def test_a_goal_is_met_by_the_median(
    row: Row, ours: dict[str, list[float]], theirs: dict[str, list[float]], expected: bool | None
) -> None:
    assert met(row, ours, theirs) is expected


def test_times_better_means_better_whichever_way_is_good() -> None:
    assert ratio(RATE, {"rate": [300.0]}, {"rate": [100.0]}) == 3
    assert ratio(DELAY, {"delay": [5.0]}, {"delay": [100.0]}) == 20


def test_the_table_has_a_line_for_each_measured_figure_alone() -> None:
    table = render([RATE, DELAY], {"rate": [100.0, 250.0, 300.0]}, {"rate": [100.0]})

    assert len(table.splitlines()) == 2
    assert "250 (100–300)" in table
    assert "2.5" in table
    assert "yes" in table
