"""A patient's CD from another hospital as one zip: DICOMDIR and files without an extension, a preview, a leaflet, an
autorun.inf and the report as a PDF. The bytes depend on what is in it only."""

import tempfile
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread  # pyright: ignore[reportUnknownVariableType]
from pydicom.fileset import FileSet

from hilum.demo.dicom_writer import uid

_README = """\
PATIENT CD

This disc was made by {institution}. It holds DICOM images of one examination.
The directory of the disc is DICOMDIR; the images lie in PT000000.
REPORT.PDF is the report, PREVIEW.JPG a picture to look at without a viewer.

Every person, hospital and finding on it is invented.
"""
_AUTORUN = "[autorun]\r\nopen=VIEWER\\START.EXE\r\nlabel=PATIENT CD\r\n"


def write_cd(target: Path, files: Sequence[bytes], preview: NDArray[np.uint8], institution: str, report: str) -> int:
    """Bundle one study as a hospital's CD.

    Parameters
    ----------
    files : DICOM Part 10 files of the study
    preview : (rows, columns) grey values
    report : text of the report; only Latin-1 is shown

    Returns
    -------
    int
        Size of the zip in bytes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    members: dict[str, bytes] = {
        "AUTORUN.INF": _AUTORUN.encode("ascii"),
        "README.TXT": _README.format(institution=institution).replace("\n", "\r\n").encode("latin-1"),
        "PREVIEW.JPG": bytes(imagecodecs.jpeg8_encode(preview, level=85)),
        "REPORT.PDF": text_pdf(report),
    }
    members |= _file_set(files)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bundle:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name, (2024, 1, 1, 12, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, data, compresslevel=1)
    return target.stat().st_size


def _file_set(files: Sequence[bytes]) -> dict[str, bytes]:
    """DICOMDIR and images by name (Basic Directory, PS3.3 F); images are called I10000nn."""
    file_set = FileSet()
    file_set.UID = uid("file set", str(len(files)))  # pyright: ignore[reportAttributeAccessIssue]
    file_set.ID = "HILUM_DEMO"
    for data in files:
        file_set.add(dcmread(BytesIO(data)))  # pyright: ignore[reportUnknownMemberType]
    with tempfile.TemporaryDirectory() as scratch:
        file_set.write(scratch)  # pyright: ignore[reportUnknownMemberType]
        found = {
            path.relative_to(scratch): path.read_bytes() for path in sorted(Path(scratch).rglob("*")) if path.is_file()
        }
    members: dict[str, bytes] = {}
    for path, data in found.items():
        name = "/".join(path.parts)
        if name == "DICOMDIR":
            # The same length, so that the offsets between the records stay true.
            data = data.replace(b"\\IM0000", b"\\I10000")
        members[name.replace("/IM0000", "/I10000")] = data
    return members


def text_pdf(text: str) -> bytes:
    """A one-page PDF with `text` in Courier; enough for a report of some sixty lines."""
    lines: list[str] = []
    for line in text.splitlines():
        words = line.split(" ")
        current = ""
        for word in words:
            if len(current) + len(word) > 84:
                lines.append(current)
                current = ""
            current = f"{current} {word}" if current else word
        lines.append(current)
    shown = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines[:62]]
    stream = "BT /F1 9.5 Tf 12 TL 50 790 Td " + " ".join(f"({line}) Tj T*" for line in shown) + " ET"
    content = stream.encode("latin-1", "replace")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length " + str(len(content)).encode() + b" >>\nstream\n" + content + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
    ]
    out = bytearray(b"%PDF-1.4\n")
    offsets: list[int] = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)
