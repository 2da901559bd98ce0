"""What a remote archive tells of the series of studies: of some at once where it answers a list of UIDs (PS3.18 section
8.3.4.1), else of each alone, a few side by side. Whether all series of a study were told is known from their number;
where that does not agree, the study is asked for alone."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Final, TypeAlias, cast

from hilum.imaging.archive.check import chunks
from hilum.imaging.archive.remote import RemoteStudy
from hilum.imaging.remote.client import DicomWeb, Element, RemoteRefuses
from hilum.imaging.remote.reading import INCLUDE_SERIES, read_series, text
from hilum.imaging.remote.servers import RemoteServer

Series: TypeAlias = list[dict[str, object]]

MAX_SERIES: Final = 5000
"""Of one study."""
AT_ONCE: Final = 20
"""Studies in one search: their UIDs fit into a URL that every server reads."""
SIDE_BY_SIDE: Final = 4
_PAGE: Final = 500


def all_series(client: DicomWeb, study_instance_uid: str) -> Series:
    """What a remote archive tells of the series of a study."""
    found: dict[str, dict[str, object]] = {}
    while len(found) < MAX_SERIES:
        page = [("limit", str(_PAGE)), ("offset", str(len(found)))] if found else [("limit", str(_PAGE))]
        listed = client.search(f"/studies/{study_instance_uid}/series", [*page, *INCLUDE_SERIES])
        before = len(found)
        for each in read_series(listed, study_instance_uid):
            found.setdefault(str(each["series_instance_uid"]), each)
        if len(listed) < _PAGE or len(found) == before:
            break
    return list(found.values())


class SeriesSearch:
    """The series of many studies of one remote archive, over the connection of a client and some more.

    Parameters
    ----------
    client
        Over which lists are asked; its base URL must be known by now.
    server, outgoing_ca
        As the client's own.
    """

    def __init__(self, client: DicomWeb, server: RemoteServer, outgoing_ca: Path | None = None) -> None:
        self._client = client
        self._server = server
        self._outgoing_ca = outgoing_ca
        self._takes_lists = True
        self._clients: SimpleQueue[DicomWeb] = SimpleQueue()
        self._exits = ExitStack()
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> "SeriesSearch":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._exits.close()

    def add_to(self, studies: Sequence[RemoteStudy]) -> list[RemoteStudy]:
        """Give studies their series; errors as of `DicomWeb.search`."""
        found: dict[str, Series] = {}
        for some in chunks([study for study in studies if study.study["num_series"]], AT_ONCE):
            if self._takes_lists and len(some) > 1:
                found |= self._of_list(some)
        alone = [uid for uid in map(_uid, studies) if uid not in found]
        found |= zip(alone, self._side_by_side(alone), strict=True)
        return [RemoteStudy(study.patient, study.study, found[_uid(study)]) for study in studies]

    def _of_list(self, studies: Sequence[RemoteStudy]) -> dict[str, Series]:
        """The series of those of some studies that one search tells all of. A remote archive that tells all of none,
        or refuses the question, is not asked for lists again."""
        expected = {_uid(study): cast("int", study.study["num_series"]) for study in studies}
        told: dict[str, list[Element]] = {uid: [] for uid in expected}
        try:
            for data in self._pages(list(expected), sum(expected.values())):
                told.setdefault(text(data, "0020000D", 64), []).append(data)
        except RemoteRefuses:
            told = {}
        series = {uid: read_series(told.get(uid, ()), uid) for uid in expected}
        complete = {uid: listed for uid, listed in series.items() if len(listed) >= expected[uid]}
        self._takes_lists = bool(complete)
        return complete

    def _pages(self, uids: Sequence[str], expected: int) -> Iterator[Element]:
        """What a search for the series of some studies finds; as many as were expected may be more than a server gives
        at once."""
        seen: set[str] = set()
        while len(seen) < AT_ONCE * MAX_SERIES:
            page = [("StudyInstanceUID", ",".join(uids)), ("limit", str(_PAGE)), ("offset", str(len(seen)))]
            listed = self._client.search("/series", [*page, *INCLUDE_SERIES])
            asked_for = [data for data in listed if text(data, "0020000D", 64) in uids]
            fresh = {text(data, "0020000E", 64) for data in asked_for} - seen
            yield from asked_for
            seen |= fresh
            if not fresh or (len(listed) < _PAGE and len(seen) >= expected):
                return

    def _side_by_side(self, uids: Sequence[str]) -> list[Series]:
        if len(uids) < 2:
            return [all_series(self._client, uid) for uid in uids]
        if self._threads is None:
            self._open()
        assert self._threads
        return list(self._threads.map(self._of_one, uids))

    def _open(self) -> None:
        """Begin the threads, and a connection for each."""
        server = replace(self._server, url=self._client.root)
        for _ in range(SIDE_BY_SIDE):
            self._clients.put(self._exits.enter_context(DicomWeb(server, self._outgoing_ca)))
        self._threads = self._exits.enter_context(ThreadPoolExecutor(SIDE_BY_SIDE, "remote.series"))

    def _of_one(self, study_instance_uid: str) -> Series:
        client = self._clients.get()
        try:
            return all_series(client, study_instance_uid)
        finally:
            self._clients.put(client)


def _uid(study: RemoteStudy) -> str:
    return str(study.study["study_instance_uid"])
