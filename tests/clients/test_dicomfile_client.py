"""dicomweb-client's `DICOMfileClient`, which searches a folder of files by itself, as an oracle: what it finds in a
folder, and what it says of it, the server must find and say after it has imported the same folder."""

from collections.abc import Callable

import pytest
from dicomweb_client.api import DICOMfileClient, DICOMwebClient

from tests.conftest import Server
from tests.dicom.files import wheel_file
from tests.make import ct, uid

FILES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "test-SR.dcm", "SC_rgb_rle_2frame.dcm", "chrX1.dcm")
UIDS = ("00080018", "0020000E", "0020000D")
# Of addresses, character set and availability each speaks for itself; Number of Frames is told here from two frames on,
# and how samples are written is beyond PS3.18 table 10.6.3-5.
OWN = frozenset(
    ("00081190", "00080005", "00080056", "00280008", "00280002", "00280004", "00280101", "00280102", "00280103")
)

Found = list[dict[str, dict[str, object]]]


@pytest.fixture(scope="module")
def both(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[DICOMwebClient, DICOMfileClient]:
    """Clients of the server and of the folder that it has imported."""
    folder = tmp_path_factory.mktemp("oracle")
    for number, name in enumerate(FILES):
        (folder / f"{number}.dcm").write_bytes(wheel_file(name).read_bytes())
    for study in (1, 2, 3):
        for series in (1, 2):
            for instance in (1, 2):
                attributes = {"Modality": "MR"} if study == 2 else {}
                data = ct(study, series, instance, StudyDate=f"2024010{study}", StudyTime=f"0{study}0000", **attributes)
                (folder / f"{study}-{series}-{instance}.dcm").write_bytes(data)
    server.hilum("import", str(folder))
    return DICOMwebClient(f"{server.url}/dicom-web"), DICOMfileClient(f"file://{folder}", in_memory=True)


def values(element: dict[str, object]) -> list[object]:
    """The values of an attribute without padding; empty ones, and names without any component, left out."""
    found = element.get("Value", [])
    assert isinstance(found, list)
    return [value for value in map(_trimmed, found) if value]


def _trimmed(value: object) -> object:
    if isinstance(value, dict):
        return {group: text for group, name in value.items() if (text := str(name).rstrip("^ "))}
    return value.rstrip() if isinstance(value, str) else value


def by_uid(found: Found) -> dict[object, dict[str, list[object]]]:
    """What is said of each match, by the UID of its lowest level."""
    said = [{tag: kept for tag, element in one.items() if (kept := values(element))} for one in found]
    return {next(one[tag][0] for tag in UIDS if tag in one): one for one in said}


def same(ours: Found, theirs: Found) -> None:
    """Whether the same is found, and all that the oracle says of it is said alike."""
    mine, other = by_uid(ours), by_uid(theirs)
    assert mine.keys() == other.keys()
    for uid_, said in other.items():
        assert {tag: mine[uid_].get(tag) for tag in said if tag not in OWN} == {
            tag: value for tag, value in said.items() if tag not in OWN
        }


Search = Callable[[DICOMwebClient | DICOMfileClient], Found]
SEARCHES: dict[str, Search] = {
    "all studies": lambda client: client.search_for_studies(),
    "by PatientID": lambda client: client.search_for_studies(search_filters={"PatientID": "P2"}),
    "by wildcard": lambda client: client.search_for_studies(search_filters={"PatientID": "P*"}),
    "by date": lambda client: client.search_for_studies(search_filters={"StudyDate": "20240102"}),
    "by StudyInstanceUID": lambda client: client.search_for_studies(search_filters={"StudyInstanceUID": uid(3)}),
    "nothing": lambda client: client.search_for_studies(search_filters={"PatientID": "nobody"}),
    "all series": lambda client: client.search_for_series(),
    "series by Modality": lambda client: client.search_for_series(search_filters={"Modality": "MR"}),
    "series of a study": lambda client: client.search_for_series(uid(1)),
    "series by number": lambda client: client.search_for_series(uid(1), search_filters={"SeriesNumber": 2}),
    "all instances": lambda client: client.search_for_instances(),
    "instances of a study": lambda client: client.search_for_instances(uid(2)),
    "instances of a series": lambda client: client.search_for_instances(uid(2), uid(2, 2)),
    "an instance": lambda client: client.search_for_instances(uid(2), search_filters={"SOPInstanceUID": uid(2, 1, 2)}),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES.keys())
def test_the_server_finds_and_says_what_the_folder_does(
    both: tuple[DICOMwebClient, DICOMfileClient], search: Search
) -> None:
    ours, theirs = both
    same(search(ours), search(theirs))
