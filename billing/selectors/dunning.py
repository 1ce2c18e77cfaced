"""Reading what is overdue, and what may therefore not be done. In the tenant's scope."""

import dataclasses
import datetime as dt

from django.db.models import Q

from billing.errors import PaymentOverdue
from billing.ledger.stripe_books import sells_credit
from billing.models import DunningHold, Invoice, TenantEntitlement
from billing.plans.ladder import NO_JOBS, READ_ONLY, Hold, Owed, Rung, at_least, ladder
from kit.clock import now
from kit.money import price

OWED = ("open", "uncollectible")
"""An invoice that is written off is owed until it is paid, void or credited."""
UNDECIDED = ("subscription_create", "subscription_update")
"""Invoices of a start or a change that waits for its payment: Stripe voids them within a day when nobody pays."""
SILENT = "An invoice has been overdue for two weeks, so models do not answer."
A_DAY = dt.timedelta(days=1)


def owed() -> list[Owed]:
    """The scope's unpaid invoices that are overdue, or will be: a card that was refused, a due date that passes."""
    found = []
    for row in Invoice.objects.filter(status__in=OWED).only(
        "stripe_id", "raw", "amount_due", "amount_paid", "billing_reason", "issued_at", "due_at", "attempt_count"
    ):
        if left_of(row) <= 0 or sells_credit(row.raw):  # nothing was used that it asks for
            continue
        if row.raw.get("collection_method") == "send_invoice":
            since = row.due_at
        else:
            since = row.issued_at if row.attempt_count or row.status == "uncollectible" else None
            if since is not None and row.billing_reason in UNDECIDED:
                since += A_DAY
        if since is not None:
            found.append(Owed(row.stripe_id, since))
    return found


def rung_now() -> Rung:
    """Where the scope's tenant stands, from its invoices and what staff allowed."""
    valid = DunningHold.objects.filter(Q(until=None) | Q(until__gt=now()), revoked_at=None)
    return ladder(owed(), [Hold(hold.most, hold.until) for hold in valid], now())


def step_now() -> str:
    """The step of the scope's tenant, as last derived."""
    return TenantEntitlement.objects.values_list("step", flat=True).first() or ""


def reads_only() -> bool:
    """Whether the scope's tenant may only read."""
    return at_least(step_now(), READ_ONLY)


def work_check() -> None:
    """PaymentOverdue where nothing new may be started: jobs, sweeps, batches."""
    if at_least(step_now(), NO_JOBS):
        raise PaymentOverdue("An invoice is overdue, so nothing new is started.")


def calls_check() -> None:
    """PaymentOverdue where models do not answer any more."""
    if reads_only():
        raise PaymentOverdue(SILENT)


def api_check(method: str) -> None:
    """PaymentOverdue for a call that changes something, where only reading is left. A gate of `tenants.gates`."""
    if method not in ("GET", "HEAD", "OPTIONS") and reads_only():
        raise PaymentOverdue("An invoice has been overdue for two weeks, so the API only reads.")


BY_CARD, TO_CONFIRM, BY_DUE_DATE = "card", "confirm", "due"


def way_of(invoice: Invoice | None) -> str:
    """How an overdue invoice would have been paid, and so what to say of it: by a card that was refused, by one whose
    owner has to confirm the payment first, or by its due date, without a card."""
    if invoice is None:
        return BY_CARD
    if invoice.raw.get("collection_method") == "send_invoice":
        return BY_DUE_DATE
    return TO_CONFIRM if invoice.needs_action else BY_CARD


def left_of(invoice: Invoice) -> int:
    """What of an invoice is not paid, in its currency's smallest unit."""
    return int(invoice.raw.get("amount_remaining", invoice.amount_due - invoice.amount_paid))


@dataclasses.dataclass(frozen=True, slots=True)
class Overdue:
    """For the banner of every page."""

    step: str
    since: dt.datetime | None
    next_step_at: dt.datetime | None
    way: str = BY_CARD
    """What `way_of` says of the oldest overdue invoice."""
    number: str = ""
    amount: str = ""
    """What of it is not paid."""
    url: str = ""
    """The page on which it is paid or confirmed."""


def overdue() -> Overdue | None:
    """What to say on every page of the scope's tenant; None when nothing is overdue."""
    row = TenantEntitlement.objects.exclude(step="").only("step", "step_since", "until").first()
    if row is None:
        return None
    oldest = min(owed(), key=lambda one: (one.since, one.invoice), default=None)
    invoice = Invoice.objects.filter(stripe_id=oldest.invoice).first() if oldest is not None else None
    about = {}
    if invoice is not None:
        amount = price(left_of(invoice), invoice.currency)
        about = {"number": str(invoice), "amount": amount, "url": invoice.hosted_url}
    return Overdue(row.step, row.step_since, row.until, way_of(invoice), **about)
