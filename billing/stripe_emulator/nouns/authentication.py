"""3-D Secure: what the owner of a card says on the page that asks him."""

from __future__ import annotations

from urllib.parse import urlencode

from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.nouns.checkout_pay import session_complete
from billing.stripe_emulator.nouns.invoices import attempt_failed, invoice_of
from billing.stripe_emulator.nouns.payments import intent_pay, intent_refuse
from billing.stripe_emulator.nouns.setup_intents import setup_confirm, setup_refuse
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def intent_get(world: World, intent_id: str) -> Obj:
    """The payment or setup intent of an id."""
    return world.get("setup_intent" if intent_id.startswith("seti_") else "payment_intent", intent_id)


def asked(world: World, intent_id: str, secret: str) -> Obj:
    """The intent of an authentication page's address."""
    intent = intent_get(world, intent_id)
    if intent["client_secret"].rpartition("_")[2] != secret:
        world.get("payment_intent", "")
    return intent


def authenticate(world: World, intent: Obj, *, passed: bool) -> str:
    """The owner said yes or no. Returns where he goes now; "" when nobody said.

    A no, and a bank that refuses after the yes, are outcomes and noted on the intent.
    """
    if intent["status"] != "requires_action":
        raise wrong_state(
            f"This payment does not wait for authentication: its status is {intent['status']}.",
            code=f"{intent['object']}_unexpected_state",
        )
    action = intent["_action"]
    method = world.fetch(intent["payment_method"])
    try:
        if not passed:
            raise _unconfirmed(world, intent)
        do = setup_confirm if intent["object"] == "setup_intent" else intent_pay
        do(world, intent, method, authenticated=True)
    except StripeError as error:
        if error.status != 402:
            raise
        _failed(world, intent)
    return _way_back(world, intent, action["return_url"])


def _unconfirmed(world: World, intent: Obj) -> StripeError:
    kind = intent["object"]
    error = StripeError(
        "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
        status=402,
        code=f"{kind}_authentication_failure",
    )
    return (setup_refuse if kind == "setup_intent" else intent_refuse)(world, intent, error)


def _failed(world: World, intent: Obj) -> None:
    invoice = invoice_of(world, intent) if intent["object"] == "payment_intent" else None
    if invoice is not None and invoice["status"] == "open":
        attempt_failed(world, invoice)


def _way_back(world: World, intent: Obj, return_url: str | None) -> str:
    done = intent["status"] == "succeeded"
    session = world.maybe(intent.get("_session"))
    if session is not None and session["status"] == "open":
        return session_complete(world, session) if done else f"/c/pay/{session['id']}"
    if return_url:
        more = {
            intent["object"]: intent["id"],
            f"{intent['object']}_client_secret": intent["client_secret"],
            "redirect_status": "succeeded" if done else "failed",
        }
        return f"{return_url}{'&' if '?' in return_url else '?'}{urlencode(more)}"
    return f"/i/{intent['_invoice']}" if intent.get("_invoice") else ""
