"""Coupons and the discounts they give."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id


@route("POST", "/v1/coupons")
def coupon_create(world: World, params: Obj) -> Obj:
    if ("percent_off" in params) == ("amount_off" in params):
        raise StripeError("You must pass either amount_off or percent_off, and not both.", param="percent_off")
    if "amount_off" in params and "currency" not in params:
        raise missing("currency")
    if not 0 < params.get("percent_off", 1) <= 100:
        raise StripeError("Invalid percent_off: must be between 0 and 100", param="percent_off")
    coupon = world.new("coupon", "co", valid=True, duration=params.get("duration", "once"), metadata={})
    coupon["id"] = params.get("id") or new_id("", 8)[1:]
    if world.maybe(coupon["id"]) is not None:
        raise StripeError("Coupon already exists.", code="resource_already_exists", param="id")
    if coupon["duration"] == "repeating" and "duration_in_months" not in params:
        raise missing("duration_in_months")
    assign(
        coupon,
        params,
        "percent_off",
        "amount_off",
        "currency",
        "name",
        "metadata",
        "max_redemptions",
        "redeem_by",
        "duration_in_months",
    )
    return world.save(coupon, "coupon.created")


@route("GET", "/v1/coupons/{coupon}")
def coupon_retrieve(world: World, params: Obj, coupon_id: str) -> Obj:
    return world.get("coupon", coupon_id)


@route("POST", "/v1/coupons/{coupon}")
def coupon_update(world: World, params: Obj, coupon_id: str) -> Obj:
    coupon = world.get("coupon", coupon_id)
    assign(coupon, params, "metadata", "name")
    return world.save(coupon, "coupon.updated")


@route("DELETE", "/v1/coupons/{coupon}")
def coupon_delete(world: World, params: Obj, coupon_id: str) -> Obj:
    world.drop(world.get("coupon", coupon_id), "coupon.deleted")
    return {"id": coupon_id, "object": "coupon", "deleted": True}


@route("GET", "/v1/coupons")
def coupon_list(world: World, params: Obj) -> Obj:
    return page(world, "coupon", params, "/v1/coupons")


def discounts_make(world: World, given: object, **owner: str) -> list[str]:
    """Redeem the coupons of a `discounts` parameter; gives ids of discount objects."""
    if not isinstance(given, list):
        return []
    made = []
    for index, entry in enumerate(given):
        if "coupon" not in entry:
            raise missing(f"discounts[{index}][coupon]")
        coupon = world.get("coupon", entry["coupon"], f"discounts[{index}][coupon]")
        used_up = coupon["max_redemptions"] is not None and coupon["times_redeemed"] >= coupon["max_redemptions"]
        if used_up or (coupon["redeem_by"] or world.now) < world.now:
            raise StripeError(f"Coupon {coupon['id']} is no longer valid.", code="coupon_expired")
        coupon["times_redeemed"] += 1
        world.save(coupon)
        months = coupon["duration_in_months"]
        end = world.now + months * 2_629_746 if coupon["duration"] == "repeating" and months else None
        discount = world.new("discount", "di", start=world.now, end=end, **owner)
        discount["source"] = {"coupon": coupon["id"], "type": "coupon"}
        made.append(world.save(discount)["id"])
    return made


def discount_amounts(world: World, discounts: list[str], subtotal: int, *, first: bool) -> list[Obj]:
    """What each discount takes off a subtotal, in order, never below zero."""
    out, left = [], max(0, subtotal)
    for discount_id in discounts:
        discount = world.maybe(discount_id)
        coupon = world.maybe(discount["source"]["coupon"]) if discount else None
        if discount is None or coupon is None or (discount["end"] or world.now) < world.now:
            continue
        if coupon["duration"] == "once" and not first:
            continue
        off = coupon["amount_off"] or round(subtotal * (coupon["percent_off"] or 0) / 100)
        off = min(left, off)
        left -= off
        out.append({"amount": off, "discount": discount_id})
    return out
