"""The objects of the API, one module per family. Importing this package registers them all."""

from billing.stripe_emulator.nouns import (  # noqa: F401
    authentication,
    balance,
    catalogue,
    checkout,
    coupons,
    credit_notes,
    customer_calls,
    disputes,
    dunning,
    endpoints,
    invoice_calls,
    invoice_items,
    payment_methods,
    payments,
    pending_updates,
    portal,
    refunds,
    renewals,
    subscription_calls,
)
