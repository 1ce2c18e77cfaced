"""Where the profit turns. With all other inputs held, the profit is a straight line in each of them, so the point is
solved for and not searched."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from billing.economics.inputs import FIELDS, Inputs
from billing.economics.outcome import Outcome, outcome

Turn = Literal["at_least", "at_most", "always", "never", "no_effect"]


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Of one input. `value` is the last on its grid (`Field.step`) that loses nothing; None where nothing turns.

    `turn`: no loss from the value up, up to the value, at every value it can have, at none, or the profit does not
    depend on it.
    """

    name: str
    turn: Turn
    value: Fraction | None = None


def break_even(inputs: Inputs, name: str) -> BreakEven:
    """The point for one input of FIELDS (KeyError for another name), between 0 and the largest it can be."""
    field = FIELDS[name]
    at_zero, at_one, at_most = (
        outcome(inputs.having(name, value)).profit for value in (Fraction(0), Fraction(1), field.high)
    )
    slope = at_one - at_zero
    if slope == 0:
        return BreakEven(name, "no_effect")
    if min(at_zero, at_most) >= 0:
        return BreakEven(name, "always")
    if max(at_zero, at_most) < 0:
        return BreakEven(name, "never")
    steps = -at_zero / slope / field.step
    if slope > 0:
        return BreakEven(name, "at_least", math.ceil(steps) * field.step)
    return BreakEven(name, "at_most", math.floor(steps) * field.step)


def curve(inputs: Inputs, points: int = 41) -> list[tuple[Fraction, Outcome]]:
    """Outcomes for evenly spaced market sizes, from 0 to twice the plan's own or twice the point where it turns,
    whichever is farther (that of another plan by far is left out of sight)."""
    turn = break_even(inputs, "market_size").value or Fraction(0)
    own = inputs.market_size
    end = 2 * (max(own, turn) if own == 0 or turn <= 100 * own else own) or Fraction(100)
    sizes = [end * number / (points - 1) for number in range(points)]
    return [(size, outcome(inputs.having("market_size", size))) for size in sizes]
