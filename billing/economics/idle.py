"""What machines cost, laid on those who used them. Exact: what is laid on all, and what stays, is the cost to the nano.

Each gets its own use at cost. What nobody used is idle; it is told apart, and laid on the users by their use (pro rata)
or left with the house. Why a month is one pot: docs/decisions/0061-idle-by-the-month.md.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)


def apportion(total: int, weights: Mapping[Who, int]) -> dict[Who, int]:
    """A whole amount by weights: each gets its exact part or the whole number next to it, and all parts are the total.
    What is left over goes, one by one, to the largest remainders. Nobody gets anything of weights that are all 0."""
    whole = sum(weights.values())
    if whole <= 0:
        return dict.fromkeys(weights, 0)
    parts = {who: total * weight // whole for who, weight in weights.items()}
    rest = total - sum(parts.values())
    order = sorted(weights, key=lambda who: (-(total * weights[who] % whole), repr(who)))
    for who in order[:rest]:
        parts[who] += 1
    return parts


@dataclass(frozen=True, slots=True)
class Share:
    """What one used and costs, nano-USD: for its own use, and of what stood idle."""

    ms: int = 0
    own: int = 0
    idle: int = 0

    @property
    def cost(self) -> int:
        """Both."""
        return self.own + self.idle

    def __add__(self, other: "Share") -> "Share":
        return Share(self.ms + other.ms, self.own + other.own, self.idle + other.idle)


@dataclass(frozen=True, slots=True)
class Laid(Generic[Who]):
    """A cost laid on its users. `cost` = own uses + `idle`; `house` is what of the idle is laid on nobody."""

    cost: int
    idle: int
    house: int
    shares: Mapping[Who, Share]


def lay(cost: int, capacity_ms: int, uses: Mapping[Who, int]) -> Laid[Who]:
    """Lay the cost of so many machine-milliseconds on uses in the same unit. Where more was used than was seen, all of
    the cost is use; where nobody used anything, the house carries it."""
    used = {who: ms for who, ms in uses.items() if ms > 0}
    total = sum(used.values())
    own = apportion(cost, {"": max(0, capacity_ms - total), **{(who,): ms for who, ms in used.items()}})
    idle = own.pop("") if total else cost
    parts = apportion(idle, used)
    shares = {who: Share(ms, own[(who,)], parts[who]) for who, ms in used.items()}
    return Laid(cost, idle, 0 if used else idle, shares)
