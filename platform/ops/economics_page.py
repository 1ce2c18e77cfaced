"""What the page of recurring revenue shows: MRR, how it moved, by plan, and beside it what the ledger booked."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.economics import KINDS, Month, text
from billing.plans import plan_book
from billing.selectors import recurring
from billing.selectors.house import rates_of
from billing.selectors.recurring import Revenue
from kit import charts
from kit.money import HOUSE, NANO, usd, with_symbol

SHOWN = 13
"""Months on a page: a year and the one it is held against."""
NOTHING = "–"
KIND_WORDS = {
    "new": gettext_lazy("New"),
    "expansion": gettext_lazy("Expansion"),
    "reactivation": gettext_lazy("Reactivation"),
    "contraction": gettext_lazy("Contraction"),
    "churn": gettext_lazy("Churn"),
}


def dollars(nano: int) -> Decimal:
    """Dollars to a spreadsheet, to the nano."""
    return Decimal(nano) / NANO


def signed(nano: int) -> str:
    """A change of money: `+$29.00`, `-$29.00`, `$0.00`."""
    return f"+{usd(nano)}" if nano > 0 else usd(nano)


def share(value: Fraction | None) -> str:
    """A share in percent with one digit; a dash where there is nothing to take a share of."""
    return NOTHING if value is None else f"{Decimal(text(value * 100, 1)):,}%"


def name_of(month: dt.date) -> str:
    """`Nov 2026`."""
    return f"{month:%b %Y}"


def rates_words(first: dt.date, last: dt.date) -> str:
    """What the months of a page turned other currencies at: `€1 = $1.16, from Mar 2027 $1.1`; empty where all pay in
    the house's."""
    return "; ".join(
        f"{with_symbol('1', currency)} = "
        + ", ".join(
            (_("from %(month)s ") % {"month": name_of(month)} if place else "") + with_symbol(f"{one:f}", HOUSE)
            for place, (month, one) in enumerate(rates.items())
        )
        for currency, rates in rates_of(first, last).items()
    )


def shown(month: dt.date) -> list[Month]:
    """The months of a page, the oldest first."""
    return recurring.months(month)[-SHOWN:]


def context(month: dt.date, given: Mapping[str, str]) -> dict[str, Any]:
    """Everything the page shows."""
    told = shown(month)
    first = told[0].month if told else month
    revenue = recurring.revenue_by_month(first, month)
    found: dict[str, Any] = {"revenue": _revenue(revenue), "ledger": _ledger_bars(revenue) if revenue else None}
    found["rates"] = rates_words(first, month)
    if not told:
        return found
    rows = recurring.month_rows(month)
    lines, unpriced = recurring.by_plan(rows)
    return found | {
        "now": _figures(told[-1]),
        "kept": recurring.month_taken(month),
        "unpriced": unpriced,
        "kinds": [KIND_WORDS[kind] for kind in KINDS],
        "movements": [_movement(one) for one in reversed(told)],
        "plans": [
            (_plan(line.plan), line.tenants, usd(line.nano), share(Fraction(line.nano, told[-1].moves.end)))
            for line in lines
        ],
        "line": _line(told),
        "bars": _bars(told),
    }


def _figures(last: Month) -> dict[str, Any]:
    moves = last.moves
    paying = moves.end_tenants
    return {
        "mrr": usd(moves.end),
        "change": signed(moves.change),
        "arr": usd(last.annual),
        "paying": paying,
        "each": usd(round(Fraction(moves.end, paying))) if paying else NOTHING,
        "net": share(moves.net_retention),
        "gross": share(moves.gross_retention),
        "net_year": share(last.year.net_retention) if last.year else NOTHING,
    }


def _movement(month: Month) -> dict[str, Any]:
    moves = month.moves
    return {
        "month": name_of(month.month),
        "start": usd(moves.start),
        "kinds": [(signed(moves.nano[kind]) if moves.nano[kind] else "", moves.tenants[kind]) for kind in KINDS],
        "end": usd(moves.end),
        "tenants": moves.end_tenants,
    }


def _plan(code: str) -> str:
    try:
        return plan_book().latest(code).name
    except KeyError:
        return code or _("another price")


def _line(told: Sequence[Month]) -> charts.LineChart:
    first, last = told[0], told[-1]
    facts = {"first": usd(first.moves.end), "last": usd(last.moves.end), "month": name_of(first.month)}
    return charts.line_chart(
        id="mrr",
        title=_("MRR at each month's end, $"),
        finding=_("MRR is %(last)s; it was %(first)s at the end of %(month)s.") % facts,
        series=[charts.Series("mrr", _("MRR"), [(place, one.moves.end / NANO) for place, one in enumerate(told)])],
        xlabel=_("Month"),
        names=[name_of(one.month) for one in told],
        zero=True,
    )


def _bars(told: Sequence[Month]) -> charts.Bars:
    last = told[-1]
    facts = {"change": signed(last.moves.change), "month": name_of(last.month)}
    return charts.bar_chart(
        id="movements",
        title=_("Movements of MRR, $ a month"),
        finding=_("In %(month)s MRR moved by %(change)s.") % facts,
        keys=[str(KIND_WORDS[kind]) for kind in KINDS],
        columns=[
            charts.Column(name_of(one.month), [float(one.moves.nano[kind]) / NANO for kind in KINDS]) for one in told
        ],
        unit="$",
        xlabel=_("Month"),
    )


def _revenue(revenue: dict[dt.date, Revenue]) -> list[tuple[str, ...]]:
    return [
        (name_of(month), *(usd(nano) for nano in _parts(found)), usd(found.total))
        for month, found in sorted(revenue.items(), reverse=True)
    ]


def _parts(found: Revenue) -> tuple[int, int, int, int]:
    return found.plans, found.usage, found.contracts, found.taken_off


def _ledger_bars(revenue: dict[dt.date, Revenue]) -> charts.Bars:
    month, last = max(revenue.items())
    facts = {
        "plans": usd(last.plans),
        "usage": usd(last.usage),
        "contracts": usd(last.contracts),
        "month": name_of(month),
    }
    return charts.bar_chart(
        id="booked",
        title=_("Booked revenue, $"),
        finding=_("In %(month)s plans brought %(plans)s, usage %(usage)s and contracts %(contracts)s.") % facts,
        keys=[_("Plans"), _("Usage beyond allowances"), _("Contracts"), _("Taken off")],
        columns=[
            charts.Column(name_of(one), [float(nano) / NANO for nano in _parts(found)])
            for one, found in sorted(revenue.items())
        ],
        unit="$",
        xlabel=_("Month"),
    )


def rows(month: dt.date, given: Mapping[str, str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Head and rows of the CSV, the oldest month first: all months, not only those on the page."""
    told = recurring.months(month)
    head = (
        "month", "mrr_start", *KINDS, "mrr_end", "arr", *(f"{kind}_organisations" for kind in KINDS),
        "paying_organisations", "booked_plans", "booked_usage", "booked_contracts", "booked_taken_off",
    )  # fmt: skip
    booked = recurring.revenue_by_month(told[0].month if told else month, month)
    lines = []
    for one in told:
        moves, ledger = one.moves, booked.get(one.month, Revenue())
        lines.append(
            (
                f"{one.month:%Y-%m}",
                dollars(moves.start),
                *(dollars(moves.nano[kind]) for kind in KINDS),
                dollars(moves.end),
                dollars(one.annual),
                *(moves.tenants[kind] for kind in KINDS),
                moves.end_tenants,
                *(dollars(nano) for nano in _parts(ledger)),
            )
        )
    return head, lines
