"""Setup intents: a card is checked and saved, and nothing is charged.

requires_payment_method -> requires_confirmation -> succeeded | requires_action; requires_action (3-D Secure) ->
succeeded | requires_payment_method; anything not final -> canceled.
"""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.nouns.cards import refusal
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.payment_methods import asks_owner, method_attach, method_resolve
from billing.stripe_emulator.nouns.payments import action_for
from billing.stripe_emulator.registry import listens, route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id, public

_PLAIN = ("description", "metadata")


def setup_make(world: World, *, customer: str | None, usage: str = "off_session", **fields: object) -> Obj:
    """A setup intent waiting for a card."""
    intent = world.new(
        "setup_intent",
        "seti",
        customer=customer,
        metadata={},
        payment_method_types=["card"],
        status="requires_payment_method",
        usage=usage,
        **fields,
    )
    intent["client_secret"] = new_id(f"{intent['id']}_secret")
    return world.save(intent, "setup_intent.created")


def setup_confirm(
    world: World, intent: Obj, method: Obj, *, authenticated: bool = False, return_url: str | None = None
) -> None:
    """Check the card, or stop at `requires_action`. Raises the card error (402) after noting it on the intent."""
    if intent["status"] in ("succeeded", "canceled"):
        raise wrong_state(
            f"This SetupIntent's status is {intent['status']}, so it cannot be confirmed.",
            code="setup_intent_unexpected_state",
        )
    intent.update(payment_method=method["id"], next_action=None)
    if not authenticated and asks_owner(method, off_session=False):
        intent.update(status="requires_action", next_action=action_for(world, intent, return_url))
        world.save(intent, "setup_intent.requires_action")
        return
    if method["_refuses"] and not method["_later"]:
        raise setup_refuse(world, intent, refusal(method["_refuses"], payment_method=public(method)))
    method["_set_up"] = True
    world.save(method)
    if intent["customer"]:
        method_attach(world, method, world.fetch(intent["customer"]))
    intent.update(status="succeeded", last_setup_error=None)
    world.save(intent, "setup_intent.succeeded")


def setup_refuse(world: World, intent: Obj, error: StripeError) -> StripeError:
    """Back to `requires_payment_method`, with the reason; the error to raise."""
    intent.update(status="requires_payment_method", payment_method=None, next_action=None)
    intent["last_setup_error"] = error.body()["error"]
    world.save(intent, "setup_intent.setup_failed")
    error.extra["setup_intent"] = public(intent)
    return error


@listens("setup_intent.succeeded")
def on_set_up(world: World, intent: Obj) -> None:
    """A subscription that waited for it (a trial with a card whose owner must confirm) waits no longer."""
    subscription = world.maybe(intent.get("_subscription"))
    if subscription is not None and subscription["pending_setup_intent"] == intent["id"]:
        subscription["pending_setup_intent"] = None
        world.save(subscription, "customer.subscription.updated")


@route("POST", "/v1/setup_intents")
def setup_create(world: World, params: Obj) -> Obj:
    customer = customer_alive(world, params["customer"], "customer")["id"] if "customer" in params else None
    intent = setup_make(world, customer=customer, usage=params.get("usage", "off_session"))
    assign(intent, params, *_PLAIN)
    if "payment_method" in params:
        _give_method(world, intent, params["payment_method"])
    world.save(intent)
    if not params.get("confirm"):
        if "return_url" in params:
            raise StripeError("You can only pass return_url together with confirm=true.", param="return_url")
        return intent
    return setup_confirm_call(world, {k: v for k, v in params.items() if k == "return_url"}, intent["id"])


def _give_method(world: World, intent: Obj, method_id: str) -> None:
    method = method_resolve(world, method_id)
    if method["customer"] not in (None, intent["customer"]):
        raise StripeError(
            "The provided PaymentMethod cannot be attached. It belongs to another Customer.", param="payment_method"
        )
    intent.update(payment_method=method["id"], status="requires_confirmation")


@route("GET", "/v1/setup_intents/{intent}")
def setup_retrieve(world: World, params: Obj, intent_id: str) -> Obj:
    return world.get("setup_intent", intent_id)


@route("POST", "/v1/setup_intents/{intent}")
def setup_update(world: World, params: Obj, intent_id: str) -> Obj:
    intent = world.get("setup_intent", intent_id)
    if intent["status"] in ("succeeded", "canceled") and set(params) - {"metadata", "description"}:
        raise wrong_state(
            f"This SetupIntent could not be updated because it has a status of {intent['status']}.",
            code="setup_intent_unexpected_state",
        )
    assign(intent, params, *_PLAIN)
    if "customer" in params:
        intent["customer"] = customer_alive(world, params["customer"], "customer")["id"]
    if "payment_method" in params:
        _give_method(world, intent, params["payment_method"])
    return world.save(intent)


@route("POST", "/v1/setup_intents/{intent}/confirm")
def setup_confirm_call(world: World, params: Obj, intent_id: str) -> Obj:
    intent = world.get("setup_intent", intent_id)
    if "payment_method" in params and intent["status"] not in ("succeeded", "canceled"):
        _give_method(world, intent, params["payment_method"])
    method = world.maybe(intent["payment_method"])
    if method is None and intent["status"] not in ("succeeded", "canceled"):
        raise StripeError(
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            code="setup_intent_unexpected_state",
        )
    setup_confirm(world, intent, method or {}, return_url=params.get("return_url"))
    return intent


@route("POST", "/v1/setup_intents/{intent}/cancel")
def setup_cancel(world: World, params: Obj, intent_id: str) -> Obj:
    intent = world.get("setup_intent", intent_id)
    if intent["status"] in ("succeeded", "canceled"):
        raise wrong_state(
            f"You cannot cancel this SetupIntent because it has a status of {intent['status']}.",
            code="setup_intent_unexpected_state",
        )
    reason = params.get("cancellation_reason")
    intent.update(status="canceled", next_action=None, cancellation_reason=reason)
    return world.save(intent, "setup_intent.canceled")


@route("GET", "/v1/setup_intents")
def setup_list(world: World, params: Obj) -> Obj:
    where = {"customer": params.get("customer"), "payment_method": params.get("payment_method")}
    return page(world, "setup_intent", params, "/v1/setup_intents", where)
