"""How resources are written: with ``id`` and ``meta`` put before what is kept of them, alone and in Bundles (FHIR R4,
resource Bundle), whose links lead from page to page."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

import msgspec

from hilum.clinical.fhir.codes import Element
from hilum.clinical.fhir.endpoint import Endpoint
from hilum.clinical.fhir.search import Found, Search
from hilum.clinical.fhir.versions import Version

_HEAD: Final = '{"resourceType":"ImagingStudy",'
_encode = msgspec.json.Encoder().encode


def instant(moment: datetime) -> str:
    """A moment as FHIR's instant, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def study_json(version: Version) -> bytes:
    """A version of an ImagingStudy that is not deleted, as JSON."""
    meta = {"versionId": str(version.version), "lastUpdated": instant(version.last_updated)}
    named = _encode({"id": str(version.id), "meta": meta}).decode()
    return f"{_HEAD}{named[1:-1]},{(version.content or '').removeprefix(_HEAD)}".encode()


def endpoint_json(endpoint: Endpoint) -> bytes:
    """An Endpoint as JSON."""
    named: Element = {"resourceType": "Endpoint", "id": endpoint.id}
    return _encode(named | {"meta": {"lastUpdated": instant(endpoint.made_at)}} | endpoint.resource())


def search_bundle(root: str, search: Search, found: Found, endpoints: Sequence[Endpoint]) -> bytes:
    """The answer to a search for ImagingStudy.

    Parameters
    ----------
    root
        Base URL of FHIR, without a slash at its end.
    search, found
        What was asked, and the page that was found.
    endpoints
        Those that go with it.
    """
    entries = [_matched(root, version) for version in found.versions]
    entries += [_entry(f"{root}/Endpoint/{each.id}", endpoint_json(each), "include") for each in endpoints]
    links = _links(f"{root}/ImagingStudy", search.used, search.count, search.offset, more=found.more)
    return _bundle("searchset", links, entries, found.total)


def endpoint_bundle(root: str, used: Sequence[tuple[str, str]], endpoints: Sequence[Endpoint]) -> bytes:
    """The answer to a search for Endpoint, which is always whole."""
    entries = [_entry(f"{root}/Endpoint/{each.id}", endpoint_json(each), "match") for each in endpoints]
    return _bundle("searchset", [_link("self", f"{root}/Endpoint", used)], entries, len(entries))


def history_bundle(
    root: str,
    number: int,
    versions: Sequence[Version],
    total: int,
    used: Sequence[tuple[str, str]],
    page: tuple[int, int],
) -> bytes:
    """The versions of an ImagingStudy; ``page`` is how many there are at most, and how many were passed over."""
    count, offset = page
    address = f"{root}/ImagingStudy/{number}/_history"
    links = _links(address, used, count, offset, more=offset + len(versions) < total)
    return _bundle("history", links, [_past(root, version) for version in versions], total)


def _matched(root: str, version: Version) -> Element:
    return _entry(f"{root}/ImagingStudy/{version.id}", study_json(version), "match")


def _past(root: str, version: Version) -> Element:
    """What was done to make a version (R4, section 2.36.3)."""
    address = f"ImagingStudy/{version.id}"
    created = version.version == 1
    method, status = ("POST", "201") if created else ("PUT", "200")
    entry: Element = {"fullUrl": f"{root}/{address}"}
    if version.content is None:
        method, status = "DELETE", "204"
    else:
        entry["resource"] = msgspec.Raw(study_json(version))
    entry["request"] = {"method": method, "url": "ImagingStudy" if created else address}
    etag = f'W/"{version.version}"'
    entry["response"] = {"status": status, "etag": etag, "lastModified": instant(version.last_updated)}
    return entry


def _entry(address: str, resource: bytes, mode: str) -> Element:
    return {"fullUrl": address, "resource": msgspec.Raw(resource), "search": {"mode": mode}}


def _bundle(kind: str, links: Sequence[Element], entries: Sequence[Element], total: int | None) -> bytes:
    bundle: Element = {"resourceType": "Bundle", "type": kind}
    if total is not None:
        bundle["total"] = total
    bundle["link"] = links
    if entries:
        bundle["entry"] = entries
    return _encode(bundle)


def _links(address: str, used: Sequence[tuple[str, str]], count: int, offset: int, *, more: bool) -> list[Element]:
    """The way to this page, to those beside it and to the first."""
    links = [_link("self", address, used)]
    if not count:
        return links
    asked = [pair for pair in used if pair[0] not in ("_count", "_offset")] + [("_count", str(count))]
    if offset:
        links.append(_link("first", address, asked))
        before = max(offset - count, 0)
        links.append(_link("previous", address, [*asked, ("_offset", str(before))] if before else asked))
    if more:
        links.append(_link("next", address, [*asked, ("_offset", str(offset + count))]))
    return links


def _link(relation: str, address: str, parameters: Sequence[tuple[str, str]]) -> Element:
    query = urlencode(parameters, safe=":/|,$")
    return {"relation": relation, "url": f"{address}?{query}" if query else address}
