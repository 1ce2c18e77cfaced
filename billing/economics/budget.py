"""What a budget pays for."""

import math
from dataclasses import dataclass
from fractions import Fraction

from billing.economics.inputs import MOST, Inputs
from billing.economics.outcome import Outcome, outcome


@dataclass(frozen=True, slots=True)
class Allowed:
    """A plan under its budget, in dollars."""

    budget: Fraction
    ends_in: str
    """The phase in which the money is used up before the phase is; empty where it suffices for the plan."""
    spent: tuple[tuple[str, Fraction], ...]
    """By phase, until it is used up."""
    short: Fraction
    """What the plan costs beyond it."""
    most_units: int | None
    """The largest market size it pays for; None where not even size 0 is paid, or where no size costs more."""
    within: Outcome | None
    """The plan at its own market size or the largest that is paid; None where not even size 0 is."""

    @property
    def enough(self) -> bool:
        """Whether it suffices for the plan as it is."""
        return not self.short


def allowed(inputs: Inputs) -> Allowed | None:
    """What the plan's budget allows; None where it has none. What is `spent`, and the cost `within`, never pass it."""
    budget = inputs.budget
    if budget is None:
        return None
    left, ends_in, spent = budget, "", []
    result = outcome(inputs)
    for line in result.lines:
        paid = min(line.cost, left)
        if paid < line.cost and not ends_in:
            ends_in = line.phase
        spent.append((line.phase, paid))
        left -= paid
    none, one = (outcome(inputs.having("market_size", Fraction(size))).cost for size in (0, 1))
    each = one - none
    most = None if none > budget or not each else min(math.floor((budget - none) / each), MOST)
    size = inputs.market_size if most is None else min(inputs.market_size, Fraction(most))
    return Allowed(
        budget=budget,
        ends_in=ends_in,
        spent=tuple(spent),
        short=max(result.cost - budget, Fraction(0)),
        most_units=most,
        within=None if none > budget else outcome(inputs.having("market_size", size)),
    )
