"""STOW-RS of metadata and bulk data (PS3.18 section 10.5.1), in JSON and in XML. The ids are those of the checklist."""

import io
import json

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from hilum.imaging.dicom.assemble import MAX_IN_MEMORY
from hilum.imaging.dicom.dataset import read_data_set
from hilum.imaging.dicom.dicom_xml import dataset_xml, model_xml
from hilum.imaging.dicom.header import scan_file
from hilum.imaging.dicomweb.bodies import MAX_NODES
from tests.dicom.files import wheel_file
from tests.dicomweb.conftest import BOUNDARY, Web, parts
from tests.dicomweb.test_stow import items, objects, stored
from tests.make import ct, uid

JSON = "application/dicom+json"
XML = "application/dicom+xml"
HERE = "bulk/1"
Part = tuple[bytes, str, str]


def send(web: Web, kind: str, *pieces: Part) -> httpx.Response:
    """Send parts, each of bytes, Content-Type and Content-Location."""
    body = b""
    for data, media_type, location in pieces:
        place = f"Content-Location: {location}\r\n" if location else ""
        body += f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\n{place}\r\n".encode() + data + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    return web.post(body, f'multipart/related; type="{kind}"; boundary={BOUNDARY}')


def as_json(*data_sets: pydicom.Dataset, bulk_over: int = 64) -> Part:
    """A part of metadata as pydicom writes it; what is long lies at a place named by tag."""
    models = [ds.to_json_dict(bulk_over, lambda element: f"bulk/{element.tag:08X}") for ds in data_sets]
    for model in models:
        for tag in [tag for tag in model if tag.startswith("0002")]:
            del model[tag]
    return json.dumps(models).encode(), JSON, ""


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def back(web: Web, ds: pydicom.Dataset) -> pydicom.Dataset:
    """The instance as the archive keeps it, which must be a whole file."""
    path = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    ((_, data),) = parts(web.get(path, 'multipart/related; type="application/dicom"; transfer-syntax=*'))
    return pydicom.dcmread(io.BytesIO(data), force=False)


def same(kept: pydicom.Dataset, sent: pydicom.Dataset) -> None:
    """Whether both say the same, but for how texts are encoded and pixels laid out."""
    for tag in sent:
        if tag.keyword not in ("PixelData", "SpecificCharacterSet", "DataSetTrailingPadding"):
            assert kept[tag.tag].value == tag.value, tag
    assert kept.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID


def test_s19_json_with_native_pixels_in_bulk(web: Web) -> None:
    one = read(ct(1, 1, 1, size=64, PatientName="Müller^Jürgen=山田^太郎", SpecificCharacterSet="ISO_IR 192"))
    pieces = as_json(one), (one.PixelData, "application/octet-stream", "bulk/7FE00010")
    answer = send(web, JSON, *pieces)
    assert answer.status_code == 200, answer.text
    kept = back(web, one)
    same(kept, one)
    assert np.array_equal(kept.pixel_array, one.pixel_array)
    assert kept.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert len(objects(web)) == 1
    # A second time the same, which makes the same bytes.
    assert (
        send(web, JSON, as_json(one), (one.PixelData, "application/octet-stream", "bulk/7FE00010")).status_code == 200
    )
    assert len(objects(web)) == 1


@pytest.mark.parametrize("kind", [JSON, XML])
@pytest.mark.parametrize("name", ["CT_small.dcm", "rtplan.dcm", "test-SR.dcm", "reportsi.dcm", "rtdose.dcm"])
def test_s19_what_the_archive_gives_as_metadata_and_bulk_data_it_takes_again(web: Web, name: str, kind: str) -> None:
    data = wheel_file(name).read_bytes()
    web.keep(data)
    one = read(data)
    path = f"/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
    metadata = web.get(f"{path}/metadata", JSON)
    assert metadata.status_code == 200
    pieces: list[Part] = [(metadata.content, JSON, "")]
    if kind == XML:
        pieces = [(dataset_xml_of(data), XML, "")] if "PixelData" in one else [(model_xml(metadata.json()[0]), XML, "")]
    for uri in bulk_uris(metadata.json()):
        ((_, value),) = parts(web.get(uri.removeprefix(web.root), 'multipart/related; type="application/octet-stream"'))
        pieces.append((value, "application/octet-stream", uri.removeprefix(web.root) if kind == XML else uri))
    httpx.delete(f"{web.root}/studies/{one.StudyInstanceUID}")
    answer = send(web, kind, *pieces)
    assert answer.status_code == 200, answer.text
    kept = back(web, one)
    same(kept, one)
    if "PixelData" in one:
        assert kept.PixelData[: len(one.PixelData)] == one.PixelData


def dataset_xml_of(data: bytes) -> bytes:
    file = io.BytesIO(data)
    header = scan_file(file)
    uids = (header.first(f"{name}InstanceUID") for name in ("Study", "Series", "SOP"))
    study, series, instance = uids
    place = f"/studies/{study}/series/{series}/instances/{instance}/bulkdata"
    return dataset_xml(read_data_set(file, header), header, place)


def bulk_uris(models: object) -> list[str]:
    if isinstance(models, dict):
        own = [models["BulkDataURI"]] if "BulkDataURI" in models else []
        return own + [uri for value in models.values() for uri in bulk_uris(value)]
    return [uri for value in models for uri in bulk_uris(value)] if isinstance(models, list) else []


@pytest.mark.parametrize(
    ("name", "media_type", "syntax"),
    [
        ("SC_rgb_small_odd_jpeg.dcm", "image/jpeg", ""),
        ("JPEG-lossy.dcm", "image/jpeg", "1.2.840.10008.1.2.4.51"),
        ("JPEG2000.dcm", "image/jp2", "1.2.840.10008.1.2.4.91"),
        ("SC_rgb_rle_2frame.dcm", "image/dicom-rle", ""),
    ],
)
def test_s19_compressed_pixels_stay_as_they_are(web: Web, name: str, media_type: str, syntax: str) -> None:
    one = read(wheel_file(name).read_bytes())
    count = int(one.get("NumberOfFrames", 1))
    frames = list(generate_frames(one.PixelData, number_of_frames=count))
    bare = pydicom.Dataset(one)
    del bare.PixelData
    (document, kind, _) = as_json(bare, bulk_over=1 << 20)
    (model,) = json.loads(document)
    model["7FE00010"] = {"vr": "OB", "BulkDataURI": HERE}
    if media_type != "image/dicom-rle":  # what the code stream tells may be left out
        for tag in ("00280010", "00280011", "00280101", "00280102"):
            del model[tag]
    content = f"{media_type}; transfer-syntax={syntax}" if syntax else media_type
    pieces = [(frame, content, f"{HERE}/frames/{n}" if count > 1 else HERE) for n, frame in enumerate(frames, 1)]
    answer = send(web, JSON, (json.dumps([model]).encode(), kind, ""), *reversed(pieces))
    assert answer.status_code == 200, answer.text
    kept = back(web, one)
    assert kept.file_meta.TransferSyntaxUID == (syntax or one.file_meta.TransferSyntaxUID)
    assert list(generate_frames(kept.PixelData, number_of_frames=count)) == frames
    assert (kept.Rows, kept.Columns, kept.BitsStored) == (one.Rows, one.Columns, one.BitsStored)


def test_s19_every_instance_has_an_outcome_of_its_own(web: Web) -> None:
    good, lost, bad, odd = (read(ct(1, 1, n, size=32)) for n in (1, 2, 3, 4))
    document, kind, _ = as_json(good, lost, bad, odd)
    models = json.loads(document)
    for model, place in zip(models, ("a", "nowhere", "a", "c"), strict=True):
        model["7FE00010"]["BulkDataURI"] = place
    models[0]["00020016"] = {"vr": "AE", "Value": ["SENDER"]}
    models[2]["00280010"] = {"vr": "US", "Value": ["many"]}
    answer = send(
        web, JSON, (json.dumps(models).encode(), kind, ""),
        (good.PixelData, "application/octet-stream", "a"), (odd.PixelData, "image/x-unknown", "c"),
    )  # fmt: skip
    assert answer.status_code == 202
    (item,) = items(answer, "00081199")
    assert (item["00081155"], item["00081196"]) == (uid(1, 1, 1), 0xB006)
    assert [(one["00081155"], one["00081197"]) for one in items(answer, "00081198")] == [
        (uid(1, 1, 2), 0xC000), (uid(1, 1, 3), 0xC000), (uid(1, 1, 4), 0xC122),
    ]  # fmt: skip
    assert stored(web) == {uid(1, 1, 1)}


def test_s19_metadata_that_would_fill_the_memory_is_413(web: Web) -> None:
    for kind, document in ((JSON, b"[" + b"[]," * MAX_NODES + b"[]]"), (XML, b"<a>" + b"<a/>" * MAX_NODES + b"</a>")):
        assert send(web, kind, (document, kind, "")).status_code == 413


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (JSON, b"{"), (JSON, b"[" * 100_000), (JSON, b"\xff\xfe[]"), (XML, b"<NativeDicomModel>"), (XML, b"<a/>"),
        (XML, b'<!DOCTYPE a [<!ENTITY b "c">]><NativeDicomModel>&b;</NativeDicomModel>'), (JSON, b"[]"),
        (XML, b"<NativeDicomModel xmlns='x'>" + b'<DicomAttribute tag="00081140" vr="SQ"><Item>' * 500),
    ],
)  # fmt: skip
def test_s19_what_is_no_metadata_is_400(web: Web, kind: str, document: bytes) -> None:
    assert send(web, kind, (document, kind, "")).status_code == 400


def test_s19_odd_models_are_failures_and_never_errors(web: Web) -> None:
    models = [
        1, None, "x", [], {"x": {}}, {"00080018": 1}, {"00080018": {"vr": "ZZ"}},
        {"00080018": {"vr": "UI", "Value": 1}},
        {"00080018": {"vr": "UI", "Value": [{}]}}, {"00081140": {"vr": "SQ", "Value": [1]}},
        {"00420011": {"vr": "OB", "InlineBinary": "é"}}, {"00420011": {"vr": "OB", "Value": [1]}},
        {"00280010": {"vr": "US", "Value": [1e99]}}, {"00280009": {"vr": "AT", "Value": ["x"]}},
        {"00280030": {"vr": "DS", "Value": [True]}}, {"00720076": {"vr": "OL", "BulkDataURI": "x"}},
        {"7FE00010": {"vr": "OW", "BulkDataURI": "x"}, "7FE00008": {"vr": "OF", "BulkDataURI": "y"}}, {},
    ]  # fmt: skip
    answer = send(web, JSON, (json.dumps(models).encode(), JSON, ""))
    assert answer.status_code == 409
    assert len(items(answer, "00081198")) == len(models)
    deep: object = {}
    for _ in range(200):
        deep = {"00081140": {"vr": "SQ", "Value": [deep]}}
    assert send(web, JSON, (json.dumps([deep]).encode(), JSON, "")).status_code == 409


def test_s19_bulk_data_that_is_no_pixels_is_bounded(web: Web) -> None:
    one = read(ct(1, 1, 1))
    (document, kind, _) = as_json(one, bulk_over=1 << 20)
    (model,) = json.loads(document)
    model["00420011"] = {"vr": "OB", "BulkDataURI": HERE}
    piece = (bytes(MAX_IN_MEMORY + 2), "application/octet-stream", HERE)
    answer = send(web, JSON, (json.dumps([model]).encode(), kind, ""), piece)
    assert items(answer, "00081198")[0]["00081197"] == 0xC000
    assert not objects(web)


def test_s19_metadata_that_is_cut_short_leaves_nothing(web: Web) -> None:
    one = read(ct(1, 1, 1, size=64))
    document, _, _ = as_json(one)
    head = f"--{BOUNDARY}\r\nContent-Type: {JSON}\r\n\r\n".encode() + document
    bulk = f"\r\n--{BOUNDARY}\r\nContent-Location: bulk/7FE00010\r\n".encode()
    body = head + bulk + b"Content-Type: application/octet-stream\r\n\r\n" + one.PixelData[:5000]
    answer = web.post(body, f'multipart/related; type="{JSON}"; boundary={BOUNDARY}')
    assert answer.status_code == 400
    kept = [path for path in web.archive.blobs.root.rglob("*") if path.is_file()]  # pyright: ignore[reportAttributeAccessIssue]
    assert {path.name for path in kept} == {"lock"}
    assert not stored(web)
