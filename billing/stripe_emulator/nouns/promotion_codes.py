"""Promotion codes: words a customer types in, each for a coupon, with restrictions of its own."""

from __future__ import annotations

import secrets
import string

from billing.stripe_emulator.answers import assign, by_currency, page
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.registry import extra, route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_LETTERS = string.ascii_uppercase + string.digits


@route("POST", "/v1/promotion_codes")
def code_create(world: World, params: Obj) -> Obj:
    if "coupon" not in params["promotion"]:
        raise missing("promotion[coupon]")
    coupon = world.get("coupon", params["promotion"]["coupon"], "promotion[coupon]")
    if coupon.get("_deleted"):
        world.get("coupon", "", "promotion[coupon]")
    text = params.get("code") or "".join(secrets.choice(_LETTERS) for _ in range(8))
    if not text.isascii() or not text.replace("-", "").isalnum() or len(text) > 500:
        raise StripeError("A code has letters, digits and dashes only.", param="code")
    customer = customer_alive(world, params["customer"], "customer")["id"] if "customer" in params else None
    for other in world.find("promotion_code", active=True):
        if other["code"].casefold() == text.casefold() and customer in (None, other["customer"]):
            raise StripeError(f"An active promotion code with `code: {text}` already exists.", param="code")
    if not params.get("max_redemptions", 1) >= 1:
        raise StripeError("Invalid max_redemptions: must be at least 1", param="max_redemptions")
    if (params.get("expires_at") or world.now + 1) <= world.now:
        raise StripeError("expires_at must be in the future.", param="expires_at")
    code = world.new(
        "promotion_code",
        "promo",
        active=params.get("active", True),
        code=text,
        customer=customer,
        metadata={},
    )
    code["promotion"]["coupon"] = coupon["id"]
    # Stripe gives it only when asked, and the client takes no null here.
    del code["restrictions"]["currency_options"]
    assign(code, params, "expires_at", "max_redemptions", "metadata")
    _restrict(code, params.get("restrictions") or {})
    return world.save(code, "promotion_code.created")


def _restrict(code: Obj, given: Obj) -> None:
    if "minimum_amount" in given and "minimum_amount_currency" not in given:
        raise missing("restrictions[minimum_amount_currency]")
    for name in ("first_time_transaction", "minimum_amount", "minimum_amount_currency"):
        if name in given:
            code["restrictions"][name] = given[name]
    if "currency_options" in given:
        code["_currencies"] = by_currency(given["currency_options"], "minimum_amount")


@extra("promotion_code", "restrictions.currency_options")
def code_currencies(world: World, code: Obj) -> Obj:
    """Its least sums in other currencies, when asked for."""
    return {name: {"minimum_amount": least} for name, least in code.get("_currencies", {}).items()}


@route("GET", "/v1/promotion_codes/{promotion_code}")
def code_retrieve(world: World, params: Obj, code_id: str) -> Obj:
    return world.get("promotion_code", code_id)


@route("POST", "/v1/promotion_codes/{promotion_code}")
def code_update(world: World, params: Obj, code_id: str) -> Obj:
    code = world.get("promotion_code", code_id)
    if params.get("active") and _over(world, code):
        raise StripeError("This promotion code is used up or over; it cannot be made active again.", param="active")
    if "active" in params:
        code["active"] = params["active"]
    assign(code, params, "metadata")
    if set(params.get("restrictions") or {}) - {"currency_options"}:
        raise StripeError("Only currency_options of restrictions can change.", param="restrictions")
    _restrict(code, params.get("restrictions") or {})
    return world.save(code, "promotion_code.updated")


@route("GET", "/v1/promotion_codes")
def code_list(world: World, params: Obj) -> Obj:
    where = {
        "active": params.get("active"),
        "code": params.get("code"),
        "customer": params.get("customer"),
        "promotion.coupon": params.get("coupon"),
    }
    return page(world, "promotion_code", params, "/v1/promotion_codes", where)


def code_find(world: World, text: str) -> Obj:
    """The active code of what a buyer typed; capitals do not matter."""
    for code in world.find("promotion_code", active=True):
        if code["code"].casefold() == text.strip().casefold():
            return code
    raise StripeError("This code is invalid.", code="promotion_code_invalid")


def _over(world: World, code: Obj) -> bool:
    used_up = code["max_redemptions"] is not None and code["times_redeemed"] >= code["max_redemptions"]
    return used_up or (code["expires_at"] or world.now) < world.now


def code_redeem(
    world: World, code: Obj, *, customer: str | None, amount: int, currency: str, count: bool = True
) -> None:
    """Count one use (or only check it). Raises when the code is not for this customer or this sum (cents), or over."""
    if not code["active"] or _over(world, code):
        raise _refused("it is used up, over or not active")
    if code["customer"] not in (None, customer):
        raise _refused("it is for another customer")
    limits = code["restrictions"]
    if limits["first_time_transaction"] and customer and world.find("charge", customer=customer, paid=True):
        raise _refused("the customer has paid before, and it is for a first payment")
    least = code.get("_currencies", {}).get(currency)
    if least is None and limits["minimum_amount"] is not None:
        if limits["minimum_amount_currency"].lower() != currency:
            raise _refused(f"it is for payments in {limits['minimum_amount_currency']}")
        least = limits["minimum_amount"]
    if least is not None and amount < least:
        raise _refused("the amount is below its minimum")
    if not count:
        return
    code["times_redeemed"] += 1
    code["active"] = not _over(world, code)
    world.save(code, "promotion_code.updated")


def _refused(why: str) -> StripeError:
    return StripeError(f"This promotion code cannot be redeemed: {why}.", code="promotion_code_invalid")
