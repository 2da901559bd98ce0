"""The manners of the service: CORS, OPTIONS, the URLs behind a proxy. The ids are those of the DICOMweb checklist."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from xml.etree import ElementTree as ET

import httpx
import pytest

from hilum.core.config import load_settings
from hilum.core.errors import Invalid
from hilum.core.forwarded import Proxies
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb import renditions
from hilum.imaging.dicomweb.routes import short_ways
from tests.conftest import wait_until
from tests.dicomweb.conftest import Web, listening, parts
from tests.dicomweb.renditions import document, path, ramp, report, video
from tests.make import ct, uid

VIEWER = "https://viewer.example"
WADL = "{http://wadl.dev.java.net/2009/02}"


@contextmanager
def serving(archive: Archive, **settings: object) -> Iterator[Web]:
    """The service with settings of one's own."""
    with listening(replace(archive, settings=archive.settings.model_copy(update=settings))) as running:
        yield running


def preflight(
    url: str, origin: str, method: str = "GET", fields: str = "authorization,range,if-none-match"
) -> httpx.Response:
    return httpx.options(
        url,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": fields,
        },
    )


def listed(answer: httpx.Response, name: str) -> set[str]:
    return {part.strip().lower() for part in answer.headers.get(name, "").split(",")}


def test_x01_a_viewer_that_the_setting_names_may_ask(archive: Archive) -> None:
    with serving(archive, cors_origins=f"{VIEWER} https://other.example:8443") as web:
        web.keep(ct())
        for place in ("/studies", f"/studies/{uid(1)}/metadata", f"{path()}/frames/1", f"{path()}/rendered"):
            for method in ("GET", "POST", "DELETE"):
                answer = preflight(web.root + place, VIEWER, method)
                assert (answer.status_code, answer.content) == (204, b"")
                assert answer.headers["access-control-allow-origin"] == VIEWER
                assert method.lower() in listed(answer, "access-control-allow-methods")
                assert {"authorization", "range", "if-none-match", "accept", "content-type"} <= listed(
                    answer, "access-control-allow-headers"
                )
        found = web.get("/studies", Origin=VIEWER)
        assert found.headers["access-control-allow-origin"] == VIEWER
        assert {"etag", "warning", "content-range", "x-total-count"} <= listed(found, "access-control-expose-headers")
        assert "origin" in listed(found, "vary")
        assert found.headers["cross-origin-resource-policy"] == "cross-origin"
        refused = web.get(f"/studies/{uid(9)}", Origin=VIEWER)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (404, VIEWER)
        assert web.stow(ct(2), Origin=VIEWER).status_code == 200


def test_x01_another_site_may_not(archive: Archive) -> None:
    with serving(archive, cors_origins=VIEWER) as web:
        web.keep(ct())
        for origin in ("https://evil.example", f"{VIEWER}.evil.example", "http://viewer.example", "null", "file://"):
            assert "access-control-allow-origin" not in preflight(web.root + "/studies", origin).headers
            assert "access-control-allow-origin" not in web.get("/studies", Origin=origin).headers
            assert web.stow(ct(3), Origin=origin).status_code == 403
        api = web.root.replace("/dicom-web", "/api/v1/imaging/studies")
        assert "access-control-allow-origin" not in httpx.get(api, headers={"Origin": VIEWER}).headers


def test_x01_without_the_setting_only_this_machines_own_pages_may(web: Web) -> None:
    own = "http://localhost:3000"
    assert preflight(web.root + "/studies", own).headers["access-control-allow-origin"] == own
    assert web.get("/studies", Origin=own).headers["access-control-allow-origin"] == own
    assert web.get("/studies", Origin=own).headers["cross-origin-resource-policy"] == "same-site"
    assert preflight(web.root + "/studies", VIEWER).status_code == 403
    assert "access-control-allow-origin" not in web.get("/studies", Origin=VIEWER).headers


def test_x01_any_origin_may_where_the_setting_says_so(archive: Archive) -> None:
    with serving(archive, cors_origins="*") as web:
        assert preflight(web.root + "/studies", VIEWER).headers["access-control-allow-origin"] == VIEWER
        assert "access-control-allow-origin" not in web.get("/studies", Origin="null").headers


def test_x01_what_is_no_origin_is_refused_at_the_start() -> None:
    for value in ("viewer.example", "https://viewer.example/path", "https://*.example", "a b"):
        with pytest.raises(Invalid, match="HILUM_CORS_ORIGINS"):
            load_settings(cors_origins=value)


def wadl(answer: httpx.Response) -> dict[str, dict[str, list[str]]]:
    """Of each address its methods, and of each method its media types."""
    root = ET.fromstring(answer.content)
    return {
        resource.attrib["path"]: {
            method.attrib["name"]: [
                one.attrib["mediaType"] for one in method.iterfind(f"{WADL}response/{WADL}representation")
            ]
            for method in resource.iterfind(f"{WADL}method")
        }
        for resource in root.iterfind(f"{WADL}resources/{WADL}resource")
    }


def test_x02_options_describes_every_address_that_there_is(web: Web) -> None:
    answer = httpx.options(web.root + "/")
    assert answer.headers["content-type"] == "application/vnd.sun.wadl+xml"
    found = wadl(answer)
    assert ET.fromstring(answer.content).find(f"{WADL}resources").attrib["base"] == web.root
    document = httpx.get(web.root.replace("/dicom-web", "/openapi.json")).json()
    there = {
        place.removeprefix("/dicom-web/"): {method.upper() for method in methods}
        for place, methods in document["paths"].items()
        if place.startswith("/dicom-web/")
    }
    assert {place: set(methods) for place, methods in found.items()} == there
    assert httpx.options(web.root).content == answer.content


def test_x02_the_same_as_json(web: Web) -> None:
    answer = httpx.options(web.root + "/", headers={"Accept": "application/json"})
    resources = answer.json()["application"]["resources"]
    assert resources["base"] == web.root
    assert {one["path"] for one in resources["resource"]} == set(wadl(httpx.options(web.root + "/")))
    rendered = next(one for one in resources["resource"] if one["path"].endswith("frames/{frames}/rendered"))
    named = {one["name"] for one in rendered["method"][0]["request"]["param"]}
    assert {"window", "viewport", "quality", "accept"} <= named
    assert httpx.options(web.root + "/", headers={"Accept": "text/html"}).status_code == 406


def test_x02_each_address_tells_of_itself(web: Web) -> None:
    web.keep(ct())
    for place, allowed in {
        f"/studies/{uid(1)}/metadata": "GET, HEAD, OPTIONS",
        "/studies": "GET, HEAD, POST, OPTIONS",
        f"{path()}/rendered": "GET, HEAD, OPTIONS",
    }.items():
        answer = httpx.options(web.root + place)
        assert listed(answer, "allow") == {one.strip().lower() for one in allowed.split(",")}
        assert len(wadl(answer)) == 1
        assert httpx.patch(web.root + place).status_code == 405


def test_x02_every_form_that_is_described_is_given(web: Web) -> None:
    """Each representation is asked for, of an instance that has it."""
    instances = [ramp(), report(), document(b"%PDF-1.4 "), video(b"\0\0\0\x18ftypmp42" + bytes(400))]
    instances += [document(b"<x/>  ", sop_class) for sop_class in list(renditions.DOCUMENTS)[1:]]
    instances.append(video(b"\0\0\1\xba" + bytes(400)))
    wanted = {
        (place, media_type)
        for place, methods in wadl(httpx.options(web.root + "/")).items()
        for media_type in methods.get("GET", ())
        if not place.startswith("workitems")
    }
    assert len(wanted) > 40
    missing = set(wanted)
    values = {
        "study": uid(1),
        "series": uid(1, 1),
        "instance": uid(1, 1, 1),
        "frames": "1",
        "numbers": "1",
        "path": "7FE00010",
    }
    for instance in instances:
        web.keep(instance)
        for place, media_type in sorted(missing):
            url = "/" + re.sub(r"\{(\w+)\}", lambda name: values[name[1]], place)
            accept = f"{media_type}; transfer-syntax=*" if 'dicom"' in media_type else media_type
            if place in ("studies/{study}/rendered", "studies/{study}/series/{series}/rendered"):
                accept = f'multipart/related; type="{media_type}"'
            answer = web.get(url, accept)
            if answer.status_code == 200:
                inner = parts(answer)[0][0]["Content-Type"] if "multipart" in accept else answer.headers["content-type"]
                assert inner.partition(";")[0] in media_type
                missing.discard((place, media_type))
    assert not missing


FORWARDED = [
    ({"Forwarded": "for=1.2.3.4;host=pacs.example;proto=https"}, "https://pacs.example"),
    ({"Forwarded": 'for=x;host="evil.example", proto=https;host="pacs.example:8443"'}, "https://pacs.example:8443"),
    ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.example"}, "https://pacs.example"),
    ({"X-Forwarded-Host": "pacs.example:8042"}, "http://pacs.example:8042"),
    ({"X-Forwarded-Host": "pacs.example", "X-Forwarded-Port": "8042"}, "http://pacs.example:8042"),
    ({"X-Forwarded-Host": "evil.example, pacs.example"}, "http://pacs.example"),
    ({"X-Forwarded-Host": "pacs.example", "X-Forwarded-Prefix": "/imaging/hilum/"}, "http://pacs.example/imaging/hilum"),
    ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "[::1]:444"}, "https://[::1]:444"),
]  # fmt: skip


def urls(web: Web, headers: dict[str, str]) -> set[str]:
    """Where everything that the service answers with says that it is."""
    searched = httpx.get(f"{web.root}/studies", headers=headers).json()[0]["00081190"]["Value"][0]
    metadata = httpx.get(f"{web.root}/studies/{uid(1)}/metadata", headers=headers).json()[0]["7FE00010"]["BulkDataURI"]
    accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    retrieved = parts(httpx.get(web.root + path(), headers=headers | accept))[0][0]["Content-Location"]
    rendered = httpx.get(f"{web.root}{path()}/rendered", headers=headers).headers["content-location"]
    described = ET.fromstring(httpx.options(web.root, headers=headers).content).find(f"{WADL}resources").attrib["base"]
    return {url.partition("/dicom-web")[0] for url in (searched, metadata, retrieved, rendered, described)}


def test_x06_a_trusted_proxy_says_where_the_service_is(archive: Archive) -> None:
    with serving(archive, trusted_proxies="127.0.0.0/8 ::1") as web:
        web.keep(ct())
        for headers, base in FORWARDED:
            assert urls(web, headers) == {base}, headers


def test_x06_nobody_else_is_believed(archive: Archive) -> None:
    for trusted in ("", "10.0.0.0/8"):
        with serving(archive, trusted_proxies=trusted) as web:
            web.keep(ct())
            for headers, _ in FORWARDED[:4]:
                assert urls(web, headers) == {web.root.removesuffix("/dicom-web")}


def test_x06_the_public_url_stands_in_every_url(archive: Archive) -> None:
    public = "https://hilum.example/research"
    with serving(archive, public_url=public, trusted_proxies="127.0.0.1") as web:
        web.keep(ct())
        assert urls(web, {}) == {public}
        assert urls(web, {"X-Forwarded-Host": "hilum.example"}) == {public}
        assert httpx.get(f"{web.root}/studies", headers={"X-Forwarded-Host": "evil.example"}).status_code == 421


def test_x06_what_is_malformed_is_refused_and_not_repeated(archive: Archive) -> None:
    with serving(archive, trusted_proxies="127.0.0.1") as web:
        for headers in (
            *({"X-Forwarded-Host": host} for host in ("evil.example/path", 'a"b', "a b", "<script>", "user@host")),
            *({"X-Forwarded-Prefix": prefix} for prefix in ("//evil.example", "/../x", "x", "/a?b")),
            *({"X-Forwarded-Port": port} for port in ("99999", "8x", "-1")),
            *({"Forwarded": value} for value in ("nonsense", 'host="a@b"', "proto=ftp")),
            {"X-Forwarded-Proto": "javascript"},
        ):
            answer = httpx.get(f"{web.root}/studies", headers=headers)
            assert answer.status_code == 400, headers
            assert not any(value in answer.text for value in headers.values() if len(value) > 4)


def test_x06_a_hostile_host_is_not_answered(web: Web) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", "[::ffff:1.2.3.4]", ""):
        answer = httpx.get(f"{web.root}/studies", headers={"Host": host})
        assert answer.status_code in (400, 421)
        assert "evil" not in answer.text


def test_x06_proxies_are_addresses_or_networks() -> None:
    assert len(Proxies.parse("10.0.0.0/8, ::1 192.168.1.1").networks) == 3
    for wrong in ("proxy.example", "10.0.0.0/99"):
        with pytest.raises(Invalid, match="HILUM_TRUSTED_PROXIES"):
            load_settings(trusted_proxies=wrong)


def test_pages_that_a_browser_opens_bring_a_policy_of_their_own(web: Web) -> None:
    web.keep(report())
    policies = web.get(f"{path()}/rendered").headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")
    web.keep(document(b"%PDF-1.4 "))
    assert "sandbox" not in web.get(f"{path()}/rendered").headers["content-security-policy"]
    with serving(web.archive, cors_origins=VIEWER) as invited:
        policy = invited.get(f"{path()}/rendered").headers["content-security-policy"]
    assert policy.endswith(f"frame-ancestors 'self' {VIEWER}"), "a viewer shows documents in frames"


def test_what_viewers_ask_again_and_again_goes_a_short_way_to_the_same_answer(web: Web) -> None:
    """The short ways stand before the framework's routes, which still answer HEAD."""
    web.keep(ct())
    ways = {way.path for way in short_ways()}
    asked = (
        path(),
        f"{path()}/frames/1",
        f"{path()}/rendered",
        f"{path()}/frames/1/rendered",
        f"{path().partition('/instances')[0]}/metadata",
    )
    assert len(ways) == 2 * len(asked)
    before = counted(web)
    for place in asked:
        for root in (web.root, web.root.replace("/dicom-web", "/sources/default/dicom-web")):
            got, headed = (httpx.request(method, root + place, headers={"Accept": "*/*"}) for method in ("GET", "HEAD"))
            assert (got.status_code, headed.status_code) == (200, 200)
            assert {**headed.headers, "date": ""}.keys() == {**got.headers, "date": ""}.keys()
            missing = httpx.get(root + place.replace(uid(1), uid(9)))
            assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    wanted = {("GET", way): 2 for way in ways} | {("HEAD", way): 1 for way in ways}

    def more() -> dict[tuple[str, str], float]:
        after = counted(web)
        return {one: after.get(one, 0) - before.get(one, 0) for one in wanted}

    wait_until(lambda: more() == wanted, what="their count")  # a request is counted after it was answered


def counted(web: Web) -> dict[tuple[str, str], float]:
    """Requests so far, by method and address."""
    text = httpx.get(web.root.replace("/dicom-web", "/metrics")).text
    found = re.findall(r'hilum_http_requests_total\{method="(\w+)",route="([^"]+)",status="\d+"\} (\S+)', text)
    total: dict[tuple[str, str], float] = {}
    for method, route, count in found:
        total[method, route] = total.get((method, route), 0) + float(count)
    return total
