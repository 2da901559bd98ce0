"""De-identification on the way in: what a source with an intake profile is sent is de-identified and verified in
memory, and only that is stored. New ids come from the source's CDM or mapping table, else, where the profile allows
it, from the site's key; dates move by the person's days, as in data sets."""

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Final, LiteralString, cast

import structlog

from hilum.clinical.cdm.cdm import find_cdm
from hilum.core.errors import HilumError
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.intake import Withheld
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.header import Header, scan_file
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.research.datasets.definition import profile_named
from hilum.research.datasets.people import keep_shifts
from hilum.research.datasets.plan import new_uids
from hilum.research.datasets.selection import SelectedStudy
from hilum.research.datasets.site_key import site_keys
from hilum.research.deid.identifiers import Kind
from hilum.research.deid.instance import Deidentifier, Quarantined
from hilum.research.deid.keys import Keys
from hilum.research.deid.person import Person
from hilum.research.deid.pixel_text.step import text_step
from hilum.research.deid.profile import Profile
from hilum.research.deid.verify import Leak, Search, verify

log = structlog.get_logger()


def open_intake(archive: Archive) -> "DeidentifyingIntake":
    """What de-identifies for an archive (the plug ``intake``)."""
    return DeidentifyingIntake(archive)


class DeidentifyingIntake:
    """De-identifies instances on their way in.

    Parameters
    ----------
    archive
        Whose sources they come to.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive: Final = archive
        self._profile: Final = lru_cache(maxsize=16)(self._read_profile)

    def __call__(self, source: SourceRef, data: bytes, inspect: Callable[[Header], None] | None) -> bytes:
        """Give the de-identified file; see `hilum.imaging.archive.intake.Intake`."""
        try:
            header = scan_file(BytesIO(data))
        except Unreadable as problem:
            raise Withheld(problem.code, str(problem)) from None
        if inspect is not None:
            inspect(header)
        try:
            return self._made(source, header, data)
        except (NotDicom, Unreadable, Quarantined) as why:
            raise Withheld(why.code, str(why)) from None
        except Leak as leak:
            raise Withheld(f"leak_{leak.code}", f"The verification found something in {leak}.") from None
        except (Withheld, HilumError):
            raise
        except Exception as error:
            log.warning("intake.failed", source=source.key, problem=type(error).__name__)
            raise Withheld("error", f"It could not be de-identified ({type(error).__name__}).") from None

    def _made(self, source: SourceRef, header: Header, data: bytes) -> bytes:
        profile, keys, maker = self._profile(source.intake_profile)
        person, accession = self._whose(source, header, profile, keys)
        made = maker.make(BytesIO(data), person, accession)
        verify(made.data, Search(made.patterns, made.old_uids))
        return made.data

    def _read_profile(self, name: str) -> tuple[Profile, Keys, Deidentifier]:
        profile = profile_named(name, self._archive.settings)
        keys = site_keys(self._archive.database, self._archive.settings)
        return profile, keys, Deidentifier(new_uids(profile, keys), text_step(profile))

    def _whose(self, source: SourceRef, header: Header, profile: Profile, keys: Keys) -> tuple[Person, str]:
        """The person of an instance, and its new accession number."""
        patient_id, number = header.first("PatientID"), header.first("AccessionNumber")
        with self._archive.database.transaction() as sql:
            rows = sql.rows(_MAPPED, (source.id, patient_id))
            cdm = find_cdm(sql, source.key)
            if not rows and cdm is not None:
                rows = sql.rows(cdm.sql(_KNOWN), (patient_id,))
            person_id = cast("int", rows[0]["person_id"]) if len(rows) == 1 and patient_id else None
            if person_id is None and (profile.unmapped == "quarantine" or not patient_id):
                raise Withheld("no_person", "Its PatientID is tied to no person of the CDM.")
            name = str(person_id) if person_id is not None else keys.pseudonym("person", patient_id)
            stand_in = SelectedStudy(0, "", 0, patient_id, number, None, (), person_id, None, None)
            days, conflicts = keep_shifts(sql, source.id, [stand_in], profile, keys)
        if conflicts:
            raise Withheld("shift_conflict", "The site's map has another shift than the one this person has.")
        ids: set[tuple[Kind, str]] = {("id", patient_id)}
        if len(number) > 3:
            ids.add(("id", number))
        accession = keys.pseudonym("accession", f"{patient_id}\0{number}\0") if number else ""
        return Person(name, days[name], frozenset(ids)), accession


_MAPPED: Final[LiteralString] = """
  select distinct person_id from hilum.person_map where source_id = %s and patient_id = %s
"""
_KNOWN: Final[LiteralString] = "select person_id from {cdm}.person where person_source_value = %s"
