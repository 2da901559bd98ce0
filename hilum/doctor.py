"""What works here: each part that Hilum needs is tried as it is used - the database asked, an object written, read back
and deleted, one small frame decoded with each codec - and told in a line."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from hilum.core.blobs import Blobs, LocalBlobs, open_blobs
from hilum.core.config import Settings
from hilum.core.database import Database, open_database
from hilum.core.errors import HilumError

if TYPE_CHECKING:
    from nats.aio.client import Client

_CODECS: Final = (
    # name, encoder, decoder, bits, whether decoding gives the very same samples
    ("JPEG baseline", "jpeg8_encode", "jpeg8_decode", 8, False),
    ("JPEG lossless", "ljpeg_encode", "ljpeg_decode", 12, True),
    ("JPEG-LS", "jpegls_encode", "jpegls_decode", 12, True),
    ("JPEG 2000", "jpeg2k_encode", "jpeg2k_decode", 12, True),
    ("HTJ2K", "htj2k_encode", "htj2k_decode", 12, True),
    ("JPEG XL", "jpegxl_encode", "jpegxl_decode", 8, False),
)
_WRONG: Final = "A frame was not decoded to what it was: install imagecodecs anew."


@dataclass(frozen=True, slots=True)
class Finding:
    """How one part does.

    Attributes
    ----------
    name : str
        The part.
    works : bool
        Whether it does its work.
    text : str
        What was seen, or what is wrong and the way out.
    """

    name: str
    works: bool
    text: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Try every part; a later one is tried whatever became of an earlier one."""
    yield from _database(settings)
    blobs = open_blobs(settings)
    yield _tried("objects", partial(_objects, blobs))
    yield _tried("disk space", partial(_space, blobs, settings))
    if settings.nats_url:
        yield _tried("NATS", partial(_nats, settings))
    for name, encoder, decoder, bits, exact in _CODECS:
        yield _tried(f"codec {name}", partial(_codec, encoder, decoder, bits, exact))
    yield _tried("codec RLE", _rle)
    yield _tried("text in pixels", _text_in_pixels)
    yield _tried("faces in volumes", _faces_in_volumes)
    yield _tried("web page", _page)


def _text_in_pixels() -> str:
    from hilum.research.deid.pixel_text.detector import find_lines, missing, versions

    if lacking := missing():
        return f"{lacking} Until then images that may show text are quarantined by hilum deid."
    find_lines(np.zeros((64, 64, 3), np.uint8))
    found = versions()
    models = [found[name].partition(" ")[0] for name in ("text_detector", "text_recogniser")]
    return f"{', '.join(models)} of rapidocr {found['rapidocr']}, onnxruntime {found['onnxruntime']}"


def _faces_in_volumes() -> str:
    from hilum.research.deid.faces.registration import missing, versions

    if lacking := missing():
        return f"{lacking} Until then a profile that takes faces off quarantines what may show one."
    return f"SimpleITK {versions()['simpleitk']}"


def _nats(settings: Settings) -> str:
    from hilum.core.nats import Link, NatsOptions  # here, for most have no NATS
    from hilum.imaging.relay.frames import LONGEST

    async def examine_server(client: "Client") -> str:
        if settings.relay_channels and client.max_payload < LONGEST:
            raise HilumError(f"It takes too short messages for the relay: set its max_payload to {LONGEST} or more.")
        await client.jetstream().account_info()  # pyright: ignore[reportUnknownMemberType]
        return f"NATS {client.connected_server_version}, with JetStream"

    return Link(NatsOptions.of(settings)).run(examine_server)


def _tried(name: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, attempt())
    except HilumError as error:
        return Finding(name, False, str(error))
    except Exception as error:  # whatever it is, the next part is to be tried too
        return Finding(name, False, f"{type(error).__name__}: {error}")


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        with open_database(settings, pool_size=1, migrate=False) as database:
            yield _tried("database", partial(_server, database, settings))
            yield _tried("migrations", partial(_migrations, database))
            yield from _vocabularies(database)
    except HilumError as error:
        yield Finding("database", False, str(error))


def _server(database: Database, settings: Settings) -> str:
    with database.transaction() as sql:
        row = sql.rows("select current_setting('server_version') as version, current_database() as name")[0]
    kind = "by HILUM_DATABASE_URL" if settings.database_url else "embedded"
    return f"PostgreSQL {row['version']} ({kind})"


def _migrations(database: Database) -> str:
    folder = files("hilum").joinpath("migrations", "versions")
    newest = max(file.name for file in folder.iterdir() if file.name[0] == "0")[:4]
    with database.transaction() as sql:
        table = sql.rows("select to_regclass('hilum.alembic_version')::text as name")[0]["name"]
        there = sql.rows("select version_num from hilum.alembic_version")[0]["version_num"] if table else None
    if there is None:
        return "no schema yet; the first start makes it"
    if there != newest:
        raise HilumError(f"The schema is at {there}, this version needs {newest}: run hilum db upgrade.")
    return f"the schema is at {there}"


def _vocabularies(database: Database) -> Iterator[Finding]:
    """The vocabulary of each source that has a CDM."""
    from hilum.clinical.cdm.vocabulary import sources_with_cdm, vocabulary_told  # here, for many have no CDM

    try:
        sources = sources_with_cdm(database)
    except Exception:  # a database that cannot be asked, or without these columns, was told of before
        return
    if not sources:
        yield Finding("vocabulary", True, "no source has an OMOP CDM; hilum cdm create makes one")
    for source in sources:
        name = "vocabulary" if len(sources) == 1 else f"vocabulary of {source}"
        yield _tried(name, partial(vocabulary_told, database, source))


def _objects(blobs: Blobs) -> str:
    blobs.check()
    key, content = f"_doctor/{secrets.token_hex(8)}", secrets.token_bytes(4096)
    try:
        with blobs.group() as group:
            item = group.create()
            item.write(content)
            item.finish(key)
            group.commit()
        if blobs.read(key, 0, len(content)) != content:
            raise HilumError("An object was not read as it was written: look at the disk.")
    finally:
        blobs.delete([key])
    return f"written, flushed, read and deleted in {blobs.where}"


def _space(blobs: Blobs, settings: Settings) -> str:
    if not isinstance(blobs, LocalBlobs):
        return "objects do not lie on a disk of this machine"
    place = blobs.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < settings.min_free_bytes:
        raise HilumError(
            f"{free >> 20} MiB are free and {settings.min_free_bytes >> 20} MiB have to stay free "
            "(HILUM_MIN_FREE_BYTES): nothing more is taken."
        )
    return f"{free / (1 << 30):,.1f} GiB free"


def _codec(encoder: str, decoder: str, bits: int, exact: bool) -> str:
    """Decode one small frame that the same library has encoded."""
    x, y = np.meshgrid(np.arange(16), np.arange(16))
    pixels = ((x + y) * ((1 << bits) - 1) // 30).astype(np.uint8 if bits == 8 else np.uint16)
    decoded: NDArray[np.integer[Any]] = getattr(imagecodecs, decoder)(getattr(imagecodecs, encoder)(pixels))
    difference = int(np.abs(decoded.astype(int) - pixels.astype(int)).max())
    if difference > (0 if exact else 1 << (bits - 4)):
        raise HilumError(_WRONG)
    return "decodes"


def _rle() -> str:
    """Decode sixteen runs of sixteen equal bytes (PS3.5 annex G); this codec has no encoder of the same form."""
    header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    frame = header + b"".join(bytes([257 - 16, value]) for value in range(16))
    wanted = b"".join(bytes([value]) * 16 for value in range(16))
    decoded = cast("Callable[..., bytes]", imagecodecs.dicomrle_decode)(frame, "u1", out=len(wanted))
    if bytes(decoded) != wanted:
        raise HilumError(_WRONG)
    return "decodes"


def _page() -> str:
    index = Path(str(files("hilum"))) / "static" / "index.html"
    if not index.is_file():
        raise HilumError("The page is not built: run scripts/run, or install the wheel.")
    return "built"
