"""Pushing the plan files to Stripe: one product per plan and one for its seats, one price per version and way to pay
it, coupons and promotion codes. All found again by names of our own, so that repeating it changes nothing."""

from collections.abc import Callable
from typing import Any

from billing.errors import PlanNotSold, StripeMissing
from billing.models import CatalogueEntry
from billing.plans import Plan, Promotion, plan_book, promotions
from billing.prices import price_books
from billing.selectors.meters import METER, USAGE
from billing.stripe_port import Json, StripePort, stripe_port
from kit.clock import now
from kit.money import HOUSE


def catalogue_push() -> list[CatalogueEntry]:
    """Make sure that every version that is sold online has its prices; repeated, it changes nothing."""
    return [
        price_ensure(plan=plan, interval=interval, currency=currency, part=part, ask=True)
        for plan in plan_book().plans.values()
        for part, interval, currency, _ in plan.parts
    ]


def price_ensure(
    *, plan: Plan, interval: str = "month", currency: str = "", part: str = "plan", ask: bool = False
) -> CatalogueEntry:
    """One price of a plan version (in its first currency, unless told), pushed now if it never was. `ask`: believe
    Stripe, not what we noted."""
    cents = price_sold(plan, interval, currency, part)
    way: dict[str, Any] = {"interval": interval, "currency": currency or plan.currency, "part": part}
    entry = CatalogueEntry.objects.filter(plan=plan.code, version=plan.version, **way).first()
    if entry is not None and not ask:
        return entry
    port = stripe_port()
    product_id = _product(port, plan, part)
    lookup_key = plan.lookup_key(part, interval, way["currency"])
    metadata = {"plan": plan.code, "plan_version": str(plan.version)} | ({} if plan.schema == 1 else {"part": part})
    price_id = port.price_ensure(
        lookup_key=lookup_key,
        product_id=product_id,
        cents=cents,
        currency=way["currency"],
        interval=interval,
        metadata=metadata,
    )
    noted = {"lookup_key": lookup_key, "product_id": product_id, "price_id": price_id, "pushed_at": now()}
    made, _ = CatalogueEntry.objects.update_or_create(plan=plan.code, version=plan.version, **way, defaults=noted)
    return made


def priced(
    *, plan: Plan, interval: str, currency: str, ask: Callable[[dict[str, str]], Json],
    parts: tuple[str, ...] = ("plan",),
) -> Json:  # fmt: skip
    """Ask Stripe something about a plan's prices in a currency, {part: price's id}. Where those that we noted are of
    another account (a key was changed, the emulator was emptied), once more with those of this one."""
    try:
        return ask(_price_ids(plan, interval, currency, parts, ask=False))
    except StripeMissing:
        return ask(_price_ids(plan, interval, currency, parts, ask=True))


def _price_ids(plan: Plan, interval: str, currency: str, parts: tuple[str, ...], *, ask: bool) -> dict[str, str]:
    return {
        part: price_ensure(plan=plan, interval=interval, currency=currency, part=part, ask=ask).price_id
        for part in parts
    }


def price_sold(plan: Plan, interval: str, currency: str = "", part: str = "plan") -> int:
    """Cents of one price of a plan version; PlanNotSold where it is not sold online, or not so."""
    if not plan.sold_online:
        raise PlanNotSold(f"The plan {plan.name} is not sold online. Write to us for an offer.", param="plan")
    money = currency or plan.currency
    for *found, cents in plan.parts:
        if found == [part, interval, money]:
            return cents
    raise PlanNotSold(
        f"The plan {plan.name} is not sold by the {interval[:20]} in {money[:3].upper()}.", param="interval"
    )


def _product(port: StripePort, plan: Plan, part: str) -> str:
    if part == "seat":
        said = f"One more member than Tunesmith {plan.name} includes."
        return port.product_ensure(f"tunesmith_{plan.code}_seat", name=f"Seat of {plan.name}", description=said)
    return port.product_ensure(f"tunesmith_{plan.code}", name=f"Tunesmith {plan.name}", description=plan.summary)


def promotions_push() -> list[Promotion]:
    """Make sure that every promotion that is not over has its coupon and code; repeated, it changes nothing. After
    `catalogue_push`: a coupon names the products that it is for."""
    running = [one for one in promotions() if one.runs_at(now())]
    for one in running:
        port = stripe_port()
        coupon = port.coupon_ensure(
            f"tunesmith_coupon_{one.slug}",
            name=one.name,
            percent_off=one.percent_off,
            months=one.months,
            products=[f"tunesmith_{plan}" for plan in one.plans],
        )
        port.promotion_code_ensure(
            code=one.code,
            coupon_id=coupon,
            first_time=one.first_time,
            most=one.most,
            ends_at=one.ends_at,
        )
    return running


def meter_prices_push() -> list[CatalogueEntry]:
    """Make sure that the meter has its price in every currency that usage is sold in; repeated, it changes nothing."""
    sold = price_books().currencies(int(now().timestamp() * 1000))
    return [meter_price_ensure(currency=currency, ask=True) for currency in sold]


def meter_price_ensure(*, currency: str, ask: bool = False) -> CatalogueEntry:
    """The meter of what is owed, a hundredth of its organisation's currency a unit, and its price by the month in a
    currency, pushed now if they never were. `ask`: believe Stripe, not what we noted."""
    way: dict[str, Any] = {"interval": "month", "currency": currency, "part": USAGE}
    entry = CatalogueEntry.objects.filter(plan=USAGE, version=1, **way).first()
    if entry is not None and not ask:
        return entry
    port = stripe_port()
    meter_id = port.meter_ensure(METER, name="Tunesmith usage, in cents")
    said = "What was used beyond what the plan includes and credit pays."
    product_id = port.product_ensure("tunesmith_usage", name="Tunesmith usage", description=said)
    lookup_key = METER if currency == HOUSE else f"{METER}_{currency}"
    price_id = port.meter_price_ensure(
        lookup_key=lookup_key, product_id=product_id, meter_id=meter_id, cents=1, currency=currency
    )
    noted = {"lookup_key": lookup_key, "product_id": product_id, "price_id": price_id, "pushed_at": now()}
    made, _ = CatalogueEntry.objects.update_or_create(plan=USAGE, version=1, **way, defaults=noted)
    return made
