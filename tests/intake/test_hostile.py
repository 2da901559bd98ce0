"""Whatever bytes come: a sentence, never a crash."""

import io
import zipfile
from contextlib import suppress

import imagecodecs
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.imaging.intake.secondary_capture import wrap_image
from hilum.imaging.intake.wrap import CannotWrap, make_wrap
from hilum.imaging.intake.zip_directory import directory_size
from hilum.imaging.intake.zip_names import member_names

PIXELS = np.arange(16 * 24 * 3).astype(np.uint8).reshape(16, 24, 3)
IMAGES = imagecodecs.jpeg8_encode(PIXELS), imagecodecs.png_encode(PIXELS), b"%PDF-1.4 " * 40
NAMED = make_wrap("P", pdf=True, study_date="20240101")


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        for name in ("a/one", "b/two", "ü"):
            bundle.writestr(name, name * 20)
    return file.getvalue()


ZIP = _zip()
changes = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8)


def changed(data: bytes, where: list[tuple[int, int]], cut: int) -> bytes:
    mutable = bytearray(data)
    for at, byte in where:
        mutable[at % len(mutable)] = byte
    return bytes(mutable[: max(5, len(mutable) - cut)])


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_name_can_be_shown(names: list[bytes]) -> None:
    members: list[zipfile.ZipInfo] = []
    for name in names:
        member = zipfile.ZipInfo(name.decode("cp437") or "x")
        member.extra = name
        members.append(member)
    shown = member_names(members)
    assert len(shown) == len(names)
    assert all(name.encode() and "\\" not in name for name in shown)


@settings(max_examples=300)
@given(changes, st.integers(0, 60))
def test_a_changed_zip_is_measured_or_refused(where: list[tuple[int, int]], cut: int) -> None:
    data = changed(ZIP, where, cut)
    assert directory_size(io.BytesIO(data)) >= 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            member_names(bundle.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError):
        pass


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(IMAGES), changes, st.integers(0, 200))
def test_a_changed_image_is_wrapped_or_refused(image: bytes, where: list[tuple[int, int]], cut: int) -> None:
    with suppress(CannotWrap):
        assert wrap_image(changed(image, where, cut), "x", NAMED, "default")[128:132] == b"DICM"
