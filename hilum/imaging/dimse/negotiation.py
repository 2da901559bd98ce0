"""Which associations Hilum accepts, and what each may carry (PS3.8 sections 7.1 and 9.3, PS3.7 annex D): the SOP
classes and transfer syntaxes of its conformance statement, docs/reference/dimse.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dimse.channel import Context
from hilum.imaging.dimse.pdu import APPLICATION_CONTEXT, AssociateAccept, AssociateRequest, Decided, Proposed, Roles
from hilum.imaging.dimse.problems import Rejected

VERIFICATION: Final = "1.2.840.10008.1.1"
COMMITMENT: Final = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
_MODEL: Final = "1.2.840.10008.5.1.4.1.2."
PATIENT_ROOT_FIND: Final = f"{_MODEL}1.1"
PATIENT_ROOT_MOVE: Final = f"{_MODEL}1.2"
PATIENT_ROOT_GET: Final = f"{_MODEL}1.3"
STUDY_ROOT_FIND: Final = f"{_MODEL}2.1"
STUDY_ROOT_MOVE: Final = f"{_MODEL}2.2"
STUDY_ROOT_GET: Final = f"{_MODEL}2.3"
SERVICES: Final = frozenset(
    (
        VERIFICATION, COMMITMENT, PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET, STUDY_ROOT_FIND,
        STUDY_ROOT_MOVE, STUDY_ROOT_GET,
    )
)  # fmt: skip
"""The classes that are provided beside storage."""

ANY_SCP: Final = "ANY-SCP"
"""The called title that DICOM's test tools send when they are told none."""

_JPEG: Final = "1.2.840.10008.1.2.4."
PLAIN_SYNTAXES: Final = (a.EXPLICIT_LITTLE, a.IMPLICIT_LITTLE)
STORAGE_SYNTAXES: Final = (
    *PLAIN_SYNTAXES,
    a.EXPLICIT_BIG,
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.8.1",
    a.GE_BIG_ENDIAN_PIXELS,
    *(f"{_JPEG}{number}" for number in (*range(50, 67), 70, 80, 81, 90, 91, 92, 93)),
    *(f"{_JPEG}{number}" for number in range(100, 109)),
    *(f"{_JPEG}{number}.1" for number in range(100, 107)),
    *(f"{_JPEG}{number}" for number in (110, 111, 112, 201, 202, 203)),
)
"""The transfer syntaxes that instances are taken in."""

_DICOM: Final = "1.2.840.10008."
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
# Outside that branch: RT beams delivery and brachy application setup delivery instructions.
_OTHER_STORAGE: Final = frozenset(("1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10"))
# Inside it: protocols and inventories, which belong to no study, and what asks for them.
_NO_STORAGE: Final = frozenset(
    f"{_STORAGE}{rest}" for rest in (*(f"200.{n}" for n in (1, 3, 4, 5, 6, 7)), *(f"201.{n}" for n in range(1, 7)))
)

_ACCEPTED: Final = 0
_ABSTRACT_REFUSED: Final = 3
_TRANSFER_REFUSED: Final = 4
_PERMANENT, _TRANSIENT = 1, 2
_USER, _ACSE, _PRESENTATION = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may associate, and what they may propose.

    Attributes
    ----------
    sources : mapping of str to str
        Key of the source by the called AE title.
    callers : frozenset of str or None
        The calling AE titles that are let in; None for any.
    private_classes : bool
        Whether SOP classes that DICOM does not define are taken as storage classes.
    """

    sources: Mapping[str, str]
    callers: frozenset[str] | None = None
    private_classes: bool = True

    def check(self, request: AssociateRequest) -> None:
        """Refuse an association by its titles and by what it is built on.

        Raises
        ------
        Rejected
            With the reason that the peer is told.
        """
        if not request.version & 1:
            raise Rejected("protocol_version", _PERMANENT, _ACSE, 2)
        if request.application_context != APPLICATION_CONTEXT:
            raise Rejected("application_context", _PERMANENT, _USER, 2)
        if self.source(request.called) is None:
            raise Rejected("called_ae_title", _PERMANENT, _USER, 7)
        if not request.calling or (self.callers is not None and request.calling not in self.callers):
            raise Rejected("calling_ae_title", _PERMANENT, _USER, 3)

    def source(self, called: str) -> str | None:
        """Key of the source that a called AE title stands for."""
        if called == ANY_SCP:
            return next(iter(self.sources.values()))
        return self.sources.get(called)

    def decide(self, request: AssociateRequest) -> tuple[AssociateAccept, list[Context]]:
        """Decide on each presentation context, and on the roles that are proposed."""
        decided = [self._decide(proposed) for proposed in request.contexts]
        roles = {
            uid: Roles(scu=wanted.scu, scp=wanted.scp and self._may_be_provider(uid))
            for uid, wanted in request.roles.items()
            if any(one.abstract_syntax == uid for one in request.contexts)
        }
        contexts = [
            Context(
                one.id, proposed.abstract_syntax, one.transfer_syntax,
                scu=(role := roles.get(proposed.abstract_syntax, Roles(scu=True, scp=False))).scp, scp=role.scu,
            )
            for one, proposed in zip(decided, request.contexts, strict=True)
            if one.result == _ACCEPTED
        ]  # fmt: skip
        return AssociateAccept(tuple(decided), roles=roles), contexts

    def _decide(self, proposed: Proposed) -> Decided:
        fallback = proposed.transfer_syntaxes[0] if proposed.transfer_syntaxes else a.IMPLICIT_LITTLE
        storage = self.is_storage(proposed.abstract_syntax)
        if not storage and proposed.abstract_syntax not in SERVICES:
            return Decided(proposed.id, _ABSTRACT_REFUSED, fallback)
        syntax = _chosen(proposed.transfer_syntaxes, STORAGE_SYNTAXES if storage else PLAIN_SYNTAXES)
        if syntax is None:
            return Decided(proposed.id, _TRANSFER_REFUSED, fallback)
        return Decided(proposed.id, _ACCEPTED, syntax)

    def is_storage(self, sop_class_uid: str) -> bool:
        """Whether instances of a SOP class are taken."""
        return is_standard_storage(sop_class_uid) or (self.private_classes and _is_private(sop_class_uid))

    def _may_be_provider(self, sop_class_uid: str) -> bool:
        """Whether a requestor may be the provider: of storage, to get instances by C-GET."""
        return self.is_storage(sop_class_uid)


def too_many() -> Rejected:
    """The refusal of an association beyond the limit: temporary, the limit is exceeded."""
    return Rejected("too_many_associations", _TRANSIENT, _PRESENTATION, 2)


@cache
def is_standard_storage(sop_class_uid: str) -> bool:
    """Whether a SOP class of DICOM stores instances of studies; those of its branch that are still unknown are taken
    too. What belongs to no study, such as a hanging protocol, the archive could not catalogue."""
    if sop_class_uid in _OTHER_STORAGE:
        return True
    inside = sop_class_uid.startswith(_STORAGE) and check_uid(sop_class_uid)
    return inside and sop_class_uid not in _NO_STORAGE


def _is_private(sop_class_uid: str) -> bool:
    return check_uid(sop_class_uid) and not sop_class_uid.startswith(_DICOM)


def _chosen(proposed: tuple[str, ...], taken: tuple[str, ...]) -> str | None:
    """The first that is taken, for who proposes knows what it would rather send; but of those without compression
    Explicit VR Little Endian, which loses no representation."""
    first = next((syntax for syntax in proposed if syntax in taken), None)
    if first in (a.IMPLICIT_LITTLE, a.EXPLICIT_BIG) and a.EXPLICIT_LITTLE in proposed:
        return a.EXPLICIT_LITTLE
    return first
