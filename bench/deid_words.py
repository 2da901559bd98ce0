"""How many words of real descriptions are kept, and how many names that are put among them: the descriptions of public
collections (Imaging Data Commons, index of `idc-index-data`) that nobody looked at when the word lists were written,
and the names of the US census and of other countries (`names`, `faker`).

A collection is held out by a hash of its name, three of ten. Who writes words for the lists looks only at the others:

    .venv/bin/python -m bench.deid_words lost [COUNT]

lists what these lose, by the number of collections. Words are runs of letters and digits with a letter; a description's
weight is the number of its series, or one.
"""

import hashlib
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path

from bench.corpus import Corpus
from bench.processes import Failed
from bench.table import Goal, Row
from hilum.research.deid.identifiers import collected
from hilum.research.deid.text import Cleaner
from hilum.research.deid.uids import UidMap
from hilum.research.deid.words import fold

_KEPT = "words kept of the descriptions of collections held out"
ROWS = (
    Row("words.series", f"{_KEPT}, by series", "%", "higher", Goal("value", 98)),
    Row("words.distinct", f"{_KEPT}, each description once", "%", "higher", Goal("value", 98)),
    Row("words.collections", f"{_KEPT}, mean of the collections", "%", "higher"),
    Row("words.images", f"{_KEPT}, mean of the collections, images of patients only", "%", "higher"),
    Row("words.names", "surnames and given names left of 2,000 put into descriptions", "%", "lower"),
    Row("words.cpu", "CPU of cleaning a description seen for the first time", "us", "lower"),
)
NAMES = 2000
_WORD = re.compile(r"[^\W_]*[^\W\d_][^\W_]*")
_HELD_OUT = 3
_OF = 10
# What is planted there is not wanted.
_PLANTED = "pseudo_phi_dicom_data"
_RADIOLOGY = ("CT", "MR", "PT", "CR", "DX", "MG", "US", "NM", "RF", "XA")
_FORMS = ("{}", "{}", "{}", "{}_t2", "T1{}", "{}320")
_LATIN = (
    "cs",
    "da",
    "de",
    "en",
    "es",
    "fi",
    "fr",
    "hr",
    "hu",
    "id",
    "it",
    "lt",
    "nl",
    "no",
    "pl",
    "pt",
    "ro",
    "sl",
    "sv",
    "tr",
)


@dataclass(frozen=True, slots=True)
class Described:
    """A description of a collection: how many series have it, and whether they are images of patients."""

    collection: str
    text: str
    count: int
    image: bool


@dataclass(slots=True)
class Kept:
    """Words, and those of them that were lost, by weight."""

    series: int = 0
    series_lost: int = 0
    words: int = 0
    lost: int = 0

    def add(self, words: int, lost: int, count: int) -> None:
        self.series += words * count
        self.series_lost += lost * count
        self.words += words
        self.lost += lost


def held_out(collection: str) -> bool:
    """Whether a collection is one that the lists were not written from."""
    return int(hashlib.sha256(collection.encode()).hexdigest(), 16) % _OF < _HELD_OUT


def measure(_folder: Path, _files: Corpus) -> Mapping[str, float]:
    """The share of words that are kept in collections held out, and of names that are left."""
    given = [one for one in descriptions() if held_out(one.collection)]
    one = nobody()
    all_of_them, images = defaultdict[str, Kept](Kept), defaultdict[str, Kept](Kept)
    once: set[str] = set()
    distinct, cpu = Kept(), 0.0
    for described in given:
        began = time.process_time()
        made = one.describe(described.text)
        cpu += time.process_time() - began
        words = Counter(_WORD.findall(described.text))
        lost = (words - Counter(_WORD.findall(made))).total()
        all_of_them[described.collection].add(words.total(), lost, described.count)
        if described.image:
            images[described.collection].add(words.total(), lost, described.count)
        if described.text not in once:
            once.add(described.text)
            distinct.add(words.total(), lost, 1)
    total = sum(kept.series for kept in all_of_them.values())
    return {
        "words.series": 100 - 100 * sum(kept.series_lost for kept in all_of_them.values()) / total,
        "words.distinct": 100 - 100 * distinct.lost / distinct.words,
        "words.collections": _mean(all_of_them),
        "words.images": _mean(images),
        "words.names": 100 * len(left(one, given)) / NAMES,
        "words.cpu": 1e6 * cpu / len(once),
    }  # fmt: skip


def _mean(kept: Mapping[str, Kept]) -> float:
    shares = [1 - one.series_lost / one.series for one in kept.values() if one.series]
    return 100 * sum(shares) / len(shares)


def nobody() -> Cleaner:
    """A cleaner that knows of no person."""
    return Cleaner(collected([]).patterns(), UidMap(b"k" * 32).new)


@cache
def descriptions() -> list[Described]:
    """All descriptions of studies and series, each once for a collection and kind of series."""
    try:
        import duckdb

        index = files("idc_index_data").joinpath("idc_index.parquet")
    except ImportError as error:
        raise Failed("The index of real series is not installed: uv pip install --group bench") from error
    each = " union all ".join(
        f"select collection_id, {column} as text, Modality in {_RADIOLOGY} and analysis_result_id is null as image "
        f"from '{index}' where {column} is not null"
        for column in ("SeriesDescription", "StudyDescription")
    )
    with duckdb.connect() as duck:
        duck.execute("set threads = 1")
        rows = duck.execute(
            f"select collection_id, text, count(*), image from ({each}) group by all order by all"
        ).fetchall()
    return [Described(name, text, count, image) for name, text, count, image in rows if name != _PLANTED]


def left(one: Cleaner, given: list[Described]) -> list[str]:
    """The names that are left of those put into descriptions at any place, in any form; the same each time."""
    rng = random.Random(7)
    texts = sorted({described.text for described in given})
    found: list[str] = []
    for name in rng.sample(sorted(people()), NAMES):
        text = rng.choice(texts)
        words = text.split(" ")
        written = rng.choice((name, name.upper(), name.capitalize()))
        words.insert(rng.randrange(len(words) + 1), rng.choice(_FORMS).format(written))
        if fold(one.describe(" ".join(words))).count(name) > fold(one.describe(text)).count(name):
            found.append(name)
    return found


@cache
def people() -> frozenset[str]:
    """Surnames and given names of three letters or more, folded."""
    try:
        names = import_module("names")
        faker = import_module("faker")
    except ImportError as error:
        raise Failed("Lists of names are not installed: uv pip install --group bench") from error
    found = {line.split()[0].lower() for path in names.FILES.values() for line in Path(path).read_text().splitlines()}
    found |= {
        fold(word) for name in _of_faker(Path(str(faker.__file__)).parent) for word in re.findall(r"[^\W\d_]+", name)
    }
    return frozenset(name for name in found if len(name) > 2 and name.isascii())


def _of_faker(folder: Path) -> Iterator[str]:
    """The names in its tables of persons, in languages of Latin letters."""
    for module in sorted((folder / "providers" / "person").glob("*/__init__.py")):
        if module.parent.name.split("_")[0] not in _LATIN:
            continue
        provider = import_module(f"faker.providers.person.{module.parent.name}").Provider
        for key in ("first_names", "first_names_male", "first_names_female", "last_names"):
            table = getattr(provider, key, ())
            yield from () if isinstance(table, property) else table


def _lost(most: int) -> None:
    """Tell what the collections that may be looked at lose."""
    one = nobody()
    found: dict[str, tuple[set[str], Counter[str]]] = {}
    for described in descriptions():
        if held_out(described.collection):
            continue
        gone = Counter(_WORD.findall(described.text)) - Counter(_WORD.findall(one.describe(described.text)))
        for word in gone:
            collections, texts = found.setdefault(word, (set(), Counter()))
            collections.add(described.collection)
            texts[described.text] += described.count
    for word, (collections, texts) in sorted(found.items(), key=lambda one: (-len(one[1][0]), -one[1][1].total()))[
        :most
    ]:
        print(word, len(collections), texts.total(), *(text for text, _ in texts.most_common(2)), sep="\t")


if __name__ == "__main__":
    if sys.argv[1:2] == ["lost"]:
        _lost(int(sys.argv[2]) if len(sys.argv) > 2 else 200)
    else:
        for key, value in measure(Path(), None).items():  # pyright: ignore[reportArgumentType]
            print(f"{key:20} {value:8.2f}")
