"""What can be wrong with bytes that should be DICOM, as exceptions with a sentence for a person and a short code that
reports count by. The sentences never quote a value of the file: it may be a patient's."""

from typing import Final

from hilum.core.errors import Invalid


class NotDicom(Invalid):
    """The bytes are no DICOM file at all (code ``empty`` or ``not_dicom``)."""

    title = "Not a DICOM file"

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code: Final = code


class Unreadable(Invalid):
    """The bytes are DICOM, but cannot be used as they are.

    ``code`` is one of ``truncated``, ``unreadable``, ``too_deep``, ``header_too_long``, ``no_sop_instance_uid``,
    ``no_study_instance_uid``, ``no_series_instance_uid``, ``no_sop_class_uid``, ``invalid_uid``, ``no_pixel_data``,
    ``frames`` and ``pixels``.
    """

    title = "Unreadable DICOM"

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code: Final = code


class Truncated(Exception):
    """The bytes offered end before the header does; not an error: offer at least ``need`` bytes and ask again.

    Parameters
    ----------
    need : int
        How many bytes, counted from the start of the file, to offer next; more may be asked for then.
    """

    def __init__(self, need: int) -> None:
        super().__init__(need)
        self.need: Final = need
