"""A structured report for people's eyes: as one HTML page that loads nothing and runs nothing, and as plain text. What
it says is read by ``content``."""

import re
from collections.abc import Iterator
from html import escape
from typing import Final

from hilum.imaging.dicom.content import Content, Entry

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_NEW_LINE: Final = re.compile(r"\r\n?|\n")
_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}dl{display:grid;"
    "grid-template-columns:max-content 1fr;gap:0 1em}dt{color:#555}dd{margin:0}p{margin:.3em 0;white-space:pre-line}"
    "section,div{margin-left:1em}i{color:#555}"
)
_UNSAID: Final = frozenset(("", "contains"))


def to_html(content: Content) -> str:
    """The report as an HTML page: every text escaped, no script, no link, no picture."""
    facts = "".join(f"<dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd>" for name, value in content.facts)
    body = "".join(part for entry in content.entries for part in _html(entry, 2))
    title = _escaped(content.title)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head><body><h1>{title}</h1><dl>{facts}</dl>{body}</body></html>"
    )


def to_text(content: Content) -> str:
    """The report as plain text, what belongs to an item indented below it."""
    lines = [content.title, "", *(f"{name}: {value}" for name, value in content.facts), ""]
    for entry in content.entries:
        lines.extend(_plain(entry, 0))
    return _CONTROLS.sub("", _NEW_LINE.sub("\n", "\n".join(lines))) + "\n"


def _html(entry: Entry, level: int) -> Iterator[str]:
    children = (part for child in entry.children for part in _html(child, min(level + entry.container, 6)))
    if entry.container:
        yield f"<section><h{level}>{_escaped(entry.name)}</h{level}>" if entry.name else "<section>"
        yield from children
        yield "</section>"
        return
    relation = "" if entry.relation in _UNSAID else f"<i>{_escaped(entry.relation)}</i> "
    name = f"<b>{_escaped(entry.name)}:</b> " if entry.name else ""
    yield f"<p>{relation}{name}{_escaped(entry.value)}</p>"
    if entry.children:
        yield "<div>"
        yield from children
        yield "</div>"


def _plain(entry: Entry, depth: int) -> Iterator[str]:
    margin = "  " * depth
    relation = "" if entry.relation in _UNSAID or entry.container else f"({entry.relation}) "
    name = f"{entry.name}: " if entry.name and entry.value else entry.name
    first, *more = _NEW_LINE.split(f"{relation}{name}{entry.value}")
    if first.strip():
        yield margin + first
    yield from (f"{margin}  {line}" for line in more)
    for child in entry.children:
        yield from _plain(child, depth + bool(first.strip()))


def _escaped(text: str) -> str:
    return escape(_CONTROLS.sub("", _NEW_LINE.sub("\n", text)))
