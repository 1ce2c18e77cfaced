"""What a plan is made of: fourteen numbers and perhaps a budget, each with its unit and its bounds.

Numbers are fractions inside: sums and products of decimals stay exact however many digits they grow, and so does the
one division there is, at the break-even point.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Literal, Self

Kind = Literal["units", "money", "days", "ratio", "share"]
MOST = 10**12
"""No input is larger; money is dollars."""
PLACES = 9
"""Digits after the point that an input may have: nano-dollars."""
LONGEST = 40
_NUMBER = re.compile(r"(\d+|\d{1,3}(,\d{3})+)(\.\d+)?", re.ASCII)
"""Commas stand between thousands and nowhere else: 12,50 may mean 12.50, and must not become 1250."""
STEPS: dict[Kind, Fraction] = {
    "units": Fraction(1),
    "money": Fraction(1, 10**9),
    "days": Fraction(1, 100),
    "ratio": Fraction(1, 10**6),
    "share": Fraction(1, 10**6),
}
"""How finely a break-even point is told."""


@dataclass(frozen=True, slots=True)
class Field:
    """An input: what it counts, and what stands for it where nothing was entered (None: it must be)."""

    name: str
    kind: Kind
    default: str | None = None

    @property
    def high(self) -> Fraction:
        """The largest value there can be; the smallest is 0."""
        return Fraction(1 if self.kind == "share" else MOST)

    @property
    def step(self) -> Fraction:
        """The grid of its break-even point."""
        return STEPS[self.kind]

    def read(self, words: str) -> Fraction:
        """The number of a text such as `1,000`, `0.25` or `$2`; ValueError says what to enter instead."""
        words = words.strip().removeprefix("$")
        if words.startswith(("-", "\u2212")):
            raise ValueError("Enter 0 or more; it cannot be negative.")
        if len(words) > LONGEST or _NUMBER.fullmatch(words) is None:
            raise ValueError(f"Enter a number, for example {EXAMPLE.get(self.name) or '1000.50'}.")
        if len(words.partition(".")[2].rstrip("0")) > PLACES:
            raise ValueError(f"Use at most {PLACES} digits after the point.")
        value = Fraction(words.replace(",", ""))
        if value > self.high:
            if self.kind == "share":
                raise ValueError("Enter a share from 0 to 1, for example 0.2 for 20%.")
            raise ValueError(f"Enter at most {MOST:,}.")
        if self.kind == "units" and value.denominator != 1:
            raise ValueError("Enter a whole number.")
        return value


FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("market_size", "units"),
        Field("fixed_cost", "money", "0"),
        Field("data_cost", "money"),
        Field("training_cost", "money"),
        Field("training_days", "days"),
        Field("promotion_cost", "money"),
        Field("promotion_effect", "ratio"),
        Field("adaptation_cost", "money"),
        Field("retention", "share"),
        Field("consumption", "ratio"),
        Field("transactions", "ratio", "1"),
        Field("transaction_cost", "money"),
        Field("transaction_revenue", "money"),
        Field("conversion", "share"),
    )
}
"""Every input but the budget, in the order in which money is spent."""
BUDGET = Field("budget", "money")

EXAMPLE: dict[str, str] = {
    "market_size": "1000",
    "fixed_cost": "0",
    "data_cost": "0.01",
    "training_cost": "1000000",
    "training_days": "30",
    "promotion_cost": "50000",
    "promotion_effect": "0.1",
    "adaptation_cost": "100000",
    "retention": "0.2",
    "consumption": "50",
    "transactions": "1",
    "transaction_cost": "2",
    "transaction_revenue": "100",
    "conversion": "0.2",
}
"""The reference case: costs 180,002,010, earns 1,005,020,000, leaves 825,017,990."""


class InputProblems(ValueError):
    """Inputs that cannot be, `problems` by field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {words}" for name, words in problems.items()))
        self.problems = dict(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A plan. Money is dollars; `promotion_effect` and `consumption` are dollars earned for each dollar spent."""

    market_size: Fraction
    fixed_cost: Fraction
    data_cost: Fraction
    """For each unit of the market."""
    training_cost: Fraction
    """For each day."""
    training_days: Fraction
    promotion_cost: Fraction
    """For each unit."""
    promotion_effect: Fraction
    adaptation_cost: Fraction
    """For each unit."""
    retention: Fraction
    """Share of the units that stay after adaptation, and consume."""
    consumption: Fraction
    transactions: Fraction
    """Of each unit."""
    transaction_cost: Fraction
    """For each, whether it is paid or not."""
    transaction_revenue: Fraction
    """Of each that is paid."""
    conversion: Fraction
    """Share of the transactions that are paid."""
    budget: Fraction | None = None
    """The most that may be spent; None where nobody set one."""

    @classmethod
    def of(cls, given: Mapping[str, object]) -> Self:
        """Read texts or numbers. InputProblems tells all that is missing, unknown, no number, or out of bounds."""
        values: dict[str, Fraction | None] = {}
        problems = {name: "There is no such input." for name in given if name not in FIELDS and name != "budget"}
        for field in (*FIELDS.values(), BUDGET):
            found = given.get(field.name)
            words = "" if found is None else str(found).strip()
            try:
                if words:
                    values[field.name] = field.read(words)
                elif field is BUDGET:
                    values[field.name] = None
                elif field.default is not None:
                    values[field.name] = Fraction(field.default)
                else:
                    raise ValueError(f"Enter a number, for example {EXAMPLE[field.name]}.")
            except ValueError as error:
                problems[field.name] = str(error)
        if problems:
            raise InputProblems(problems)
        return cls(**values)  # type: ignore[arg-type]

    def having(self, name: str, value: Fraction) -> "Inputs":
        """The same plan with one input changed."""
        return replace(self, **{name: value})

    def texts(self) -> dict[str, str]:
        """Every input as `of` reads it back; the budget only where there is one."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: text(value) for name, value in found.items() if value is not None}


def text(value: Fraction, places: int | None = None) -> str:
    """A decimal without an exponent: all digits of what has an end, nine of what has none, or so many `places`."""
    with localcontext() as context:
        context.prec = 400
        number = Decimal(value.numerator) / Decimal(value.denominator)
        if places is None and not _ends(value.denominator):
            places = PLACES
        if places is not None:
            return f"{number.quantize(Decimal(1).scaleb(-places)):f}"
        written = f"{number:f}"
        return written.rstrip("0").rstrip(".") if "." in written else written


def _ends(denominator: int) -> bool:
    """Whether fractions over it have an end as decimals."""
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1
