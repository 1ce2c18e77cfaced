"""Prices that depend on a month's quantity, as tables: of the pricing page, of the running month, of a bill's line."""

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.ledger.lines import PACKAGES, TIERS, kind_name
from billing.models import RatedLine
from billing.periods import month_of
from billing.prices import Flat, Graduated, Package, PriceVersion, Scale, price_books
from billing.prices.rating import COUNTED
from billing.prices.scales import spans
from billing.selectors.adjustments import ByQuantity, month_counted
from kit.money import written_exact

_UNITS = {
    "input_token": (gettext_lazy("tokens read"), gettext_lazy("1 M tokens"), 1, 10**6),
    "trained_token": (gettext_lazy("tokens trained on"), gettext_lazy("1 M tokens"), 1, 10**6),
    "output_token": (gettext_lazy("tokens written"), gettext_lazy("1 M tokens"), 1, 10**6),
    "request": (gettext_lazy("calls"), gettext_lazy("1,000 calls"), 1, 1000),
    "machine_ms": (gettext_lazy("hours"), gettext_lazy("hour"), 3_600_000, 3_600_000),
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
        return Table(name, str(counted), _("month"), rule, [Step(1, None, written_exact(scale.price))])
    if isinstance(scale, Package):
        rule = _("A package that is begun is paid; what is left of it ends with the month.")
        return Table(
            name, str(counted), _("package"), rule, [Step(1, scale.units // count, written_exact(scale.price))]
        )
    rule = _("A month pays for all of it the price that its last one reaches.")
    if isinstance(scale, Graduated):
        rule = _("Each one has the price of the line it falls in.")
    steps, first = [], 1
    for tier in scale.tiers:
        last = None if tier.up_to is None else tier.up_to // count
        steps.append(Step(first, last, written_exact(tier.price * shown)))
        first = (last or 0) + 1
    return Table(name, str(counted), str(per), rule, steps)


@dataclass(frozen=True, slots=True)
class SoFar:
    """One price by quantity and how far a month has come with it."""

    name: str
    unit: str
    quantity: int
    price: str
    """Of what comes next."""
    per: str
    then: str
    """What comes after that."""
    change_nano: int


def so_far(found: list[ByQuantity]) -> list[SoFar]:
    """The prices by quantity that a month has used."""
    return [_so_far(one) for one in found]


def _so_far(one: ByQuantity) -> SoFar:
    counted, per, count, shown = _UNITS[one.unit]
    name, quantity = f"{kind_name(one.kind)} · {one.base}", -(-one.quantity // count)
    if isinstance(one.scale, Package):
        left = (-one.quantity % one.scale.units) // count
        then = _("%(left)s left of the one that is begun") % {"left": f"{left:,}"}
        return SoFar(name, str(counted), quantity, written_exact(one.scale.price), _("package"), then, one.change_nano)
    if isinstance(one.scale, Flat):
        return SoFar(name, str(counted), quantity, written_exact(one.scale.price), _("month"), "", one.change_nano)
    tiers = one.scale.tiers
    here = next(place for place, tier in enumerate(tiers) if tier.up_to is None or one.quantity < tier.up_to)
    then, end = "", tiers[here].up_to
    if end is not None:
        words = {"end": f"{end // count:,}", "price": written_exact(tiers[here + 1].price * shown)}
        then = _("beyond %(end)s: %(price)s") % words
    return SoFar(
        name, str(counted), quantity, written_exact(tiers[here].price * shown), str(per), then, one.change_nano
    )


@dataclass(frozen=True, slots=True)
class Part:
    """What of a month fell in one tier, or how many packages it began."""

    label: str
    quantity: int
    price: str
    per: str
    nano: int


@dataclass(frozen=True, slots=True)
class Explained:
    """How a line of tiers or packages comes about: the month by its prices, and what was charged as it came."""

    unit: str
    parts: list[Part]
    month_nano: int
    charged_nano: int
    change_nano: int
    """What the line adds to it; negative for what it takes off."""

    @property
    def let_off_nano(self) -> int:
        """What of the month nobody pays, since limits carried no more."""
        return self.month_nano - self.charged_nano - self.change_nano


def explained(rated: RatedLine) -> Explained | None:
    """What stands behind such a line, as its month is now; None where its price is of no such kind."""
    what = TIERS if rated.price_version.startswith(TIERS) else PACKAGES
    book = price_books().versions.get(rated.price_version.removeprefix(what))
    scales = book.price(rated.kind, rated.model).scales if book is not None and rated.kind in book.kinds else ()
    if not scales:
        return None
    unit, scale = scales[0]
    field, per = COUNTED[unit]
    quantity = getattr(rated, "gpu_ms" if field == "machine_ms" else field)
    parts, month = _parts(unit, scale, quantity), scale.cost(quantity, per)
    rest = month - rated.amount_nano
    group = rated.kind, rated.model, rated.price_version.removeprefix(what)
    counted = month_counted(month_of(rated.day)).get(group)
    charged = rest if counted is None else min(counted.charged_nano, rest)  # more of it may be on its way
    return Explained(str(_UNITS[unit][0]), parts, month, charged, rated.amount_nano)


def _parts(unit: str, scale: Scale, quantity: int) -> list[Part]:
    _counted, per, count, shown = _UNITS[unit]
    whole, nano = -(-quantity // count), scale.cost(quantity, COUNTED[unit][1])
    if isinstance(scale, Package):
        words = _("%(n)s packages of %(units)s") % {
            "n": f"{-(-quantity // scale.units):,}", "units": f"{scale.units // count:,}"
        }  # fmt: skip
        return [Part(words, whole, written_exact(scale.price), _("package"), nano)]
    if isinstance(scale, Flat):
        return [Part(_("Any of it"), whole, written_exact(scale.price), _("month"), nano)]
    if not isinstance(scale, Graduated):
        tier = next(one for one in scale.tiers if one.up_to is None or quantity <= one.up_to)
        return [
            Part(
                _("All of it, at the price its last one reaches"),
                whole,
                written_exact(tier.price * shown),
                str(per),
                nano,
            )
        ]
    found = []
    for tier, lower, upper in spans(scale.tiers, quantity):
        first, last = lower // count + 1, -(-upper // count)
        cost = scale.cost(upper, COUNTED[unit][1]) - scale.cost(lower, COUNTED[unit][1])
        words = f"{first:,} – {last:,}"
        found.append(Part(words, last - first + 1, written_exact(tier.price * shown), str(per), cost))
    return found
