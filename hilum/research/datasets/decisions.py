"""What people decide on the pixels of instances. A decision belongs to the data set and to the bytes of the original:
it holds for every version that is planned from then on, and never changes one that is planned or made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, LiteralString, TypeAlias, cast

import msgspec

from hilum.core.database import Transaction
from hilum.core.errors import Invalid, NotFound
from hilum.research.deid.keys import Keys
from hilum.research.deid.pixels import Box, Decision
from hilum.research.deid.seal import Seal

How: TypeAlias = Literal["accept", "boxes", "only", "exclude"]

EXCLUDED: Final = "excluded"
_UNDONE: Final = "undone"
_WHY: Final = "A person decided that it does not leave."
_MAX_SIDE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision on an instance.

    Attributes
    ----------
    how
        ``accept``: what was found goes black, and it leaves. ``boxes``: the same, and the boxes go black as well.
        ``only``: the boxes go black and nothing else; without any it leaves as it is. ``exclude``: it does not leave.
    boxes
        That the person drew.
    """

    how: How
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if self.how == "boxes" and not self.boxes:
            raise Invalid("Say which boxes go black as well; accept takes none.")
        if self.how in ("accept", "exclude") and self.boxes:
            raise Invalid(f"{self.how} takes no boxes; boxes and only do.")
        for box in self.boxes:
            sides = (box.row, box.column, box.rows, box.columns, box.frame or 0)
            if not all(0 <= side < _MAX_SIDE for side in sides) or not (box.rows and box.columns):
                raise Invalid("A box is row and column, counted from 0, and at least one row and column of pixels.")

    def for_pixels(self) -> Decision | None:
        """As de-identification takes it; None where the instance does not leave at all."""
        if self.how == "exclude":
            return None
        return Decision("only" if self.how == "only" else "accept", self.boxes)

    @classmethod
    def read(cls, how: object, boxes: object) -> "Decided":
        """From what is kept."""
        return cls(cast("How", how), tuple(msgspec.convert(boxes, list[Box])))


def decide(sql: Transaction, dataset_id: int, original: str, decided: Decided, who: str) -> None:
    """Keep a decision on an original, by its digest; it stands in the place of an earlier one."""
    sql.rows(_ADD, (dataset_id, original, decided.how, msgspec.json.encode(decided.boxes).decode(), who))


def undo(sql: Transaction, dataset_id: int, original: str, who: str) -> None:
    """Take the decision on an original back; raises ``NotFound`` where there is none."""
    if not sql.rows(_LATEST, (dataset_id, original, _UNDONE)):
        raise NotFound("Nobody has decided on this instance.")
    sql.rows(_ADD, (dataset_id, original, _UNDONE, "[]", who))


def freeze(sql: Transaction, version_id: int) -> None:
    """Give the planned instances of a version the decisions that hold now; what is excluded is held back."""
    sql.rows(_FREEZE, {"version": version_id, "undone": _UNDONE, "code": EXCLUDED, "why": _WHY})


def frozen(kept: object) -> Decided | None:
    """The decision that an instance of a version was planned with."""
    if kept is None:
        return None
    said = cast("Mapping[str, object]", kept)
    return Decided.read(said["how"], said["boxes"])


def told(sql: Transaction, version_id: int, keys: Keys) -> dict[str, object]:
    """What the manifest tells of the decisions that a version was made with: how many, and what tells them apart."""
    rows: Sequence[Mapping[str, object]] = sql.rows(_FROZEN, (version_id,))
    said = msgspec.json.encode([(row["original"], row["decision"]) for row in rows], order="deterministic").decode()
    return {"count": len(rows), "digest": Seal(keys).blind("decisions", said).hex() if rows else ""}


_ADD: Final[LiteralString] = """
  insert into hilum.dataset_decision (dataset_id, original, decision, boxes, who) values (%s, %s, %s, %s::jsonb, %s)
"""
_LATEST: Final[LiteralString] = """
  select 1 from (
    select decision from hilum.dataset_decision where dataset_id = %s and original = %s order by id desc limit 1
  ) d where decision <> %s
"""
_FREEZE: Final[LiteralString] = """
  update hilum.dataset_instance i set decision = jsonb_build_object('how', d.decision, 'boxes', d.boxes),
    state = case d.decision when 'exclude' then 'held' else i.state end,
    code = case d.decision when 'exclude' then %(code)s else i.code end,
    reason = case d.decision when 'exclude' then %(why)s else i.reason end
  from (
    select distinct on (original) original, decision, boxes from hilum.dataset_decision
    where dataset_id = (select dataset_id from hilum.dataset_version where id = %(version)s) order by original, id desc
  ) d
  where i.version_id = %(version)s and i.original = d.original and i.state = 'planned' and d.decision <> %(undone)s
"""
_FROZEN: Final[LiteralString] = """
  select original, decision from hilum.dataset_instance
  where version_id = %s and decision is not null order by original, sop
"""
