"""A person's look at the pixels of a version: what is held back and what was blackened, pictures of one instance before
and after, and the decision on it. What a decision comes to is seen at once, and holds for the next version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import Final, Literal, LiteralString, TypeAlias, cast

import msgspec
import sqlalchemy as sa

from hilum.core.database import Row, Transaction
from hilum.core.errors import Conflict, Gone, NotFound
from hilum.core.recent import Recent
from hilum.imaging.archive.models import Instance
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row as Columns
from hilum.imaging.archive.query import frame_place
from hilum.imaging.archive.render import Look, frame_picture
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.frames import frame_offsets, read_frame
from hilum.imaging.dicom.header import scan_file
from hilum.imaging.dicom.image import describe
from hilum.imaging.dicom.picture import scaled, to_png
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.render import render
from hilum.research.datasets.decisions import Decided, frozen
from hilum.research.datasets.definition import profile_of
from hilum.research.datasets.make import order_of
from hilum.research.datasets.site_key import site_keys
from hilum.research.datasets.versions import definition_of
from hilum.research.datasets.work import UNSURE, Setup, Worker, software
from hilum.research.deid.instance import Quarantined
from hilum.research.deid.keys import Keys
from hilum.research.deid.pixel_text.blackout import Refused
from hilum.research.deid.pixel_text.step import text_step
from hilum.research.deid.pixels import Box, may_show_face
from hilum.research.deid.profile import Profile

Show: TypeAlias = Literal["held", "unsure", "blackened", "clean", "decided"]

_SHOWN: Final[Mapping[Show, LiteralString]] = {
    "held": "i.state = 'held'",
    "unsure": "i.pixels = 'unsure'",
    "blackened": "i.pixels = 'blackened'",
    "clean": "i.pixels = 'clean'",
    "decided": "(d.id is not null or i.decision is not null)",
}
_ONE: Final = Lock()
"""Images are made for a look one at a time: each takes a core, and memory for the whole of it."""
_MADE: Final = Recent[tuple[int, Decided | None], bytes](4)
_MOST_KEPT: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Shown:
    """Which instances of a version are listed: how, and of what is held back perhaps only for one reason."""

    show: Show
    code: str | None = None


def list_instances(
    sql: Transaction, version: Columns, shown: Shown, *, limit: int, offset: int
) -> tuple[Sequence[Row], int]:
    """Instances of a version in their order, with what was found and decided, and how many there are."""
    where: LiteralString = f"i.version_id = %(version)s and {_SHOWN[shown.show]}"
    if shown.code:
        where = f"{where} and i.code = %(code)s"
    given = {
        "version": version["id"], "dataset": version["dataset_id"], "code": shown.code, "limit": limit,
        "offset": offset,
    }  # fmt: skip
    total = cast("int", sql.rows(f"select count(*) as n from {_FROM} where {where}", given)[0]["n"])
    order: LiteralString = "order by i.person, i.study, i.series, i.number, i.sop limit %(limit)s offset %(offset)s"
    return sql.rows(f"select {_COLUMNS} from {_FROM} where {where} {order}", given), total


def find_instance(sql: Transaction, version: Columns, reference: str) -> Row:
    """An instance of a version by its number or its new SOP Instance UID; raises ``NotFound``."""
    by_id = reference.isdecimal() and len(reference) < 19
    given = {"version": version["id"], "dataset": version["dataset_id"], "id": int(reference) if by_id else None,
        "sop": reference}  # fmt: skip
    rows = sql.rows(f"select {_COLUMNS} from {_FROM} where i.version_id = %(version)s and {_NAMED}", given)
    if not rows:
        raise NotFound("There is no such instance in this version.")
    return rows[0]


def in_force(row: Row) -> Decided | None:
    """The decision on an instance that the next version would be made with."""
    return Decided.read(row["how"], row["drawn"]) if row["how"] else None


def before(archive: Archive, row: Row, frame: int) -> bytes:
    """A frame of the original as the image viewer shows it, as PNG.

    Parameters
    ----------
    archive
        Where the original is.
    row
        The instance of the version.
    frame
        Its number, 1-based.

    Raises
    ------
    Gone
        The original was replaced or deleted since the version was planned.
    NotFound
        There is no such frame.
    Unreadable
        The pixels cannot be decoded.
    """
    with archive.database.connect() as connection:
        original = _original(connection, row, frame)
        place = frame_place(connection, original["id"], frame)
    return frame_picture(archive.blobs, original, frame, place, Look())


def after(archive: Archive, version: Columns, row: Row, frame: int) -> bytes:
    """A frame of an instance as it leaves, as PNG: of the file of this version, or if somebody has decided otherwise
    since, of one made now. What is held back and not decided upon is shown as if accepted.

    Parameters
    ----------
    archive, row, frame
        As of `before`.
    version
        Of the instance.

    Raises
    ------
    NotFound
        It is excluded, or there is no such frame.
    Conflict
        It would be held back all the same.
    """
    decided = in_force(row)
    if decided is not None and decided.how == "exclude":
        raise NotFound("It was decided that this instance does not leave: nothing of it would be there.")
    if row["state"] == "done" and decided == frozen(row["made_with"]):
        return frame_picture(archive.blobs, cast("Columns", row), frame, (), Look())
    if decided is None and row["code"] == UNSURE:
        decided = Decided("accept")
    setup = Setup(archive.settings, profile_of(definition_of(version), archive.settings), _keys(archive))
    if _is_settled(version, row, decided, setup.profile):
        data = _edited(archive, row, cast("Decided", decided), frame, setup.profile)
        if data is not None:
            return _shown(data, frame)
    return _shown(_new_file(archive, version, row, decided, setup), frame)


def _original(connection: sa.Connection, row: Row, frame: int) -> Columns:
    """The original of an instance that has such a frame; raises ``Gone`` or ``NotFound``."""
    query = sa.select(Instance.__table__).where(Instance.id == row["instance_id"])
    original = connection.execute(query).mappings().first()
    if original is None or original["digest"] != row["original"]:
        raise Gone("The original was replaced or deleted after the version was planned.")
    if frame > original["num_frames"]:
        raise NotFound(f"The last frame is {original['num_frames']}.")
    return original


def _keys(archive: Archive) -> Keys:
    return site_keys(archive.database, archive.settings)


def _shown(data: bytes, frame: int) -> bytes:
    """A frame of a file, 1-based, as PNG."""
    file = BytesIO(data)
    header = scan_file(file)
    image = describe(file, header, frame - 1)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    shown = render(decode_frame(read_frame(file, header, offsets, frame - 1), image), image)
    return to_png(scaled(shown, 1.0, image.aspect), image.icc)


def _is_settled(version: Columns, row: Row, decided: Decided | None, profile: Profile) -> bool:
    """Whether it is known already what goes black by a decision: what the person drew alone, or with what was found
    when the version was made, by the same software and without any decision."""
    if decided is None or (row["state"] == "held" and row["code"] != UNSURE):
        return False
    if decided.how == "only":
        return True
    looked_at = row["pixels"] in ("blackened", "clean") or (row["pixels"] == "unsure" and row["boxes"])
    return bool(looked_at) and row["made_with"] is None and version["software"] == software(profile)


def _edited(archive: Archive, row: Row, decided: Decided, frame: int, profile: Profile) -> bytes | None:
    """The original with one frame as it leaves; None where that takes more than a look at this instance."""
    step, decision = text_step(profile), decided.for_pixels()
    with archive.database.connect() as connection:
        original = _original(connection, row, frame)
    with opened_instance(archive.blobs, original) as (file, header):
        if step is None or decision is None or (profile.faces == "remove" and may_show_face(header)):
            return None
        found = msgspec.convert(row["boxes"], list[Box])
        try:
            return step.frame_as_it_leaves(file, header, decision, found, frame - 1)
        except (Refused, Unreadable) as why:
            raise Conflict(f"Made so, it would be held back still: {why}") from None


def _new_file(archive: Archive, version: Columns, row: Row, decided: Decided | None, setup: Setup) -> bytes:
    """An instance made by a decision, or without one; somebody who looks at one frame will look at others."""
    key = cast("int", row["id"]), decided
    with _ONE:
        data = _MADE.get(key)
        if data is None:
            order = order_of(archive.database, version["id"], setup, key[0], decided)
            try:
                data = Worker(setup, archive.blobs).new_file(order).data
            except Quarantined as why:
                raise Conflict(f"Made so, it would be held back still: {why}") from None
            if len(data) <= _MOST_KEPT:
                _MADE.add(key, data)
    return data


_FROM: Final[LiteralString] = """
  hilum.dataset_instance i
  left join hilum.instance o on o.id = i.instance_id and o.digest = i.original
  left join lateral (
    select * from hilum.dataset_decision d where d.dataset_id = %(dataset)s and d.original = i.original
    order by d.id desc limit 1
  ) d on d.decision <> 'undone'
"""
_COLUMNS: Final[LiteralString] = """
  i.id, i.instance_id, i.state, i.code, i.reason, i.pixels, i.boxes, i.decision as made_with, i.person, i.accession,
  i.modality, i.study, i.series, i.sop, i.original, i.digest, i.size, i.blob_key,
  i.facts ->> 'TransferSyntaxUID' as transfer_syntax_uid, coalesce(o.num_frames, 0) as frames, o.rows, o.columns,
  d.decision as how, d.boxes as drawn, d.who, d.decided_at
"""
_NAMED: Final[LiteralString] = "(i.id = %(id)s::bigint or i.sop = %(sop)s)"
