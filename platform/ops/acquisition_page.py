"""What the page of lifetime value shows, and its form for what was spent to win customers."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.economics import Lifetime, lifetime, text
from billing.selectors import recurring
from billing.selectors.acquisition import spend_by_channel, spend_entries
from billing.selectors.machines import cost_by_month
from kit.money import LIMIT, NANO, usd
from ops.economics_page import NOTHING, dollars, name_of, rates_words, share
from ops.services import SHORTEST_REASON

SPANS = (3, 6, 12)
USUAL = 6
ENTRIES = 20
MONEY = ("revenue_each", "kept_each", "value", "acquisition")
SHARES = ("margin", "churn")
NUMBERS = ("months", "ratio", "payback_months")


class SpendForm(forms.Form):
    """What a channel cost in a month."""

    channel = forms.CharField(
        label=gettext_lazy("Channel"),
        max_length=40,
        help_text=gettext_lazy("Such as Search ads. One that is there already gets the amount added."),
    )
    month = forms.CharField(
        label=gettext_lazy("Month"), max_length=7, help_text=gettext_lazy("Such as 2026-11. Not one to come.")
    )
    amount = forms.CharField(
        label=gettext_lazy("Amount"),
        max_length=40,
        help_text=gettext_lazy("Dollars. A mistake is taken back by the same amount with a minus."),
        widget=forms.TextInput(attrs={"inputmode": "text", "autocomplete": "off"}),
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        min_length=SHORTEST_REASON,
        max_length=300,
        help_text=gettext_lazy("Kept for ever in the staff log."),
    )

    def clean_month(self) -> dt.date:
        """The first of it."""
        try:
            return dt.datetime.strptime(f"{self.cleaned_data['month'].strip()}-01", "%Y-%m-%d").date()
        except ValueError:
            raise forms.ValidationError(_("Month: enter it as year and month, for example 2026-11.")) from None

    def clean_amount(self) -> int:
        """Nano-USD."""
        words = self.cleaned_data["amount"].strip().replace("\u2212", "-").replace("$", "", 1)
        try:
            amount = Decimal(words.replace(",", "")) if words.isascii() else Decimal("nan")
        except InvalidOperation:
            amount = Decimal("nan")
        if not amount.is_finite() or abs(amount) > LIMIT // NANO:
            raise forms.ValidationError(_("Amount: enter dollars, for example 1200 or -1200."))
        if amount != amount.quantize(Decimal("0.01")):
            raise forms.ValidationError(_("Amount: enter whole cents, for example 1200.50."))
        return int(amount * NANO)


def span_of(given: Mapping[str, str]) -> int:
    """How many months the figures are taken over."""
    asked = given.get("span", "")
    return int(asked) if asked.isdecimal() and asked.isascii() and int(asked) in SPANS else USUAL


def figures(month: dt.date, span: int) -> tuple[list[dt.date], Lifetime, dict[str, dict[dt.date, int]]]:
    """The months taken, what they say, and what each channel cost in them."""
    told = recurring.months(month)[-span:]
    first = told[0].month if told else month
    taken = [one.month for one in told] or [month]
    booked = recurring.revenue_by_month(first, month)
    spent = spend_by_channel(first, month)
    costs = cost_by_month(first, month)
    found = lifetime(
        told,
        booked=sum(one.usage + one.taken_off for one in booked.values()),
        contracts=sum(one.contracts for one in booked.values()),
        cost=sum(costs.values()) if told and all(one.month in costs for one in told) else None,
        spend=sum(sum(one.values()) for one in spent.values()),
    )
    return taken, found, spent


def context(month: dt.date, given: Mapping[str, str]) -> dict[str, Any]:
    """Everything the page shows."""
    span = span_of(given)
    taken, found, spent = figures(month, span)
    return {
        "rates": rates_words(taken[0], month),
        "spans": SPANS,
        "span": span,
        "since": name_of(taken[0]),
        "until": name_of(taken[-1]),
        "found": _words(found),
        "facts": [
            (_("Revenue of plans, usage and contracts, less what was taken off"), usd(found.revenue)),
            (_("Of it contracts for custom models"), usd(found.contracts)),
            (_("Cost of machines"), NOTHING if found.cost is None else usd(found.cost)),
            (_("Paying organisations at each month's end, added up"), f"{found.paying_months:,}"),
            (_("Paying organisations at each month's start, added up"), f"{found.at_risk:,}"),
            (_("Left"), f"{found.left:,}"),
            (_("Won"), f"{found.won:,}"),
            (_("Spent on acquisition"), usd(found.spend)),
        ],
        "costed": found.cost is not None,
        "channels": [
            (channel, [usd(months[one]) if one in months else NOTHING for one in taken], usd(sum(months.values())))
            for channel, months in spent.items()
        ],
        "taken": [name_of(one) for one in taken],
        "entries": spend_entries(ENTRIES),
        "most": ENTRIES,
    }


def _words(found: Lifetime) -> dict[str, str]:
    return {
        **{name: _money(getattr(found, name)) for name in MONEY},
        **{name: share(getattr(found, name)) for name in SHARES},
        **{name: _number(getattr(found, name)) for name in NUMBERS},
    }


def _money(value: Fraction | None) -> str:
    return NOTHING if value is None else usd(round(value))


def _number(value: Fraction | None) -> str:
    return NOTHING if value is None else f"{Decimal(text(value, 1)):,}"


def rows(month: dt.date, given: Mapping[str, str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Head and rows of the CSV: the figures, then what each channel cost in each month."""
    _taken, found, spent = figures(month, span_of(given))
    lines: list[tuple[Any, ...]] = [
        ("sum", "", "", "revenue", dollars(found.revenue)),
        ("sum", "", "", "revenue_contracts", dollars(found.contracts)),
        ("sum", "", "", "cost", None if found.cost is None else dollars(found.cost)),
        ("sum", "", "", "spend", dollars(found.spend)),
        *(("sum", "", "", name, getattr(found, name)) for name in ("paying_months", "at_risk", "left", "won")),
    ]
    for name in MONEY:
        value = getattr(found, name)
        lines.append(("figure", "", "", name, None if value is None else Decimal(text(value / NANO))))
    for name in (*SHARES, *NUMBERS):
        value = getattr(found, name)
        lines.append(("figure", "", "", name, None if value is None else Decimal(text(value))))
    for channel, months in spent.items():
        lines += [("spend", channel, f"{one:%Y-%m}", "amount", dollars(nano)) for one, nano in sorted(months.items())]
    return ("part", "channel", "month", "figure", "value"), lines
