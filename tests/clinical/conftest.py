"""What the tests of the clinical wing share: an archive behind a real HTTP server, and FHIR's addresses on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx
import pytest

from hilum.clinical.fhir.versions import TYPES, handle
from hilum.core.events import read_events
from hilum.imaging.archive.store import Archive
from tests.dicomweb.conftest import Web, listening
from tests.make import uid


@dataclass
class Fhir:
    """FHIR under test."""

    root: str
    web: Web
    read: int = 0

    @property
    def archive(self) -> Archive:
        """The archive behind it."""
        return self.web.archive

    def get(self, path: str, **headers: str) -> httpx.Response:
        """GET below the base of FHIR."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(self.root + path, headers=given, timeout=60)

    def resource(self, path: str) -> dict:
        """A resource that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def search(self, *pairs: tuple[str, str]) -> dict:
        """The Bundle of a search."""
        return self.resource(f"/ImagingStudy?{urlencode(pairs)}")

    def found(self, *pairs: tuple[str, str]) -> list[str]:
        """The UIDs that a search finds."""
        return [study_uid(entry["resource"]) for entry in self.search(*pairs).get("entry", [])]

    def tell(self, revision: int | None = None, study: int = 1) -> None:
        """Handle the events that the store has written since, and perhaps a revision."""
        with self.archive.database.connect() as connection:
            for event in read_events(connection, "https://hilum.example", after=self.read, limit=10_000):
                self.read = int(str(event["sequence"]))
                if event["type"] in TYPES:
                    handle(self.archive, event)
        if revision is not None:
            handle(self.archive, revised(uid(study), revision))


def revised(study_instance_uid: str, revision: int) -> dict[str, object]:
    """The event of a revision, with what this room reads of it."""
    return {
        "specversion": "1.0",
        "id": "b0b0c5d2-0000-4000-8000-000000000000",
        "type": "hilum.study.revised.v1",
        "source": "https://hilum.example/sources/default",
        "subject": study_instance_uid,
        "data": {"study_instance_uid": study_instance_uid, "revision": revision, "reason": "quiet"},
    }


def study_uid(resource: dict) -> str:
    """The Study Instance UID of an ImagingStudy."""
    return resource["identifier"][0]["value"].removeprefix("urn:oid:")


@pytest.fixture
def fhir(archive: Archive) -> Iterator[Fhir]:
    """FHIR, listening on loopback."""
    with listening(archive) as web:
        yield Fhir(web.root.removesuffix("/dicom-web") + "/fhir", web)
