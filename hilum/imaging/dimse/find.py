"""C-FIND (PS3.4 section C.4.1) in the Patient Root and Study Root models: the same questions to the catalogue as
QIDO-RS asks, and so the same answers. Relational queries are answered without being negotiated."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, LiteralString, cast

import psycopg
import sqlalchemy as sa
import structlog

from hilum.core.errors import HilumError
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.study_json import da, element, person
from hilum.imaging.dicomweb import qido
from hilum.imaging.dicomweb.attributes import Attribute, vocabulary
from hilum.imaging.dicomweb.attributes import Level as WebLevel
from hilum.imaging.dicomweb.problems import BadRequest
from hilum.imaging.dicomweb.searching import Search, parse_search
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse import status as s
from hilum.imaging.dimse.channel import Channel, Message, response
from hilum.imaging.dimse.identifier import (
    AVAILABILITY,
    LEVELS,
    RETRIEVE_TITLE,
    UNIQUE,
    Identifier,
    Key,
    Level,
    Refused,
    decode_model,
    identifier_bytes,
    read_identifier,
)
from hilum.imaging.dimse.negotiation import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from hilum.imaging.dimse.receive import Caller

Model = Mapping[str, object]

_PAGE: Final = 1000
_LEVELS: Final[Mapping[Level, WebLevel]] = {
    "PATIENT": WebLevel.STUDY, "STUDY": WebLevel.STUDY, "SERIES": WebLevel.SERIES, "IMAGE": WebLevel.INSTANCE,
}  # fmt: skip
_OWN: Final = frozenset((RETRIEVE_TITLE, AVAILABILITY))
_PATIENT_ONLY: Final = {0x00100021: "LO", 0x00201200: "IS", 0x00201202: "IS", 0x00201204: "IS"}
"""Issuer, and how many studies, series and instances the patient has."""
_PATIENTS: Final[LiteralString] = """
    select pt.patient_id, pt.issuer_of_patient_id, (array_agg(st.patient_name_dicom order by st.id desc))[1],
      (array_agg(st.patient_birth_date order by st.id desc))[1], (array_agg(st.patient_sex order by st.id desc))[1],
      count(*), sum(st.num_series), sum(st.num_instances)
    from hilum.study st join hilum.patient pt on pt.id = st.patient_pk
    where pt.patient_id <> '' and {where} group by pt.id order by pt.patient_id, pt.id
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Question:
    """A request as it is put to the catalogue: what is searched, which tags are told, whether all was understood."""

    identifier: Identifier
    search: Search
    told: Mapping[str, str]
    understood: bool


@dataclass(frozen=True, slots=True)
class Finder:
    """Answers C-FIND."""

    archive: Archive

    def find(self, caller: Caller, channel: Channel, message: Message) -> None:
        """Answer one C-FIND-RQ: a response for each match, then one with the final status."""
        status, comment = s.SUCCESS, ""
        try:
            self._find(caller, channel, message)
        except _Cancelled:
            status = s.CANCELLED
        except Refused as error:
            status, comment = error.status, str(error)[:64]
        except BadRequest as error:
            status, comment = s.MISMATCH, s.comment(error)
        except HilumError as error:
            status, comment = s.CANNOT_UNDERSTAND, s.comment(error)
        if status not in (s.SUCCESS, s.CANCELLED):
            log.warning("dimse.not_found", association=caller.number, status=f"{status:04X}")
        more: dict[int, int | str] = {c.ERROR_COMMENT: comment} if comment else {}
        channel.answer(message.context, response(message, status, more))

    def _find(self, caller: Caller, channel: Channel, message: Message) -> None:
        context, sop_class = message.context, message.command.sop_class_uid
        if not message.command.has_data_set:
            raise Refused(s.CANNOT_UNDERSTAND, "The request has no identifier.")
        data = channel.identifier(context)
        if sop_class != context.abstract_syntax or sop_class not in (PATIENT_ROOT_FIND, STUDY_ROOT_FIND):
            raise Refused(s.NO_SUCH_CLASS, "The SOP class is not that of the presentation context.")
        levels = LEVELS if sop_class == PATIENT_ROOT_FIND else LEVELS[1:]
        question = self._question(read_identifier(data, context.transfer_syntax, levels))
        pending = s.PENDING if question.understood else s.PENDING_WARNING
        for model in self._matches(caller, question):
            channel.take_cancels()
            if message.command.message_id in channel.cancelled:
                raise _Cancelled
            found = identifier_bytes(_told(question, model, caller), context.transfer_syntax)
            channel.send(context, response(message, pending, data=True), [found])

    def _question(self, identifier: Identifier) -> _Question:
        known = vocabulary(self.archive.choice)
        told: dict[str, str] = {}
        parameters: dict[str, str] = {}
        understood = True
        for key in identifier.keys:
            if key.tags[0] in _OWN:
                continue
            tag = f"{key.tags[0]:08X}"
            if identifier.level == "PATIENT" and key.tags[0] in _PATIENT_ONLY:
                told[tag] = _PATIENT_ONLY[key.tags[0]]
                understood = understood and not key.value.strip("* ")
                continue
            attribute = known.find(key.name)
            if attribute is None and not (key.vr == "SQ" and known.below(key.name)):
                understood = understood and key.tags[0] & 0xFFFF == 0
                continue
            told[tag] = "SQ" if len(key.tags) > 1 else key.vr if attribute is None else attribute.vr
            value = _asked(key, attribute)
            understood = understood and value == key.value.strip(" ")
            parameters[key.name] = value
        pairs = list(parameters.items())
        search = parse_search(_LEVELS[identifier.level], pairs, known)
        return _Question(identifier, replace(search, limit=_PAGE), told, understood)

    def _matches(self, caller: Caller, question: _Question) -> Iterator[Model]:
        source, search = caller.source.key, question.search
        if question.identifier.level == "PATIENT":
            yield from self._patients(source, search)
            return
        while True:
            with self.archive.database.connect() as connection:
                page = qido.search(connection, source, search, "")
            yield from map(decode_model, page.objects)
            if len(page.objects) < search.limit:
                return
            search = replace(search, offset=search.offset + search.limit)

    def _patients(self, source: str, search: Search) -> Generator[Model]:
        where = qido.condition(source, search)
        with self.archive.database.connect() as connection:
            rows = _rows(connection, _PATIENTS.format(where=where.text), where.parameters)
        for patient_id, issuer, name, birth_date, sex, studies, series, instances in rows:
            yield {
                "00100010": person(name),
                "00100020": element("LO", patient_id),
                "00100021": element("LO", issuer),
                "00100030": element("DA", da(birth_date)),
                "00100040": element("CS", sex),
                "00201200": element("IS", studies),
                "00201202": element("IS", int(str(series))),
                "00201204": element("IS", int(str(instances))),
            }


class _Cancelled(Exception):
    """The peer wants no more answers."""


def _asked(key: Key, attribute: Attribute | None) -> str:
    """The value to match: none of an attribute that is only told."""
    value = key.value.strip(" ")
    return "" if attribute is None or attribute.kind == "none" else value


def _told(question: _Question, model: Model, caller: Caller) -> Model:
    """An answer: what was asked for and is known, without a value where there is none."""
    level = question.identifier.level
    asked = {key.tags[0] for key in question.identifier.keys}
    found: dict[str, object] = {tag: {"vr": vr} for tag, vr in question.told.items()}
    unique = f"{UNIQUE[level]:08X}"
    found |= {tag: value for tag, value in model.items() if tag in question.told or tag == unique}
    found["00080052"] = element("CS", level)
    found["00080054"] = element("AE", caller.called)
    if AVAILABILITY in asked:
        found["00080056"] = element("CS", "ONLINE")
    return dict(sorted(found.items()))


def _rows(connection: sa.Connection, query: LiteralString, parameters: tuple[object, ...]) -> list[tuple[object, ...]]:
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    with driver.cursor() as cursor:
        return cast("list[tuple[object, ...]]", cursor.execute(query, parameters).fetchall())
