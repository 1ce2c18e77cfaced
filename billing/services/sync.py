"""Fetching what Stripe has of a tenant, under its lock, and deriving what follows. Run in the tenant's scope."""

from billing.models import BillingCustomer
from billing.services.entitlements import entitlement_refresh
from billing.services.locks import money_lock
from billing.services.mirror import (
    customer_mirror,
    dispute_mirror,
    invoice_mirror,
    refund_mirror,
    subscription_mirror,
)
from billing.stripe_port import stripe_port


def subscription_sync(*, customer: BillingCustomer, subscription_id: str, invoice_id: str | None = None) -> None:
    """Fetch a subscription (and an invoice) under the tenant's lock, and derive what follows."""
    money_lock(customer.tenant_id)
    customer.refresh_from_db()
    row = subscription_mirror(customer, subscription_id)
    latest = invoice_id or (row.raw.get("latest_invoice") if row is not None else None)
    if latest:
        invoice_mirror(customer, latest)
    entitlement_refresh()


def details_sync(*, customer: BillingCustomer) -> None:
    """Fetch who invoices are made out to, under the tenant's lock."""
    money_lock(customer.tenant_id)
    customer.refresh_from_db()
    customer_mirror(customer)


def customer_sync(*, customer: BillingCustomer) -> None:
    """Fetch everything of a customer again: the answer to any doubt."""
    money_lock(customer.tenant_id)
    customer.refresh_from_db()
    customer_mirror(customer)
    for subscription_id in stripe_port().subscription_ids(customer.stripe_id):
        subscription_mirror(customer, subscription_id)
    for invoice_id in stripe_port().invoice_ids(customer.stripe_id):
        invoice_mirror(customer, invoice_id)
    for charge in stripe_port().charges(customer.stripe_id):
        for refund_id in stripe_port().refund_ids(charge["id"]) if charge.get("amount_refunded") else []:
            refund_mirror(customer, refund_id)
        for dispute_id in stripe_port().dispute_ids(charge["id"]) if charge.get("disputed") else []:
            dispute_mirror(customer, dispute_id)
    entitlement_refresh()
