"""Run one target under atheris: ``python -m fuzz TARGET [ARGUMENTS OF LIBFUZZER]``.

The corpus lies in ``.fuzz/TARGET`` and begins with the small files of pydicom's wheel; what fails is left beside it.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hilum.imaging.dicom"]):
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
    paths = (Path(name) for name in (*get_testdata_files(), *get_charset_files()))
    return [path.read_bytes() for path in paths if path.is_file() and path.stat().st_size <= MAX_SEED]


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
