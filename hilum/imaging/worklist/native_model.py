"""Data sets as the Native DICOM Model (PS3.19 section A.1), for the worklist's clients that speak XML: into the form
that ``dataset`` checks, and back. Document types, and so entities, are refused before anything is made of them."""

import re
from typing import Final, cast
from xml.parsers import expat

from pydicom.datadict import keyword_for_tag

from hilum.imaging.worklist.dataset import MAX_DEPTH, DataSet, Element, check_data_set
from hilum.imaging.worklist.problems import bad

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_MAX_OPEN: Final = 4 * MAX_DEPTH
_SPECIAL: Final = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]')
_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}

_Raw = dict[str, object]


def read_xml(body: bytes) -> DataSet:
    """Read one data set.

    Raises
    ------
    Refusal
        It is no XML, has a document type, is no Native DICOM Model, or a value is none of its attribute.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(body, True)
    except expat.ExpatError:
        raise bad("The body is not well-formed XML.") from None
    if reader.root is None:
        raise bad("The root of the document is NativeDicomModel (PS3.19 section A.1).")
    return check_data_set(reader.root)


class _Reader:
    """The parser's callbacks: a stack of what is being filled, from the root's data set down to a value's text."""

    def __init__(self) -> None:
        self.parser: Final = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.root: _Raw | None = None
        self._open: list[tuple[str, _Raw]] = []
        self._pieces: list[str] = []

    def _refuse(self, *_: object) -> None:
        raise bad("A document type is not taken.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        self._pieces = []
        parent, filled = self._open[-1] if self._open else ("", {})
        made: _Raw = {}
        if len(self._open) >= _MAX_OPEN:
            raise bad(f"Sequences are nested at most {MAX_DEPTH} deep here.")
        if not parent:
            if name != "NativeDicomModel":
                raise bad("The root of the document is NativeDicomModel (PS3.19 section A.1).")
            self.root = made
        elif name == "DicomAttribute" and parent in ("NativeDicomModel", "Item"):
            if "privateCreator" in attributes:
                raise bad("Private attributes are taken as JSON only.")
            made["vr"] = attributes.get("vr", "")
            filled[attributes.get("tag", "")] = made
        elif name in ("Item", "PersonName") and parent == "DicomAttribute":
            cast("list[object]", filled.setdefault("Value", [])).append(made)
        elif name == "BulkData":
            filled["BulkDataURI"] = attributes.get("uri", "")
        elif name in _GROUPS and parent == "PersonName":
            filled[name] = made  # its components; joined at its end
        self._open.append((name, made))

    def _text(self, text: str) -> None:
        self._pieces.append(text)

    def _end(self, name: str) -> None:
        name, made = self._open.pop()
        text, self._pieces = "".join(self._pieces), []
        if not self._open:
            return
        parent, filled = self._open[-1]
        if name == "Value" and parent == "DicomAttribute":
            cast("list[object]", filled.setdefault("Value", [])).append(text)
        elif name == "InlineBinary" and parent == "DicomAttribute":
            filled["InlineBinary"] = "".join(text.split())
        elif name in _COMPONENTS and parent in _GROUPS:
            filled[name] = text
        elif name in _GROUPS and parent == "PersonName":
            filled[name] = "^".join(str(made.get(part, "")) for part in _COMPONENTS).rstrip("^")


def write_xml(data: DataSet) -> bytes:
    """A data set as a document, in UTF-8; characters that XML cannot carry become U+FFFD."""
    return f"{_HEAD}{_attributes(data)}</NativeDicomModel>".encode()


def _attributes(data: DataSet) -> str:
    return "".join([_attribute(tag, element) for tag, element in sorted(data.items())])


def _attribute(tag: str, element: Element) -> str:
    keyword = keyword_for_tag(int(tag, 16))
    named = f' keyword="{keyword}"' if keyword else ""
    vr = str(element["vr"])
    start = f'<DicomAttribute tag="{tag}" vr="{vr}"{named}'
    content = _content(vr, element)
    return f"{start}>{content}</DicomAttribute>" if content else f"{start}/>"


def _content(vr: str, element: Element) -> str:
    if "InlineBinary" in element:
        return f"<InlineBinary>{_escape(str(element['InlineBinary']))}</InlineBinary>"
    values = cast("list[object]", element.get("Value", []))
    if vr == "SQ":
        items = (_attributes(cast("DataSet", item)) for item in values)
        return "".join([f'<Item number="{number}">{item}</Item>' for number, item in enumerate(items, 1)])
    if vr == "PN":
        names = (_name(cast("dict[str, str] | None", value) or {}) for value in values)
        return "".join([f'<PersonName number="{number}">{name}</PersonName>' for number, name in enumerate(names, 1)])
    texts = ("" if value is None else _escape(str(value)) for value in values)
    return "".join([f'<Value number="{number}">{text}</Value>' for number, text in enumerate(texts, 1)])


def _name(value: dict[str, str]) -> str:
    found: list[str] = []
    for group in _GROUPS:
        parts = zip(_COMPONENTS, value.get(group, "").split("^"), strict=False)
        components = "".join([f"<{name}>{_escape(part)}</{name}>" for name, part in parts if part])
        if components:
            found.append(f"<{group}>{components}</{group}>")
    return "".join(found)


def _escape(text: str) -> str:
    return _SPECIAL.sub(lambda match: _ESCAPED.get(match[0], "\ufffd"), text)
