"""What a buyer does on the Checkout page: pay, authenticate, be done."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign
from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.nouns.coupons import discounts_make
from billing.stripe_emulator.nouns.customers import customer_alive, customer_make
from billing.stripe_emulator.nouns.invoice_items import item_make
from billing.stripe_emulator.nouns.invoices import ACTION_NEEDED, intent_of, invoice_attempt
from billing.stripe_emulator.nouns.payment_methods import method_attach, method_from_card
from billing.stripe_emulator.nouns.payments import intent_make, intent_pay
from billing.stripe_emulator.nouns.setup_intents import setup_confirm
from billing.stripe_emulator.nouns.subscriptions import subscription_make
from billing.stripe_emulator.nouns.tax_ids import tax_id_make, tax_ids_of
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_DATA = ("metadata", "description", "trial_period_days", "trial_end", "trial_settings", "default_tax_rates")


def session_pay(
    world: World, session: Obj, card: Obj | None, email: str, name: str, tax: tuple[str, str] | None = None
) -> str:
    """The buyer pressed Pay: card in, customer, subscription, payment or saved card out. Returns where to send him:
    back to the seller, or to the page where he authenticates.

    A refusal (402) leaves nothing behind; the session stays open for another card.
    """
    must_be_open(session)
    if card is None and not card_optional(session):
        raise StripeError("A card is needed.", status=402)
    customer = _customer(world, session, email, name)
    session["_buyer"] = {"email": email or None, "name": name or None}
    try:
        if tax is not None and customer is not None:
            tax_id_make(world, customer, *tax)
        method = method_from_card(world, card, session["_buyer"]) if card else None
        intent = _MODES[session["mode"]](world, session, customer, method)
    except StripeError as error:
        error.keep = False
        raise
    if intent is None or intent["status"] == "succeeded":
        return session_complete(world, session)
    intent["_session"], session["_intent"] = session["id"], intent["id"]
    world.save(intent)
    world.save(session)
    return str(intent["_action"]["url"])


def card_optional(session: Obj) -> bool:
    """Whether the page asks for no card: nothing is due today, and the seller said `if_required`."""
    if session["mode"] == "setup" or session["amount_total"] != 0:
        return False
    return session["payment_method_collection"] == "if_required"


def session_complete(world: World, session: Obj) -> str:
    """open -> complete: everything was paid, or nothing had to be. Returns the seller's address."""
    subscription = world.maybe(session.get("_started"))
    if subscription is not None:
        session["subscription"], session["invoice"] = subscription["id"], subscription["latest_invoice"]
    free = not session["amount_total"] or (subscription is not None and subscription["status"] == "trialing")
    session.update(status="complete", url=None, payment_status="no_payment_required" if free else "paid")
    intent = world.maybe(session["payment_intent"])
    if intent is not None and intent["setup_future_usage"] and session["customer"]:
        method_attach(world, world.fetch(intent["payment_method"]), world.fetch(session["customer"]))
    customer = world.maybe(session["customer"])
    tax_ids = tax_ids_of(world, customer["id"]) if customer else []
    session["customer_details"] = {
        "address": None,
        "business_name": None,
        "email": session["_buyer"]["email"],
        "individual_name": None,
        "name": session["_buyer"]["name"],
        "phone": None,
        "tax_exempt": customer["tax_exempt"] if customer else "none",
        "tax_ids": [{"type": one["type"], "value": one["value"]} for one in tax_ids],
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
    if session["mode"] != "subscription" and session["customer_creation"] != "always":
        return None
    customer = customer_make(world, {"email": email, **({"name": name} if name else {})})
    session["customer"] = customer["id"]
    return customer


def _subscribe(world: World, session: Obj, customer: Obj | None, method: Obj | None) -> Obj | None:
    """Start the subscription, or pay the one which an earlier card did not; the intent that wants an owner, or paid."""
    if customer is None:
        raise wrong_state("A subscription needs a customer.")
    subscription = world.maybe(session.get("_started"))
    if subscription is None or subscription["status"] in ("canceled", "incomplete_expired"):
        subscription = _subscription(world, session, customer, method)
        session["_started"] = subscription["id"]
    elif method is not None:
        subscription["default_payment_method"] = method_attach(world, method, customer)["id"]
        world.save(subscription)
    invoice = world.fetch(subscription["latest_invoice"])
    if method is not None and (setup := world.maybe(subscription["pending_setup_intent"])):
        if setup["status"] != "requires_action":
            setup_confirm(world, setup, method)
        return setup
    if invoice["status"] != "open":
        return None
    try:
        invoice_attempt(world, invoice, method, off_session=False)
    except StripeError as error:
        if error.code != ACTION_NEEDED:
            raise
    return intent_of(world, invoice)


def _subscription(world: World, session: Obj, customer: Obj, method: Obj | None) -> Obj:
    data = session["_subscription_data"]
    # A session from before there were taxes has no rates.
    rates = {
        line["id"]: [rate["id"] for rate in session.get("_rates", {}).get(line["id"], [])] for line in session["_lines"]
    }
    for line in session["_lines"]:
        if line["price"]["type"] == "one_time":
            _one_time_item(world, customer, line, rates[line["id"]])
    kept = {name: data[name] for name in _DATA if name in data}
    return subscription_make(
        world,
        customer,
        {
            **kept,
            "items": [
                {"price": line["price"]["id"], "quantity": line["quantity"], "tax_rates": rates[line["id"]]}
                for line in session["_lines"]
                if line["price"]["type"] == "recurring"
            ],
            **({"default_payment_method": method_attach(world, method, customer)["id"]} if method else {}),
            "payment_behavior": "default_incomplete",
            "discounts": session["_coupons"],
        },
    )


def _one_time_item(world: World, customer: Obj, line: Obj, rates: list[str]) -> None:
    item = item_make(
        world,
        customer,
        {
            "pricing": {"price": line["price"]["id"]},
            "quantity": line["quantity"],
            "description": line["description"],
            "tax_rates": rates,
        },
    )
    world.save(item, "invoiceitem.created")


def _charge(world: World, session: Obj, customer: Obj | None, method: Obj | None) -> Obj | None:
    intent = world.maybe(session["payment_intent"])
    if intent is None:
        # Coupons and codes count as used from the first try on.
        discounts_make(
            world,
            session["_coupons"],
            buyer=session["customer"],
            amount=session["amount_subtotal"],
            currency=session["currency"],
            checkout_session=session["id"],
        )
    if session["amount_total"] == 0 or method is None:
        return None
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


def _set_up(world: World, session: Obj, customer: Obj | None, method: Obj | None) -> Obj | None:
    intent = world.fetch(session["setup_intent"])
    intent["customer"] = customer["id"] if customer else None
    setup_confirm(world, intent, method or {})
    return intent


_MODES = {"subscription": _subscribe, "payment": _charge, "setup": _set_up}
