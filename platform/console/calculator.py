"""What a month would cost: by the call, on each plan, and with engines of one's own, from own or typed-in traffic.

Everything is exact and by the same rating as the bill, at the prices of today, tiers and packages among them; only the
drawing is in floats.
"""

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import plans
from billing.plans.costs import Offer, break_even, cheapest, corners
from billing.prices import ENGINES, STORAGE, TRAINING, PriceVersion, Usage, adjustment, month_cost, rate
from billing.prices.rating import base_of
from billing.selectors.usage import UsageFilter, usage_sums
from console import currencies
from console.fields import WholeField
from kit import charts
from kit.money import CENT, NANO, currency, written

DAYS = 30
"""A month of the calculator."""
KINDS = {
    "classify": gettext_lazy("Classification"),
    "decisions": gettext_lazy("Decisions"),
    "embeddings": gettext_lazy("Embeddings"),
    "rerank": gettext_lazy("Reranking"),
    "chat": gettext_lazy("Chat"),
}
TYPED = {"kind": "classify", "calls": 1_000_000, "read": 200, "written": 0}
HOUR_MS = 3_600_000


class Traffic(forms.Form):
    """Calls of a month, as somebody expects them."""

    kind = forms.ChoiceField(label=gettext_lazy("Calls are"), choices=list(KINDS.items()))
    calls = WholeField(label=gettext_lazy("Calls a month"), min_value=0, max_value=10**10)
    read = WholeField(label=gettext_lazy("Tokens read a call"), min_value=1, max_value=100_000)
    written = WholeField(
        label=gettext_lazy("Tokens written a call"),
        help_text=gettext_lazy("Where a model writes text."),
        min_value=0,
        max_value=100_000,
    )


class Engines(forms.Form):
    """Engines of one's own, beside the calls."""

    engines = WholeField(label=gettext_lazy("Engines of your own"), min_value=1, max_value=32)
    hours = WholeField(label=gettext_lazy("Hours a day they are ready"), min_value=1, max_value=24)


class Share(Engines):
    """How much of the own traffic to reckon with."""

    percent = WholeField(
        label=gettext_lazy("Percent of your traffic"),
        help_text=gettext_lazy("200 is twice as much of everything."),
        min_value=1,
        max_value=100_000,
    )
    field_order = ("percent", "engines", "hours")


class Typed(Traffic, Engines):
    """Typed-in traffic with engines."""

    field_order = ("kind", "calls", "read", "written", "engines", "hours")


@dataclass(frozen=True, slots=True)
class Used:
    """One row of own traffic: what was used of a kind and a base or model, at the prices of today."""

    kind: str
    model: str
    usage: Usage
    cost: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to pay for the month."""

    name: str
    detail: str
    total: int
    fits: bool
    best: bool = False
    why_not: str = ""
    per_thousand: int | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Costs:
    """A month of usage on every plan."""

    usage: int
    choices: list[Choice]
    meetings: list[str]
    chart: charts.LineChart
    contract: list[str]
    """Plans by contract, which have no price to compare."""


def priced(plan: plans.Plan) -> int | None:
    """What a month of a plan costs in the currency that holds here, in cents; None where it is not sold in it, or by
    contract. The free one costs nothing in any."""
    return plan.price("month", currency()) if plan.price_cents else plan.price_cents


def offers() -> list[Offer]:
    """Today's plans with a price in the currency that holds here, smallest first."""
    return [
        Offer(
            plan.code,
            plan.name,
            cents * CENT,
            plan.allowance_nano,
            plan.limits.monthly_spend_nano,
            plan.limits.own_engines,
        )
        for plan in plans.plan_book().offered()
        if (cents := priced(plan)) is not None
    ]


def typed_usage(book: PriceVersion, values: dict[str, Any]) -> int:
    """Nano of typed-in calls."""
    calls = values["calls"]
    usage = Usage(values["kind"], "default", calls * values["read"], calls * values["written"], requests=calls)
    return month_cost(usage, book)


def engine_usage(book: PriceVersion, values: dict[str, Any]) -> int:
    """Nano of engines of one's own for a month."""
    milliseconds = values["engines"] * values["hours"] * DAYS * HOUR_MS
    return month_cost(Usage(ENGINES, "default", requests=0, machine_ms=milliseconds), book)


def own_traffic(book: PriceVersion, until: dt.datetime) -> list[Used]:
    """What the scope's tenant used in the last 30 whole days, each kind and model rated anew at `book`'s prices; what
    the book does not sell keeps its cost."""
    wanted = UsageFilter(since=until - dt.timedelta(days=DAYS), until=until)
    sums: dict[tuple[str, str], list[int]] = {}
    for one in usage_sums(wanted=wanted, by=["kind", "model"]):
        entry = sums.setdefault((one.kind or "", one.model or ""), [0, 0, 0, 0, 0, 0])
        amounts = (one.input_tokens, one.output_tokens, one.requests, one.gpu_ms, one.byte_hours, one.cost_nano)
        for place, amount in enumerate(amounts):
            entry[place] += amount
    found = []
    for (kind, model), (read, out, requests, gpu_ms, byte_hours, cost) in sums.items():
        usage = Usage(kind, model, read, out, requests, gpu_ms if kind == ENGINES else 0, byte_hours)
        with contextlib.suppress(KeyError):
            cost = rate(usage, book)
        found.append(Used(kind, model, usage, cost))
    return sorted(found, key=lambda one: (-one.cost, one.kind, one.model))


def traffic_cost(used: Sequence[Used], book: PriceVersion, percent: int = 100) -> int:
    """Nano of so many percent of own traffic as one month, by the tiers and packages of `book`."""
    return sum(one.cost for one in used) * percent // 100 + by_quantity(used, book, percent)


def by_quantity(used: Sequence[Used], book: PriceVersion, percent: int = 100) -> int:
    """What tiers and packages change of it: they count all models of a base together."""
    fields = ("input_tokens", "output_tokens", "requests", "machine_ms", "byte_hours")
    months: dict[tuple[str, str], Counter[str]] = {}
    for one in used:
        if one.kind in book.kinds:
            month = months.setdefault((one.kind, base_of(one.model)), Counter())
            month.update({name: getattr(one.usage, name) for name in fields})
    total = 0
    for (kind, base), month in months.items():
        read, written, requests, machine_ms, byte_hours = (month[name] * percent // 100 for name in fields)
        change = adjustment(Usage(kind, base, read, written, requests, machine_ms, byte_hours), book)
        total += change.tiers + change.packages
    return total


def is_call(used: Used) -> bool:
    """Whether calls made it."""
    return used.kind not in (*TRAINING, STORAGE, ENGINES)


def costs(usage: int, *, calls: int = 0, engines: int = 0, engine_nano: int | None = None) -> Costs:
    """Usage of a month on every plan; with the price of engines of one's own, that as well. `calls` gives the price of
    a thousand."""
    every = offers()
    best = cheapest(every, usage)
    choices = [_bare(usage, calls)]
    for offer in every:
        fits, limit = offer.carries(usage), written(offer.limit_nano or 0)
        choices.append(
            Choice(
                name=offer.name,
                detail=_("%(price)s a month, %(included)s of usage included")
                % {"price": written(offer.price_nano), "included": written(offer.included_nano)},
                total=offer.cost(usage),
                fits=fits,
                best=offer is best,
                why_not="" if fits else _("its spend limit of %(limit)s stops before") % {"limit": limit},
                code=offer.code,
                per_thousand=_per_thousand(offer.cost(usage), calls),
            )
        )  # fmt: skip
    if engine_nano is not None:
        choices.append(_with_engines(every, usage, calls, engines, engine_nano))
    contract = [plan.name for plan in plans.plan_book().offered() if plan.price_cents is None]
    return Costs(usage, choices, _meetings(every), _drawn(every, usage, engines, engine_nano), contract)


def of_calls(book: PriceVersion, usage: int, calls: int) -> Costs:
    """Calls of a month on every plan, beside one engine of one's own that is always ready."""
    return costs(usage, calls=calls, engines=1, engine_nano=engine_usage(book, {"engines": 1, "hours": 24}))


def _bare(usage: int, calls: int) -> Choice:
    return Choice(
        name=_("By the call alone"),
        detail=_("unit prices, nothing included: to compare with, no plan is sold so"),
        total=usage,
        fits=True,
        per_thousand=_per_thousand(usage, calls),
    )


def _with_engines(every: Sequence[Offer], usage: int, calls: int, engines: int, engine_nano: int) -> Choice:
    """The cheapest plan that allows so many engines. Their time is usage like any other; calls keep their price."""
    able = [offer for offer in every if offer.engines >= engines]
    chosen = cheapest(able, usage + engine_nano)
    name = _("With engines of your own")
    if chosen is None:
        carries = _("no plan with a price carries that; ask us")
        why = carries if able else _("no plan with a price has so many engines; ask us")
        return Choice(name, _("calls and engine time"), usage + engine_nano, fits=False, why_not=why)
    total = chosen.cost(usage + engine_nano)
    words = _("%(plan)s plan, engine time %(engines)s; calls keep their price")
    detail = words % {"plan": chosen.name, "engines": written(engine_nano)}
    return Choice(name, detail, total, fits=True, per_thousand=_per_thousand(total, calls))  # fmt: skip


def _per_thousand(total: int, calls: int) -> int | None:
    return total * 1000 // calls if calls else None


def _meetings(every: Sequence[Offer]) -> list[str]:
    """From where on each plan is worth its price beside the one before."""
    said = []
    for smaller, larger in pairwise(every):
        meet = break_even(smaller, larger)
        names = {"small": smaller.name, "large": larger.name}
        if meet is not None and smaller.carries(meet):
            words = _("From %(usage)s of usage a month %(large)s costs no more than %(small)s.")
            said.append(words % {**names, "usage": written(meet)})
        elif smaller.limit_nano is not None:
            words = _("%(small)s carries %(limit)s of usage a month; beyond it %(large)s is the next.")
            said.append(words % {**names, "limit": written(smaller.limit_nano)})
    return said


def _drawn(every: Sequence[Offer], usage: int, engines: int, engine_nano: int | None) -> charts.LineChart:
    """Cost over usage, a line for each plan up to its spend limit."""
    found = [(a, break_even(a, b)) for a, b in pairwise(every)]
    meets = [meet for a, meet in found if meet is not None and a.carries(meet)]
    until = max([2 * usage, *(meet * 3 // 2 for meet in meets), 10 * NANO])
    bare = Offer("", _("By the call alone"), 0, 0)
    lines = [bare, *every]
    places = sorted({*corners(every, until), usage})
    series = []
    points: list[tuple[float, float | None]]
    for tone, offer in enumerate(lines[:5], 1):
        points = [(at / NANO, offer.cost(at) / NANO if offer.carries(at) else None) for at in places]
        series.append(charts.Series(offer.code or "bare", offer.name, points, tone))
    if engine_nano is not None and len(series) < 6:
        able = [offer for offer in every if offer.engines >= engines]
        best = [(at, cheapest(able, at + engine_nano)) for at in places]
        points = [(at / NANO, one.cost(at + engine_nano) / NANO if one is not None else None) for at, one in best]
        series.append(charts.Series("engines", _("With engines of your own"), points, len(series) + 1))
    if meets and len(series) < 6:
        least = [min(offer.cost(meet) for offer in every if offer.carries(meet)) for meet in meets]
        points = [(meet / NANO, cost / NANO) for meet, cost in zip(meets, least, strict=True)]
        series.append(charts.Series("meet", _("Break-even"), points, len(series) + 1, sparse=True))
    chosen = cheapest(every, usage)
    finding = _("At %(usage)s of usage %(plan)s costs least.") % {
        "usage": written(usage), "plan": chosen.name if chosen is not None else _("a contract")
    }  # fmt: skip
    return charts.line_chart(
        id="costs", title=currencies.with_code(_("Cost of a month over its usage")), finding=finding, series=series,
        xlabel=currencies.with_code(_("usage a month at unit prices")), zero=True, note=finding,
    )  # fmt: skip
