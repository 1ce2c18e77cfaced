"""Refunds: money of a charge that goes back, in parts or whole."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def refund_make(world: World, charge: Obj, params: Obj) -> Obj:
    """Give back `amount` of a charge, or what is left of it. Raises for more than that."""
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if charge["disputed"] and not charge.get("_dispute_won"):
        raise StripeError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if left <= 0:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if not 0 < amount <= left:
        raise StripeError(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).", param="amount"
        )
    refund = world.new(
        "refund",
        "re",
        amount=amount,
        currency=charge["currency"],
        charge=charge["id"],
        customer=charge["customer"],
        metadata={},
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        status="succeeded",
        reason=params.get("reason"),
    )
    assign(refund, params, "metadata")
    world.save(refund, "refund.created")
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    world.save(charge, "charge.refunded")
    return refund


@route("POST", "/v1/refunds")
def refund_create(world: World, params: Obj) -> Obj:
    charge_id = params.get("charge")
    if charge_id is None and "payment_intent" in params:
        charge_id = world.get("payment_intent", params["payment_intent"], "payment_intent")["latest_charge"]
    if charge_id is None:
        raise missing("charge")
    return refund_make(world, world.get("charge", charge_id, "charge"), params)


@route("GET", "/v1/refunds/{refund}")
def refund_retrieve(world: World, params: Obj, refund_id: str) -> Obj:
    return world.get("refund", refund_id)


@route("GET", "/v1/refunds")
def refund_list(world: World, params: Obj) -> Obj:
    where = {"charge": params.get("charge"), "payment_intent": params.get("payment_intent")}
    return page(world, "refund", params, "/v1/refunds", where)
