"""Radiology reports in words: the sentences of a protocol, with the findings of the phantom put in their place."""

from functools import cache

import msgspec

from hilum.demo.people import Finding, Story, Study, read_data


class _Normal(msgspec.Struct, frozen=True):
    about: tuple[str, ...]
    text: str


class _Template(msgspec.Struct, frozen=True):
    title: str
    technique: str
    normal: tuple[_Normal, ...]
    clear: str


class _Phrase(msgspec.Struct, frozen=True):
    text: str
    impression: str
    condition: str = ""
    grown: str = ""
    stable: str = ""


class _Phrases(msgspec.Struct, frozen=True):
    templates: dict[str, _Template]
    findings: dict[str, _Phrase]


@cache
def _phrases() -> _Phrases:
    return read_data("reports.json", _Phrases)


def condition_of(finding: Finding) -> str:
    """Key of the diagnosis that a finding gives reason for, or an empty string."""
    return _phrases().findings[finding.kind].condition


def report_of(story: Story, study: Study) -> tuple[str, str]:
    """Title and text of the report of a study.

    Every finding of the study is named with its site and size; what a protocol always mentions is denied if not found.
    """
    template = _phrases().templates[study.protocol]
    prior = next((other for other in story.studies if other.key == study.prior), None)
    found = [(_phrases().findings[finding.kind], finding) for finding in study.findings]
    kinds = {finding.kind for finding in study.findings}
    sentences = [_fill(phrase.text, finding) + _change(phrase, finding, prior) for phrase, finding in found]
    sentences += [normal.text for normal in template.normal if not kinds.intersection(normal.about)]
    conclusions = [_fill(phrase.impression, finding) + _change(phrase, finding, prior) for phrase, finding in found]
    impression = "\n".join(f"{n}. {text}" for n, text in enumerate(conclusions or [template.clear], 1))
    comparison = f"Previous examination of {_written(prior.date)}." if prior else "None available."
    return template.title, (
        f"{template.title.upper()}\n\nHISTORY: {study.history}\n\nTECHNIQUE: {template.technique}\n\n"
        f"COMPARISON: {comparison}\n\nFINDINGS: {' '.join(sentences)}\n\nIMPRESSION:\n{impression}\n"
    )


def _fill(text: str, finding: Finding) -> str:
    size = f"{finding.diameter_mm:g}"
    filled = text.format(site=finding.site, size=size, count=finding.count, percent=finding.percent)
    return filled[:1].upper() + filled[1:]


def _change(phrase: _Phrase, finding: Finding, prior: Study | None) -> str:
    """How a finding compares with the same one at the prior examination, as a further sentence."""
    before = (
        next((old for old in prior.findings if (old.kind, old.site) == (finding.kind, finding.site)), None)
        if prior
        else None
    )
    if before is None or not phrase.grown:
        return ""
    same = (before.diameter_mm, before.count) == (finding.diameter_mm, finding.count)
    text = phrase.stable if same else phrase.grown
    return " " + text.format(size=f"{before.diameter_mm:g}", count=before.count)


def _written(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"
