"""A running Hilum as a researcher reads it: versions of data sets, whose zip is read in ranges so that only what is
asked for comes over the wire, and selections of archived studies."""

import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, BinaryIO, Final, cast
from urllib.parse import quote

import httpx

from hilum.client.collection import Collection, Kind, Level, Opener, Zip, frame_of

API: Final = "/api/v1/imaging"
_PAGE: Final = 500
_BLOCK: Final = 1 << 20
_SECONDS: Final = 120
_PARTIAL: Final = 206


class Client:
    """A client of one server.

    Parameters
    ----------
    url
        Of the server, such as http://127.0.0.1:8000.
    headers
        Sent with every request, such as Authorization.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url: Final = url.rstrip("/")
        self.headers: Final = dict(headers or {})

    def get(self, path: str, **parameters: object) -> Any:
        """The JSON at a path of the API.

        Raises
        ------
        httpx.HTTPStatusError
            The server refuses; its message has the server's sentence.
        """
        with self.http() as http:
            return _checked(http.get(API + path, params=cast("Any", parameters))).json()

    def http(self) -> httpx.Client:
        """A connection."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=_SECONDS)

    def dataset(self, name: str | int, version: str | int = "latest") -> Zip:
        """A published version of a data set, by the data set's number or name."""
        base = f"/datasets/{quote(str(name), safe='')}/versions"
        found = self.get(f"{base}/{version}")
        return Zip(_Ranges(self, f"{API}{base}/{found['version']}/zip"))

    def studies(self, **filters: object) -> "Selection":
        """Archived studies by the filters of the study list, such as ``modality="CT"`` or ``person_id=1001``."""
        return Selection(self, filters)


class Selection(Collection):
    """Studies that match filters, as they were when it was first read."""

    def __init__(self, client: Client, filters: Mapping[str, object]) -> None:
        self._client: Final = client
        self._filters: Final = dict(filters)

    @cached_property
    def _studies(self) -> list[dict[str, Any]]:
        return list(self._pages("/studies", **self._filters))

    @cached_property
    def _series(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for study in self._studies:
            detail = self._client.get(f"/studies/{study['id']}")
            found += [
                {**row, "study_id": study["id"], "StudyInstanceUID": study["study_instance_uid"],
                 "SeriesInstanceUID": row["series_instance_uid"]}
                for row in detail["series"]
            ]  # fmt: skip
        return found

    @cached_property
    def _instances(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for study in self._studies:
            found += self._pages(f"/studies/{study['id']}/instances")
        return found

    def table(self, level: Level = "series", kind: Kind = "arrow") -> Any:
        """The rows of all studies, series or instances, with the names of the API."""
        rows = {"studies": lambda: self._studies, "series": lambda: self._series, "instances": lambda: self._instances}
        found = rows[level]()
        if kind == "rows":
            return found
        import pyarrow

        return frame_of(cast("Any", pyarrow).Table.from_pylist(found), kind)

    def files(self, series_instance_uid: str) -> Iterator[bytes]:
        """The DICOM files of a series."""
        row = next((one for one in self._series if one["SeriesInstanceUID"] == series_instance_uid), None)
        if row is None:
            raise KeyError(series_instance_uid)
        return self._bytes(row["study_id"], series_instance_uid)

    def _bytes(self, study: int, series: str) -> Iterator[bytes]:
        with self._client.http() as http:
            for row in self._pages(f"/studies/{study}/instances", series=series):
                yield _checked(http.get(row["wado_url"])).content

    def _pages(self, path: str, **parameters: object) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._client.get(path, **{**parameters, "limit": _PAGE, "offset": offset})
            yield from page["items"]
            offset += _PAGE
            if offset >= page["total"]:
                return


class _Ranges(Opener):
    """A zip on a server, opened as a file that asks for what is read."""

    def __init__(self, client: Client, path: str) -> None:
        self._client: Final = client
        self._path: Final = path

    def open(self) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_Remote(self._client, self._path), _BLOCK))


class _Remote(io.RawIOBase):
    def __init__(self, client: Client, path: str) -> None:
        super().__init__()
        self._http: Final = client.http()
        self._path: Final = path
        head = _checked(self._http.head(path))
        self._etag: Final = head.headers["etag"]
        self._size: Final = int(head.headers["content-length"])
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        last = min(self._at + len(buffer), self._size) - 1
        fields = {"Range": f"bytes={self._at}-{last}", "If-Match": self._etag}
        answer = _checked(self._http.get(self._path, headers=fields))
        if answer.status_code != _PARTIAL or answer.headers["etag"] != self._etag:
            raise OSError("The data set on the server is another one now")
        data = answer.content
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._http.close()
        super().close()


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        try:
            answer.read()
            sentence = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            sentence = f"The server answers {answer.status_code}"
        raise httpx.HTTPStatusError(sentence, request=answer.request, response=answer)
    return answer
