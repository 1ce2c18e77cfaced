"""What a paying organisation is worth and what it cost to win. Exact fractions of nano-USD, without Django."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from billing.economics.recurring import CHURN, NEW, Month


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Sums over a span of months, and what follows from them. Money is nano-USD; None stands where there is nothing to
    divide by: a figure that cannot be told."""

    revenue: int
    """Of plans at their prices, and as booked: usage beyond allowances and custom models made to order, less coupons
    and what was given back."""
    cost: int | None
    """Of machines; None where it is not known."""
    spend: int
    """On acquisition."""
    paying_months: int
    """Paying organisations at each month's end, added up."""
    at_risk: int
    """Those at each month's start, added up."""
    left: int
    won: int
    """New ones."""
    contracts: int = 0
    """Of the revenue: custom models made to order. They come once and not every month; over a span they belong to what
    a customer is worth."""

    @property
    def revenue_each(self) -> Fraction | None:
        """A month, of each paying organisation."""
        return _of(self.revenue, self.paying_months)

    @property
    def margin(self) -> Fraction | None:
        """Share of the revenue that machines leave."""
        return None if self.cost is None else _of(self.revenue - self.cost, self.revenue)

    @property
    def churn(self) -> Fraction | None:
        """Share of the paying organisations that leave in a month."""
        return _of(self.left, self.at_risk)

    @property
    def months(self) -> Fraction | None:
        """How long one stays, were the churn to stay as it is; None where nobody left."""
        return 1 / self.churn if self.churn else None

    @property
    def kept_each(self) -> Fraction | None:
        """A month, of each, after machines; before them where their cost is not known."""
        each, margin = self.revenue_each, self.margin
        return None if each is None else each if margin is None else each * margin

    @property
    def value(self) -> Fraction | None:
        """Lifetime value: what one leaves a month, for as long as it stays."""
        return None if self.kept_each is None or self.months is None else self.kept_each * self.months

    @property
    def acquisition(self) -> Fraction | None:
        """What it cost to win one."""
        return _of(self.spend, self.won)

    @property
    def ratio(self) -> Fraction | None:
        """Lifetime value for each dollar of acquisition."""
        return self.value / self.acquisition if self.value is not None and self.acquisition else None

    @property
    def payback_months(self) -> Fraction | None:
        """Months until one has brought back what it cost to win."""
        if self.acquisition is None or not self.kept_each or self.kept_each < 0:
            return None
        return self.acquisition / self.kept_each


def lifetime(months: Sequence[Month], *, booked: int, cost: int | None, spend: int, contracts: int = 0) -> Lifetime:
    """Of a span of months; `booked` (beside plans and contracts), `contracts`, `cost` and `spend` are theirs."""
    moves = [month.moves for month in months]
    return Lifetime(
        revenue=sum(one.end for one in moves) + booked + contracts,
        cost=cost,
        spend=spend,
        paying_months=sum(one.end_tenants for one in moves),
        at_risk=sum(one.start_tenants for one in moves),
        left=sum(one.tenants[CHURN] for one in moves),
        won=sum(one.tenants[NEW] for one in moves),
        contracts=contracts,
    )


def _of(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole else None
