"""Zip bundles, as hospitals write them on CDs and portals: DICOM members under any name become instances, everything
else stays with the study that lies nearest to it. A bundle is hostile until read: sizes, ratios and depth are bounded
as it unpacks, names are only names and never paths on this machine."""

import lzma
import stat
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from blake3 import blake3

from hilum.core.errors import TooLarge
from hilum.imaging.archive.companions import store_bundle_files
from hilum.imaging.archive.identity import Place
from hilum.imaging.archive.store import CHUNK, Archive
from hilum.imaging.dicom.header import NotDicom, Truncated, Unreadable, scan
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from hilum.imaging.intake.wrap import MAX_IMAGE_BYTES, CannotWrap, Wrap, is_wrappable
from hilum.imaging.intake.zip_directory import directory_size
from hilum.imaging.intake.zip_names import member_names

GROUP_MEMBERS: Final = 100
GROUP_BYTES: Final = 128 << 20
MAX_MEMBERS: Final = 1_000_000
MAX_DIRECTORY_BYTES: Final = 128 << 20
MAX_RATIO: Final = 200
MAX_DEPTH: Final = 3
_FREE_UNPACKED: Final = 64 << 20
_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ENCRYPTED: Final = 0x1
_HEAD: Final = 4096
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


def import_bundle(archive: Archive, manner: Manner, name: str, file: BinaryIO, tally: Tally) -> bool:
    """Import one zip bundle, with the zips in it.

    Parameters
    ----------
    archive, manner
        Where to and how.
    name
        What to call the zip towards people.
    file
        The zip, seekable.
    tally
        Told of every member.

    Returns
    -------
    bool
        Whether all of it was taken; else what was not is among the reasons, and only the zip still holds it.
    """
    with ExitStack() as stack:
        bundle = _Bundle(archive, manner, name, tally, stack)
        trouble = bundle.take(file, "", 1)
        if trouble:
            tally.skip(trouble, name)
            return False
        bundle.take_others()
        return bundle.whole


class _Encrypted(Exception):
    """The member needs a password."""


DAMAGED: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)
NO_ZIP: Final = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in a zip, perhaps in one of the zips in it; ``name`` is its path from the outermost."""

    bundle: zipfile.ZipFile
    info: zipfile.ZipInfo
    name: str
    group: str
    depth: int

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]

    def read(self, size: int = CHUNK) -> Iterator[bytes]:
        if self.info.flag_bits & _ENCRYPTED:
            raise _Encrypted
        left = self.info.file_size
        with self.bundle.open(self.info) as file:
            while chunk := file.read(size):
                left -= len(chunk)
                if left < 0:
                    raise zipfile.BadZipFile("longer than it says")
                yield chunk

    def head(self) -> bytes:
        return next(self.read(_HEAD), b"")


@dataclass(slots=True)
class _Bundle:
    archive: Archive
    manner: Manner
    name: str
    tally: Tally
    stack: ExitStack
    whole: bool = True
    members_left: int = MAX_MEMBERS
    bytes_left: int = field(init=False)
    others: list[_Member] = field(default_factory=list[_Member])
    studies: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def __post_init__(self) -> None:
        self.bytes_left = self.archive.settings.max_unpacked_bytes

    def take(self, file: BinaryIO, prefix: str, depth: int) -> str:
        """Take the DICOM members of a zip, and note the others; gives the code of the trouble with it as a whole."""
        try:
            if directory_size(file) > MAX_DIRECTORY_BYTES:
                return "zip_too_large"
            bundle = self.stack.enter_context(zipfile.ZipFile(file))
            members = [member for member in bundle.infolist() if not member.is_dir()]
        except NO_ZIP:
            return "bad_zip"
        if not self._fits(members):
            return "zip_too_large"
        if not members:
            return "bad_zip"
        self.tally.progress.expect(len(members) - 1)
        group = _group_of(members)
        names = (f"{prefix}{name}" for name in member_names(members))
        found = [_Member(bundle, info, name, group, depth) for info, name in zip(members, names, strict=True)]
        for some in _groups(found):
            for member in self._instances(some):
                self._look_into(member)
        return ""

    def _fits(self, members: Sequence[zipfile.ZipInfo]) -> bool:
        unpacked = sum(member.file_size for member in members)
        packed = sum(member.compress_size for member in members)
        bomb = unpacked > _FREE_UNPACKED and unpacked > packed * MAX_RATIO
        if bomb or len(members) > self.members_left or unpacked > self.bytes_left:
            return False
        self.members_left -= len(members)
        self.bytes_left -= unpacked
        return True

    def _instances(self, group: Sequence[_Member]) -> list[_Member]:
        """Take the DICOM members of a group; returns those that are something else."""
        others: list[_Member] = []
        folders: dict[str, str] = {}
        with self.archive.batch(self.manner.source, "bundle", self.manner.chosen) as batch:
            for member in group:
                if member.name.startswith(_OF_SYSTEMS) or member.name.endswith(_OF_SYSTEMS):
                    self.tally.progress.step()
                    continue
                with self._told(member):
                    try:
                        name = f"{self.name}/{member.name}"
                        batch.add(name, member.read(), place=Place(member.group, member.folder))
                        folders[name] = member.folder
                    except NotDicom as error:
                        if error.code == "empty":
                            self._skip("empty", member, harmless=True)
                        else:
                            others.append(member)
            if len(batch):
                written = batch.commit()
                for outcome in written.outcomes:
                    if outcome.study_instance_uid and outcome.state != "set_aside":
                        self._note(folders[outcome.name], outcome.study_instance_uid)
                self.tally.written(written)
        return others

    def _note(self, folder: str, study: str) -> None:
        """Remember that a folder, and so each above it, holds something of a study."""
        while study not in self.studies.setdefault(folder, set()):
            self.studies[folder].add(study)
            folder = folder.rpartition("/")[0]

    def _look_into(self, member: _Member) -> None:
        """Note what is no instance; a zip with DICOM in it is taken apart, another (a document, say) kept."""
        with self._told(member):
            if stat.S_ISLNK(member.info.external_attr >> 16):
                self._skip("zip_link", member, harmless=True)
            elif not is_zip_head(member.head()):
                self.others.append(member)
            else:
                self._zip(member)

    def _zip(self, member: _Member) -> None:
        item = self.stack.enter_context(self.archive.blobs.group()).create()
        for chunk in member.read():
            item.write(chunk)
        file = self.stack.enter_context(item.reader())
        if not _holds_dicom(file, member.depth + 1):
            self.others.append(member)
            return
        trouble = "zip_too_deep"
        if member.depth < MAX_DEPTH:
            trouble = self.take(file, f"{member.name}/", member.depth + 1)
        if trouble:
            self.tally.note(trouble, f"{self.name}/{member.name}")
            self.others.append(member)

    def take_others(self) -> None:
        """Keep what is no instance with the studies nearest to it, or wrap images where a person named a study."""
        wrap = self.manner.wrap if not self.studies else None
        for member in self.others:
            with self._told(member):
                if wrap and is_wrappable(member.head(), wrap):
                    self._wrap(member, wrap)
                else:
                    self._keep(member)

    def _near(self, member: _Member) -> list[str]:
        """The studies of the nearest folder above a member that holds any."""
        folder = member.folder
        while folder and folder not in self.studies:
            folder = folder.rpartition("/")[0]
        return sorted(self.studies.get(folder, ()))

    def _keep(self, member: _Member) -> None:
        studies = self._near(member)
        file = (member.name, _kind(member.head()), member.read())
        store_bundle_files(self.archive, self.manner.source, studies, [file])
        self.tally.progress.count("bundle_files" if studies else "set_aside")
        self.tally.progress.step()

    def _wrap(self, member: _Member, wrap: Wrap) -> None:
        name = f"{self.name}/{member.name}"
        from hilum.imaging.intake.secondary_capture import wrap_image

        if member.info.file_size > MAX_IMAGE_BYTES:
            raise TooLarge("The image is too large to be wrapped.")
        try:
            wrapped = wrap_image(b"".join(member.read()), member.name, wrap, self.manner.source.key)
        except CannotWrap as error:
            self.tally.progress.leave_out(error.code, str(error), name)
            self._keep(member)
            return
        with self.archive.batch(self.manner.source, "wrap", self.manner.chosen) as batch:
            batch.add(name, [wrapped])
            self.tally.written(batch.commit())

    @contextmanager
    def _told(self, member: _Member) -> Generator[None]:
        """Name what is wrong with a member, and go on with the others."""
        try:
            yield
        except _Encrypted:
            self._skip("encrypted", member)
        except TooLarge:
            self._skip("too_large", member)
        except DAMAGED:
            self._skip("damaged_member", member)

    def _skip(self, code: str, member: _Member, *, harmless: bool = False) -> None:
        self.whole = self.whole and harmless
        self.tally.skip(code, f"{self.name}/{member.name}")


def _group_of(members: Sequence[zipfile.ZipInfo]) -> str:
    """What tells a zip from all others, whatever it is called: its directory."""
    digest = blake3()
    for member in members:
        digest.update(f"{member.filename}\0{member.CRC}\0{member.file_size}\n".encode("utf-8", "surrogatepass"))
    return f"zip:{digest.hexdigest()}"


def _holds_dicom(file: BinaryIO, depth: int) -> bool:
    """Whether there is an instance in a zip, or in a zip in it; what cannot be read counts as none."""
    try:
        if directory_size(file) > MAX_DIRECTORY_BYTES:
            return False
        with zipfile.ZipFile(file) as bundle:
            return any(_is_dicom(bundle, member, depth) for member in bundle.infolist() if not member.is_dir())
    except (*NO_ZIP, *DAMAGED):
        return False


def _is_dicom(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, depth: int) -> bool:
    if member.flag_bits & _ENCRYPTED:
        return False
    try:
        with bundle.open(member) as file:
            head = file.read(_HEAD)
        if is_zip_head(head):
            return depth > MAX_DEPTH or member.filename.lower().endswith(".zip")
        scan(head, max(member.file_size, len(head)))
    except NotDicom:
        return False
    except (Truncated, Unreadable):
        return True
    except DAMAGED:
        return False
    return True


def _kind(head: bytes) -> str:
    if head[128:132] == b"DICM":
        return "dicom"
    return next((kind for magic, kind in _KINDS if head.startswith(magic)), "other")


def _groups(members: Sequence[_Member]) -> Iterator[list[_Member]]:
    group: list[_Member] = []
    size = 0
    for member in members:
        group.append(member)
        size += member.info.file_size
        if len(group) >= GROUP_MEMBERS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
