"""The pricing page: plans from their published files, unit prices from the current book, and a small calculator."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.ledger.lines import kind_name
from billing.plans import INTERVALS, Plan, plan_book
from billing.prices import ENGINES, PriceVersion, Usage, batch_kind, month_cost, price_books, rate
from billing.selectors.features import FEATURES
from console import calculator, currencies, tiers
from console.fields import WholeField
from kit.clock import now
from kit.money import currency, price, written, written_exact

HOURS_OF_MONTH = 730
"""What is called a month where storage is priced by the hour."""
DEFAULTS = {"rows": 5_000, "tokens": 20, "epochs": 3, "calls": 100_000}


class Calculator(forms.Form):
    """What somebody plans to do in a month."""

    rows = WholeField(label=gettext_lazy("Training rows"), min_value=1, max_value=10_000_000)
    tokens = WholeField(
        label=gettext_lazy("Tokens in a text"),
        help_text=gettext_lazy("A short sentence has about 12."),
        min_value=1,
        max_value=512,
    )
    epochs = WholeField(label=gettext_lazy("Epochs"), min_value=1, max_value=50)
    calls = WholeField(label=gettext_lazy("Calls a month"), min_value=0, max_value=1_000_000_000)


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """One line of the price table."""

    name: str
    price: str
    per: str
    headline: bool = False
    """Whether the landing page shows it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan as it is shown: its price for an interval in the currency that holds here (`kit.money.currency`)."""

    plan: Plan
    price: str
    per: str
    instead: str = ""
    """What twelve months cost, where a year is shown."""
    seat: str = ""
    """What one seat beyond the plan's own costs in the same interval; empty where none is sold."""
    sold: bool = True
    """Whether it can be had in the currency it is shown in."""


def offers(every: str) -> list[Offer]:
    """The plans of today. One that is not sold so is shown by the month."""
    return [offer_of(plan, every) for plan in plan_book().offered()]


def offer_of(plan: Plan, every: str) -> Offer:
    """A plan's price for an interval, or else by the month; in the currency that holds here and in no other."""
    code = currency()
    if not plan.price_cents:
        return Offer(plan, _("by contract") if plan.price_cents is None else price(0, code), "")
    cents, month = plan.price(every, code), plan.price("month", code)
    if cents is None and month is None:
        return Offer(plan, _("not sold in %(currency)s") % {"currency": currencies.name(code)}, "", sold=False)
    if every == "month" or cents is None:
        return Offer(plan, price(month or 0, code), _("a month"), seat=seat_of(plan, "month"))
    return Offer(plan, price(cents, code), _("a year"), price(12 * (month or 0), code) if month else "",
                 seat_of(plan, every))  # fmt: skip


def seat_of(plan: Plan, every: str) -> str:
    """What one more seat costs; empty where the plan sells none."""
    cents = plan.seat_price(every, currency())
    return "" if cents is None else price(cents, currency())


def ways(every: str) -> dict[str, list[dict[str, Any]]]:
    """The links that change the interval, and the currency where there is a choice."""
    code = currency()
    names = {"month": _("By the month"), "year": _("By the year")}
    each = [one for one in INTERVALS if any(plan.price(one, code) for plan in plan_book().offered())]
    sold = currencies.sold()

    def link(label: str, now_every: str, now_code: str) -> dict[str, Any]:
        current = (now_every, now_code) == (every, code)
        return {"label": label, "href": f"?every={now_every}&currency={now_code}", "current": current}

    return {
        "intervals": [link(names[one], one, code) for one in each] if len(each) > 1 else [],
        "currencies": [link(one.upper(), every, one) for one in sold] if len(sold) > 1 else [],
    }


def current_book() -> PriceVersion:
    """The price book in force."""
    return price_books().current(int(now().timestamp() * 1000), currency())


def batch_share(book: PriceVersion) -> str:
    """What a call costs in a batch, as a share of its price: the same for every kind."""
    live, batched = (book.price(kind, "default").input_token for kind in ("classify", batch_kind("classify")))
    return f"{100 * batched // live}%"


def unit_prices(book: PriceVersion) -> list[UnitPrice]:
    """What a million tokens of each kind cost, and storage."""
    million = 1_000_000

    def cost(kind: str, *, out: bool = False) -> str:
        tokens = Usage(kind, "default", 0, million, requests=0) if out else Usage(kind, "default", million, requests=0)
        return written_exact(rate(tokens, book))

    found = book.price("chat", "default").cached_token
    said = _("Chat and completions, what of the prompt is in the cache")
    cached = [] if found is None else [UnitPrice(said, written_exact(found * million), _("1 M tokens read"))]
    month = book.price("storage", "default").gigabyte_hour * HOURS_OF_MONTH
    hour = rate(Usage(ENGINES, "default", requests=0, machine_ms=3_600_000), book)
    machines = [
        UnitPrice(f"{kind_name(kind)} · {size}", written_exact(own.machine_ms * 3_600_000), _("hour that it is ready"))
        for (kind, size), own in book.machines.items()
        if own.machine_ms
    ]
    return [
        UnitPrice(_("Training"), cost("training"), _("1 M tokens trained (rows × epochs)"), headline=True),
        UnitPrice(_("Training, preemptible"), cost("training_preemptible"), _("1 M tokens trained")),
        UnitPrice(_("Training, priority"), cost("training_priority"), _("1 M tokens trained")),
        UnitPrice(_("Classify"), cost("classify"), _("1 M tokens read")),
        UnitPrice(_("Decisions"), cost("decisions"), _("1 M tokens read"), headline=True),
        UnitPrice(_("Embeddings"), cost("embeddings"), _("1 M tokens read"), headline=True),
        UnitPrice(_("Reranking"), cost("rerank"), _("1 M tokens read")),
        UnitPrice(_("Chat and completions, the prompt"), cost("chat"), _("1 M tokens read")),
        *cached,
        UnitPrice(_("Chat and completions, the answer"), cost("chat", out=True), _("1 M tokens written")),
        UnitPrice(_("Any call as a line of a batch"), batch_share(book), _("of its price")),
        UnitPrice(_("Storage"), written(month), _("GB and month")),
        UnitPrice(_("An engine of a deployment's own"), written_exact(hour), _("hour that it is ready")),
        *machines,
        UnitPrice(_("A deployment nobody calls"), written(0), _("month"), headline=True),
    ]


def calculate(book: PriceVersion, values: dict[str, int]) -> dict[str, Any]:
    """Training once and a month of calls, by the same rating as the bill."""
    trained = values["rows"] * values["tokens"] * values["epochs"]
    training = rate(Usage(kind="training", model="default", input_tokens=trained, requests=0), book)
    read = values["calls"] * values["tokens"]
    calls = month_cost(Usage(kind="classify", model="default", input_tokens=read, requests=values["calls"]), book)
    return {
        "training": training,
        "calls": calls,
        "per_thousand": calls * 1000 // values["calls"] if values["calls"] else 0,
    }


def chosen(data: dict[str, Any]) -> str:
    """The currency that an address asks for, if anything is sold in it; else the first."""
    sold = currencies.sold()
    return data["currency"] if data.get("currency") in sold else sold[0]


def context(data: dict[str, Any]) -> dict[str, Any]:
    """The page in the currency that holds here (`chosen`); without input the calculator shows a usual month, and prices
    are by the month."""
    book = current_book()
    form = Calculator({name: data.get(name) or default for name, default in DEFAULTS.items()})
    result = calculate(book, form.cleaned_data) if form.is_valid() else None
    every = data["every"] if data.get("every") in INTERVALS else "month"
    shown = offers(every)
    return {
        "here": "pricing",
        "every": every,
        "currency": currency(),
        "ways": ways(every),
        "offers": shown,
        "seats": any(one.seat for one in shown),
        "plans": plan_book().offered(),
        "trials": any(plan.trial for plan in plan_book().offered()),
        "tiers": tiers.tables(book),
        "rollovers": any(plan.rollover for plan in plan_book().offered()),
        "features": FEATURES,
        "prices": unit_prices(book),
        "book_version": book.version,
        "form": form,
        "result": result,
        "costs": calculator.of_calls(book, result["calls"], form.cleaned_data["calls"]) if result is not None else None,
    }
