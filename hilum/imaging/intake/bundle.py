"""Zip bundles, as hospitals write them on CDs and portals: DICOM members under any name become instances, everything
else stays with the study that it came with. A bundle is hostile until read: sizes and ratios are bounded as it unpacks,
names are only names and never paths on this machine."""

import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from hilum.core.errors import TooLarge
from hilum.imaging.archive.catalogue import SourceRef
from hilum.imaging.archive.store import CHUNK, Archive, store_bundle_files
from hilum.imaging.dicom.header import NotDicom
from hilum.imaging.intake.tally import Tally

GROUP_MEMBERS: Final = 100
GROUP_BYTES: Final = 128 << 20
MAX_MEMBERS: Final = 1_000_000
MAX_RATIO: Final = 200
_FREE_UNPACKED: Final = 64 << 20
_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ENCRYPTED: Final = 0x1
_OF_SYSTEMS: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_KINDS: Final = (
    (b"%PDF-", "pdf"),
    (b"\xff\xd8\xff", "image"),
    (b"\x89PNG\r\n", "image"),
    (b"GIF8", "image"),
    (b"BM", "image"),
)


def is_zip_head(head: bytes) -> bool:
    """Tell by its first four bytes whether a file is a zip; its name says nothing."""
    return head[:4] in _MAGIC


def import_bundle(archive: Archive, source: SourceRef, name: str, file: BinaryIO, tally: Tally) -> None:
    """Import one zip bundle.

    Parameters
    ----------
    archive, source
        Where to.
    name
        What to call the zip towards people.
    file
        The zip, seekable.
    tally
        Told of every member.
    """
    try:
        with zipfile.ZipFile(file) as bundle:
            members = [member for member in bundle.infolist() if not member.is_dir()]
            if _too_large(members, archive.settings.max_unpacked_bytes):
                tally.skip("zip_too_large", name)
            elif not members:
                tally.skip("bad_zip", name)
            else:
                tally.progress.expect(len(members) - 1)
                _Bundle(archive, source, name, bundle, tally).take(members)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, UnicodeDecodeError):
        tally.skip("bad_zip", name)


def _too_large(members: Sequence[zipfile.ZipInfo], limit: int) -> bool:
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    bomb = unpacked > _FREE_UNPACKED and unpacked > packed * MAX_RATIO
    return len(members) > MAX_MEMBERS or unpacked > limit or bomb


class _Encrypted(Exception):
    """The member needs a password."""


_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, _Encrypted,
)  # fmt: skip


class _Bundle:
    def __init__(self, archive: Archive, source: SourceRef, name: str, bundle: zipfile.ZipFile, tally: Tally) -> None:
        self.archive = archive
        self.source = source
        self.name = name
        self.bundle = bundle
        self.tally = tally
        self.studies: set[str] = set()

    def take(self, members: Sequence[zipfile.ZipInfo]) -> None:
        others: list[zipfile.ZipInfo] = []
        for group in _groups(members):
            others.extend(self._instances(group))
        self._others(others)

    def _instances(self, group: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
        """Take the DICOM members of a group; returns those that are something else."""
        others: list[zipfile.ZipInfo] = []
        with self.archive.batch(self.source, "bundle") as batch:
            for member in group:
                if member.filename.startswith(_OF_SYSTEMS) or member.filename.endswith(_OF_SYSTEMS):
                    self.tally.progress.step()
                    continue
                try:
                    batch.add(f"{self.name}/{member.filename}", self._read(member))
                except NotDicom as error:
                    if error.code == "empty":
                        self._skip("empty", member)
                    else:
                        others.append(member)
                except TooLarge:
                    self._skip("too_large", member)
                except _Encrypted:
                    self._skip("encrypted", member)
                except _DAMAGED:
                    self._skip("damaged_member", member)
            if len(batch):
                written = batch.commit()
                self.studies.update(o.study_instance_uid for o in written.outcomes if o.study_instance_uid)
                self.tally.written(written)
        return others

    def _others(self, members: Sequence[zipfile.ZipInfo]) -> None:
        studies = sorted(self.studies)
        for member in members:
            try:
                kind = self._kind(member)
                file = (member.filename, kind, self._read(member))
                count = store_bundle_files(self.archive, self.source, studies, [file])
            except _DAMAGED:
                self._skip("damaged_member", member)
            else:
                self.tally.progress.count("bundle_files" if studies else "set_aside", count)
                self.tally.progress.step()

    def _read(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        if member.flag_bits & _ENCRYPTED:
            raise _Encrypted
        left = member.file_size
        with self.bundle.open(member) as file:
            while chunk := file.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise zipfile.BadZipFile("longer than it says")
                yield chunk

    def _kind(self, member: zipfile.ZipInfo) -> str:
        head = next(self._read(member), b"")
        if head[128:132] == b"DICM":
            return "dicom"
        return next((kind for magic, kind in _KINDS if head.startswith(magic)), "other")

    def _skip(self, code: str, member: zipfile.ZipInfo) -> None:
        self.tally.skip(code, f"{self.name}/{member.filename}")


def _groups(members: Sequence[zipfile.ZipInfo]) -> Iterator[list[zipfile.ZipInfo]]:
    group: list[zipfile.ZipInfo] = []
    size = 0
    for member in members:
        group.append(member)
        size += member.file_size
        if len(group) >= GROUP_MEMBERS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
