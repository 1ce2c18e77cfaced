"""The room's tables."""

from billing.models.catalogue import CatalogueEntry
from billing.models.subscriptions import (
    BillingCustomer,
    EntitlementOverride,
    Invoice,
    InvoiceLinePush,
    Subscription,
    TenantEntitlement,
)
from billing.models.webhooks import StripeEvent

__all__ = [
    "BillingCustomer",
    "CatalogueEntry",
    "EntitlementOverride",
    "Invoice",
    "InvoiceLinePush",
    "StripeEvent",
    "Subscription",
    "TenantEntitlement",
]
