"""C-STORE (PS3.7 section 9.1.1, PS3.4 annex B) up to the place where an instance is kept: what is refused, what stands
before the data set in the file, and what the sender is told. The archive keeps it, or a proxy in its folder."""

from collections.abc import Callable, Iterator

import structlog

from hilum.core.errors import HilumError
from hilum.imaging.dicom.header import Header, NotDicom, Unreadable
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dicom.writer import meta_information
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse import status as s
from hilum.imaging.dimse.channel import Channel, Message
from hilum.imaging.dimse.problems import AssociationEnded

Inspect = Callable[[Header], None]
Keep = Callable[[bytes, Iterator[memoryview], Inspect], tuple[int, str]]
"""Keeps an instance: given what a file has before the data set, the data set as it comes, and what looks at its header
before anything is kept. Gives the status and what is said of it."""


log = structlog.get_logger()


class _OtherInstance(Exception):
    """The data set is not of the instance that the request names."""


def take_instance(
    channel: Channel, message: Message, calling: str, is_storage: Callable[[str], bool], keep: Keep
) -> tuple[int, dict[int, int | str]]:
    """Have the instance of a C-STORE-RQ kept, and read its data set to the end in any case.

    Parameters
    ----------
    channel, message
        The association, and the request that came by it.
    calling
        The AE title of the sender, for the file.
    is_storage
        Whether a SOP class is one of storage.
    keep
        Keeps it; what it raises becomes the status, but for the end of the association.

    Returns
    -------
    tuple of int and dict
        The status, and what else the response holds, by tag.
    """
    status, comment = s.CANNOT_UNDERSTAND, "The request has no data set."
    if message.command.has_data_set:
        data = channel.data_set(message.context)
        status, comment = _kept(message, calling, is_storage, keep, data)
        for _ in data:  # what a refused instance still sends
            pass
    fields: dict[int, int | str] = {c.AFFECTED_INSTANCE: message.command.text(c.AFFECTED_INSTANCE)}
    if status != s.SUCCESS and comment:
        fields[c.ERROR_COMMENT] = comment
    return status, fields


def _kept(
    message: Message, calling: str, is_storage: Callable[[str], bool], keep: Keep, data: Iterator[memoryview]
) -> tuple[int, str]:
    sop_class, sop_instance = message.command.sop_class_uid, message.command.text(c.AFFECTED_INSTANCE)
    if sop_class != message.context.abstract_syntax or not is_storage(sop_class):
        return s.NO_SUCH_CLASS, "The SOP class is not that of the presentation context."
    if not check_uid(sop_instance):
        return s.INVALID_INSTANCE, "Affected SOP Instance UID is no UID."

    def inspect(header: Header) -> None:
        said = header.first("SOPClassUID"), header.first("SOPInstanceUID")
        if said[0] not in ("", sop_class) or said[1] not in ("", sop_instance):
            raise _OtherInstance

    try:
        return keep(meta_information(sop_class, sop_instance, message.context.transfer_syntax, calling), data, inspect)
    except AssociationEnded:
        raise
    except _OtherInstance:
        return s.MISMATCH, "The data set is of another instance than the request."
    except (NotDicom, Unreadable) as error:
        return s.CANNOT_UNDERSTAND, str(error)[:64]
    except HilumError as error:
        return s.of_error(error), s.comment(error)
    except Exception:
        log.exception("dimse.store_failed")
        return s.PROCESSING, ""
