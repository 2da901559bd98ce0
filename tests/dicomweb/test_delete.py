"""DELETE over DICOMweb at every level. The ids are those of the DICOMweb checklist in the project's design."""

import httpx
import pytest

from tests.dicomweb.conftest import Web
from tests.make import ct, uid

STUDY = f"/studies/{uid(1)}"
SERIES = f"{STUDY}/series/{uid(1, 1)}"
INSTANCE = f"{SERIES}/instances/{uid(1, 1, 1)}"
OTHERS = (f"{STUDY}/series/{uid(1, 2)}", f"/studies/{uid(2)}")
API = "/api/v1/imaging"


@pytest.fixture
def full(web: Web) -> Web:
    """Two studies; the first has two series of two instances."""
    web.keep(*(ct(1, series, n) for series in (1, 2) for n in (1, 2)), ct(2))
    return web


def delete(web: Web, path: str) -> httpx.Response:
    return httpx.delete(web.root + path)


def api(web: Web, method: str, path: str) -> httpx.Response:
    return httpx.request(method, web.root.removesuffix("/dicom-web") + API + path)


def found(web: Web, path: str) -> list[str]:
    answer = web.get(path)
    assert answer.status_code == 200
    return [one["00080018" if "instances" in path else "0020000E"]["Value"][0] for one in answer.json()]


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        (STUDY, [STUDY, f"{STUDY}/series", f"{STUDY}/instances", f"{STUDY}/metadata", SERIES, INSTANCE]),
        (SERIES, [SERIES, f"{SERIES}/instances", f"{SERIES}/metadata", INSTANCE, f"{INSTANCE}/frames/1"]),
        (INSTANCE, [INSTANCE, f"{INSTANCE}/metadata", f"{INSTANCE}/frames/1", f"{INSTANCE}/bulkdata/7FE00010"]),
    ],
)
def test_x04_x05_what_is_deleted_is_410_below_and_nothing_else_is_touched(
    full: Web, path: str, gone: list[str]
) -> None:
    answer = delete(full, path)
    assert (answer.status_code, answer.content) == (204, b"")
    for below in gone:
        assert full.get(below).status_code == 410, below
    assert delete(full, path).status_code == 410
    kept = OTHERS if path != STUDY else OTHERS[1:]
    for other in kept:
        assert full.get(other).status_code == 200
        assert full.get(f"{other}/metadata").status_code == 200


def test_x04_searches_counts_and_etags_follow_a_deleted_instance(full: Web) -> None:
    before = {path: full.get(f"{path}/metadata").headers["etag"] for path in (STUDY, SERIES)}
    assert delete(full, INSTANCE).status_code == 204
    for path, etag in before.items():
        answer = full.get(f"{path}/metadata", If_None_Match=etag)
        assert (answer.status_code, answer.headers["etag"] != etag) == (200, True)
        assert uid(1, 1, 1) not in [one["00080018"]["Value"][0] for one in answer.json()]
    (study,) = full.get("/studies?StudyInstanceUID=" + uid(1)).json()
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([2], [3])
    series = {one["0020000E"]["Value"][0]: one["00201209"]["Value"][0] for one in full.get(f"{STUDY}/series").json()}
    assert series == {uid(1, 1): 1, uid(1, 2): 2}
    assert found(full, f"{SERIES}/instances") == [uid(1, 1, 2)]
    assert uid(1, 1, 1) not in found(full, "/instances")
    assert full.get(f"{SERIES}/instances?InstanceNumber=99").json() == []


def test_x05_what_is_not_there_is_404_and_what_is_no_uid_400(full: Web) -> None:
    for path in (f"/studies/{uid(9)}", f"{STUDY}/series/{uid(9)}", f"{SERIES}/instances/{uid(1, 2, 1)}"):
        assert delete(full, path).status_code == 404, path
    assert delete(full, "/studies/not-a-uid").status_code == 400
    assert len(found(full, f"{STUDY}/instances")) == 4


@pytest.mark.parametrize("path", ["/studies", "/instances", f"{STUDY}/metadata", f"{INSTANCE}/frames/1"])
def test_s20_x05_where_nothing_can_be_deleted_is_405_with_allow(full: Web, path: str) -> None:
    answer = delete(full, path)
    assert answer.status_code == 405
    assert "DELETE" not in answer.headers["allow"]
    assert "DELETE" in httpx.put(full.root + SERIES).headers["allow"]


def test_with_its_last_series_the_study_goes(full: Web) -> None:
    assert [delete(full, SERIES).status_code, delete(full, f"{STUDY}/series/{uid(1, 2)}").status_code] == [204, 204]
    assert full.get(STUDY).status_code == 410
    assert len(full.get("/studies").json()) == 1


def test_the_api_undoes_deletions_and_tells_of_them(full: Web) -> None:
    delete(full, SERIES)
    delete(full, f"{STUDY}/series/{uid(1, 2)}/instances/{uid(1, 2, 1)}")
    listed = api(full, "GET", "/deletions").json()
    assert listed["total"] == 2
    assert [(one["series_instance_uid"], one["sop_instance_uid"]) for one in listed["items"]] == [
        (uid(1, 2), uid(1, 2, 1)), (uid(1, 1), None),
    ]  # fmt: skip
    assert api(full, "POST", f"/studies/{uid(1)}/series/{uid(1, 1)}/restore").json()["num_instances"] == 3
    assert api(full, "POST", f"/studies/{uid(1)}/instances/{uid(1, 2, 1)}/restore").json()["num_instances"] == 4
    assert len(found(full, f"{STUDY}/instances")) == 4
    assert full.get(INSTANCE, "application/dicom").content == ct(1, 1, 1)
    assert all(one["restored_at"] for one in api(full, "GET", "/deletions").json()["items"])


def test_the_api_deletes_series_and_instances_too(full: Web) -> None:
    assert api(full, "DELETE", f"/studies/{uid(1)}/series/{uid(1, 1)}").status_code == 204
    assert api(full, "DELETE", f"/studies/{uid(1)}/instances/{uid(1, 2, 1)}").status_code == 204
    assert api(full, "DELETE", f"/studies/{uid(1)}/series/{uid(1, 1)}").status_code == 410
    assert api(full, "DELETE", f"/studies/{uid(1)}/instances/{uid(9)}").status_code == 404
    assert found(full, f"{STUDY}/instances") == [uid(1, 2, 2)]


def test_what_was_deleted_may_be_stored_again(full: Web) -> None:
    delete(full, INSTANCE)
    assert full.stow(ct(1, 1, 1)).status_code == 200
    assert full.get(INSTANCE).status_code == 200
