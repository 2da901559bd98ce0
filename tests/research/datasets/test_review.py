"""A person looks at the pixels of a version, decides, and the next version is made so; who looks at what identifies
somebody needs the role for it, and is noted."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.store import Archive
from hilum.imaging.studies.revisions import complete
from hilum.research.deid.pixel_text.detector import missing
from tests.conftest import Server, fresh_database, serving
from tests.make import ct
from tests.research.deid.burned import BASELINE, CR, NAME, SC, US_MULTI, dataset, jpeg, packed, sector, stored, written

pytestmark = pytest.mark.skipif(bool(missing()), reason="the extra pixels is not installed")

API = "/api/v1/imaging"
REVIEW = "/datasets/look/versions/1/review"
SECRETS = ("MRN00481516", "Featherstonehaugh", "1.2.826.0.1.3680043.9.7777", "ACC0028844")


def images() -> dict[str, bytes]:
    """One of each kind: with a line of text, a page full of it, none, several frames of JPEG, two nobody looks at."""
    rng = np.random.default_rng(1)
    fan = sector(rng, 300, 400)
    marked = np.repeat(sector(rng, 300, 400)[np.newaxis], 1, axis=0)
    marked[0][written((300, 400), [(4, 10, NAME)], 15)] = 255
    page = np.zeros((400, 500), np.uint8)
    page[written(page.shape, [(34 * row, 2, "Featherstonehaugh Alistair") for row in range(12)], 34)] = 255
    cine = np.stack([sector(rng, 240, 320) for _ in range(3)])
    cine[:, written((240, 320), [(4, 8, "Featherstonehaugh")], 15)] = 255
    found = {
        "text": (CR, "CR", marked, "MONOCHROME2"), "page": (SC, "OT", page[np.newaxis], "MONOCHROME2"),
        "clean": (CR, "CR", fan[np.newaxis], "MONOCHROME2"), "cine": (US_MULTI, "US", cine, "MONOCHROME2"),
    }  # fmt: skip
    files: dict[str, bytes] = {}
    for number, (name, (sop, modality, pixels, photometric)) in enumerate(found.items(), 1):
        ds = dataset(number, sop, modality, pixels, photometric)
        ds.SeriesInstanceUID += f".{number}"
        ds.SeriesNumber = number
        ds.WindowCenter, ds.WindowWidth = "128", "256"  # else the brightest pixel would say how it is shown
        files[name] = packed(ds, [jpeg(one) for one in pixels], BASELINE) if name == "cine" else stored(ds, pixels)
    return files | {f"ct {number}": ct(7, 1, number) for number in (1, 2)}


@pytest.fixture(scope="module")
def server(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over these images, which believes this machine's proxy who asks."""
    data = tmp_path_factory.mktemp("review") / "data"
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=4)
        archive = Archive(database, LocalBlobs(data / "objects", 0), Settings(data=data, min_free_bytes=0))
        with archive.batch(archive.source(), "import") as batch:
            for name, file in images().items():
                batch.add(name, [file])
            assert {outcome.state for outcome in batch.commit().outcomes} == {"added"}
        with database.transaction() as sql:
            for row in sql.rows("select id from hilum.study"):
                complete(sql, row["id"])
        database.close()
        with serving(data, url, trusted_proxies="127.0.0.1") as running:
            body = {"name": "look", "filter": {}, "profile": "research", "clinical": False}
            assert httpx.post(f"{running.url}{API}/datasets", json=body).status_code == 201
            make(running)
            yield running


def make(server: Server, **how: object) -> dict[str, object]:
    """A version more; as the API has it."""
    job = server.job(httpx.post(f"{server.url}{API}/datasets/look/versions", json=how, timeout=60))
    assert job["state"] == "succeeded", job
    return server.get(f"{API}/datasets/look/versions").json()["items"][0]


def listed(server: Server, show: str, review: str = REVIEW) -> list[dict[str, object]]:
    return server.get(API + review, params={"show": show, "limit": 500}).json()["items"]


def the(server: Server, name: str) -> dict[str, object]:
    """An image of the first version by its name here."""
    uid = pydicom.dcmread(io.BytesIO(images()[name]), stop_before_pixels=True).SOPInstanceUID
    found = server.get(f"{API}/crosswalk", params={"old": uid}).json()["items"]
    if found:
        return server.get(f"{API}{REVIEW}/{found[0]['sop']}").json()
    (held,) = listed(server, "unsure")
    return held


def picture(server: Server, path: str, **query: object) -> NDArray[np.uint8]:
    answer = server.get(API + path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, no-store" or "/frames/" in path
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


def within(boxes: list[dict[str, int]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside = np.zeros(shape[:2], bool)
    for box in boxes:
        inside[box["row"] : box["row"] + box["rows"], box["column"] : box["column"] + box["columns"]] = True
    return inside


def decide(server: Server, instance: object, review: str = REVIEW, **given: object) -> httpx.Response:
    return httpx.post(f"{server.url}{API}{review}/{instance}", json=given, timeout=60)


def test_what_waits_and_what_was_blackened_is_listed_by_new_ids_alone(server: Server) -> None:
    (unsure,) = listed(server, "unsure")
    assert (unsure["state"], unsure["code"], unsure["modality"]) == ("held", "pixels_unsure", "OT")
    assert "more than half" in str(unsure["reason"])
    assert (unsure["rows"], unsure["columns"], unsure["frames"]) == (400, 500, 1)
    assert len(unsure["boxes"]) > 5  # pyright: ignore
    black = listed(server, "blackened")
    assert sorted(str(one["modality"]) for one in black) == ["CR", "US"]
    assert all(one["boxes"] and one["state"] == "done" and not one["decided"] for one in black)
    assert [one["modality"] for one in listed(server, "clean")] == ["CR"]
    assert listed(server, "held") == [unsure]
    assert not listed(server, "decided")
    one = server.get(f"{API}{REVIEW}", params={"show": "blackened", "limit": 1, "offset": 1}).json()
    assert (one["total"], one["items"]) == (2, black[1:])
    text = json.dumps([unsure, *black, *listed(server, "clean")])
    assert not [secret for secret in SECRETS if secret in text]
    assert server.get(f"{API}{REVIEW}/{unsure['id']}").json() == unsure
    assert server.get(f"{API}{REVIEW}/1.2.3").status_code == 404
    assert server.get(f"{API}{REVIEW}", params={"show": "all"}).status_code == 422


def test_pictures_before_and_after(server: Server) -> None:
    for name, frame in (("text", 1), ("cine", 3)):
        one = the(server, name)
        before, after = (
            picture(server, f"{REVIEW}/{one['id']}/{side}.png", frame=frame) for side in ("before", "after")
        )
        inside = within(one["boxes"], before.shape)  # pyright: ignore
        assert before[inside].max() > 200
        assert after[inside].max() == 0
        if name == "text":  # JPEG changes whole blocks
            assert np.array_equal(before[~inside], after[~inside])
        ds = pydicom.dcmread(io.BytesIO(images()[name]), stop_before_pixels=True)
        shown = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/frames/{frame}"
        assert np.array_equal(before, picture(server, shown))
        assert server.get(f"{API}{REVIEW}/{one['id']}/before.png", params={"frame": 9}).status_code == 404
        assert server.get(f"{API}{REVIEW}/{one['id']}/after.png", params={"frame": 9}).status_code == 422


def test_decisions_are_seen_at_once_and_hold_for_the_next_version(server: Server, tmp_path: Path) -> None:
    page, text, clean, slices = (the(server, name) for name in ("page", "text", "clean", "ct 1"))
    first = server.get(f"{API}/datasets/look/versions/1/manifest")
    # Held back, it is shown as it would leave if accepted.
    shown = picture(server, f"{REVIEW}/{page['id']}/after.png")
    assert shown[within(page["boxes"], shown.shape)].max() == 0  # pyright: ignore
    drawn = {"row": 200, "column": 100, "rows": 30, "columns": 40, "frame": None}
    for one, given in (
        (page, {"decision": "accept"}), (text, {"decision": "only"}),
        (clean, {"decision": "boxes", "boxes": [drawn]}), (slices, {"decision": "exclude"}),
    ):  # fmt: skip
        answer = decide(server, one["sop"], **given)
        assert answer.status_code == 200, answer.text
        assert answer.json()["decided"] | {"decided_at": None} == {
            "decision": given["decision"], "boxes": given.get("boxes", []), "who": "local user", "decided_at": None,
        }  # fmt: skip
        assert answer.json()["made_with"] is None
    assert decide(server, clean["id"], decision="exclude").status_code == 200
    undone = httpx.delete(f"{server.url}{API}{REVIEW}/{clean['id']}", timeout=60)
    assert undone.json()["decided"] is None
    assert httpx.delete(f"{server.url}{API}{REVIEW}/{clean['id']}", timeout=60).status_code == 404
    decide(server, clean["id"], decision="boxes", boxes=[drawn])
    sides = [picture(server, f"{REVIEW}/{clean['id']}/{side}.png") for side in ("before", "after")]
    inside = within([drawn], sides[0].shape)  # pyright: ignore
    assert sides[1][inside].max() == 0
    assert np.array_equal(sides[0][~inside], sides[1][~inside])
    sides = [picture(server, f"{REVIEW}/{text['id']}/{side}.png") for side in ("before", "after")]
    assert np.array_equal(*sides)
    assert server.get(f"{API}{REVIEW}/{slices['id']}/after.png").status_code == 404

    second = make(server)
    assert second["state"] == "published"
    review = f"/datasets/look/versions/{second['version']}/review"
    assert [one["code"] for one in listed(server, "held", review)] == ["excluded"]
    assert sorted(str(one["modality"]) for one in listed(server, "blackened", review)) == ["CR", "OT", "US"]
    made = {one["sop"]: one["made_with"] for one in listed(server, "decided", review)}
    assert made[clean["sop"]] == {"decision": "boxes", "boxes": [drawn]}
    assert made[page["sop"]] == {"decision": "accept", "boxes": []}
    manifest = server.get(f"{API}/datasets/look/versions/{second['version']}/manifest").json()
    assert manifest["decisions"]["count"] == 4
    assert len(manifest["decisions"]["digest"]) == 32
    assert first.json()["decisions"] == {"count": 0, "digest": ""}
    # What was made is what was shown, and the file says that its pixels were cleaned.
    out = tmp_path / "out"
    server.hilum("export", "look", str(out), "--version", str(second["version"]))
    files = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, out.rglob("*.dcm"))}
    assert slices["sop"] not in files
    assert files[page["sop"]].BurnedInAnnotation == "NO"
    pixels = files[clean["sop"]].pixel_array
    assert pixels[inside].max() == 0
    original = pydicom.dcmread(io.BytesIO(images()["clean"])).pixel_array
    assert np.array_equal(pixels[~inside], original[~inside])
    assert np.array_equal(files[text["sop"]].pixel_array, pydicom.dcmread(io.BytesIO(images()["text"])).pixel_array)
    # The first version is as it was, and the same decisions come to the same bytes.
    assert server.get(f"{API}/datasets/look/versions/1/manifest").content == first.content
    third = make(server)
    assert (third["digest"], third["same_as"]) == (second["digest"], second["version"])
    for one in (page, text, clean, slices):
        httpx.delete(f"{server.url}{API}{REVIEW}/{one['id']}", timeout=60).raise_for_status()
    # Without a decision it would be made as it first was, and is shown so.
    shown = [picture(server, f"{at}/{text['sop']}/after.png") for at in (REVIEW, review)]
    assert np.array_equal(*shown)
    assert not np.array_equal(shown[0], sides[0])
    fourth = make(server)
    assert (fourth["digest"], fourth["same_as"]) == (f"blake3:{first.headers['etag'][1:-1]}", 1)


def test_decisions_that_make_no_sense_are_refused(server: Server) -> None:
    one = the(server, "clean")["id"]
    box = {"row": 0, "column": 0, "rows": 5, "columns": 5}
    assert decide(server, one, decision="boxes").status_code == 422
    assert decide(server, one, decision="accept", boxes=[box]).status_code == 422
    assert decide(server, one, decision="only", boxes=[box | {"rows": 0}]).status_code == 422
    assert decide(server, one, decision="only", boxes=[box | {"row": -1}]).status_code == 422
    assert decide(server, one, decision="maybe").status_code == 422
    assert decide(server, 987654321, decision="accept").status_code == 404
    assert not server.get(f"{API}{REVIEW}/{one}").json()["decided"]


def as_role(server: Server, role: str, method: str, path: str, **given: object) -> httpx.Response:
    headers = {"X-Forwarded-User": f"some {role}", "X-Hilum-Role": role}
    return httpx.request(method, server.url + path, headers=headers, timeout=60, **given)  # pyright: ignore


def test_each_role_sees_and_does_its_own(server: Server) -> None:
    one = the(server, "text")
    study = pydicom.dcmread(io.BytesIO(images()["text"]), stop_before_pixels=True).StudyInstanceUID
    at = f"{API}{REVIEW}/{one['id']}"
    undecided = {"decision": "maybe"}
    expected = {
        ("GET", f"{API}/datasets/look/versions/1"): (200, 200, 200, 200),
        ("GET", "/datasets/look/versions/1/dicom-web/studies"): (200, 200, 200, 200),
        ("GET", f"{API}/datasets"): (403, 200, 200, 200),
        ("GET", f"{API}/datasets/look"): (403, 200, 200, 200),
        ("GET", f"{API}/studies/{study}"): (403, 200, 200, 200),
        ("GET", "/dicom-web/studies"): (403, 200, 200, 200),
        ("GET", f"{API}/events"): (403, 200, 200, 200),
        ("GET", f"{API}{REVIEW}"): (403, 200, 200, 200),
        ("GET", f"{at}/before.png"): (403, 200, 200, 200),
        ("GET", f"{at}/after.png"): (403, 200, 200, 200),
        ("POST", at): (403, 403, 422, 422),
        ("DELETE", at): (403, 403, 404, 404),
        ("GET", f"{API}/crosswalk?new={one['sop']}"): (403, 403, 403, 200),
        ("GET", f"{API}/crosswalk/looks"): (403, 403, 403, 200),
        ("GET", f"{API}/datasets/look/versions/1/crosswalk"): (403, 403, 403, 200),
        ("POST", f"{API}/datasets/look/versions/1/review"): (403, 403, 422, 422),
        ("POST", "/dicom-web/studies"): (403, 403, 415, 415),
    }  # fmt: skip
    for (method, path), statuses in expected.items():
        body = {"json": undecided} if method == "POST" and path.startswith(API) else {}
        got = tuple(
            as_role(server, role, method, path, **body).status_code
            for role in ("researcher", "viewer", "editor", "admin")
        )
        assert got == statuses, (method, path)
    refused = as_role(server, "viewer", "GET", f"{API}/crosswalk?new=x")
    assert refused.headers["content-type"] == "application/problem+json"
    assert "admin" in refused.json()["detail"]
    assert as_role(server, "king", "GET", "/dicom-web/studies").status_code == 400


def test_the_crosswalk_of_a_version_as_csv_and_every_look_is_noted(server: Server, tmp_path: Path) -> None:
    one = the(server, "text")
    before = server.get(f"{API}/crosswalk/looks").json()["total"]
    answer = as_role(server, "admin", "POST", f"{API}/crosswalk", json={"old": "MRN00481516", "dataset": "look",
        "version": "1"})  # fmt: skip
    assert {each["version"] for each in answer.json()["items"]} == {1}
    assert answer.json()["total"] == 3
    assert answer.headers["cache-control"] == "private, no-store"
    as_role(server, "viewer", "GET", f"{API}{REVIEW}/{one['id']}/before.png")
    told = as_role(server, "admin", "GET", f"{API}/datasets/look/versions/1/crosswalk")
    rows = list(csv.DictReader(io.StringIO(told.text)))
    assert told.headers["content-type"].startswith("text/csv")
    assert {row["path"] for row in rows} == {
        each["path"] for each in server.get(f"{API}/datasets/look/versions/1/manifest").json()["files"]
        if each["path"].endswith(".dcm")
    }  # fmt: skip
    of_one = [row for row in rows if row["path"].startswith(one["person"]) and row["original"] == "MRN00481516"]  # pyright: ignore
    assert {row["new"] for row in of_one} == {one["person"]}
    out = tmp_path / "crosswalk.csv"
    server.hilum("crosswalk", "--dataset", "look", "--version", "1", "--csv", str(out))
    assert out.read_text() == told.text
    assert out.stat().st_mode & 0o777 == 0o600
    both = server.hilum("crosswalk", "--dataset", "look", "--version", "1", "--new", str(one["sop"]))
    assert {row["original_sop"] for row in csv.DictReader(io.StringIO(both.stdout))} == {
        pydicom.dcmread(io.BytesIO(images()["text"]), stop_before_pixels=True).SOPInstanceUID
    }
    assert server.hilum("crosswalk", check=False).returncode == 2
    looks = server.get(f"{API}/crosswalk/looks", params={"limit": 5}).json()
    assert looks["total"] == before + 5
    assert [(each["who"].split("(")[0], each["kind"], each["version"]) for each in reversed(looks["items"])] == [
        ("some admin", "old", 1), ("some viewer", "before", 1), ("some admin", "version", 1),
        ("command ", "version", 1), ("command ", "new", 1),
    ]  # fmt: skip
    assert "MRN00481516" not in json.dumps(looks)
    assert "MRN00481516" not in server.log.read_text()
