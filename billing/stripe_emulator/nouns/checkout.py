"""Checkout sessions: open -> complete | expired."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from billing.stripe_emulator.answers import assign, listing, page, slice_of
from billing.stripe_emulator.errors import StripeError, missing, wrong_state
from billing.stripe_emulator.nouns.checkout_sum import session_lines, session_sum
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.setup_intents import setup_make
from billing.stripe_emulator.nouns.tax_rates import no_automatic_tax
from billing.stripe_emulator.registry import extra, route, timer
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id

DAY = 86400
_PLAIN = (
    "allow_promotion_codes",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "customer_email",
    "locale",
    "metadata",
    "submit_type",
    "success_url",
)
# What the other modes may not be told.
_ONLY = {
    "subscription": {"payment_intent_data", "setup_intent_data"},
    "payment": {"subscription_data", "setup_intent_data"},
    "setup": {"subscription_data", "payment_intent_data", "line_items", "discounts", "allow_promotion_codes"},
}


def web_url(text: str, param: str) -> str:
    """An absolute http(s) address, or Stripe's error."""
    parts = urlsplit(text.replace("{CHECKOUT_SESSION_ID}", "x"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StripeError("Not a valid URL", code="url_invalid", param=param)
    return text


@route("POST", "/v1/checkout/sessions")
def session_create(world: World, params: Obj) -> Obj:
    mode = params.get("mode")
    _ways(params, mode)
    session = world.new(
        "checkout.session",
        "cs",
        mode=mode,
        status="open",
        ui_mode="hosted_page",
        payment_status="unpaid",
        payment_method_types=["card"],
        payment_method_options={},
        payment_method_collection=params.get("payment_method_collection", "always")
        if mode == "subscription"
        else "if_required",
        metadata={},
        expires_at=params.get("expires_at", world.now + DAY),
        phone_number_collection={"enabled": False},
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    )
    session["id"] = new_id("cs_test", 58)
    if not world.now + 1800 <= session["expires_at"] <= world.now + DAY:
        raise StripeError(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    assign(session, params, *_PLAIN)
    if "customer" in params:
        if "customer_email" in params:
            raise StripeError(
                "You may only specify one of these parameters: customer, customer_email.", param="customer"
            )
        session["customer"] = customer_alive(world, params["customer"], "customer")["id"]
    session["customer_creation"] = None if session["customer"] else params.get("customer_creation", "if_required")
    for name in ("subscription_data", "payment_intent_data", "setup_intent_data"):
        session[f"_{name}"] = params.get(name, {})
    session["_coupons"] = params.get("discounts") or []
    _tax_ids(session, params)
    session_lines(world, session, params)
    if mode == "setup":
        _setup(world, session, params)
    else:
        session_sum(world, session)
    session["url"] = f"{world.public_url}/c/pay/{session['id']}"
    return world.save(session)


def _ways(params: Obj, mode: Any) -> None:
    if mode is None:
        raise missing("mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise StripeError("The local emulator hosts the page itself: use ui_mode=hosted_page.", param="ui_mode")
    if "success_url" not in params:
        raise missing("success_url")
    for name in ("success_url", "cancel_url"):
        if name in params:
            web_url(params[name], name)
    if mode != "setup" and not params.get("line_items"):
        raise missing("line_items")
    for name in sorted(_ONLY[mode] & set(params)):
        raise StripeError(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    no_automatic_tax(params)
    if params.get("allow_promotion_codes") and params.get("discounts"):
        raise StripeError(
            "You may only specify one of these parameters: allow_promotion_codes, discounts.",
            param="allow_promotion_codes",
        )


def _tax_ids(session: Obj, params: Obj) -> None:
    given = params.get("tax_id_collection")
    if given is None:
        return
    if given["enabled"] and session["customer"] and params.get("customer_update", {}).get("name") != "auto":
        raise StripeError(
            "Tax ID collection requires updating business name on the customer. To enable tax ID collection for an "
            "existing customer, please set `customer_update[name]` to `auto`.",
            param="tax_id_collection",
        )
    session["tax_id_collection"] = {"enabled": given["enabled"], "required": given.get("required", "never")}


def _setup(world: World, session: Obj, params: Obj) -> None:
    data = session["_setup_intent_data"]
    intent = setup_make(world, customer=session["customer"])
    assign(intent, data, "description", "metadata")
    intent["_session"] = session["id"]
    world.save(intent)
    session.update(setup_intent=intent["id"], currency=params.get("currency"), payment_status="no_payment_required")


@timer("checkout.session", lambda session: session["expires_at"] if session["status"] == "open" else None)
def session_expire(world: World, session: Obj) -> None:
    """open -> expired."""
    session.update(status="expired", url=None)
    world.save(session)
    world.emit("checkout.session.expired", session)


@route("POST", "/v1/checkout/sessions/{session}/expire")
def session_expire_call(world: World, params: Obj, session_id: str) -> Obj:
    session = world.get("checkout.session", session_id)
    if session["status"] != "open":
        raise wrong_state(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session '
            f"has a status of {session['status']}."
        )
    session_expire(world, session)
    return session


@route("GET", "/v1/checkout/sessions/{session}")
def session_retrieve(world: World, params: Obj, session_id: str) -> Obj:
    return world.get("checkout.session", session_id)


@route("POST", "/v1/checkout/sessions/{session}")
def session_update(world: World, params: Obj, session_id: str) -> Obj:
    session = world.get("checkout.session", session_id)
    assign(session, params, "metadata")
    return world.save(session)


@route("GET", "/v1/checkout/sessions")
def session_list(world: World, params: Obj) -> Obj:
    where = {name: params.get(name) for name in ("customer", "payment_intent", "status", "subscription")}
    return page(world, "checkout.session", params, "/v1/checkout/sessions", where)


@route("GET", "/v1/checkout/sessions/{session}/line_items")
def session_lines_call(world: World, params: Obj, session_id: str) -> Obj:
    session = world.get("checkout.session", session_id)
    return slice_of(session["_lines"], params, f"/v1/checkout/sessions/{session_id}/line_items")


@extra("checkout.session", "line_items")
def session_line_items(world: World, session: Obj) -> Obj:
    """The lines, when asked for."""
    return listing(session["_lines"][:10], f"/v1/checkout/sessions/{session['id']}/line_items")
