"""A group of files on its way in: what one lane of an import does, wherever the lane runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hilum.core.errors import TooLarge
from hilum.imaging.archive.arrivals import Outcome, Written
from hilum.imaging.archive.identity import Place
from hilum.imaging.archive.store import Archive, Batch, known_files
from hilum.imaging.dicom.header import NotDicom
from hilum.imaging.intake.bundle import is_zip_head
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.walk import Found
from hilum.imaging.intake.wrap import MAX_IMAGE_BYTES, CannotWrap, is_wrappable

_HEAD: Final = 1024


@dataclass(slots=True)
class Taken:
    """What became of a group: what was written, what was left out (code, name, and a sentence where the code has none
    of its own), and which of them are zips."""

    written: Written = field(default_factory=Written)
    skipped: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    zips: list[Found] = field(default_factory=list[Found])


def take_group(archive: Archive, manner: Manner, group: Sequence[Found]) -> Taken:
    """Take a group of files; when this returns, what it says is durable."""
    result = Taken()
    wanted = _not_yet(archive, manner, group, result)
    with archive.batch(manner.source, manner.origin, manner.chosen) as batch:
        for file in wanted:
            try:
                _take(batch, manner, file)
            except NotDicom as error:
                _other(batch, manner, file, error.code, result)
            except TooLarge:
                result.skipped.append(("too_large", file.shown, ""))
            except _NoText:
                result.skipped.append(("not_text", file.shown, ""))
            except PermissionError:
                result.skipped.append(("permission", file.shown, ""))
            except FileNotFoundError:
                result.skipped.append(("missing", file.shown, ""))
            except OSError:
                result.skipped.append(("unreadable_file", file.shown, ""))
        if len(batch):
            written = batch.commit()
            written.refused.clear()  # they are set aside by now, and large
            result.written.add(written)
    return result


def _not_yet(archive: Archive, manner: Manner, group: Sequence[Found], result: Taken) -> list[Found]:
    """The files that were not imported before as they are now; told without opening them."""
    if manner.chosen:
        return list(group)
    prints = {file.path: mark for file in group if (mark := file.fingerprint)}
    known = known_files(archive, manner.source, list(prints.values()), in_place=manner.in_place)
    wanted: list[Found] = []
    for file in group:
        study = known.get(prints[file.path]) if file.path in prints else None
        if study is None:
            wanted.append(file)
        else:
            result.written.outcomes.append(Outcome(file.shown, "duplicate", study_instance_uid=study))
    return wanted


def _take(batch: Batch, manner: Manner, file: Found) -> None:
    path = os.path.abspath(file.path)  # noqa: PTH100 - a million of these are made
    if manner.in_place and not path.isprintable() and _is_no_text(path):
        raise _NoText
    place = Place(os.path.dirname(file.name or path))  # noqa: PTH120
    if manner.in_place:
        batch.index(file.shown, path, place=place, fingerprint=file.fingerprint)
    else:
        batch.add_file(file.shown, file.path, place=place, fingerprint=file.fingerprint)


class _NoText(Exception):
    """The path has bytes that are no text, so the catalogue cannot keep it."""


def _is_no_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return True
    return False


def _other(batch: Batch, manner: Manner, file: Found, code: str, result: Taken) -> None:
    """A file that is no DICOM: a zip, an image to be wrapped, or left where it lies."""
    with Path(file.path).open("rb") as opened:
        head = opened.read(_HEAD)
    if is_zip_head(head):
        result.zips.append(file)
    elif manner.wrap and is_wrappable(head, manner.wrap):
        from hilum.imaging.intake.secondary_capture import wrap_image

        if file.size > MAX_IMAGE_BYTES:
            raise TooLarge("The image is too large to be wrapped.")
        try:
            wrapped = wrap_image(Path(file.path).read_bytes(), file.path, manner.wrap, manner.source.key)
        except CannotWrap as error:
            result.skipped.append((error.code, file.shown, str(error)))
        else:
            batch.add(file.shown, [wrapped])
    else:
        result.skipped.append((code, file.shown, ""))
