"""Which credit pays for usage, and how much. Pure; exact nano.

    promo, goodwill  ->  rolled over  ->  the month's allowance  ->  prepaid  ->  owed

The first stages pay for usage as it comes; what is beyond the allowance is paid by whatever credit there is, and what
is still left is owed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Hashable, Iterable, Sequence

PREPAID = "prepaid"
STAGES = {"promo": 0, "goodwill": 0, "rollover": 1, PREPAID: 2}
"""Kinds of credit, and when their turn comes; the month's allowance stands before the last."""
_LAST = STAGES[PREPAID]


@dataclasses.dataclass(frozen=True, slots=True)
class Credit:
    """What is left of one grant."""

    id: Hashable
    kind: str
    left_nano: int
    expires_at: dt.datetime | None = None
    priority: int = 0
    made_at: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """What a grant has paid of the usage that is looked at, and may get back."""

    id: Hashable
    kind: str
    nano: int


@dataclasses.dataclass(frozen=True, slots=True)
class Flow:
    """What to draw of each grant (negative: to give back), and who carries the usage after that."""

    draws: dict[Hashable, int]
    allowance_nano: int
    owed_nano: int

    @property
    def total_nano(self) -> int:
        """The sum of all draws."""
        return sum(self.draws.values())


def in_order(credits: Iterable[Credit]) -> list[Credit]:
    """Credit in the order in which it is used: by stage, then what ends first, then the smaller priority, then the
    older."""
    never = dt.datetime.max.replace(tzinfo=dt.UTC)

    def turn(one: Credit) -> tuple[int, dt.datetime, int, dt.datetime, str]:
        return STAGES[one.kind], one.expires_at or never, one.priority, one.made_at or never, str(one.id)

    return sorted(credits, key=turn)


def flow(
    *, rest_nano: int, fresh_nano: int, allowance_nano: int, credits: Iterable[Credit], drawn: Sequence[Drawn] = ()
) -> Flow:
    """Let usage run down the stages.

    `rest_nano` is what no credit has paid for so far, `fresh_nano` how much of it is new; `drawn` is what credit has
    paid for usage that is not billed yet, in the order in which it was drawn. What the allowance covers now goes back
    to prepaid credit; what usage was corrected by (a negative rest) to any.
    """
    left = {one.id: max(0, one.left_nano) for one in credits}
    turns = in_order(credits)
    taken: dict[Hashable, int] = {}

    def take(wanted: int, among: Iterable[Credit]) -> int:
        got = 0
        for one in among:
            part = min(wanted - got, left[one.id])
            if part > 0:
                left[one.id] -= part
                taken[one.id] = taken.get(one.id, 0) + part
                got += part
        return got

    rest = rest_nano
    rest += _back(-rest, drawn, taken, left)
    rest -= take(max(0, min(fresh_nano, rest)), [one for one in turns if STAGES[one.kind] < _LAST])
    rest -= take(max(0, rest - allowance_nano), turns)
    if 0 <= rest < allowance_nano:
        rest += _back(allowance_nano - rest, [one for one in drawn if one.kind == PREPAID], taken, left)
    covered = max(0, min(rest, allowance_nano))
    draws = {grant: nano for grant, nano in taken.items() if nano}
    return Flow(draws, covered, rest - covered)


def _back(wanted: int, drawn: Sequence[Drawn], taken: dict[Hashable, int], left: dict[Hashable, int]) -> int:
    """Give back what was drawn last, prepaid before what was given; how much."""
    got = 0
    for _, _, one in sorted(((-STAGES[one.kind], -place, one) for place, one in enumerate(drawn)), key=lambda t: t[:2]):
        part = min(wanted - got, one.nano + min(0, taken.get(one.id, 0)))
        if part > 0:
            taken[one.id] = taken.get(one.id, 0) - part
            left[one.id] = left.get(one.id, 0) + part
            got += part
    return got
