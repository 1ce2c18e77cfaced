"""Unit economics: what a plan for a market costs and earns, by five phases and a fixed cost. Exact, without Django.

inputs = Inputs.of({"market_size": "1000", …})   # InputProblems names every field that cannot be
result = outcome(inputs)                         # cost and revenue of each phase; profit = revenue - cost, exactly
break_even(inputs, "market_size")                # where the profit turns
sensitivity(inputs, Fraction(1, 10))             # the profit with each input 10 % lower and higher
allowed(inputs)                                  # what the budget pays for

The formulas and why they read as they do: docs/decisions/0052-unit-economics.md.
"""

from billing.economics.break_even import BreakEven, break_even, curve
from billing.economics.budget import Allowed, allowed
from billing.economics.inputs import EXAMPLE, FIELDS, Field, InputProblems, Inputs, text
from billing.economics.outcome import PHASES, Line, Outcome, outcome
from billing.economics.scenarios import Compared, compare
from billing.economics.sensitivity import Swing, sensitivity

__all__ = [
    "EXAMPLE",
    "FIELDS",
    "PHASES",
    "Allowed",
    "BreakEven",
    "Compared",
    "Field",
    "InputProblems",
    "Inputs",
    "Line",
    "Outcome",
    "Swing",
    "allowed",
    "break_even",
    "compare",
    "curve",
    "outcome",
    "sensitivity",
    "text",
]
