"""What the planner's pages show of a plan: figures in words, tables and drawings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from billing.economics import (
    FIELDS,
    BreakEven,
    Inputs,
    Outcome,
    allowed,
    break_even,
    compare,
    curve,
    outcome,
    sensitivity,
    text,
)
from kit import charts
from ops.planner_form import PHASE_WORDS, label

NOTHING = "–"


def dollars(value: Fraction) -> str:
    """`$1,200`, `-$0.50`, `$0.000004`: whole, in cents, or with the digits that say something."""
    sign, size = "-" if value < 0 else "", abs(value)
    if size.denominator == 1:
        return f"{sign}${int(size):,}"
    if size >= Fraction(1, 100):
        whole, _point, cents = text(size, 2).partition(".")
        return f"{sign}${int(whole):,}.{cents}"
    return f"{sign}${text(size, 9).rstrip('0')}" if size >= Fraction(1, 10**9) else f"{sign}<$0.000000001"


def amount(name: str, value: Fraction) -> str:
    """The value of an input, all of its digits."""
    whole, point, rest = text(value).partition(".")
    dollar = "$" if name not in FIELDS or FIELDS[name].kind == "money" else ""
    return f"{dollar}{int(whole):,}{point}{rest}"


def share(value: Fraction | None) -> str:
    """A share in percent with one digit."""
    return NOTHING if value is None else f"{text(value * 100, 1)}%"


@dataclass(frozen=True, slots=True)
class SwingRow:
    """One input of the tornado."""

    name: Any
    bar: SafeString
    low: str
    high: str
    low_profit: str
    high_profit: str
    cut: bool


def context(inputs: Inputs, moved: Fraction) -> dict[str, Any]:
    """Everything the page shows of a plan, with each input moved by a share for the tornado."""
    result = outcome(inputs)
    points = {name: break_even(inputs, name) for name in FIELDS}
    swings = [swing for swing in sensitivity(inputs, moved) if swing.size]
    return {
        "result": {
            "cost": dollars(result.cost),
            "revenue": dollars(result.revenue),
            "profit": dollars(result.profit),
            "loses": result.profit < 0,
            "margin": share(result.margin),
            "returned": NOTHING if result.returned is None else dollars(result.returned),
        },
        "lines": [
            (PHASE_WORDS[line.phase], dollars(line.cost), dollars(line.revenue), dollars(line.profit))
            for line in result.lines
        ],
        "turn": turn_words(points["market_size"]),
        "points": [
            (label(name), amount(name, getattr(inputs, name)), turn_words(point)) for name, point in points.items()
        ],
        "swings": _tornado(swings, result.profit),
        "still": [label(name) for name in FIELDS if name not in {swing.name for swing in swings}],
        "moved": f"{text(moved * 100)}%",
        "budget": _budget(inputs),
        "curve": _curve(inputs, points["market_size"]),
        "stack": _stack(inputs, result),
    }


def turn_words(point: BreakEven) -> str:
    """A break-even point in a word or two."""
    if point.value is not None:
        return (_("at least %s") if point.turn == "at_least" else _("at most %s")) % turn_value(point)
    return {
        "always": _("no loss at any value"),
        "never": _("a loss at every value"),
        "no_effect": _("no effect on the profit"),
    }[point.turn]


def turn_value(point: BreakEven) -> str:
    """Where the profit turns; from a dollar up in whole cents, rounded so that nothing is lost there either."""
    value = point.value or Fraction(0)
    if FIELDS[point.name].kind == "money" and value >= 1:
        rounded = math.ceil if point.turn == "at_least" else math.floor
        value = Fraction(rounded(value * 100), 100)
    return amount(point.name, value)


def _tornado(swings: Sequence[Any], base: Fraction) -> list[SwingRow]:
    ends = [float(one) for swing in swings for one in (swing.low_profit, swing.high_profit)]
    return [
        SwingRow(
            name=label(swing.name),
            bar=mark_safe(
                charts.swing_bar(
                    base=float(base),
                    lower=float(swing.low_profit),
                    higher=float(swing.high_profit),
                    least=min(ends),
                    most=max(ends),
                )
            ),
            low=amount(swing.name, swing.low),
            high=amount(swing.name, swing.high),
            low_profit=dollars(swing.low_profit),
            high_profit=dollars(swing.high_profit),
            cut=swing.cut,
        )
        for swing in swings
    ]


def _budget(inputs: Inputs) -> dict[str, Any] | None:
    found = allowed(inputs)
    if found is None:
        return None
    return {
        "enough": found.enough,
        "budget": dollars(found.budget),
        "left": dollars(found.budget - sum((paid for _phase, paid in found.spent), Fraction(0))),
        "short": dollars(found.short),
        "ends_in": PHASE_WORDS.get(found.ends_in, ""),
        "units": None if found.most_units is None else f"{found.most_units:,}",
        "payable": found.within is not None,
        "within_cost": dollars(found.within.cost) if found.within else "",
        "within_profit": dollars(found.within.profit) if found.within else "",
        "spent": [(PHASE_WORDS[phase], dollars(paid)) for phase, paid in found.spent],
    }


def _curve(inputs: Inputs, point: BreakEven) -> charts.LineChart:
    drawn = curve(inputs)
    series = [
        charts.Series("cost", _("Cost"), [(float(size), float(found.cost)) for size, found in drawn], 1),
        charts.Series("revenue", _("Revenue"), [(float(size), float(found.revenue)) for size, found in drawn], 2),
    ]
    finding = _("At every size drawn the plan loses money.")
    if point.value is not None and point.value <= drawn[-1][0]:
        at = outcome(inputs.having("market_size", point.value))
        where = [(float(point.value), float(at.revenue))]
        series.append(charts.Series("turn", _("Break-even"), where, 3, sparse=True))
        said = (
            _("Revenue covers the cost from %s units on.")
            if point.turn == "at_least"
            else _("Revenue covers the cost up to %s units.")
        )
        finding = said % turn_value(point)
    elif all(found.profit >= 0 for _size, found in drawn):
        finding = _("At no size drawn the plan loses money.")
    return charts.line_chart(
        id="break-even",
        title=_("Cost and revenue by market size, $"),
        finding=finding,
        series=series,
        xlabel=_("units"),
        zero=True,
    )


def _stack(inputs: Inputs, result: Outcome) -> charts.Bars:
    columns = [
        charts.Column(_("Cost"), [float(line.cost) for line in result.lines]),
        charts.Column(_("Revenue"), [float(line.revenue) for line in result.lines]),
    ]
    facts = {"cost": dollars(result.cost), "revenue": dollars(result.revenue)}
    return charts.bar_chart(
        id="stack",
        title=_("Cost and revenue by phase, $"),
        finding=_("The plan costs %(cost)s and earns %(revenue)s.") % facts,
        keys=[str(PHASE_WORDS[line.phase]) for line in result.lines],
        columns=columns,
        unit="$",
        limit=None if inputs.budget is None else float(inputs.budget),
        xlabel=_("Sum"),
    )


def side_by_side(plans: Sequence[tuple[str, Inputs]]) -> dict[str, Any]:
    """Plans in columns: inputs, then sums, then the profit of each phase beyond the first plan's."""
    rows = compare(plans)
    inputs = [
        (label(name), [(_input(row.inputs, name), name in row.changed) for row in rows]) for name in (*FIELDS, "budget")
    ]
    sums = [
        (_("Cost"), [dollars(row.outcome.cost) for row in rows]),
        (_("Revenue"), [dollars(row.outcome.revenue) for row in rows]),
        (_("Profit"), [dollars(row.outcome.profit) for row in rows]),
        (_("Margin"), [share(row.outcome.margin) for row in rows]),
        (_("Break-even market size"), [turn_words(break_even(row.inputs, "market_size")) for row in rows]),
    ]
    more = [
        (PHASE_WORDS[line.phase], [_beyond(row.differences[at].profit) for row in rows])
        for at, line in enumerate(rows[0].outcome.lines)
    ]
    return {
        "names": [row.name for row in rows],
        "inputs": inputs,
        "sums": sums,
        "more": more,
        "total": [_beyond(row.more) for row in rows],
    }


def _input(inputs: Inputs, name: str) -> str:
    value = getattr(inputs, name)
    return NOTHING if value is None else amount(name, value)


def _beyond(value: Fraction) -> str:
    return f"+{dollars(value)}" if value > 0 else dollars(value)
