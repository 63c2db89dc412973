"""One line of the result: ours, theirs, what it had to be, and whether it is."""
from __future__ import annotations

from dataclasses import dataclass, field

from measure import Stat

REACHED, MISSED = "reached", "not reached"


@dataclass(frozen=True)
class Row:
    """Figures in `unit`: s, bytes, or nothing for a bare number.

    With `theirs`, `target` is the most that ours / theirs may be; without, the
    most that ours may be. A row without a target is only told.
    """

    number: int
    what: str
    against: str
    measure: str
    unit: str
    ours: Stat | None = None
    theirs: Stat | None = None
    target: float | None = None
    note: str = ""
    missing: str = ""
    verdict: str = field(init=False)
    ratio: float | None = field(init=False)

    def __post_init__(self) -> None:
        ratio, verdict = None, ""
        if self.missing:
            verdict = self.missing
        elif self.ours is not None:
            if self.theirs is not None:
                ratio = self.ours.median / self.theirs.median
            held = ratio if ratio is not None else self.ours.median
            if self.target is not None:
                verdict = REACHED if held <= self.target else MISSED
        object.__setattr__(self, "ratio", ratio)
        object.__setattr__(self, "verdict", verdict)


def exactly(value: float) -> Stat:
    """What was counted, not measured."""
    return Stat(value, value, value, 1)
