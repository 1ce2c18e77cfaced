"""The customer portal: sessions, their configuration, and what a customer can do there."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, listing
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.checkout import web_url
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.invoices import invoice_attempt
from billing.stripe_emulator.nouns.payment_methods import method_attach, method_from_card
from billing.stripe_emulator.nouns.subscription_calls import subscription_update
from billing.stripe_emulator.nouns.subscriptions import ENDED
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id

LIFETIME = 3600


@route("POST", "/v1/billing_portal/sessions")
def session_create(world: World, params: Obj) -> Obj:
    if "customer" not in params:
        raise missing("customer")
    customer = customer_alive(world, params["customer"], "customer")
    configuration = _default(world)
    if "configuration" in params:
        configuration = world.get("billing_portal.configuration", params["configuration"], "configuration")
    session = world.new(
        "billing_portal.session",
        "bps",
        customer=customer["id"],
        configuration=configuration["id"],
        return_url=params.get("return_url") or configuration["default_return_url"],
    )
    if session["return_url"]:
        web_url(session["return_url"], "return_url")
    assign(session, params, "locale", "on_behalf_of")
    session["flow"] = None
    # The address is the key to the page, so it is not the id the API shows.
    secret = new_id("emu", 40)
    session["_secret"] = secret
    session["url"] = f"{world.public_url}/p/session/{session['id']}/{secret}"
    if "flow_data" in params:
        session["url"] += {"payment_method_update": "#card", "subscription_cancel": "#plan"}.get(
            params["flow_data"]["type"], ""
        )
    return world.save(session)


def _default(world: World) -> Obj:
    found = world.find("billing_portal.configuration", is_default=True)
    return found[0] if found else configuration_create(world, {}, default=True)


@route("POST", "/v1/billing_portal/configurations")
def configuration_create(world: World, params: Obj, *, default: bool = False) -> Obj:
    configuration = world.new(
        "billing_portal.configuration", "bpc", active=True, is_default=default, metadata={}, updated=world.now
    )
    features = configuration["features"]
    for name in ("invoice_history", "payment_method_update", "subscription_cancel"):
        features[name]["enabled"] = default
    if params.get("features", {}).get("subscription_update", {}).get("products"):
        raise StripeError(
            "The local emulator's portal does not change plans.", param="features[subscription_update][products]"
        )
    for name, given in params.get("features", {}).items():
        features[name].update(_deeper(features[name], given))
    for option in (features["subscription_pause"].get("duration") or {}).get("interval_options") or []:
        option.setdefault("interval_count", 1)
    configuration["business_profile"].update(params.get("business_profile") or {})
    assign(configuration, params, "default_return_url", "metadata", "name")
    return world.save(configuration)


def _deeper(old: Obj, given: Obj) -> Obj:
    """The given values over the old ones, hashes merged; an empty string leaves what was."""
    return {
        name: {**old[name], **_deeper(old[name], value)} if isinstance(value, dict) and old.get(name) else value
        for name, value in given.items()
        if value != ""
    }


@route("GET", "/v1/billing_portal/configurations/{configuration}")
def configuration_retrieve(world: World, params: Obj, configuration_id: str) -> Obj:
    return world.get("billing_portal.configuration", configuration_id)


@route("GET", "/v1/billing_portal/configurations")
def configuration_list(world: World, params: Obj) -> Obj:
    found = world.find("billing_portal.configuration") or [_default(world)]
    return listing(found, "/v1/billing_portal/configurations")


# What the page does


def portal_session(world: World, session_id: str, secret: str) -> Obj:
    """The session of a portal address, while it lives."""
    session = world.get("billing_portal.session", session_id)
    if session["_secret"] != secret:
        raise StripeError("No such portal session.", status=404, code="resource_missing")
    if world.now > session["created"] + LIFETIME:
        raise StripeError("This portal session has expired. Go back and open the portal again.", status=410)
    return session


def portal_subscriptions(world: World, session: Obj) -> list[Obj]:
    """The customer's subscriptions that have not ended."""
    return [s for s in world.find("subscription", customer=session["customer"]) if s["status"] not in ENDED]


def portal_cancel(world: World, session: Obj, subscription_id: str, *, ending: bool) -> None:
    """End a subscription with its period, or take that back."""
    _own(world, session, "subscription", subscription_id)
    subscription_update(world, {"cancel_at_period_end": ending}, subscription_id)


def portal_card(world: World, session: Obj, card: Obj) -> None:
    """A new card, for everything from now on."""
    customer = customer_alive(world, session["customer"])
    method = method_from_card(world, card, {"email": customer["email"], "name": customer["name"]})
    method_attach(world, method, customer)
    customer["invoice_settings"]["default_payment_method"] = method["id"]
    world.save(customer, "customer.updated")
    for subscription in portal_subscriptions(world, session):
        subscription["default_payment_method"] = method["id"]
        world.save(subscription, "customer.subscription.updated")


def portal_pay(world: World, session: Obj, invoice_id: str) -> None:
    """Pay an open invoice with the card on file."""
    invoice_attempt(world, _own(world, session, "invoice", invoice_id), off_session=False)


def _own(world: World, session: Obj, kind: str, object_id: str) -> Obj:
    obj = world.get(kind, object_id)
    return obj if obj["customer"] == session["customer"] else world.get(kind, "")
