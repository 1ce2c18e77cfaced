"""What a buyer does on the Checkout page: pay, authenticate, be done."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign
from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.nouns.customers import customer_alive, customer_make
from billing.stripe_emulator.nouns.invoice_items import item_make
from billing.stripe_emulator.nouns.invoices import ACTION_NEEDED, intent_of, invoice_attempt
from billing.stripe_emulator.nouns.payment_methods import method_attach, method_from_card
from billing.stripe_emulator.nouns.payments import intent_make, intent_pay
from billing.stripe_emulator.nouns.subscriptions import subscription_make
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def session_pay(world: World, session: Obj, card: Obj, email: str, name: str) -> str:
    """The buyer pressed Pay: card in, customer, subscription or payment out. Returns where to send him: back to the
    seller, or to the page where he authenticates.

    A refusal (402) leaves nothing behind; the session stays open for another card.
    """
    must_be_open(session)
    customer = _customer(world, session, email, name)
    session["_buyer"] = {"email": email or None, "name": name or None}
    try:
        method = method_from_card(world, card, session["_buyer"])
        if session["mode"] == "subscription":
            intent = _subscribe(world, session, customer, method)
        else:
            intent = _charge(world, session, customer, method)
    except StripeError as error:
        error.keep = False
        raise
    if intent is None or intent["status"] == "succeeded":
        return session_complete(world, session)
    intent["_session"], session["_intent"] = session["id"], intent["id"]
    world.save(intent)
    world.save(session)
    return str(intent["_action"]["url"])


def session_complete(world: World, session: Obj) -> str:
    """open -> complete: everything was paid, or nothing had to be. Returns the seller's address."""
    subscription = world.maybe(session.get("_started"))
    if subscription is not None:
        session["subscription"], session["invoice"] = subscription["id"], subscription["latest_invoice"]
    free = session["amount_total"] == 0 or (subscription is not None and subscription["status"] == "trialing")
    session.update(status="complete", url=None, payment_status="no_payment_required" if free else "paid")
    intent = world.maybe(session["payment_intent"])
    if intent is not None and intent["setup_future_usage"] and session["customer"]:
        method_attach(world, world.fetch(intent["payment_method"]), world.fetch(session["customer"]))
    session["customer_details"] = {
        "address": None,
        "business_name": None,
        "email": session["_buyer"]["email"],
        "individual_name": None,
        "name": session["_buyer"]["name"],
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }
    world.save(session)
    world.emit("checkout.session.completed", session)
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def must_be_open(session: Obj) -> None:
    """Raise unless the session can still be paid."""
    if session["status"] != "open":
        raise wrong_state(f"This Checkout Session is {session['status']}.")


def _customer(world: World, session: Obj, email: str, name: str) -> Obj | None:
    if session["customer"]:
        customer = customer_alive(world, session["customer"])
        if not customer["email"] and email:
            customer["email"] = email
            world.save(customer, "customer.updated")
        return customer
    if session["mode"] == "payment" and session["customer_creation"] != "always":
        return None
    customer = customer_make(world, {"email": email, **({"name": name} if name else {})})
    session["customer"] = customer["id"]
    return customer


def _subscribe(world: World, session: Obj, customer: Obj | None, method: Obj) -> Obj | None:
    """Start the subscription, or pay the one which an earlier card did not; the intent, when something was due."""
    if customer is None:
        raise wrong_state("A subscription needs a customer.")
    method_attach(world, method, customer)
    subscription = world.maybe(session.get("_started"))
    if subscription is None or subscription["status"] != "incomplete":
        subscription = _subscription(world, session, customer, method)
        session["_started"] = subscription["id"]
    subscription["default_payment_method"] = method["id"]
    world.save(subscription)
    invoice = world.fetch(subscription["latest_invoice"])
    if invoice["status"] != "open":
        return None
    try:
        invoice_attempt(world, invoice, method, off_session=False)
    except StripeError as error:
        if error.code != ACTION_NEEDED:
            raise
    return intent_of(world, invoice)


def _subscription(world: World, session: Obj, customer: Obj, method: Obj) -> Obj:
    data = session["_subscription_data"]
    for line in session["_lines"]:
        if line["price"]["type"] == "one_time":
            _one_time_item(world, customer, line)
    kept = {name: data[name] for name in ("metadata", "description", "trial_period_days", "trial_end") if name in data}
    return subscription_make(
        world,
        customer,
        {
            **kept,
            "items": [
                {"price": line["price"]["id"], "quantity": line["quantity"]}
                for line in session["_lines"]
                if line["price"]["type"] == "recurring"
            ],
            "default_payment_method": method["id"],
            "payment_behavior": "default_incomplete",
            "discounts": session["_coupons"],
        },
    )


def _one_time_item(world: World, customer: Obj, line: Obj) -> None:
    item = item_make(
        world,
        customer,
        {"pricing": {"price": line["price"]["id"]}, "quantity": line["quantity"], "description": line["description"]},
    )
    world.save(item, "invoiceitem.created")


def _charge(world: World, session: Obj, customer: Obj | None, method: Obj) -> Obj | None:
    if session["amount_total"] == 0:
        return None
    intent = world.maybe(session["payment_intent"])
    if intent is None:
        intent = intent_make(
            world,
            amount=session["amount_total"],
            currency=session["currency"],
            customer=customer["id"] if customer else None,
        )
        data = session["_payment_intent_data"]
        assign(intent, data, "description", "metadata", "receipt_email", "setup_future_usage")
        session["payment_intent"] = intent["id"]
    intent_pay(world, intent, method)
    return intent
