"""Whatever bytes come: a reader gives a data set or a sentence, and what it gives can be kept, sent and read again."""

import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hilum.core.errors import HilumError
from hilum.imaging.dicom.dicom_xml import model_xml
from hilum.imaging.worklist.dataset import DataSet, check_data_set, read_json
from hilum.imaging.worklist.payload import read_xml
from hilum.imaging.worklist.search import parse_filter, parse_search
from tests.worklist.conftest import workitem

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = json.dumps(workitem()).encode()
XML = model_xml(check_data_set(workitem()))
TAGS = st.sampled_from(["00100010", "00404018", "00741004", "00404005", "00091001", "00420011", "00280010", "0"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TAGS | st.sampled_from(["vr", "Value", "InlineBinary", "Alphabetic"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ELEMENTS = st.fixed_dictionaries(
    {"vr": st.sampled_from(["PN", "SQ", "DS", "DT", "LO", "OB", "US", "UI", "??"])},
    optional={"Value": st.lists(VALUES, max_size=3), "InlineBinary": st.text(max_size=8)},
)


def stays(data: DataSet) -> None:
    """Reading again what was read changes nothing."""
    assert read_json(json.dumps(data).encode()) == data
    model_xml(data)


@PATIENT
@given(st.dictionaries(TAGS, ELEMENTS | VALUES, max_size=4))
def test_x03_any_json_is_read_or_refused(data: dict[str, object]) -> None:
    try:
        found = check_data_set(data)
    except HilumError:
        return
    stays(found)


@PATIENT
@given(st.sampled_from([JSON, XML]), st.integers(0, len(XML)), st.integers(0, 40), st.binary(max_size=8))
@example(b"", 0, 0, b"")
def test_x03_damaged_bodies_are_read_or_refused(body: bytes, place: int, cut: int, put: bytes) -> None:
    place %= len(body) + 1
    damaged = body[:place] + put + body[place + cut :]
    for read in (read_json, read_xml):
        try:
            found = read(damaged)
        except HilumError:
            continue
        stays(found)


NAMES = st.sampled_from(["PatientName", "00404005", "filter", "limit", "offset", "includefield", "00404018.00080100"])


@PATIENT
@given(
    st.lists(
        st.tuples(NAMES | st.text(max_size=12), st.text(alphabet="0123456789*?-+.,\\=: A", max_size=24)), max_size=4
    )
)
def test_x03_any_query_is_understood_or_refused(parameters: list[tuple[str, str]]) -> None:
    for parse in (parse_search, parse_filter):
        try:
            parse(parameters)
        except HilumError:
            continue
