"""Money of a purchase of credit that goes back takes the credit along, and brings it again when it comes again.

By difference, like everything that is booked of Stripe's objects: from all refunds and disputes of a purchase as they
stand now, so that each counts once, in whatever order they are heard of. In the tenant's scope, under `money_lock`.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import cast

from django.db import transaction

from billing.errors import PaymentsAway, PaymentsClosed
from billing.models import CreditDraw, CreditGrant, PaymentDispute, Refund, StripeCommand
from billing.models.ledger import Account
from billing.selectors.bookings import booked_for
from billing.selectors.paid_back import BOOKED, returned_left
from billing.selectors.subscriptions import customer_current
from billing.services.credits import credits_apply, settled_undo
from billing.services.effects import funds_changed
from billing.services.locks import ledger_lock
from billing.services.mirror import invoice_mirror
from billing.services.posting import ledger_post
from billing.services.purchases import purchase_credit
from billing.services.topup_settling import topup_pause
from billing.stripe_port import stripe_port
from tenants import audit
from tenants.scope import current_tenant_id

logger = logging.getLogger(__name__)


def money_back(row: Refund | PaymentDispute) -> bool:
    """Find the credit that a refund or a dispute is about, and bring its wallet up to it; false where Stripe could not
    be asked, and it has to be done later."""
    grant: CreditGrant | None = row.grant
    if grant is None:
        try:
            grant = _bought_with(row)
        except (PaymentsAway, PaymentsClosed) as error:
            logger.warning("what %s was paid for is asked later: %s", row.stripe_id, error)
            return False
        if grant is None:
            return True
        row.grant = grant
        row.save(update_fields=["grant"])
    _credit_return(grant)
    return True


def _bought_with(row: Refund | PaymentDispute) -> CreditGrant | None:
    """The credit that was bought with the payment, entered now if nobody had heard of the purchase."""
    payment, customer = row.raw.get("payment_intent"), customer_current()
    if not isinstance(payment, str) or customer is None:
        return None
    bought = CreditGrant.objects.filter(kind=CreditGrant.Kind.PREPAID)
    known: CreditGrant | None = bought.filter(source=payment).first()
    asked = StripeCommand.objects.filter(operation__in=("credit_checkout", "topup_charge"))
    if known is not None or not (bought.exists() or asked.exists()):
        return known
    invoice_id = stripe_port().invoice_of_payment(payment)
    topped_up = bought.filter(source=invoice_id)
    if invoice_id and not topped_up.exists():
        invoice_mirror(customer, invoice_id)  # which credits it
    if topped_up.exists():
        return cast("CreditGrant", topped_up.get())
    session = stripe_port().checkout_of_payment(payment)
    mine = session is not None and session["customer"] == customer.stripe_id
    return purchase_credit(session) if session is not None and mine else None


def _credit_return(grant: CreditGrant) -> None:
    tenant_id = current_tenant_id()
    ledger_lock(tenant_id)
    entries = returned_left(grant)
    if not entries:
        return
    _, before = booked_for(BOOKED, str(grant.pk))
    made = ledger_post(
        kind=BOOKED,
        key=str(grant.pk) if not before else f"{grant.pk}/{before + 1}",
        entries=entries,
        memo="Credit whose payment went back",
        detail={"source": grant.source},
    )
    nano = entries.get(Account.PREPAID, 0)
    if nano:
        CreditDraw.objects.create(grant=grant, transaction=made, kind=CreditDraw.Kind.RETURNED, amount_nano=nano)
        audit.record(action="credit.returned", target=grant, after={"amount_nano": nano}, actor=audit.SYSTEM)
        if nano < 0:
            settled_undo()
            credits_apply()
        else:
            topup_pause()
        transaction.on_commit(partial(funds_changed, tenant_id))
