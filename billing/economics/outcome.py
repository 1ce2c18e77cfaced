"""What a plan costs and earns: the formulas."""

from dataclasses import dataclass
from fractions import Fraction

from billing.economics.inputs import Inputs

PHASES = ("fixed", "data", "training", "promotion", "adaptation", "transactions")
"""In the order in which money is spent."""


@dataclass(frozen=True, slots=True)
class Line:
    """A phase, in dollars."""

    phase: str
    cost: Fraction
    revenue: Fraction

    @property
    def profit(self) -> Fraction:
        """What it leaves."""
        return self.revenue - self.cost


@dataclass(frozen=True, slots=True)
class Outcome:
    """A plan's lines and sums, in dollars."""

    lines: tuple[Line, ...]

    @property
    def cost(self) -> Fraction:
        """Of all phases."""
        return sum((line.cost for line in self.lines), Fraction(0))

    @property
    def revenue(self) -> Fraction:
        """Of all phases."""
        return sum((line.revenue for line in self.lines), Fraction(0))

    @property
    def profit(self) -> Fraction:
        """Revenue less cost."""
        return self.revenue - self.cost

    @property
    def margin(self) -> Fraction | None:
        """Profit as a share of the revenue; None where nothing is earned."""
        return self.profit / self.revenue if self.revenue else None

    @property
    def returned(self) -> Fraction | None:
        """Profit for each dollar spent; None where nothing is spent."""
        return self.profit / self.cost if self.cost else None


def outcome(inputs: Inputs) -> Outcome:
    """Cost and revenue by phase.

    Data, promotion, adaptation and transactions are paid for every unit of the market, training by the day whatever the
    market's size. Promotion earns its effect on each dollar spent; adaptation earns the consumption on each dollar, of
    the share that stays; every transaction costs, and the converted share of them pays.
    """
    size = inputs.market_size
    promotion = inputs.promotion_cost * size
    adaptation = inputs.adaptation_cost * size
    transactions = inputs.transactions * size
    return Outcome(
        (
            Line("fixed", inputs.fixed_cost, Fraction(0)),
            Line("data", inputs.data_cost * size, Fraction(0)),
            Line("training", inputs.training_cost * inputs.training_days, Fraction(0)),
            Line("promotion", promotion, inputs.promotion_effect * promotion),
            Line("adaptation", adaptation, inputs.retention * inputs.consumption * adaptation),
            Line(
                "transactions",
                inputs.transaction_cost * transactions,
                inputs.conversion * inputs.transaction_revenue * transactions,
            ),
        )
    )
