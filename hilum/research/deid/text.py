"""Text that leaves a site. Descriptions are cleaned in layers: what is known of the person goes, then what looks like
an identifier, then every word that is none of radiology. Text that stays as it is loses the first two. Which text is
treated how is for ``profile``."""

import re
from collections.abc import Callable
from typing import Final

from hilum.research.deid.identifiers import MONTH, WHOLE_MONTH, Patterns
from hilum.research.deid.spelling import is_spelling, names, parts
from hilum.research.deid.words import allowed_phrases, allowed_words, fold, is_run_of_words

_YEAR: Final = r"(?:19|20)\d\d"
# A day, a month by its name, and what may stand between them.
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th|er|º|ª)?"
_OF: Final = r"[\s.,/_-]*(?:(?:of|de|di|den)\s)?"
# Ages over 89, and 90 to 99 with nothing but m or f behind them.
_OLD: Final = (
    r"(?<![\w.])(?:9\d|1[0-2]\d)[\s-]*(?:y\.?\s?/?o(?:\.|\b)|yrs?\b|years?\b|year-old|jahre|jahrige|ans\b|anos\b|anni\b|jaar|歳|岁|세)"
    r"|(?<![\w.-])(?:9\d\s?(?:yo|f)|9[0-8]\s?m|9\dyom)(?![\w.])|(?<![a-z])aged?\s?[:=]?\s?(?:9\d|1[0-2]\d)(?!\d)"
)
_PATTERNS: Final = re.compile(
    "|".join(
        (
            r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+",  # e-mail
            r"(?:https?|ftp)://\S+|www\.\S+",
            r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)",  # SSN
            r"(?<![\w.])(?:\+?\d{1,3}[\s.-])?(?:\(\d{3}\)\s?|\d{3}[\s.-])\d{3}[\s.-]\d{4}(?!\d)",
            r"(?<!\w)\+\d{1,3}\s?(?:\(0\))?(?:[\s./-]?\d{2,5}){2,5}(?!\d)",
            r"(?<![\w.])\(?0\d{1,4}\)?[\s./-]\d{2,4}[\s./-]?\d{3,}(?!\d)",
            r"(?<![\w.=-])\d{3}-\d{4}(?![\d-])",
            rf"(?<!\d){_YEAR}[-./_](?:0?[1-9]|1[0-2])[-./_](?:[12]\d|3[01]|0?[1-9])(?:[t\s]\d\d:\d\d(?::\d\d)?)?(?!\d)",
            rf"(?<!\d)(?:[12]\d|3[01]|0?[1-9])[-./_](?:[12]\d|3[01]|0?[1-9])[-./_](?:{_YEAR}|\d\d)(?![\d.])",
            rf"(?<!\d){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[_t-]?\d{{4}}(?:\d\d)?)?(?!\d)",
            rf"(?<!\d){_YEAR}[-/.](?:0[1-9]|1[0-2])(?![\d.])|(?<![\d/.])(?:0?[1-9]|1[0-2])[-/]{_YEAR}(?!\d)",
            rf"(?<!\d){_DAY}{_OF}{MONTH}{_OF}(?:{_YEAR}|'?\d\d)(?!\d)",
            rf"(?<![a-z]){MONTH}[\s.,-]*{_DAY}[\s.,-]+(?:{_YEAR}|'\d\d)(?!\d)",
            rf"(?<![a-z]){MONTH}{_OF}{_YEAR}(?!\d)",
            rf"(?<!\d){_DAY}{_OF}{WHOLE_MONTH}|(?<![a-z]){WHOLE_MONTH}\s{_DAY}(?![\w.])",
            r"(?<!\d)\d{1,4}\s?[年년](?:\s?\d{1,2}\s?[月월](?:\s?\d{1,2}\s?[日일号]?)?)?|\d{1,2}\s?[月월]\s?\d{1,2}\s?[日일号]",
            _OLD,
            r"(?<!\d)(?:\d{1,3}\.){3}\d{1,3}(?![\d.])",  # IP address
            r"(?<![\w.])\d{1,5}[a-z]?\s(?:[^\W\d_]+\.?\s){1,3}(?:street|lane|avenue|road|drive|boulevard|terrace|plaza)(?![a-z])",
            r"(?<![a-z])(?:pat(?:ient)?\s?)?name\s?[:#=]\s?[^\s,;]+(?:\s?[,^]\s?[^\s,;]+)?",
            r"(?<![a-z])(?:mrn|ssn|nhs|hn|dob|d\.o\.b\.?|born|geb\.?|acc(?:ession|t|ount)?(?:\s?(?:no|nr|number|#))?|"
            r"pat(?:ient)?(?:\s?(?:id|no|nr))?|pid|phone|ph|tel|fax|mobile|cell|address|addr|policy|order|visit|"
            r"case|chart|insurance|passport)\s?(?:[:#=]|no\.|nr\.)\s?[^\s,;]+",
            r"(?<![a-z])(?:mrn|ssn|dob|nhs)\s+[\w/.-]*\d[\w/.-]*(?:\s\d{3,})*",
        )
    )
)
_NAME: Final = r"(?:[^\W\d_]\.\s?)?([^\W\d_]{1,40})(?:[-'][^\W\d_]{1,40})?"
# What is said before a name and before nothing else: whatever follows goes.
_ADDRESSED: Final = re.compile(
    rf"(?<![a-z])(?:(?:dr|prof|mr|ms|dott)\.\s?|(?:mrs|mme|mlle|herr|frau|senora?|signora?|monsieur|madame)\.?\s|"
    rf"(?:nurse|doctor|physician|tech|technologist|radiologist|operator|patient|surgeon)\s?:\s?){_NAME}"
)
# A title and a name, or a name and a degree; "MR brain" and "DR chest" are none.
_TITLED: Final = re.compile(
    rf"(?<![a-z])(?:dr|prof|mr|ms|miss|nurse|doctor|physician|tech|technologist|radiologist|operator)\s{_NAME}"
    r"|(?<![^\W\d_])([^\W\d_]{1,40})(?:[-'][^\W\d_]{1,40})?,?\s(?:m\.?d\.?|ph\.?d\.?|d\.?o\.|r\.?n\.?|rt\(r\))(?![a-z])"
)
_MODALITIES: Final = ("DR", "MR")
"""What of a title and a name may stay, the name being none."""
_UID: Final = re.compile(r"(?<![\d.])(?=[\d.]{14})[0-2](?:\.\d{1,39}){4,}(?![\d.]*\d)")
_CHUNK: Final = re.compile(r"[^\W_]+")
# Chinese, Japanese and Korean characters; other letters; digits.
_RUN: Final = re.compile(
    r"[\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3]+|(?:(?![\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3])[^\W\d_])+|\d+"
)
# ChestAbdPelvis, sSUB, ThoraxC; T2FStoPET.
_CAMEL: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
_CASES: Final = re.compile(r"[A-Z]+|[^\W\d_A-Z]+")
# What names in two parts begin with: DeLong.
_PARTICLES: Final = frozenset("al da de del des di du el la le mac mc o st van von".split())  # noqa: SIM905 - easier to read
# Written before a word: 3DFGRE.
_DIMENSIONS: Final = re.compile(r"(?<!\d)[234][dD](?=[^\W\d_]{2})")
_SERIAL: Final = re.compile(r"(?<!\d)\d+(?:[-/]\d+){2,}(?!\d)|(?<![\w.=])\d{2,}-\d{4,}(?!\d)")
_DANGLING: Final = re.compile(r"(?<!\w)'s(?!\w)|(?<!\w)[^\w\s<>+*%()\[\]]+(?!\w)|\(\W*\)|\[\W*\]")
_TORN: Final = re.compile(r"(?<=[^\W_])_\s+_(?=[^\W_])")
_SPACES: Final = re.compile(r"\s{2,}")
# Nobody is called so: arthrogram, cystoscopy, lithotomy; and what sciences say: harmonization, monocytes, periodicity.
_MEDICAL: Final = re.compile(
    r"[a-z]{4,}(?:grams?|graph(?:y|ic|ie|ia)|grafia|scop(?:y|ic|ie|ia)|plasty|ectomy|otomy|ostomy|centesis|(?<!a)itis|opathy|megaly)"
    r"|[a-z]{3,}(?:[aeiuco]tions?|[eiu]sions?|cyt(?:es?|ic)|blast(?:s|ic|oma)|i[sz]ed|ically|ality|ivity|ility|osity|metr(?:y|ic)|"
    r"ology|ologic(?:al)?|graphical|aemia|trophy|plas(?:ia|ic|tic)|gen(?:ic|esis)|cellular)"
)
# Kernels and matrices: Br40d, 512x512.
_KERNEL: Final = re.compile(r"[a-z]{1,2}\d{1,2}[a-z]?|\d{1,4}(?:x\d{1,4}){1,2}(?:mm)?")
_MAX_DIGITS: Final = 4
_SHORTEST_CAMEL: Final = 3
_MEMORY: Final = 20_000
_MAX_DESCRIPTION: Final = 1 << 18
"""Characters of a description that are looked at; a longer one goes."""


class Cleaner:
    """Cleans the texts of one person.

    Parameters
    ----------
    patterns
        What is known of the person.
    new_uid
        The new UID of an old one.
    words
        A site's own words, in small letters.
    """

    def __init__(self, patterns: Patterns, new_uid: Callable[[str], str], words: frozenset[str] = frozenset()) -> None:
        self._patterns: Final = patterns
        self._new_uid: Final = new_uid
        self._words: Final = words
        self._described: dict[str, str] = {}
        self._scrubbed: dict[str, str] = {}

    def describe(self, text: str) -> str:
        """A description with nothing in it but words of radiology, short numbers and what stands between them."""
        found = self._described.get(text)
        if found is None:
            if len(self._described) > _MEMORY:
                self._described.clear()
            found = self._described[text] = self._describe(text)
        return found

    def scrub(self, text: str) -> str:
        """A text without what is known of the person and what looks like an identifier of anyone."""
        found = self._scrubbed.get(text)
        if found is None:
            if len(self._scrubbed) > _MEMORY:
                self._scrubbed.clear()
            found = self._scrubbed[text] = self._scrub(text)
        return found

    def plain(self, text: str) -> str:
        """A text without what is known of the person: of versions and models, which look like dates and addresses."""
        return _tidy(_without(text, (self._patterns.strong,))) if self.knows(text) else text

    def knows(self, text: str) -> bool:
        """Whether a text holds something known of the person that can be nothing else."""
        return self._patterns.finds(text)

    def _scrub(self, text: str) -> str:
        known = self._patterns.strong
        cut = self._between_uids(text, lambda part: _without(part, (_ADDRESSED, _TITLED, _PATTERNS, known)))
        return text if cut == text else _tidy(cut)

    def _describe(self, text: str) -> str:
        if len(text) > _MAX_DESCRIPTION:
            return ""
        made = self._between_uids(text, self._described_part)
        if made == text:
            return text
        made = _tidy(made)
        return made if re.search(r"\w", made) else ""

    def _described_part(self, text: str) -> str:
        cut = _without(text, (_ADDRESSED, _TITLED, _PATTERNS, self._patterns.all, _SERIAL))
        chunks = list(_CHUNK.finditer(cut))
        let_pass = _phrases([fold(chunk[0]) for chunk in chunks])
        kept: list[str] = []
        place = 0
        for number, chunk in enumerate(chunks):
            kept += (cut[place : chunk.start()], chunk[0] if number in let_pass else self._chunk(chunk[0]))
            place = chunk.end()
        return "".join((*kept, cut[place:]))

    def _between_uids(self, text: str, clean: Callable[[str], str]) -> str:
        """A text with its UIDs made new, and what stands between them cleaned."""
        kept: list[str] = []
        place = 0
        for match in _UID.finditer(text):
            kept += (clean(text[place : match.start()]), self._new_uid(match[0]))
            place = match.end()
        return "".join((*kept, clean(text[place:])))

    def _chunk(self, chunk: str) -> str:
        folded = fold(chunk)
        if self._allowed(folded) or _KERNEL.fullmatch(folded):
            return chunk
        digits = sum(map(str.isdigit, chunk))
        if digits > _MAX_DIGITS:
            return ""
        runs = _RUN.findall(chunk)
        if all(map(self._fine, runs)):
            return chunk
        undimensioned = _DIMENSIONS.sub("_", chunk)
        return chunk if undimensioned != chunk and all(map(self._fine, _RUN.findall(undimensioned))) else ""

    def _fine(self, run: str) -> bool:
        """Whether a run of characters of one kind may stay, as a part of a word."""
        if run.isdigit() or (len(run) == 1 and run.isascii()):
            return True
        folded = fold(run)
        if self._allowed(folded) or is_spelling(folded):
            return True
        return self._camel(run) if run.isascii() else is_run_of_words(folded) or self._camel(run)

    def _camel(self, run: str) -> bool:
        """Whether words written into one are all allowed, as in ChestAbdPelvis."""
        if len(run) <= _SHORTEST_CAMEL or run.islower() or run.isupper():
            return False
        return any(map(self._all_allowed, (_CAMEL.findall(run), _CASES.findall(run))))

    def _all_allowed(self, words: list[str]) -> bool:
        """Whether several words are allowed, and single letters stand beside a word that nothing else is."""
        folded = [fold(word) for word in words]
        if len(folded) < 2 or folded[0] in _PARTICLES:
            return False
        if not all(len(word) == 1 or self._allowed(word) or is_spelling(word) for word in folded):
            return False
        return min(map(len, folded)) > 1 or any(word in parts() for word in folded)

    def _allowed(self, folded: str) -> bool:
        if folded in allowed_words() or folded in self._words:
            return True
        return _MEDICAL.fullmatch(folded) is not None and folded not in names()


def _phrases(folded: list[str]) -> set[int]:
    """The places of words that stand in a phrase."""
    found: set[int] = set()
    for begin, word in enumerate(folded):
        for phrase in allowed_phrases().get(word, ()):
            if tuple(folded[begin : begin + len(phrase)]) == phrase:
                found.update(range(begin, begin + len(phrase)))
    return found


def _without(text: str, patterns: tuple[re.Pattern[str] | None, ...]) -> str:
    for pattern in patterns:
        if pattern is None:
            continue
        folded = fold(text)
        kept: list[str] = []
        place = 0
        for match in pattern.finditer(folded):
            written = text[match.start() : match.start() + 2]  # of a modality both letters are large
            if pattern is _TITLED and _is_word(match[1] or match[2]) and written not in ("Dr", "Mr", "Ms"):
                continue
            kept.append(text[place : match.start() + (2 if pattern is _TITLED and written in _MODALITIES else 0)])
            place = match.end()
        if place:
            text = " ".join((*kept, text[place:]))
    return text


def _is_word(folded: str) -> bool:
    return folded in allowed_words() or is_spelling(folded)


def _tidy(text: str) -> str:
    return _SPACES.sub(" ", _DANGLING.sub(" ", _TORN.sub("_", text))).strip(" \t\r\n,;:-_/\\^.=&|")
