"""How much the profit hangs on each input."""

from dataclasses import dataclass
from fractions import Fraction

from billing.economics.inputs import FIELDS, Inputs
from billing.economics.outcome import outcome


@dataclass(frozen=True, slots=True)
class Swing:
    """The profit with one input lower and higher, all others held; dollars."""

    name: str
    low: Fraction
    """The lower value of the input."""
    high: Fraction
    low_profit: Fraction
    high_profit: Fraction
    cut: bool
    """The higher value would be impossible, such as a share above 1, and is the largest there is."""

    @property
    def size(self) -> Fraction:
        """How far the two profits lie apart."""
        return abs(self.high_profit - self.low_profit)


def sensitivity(inputs: Inputs, share: Fraction) -> list[Swing]:
    """Every input lowered and raised by a share of itself (above 0, at most 1; ValueError), the widest swing first."""
    if not 0 < share <= 1:
        raise ValueError("Use a share above 0 and at most 1.")
    swings = []
    for field in FIELDS.values():
        value: Fraction = getattr(inputs, field.name)
        low, wanted = value * (1 - share), value * (1 + share)
        high = min(wanted, field.high)
        low_profit, high_profit = (outcome(inputs.having(field.name, one)).profit for one in (low, high))
        swings.append(Swing(field.name, low, high, low_profit, high_profit, cut=high < wanted))
    return sorted(swings, key=lambda swing: -swing.size)
