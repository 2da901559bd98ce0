"""WADO-RS (PS3.18 section 10.4.1.1): whole instances, in the container and the transfer syntax that the client accepts.
Their bytes are made by ``made`` and ``zipped``, frames and bulk data are given by ``frames`` and ``bulk``."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from hilum.core.blobs import Blobs
from hilum.core.errors import Gone, NotAcceptable
from hilum.imaging.archive.convert import instance_bytes
from hilum.imaging.archive.objects import WHOLE, opened, reader
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.encode import SYNTAXES
from hilum.imaging.dicomweb.accept import DICOM, EXPLICIT_LITTLE, ZIP, MediaRange, Offer, choose, refusal
from hilum.imaging.dicomweb.answers import Part, in_parts, in_ranges, streamed
from hilum.imaging.dicomweb.made import instance_syntaxes
from hilum.imaging.dicomweb.resources import Target, find_instances, instance_url
from hilum.imaging.dicomweb.syntaxes import dicom_offers, is_convertible
from hilum.imaging.dicomweb.zipped import zipped

_PARTIAL: Final = 206


def retrieve(request: Request, archive: Archive, target: Target, ranges: Sequence[MediaRange], root: str) -> Response:
    """Answer with the instances of a study or series, or with one instance (PS3.18 section 10.4.1.1).

    Instances that cannot be given in an accepted form, or whose bytes are gone, are left out: the status is then 206.

    Parameters
    ----------
    request, archive
        What was asked, and where.
    target
        What the path names.
    ranges
        What the client accepts.
    root
        Base URL of the service.

    Raises
    ------
    NotFound
        There is no such thing.
    NotAcceptable
        None of its instances can be given in an accepted form.
    Gone
        None of its instances is there any more.
    """
    with archive.database.connect() as connection:
        rows = find_instances(connection, target)
    choice = _Choice(archive, ranges, single=target.instance is not None)
    given = [(row, offer) for row in rows if (offer := choice.of(row))]
    if not given:
        if choice.gone:
            raise Gone(f"The files of this {target.noun} were indexed in place and are no longer there.")
        raise NotAcceptable(refusal(choice.offers(rows[0]["transfer_syntax_uid"], instance_syntaxes(archive, rows[0]))))
    status = 200 if len(given) == len(rows) else _PARTIAL
    row, offer = given[0]
    if offer.media_type == ZIP:
        return zipped(request, archive, target, [(row, one.transfer_syntax) for row, one in given], status=status)
    if not offer.multipart:
        return _alone(request, archive, row, offer.transfer_syntax)
    return in_parts(request, DICOM, _parts(archive, given, root), status=status)


class _Choice:
    """The choice of a form for each instance of an answer, all in the same container.

    An instance is looked into only when it would have to be transcoded: whether it can be, its header tells.
    """

    def __init__(self, archive: Archive, ranges: Sequence[MediaRange], *, single: bool) -> None:
        self.gone: bool = False
        """Whether an instance's bytes were no longer there."""
        self._archive = archive
        self._ranges = ranges
        self._single = single
        self._container: tuple[str, bool] | None = None
        self._chosen = cache(self._choose)

    def offers(self, stored: str, made: Sequence[str]) -> list[Offer]:
        """The forms that fit into the answer."""
        found = dicom_offers(stored, single=self._single, made=made)
        return [offer for offer in found if self._container in (None, (offer.media_type, offer.multipart))]

    def of(self, row: Row) -> Offer | None:
        """The form that an instance is given in; None for one that is left out."""
        stored = row["transfer_syntax_uid"]
        chosen = self._chosen(stored, SYNTAXES, self._container)
        try:
            if chosen and not _is_plain(stored, chosen.transfer_syntax):
                chosen = self._chosen(stored, instance_syntaxes(self._archive, row), self._container)
            elif chosen and not _is_there(self._archive.blobs, row):
                chosen = None
                self.gone = True
        except Gone:
            chosen = None
            self.gone = True
        if chosen and self._container is None:
            self._container = chosen.media_type, chosen.multipart
        return chosen

    def _choose(self, stored: str, made: tuple[str, ...], _container: tuple[str, bool] | None) -> Offer | None:
        return choose(self._ranges, self.offers(stored, made))


def _is_plain(stored: str, wanted: str) -> bool:
    """Whether no pixel has to be decoded or encoded."""
    return stored == wanted or (wanted == EXPLICIT_LITTLE and is_convertible(stored))


def _is_there(blobs: Blobs, row: Row) -> bool:
    if row["path"] is None:
        return True
    try:
        with opened(blobs, row):
            return True
    except Gone:
        return False


def _alone(request: Request, archive: Archive, row: Row, syntax: str) -> Response:
    media_type = f"{DICOM}; transfer-syntax={syntax}"
    if syntax == row["transfer_syntax_uid"]:
        return in_ranges(request, row["digest"], media_type, row["size"], reader(archive.blobs, row))
    return streamed(request, instance_bytes(archive, row, syntax), media_type)


def _parts(archive: Archive, given: Sequence[tuple[Row, Offer]], root: str) -> list[Part]:
    """A part for each instance; those that are small and leave as they are kept are read ahead of their turn."""
    small = [row for row, offer in given if _is_small(row, offer)]
    whole = archive.blobs.read_all([(row["blob_key"], row["size"]) for row in small])
    parts = [_part(archive, row, offer, root) for row, offer in given]
    return [
        replace(part, chunks=lambda: [next(whole)]) if _is_small(row, offer) else part
        for part, (row, offer) in zip(parts, given, strict=True)
    ]


def _is_small(row: Row, offer: Offer) -> bool:
    return row["path"] is None and row["size"] <= WHOLE and offer.transfer_syntax == row["transfer_syntax_uid"]


def _part(archive: Archive, row: Row, offer: Offer, root: str) -> Part:
    syntax = offer.transfer_syntax
    return Part(
        f"{DICOM}; transfer-syntax={syntax}",
        instance_url(root, row),
        lambda: instance_bytes(archive, row, syntax),
        row["size"] if syntax == row["transfer_syntax_uid"] else None,
    )
