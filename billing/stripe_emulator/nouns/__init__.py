"""The objects of the API, one module per family. Importing this package registers them all."""

from billing.stripe_emulator.nouns import (  # noqa: F401
    catalogue,
    checkout,
    coupons,
    customer_calls,
    dunning,
    endpoints,
    invoice_calls,
    invoice_items,
    payment_methods,
    payments,
    portal,
    renewals,
    subscription_calls,
)
