"""Unit economics: what a plan for a market costs and earns, by five phases and a fixed cost. Exact, without Django.

inputs = Inputs.of({"market_size": "1000", …})   # InputProblems names every field that cannot be
result = outcome(inputs)                         # cost and revenue of each phase; profit = revenue - cost, exactly
break_even(inputs, "market_size")                # where the profit turns
sensitivity(inputs, Fraction(1, 10))             # the profit with each input 10 % lower and higher
allowed(inputs)                                  # what the budget pays for

The formulas and why they read as they do: docs/decisions/0052-unit-economics.md.

Beside the planner stands what is counted of the real market, from rows that selectors read:

told = months_told(month_ends(changes, last))    # MRR and its movements, month by month
cohorts(ends)                                    # who stayed of those that began together
funnel(journeys)                                 # from signing up to paying
lay(cost, capacity_ms, uses)                     # what machines cost, on those who used them
lifetime(told, booked=…, cost=…, spend=…)        # what one is worth, and what it cost to win
"""

from billing.economics.break_even import BreakEven, break_even, curve
from billing.economics.budget import Allowed, allowed
from billing.economics.funnel import STEPS, Arrivals, Journey, funnel, together
from billing.economics.idle import Laid, Share, apportion, lay
from billing.economics.inputs import EXAMPLE, FIELDS, Field, InputProblems, Inputs, text
from billing.economics.lifetime import Lifetime, lifetime
from billing.economics.outcome import PHASES, Line, Outcome, outcome
from billing.economics.recurring import (
    COUNTED,
    KINDS,
    Change,
    Cohort,
    Month,
    Moves,
    cohorts,
    month_ends,
    monthly_nano,
    months_told,
    moves,
)
from billing.economics.scenarios import Compared, compare
from billing.economics.sensitivity import Swing, sensitivity

__all__ = [
    "COUNTED",
    "EXAMPLE",
    "FIELDS",
    "KINDS",
    "PHASES",
    "STEPS",
    "Allowed",
    "Arrivals",
    "BreakEven",
    "Change",
    "Cohort",
    "Compared",
    "Field",
    "InputProblems",
    "Inputs",
    "Journey",
    "Laid",
    "Lifetime",
    "Line",
    "Month",
    "Moves",
    "Outcome",
    "Share",
    "Swing",
    "allowed",
    "apportion",
    "break_even",
    "cohorts",
    "compare",
    "curve",
    "funnel",
    "lay",
    "lifetime",
    "month_ends",
    "monthly_nano",
    "months_told",
    "moves",
    "outcome",
    "sensitivity",
    "text",
    "together",
]
