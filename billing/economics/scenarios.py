"""Plans side by side: each against the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from billing.economics.inputs import FIELDS, Inputs
from billing.economics.outcome import Line, Outcome, outcome


@dataclass(frozen=True, slots=True)
class Compared:
    """A plan and how it differs from the first; dollars."""

    name: str
    inputs: Inputs
    outcome: Outcome
    changed: frozenset[str]
    """Inputs that are not the first plan's, the budget too."""
    differences: tuple[Line, ...]
    """Cost and revenue of each phase, less the first plan's."""

    @property
    def more(self) -> Fraction:
        """Profit beyond the first plan's: what the differences of its phases add up to."""
        return sum((line.profit for line in self.differences), Fraction(0))


def compare(plans: Sequence[tuple[str, Inputs]]) -> list[Compared]:
    """Named plans in their order; the first is what the others are held against."""
    if not plans:
        return []
    first = plans[0][1]
    base = outcome(first)
    return [
        Compared(
            name=name,
            inputs=inputs,
            outcome=(own := outcome(inputs)),
            changed=frozenset(one for one in (*FIELDS, "budget") if getattr(inputs, one) != getattr(first, one)),
            differences=tuple(
                Line(a.phase, a.cost - b.cost, a.revenue - b.revenue)
                for a, b in zip(own.lines, base.lines, strict=True)
            ),
        )
        for name, inputs in plans
    ]
