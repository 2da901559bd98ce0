"""What is known of a person (names, ids, dates, phones, addresses) as patterns that find it in any text, however it is
written: folded to small letters without accents, names in every order and with initials, numbers with any separators.
What is known comes from the file itself and from the site's list; what is done with a find is for ``text``."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from hilum.research.deid.words import fold, is_word, stands_inside_a_word

Kind: TypeAlias = Literal["name", "id", "date", "phone", "text"]

_LETTERS: Final = re.compile(r"[^\W\d_]+")
_GAP: Final = r"[\W_]{0,3}"
_MAX: Final = 4000
_EXPANDED: Final = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe"}
_PARTICLES: Final = frozenset(
    """
    de la da do dos das del der den van von zu di du le el al bin ibn abu st san dr mr mrs ms md jr sr phd
    rn prof iii ii and the of for no none unknown anonymous anon test
    """.split()  # noqa: SIM905 - easier to read
)
# By English abbreviations and names, then names and abbreviations in other languages, all folded.
_MONTHS: Final = (
    "jan(?:uary|uar|vier|eiro)?|januari|enero|gennaio|ene|января|stycznia",
    "feb(?:ruary|ruar|ruari|rero|braio)?|fevrier|fevereiro|fev|февраля|lutego",
    "mar(?:ch|z|s|zo|co)?|mrz|maart|marca|марта",
    "apr(?:il|ile)?|avril|abril|avr|abr|апреля|kwietnia",
    "may|mai|mayo|maio|maggio|mei|maja|мая",
    "june?|juni|juin|junio|junho|giugno|июня|czerwca",
    "july?|juli|juillet|juil|julio|julho|luglio|июля|lipca",
    "aug(?:ust|ustus)?|aout|agosto|ago|августа|sierpnia",
    "sept?(?:ember|embre|iembre)?|settembre|setembro|сентября|wrzesnia",
    "oct(?:ober|obre|ubre)?|okt(?:ober)?|outubro|ottobre|октября|pazdziernika",
    "nov(?:ember|embre|iembre|embro)?|ноября|listopada",
    "dec(?:ember|embre)?|dez(?:ember|embro)?|dic(?:iembre|embre)?|dicembre|декабря|grudnia",
)
MONTH: Final = f"(?:{'|'.join(_MONTHS)})(?![^\\W\\d_])"
"""A month by its name, in folded text."""
WHOLE_MONTH: Final = (
    "(?:january|januar|janvier|janeiro|enero|gennaio|february|februar|fevrier|fevereiro|febrero|febbraio|march|april|avril|"
    "abril|aprile|maggio|june|juin|junio|junho|giugno|july|juillet|julio|julho|luglio|august|agosto|september|septembre|"
    "septiembre|settembre|setembro|october|oktober|octobre|octubre|outubro|ottobre|november|novembre|noviembre|novembro|"
    "december|dezember|decembre|diciembre|dezembro|dicembre)(?![^\\W\\d_])"
)
"""One whose name means nothing else, so that it needs no year beside it."""
_LONG_NAME: Final = 6
_CODECS: Final = ("utf_8", "latin_1", "utf_16_le", "utf_16_be", "shift_jis", "iso8859_5", "euc_kr", "gb18030")
_MIN_RAW: Final = 6
_MEMORY: Final = 20_000
_SHORT: Final = 256


@dataclass(slots=True)
class Identifiers:
    """What is known of one person, to be added to and then searched for.

    Attributes
    ----------
    known
        Values by kind.
    allowed
        Values that are no identifiers although they look like one, such as the new PatientID.
    """

    known: set[tuple[Kind, str]] = field(default_factory=set[tuple[Kind, str]])
    allowed: set[str] = field(default_factory=set[str])

    def add(self, kind: Kind, value: str) -> None:
        """Learn an identifier."""
        value = value.strip(" \0^=")
        if len(value) > 1 and value not in self.allowed and len(self.known) < _MAX:
            self.known.add((kind, value[:256]))

    def patterns(self) -> "Patterns":
        """What finds them."""
        return _patterns(frozenset(self.known), frozenset(self.allowed))


@dataclass(frozen=True, slots=True)
class Patterns:
    """What finds a person's identifiers in folded text.

    Attributes
    ----------
    all
        Everything, for text that is cleaned.
    strong
        What can be nothing else: without short names and phrases of words of radiology. For text that is kept, and
        for the search of what is written.
    raw
        Bytes, ASCII letters small, that may stand nowhere in a file.
    """

    all: re.Pattern[str] | None
    strong: re.Pattern[str] | None
    raw: tuple[bytes, ...]
    _innocent: set[str] = field(default_factory=set[str], compare=False, repr=False)

    def finds(self, text: str) -> bool:
        """Whether a text holds something that can be nothing else; most stand in every file of a series."""
        if self.strong is None or text in self._innocent:
            return False
        if self.strong.search(fold(text)) is not None:
            return True
        if len(text) <= _SHORT:
            if len(self._innocent) >= _MEMORY:
                self._innocent.clear()
            self._innocent.add(text)
        return False


@lru_cache(maxsize=2048)
def _patterns(known: frozenset[tuple[Kind, str]], allowed: frozenset[str]) -> Patterns:
    weak: set[str] = set()
    strong: set[str] = set()
    plain: set[str] = set()
    for kind, value in sorted(known):
        if value in allowed:
            continue
        if kind == "name":
            _name(value, weak, strong, plain)
        elif kind == "date":
            strong.update(_dates(value))
        elif kind in ("id", "phone"):
            _number(value, strong, plain, phone=kind == "phone")
        else:
            _phrase(value, weak, strong, plain)
    return Patterns(_compiled(weak | strong), _compiled(strong), _raw(plain))


def _compiled(patterns: set[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(sorted(patterns, key=lambda one: (-len(one), one)))) if patterns else None


def _raw(values: set[str]) -> tuple[bytes, ...]:
    """The values in small letters, in every encoding that a file may hold them in; short ones happen by chance."""
    encoded: set[bytes] = set()
    for value in values:
        for codec in _CODECS:
            try:
                encoded.add(value.encode(codec).lower())
            except UnicodeEncodeError:
                continue
    return tuple(sorted(one for one in encoded if len(one) >= _MIN_RAW))


def _name(value: str, weak: set[str], strong: set[str], plain: set[str]) -> None:
    """A person's name in DICOM's form (components by ^, groups by =), or as people write one."""
    for group in value.split("="):
        components = [part.strip() for part in group.replace(",", "^").split("^")]
        parts = [part for component in components for part in _parts(component)]
        joined = [
            "".join(_LETTERS.findall(component)) for component in components if re.search(r"\w['’\-]\w", component)
        ]
        strong.update(map(_spelled, filter(_has_particle, components)))
        for part in (*parts, *joined):
            for form in _forms(part):
                _single(form, weak, strong, plain)
        weak.update(_initials(parts))
        if len(parts) > 1:
            strong.update(_together(parts))
            if len(parts) < 5:
                plain.update({" ".join(parts), "^".join(parts), "^".join(filter(None, components))})


def _parts(component: str) -> list[str]:
    return [part for part in _LETTERS.findall(component) if fold(part) not in _PARTICLES]


def _has_particle(component: str) -> bool:
    words = _LETTERS.findall(component)
    return 1 < len(words) < 6 and any(fold(word) in _PARTICLES for word in words) and bool(_parts(component))


def _spelled(component: str) -> str:
    """A part of a name with its particles, as in de la Cruz."""
    return r"(?<![a-z])" + r"[\W_]{1,3}".join(map(fold, _LETTERS.findall(component))) + r"(?![a-z])"


def _forms(part: str) -> Iterator[str]:
    yield fold(part)
    lower = part.lower()
    expanded = "".join(_EXPANDED.get(one, one) for one in lower)
    if expanded != lower:
        yield fold(expanded)


def _single(form: str, weak: set[str], strong: set[str], plain: set[str]) -> None:
    """One part of a name by itself."""
    if not form.isascii():
        if len(form) > 1:
            strong.add(re.escape(form))
            plain.add(form)
        return
    if len(form) < 2:
        return
    if is_word(form):
        return  # by itself it says nothing: with the other parts it is found
    if len(form) == 2:
        weak.add(rf"(?<![a-z]){form}(?![a-z])")
        return
    alone = len(form) < _LONG_NAME or stands_inside_a_word(form)
    strong.add(rf"(?<![a-z]){form}(?![a-z])" if alone else form)
    if len(form) > 4:
        plain.add(form)


def _together(parts: list[str]) -> Iterator[str]:
    """Two parts in either order, and one with the initials of others."""
    folded = [re.escape(fold(part)) for part in parts[:6]]
    letters = "[" + "".join(sorted({part[0] for part in folded if part[0].isalpha()})) + "]"
    for first in folded:
        for second in folded:
            if first != second and len(first) + len(second) > (3 if first.isascii() else 2):
                yield rf"(?<![a-z]){first}{_GAP}{second}(?![a-z])"
                if len(second) > 1 and first.isascii():
                    initial = _INITIAL if len(second) > 2 else _POINT
                    yield rf"(?<![a-z])(?:{letters}{initial}){{0,2}}{first[0]}{initial}{second}(?![a-z])"
                    yield rf"(?<![a-z]){second}(?:{_SEPARATED}){first[0]}\b(?:(?:{_SEPARATED}){letters}\b){{0,2}}"


def _initials(parts: list[str]) -> Iterator[str]:
    """Three or four initials as they stand or with points, and two with points, the family's first or last."""
    letters = [fold(part)[0] for part in parts[:4]]
    if len(letters) < 2 or not all(one.isascii() for one in letters):
        return
    for order in (letters, letters[1:] + letters[:1]):
        yield r"(?<![a-z])" + r"\s?".join(rf"{one}\." for one in order) + r"(?![a-z])"
        if len(order) > 2 and not is_word("".join(order)):
            yield rf"(?<![a-z]){''.join(order)}(?![a-z])"


_INITIAL: Final = r"[._\-]?\s?"
_POINT: Final = r"\.\s?"
_SEPARATED: Final = r"[,^_.]\s?|,?\s"


def _number(value: str, strong: set[str], plain: set[str], *, phone: bool) -> None:
    """An identifier of letters and digits, with any or no separators, leading zeros or not."""
    core = re.sub(r"[\W_]", "", fold(value))
    if phone:
        digits = re.sub(r"\D", "", core)
        core = digits[-10:]
        if len(digits) >= 10:
            strong.add(rf"(?<![\w.]){digits[-7:-4]}[\s.\-]{digits[-4:]}(?!\d)")
    if len(core) < 3 or (not any(one.isdigit() for one in core) and (len(core) < 4 or is_word(core))):
        return
    longest = max(re.findall(r"\d+", core), key=len, default="")
    for one in {core, longest if len(longest.lstrip("0")) > 5 else core}:
        stripped = one.lstrip("0") or one
        body = r"[\s\-./_]?".join(map(re.escape, stripped))
        if len(stripped) >= 3:
            strong.add(rf"(?<![a-z0-9.])0{{0,16}}{body}(?![a-z0-9]|\.[0-9])")
    if len(value) >= 6:
        plain.add(value)


def _phrase(value: str, weak: set[str], strong: set[str], plain: set[str]) -> None:
    """Free text such as an address or an institution, whole and in its parts between commas."""
    for piece in {value, *re.split(r"[,;\\^]", value)}:
        words = re.findall(r"[^\W_]+", fold(piece))
        if sum(map(len, words)) < 4:
            continue
        pattern = r"(?<![^\W_])" + r"[\W_]+".join(map(re.escape, words)) + r"(?![^\W_])"
        if all(is_word(word) or (word.isdigit() and len(word) < 5) for word in words):
            weak.add(pattern)
        else:
            strong.add(pattern)
            plain.add(piece.strip())


def _dates(value: str) -> Iterator[str]:
    """A date as people and devices write it."""
    digits = re.sub(r"\D", "", value)[:8]
    try:
        day = dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return
    y, m, d = f"{day:%Y}", f"0?{day.month}", f"0?{day.day}"
    short = y[2:]
    s = r"[\s./\-_]"
    yield rf"(?<!\d){y}{s}?{day:%m}{s}?{day:%d}(?!\d)"
    yield rf"(?<!\d){y}{s}{m}{s}{d}(?!\d)"
    for first, second in ((m, d), (d, m)):
        yield rf"(?<!\d){first}{s}{second}{s}(?:{y}|{short})(?!\d)"
    yield rf"(?<!\d)(?:{day:%m%d}|{day:%d%m}){y}(?!\d)"
    month = f"(?:{_MONTHS[day.month - 1]})"
    between = r"[\s.,\-/_]*(?:(?:of|de)\s)?"
    yield rf"(?<!\d){d}(?:st|nd|rd|th)?{between}{month}{between}(?:{y}|{short})(?!\d)"
    yield rf"(?<![a-z]){month}[\s.,\-/]*{d}(?:st|nd|rd|th)?[\s.,\-/]*(?:{y}|{short})(?!\d)"


def collected(values: Iterable[tuple[Kind, str]], allowed: Iterable[str] = ()) -> Identifiers:
    """Identifiers from pairs of kind and value."""
    found = Identifiers(allowed=set(allowed))
    for kind, value in values:
        found.add(kind, value)
    return found
