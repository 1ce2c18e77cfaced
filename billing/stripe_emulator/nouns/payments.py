"""Payment intents and charges.

Intent: requires_payment_method -> requires_confirmation -> succeeded | requires_action | requires_payment_method;
requires_action (3-D Secure) -> succeeded | requires_payment_method; anything not final -> canceled.
"""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.nouns.cards import REFUSALS, refusal
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.payment_methods import asks_owner, method_attach, method_resolve
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id, public

_INTENT = (
    "description",
    "metadata",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
_PLANNED = "planned_refusals"


def refusal_plan(world: World, name: str, count: int) -> None:
    """Let the next `count` charges fail with this refusal, whatever the card."""
    if name not in REFUSALS:
        raise StripeError(f"Unknown decline code {name[:40]}; known: {', '.join(REFUSALS)}", param="decline_code")
    world.store.setting_put(_PLANNED, [*world.store.setting(_PLANNED, []), *[name] * count])


def _refusal_now(world: World, method: Obj) -> str | None:
    planned = world.store.setting(_PLANNED, [])
    if planned:
        world.store.setting_put(_PLANNED, planned[1:])
        world.on_abort.append(lambda: world.store.setting_put(_PLANNED, planned[1:]))
        return str(planned[0])
    return method["_refuses"]


def intent_make(world: World, *, amount: int, currency: str, customer: str | None = None, **fields: object) -> Obj:
    """A payment intent waiting for a card."""
    intent = world.new(
        "payment_intent",
        "pi",
        amount=amount,
        currency=currency,
        customer=customer,
        status="requires_payment_method",
        capture_method="automatic_async",
        payment_method_types=["card"],
        payment_method_options={
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        **{"_invoice": None, **fields},
    )
    intent["client_secret"] = new_id(f"{intent['id']}_secret")
    return world.save(intent, "payment_intent.created")


def intent_pay(
    world: World,
    intent: Obj,
    method: Obj,
    *,
    off_session: bool = False,
    waits: bool = True,
    authenticated: bool = False,
    return_url: str | None = None,
) -> None:
    """Charge the card, or stop at `requires_action` when it wants its owner's authentication first.

    `waits=False` makes that a refusal. Raises the card error (402) after noting the failed try on the intent.
    """
    if intent["status"] in ("succeeded", "canceled"):
        raise wrong_state(
            f"This PaymentIntent's status is {intent['status']}, so it cannot be confirmed.",
            code="payment_intent_unexpected_state",
        )
    intent.update(payment_method=method["id"], next_action=None)
    refused = None
    if not authenticated and asks_owner(method, off_session=off_session):
        if waits:
            intent.update(status="requires_action", next_action=action_for(world, intent, return_url))
            world.save(intent, "payment_intent.requires_action")
            return
        refused = "authentication_required"
    refused = refused or _refusal_now(world, method)
    charge = _charge(world, intent, method, refused)
    intent["latest_charge"] = charge["id"]
    if refused is not None:
        world.save(charge, "charge.failed")
        raise intent_refuse(world, intent, refusal(refused, charge=charge["id"], payment_method=public(method)))
    if authenticated and intent["setup_future_usage"] == "off_session":
        method["_set_up"] = True
        world.save(method)
    intent.update(status="succeeded", amount_received=intent["amount"], last_payment_error=None)
    world.save(charge, "charge.succeeded")
    world.save(intent, "payment_intent.succeeded")


def action_for(world: World, intent: Obj, return_url: str | None) -> Obj:
    """The `next_action` of an intent that waits for its card's owner: the address of the page that asks him."""
    url = f"{world.public_url}/a/{intent['id']}/{intent['client_secret'].rpartition('_')[2]}"
    intent["_action"] = {"url": url, "return_url": return_url}
    if return_url:
        return {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url}}


def intent_refuse(world: World, intent: Obj, error: StripeError) -> StripeError:
    """Back to `requires_payment_method`, with the reason; the error to raise."""
    intent.update(status="requires_payment_method", payment_method=None, next_action=None)
    intent["last_payment_error"] = error.body()["error"]
    world.save(intent, "payment_intent.payment_failed")
    error.extra["payment_intent"] = public(intent)
    return error


def _charge(world: World, intent: Obj, method: Obj, refused: str | None) -> Obj:
    paid = refused is None
    charge = world.new(
        "charge",
        "ch",
        amount=intent["amount"],
        amount_captured=intent["amount"] if paid else 0,
        captured=paid,
        paid=paid,
        status="succeeded" if paid else "failed",
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        metadata=intent["metadata"],
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": "card", "card": _card_shown(method)},
    )
    if refused is not None:
        charge["failure_code"], charge["failure_message"] = REFUSALS[refused]
    else:
        charge["receipt_url"] = f"{world.public_url}/r/{charge['id']}"
    return world.save(charge)


def _card_shown(method: Obj) -> Obj:
    names = ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    return {name: method["card"][name] for name in names}


@route("POST", "/v1/payment_intents")
def intent_create(world: World, params: Obj) -> Obj:
    if params["amount"] < 1:
        raise StripeError(
            "This value must be greater than or equal to 1.", code="parameter_invalid_integer", param="amount"
        )
    customer = customer_alive(world, params["customer"], "customer")["id"] if "customer" in params else None
    intent = intent_make(world, amount=params["amount"], currency=params["currency"].lower(), customer=customer)
    assign(intent, params, *_INTENT)
    if "payment_method" in params:
        _give_method(world, intent, params["payment_method"])
    world.save(intent)
    if not params.get("confirm"):
        for name in ("off_session", "error_on_requires_action", "return_url"):
            if name in params:
                raise StripeError(f"You can only pass {name} together with confirm=true.", param=name)
        return intent
    return intent_confirm(world, {k: v for k, v in params.items() if k != "payment_method"}, intent["id"])


def _give_method(world: World, intent: Obj, method_id: str) -> None:
    method = method_resolve(world, method_id)
    if method["customer"] not in (None, intent["customer"]):
        raise StripeError(
            "The provided PaymentMethod cannot be attached. It belongs to another Customer.", param="payment_method"
        )
    intent["payment_method"] = method["id"]
    intent["status"] = "requires_confirmation"


@route("GET", "/v1/payment_intents/{intent}")
def intent_retrieve(world: World, params: Obj, intent_id: str) -> Obj:
    return world.get("payment_intent", intent_id)


@route("POST", "/v1/payment_intents/{intent}")
def intent_update(world: World, params: Obj, intent_id: str) -> Obj:
    intent = world.get("payment_intent", intent_id)
    if intent["status"] in ("succeeded", "canceled") and set(params) - {"metadata", "description", "expand"}:
        raise wrong_state(
            f"This PaymentIntent could not be updated because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    assign(intent, params, *_INTENT, "amount")
    if "payment_method" in params:
        _give_method(world, intent, params["payment_method"])
    return world.save(intent)


@route("POST", "/v1/payment_intents/{intent}/confirm")
def intent_confirm(world: World, params: Obj, intent_id: str) -> Obj:
    intent = world.get("payment_intent", intent_id)
    if "payment_method" in params:
        _give_method(world, intent, params["payment_method"])
    method = world.maybe(intent["payment_method"])
    if method is None and intent["status"] not in ("succeeded", "canceled"):
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    off_session = bool(params.get("off_session"))
    waits = not off_session and not params.get("error_on_requires_action")
    intent_pay(world, intent, method or {}, off_session=off_session, waits=waits, return_url=params.get("return_url"))
    if intent["setup_future_usage"] and intent["customer"] and method and method["customer"] is None:
        method_attach(world, method, world.fetch(intent["customer"]))
    return intent


@route("POST", "/v1/payment_intents/{intent}/cancel")
def intent_cancel(world: World, params: Obj, intent_id: str) -> Obj:
    intent = world.get("payment_intent", intent_id)
    if intent["status"] in ("succeeded", "canceled"):
        raise wrong_state(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    intent.update(
        status="canceled",
        next_action=None,
        canceled_at=world.now,
        cancellation_reason=params.get("cancellation_reason"),
    )
    return world.save(intent, "payment_intent.canceled")


@route("GET", "/v1/payment_intents")
def intent_list(world: World, params: Obj) -> Obj:
    return page(world, "payment_intent", params, "/v1/payment_intents", {"customer": params.get("customer")})


@route("GET", "/v1/charges/{charge}")
def charge_retrieve(world: World, params: Obj, charge_id: str) -> Obj:
    return world.get("charge", charge_id)


@route("GET", "/v1/charges")
def charge_list(world: World, params: Obj) -> Obj:
    where = {"customer": params.get("customer"), "payment_intent": params.get("payment_intent")}
    return page(world, "charge", params, "/v1/charges", where)
