"""Writing the mirrors from objects that were just fetched. Runs in the tenant's scope, under its lock.

What an event says about an object is never used: it says only which object to fetch.
"""

import datetime as dt
from typing import Any

from billing.models import (
    BillingCustomer,
    CreditNote,
    Invoice,
    PaymentDispute,
    Refund,
    Subscription,
    TrialMark,
    TrialTaken,
)
from billing.models.ledger import Booked
from billing.selectors.items import items_of, plan_item, plan_of_price
from billing.selectors.trials import method_digests
from billing.services.changes import change_note
from billing.services.topup_settling import invoice_settle
from billing.stripe_port import Json, stripe_port
from kit import outbox
from kit.clock import now

ADDRESS = ("line1", "line2", "postal_code", "city", "state", "country")
ENDED = ("canceled", "incomplete_expired")
TRIAL_BEGUN = "billing.trial_begun"
"""Looks whose trial it is, once."""


def _moment(seconds: Any) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds else None


def customer_mirror(customer: BillingCustomer) -> None:
    """Fetch the customer and note its address and card."""
    found = stripe_port().customer_fetch(customer.stripe_id)
    customer.fetched_at = now()
    if found is not None:
        customer.email = found.get("email") or ""
        customer.delinquent = bool(found.get("delinquent"))
        method = (found.get("invoice_settings") or {}).get("default_payment_method")
        if isinstance(method, dict):
            _card_note(customer, method)
        _details(customer, found)
    customer.save()


def _details(customer: BillingCustomer, found: Json) -> None:
    """Who invoices are made out to."""
    customer.legal_name = (found.get("name") or "")[:256]
    address = found.get("address") or {}
    customer.address = {part: address[part] for part in ADDRESS if address.get(part)}
    customer.tax_ids = [
        {
            "id": one["id"],
            "type": one["type"],
            "value": one["value"],
            "status": (one.get("verification") or {}).get("status") or "",
        }
        for one in stripe_port().tax_ids(customer.stripe_id)
    ]


def card_of(method: Json) -> dict[str, Any] | None:
    """What may be shown of a card."""
    card = method.get("card")
    return {name: card[name] for name in ("brand", "last4", "exp_month", "exp_year")} if card else None


def subscription_mirror(customer: BillingCustomer, subscription_id: str) -> Subscription | None:
    """Fetch a subscription and write what it says; one that is gone counts as canceled."""
    found = stripe_port().subscription_fetch(subscription_id)
    row = Subscription.objects.filter(stripe_id=subscription_id).first()
    if found is None or found["customer"] != customer.stripe_id:
        if row is not None and row.status not in ENDED:
            row.status, row.ended_at, row.fetched_at = "canceled", now(), now()
            row.save()
            change_note(row)
        return row
    row = row or Subscription(tenant_id=customer.tenant_id, stripe_id=subscription_id)
    _subscription_columns(row, found)
    row.save()
    change_note(row)
    if row.status == "trialing" and not TrialTaken.objects.filter(subscription=row.stripe_id).exists():
        outbox.ring(TRIAL_BEGUN, str(row.tenant_id), row.stripe_id)
    method = found.get("default_payment_method")
    if isinstance(method, dict) and row.status not in ENDED and card_of(method) != customer.card:
        _card_note(customer, method)
        customer.save(update_fields=["card"])
    return row


def _card_note(customer: BillingCustomer, method: Json) -> None:
    """What is shown of a card. The first one, where a trial was without any, has had its trial by that."""
    card = card_of(method)
    if card is not None and customer.card is None and TrialTaken.objects.filter(refused="").exists():
        TrialMark.objects.bulk_create(
            [
                TrialMark(kind=TrialTaken.Refused.CARD, digest=digest, organisation=customer.tenant_id)
                for digest in method_digests(method)
            ],
            ignore_conflicts=True,
        )
    customer.card = card


def _subscription_columns(row: Subscription, found: Json) -> None:
    items = items_of(found)
    item = plan_item(items)
    row.status = found["status"]
    # Seats alone, which only staff can leave at Stripe, are no plan.
    row.plan, row.plan_version = plan_of_price(item["price"]) if item is not None else ("", 0)
    row.price_id = item["price"]["id"] if item is not None else ""
    period = item or items[0]
    row.period_start = _moment(period["current_period_start"])
    row.period_end = _moment(period["current_period_end"])
    row.trial_end = _moment(found.get("trial_end"))
    row.cancel_at_period_end = bool(found["cancel_at_period_end"])
    row.cancel_at = _moment(found.get("cancel_at"))
    row.canceled_at = _moment(found.get("canceled_at"))
    row.ended_at = _moment(found.get("ended_at"))
    row.started_at = _moment(found["start_date"])
    # From the unpaid invoice, not from our clock: the same object always gives the same answer.
    latest = found.get("latest_invoice")
    late_since = period["current_period_start"]
    if isinstance(latest, dict):  # an invoice that is sent is late from its due date on, and not from the day it came
        by_mail = latest.get("collection_method") == "send_invoice"
        late_since = (latest.get("due_date") if by_mail else None) or latest["created"]
    row.past_due_since = _moment(late_since) if row.status == "past_due" else None
    row.raw = {**found, "latest_invoice": latest["id"] if isinstance(latest, dict) else latest}
    row.fetched_at = now()


def invoice_mirror(customer: BillingCustomer, invoice_id: str) -> Invoice | None:
    """Fetch an invoice and write what it says; a deleted draft goes from the mirror too."""
    found = stripe_port().invoice_fetch(invoice_id)
    row = Invoice.objects.filter(stripe_id=invoice_id).first()
    if found is None or found.get("deleted") or found["customer"] != customer.stripe_id:
        if row is not None:
            row.delete()
        return None
    row = row or Invoice(tenant_id=customer.tenant_id, stripe_id=invoice_id)
    _invoice_columns(row, found)
    row.needs_action = _tried_in_vain(found) and stripe_port().invoice_waits_for_owner(invoice_id)
    row.save()
    notes = set(CreditNote.objects.filter(invoice_id=invoice_id).values_list("stripe_id", flat=True))
    if notes or found.get("pre_payment_credit_notes_amount") or found.get("post_payment_credit_notes_amount"):
        for note_id in notes.union(stripe_port().credit_note_ids(invoice_id)):
            _note_mirror(customer, note_id)
    invoice_settle(row)
    return row


def _tried_in_vain(found: Json) -> bool:
    """Whether a card was asked for an invoice's money and did not give it."""
    by_card = found.get("collection_method") != "send_invoice"
    return bool(by_card and found["status"] == "open" and found["attempt_count"])


def _invoice_columns(row: Invoice, found: Json) -> None:
    row.subscription_id = subscription_of(found)
    row.number = found.get("number") or ""
    row.status = found["status"] or "draft"
    row.billing_reason = found.get("billing_reason") or ""
    row.currency = found["currency"]
    row.total, row.amount_due, row.amount_paid = found["total"], found["amount_due"], found["amount_paid"]
    row.attempt_count = found["attempt_count"]
    row.next_attempt_at = _moment(found.get("next_payment_attempt"))
    row.period_start, row.period_end = _moment(found["period_start"]), _moment(found["period_end"])
    moves = found["status_transitions"]
    row.issued_at = _moment(moves.get("finalized_at")) or _moment(found["created"]) or now()
    row.due_at, row.paid_at = _moment(found.get("due_date")), _moment(moves.get("paid_at"))
    row.hosted_url, row.pdf_url = found.get("hosted_invoice_url") or "", found.get("invoice_pdf") or ""
    row.lines = [line_view(line) for line in found["lines"]["data"]]
    _news(row, found)


def _news(row: Booked, found: Json) -> None:
    """Keep the object whole; where it says anything new the ledger has to be brought up to it."""
    if row.raw != found:
        row.booked_at = None
    row.raw, row.fetched_at = found, now()


def credit_note_mirror(customer: BillingCustomer, note_id: str) -> None:
    """Fetch a credit note and its invoice, which says less because of it, and write what they say."""
    note = _note_mirror(customer, note_id)
    if note is not None:
        invoice_mirror(customer, note.invoice_id)


def _note_mirror(customer: BillingCustomer, note_id: str) -> CreditNote | None:
    found = stripe_port().credit_note_fetch(note_id)
    if found is None or _id(found["customer"]) != customer.stripe_id:
        return None
    row = CreditNote.objects.filter(stripe_id=note_id).first()
    row = row or CreditNote(tenant_id=customer.tenant_id, stripe_id=note_id)
    row.invoice_id, row.number = _id(found["invoice"]), found.get("number") or ""
    row.amount = found["total"]
    _reversal_columns(row, found)
    if row.booked_at is None:  # what a void invoice takes back depends on its notes
        Invoice.objects.filter(stripe_id=row.invoice_id).update(booked_at=None)
    return row


def refund_mirror(customer: BillingCustomer, refund_id: str) -> None:
    """Fetch a refund and write what it says."""
    _charged_mirror(Refund, customer, stripe_port().refund_fetch(refund_id))


def dispute_mirror(customer: BillingCustomer, dispute_id: str) -> None:
    """Fetch a dispute and write what it says."""
    _charged_mirror(PaymentDispute, customer, stripe_port().dispute_fetch(dispute_id))


def _charged_mirror(model: type[Refund] | type[PaymentDispute], customer: BillingCustomer, found: Json | None) -> None:
    if found is None or payer_of(found) != customer.stripe_id:
        return
    row = model.objects.filter(stripe_id=found["id"]).first()
    row = row or model(tenant_id=customer.tenant_id, stripe_id=found["id"])
    row.charge_id, row.amount = _id(found.get("charge")), found["amount"]
    # The charge that came along is another object, with a life of its own.
    _reversal_columns(row, {**found, "charge": row.charge_id})


def _reversal_columns(row: Refund | CreditNote | PaymentDispute, found: Json) -> None:
    row.status, row.currency = found.get("status") or "", found["currency"]
    row.reason = (found.get("reason") or "")[:60]
    row.created_at = _moment(found["created"]) or now()
    _news(row, found)
    row.save()


def payer_of(found: Json) -> str:
    """The customer a refund or a dispute belongs to, from itself or from its charge; empty when neither says."""
    charge = found.get("charge")
    return _id(found.get("customer")) or (_id(charge.get("customer")) if isinstance(charge, dict) else "")


def _id(found: Any) -> str:
    """The id of an object that may have come whole."""
    return str((found.get("id") if isinstance(found, dict) else found) or "")


def line_view(line: Json) -> dict[str, Any]:
    """A line as pages show it: cents, and seconds since 1970."""
    return {
        "description": line.get("description") or "",
        "amount": line["amount"],
        "quantity": line.get("quantity") or 1,
        "period_start": line["period"]["start"],
        "period_end": line["period"]["end"],
    }


def subscription_of(invoice: Json) -> str:
    """The id of the subscription an invoice is for, or nothing."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    found = details.get("subscription") or ""
    return found["id"] if isinstance(found, dict) else str(found)
