"""Invoices: draft -> open -> paid | void | uncollectible.

Amounts are whole cents. Lines live inside their invoice; items wait on the
customer until an invoice takes them.
"""

from __future__ import annotations

from typing import Any

from billing.stripe_emulator.answers import listing
from billing.stripe_emulator.errors import StripeError, card_error, wrong_state
from billing.stripe_emulator.nouns.balance import balance_in, balance_move
from billing.stripe_emulator.nouns.coupons import discounts_spend
from billing.stripe_emulator.nouns.credits import credits_apply
from billing.stripe_emulator.nouns.invoice_lines import invoice_total
from billing.stripe_emulator.nouns.metering import usage_refresh
from billing.stripe_emulator.nouns.payment_methods import default_method
from billing.stripe_emulator.nouns.payments import intent_make, intent_pay
from billing.stripe_emulator.registry import extra, listens
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, public

DAY = 86400
FINALIZE_AFTER = 3600
RETRY_AFTER_DAYS = (3, 5, 7)
ACTION_NEEDED = "invoice_payment_intent_requires_action"


def invoice_draft(world: World, customer: Obj, *, currency: str, reason: str, **fields: Any) -> Obj:
    """A new draft without lines."""
    invoice = world.new(
        "invoice",
        "in",
        customer=customer["id"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_phone=customer["phone"],
        customer_address=customer["address"],
        customer_shipping=customer["shipping"],
        customer_tax_exempt=customer["tax_exempt"],
        customer_tax_ids=tax_ids_shown(world, customer["id"]),
        account_country="US",
        account_name="Local emulator",
        currency=currency,
        billing_reason=reason,
        status="draft",
        auto_advance=False,
        period_start=world.now,
        period_end=world.now,
        starting_balance=balance_in(customer, currency),
        metadata={},
        total_discount_amounts=[],
        total_taxes=[],
        total_pretax_credit_amounts=[],
        issuer={"type": "self"},
        **fields,
    )
    invoice["lines"] = listing([], f"/v1/invoices/{invoice['id']}/lines")
    return invoice


def tax_ids_shown(world: World, customer_id: str) -> list[Obj]:
    """The customer's tax ids as an invoice has them."""
    return [{"type": one["type"], "value": one["value"]} for one in world.find("tax_id", customer=customer_id)]


def subscription_of(invoice: Obj) -> str | None:
    """The id of the subscription an invoice is for."""
    parent = invoice["parent"] or {}
    details = parent.get("subscription_details") or {}
    return details.get("subscription")


def must_be(invoice: Obj, *states: str, doing: str) -> None:
    """Raise unless the invoice is in one of the states."""
    if invoice["status"] not in states:
        raise wrong_state(
            f"You can only {doing} {' or '.join(states)} invoices. This invoice is {invoice['status']}.",
            code="invoice_not_editable" if doing in ("change", "delete", "add to") else None,
        )


def invoice_finalize(world: World, invoice: Obj, *, next_attempt: int | None = None) -> None:
    """draft -> open (or straight to paid when nothing is due). `next_attempt`: when to charge by itself."""
    must_be(invoice, "draft", doing="finalize")
    customer = world.fetch(invoice["customer"])
    invoice["starting_balance"] = balance_in(customer, invoice["currency"])
    invoice.update(customer_tax_exempt=customer["tax_exempt"], customer_tax_ids=tax_ids_shown(world, customer["id"]))
    usage_refresh(world, invoice)
    invoice_total(world, invoice)
    credits_apply(world, invoice)
    invoice_total(world, invoice)
    # Without rounding in play the balance after is what the invoice did not use up.
    total, balance = invoice["total"], invoice["starting_balance"]
    ending = balance + total if total < 0 or balance + total < 0 else 0
    sequence = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = sequence + 1
    if ending != balance:
        balance_move(
            world,
            customer,
            ending - balance,
            "applied_to_invoice",
            currency=invoice["currency"],
            invoice=invoice["id"],
        )
    world.save(customer, "customer.updated" if ending != balance else None)
    invoice.update(
        status="open",
        number=f"{customer['invoice_prefix']}-{sequence:04d}",
        ending_balance=ending,
        effective_at=world.now,
        automatically_finalizes_at=None,
        hosted_invoice_url=f"{world.public_url}/i/{invoice['id']}",
        invoice_pdf=f"{world.public_url}/i/{invoice['id']}/pdf",
        next_payment_attempt=next_attempt if invoice["auto_advance"] else None,
    )
    invoice["status_transitions"]["finalized_at"] = world.now
    # Stripe's reference counts the days from the creation; its invoices have them from when they became final, and no
    # due date until then.
    if invoice["collection_method"] == "send_invoice" and invoice["due_date"] is None:
        invoice["due_date"] = world.now + DAY * invoice.get("_days_until_due", 30)
    discounts_spend(world, invoice)
    world.save(invoice, "invoice.finalized")
    if invoice["amount_due"] == 0:
        invoice_settle(world, invoice, paid=0)
        return
    _payment_open(world, invoice)


def _payment_open(world: World, invoice: Obj) -> None:
    intent = intent_make(
        world,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=invoice["description"] or f"Invoice {invoice['number']}",
        setup_future_usage="off_session" if subscription_of(invoice) else None,
        _invoice=invoice["id"],
    )
    payment = world.new(
        "invoice_payment",
        "inpay",
        amount_requested=invoice["amount_due"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        status="open",
    )
    payment["payment"] = {"type": "payment_intent", "payment_intent": intent["id"]}
    world.save(payment)
    invoice["_payment"] = payment["id"]
    world.save(invoice)


def invoice_attempt(world: World, invoice: Obj, method: Obj | None = None, *, off_session: bool = True) -> None:
    """Charge an open invoice. Raises the card error (402) after noting the failed try, also when the card wants its
    owner's authentication: then the invoice's payment intent waits with `requires_action`."""
    must_be(invoice, "open", doing="pay")
    subscription = world.maybe(subscription_of(invoice))
    method = method or default_method(
        world,
        invoice["customer"],
        invoice["default_payment_method"],
        subscription["default_payment_method"] if subscription else None,
    )
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    try:
        if method is None:
            raise card_error(
                "There is no payment method to charge: attach one to the customer and make it the default.",
                code="missing",
                decline_code=None,
            )
        intent = intent_of(world, invoice)
        intent_pay(world, intent, method, off_session=off_session)
        if intent["status"] == "requires_action":
            raise card_error(
                "This payment requires additional user action before it can be completed successfully. Payment can be "
                "completed using the PaymentIntent associated with the invoice.",
                code=ACTION_NEEDED,
                decline_code=None,
                payment_intent=public(intent),
            )
    except StripeError as error:
        attempt_failed(world, invoice)
        if error.code == ACTION_NEEDED:
            world.emit("invoice.payment_action_required", invoice)
        raise


def undone(error: StripeError) -> StripeError:
    """The refusal as `error_if_incomplete` gives it: nothing of the call stays."""
    if error.code == ACTION_NEEDED:
        error = card_error(
            "Payment for this subscription requires additional user action before it can be completed successfully. "
            "Pass payment_behavior=allow_incomplete to keep it, and let the customer authenticate.",
            code="subscription_payment_intent_requires_action",
            decline_code=None,
        )
    error.keep = False
    return error


def intent_of(world: World, invoice: Obj) -> Obj:
    """The payment intent of an invoice that was finalised with something due."""
    return world.fetch(world.fetch(invoice["_payment"])["payment"]["payment_intent"])


def invoice_of(world: World, intent: Obj) -> Obj | None:
    """The invoice that an intent pays, if it is of one."""
    if "_invoice" in intent:
        return world.maybe(intent["_invoice"])
    # It was made before intents noted that.
    payments = world.find("invoice_payment", payment__payment_intent=intent["id"])
    return world.maybe(payments[0]["invoice"]) if payments else None


@listens("payment_intent.succeeded")
def on_intent_paid(world: World, intent: Obj) -> None:
    """Whoever paid the intent of an invoice, from wherever, paid the invoice."""
    invoice = invoice_of(world, intent)
    if invoice is not None and invoice["status"] in ("open", "uncollectible"):
        invoice_settle(world, invoice, paid=invoice["amount_due"])


def attempt_failed(world: World, invoice: Obj) -> None:
    tries = invoice["attempt_count"] - 1
    again = invoice["auto_advance"] and invoice["billing_reason"] != "subscription_create"
    more = again and tries < len(RETRY_AFTER_DAYS)
    invoice["next_payment_attempt"] = world.now + DAY * RETRY_AFTER_DAYS[tries] if more else None
    world.save(invoice, "invoice.updated")
    world.emit("invoice.payment_failed", invoice)


def invoice_settle(world: World, invoice: Obj, *, paid: int, out_of_band: bool = False) -> None:
    """open -> paid."""
    invoice.update(
        status="paid",
        attempted=True,
        auto_advance=False,
        amount_paid=paid,
        amount_paid_off_stripe=paid if out_of_band else 0,
        amount_remaining=0,
        next_payment_attempt=None,
    )
    invoice["status_transitions"]["paid_at"] = world.now
    payment = world.maybe(invoice.get("_payment"))
    world.save(invoice)
    if out_of_band:
        intent_cancel(world, invoice)
    elif payment is not None:
        payment.update(status="paid", amount_paid=paid)
        payment["status_transitions"]["paid_at"] = world.now
        world.save(payment, "invoice_payment.paid")
    world.emit("invoice.paid", invoice)
    if not out_of_band:
        world.emit("invoice.payment_succeeded", invoice)


def invoice_close(world: World, invoice: Obj, status: str) -> None:
    """open -> void | uncollectible (and uncollectible -> void)."""
    must_be(invoice, "open", "uncollectible", doing="void" if status == "void" else "mark uncollectible")
    moment = "voided_at" if status == "void" else "marked_uncollectible_at"
    invoice.update(status=status, auto_advance=False, next_payment_attempt=None)
    if status == "void":
        invoice.update(amount_remaining=0)
        intent_cancel(world, invoice)
        _balance_back(world, invoice)
    invoice["status_transitions"][moment] = world.now
    world.save(invoice, "invoice.voided" if status == "void" else "invoice.marked_uncollectible")


def _balance_back(world: World, invoice: Obj) -> None:
    """Credit that a voided invoice used is the customer's again."""
    used = (invoice["ending_balance"] or 0) - invoice["starting_balance"]
    if not used:
        return
    customer = world.fetch(invoice["customer"])
    balance_move(
        world,
        customer,
        -used,
        "unapplied_from_invoice",
        currency=invoice["currency"],
        invoice=invoice["id"],
    )
    world.save(customer, "customer.updated")


def intent_cancel(world: World, invoice: Obj) -> None:
    """Give the payment of an invoice up."""
    payment = world.maybe(invoice.get("_payment"))
    if payment is None:
        return
    payment["status"] = "canceled"
    payment["status_transitions"]["canceled_at"] = world.now
    world.save(payment)
    intent = world.fetch(payment["payment"]["payment_intent"])
    if intent["status"] not in ("succeeded", "canceled"):
        intent.update(status="canceled", next_action=None, canceled_at=world.now, cancellation_reason="void_invoice")
        world.save(intent, "payment_intent.canceled")


@extra("invoice", "payments")
def invoice_payments(world: World, invoice: Obj) -> Obj:
    """The payments made towards an invoice."""
    return listing(
        world.find("invoice_payment", invoice=invoice["id"]), f"/v1/invoice_payments?invoice={invoice['id']}"
    )


@extra("invoice", "confirmation_secret")
def invoice_secret(world: World, invoice: Obj) -> Obj | None:
    """What a browser would need to pay it."""
    payment = world.maybe(invoice.get("_payment"))
    if payment is None:
        return None
    intent = world.fetch(payment["payment"]["payment_intent"])
    return {"client_secret": intent["client_secret"], "type": "payment_intent"}
