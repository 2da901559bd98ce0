"""What is done to each side, and the figures that come of it.

A scenario gets a fresh folder, starts what it needs there, measures, checks that nothing was lost, and ends it again;
to repeat and to interleave is the caller's part.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import corpus, deid, deid_words, dimse, linkage, rendered, retrieve, search
from bench.client import Client, latency_ms
from bench.corpus import Corpus
from bench.hilum_server import Platform
from bench.orthanc_server import Orthanc
from bench.processes import Failed, Group
from bench.relay import Relay
from bench.stow import store
from bench.table import Goal, Row
from bench.worklist import claims

Figures = Mapping[str, float]
Side = Callable[[Path, Corpus], Figures]
Load = Callable[[], tuple[float, float]]
"""Bring the corpus in; seconds it took, and of CPU."""

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One comparison: what Hilum does, what the peer does where it can do the like, on which files, with which rows."""

    name: str
    about: str
    full: Corpus
    quick: Corpus
    hilum: Side
    orthanc: Side | None
    rows: tuple[Row, ...]


def _files(files: Corpus) -> list[Path]:
    return sorted(path for path in corpus.ensure(files).rglob("*.dcm"))


def _warm(files: Corpus) -> None:
    """Bring the files into the page cache and everything written before onto the disk, the same for both sides."""
    for path in _files(files):
        path.read_bytes()
    os.sync()


def _ms_each(seconds: float, files: Corpus) -> float:
    return seconds * 1000 / files.num_instances


def _ct(server: Platform | Orthanc, files: Corpus, load: Load) -> Figures:
    server.group.settle()
    empty = server.group.pss_bytes()
    _warm(files)
    wall, cpu = load()
    server.group.settle()
    return {
        "ct.rate": files.num_instances / wall,
        "ct.cpu": _ms_each(cpu, files),
        "memory.empty": empty / MEGABYTE,
        "memory.ct": server.group.pss_bytes() / MEGABYTE,
    }


def _small(_: Platform | Orthanc, files: Corpus, load: Load) -> Figures:
    _warm(files)
    wall, cpu = load()
    return {"small.rate": files.num_instances / wall, "small.cpu": _ms_each(cpu, files)}


def _in_place(server: Platform, files: Corpus) -> Figures:
    _warm(files)
    wall, cpu = server.import_folder(corpus.ensure(files), files.num_instances, "--in-place")
    return {"in-place.rate": files.num_instances / wall, "in-place.cpu": _ms_each(cpu, files)}


def _studies(server: Platform | Orthanc, files: Corpus, load: Load) -> Figures:
    load()
    server.group.settle()
    with Client(server.port) as client:
        page = latency_ms(lambda: server.first_page(client))
    searches = search.measure(server, files.studies)
    server.group.settle()
    return {
        "page.median": page[0],
        "page.p95": page[1],
        **searches,
        "memory.studies": server.group.pss_bytes() / MEGABYTE,
    }


def _retrieve(server: Platform | Orthanc, files: Corpus, load: Load) -> Figures:
    load()
    server.group.settle()
    _warm(files)
    return retrieve.measure(server)


def _stow(name: str) -> Side:
    """STOW-RS, 100 instances a request on 4 connections, to Hilum."""

    def side(folder: Path, files: Corpus) -> Figures:
        with Platform(folder) as server:
            return _stored(name, server, files, server.instances)

    return side


def _stow_orthanc(name: str) -> Side:
    """The same to Orthanc's DICOMweb plugin."""

    def side(folder: Path, files: Corpus) -> Figures:
        with Orthanc(folder) as server, Client(server.port) as client:
            return _stored(name, server, files, lambda: client.get_count("/statistics", "CountInstances"))

    return side


def _stored(name: str, server: Platform | Orthanc, files: Corpus, held: Callable[[], int]) -> Figures:
    _warm(files)
    wall, cpu = store(server.port, server.group, _files(files))
    if held() != files.num_instances:
        raise Failed(f"The server holds {held()} instances, not the {files.num_instances} stored.")
    return {f"{name}.rate": files.num_instances / wall, f"{name}.cpu": _ms_each(cpu, files)}


def _dimse(name: str) -> Side:
    """C-STORE by dcmtk's storescu to Hilum: half of the studies on one association, half on four."""

    def side(folder: Path, files: Corpus) -> Figures:
        with Platform(folder) as server:
            return _sent(name, server, files, server.instances)

    return side


def _dimse_orthanc(name: str) -> Side:
    """The same to Orthanc."""

    def side(folder: Path, files: Corpus) -> Figures:
        with Orthanc(folder) as server, Client(server.port) as client:
            return _sent(name, server, files, lambda: client.get_count("/statistics", "CountInstances"))

    return side


def _sent(name: str, server: Platform | Orthanc, files: Corpus, held: Callable[[], int]) -> Figures:
    _warm(files)
    studies = sorted(corpus.ensure(files).iterdir())
    server.group.settle()
    figures = _rates(name, (server.dicom_port, [server.group]), studies, files)
    _check_held(held(), files)
    return figures


def _relayed(name: str) -> Side:
    """The same through a proxy and NATS, with the other half of the studies before that without."""

    def side(folder: Path, files: Corpus) -> Figures:
        with Relay(folder) as relay, Platform(folder, settings=relay.settings) as server:
            relay.start_proxy()
            _warm(files)
            studies = sorted(corpus.ensure(files).iterdir())
            half = len(studies) // 2
            server.group.settle()
            figures = _rates(f"{name}-direct", (server.dicom_port, [server.group]), studies[:half], files)
            figures |= _rates(name, (relay.port, [server.group, relay]), studies[half:], files)
            _check_held(server.instances(), files)
            return figures

    return side


def _rates(name: str, to: tuple[int, Sequence[Group | Relay]], studies: list[Path], files: Corpus) -> dict[str, float]:
    """Send half of some studies on one association, half on four."""
    half, figures = len(studies) // 2, dict[str, float]()
    for associations, chosen in ((1, studies[:half]), (dimse.ASSOCIATIONS, studies[half:])):
        wall, cpu = dimse.store(*to, chosen, associations)
        count = len(chosen) * files.series * files.instances
        figures |= {f"{name}.rate{associations}": count / wall, f"{name}.cpu{associations}": cpu * 1000 / count}
    return figures


def _check_held(held: int, files: Corpus) -> None:
    if held != files.num_instances:
        raise Failed(f"The server holds {held} instances, not the {files.num_instances} sent.")


def _dimse_rows(name: str, what: str) -> tuple[Row, ...]:
    return (
        Row(f"{name}.rate1", f"C-STORE of {what}, 1 association", "files/s", "higher", Goal("times better", 8)),
        Row(f"{name}.cpu1", "CPU of that", "ms/file", "lower"),
        Row(f"{name}.rate4", f"C-STORE of {what}, 4 associations", "files/s", "higher", Goal("times better", 4)),
        Row(f"{name}.cpu4", "CPU of that", "ms/file", "lower"),
    )


def _relayed_rows(name: str, what: str) -> tuple[Row, ...]:
    ways = ((f"{name}-direct", "direct"), (name, "through the relay"))
    return tuple(
        row
        for count in ("1", "4")
        for key, way in ways
        for row in (
            Row(f"{key}.rate{count}", f"C-STORE of {what} {way}, {count} association(s)", "files/s", "higher"),
            Row(f"{key}.cpu{count}", "CPU of that", "ms/file", "lower"),
        )
    )


def _rendered(server: Platform | Orthanc, files: Corpus, load: Load) -> Figures:
    load()
    server.group.settle()
    _warm(files)
    return rendered.measure(server)


def _demo(server: Platform, _: Corpus) -> Figures:
    return {"demo.page": server.seconds_to_ready}


def _hilum(measure: Callable[[Platform, Corpus, Load], Figures]) -> Side:
    """The side that imports by `hilum import`."""

    def side(folder: Path, files: Corpus) -> Figures:
        with Platform(folder) as server:
            return measure(server, files, lambda: server.import_folder(corpus.ensure(files), files.num_instances))

    return side


def _orthanc(measure: Callable[[Orthanc, Corpus, Load], Figures]) -> Side:
    """The side that sends to Orthanc's REST."""

    def side(folder: Path, files: Corpus) -> Figures:
        with Orthanc(folder) as server:
            return measure(server, files, lambda: server.upload(_files(files)))

    return side


def _hilum_alone(measure: Callable[[Platform, Corpus], Figures], command: str, ready: str) -> Side:
    """A side without a like at the peer."""

    def side(folder: Path, files: Corpus) -> Figures:
        with Platform(folder, command, ready) as server:
            return measure(server, files)

    return side


SCENARIOS = (
    Scenario(
        "ct",
        "import of CT files; memory before and after",
        Corpus("ct", studies=20, series=4, instances=25, edge=512),
        Corpus("ct", studies=2, series=4, instances=25, edge=512),
        _hilum(_ct),
        _orthanc(_ct),
        (
            Row("ct.rate", "import {} CT of 528 KB", "files/s", "higher", Goal("times better", 2)),
            Row("ct.cpu", "CPU of that", "ms/file", "lower"),
            Row("memory.empty", "memory, idle and empty", "MB", "lower"),
            Row("memory.ct", "memory, idle after {} CT", "MB", "lower", Goal("times row", 1.25, "memory.empty")),
        ),
    ),
    Scenario(
        "small",
        "import of small files",
        Corpus("small", studies=100, series=4, instances=25, edge=64),
        Corpus("small", studies=10, series=4, instances=25, edge=64),
        _hilum(_small),
        _orthanc(_small),
        (
            Row("small.rate", "import {} files of 12 KB", "files/s", "higher", Goal("times better", 2.5)),
            Row("small.cpu", "CPU of that", "ms/file", "lower"),
        ),
    ),
    Scenario(
        "stow-ct",
        "STOW-RS of CT files, 100 a request on 4 connections",
        Corpus("ct", studies=20, series=4, instances=25, edge=512),
        Corpus("ct", studies=2, series=4, instances=25, edge=512),
        _stow("stow-ct"),
        _stow_orthanc("stow-ct"),
        (
            Row("stow-ct.rate", "STOW-RS of {} CT", "files/s", "higher", Goal("times better", 2.5)),
            Row("stow-ct.cpu", "CPU of that", "ms/file", "lower"),
        ),
    ),
    Scenario(
        "stow-small",
        "STOW-RS of small files, 100 a request on 4 connections",
        Corpus("small", studies=100, series=4, instances=25, edge=64),
        Corpus("small", studies=10, series=4, instances=25, edge=64),
        _stow("stow-small"),
        _stow_orthanc("stow-small"),
        (
            Row("stow-small.rate", "STOW-RS of {} files of 12 KB", "files/s", "higher", Goal("times better", 2.5)),
            Row("stow-small.cpu", "CPU of that", "ms/file", "lower"),
        ),
    ),
    Scenario(
        "dimse-ct",
        "C-STORE of CT files by storescu",
        Corpus("ct", studies=8, series=1, instances=50, edge=512),
        Corpus("ct", studies=8, series=1, instances=10, edge=512),
        _dimse("dimse-ct"),
        _dimse_orthanc("dimse-ct"),
        _dimse_rows("dimse-ct", "CT"),
    ),
    Scenario(
        "dimse-small",
        "C-STORE of small files by storescu",
        Corpus("small", studies=8, series=1, instances=50, edge=64),
        Corpus("small", studies=8, series=1, instances=10, edge=64),
        _dimse("dimse-small"),
        _dimse_orthanc("dimse-small"),
        _dimse_rows("dimse-small", "files of 12 KB"),
    ),
    Scenario(
        "relay-ct",
        "C-STORE of CT files by storescu, direct and through proxy and NATS",
        Corpus("ct", studies=16, series=1, instances=50, edge=512),
        Corpus("ct", studies=16, series=1, instances=10, edge=512),
        _relayed("relay-ct"),
        None,
        _relayed_rows("relay-ct", "CT"),
    ),
    Scenario(
        "relay-small",
        "C-STORE of small files by storescu, direct and through proxy and NATS",
        Corpus("small", studies=16, series=1, instances=50, edge=64),
        Corpus("small", studies=16, series=1, instances=10, edge=64),
        _relayed("relay-small"),
        None,
        _relayed_rows("relay-small", "files of 12 KB"),
    ),
    Scenario(
        "in-place",
        "indexing files where they lie",
        Corpus("small", studies=100, series=4, instances=25, edge=64),
        Corpus("small", studies=10, series=4, instances=25, edge=64),
        _hilum_alone(_in_place, "serve", "/ready"),
        None,
        (
            Row("in-place.rate", "import --in-place of {} files", "files/s", "higher", Goal("value", 3000)),
            Row("in-place.cpu", "CPU of that", "ms/file", "lower"),
        ),
    ),
    Scenario(
        "studies",
        "the study list of a large archive; its memory",
        Corpus("studies", studies=10_000, series=1, instances=1, edge=64),
        Corpus("studies", studies=1_000, series=1, instances=1, edge=64),
        _hilum(_studies),
        _orthanc(_studies),
        (
            Row("page.median", "first page (20) of {} studies, median", "ms", "lower", Goal("value", 10)),
            Row("page.p95", "first page, 95th percentile", "ms", "lower"),
            *search.ROWS,
            Row(
                "memory.studies",
                "memory, idle after {} studies",
                "MB",
                "lower",
                Goal("times row", 1.25, "memory.empty"),
            ),
        ),
    ),
    Scenario(
        "retrieve",
        "WADO-RS: a series' metadata, a frame, an instance, a zip",
        Corpus("series", studies=1, series=1, instances=300, edge=512),
        Corpus("series", studies=1, series=1, instances=60, edge=512),
        _hilum(_retrieve),
        _orthanc(_retrieve),
        retrieve.ROWS,
    ),
    Scenario(
        "worklist",
        "claims of workitems, and a subscriber told of each",
        Corpus("none", studies=0, series=0, instances=0, edge=0),
        Corpus("none", studies=0, series=0, instances=0, edge=0),
        _hilum_alone(claims, "serve", "/ready"),
        None,
        (
            Row("claim.median", "claim a workitem, median", "ms", "lower"),
            Row("claim.told", "claim to report at a subscriber, median", "ms", "lower"),
            Row("claim.told95", "claim to report, 95th percentile", "ms", "lower"),
            Row("claim.cpu", "CPU of both", "ms/claim", "lower"),
        ),
    ),
    Scenario(
        "linkage",
        "linking a million real series to an OMOP CDM",
        Corpus("none", studies=0, series=1_050_000, instances=0, edge=0),
        Corpus("none", studies=0, series=100_000, instances=0, edge=0),
        _hilum_alone(linkage.link, "api", "/ready"),
        None,
        linkage.ROWS,
    ),
    Scenario(
        "rendered",
        "WADO-RS: pictures and thumbnails",
        Corpus("body", studies=1, series=1, instances=300, edge=512, body=True),
        Corpus("body", studies=1, series=1, instances=60, edge=512, body=True),
        _hilum(_rendered),
        _orthanc(_rendered),
        rendered.ROWS,
    ),
    Scenario(
        "deid",
        "hilum deid beside other tools: headers, and images looked at for text",
        Corpus("headers", studies=4, series=2, instances=100, edge=8),
        Corpus("headers", studies=2, series=2, instances=50, edge=8),
        deid.measure,
        deid.measure_peers,
        deid.ROWS,
    ),
    Scenario(
        "deid-score",
        "hilum deid beside other tools: how well it is done",
        Corpus("none", studies=0, series=0, instances=0, edge=0),
        Corpus("none", studies=0, series=0, instances=0, edge=0),
        deid.measure_score,
        deid.measure_peers_score,
        deid.SCORE_ROWS,
    ),
    Scenario(
        "deid-words",
        "words kept of real descriptions, and names left that are put among them",
        Corpus("none", studies=0, series=0, instances=0, edge=0),
        Corpus("none", studies=0, series=0, instances=0, edge=0),
        deid_words.measure,
        None,
        deid_words.ROWS,
    ),
    Scenario(
        "demo",
        "the first start, data made on the way",
        Corpus("none", studies=0, series=0, instances=0, edge=0),
        Corpus("none", studies=0, series=0, instances=0, edge=0),
        _hilum_alone(_demo, "demo", "/imaging"),
        None,
        (Row("demo.page", "hilum demo to page served", "s", "lower", Goal("value", 30)),),
    ),
)
