"""What today's data can say of the planner's inputs, and what it cannot. Read on the ops role, inside its scope."""

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from django.db.models import Count, Sum
from django.db.models.functions import TruncMonth
from django.utils.translation import gettext as _

from billing.economics import FIELDS
from billing.models import MachineHour, Subscription, UsageHour
from billing.periods import bounds, month_of
from billing.prices import ENGINES, NOT_CALLS, price_books
from billing.selectors.acquisition import spend_by_channel
from billing.selectors.house import in_house
from kit.clock import now
from kit.money import HOUSE, NANO, usd
from tenants.models import Tenant
from training.models import Attempt

WINDOW = dt.timedelta(days=30)
COHORT = dt.timedelta(days=90)
PAYING = ("active", "past_due")
"""Subscriptions that are paid for or owed; a trial pays nothing yet."""
PLACES = 9


@dataclass(frozen=True, slots=True)
class Live:
    """An input as measured, None where it cannot be; `words` say from what, or why not."""

    value: Fraction | None
    words: str


def live_figures() -> dict[str, Live]:
    """Every input of the planner. A unit is an organisation, a transaction a call."""
    moment = now()
    calls = _calls(moment)
    second = _engine_second(moment)
    return {
        **{name: Live(None, _unknown(name)) for name in FIELDS},
        "training_cost": _machines_trained(moment) or _training(moment, second),
        "promotion_cost": _promotion(moment),
        "retention": _retention(moment),
        "transactions": _calls_each(calls),
        "transaction_cost": _machines_called(moment) or _cost(calls, second),
        "transaction_revenue": _revenue(calls),
        "conversion": _conversion(moment),
    }


def _unknown(name: str) -> str:
    if name == "market_size":
        return _("No table knows how large a market is.")
    if name == "promotion_effect":
        return _("What promotion brings is in no table.")
    if name in ("adaptation_cost", "consumption"):
        return _("What adapting a product for a customer costs and brings is in no table.")
    return _("It is in no table.")


def _calls(moment: dt.datetime, since: dt.datetime | None = None) -> dict[str, int]:
    begun = since or moment - WINDOW
    hours = UsageHour.ops.filter(hour__gte=begun, hour__lt=moment).exclude(kind__in=NOT_CALLS)
    sums = hours.aggregate(requests=Sum("requests"), ms=Sum("gpu_ms"), tenants=Count("tenant_id", distinct=True))
    months = hours.order_by().annotate(month=TruncMonth("hour", tzinfo=dt.UTC))
    priced = months.values_list("month", "tenant_id", "tenant__currency").annotate(nano=Sum("cost_nano"))
    nano = sum(in_house(int(nano), currency, month.date()) for month, _tenant, currency, nano in priced)
    return {"nano": nano, **{name: int(value or 0) for name, value in sums.items()}}


def _engine_second(moment: dt.datetime) -> Fraction:
    """Dollars of one second of an engine at list price; 0 where the price book in force has none."""
    book = price_books().current(int(moment.timestamp() * 1000), HOUSE)
    default = book.kinds.get(ENGINES, {}).get("default")
    return Fraction(default.machine_ms * 1000, NANO) if default else Fraction(0)


def _calls_each(calls: dict[str, int]) -> Live:
    if not calls["requests"]:
        return Live(None, _("Nobody made a call in the last 30 days."))
    words = _("%(calls)s calls of %(tenants)s organisations in the last 30 days.")
    return Live(
        _rounded(Fraction(calls["requests"], calls["tenants"])),
        words % {"calls": f"{calls['requests']:,}", "tenants": f"{calls['tenants']:,}"},
    )


def _revenue(calls: dict[str, int]) -> Live:
    if not calls["requests"]:
        return Live(None, _("Nobody made a call in the last 30 days."))
    words = _("Average of %(calls)s calls in the last 30 days at the price book's prices, before allowances.")
    value = Fraction(calls["nano"], calls["requests"] * NANO)
    return Live(_rounded(value), words % {"calls": f"{calls['requests']:,}"})


def _cost(calls: dict[str, int], second: Fraction) -> Live:
    if not calls["requests"]:
        return Live(None, _("Nobody made a call in the last 30 days."))
    if not second:
        return Live(None, _("The price book has no price for the time of an engine."))
    each = Fraction(calls["ms"], calls["requests"])
    words = _(
        "%(ms)s ms of an engine for each call, at the list price of %(price)s an hour: our own is not counted yet."
    )
    return Live(
        _rounded(each / 1000 * second), words % {"ms": f"{float(each):,.2f}", "price": f"${float(second * 3600):,.2f}"}
    )


def _seen(moment: dt.datetime, classes: tuple[str, ...]) -> tuple[dt.datetime, int]:
    """Since when machines of these classes are counted, within the window, and what they cost since."""
    hours = MachineHour.objects.filter(hour__gte=moment - WINDOW, hour__lt=moment, machine_class__in=classes)
    first = hours.order_by("hour").values_list("hour", flat=True).first()
    return first or moment, int(hours.aggregate(nano=Sum("cost_nano"))["nano"] or 0)


def _machines_called(moment: dt.datetime) -> Live | None:
    """Engines at our own cost, what stood idle included; None where none was counted or nobody called."""
    since, nano = _seen(moment, ("engine", "engine_own"))
    calls = _calls(moment, since)
    if not nano or not calls["requests"]:
        return None
    words = _("%(calls)s calls since %(since)s, in which engines cost %(cost)s, idle time included.")
    facts = {"calls": f"{calls['requests']:,}", "since": f"{since:%Y-%m-%d}", "cost": usd(nano)}
    return Live(_rounded(Fraction(nano, calls["requests"] * NANO)), words % facts)


def _machines_trained(moment: dt.datetime) -> Live | None:
    """Places to train at our own cost, a day; None where none was counted."""
    since, nano = _seen(moment, ("trainer_cpu", "trainer_gpu"))
    days = Fraction(int((moment - since).total_seconds()), 86_400)
    if not nano or days < 1:
        return None
    words = _("Places to train cost %(cost)s since %(since)s, idle time included.")
    value = _rounded(Fraction(nano, NANO) / days)
    return Live(value, words % {"cost": usd(nano), "since": f"{since:%Y-%m-%d}"})


def _promotion(moment: dt.datetime) -> Live:
    """What was spent to win customers in this month and the two before, for each organisation that signed up."""
    last = month_of(moment.astimezone(dt.UTC))
    first = month_of(month_of(last - dt.timedelta(days=1)) - dt.timedelta(days=1))
    spent = sum(sum(months.values()) for months in spend_by_channel(first, last).values())
    signed_up = Tenant.ops.filter(created_at__gte=bounds(first)[0], created_at__lt=moment).count()
    if not spent or not signed_up:
        return Live(None, _("No spending is entered for the last three months, or nobody signed up in them."))
    words = _("%(spent)s entered since %(since)s, for %(all)s organisations that signed up.")
    facts = {"spent": usd(spent), "since": f"{first:%B %Y}", "all": f"{signed_up:,}"}
    return Live(_rounded(Fraction(spent, signed_up * NANO)), words % facts)


def _training(moment: dt.datetime, second: Fraction) -> Live:
    ended = Attempt.ops.filter(ended_at__gte=moment - WINDOW, ended_at__lt=moment)
    ms = int(ended.aggregate(ms=Sum("machine_ms"))["ms"] or 0)
    if not ms:
        return Live(None, _("No training ended in the last 30 days."))
    if not second:
        return Live(None, _("The price book has no price for the time of an engine."))
    words = _(
        "%(hours)s hours of machines in the last 30 days, at the list price of an engine: our own is not counted yet."
    )
    return Live(_rounded(Fraction(ms, 1000) * second / WINDOW.days), words % {"hours": f"{ms / 3_600_000:,.1f}"})


def _retention(moment: dt.datetime) -> Live:
    recent, before = (_callers(moment - WINDOW * back, moment - WINDOW * (back - 1)) for back in (1, 2))
    if not before:
        return Live(None, _("Nobody made a call 31 to 60 days ago."))
    words = _("Of %(before)s organisations that called 31 to 60 days ago, %(stayed)s called in the last 30.")
    stayed = len(before & recent)
    return Live(
        _rounded(Fraction(stayed, len(before))), words % {"before": f"{len(before):,}", "stayed": f"{stayed:,}"}
    )


def _callers(since: dt.datetime, until: dt.datetime) -> set[Any]:
    hours = UsageHour.ops.filter(hour__gte=since, hour__lt=until).exclude(kind__in=NOT_CALLS)
    return set(hours.order_by().values_list("tenant_id", flat=True).distinct())


def _conversion(moment: dt.datetime) -> Live:
    signed_up = Tenant.ops.filter(created_at__gte=moment - COHORT, created_at__lt=moment)
    all_of_them = signed_up.count()
    if not all_of_them:
        return Live(None, _("Nobody signed up in the last 90 days."))
    paying = Subscription.ops.filter(status__in=PAYING).exclude(plan="").values("tenant_id")
    pay = signed_up.filter(pk__in=paying).count()
    words = _("Of %(all)s organisations that signed up in the last 90 days, %(pay)s pay for a plan.")
    return Live(_rounded(Fraction(pay, all_of_them)), words % {"all": f"{all_of_them:,}", "pay": f"{pay:,}"})


def _rounded(value: Fraction) -> Fraction:
    """As many digits as an input may have."""
    return Fraction(round(value * 10**PLACES), 10**PLACES)
