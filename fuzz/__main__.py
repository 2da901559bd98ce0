"""Run one target under atheris: ``python -m fuzz TARGET [ARGUMENTS OF LIBFUZZER]``.

The corpus lies in ``.fuzz/TARGET`` and begins with the small files of pydicom's wheel; what fails is left beside it.
"""

import io
import sys
import zipfile
from pathlib import Path

import atheris
import imagecodecs
import numpy as np

with atheris.instrument_imports(include=["hilum.imaging.dicom", "hilum.imaging.intake", "zipfile"]):
    from fuzz.targets import TARGETS

from pydicom.data import get_charset_files, get_testdata_files

MAX_SEED = 16 * 1024
TEXTS = (
    b"ISO 2022 IR 13\\ISO 2022 IR 87\n\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
    b"\\ISO 2022 IR 149\nHong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
    b"\\ISO 2022 IR 159\\ISO 2022 IR 58\n\x1b$(D\x30\x21\x1b(B\x1b$)A\xd5\xc5",
    b"GB18030\n\xcd\xf5^\xd0\xa1\xb6\xab",
    b"ISO_IR 100\n20240203040506.123456-0530",
)


def seeds(target: str) -> list[bytes]:
    """What the corpus begins with."""
    if target == "text":
        return list(TEXTS)
    if target == "bundle":
        return [zipped(zipfile.ZIP_STORED), zipped(zipfile.ZIP_DEFLATED)]
    if target == "image":
        pixels = np.zeros((4, 4, 3), np.uint8)
        return [imagecodecs.jpeg8_encode(pixels), imagecodecs.png_encode(pixels), b"%PDF-1.4\n%%EOF\n"]
    paths = (Path(name) for name in (*get_testdata_files(), *get_charset_files()))
    return [path.read_bytes() for path in paths if path.is_file() and path.stat().st_size <= MAX_SEED]


def zipped(compression: int) -> bytes:
    """A small zip with a folder, a name that is not ASCII, and a zip in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as bundle:
        bundle.writestr("DICOM/IM1", b"\0" * 128 + b"DICM")
        bundle.writestr("Röntgen.txt", b"text")
        if compression == zipfile.ZIP_DEFLATED:
            bundle.writestr("inner.zip", zipped(zipfile.ZIP_STORED))
    return file.getvalue()


def main() -> None:
    names = "|".join(TARGETS)
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m fuzz {names} [-max_total_time=SECONDS and other arguments of libFuzzer]")
    target = sys.argv[1]
    folder = Path(".fuzz") / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (folder / f"seed-{number:03}").write_bytes(seed)
    limits = ["-max_len=20000", "-timeout=20", "-rss_limit_mb=1536", f"-artifact_prefix=.fuzz/{target}-"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[2:], str(folder)], TARGETS[target])
    atheris.Fuzz()


main()
