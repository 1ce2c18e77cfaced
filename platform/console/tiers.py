"""Prices that depend on a month's quantity, as tables for the pricing page."""

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.ledger.lines import kind_name
from billing.prices import Flat, Graduated, Package, PriceVersion, Scale
from kit.money import usd

_UNITS = {
    "input_token": (gettext_lazy("tokens read"), gettext_lazy("1 M tokens"), 1, 10**6),
    "trained_token": (gettext_lazy("tokens trained on"), gettext_lazy("1 M tokens"), 1, 10**6),
    "output_token": (gettext_lazy("tokens written"), gettext_lazy("1 M tokens"), 1, 10**6),
    "request": (gettext_lazy("calls"), gettext_lazy("1,000 calls"), 1, 1000),
    "machine_ms": (gettext_lazy("seconds"), gettext_lazy("hour"), 1000, 3_600_000),
    "gigabyte_hour": (gettext_lazy("GB-hours"), gettext_lazy("1,000 GB-hours"), 10**9, 1000),
}
"""By unit: what is counted, what a price is shown per, how many counts are one, how many price units are shown."""


@dataclass(frozen=True, slots=True)
class Step:
    """Units of a month from the first to the last (None: all further ones), and their price."""

    first: int
    last: int | None
    price: str


@dataclass(frozen=True, slots=True)
class Table:
    """One price by quantity. `unit` is counted from the first of each month; a price is for `per`."""

    name: str
    unit: str
    per: str
    rule: str
    steps: list[Step]


def tables(book: PriceVersion) -> list[Table]:
    """Every price of a book that depends on a month's quantity. Batches have the same tiers at their share of it."""
    found = []
    for kind, models in book.kinds.items():
        if kind.startswith("batch_"):
            continue
        for model, price in models.items():
            name = kind_name(kind) if model == "default" else f"{kind_name(kind)} · {model}"
            found += [_table(name, unit, scale) for unit, scale in price.scales]
    return found


def _table(name: str, unit: str, scale: Scale) -> Table:
    counted, per, count, shown = _UNITS[unit]
    if isinstance(scale, Flat):
        rule = _("One price for a month in which there is any of it.")
        return Table(name, str(counted), _("month"), rule, [Step(1, None, usd(scale.price))])
    if isinstance(scale, Package):
        rule = _("A package that is begun is paid; what is left of it ends with the month.")
        return Table(name, str(counted), _("package"), rule, [Step(1, scale.units // count, usd(scale.price))])
    rule = _("A month pays for all of it the price that its last one reaches.")
    if isinstance(scale, Graduated):
        rule = _("Each one has the price of the line it falls in.")
    steps, first = [], 1
    for tier in scale.tiers:
        last = None if tier.up_to is None else tier.up_to // count
        steps.append(Step(first, last, usd(tier.price * shown)))
        first = (last or 0) + 1
    return Table(name, str(counted), str(per), rule, steps)
