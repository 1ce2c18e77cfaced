"""Payment methods: cards, attached to a customer or not yet."""

from __future__ import annotations

import time

from billing.stripe_emulator.answers import assign, page, unset
from billing.stripe_emulator.errors import StripeError, card_error, missing
from billing.stripe_emulator.nouns.cards import ALWAYS, CARDS, NAMED, UNTIL_SET_UP, TestCard, card_of, refusal
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_KEPT = {
    "id",
    "object",
    "allow_redisplay",
    "billing_details",
    "card",
    "created",
    "customer",
    "livemode",
    "metadata",
    "type",
}


def method_make(world: World, card: TestCard, exp_month: int, exp_year: int, billing: Obj | None = None) -> Obj:
    """A card as a payment method, not attached yet."""
    method = world.new("payment_method", "pm", type="card", metadata={}, allow_redisplay="unspecified")
    method["billing_details"].update(unset(billing or {}))
    method["card"] = {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "unchecked"},
        "country": "US",
        "display_brand": card.brand,
        "exp_month": exp_month,
        "exp_year": exp_year,
        "fingerprint": f"emu{card.number[-8:]}",
        "funding": "credit",
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
    for name in [name for name in method if name not in _KEPT]:
        del method[name]
    method["_refuses"], method["_later"] = card.refuses, card.later
    method["_asks"], method["_set_up"] = card.asks, False
    method["_disputes"] = card.disputes
    return world.save(method)


def method_from_card(world: World, card: Obj, billing: Obj | None = None) -> Obj:
    """A payment method from number, exp_month, exp_year (and cvc), checked as Stripe does."""
    for name in ("number", "exp_month", "exp_year"):
        if name not in card:
            raise missing(f"card[{name}]")
    found = card_of(str(card["number"]))
    month, year = card["exp_month"], card["exp_year"]
    year = year + 2000 if year < 100 else year
    if not 1 <= month <= 12:
        raise card_error(
            "Your card's expiration month is invalid.",
            code="invalid_expiry_month",
            decline_code=None,
            param="exp_month",
        )
    now = time.gmtime(world.now)
    if (year, month) < (now.tm_year, now.tm_mon) or year > now.tm_year + 50:
        raise card_error(
            "Your card's expiration year is invalid.", code="invalid_expiry_year", decline_code=None, param="exp_year"
        )
    return method_make(world, found, month, year, billing)


def asks_owner(method: Obj, *, off_session: bool) -> bool:
    """Whether a charge (or a set-up) needs its owner's authentication first."""
    asks = method.get("_asks")
    if off_session:
        return asks == ALWAYS or (asks == UNTIL_SET_UP and not method["_set_up"])
    return asks is not None


def method_resolve(world: World, method_id: str, param: str = "payment_method") -> Obj:
    """The method of an id; `pm_card_visa` and its like make a new one."""
    name = method_id.removeprefix("pm_card_")
    if name != method_id and name in NAMED:
        return method_make(world, CARDS[NAMED[name]], 12, time.gmtime(world.now).tm_year + 3)
    return world.get("payment_method", method_id, param)


def method_attach(world: World, method: Obj, customer: Obj) -> Obj:
    """Save a card to a customer; a card that refuses at once is refused here."""
    if method["customer"] not in (None, customer["id"]):
        raise StripeError(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_unexpected_state",
            param="payment_method",
        )
    if method["_refuses"] and not method["_later"]:
        raise refusal(method["_refuses"])
    if method["customer"] is None:
        method["customer"] = customer["id"]
        world.save(method, "payment_method.attached")
    return method


@route("POST", "/v1/payment_methods")
def method_create(world: World, params: Obj) -> Obj:
    if params.get("type", "card") != "card" or "card" not in params:
        raise StripeError("The local emulator knows cards only. Pass type=card and card.", param="type")
    card = params["card"]
    if "token" in card:
        name = card["token"].removeprefix("tok_")
        if name not in NAMED:
            raise StripeError(f"No such token: '{card['token'][:80]}'", code="resource_missing", param="card[token]")
        return method_make(
            world, CARDS[NAMED[name]], 12, time.gmtime(world.now).tm_year + 3, params.get("billing_details")
        )
    method = method_from_card(world, card, params.get("billing_details"))
    assign(method, params, "metadata", "allow_redisplay")
    return world.save(method)


@route("GET", "/v1/payment_methods/{payment_method}")
def method_retrieve(world: World, params: Obj, method_id: str) -> Obj:
    return world.get("payment_method", method_id)


@route("POST", "/v1/payment_methods/{payment_method}")
def method_update(world: World, params: Obj, method_id: str) -> Obj:
    method = world.get("payment_method", method_id)
    assign(method, params, "metadata", "allow_redisplay")
    method["billing_details"].update(unset(params.get("billing_details") or {}))
    for name in ("exp_month", "exp_year"):
        if name in params.get("card", {}):
            method["card"][name] = params["card"][name]
    return world.save(method, "payment_method.updated")


@route("POST", "/v1/payment_methods/{payment_method}/attach")
def method_attach_call(world: World, params: Obj, method_id: str) -> Obj:
    if "customer" not in params:
        raise missing("customer")
    customer = customer_alive(world, params["customer"], "customer")
    return method_attach(world, method_resolve(world, method_id), customer)


@route("POST", "/v1/payment_methods/{payment_method}/detach")
def method_detach(world: World, params: Obj, method_id: str) -> Obj:
    method = world.get("payment_method", method_id)
    if method["customer"] is None:
        raise StripeError("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer = world.maybe(method["customer"])
    method["customer"] = None
    world.save(method, "payment_method.detached")
    if customer and customer["invoice_settings"]["default_payment_method"] == method_id:
        customer["invoice_settings"]["default_payment_method"] = None
        world.save(customer, "customer.updated")
    return method


@route("GET", "/v1/payment_methods")
def method_list(world: World, params: Obj) -> Obj:
    where = {"customer": params.get("customer"), "type": params.get("type")}
    if where["customer"] is None:
        raise missing("customer")
    return page(world, "payment_method", params, "/v1/payment_methods", where)


@route("GET", "/v1/customers/{customer}/payment_methods")
def customer_methods(world: World, params: Obj, customer_id: str) -> Obj:
    customer_alive(world, customer_id)
    url = f"/v1/customers/{customer_id}/payment_methods"
    return page(world, "payment_method", params, url, {"customer": customer_id, "type": params.get("type")})


@route("GET", "/v1/customers/{customer}/payment_methods/{payment_method}")
def customer_method(world: World, params: Obj, customer_id: str, method_id: str) -> Obj:
    method = world.get("payment_method", method_id)
    return method if method["customer"] == customer_id else world.get("payment_method", "")


def method_known(world: World, params: Obj, param: str = "default_payment_method") -> None:
    """Raise when a call names a default payment method that is none."""
    if params.get("default_payment_method"):
        world.get("payment_method", params["default_payment_method"], param)


def default_method(world: World, customer_id: str, *candidates: str | None) -> Obj | None:
    """The card to charge: the first given candidate that is still attached, else the customer's default."""
    customer = world.maybe(customer_id)
    fallback = customer["invoice_settings"]["default_payment_method"] if customer else None
    for method_id in (*candidates, fallback):
        method = world.maybe(method_id)
        if method is not None and method["customer"] == customer_id:
            return method
    return None
