"""Coupons, and the discounts they give."""

from __future__ import annotations

from decimal import Decimal

from billing.stripe_emulator.answers import assign, by_currency, page
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.periods import step
from billing.stripe_emulator.nouns.promotion_codes import code_redeem
from billing.stripe_emulator.registry import extra, route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id


@route("POST", "/v1/coupons")
def coupon_create(world: World, params: Obj) -> Obj:
    if ("percent_off" in params) == ("amount_off" in params):
        raise StripeError("You must pass either amount_off or percent_off, and not both.", param="percent_off")
    if "amount_off" in params and "currency" not in params:
        raise missing("currency")
    if params.get("amount_off", 1) < 1:
        raise StripeError("Invalid amount_off: must be at least 1", param="amount_off")
    if not 0 < params.get("percent_off", 1) <= 100:
        raise StripeError("Invalid percent_off: must be between 0 and 100", param="percent_off")
    for name in ("max_redemptions", "duration_in_months"):
        if not 1 <= params.get(name, 1) <= 1_000_000:
            raise StripeError(f"Invalid {name}: must be at least 1", param=name)
    if (params.get("redeem_by") or world.now + 1) <= world.now:
        raise StripeError("redeem_by must be in the future.", param="redeem_by")
    coupon = world.new("coupon", "co", valid=True, duration=params.get("duration", "once"), metadata={})
    coupon["id"] = params.get("id") or new_id("", 8)[1:]
    if world.maybe(coupon["id"]) is not None:
        raise StripeError("Coupon already exists.", code="resource_already_exists", param="id")
    if (coupon["duration"] == "repeating") != ("duration_in_months" in params):
        raise StripeError("duration_in_months goes with duration=repeating, and only with it.", param="duration")
    assign(coupon, params, "percent_off", "amount_off", "currency", "name", "metadata", "max_redemptions")
    assign(coupon, params, "redeem_by", "duration_in_months")
    for product in (params.get("applies_to") or {}).get("products", []):
        world.get("product", product, "applies_to[products]")
        coupon.setdefault("_products", []).append(product)
    coupon["_currencies"] = by_currency(params.get("currency_options"), "amount_off")
    return world.save(coupon, "coupon.created")


@extra("coupon", "applies_to")
def coupon_applies_to(world: World, coupon: Obj) -> Obj | None:
    """The products it is for, when asked for."""
    return {"products": coupon["_products"]} if coupon.get("_products") else None


@extra("coupon", "currency_options")
def coupon_currencies(world: World, coupon: Obj) -> Obj:
    """What it takes off in other currencies, when asked for."""
    return {name: {"amount_off": amount} for name, amount in coupon.get("_currencies", {}).items()}


@route("GET", "/v1/coupons/{coupon}")
def coupon_retrieve(world: World, params: Obj, coupon_id: str) -> Obj:
    coupon = world.get("coupon", coupon_id)
    return {**coupon, "valid": _valid(world, coupon)}


@route("POST", "/v1/coupons/{coupon}")
def coupon_update(world: World, params: Obj, coupon_id: str) -> Obj:
    coupon = world.get("coupon", coupon_id)
    assign(coupon, params, "metadata", "name")
    return world.save(coupon, "coupon.updated")


@route("DELETE", "/v1/coupons/{coupon}")
def coupon_delete(world: World, params: Obj, coupon_id: str) -> Obj:
    coupon = world.get("coupon", coupon_id)
    # Discounts already given go on, so it is only hidden.
    coupon.update(valid=False, _deleted=True)
    world.save(coupon)
    world.emit("coupon.deleted", coupon)
    return {"id": coupon_id, "object": "coupon", "deleted": True}


@route("GET", "/v1/coupons")
def coupon_list(world: World, params: Obj) -> Obj:
    found = page(world, "coupon", params, "/v1/coupons")
    found["data"] = [{**c, "valid": _valid(world, c)} for c in found["data"] if not c.get("_deleted")]
    return found


def _valid(world: World, coupon: Obj) -> bool:
    used_up = coupon["max_redemptions"] is not None and coupon["times_redeemed"] >= coupon["max_redemptions"]
    return not used_up and not coupon.get("_deleted") and (coupon["redeem_by"] or world.now) >= world.now


# Redeeming


def coupon_redeem(
    world: World,
    entry: Obj,
    param: str,
    *,
    customer: str | None,
    amount: int,
    currency: str,
    count: bool = True,
) -> tuple[Obj, Obj | None]:
    """Count one use (or only check it) of the coupon or promotion code of a `discounts` entry: it, and the code.

    Raises when it is used up, over, or not for this customer, sum or currency.
    """
    code = None
    if "promotion_code" in entry:
        code = world.get("promotion_code", entry["promotion_code"], f"{param}[promotion_code]")
        code_redeem(world, code, customer=customer, amount=amount, currency=currency, count=count)
        coupon = world.fetch(code["promotion"]["coupon"])
    elif "coupon" in entry:
        coupon = world.get("coupon", entry["coupon"], f"{param}[coupon]")
    else:
        raise missing(f"{param}[coupon]")
    if coupon.get("_deleted"):
        world.get("coupon", "", f"{param}[coupon]")
    if not _valid(world, coupon):
        raise StripeError(f"Coupon {coupon['id']} is no longer valid.", code="coupon_expired", param=param)
    if coupon["amount_off"] is not None and _amount_off(coupon, currency) is None:
        raise StripeError(
            f"The coupon {coupon['id']} takes off {coupon['currency']}; this is in {currency}.", param=param
        )
    if not count:
        return coupon, code
    coupon["times_redeemed"] += 1
    coupon["valid"] = _valid(world, coupon)
    world.save(coupon)
    return coupon, code


def discounts_make(
    world: World,
    given: object,
    *,
    buyer: str | None = None,
    amount: int = 0,
    currency: str = "usd",
    **owner: str,
) -> list[str]:
    """Redeem a `discounts` parameter for a subscription, invoice or checkout; gives ids of discount objects."""
    made: list[str] = []
    for index, entry in enumerate(given if isinstance(given, list) else []):
        param = f"discounts[{index}]"
        if "discount" in entry:
            made.append(world.get("discount", entry["discount"], f"{param}[discount]")["id"])
            continue
        coupon, code = coupon_redeem(world, entry, param, customer=buyer, amount=amount, currency=currency)
        months = coupon["duration_in_months"]
        end = step(world.now, "month", 1, months) if coupon["duration"] == "repeating" else None
        discount = world.new("discount", "di", start=world.now, end=end, **owner)
        discount["source"] = {"coupon": coupon["id"], "type": "coupon"}
        discount["promotion_code"] = code["id"] if code else None
        world.save(discount, "customer.discount.created" if "subscription" in owner else None)
        made.append(discount["id"])
    return made


def discounts_spend(world: World, invoice: Obj) -> None:
    """The invoice is final: discounts for one invoice are gone from its subscription."""
    for entry in invoice["total_discount_amounts"]:
        discount = world.fetch(entry["discount"])
        coupon = world.fetch(discount["source"]["coupon"])
        if coupon["duration"] != "once" or not entry["amount"] or discount.get("_spent"):
            continue
        discount["_spent"] = invoice["id"]
        world.save(discount)
        subscription = world.maybe(discount["subscription"])
        if subscription is not None and discount["id"] in subscription["discounts"]:
            subscription["discounts"] = [one for one in subscription["discounts"] if one != discount["id"]]
            world.save(subscription)
            world.emit("customer.discount.deleted", discount)


def running(world: World, discount_ids: list[str], invoice_id: str | None = None) -> list[tuple[str, Obj]]:
    """(discount id, coupon) of those that still take something off, on this invoice."""
    out = []
    for discount_id in discount_ids:
        discount = world.maybe(discount_id)
        if discount is None or discount.get("_spent") not in (None, invoice_id):
            continue
        if discount["end"] is None or discount["end"] > world.now:
            out.append((discount_id, world.fetch(discount["source"]["coupon"])))
    return out


# Amounts


def take_off(coupon: Obj, amounts: list[int], products: list[str | None], currency: str) -> list[int]:
    """What a coupon takes off each of some amounts (cents): only of its products, never below zero."""
    only = coupon.get("_products")
    open_ones = [
        max(0, amount) if only is None or product in only else 0
        for amount, product in zip(amounts, products, strict=True)
    ]
    whole = sum(open_ones)
    if coupon["percent_off"] is not None:
        exact = Decimal(str(coupon["percent_off"])) * whole / 100
        off = int(exact.quantize(Decimal(1), "ROUND_HALF_UP"))
    else:
        off = min(whole, _amount_off(coupon, currency) or 0)
    return spread(off, open_ones)


def _amount_off(coupon: Obj, currency: str) -> int | None:
    if coupon["currency"] == currency:
        return int(coupon["amount_off"])
    other: int | None = coupon.get("_currencies", {}).get(currency)
    return other


def spread(amount: int, weights: list[int]) -> list[int]:
    """Divide an amount by weights (not negative) so that the parts sum up to it; the largest remainders round up."""
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    parts = [amount * weight // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % whole), i))
    for index in order[: amount - sum(parts)]:
        parts[index] += 1
    return parts
