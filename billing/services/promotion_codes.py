"""Promotion codes that are typed on the plan page: looked up at Stripe, and refused in words that say why."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import QuerySet

from billing.errors import PromotionRefused
from billing.models import Invoice, Subscription, TrialTaken
from billing.plans import plan_book
from billing.stripe_port import Json, StripePort
from kit.clock import now

LONGEST = 40


def code_cleaned(text: str) -> str:
    """A typed code as it is written. PromotionRefused for what can be none."""
    code = text.strip().upper()
    if code and (len(code) > LONGEST or not code.isascii() or not code.replace("-", "").isalnum()):
        raise PromotionRefused("A promotion code has letters, digits and dashes only, 40 at most.")
    return code


def code_history(code: str) -> Json:
    """What of the scope's organisation a code's rules ask for: whether it ever paid, and had this code before."""
    return {
        "paid_before": Invoice.objects.filter(amount_paid__gt=0).exists(),
        "had_before": _begun().filter(raw__metadata__promotion=code).exists(),
    }


def codes_open() -> bool:
    """Whether a code may be typed on Stripe's own page. It does not ask whether the organisation had it before, so only
    one that has had no subscription may; the others type it on ours."""
    return not _begun().exists()


def _begun() -> QuerySet[Subscription]:
    """The scope's subscriptions that came about. One whose trial was refused ended before it took anything off."""
    refused = TrialTaken.objects.exclude(refused="").values("subscription")
    begun: QuerySet[Subscription] = Subscription.objects.exclude(status__in=("incomplete", "incomplete_expired"))
    return begun.exclude(stripe_id__in=refused)


def code_id(port: StripePort, request: Json) -> str:
    """Stripe's id of the code of a checkout; PromotionRefused where it cannot be used for it."""
    code, found = request["code"], port.promotion_codes(request["code"])
    if not found:
        raise PromotionRefused(f"No promotion code is called {code}.")
    refusals = [_why_not(one, request) for one in found]
    for one, why in zip(found, refusals, strict=True):
        if not why:
            return str(one["id"])
    raise PromotionRefused(f"The promotion code {code} {refusals[0]}.")


def _why_not(found: Json, request: Json) -> str:
    """Why a code cannot be used, as the end of a sentence; nothing where it can."""
    coupon = found["promotion"]["coupon"]
    limits = found.get("restrictions") or {}
    currency = request["currency"]
    ends = [at for at in (found.get("expires_at"), coupon.get("redeem_by")) if at]
    uses = [(found.get("max_redemptions"), found["times_redeemed"])]
    uses.append((coupon.get("max_redemptions"), coupon.get("times_redeemed") or 0))
    if ends and min(ends) <= now().timestamp():
        return f"is over: it could be used until {dt.datetime.fromtimestamp(min(ends), dt.UTC):%-d %B %Y}"
    if any(most is not None and used >= most for most, used in uses):
        return "is used up"
    if found.get("customer") not in (None, request["customer_id"]):
        return "is for another organisation"
    if request["had_before"]:
        return "was used by this organisation before, and can be used once"
    if limits.get("first_time_transaction") and request["paid_before"]:
        return "is for a first purchase, and this organisation has paid before"
    if not found["active"] or not coupon.get("valid", True):
        return "is no longer given"
    return _not_for(coupon, limits, request["plan"], currency)


def _not_for(coupon: Json, limits: Json, plan: str, currency: str) -> str:
    for one, name in ((coupon, "currency"), (limits, "minimum_amount_currency")):
        money = one.get(name)
        if money and currency not in (money.lower(), *(one.get("currency_options") or {})):
            return f"is for payments in {money.upper()}, and this plan is paid in {currency.upper()}"
    products = (coupon.get("applies_to") or {}).get("products") or []
    if products and f"tunesmith_{plan}" not in products:
        return f"is not for the plan {plan_book().latest(plan).name}" + _only_for(products)
    return ""


def _only_for(products: list[Any]) -> str:
    names = [one.name for one in plan_book().offered() if f"tunesmith_{one.code}" in products]
    return f"; it is for {' and '.join(names)}" if names else ""
