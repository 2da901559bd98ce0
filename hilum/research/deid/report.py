"""What a run comes to: counts, what was set aside and why, and on a dry run what would become of each attribute. It
names files of the site, so it stays there, as the crosswalk does."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from hilum.research.deid.crosswalk import Crosswalk
from hilum.research.deid.table import tables
from hilum.research.deid.work import Outcome

_ITEM: Final = re.compile(r"/\d+/")


@dataclass(slots=True)
class Report:
    """What a run came to.

    Attributes
    ----------
    counts
        ``files`` looked at; ``written`` now and ``unchanged`` since an earlier run; ``quarantined``; ``left_out`` as
        no DICOM; ``already_deidentified`` of those written; ``persons``, ``studies``, ``series``;
        ``validity_checked``.
    """

    profile: str
    dry: bool = False
    unchanged: int = 0
    software: str = ""
    counts: dict[str, int] = field(default_factory=dict[str, int])
    modalities: Counter[str] = field(default_factory=Counter[str])
    quarantined: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    left_out: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    attributes: Counter[tuple[str, str, str, str]] = field(default_factory=Counter[tuple[str, str, str, str]])
    written: int = 0
    checked: int = 0

    def leave_out(self, path: str, code: str, reason: str) -> None:
        """Note a file that is none to de-identify."""
        self.left_out.append({"file": _shown(path), "code": code, "reason": reason})

    def made(self, outcome: Outcome) -> None:
        """Note a file that was made; on a dry run with each of its attributes."""
        self.written += 1
        self.checked += outcome.validity >= 0
        if self.dry:
            changed = {one.path: one for one in outcome.changes}
            for path, vr in outcome.paths:
                one = changed.get(path)
                action, reason = (one.action, one.reason) if one else ("keep", "")
                self.attributes[_ITEM.sub("/", path), vr, action, reason] += 1

    def finish(self, crosswalk: Crosswalk, version: str) -> None:
        """Count what the crosswalk holds at the end."""
        persons: set[str] = set()
        studies: set[str] = set()
        series: set[str] = set()
        before = 0
        for row in crosswalk.files("done"):
            persons.add(row.person_id)
            studies.add(row.study)
            series.add(row.series)
            before += row.before
            self.modalities[row.modality] += 1
        for row in crosswalk.files("quarantined"):
            self.quarantined.append({"file": _shown(row.path), "code": row.code, "reason": row.reason})
        self.software = f"Hilum {version}"
        self.counts |= {
            "files": self.written + self.unchanged + len(self.quarantined) + len(self.left_out),
            "written": self.written, "unchanged": self.unchanged, "quarantined": len(self.quarantined),
            "left_out": len(self.left_out), "already_deidentified": before, "persons": len(persons),
            "studies": len(studies), "series": len(series), "validity_checked": self.checked,
        }  # fmt: skip

    def reasons(self) -> list[dict[str, object]]:
        """Why files were set aside or left out, the commonest first."""
        both = self.quarantined + self.left_out
        counted = Counter(one["code"] for one in both)
        said = {one["code"]: one["reason"] for one in reversed(both)}
        return [{"code": code, "reason": said[code], "count": count} for code, count in counted.most_common()]

    def as_json(self) -> dict[str, object]:
        """The report as it is written."""
        found: dict[str, object] = {
            "profile": self.profile, "software": self.software, "standard": f"DICOM PS3.15 {tables().edition}",
            "dry_run": self.dry, "counts": self.counts, "modalities": dict(sorted(self.modalities.items())),
            "reasons": self.reasons(), "quarantined": self.quarantined, "left_out": self.left_out,
        }  # fmt: skip
        if self.dry:
            found["attributes"] = [
                {"path": path, "name": _name(path), "vr": vr, "action": action, "reason": reason, "count": count}
                for (path, vr, action, reason), count in sorted(self.attributes.items())
            ]
        return found


def _name(path: str) -> str:
    from pydicom.datadict import keyword_for_tag

    tag = int(path.rsplit("/", 1)[-1], 16)
    row = tables().attributes.get(tag)
    return keyword_for_tag(tag) or (row.name if row else "")


def _shown(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
