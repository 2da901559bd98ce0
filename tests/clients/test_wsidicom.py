"""wsidicom, the library that opens slides over DICOMweb, against a running server: a tiled image comes back pixel by
pixel, its tiles asked for in the transfer syntax that they are stored in."""

import io

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)
from wsidicom import WsiDicom, WsiDicomWebClient

from tests.conftest import Server
from tests.dicom.files import written

TILE, ACROSS, DOWN = 64, 5, 4


def picture() -> NDArray[np.uint8]:
    """Shades that a tile in the wrong place would break."""
    y, x = np.mgrid[0 : DOWN * TILE, 0 : ACROSS * TILE]
    return np.stack((x * 255 // x.max(), y * 255 // y.max(), (x // TILE + y // TILE) * 25), axis=2).astype(np.uint8)


def item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def slide(pixels: NDArray[np.uint8], syntax: str) -> tuple[Dataset, bytes]:
    """A slide of one level, tiled in full."""
    tiles = [
        np.ascontiguousarray(pixels[y : y + TILE, x : x + TILE])
        for y in range(0, DOWN * TILE, TILE)
        for x in range(0, ACROSS * TILE, TILE)
    ]
    jpeg = syntax == JPEGBaseline8Bit
    ds = item(
        SOPClassUID=VLWholeSlideMicroscopyImageStorage, SOPInstanceUID=generate_uid(), StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(), FrameOfReferenceUID=generate_uid(), PatientID="P", PatientName="A^B",
        PatientBirthDate="", PatientSex="", StudyDate="", StudyTime="", StudyID="", AccessionNumber="",
        ReferringPhysicianName="", PositionReferenceIndicator="SLIDE_CORNER", Modality="SM", SeriesNumber=1,
        InstanceNumber=1, Manufacturer="M", ManufacturerModelName="M", DeviceSerialNumber="1", SoftwareVersions="1",
        ContentDate="20240131", ContentTime="101500", AcquisitionDateTime="20240131101500",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation="YBR_FULL_422" if jpeg else "YBR_RCT" if syntax == JPEG2000Lossless else "RGB",
        Rows=TILE, Columns=TILE, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0,
        NumberOfFrames=len(tiles), TotalPixelMatrixColumns=ACROSS * TILE, TotalPixelMatrixRows=DOWN * TILE,
        TotalPixelMatrixFocalPlanes=1, ImagedVolumeWidth=1.6, ImagedVolumeHeight=1.28, ImagedVolumeDepth=0.001,
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0], DimensionOrganizationType="TILED_FULL",
        BurnedInAnnotation="NO", SpecimenLabelInImage="NO", ExtendedDepthOfField="NO", FocusMethod="AUTO",
        VolumetricProperties="VOLUME", LossyImageCompression="01" if jpeg else "00", NumberOfOpticalPaths=1,
        ContainerIdentifier="C", AcquisitionContextSequence=[], IssuerOfTheContainerIdentifierSequence=[],
        ContainerTypeCodeSequence=[], SpecimenDescriptionSequence=[],
        TotalPixelMatrixOriginSequence=[item(XOffsetInSlideCoordinateSystem=20, YOffsetInSlideCoordinateSystem=40)],
        OpticalPathSequence=[item(
            OpticalPathIdentifier="0", IlluminationColorCodeSequence=[], IlluminationTypeCodeSequence=[],
        )],
        SharedFunctionalGroupsSequence=[item(
            PixelMeasuresSequence=[item(PixelSpacing=[0.005, 0.005], SliceThickness=0.001,
                                        SpacingBetweenSlices=0.001)],
            WholeSlideMicroscopyImageFrameTypeSequence=[item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])],
        )],
        DimensionOrganizationSequence=[item(DimensionOrganizationUID=generate_uid())],
    )  # fmt: skip
    if jpeg:
        frames = [imagecodecs.jpeg8_encode(tile, level=90, subsampling="422") for tile in tiles]
    else:
        frames = [imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k", reversible=True) for tile in tiles]
    ds.PixelData = encapsulate([bytes(frame) for frame in frames])
    ds["PixelData"].VR = "OB"
    return ds, written(ds, syntax)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit])
@pytest.mark.parametrize("named", [False, True])
def test_a_slide_is_read_tile_by_tile(server: Server, syntax: UID, named: bool) -> None:
    pixels = picture()
    ds, data = slide(pixels, syntax)
    client = WsiDicomWebClient.create_client(f"{server.url}/dicom-web")
    client._client.store_instances([pydicom.dcmread(io.BytesIO(data), force=True)])
    requested = syntax if named else None
    with WsiDicom.open_web(client, ds.StudyInstanceUID, ds.SeriesInstanceUID, requested) as opened:
        assert (opened.size.width, opened.size.height) == (ACROSS * TILE, DOWN * TILE)
        whole = np.asarray(opened.read_region((0, 0), 0, (ACROSS * TILE, DOWN * TILE)).convert("RGB"))
        some = np.asarray(opened.read_region((50, 30), 0, (100, 90)).convert("RGB"))
    assert np.array_equal(some, whole[30:120, 50:150])
    if syntax == JPEGBaseline8Bit:
        assert np.abs(whole.astype(int) - pixels).mean() < 3
    else:
        assert np.array_equal(whole, pixels)
