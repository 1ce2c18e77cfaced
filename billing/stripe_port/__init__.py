"""The one door to Stripe, in faces by subject. Small typed methods over the official client: answers are plain
JSON-able dicts, errors are ours, writes carry an idempotency key where a retry could do harm.
"""

import functools

from django.conf import settings

from billing.errors import PaymentsClosed
from billing.stripe_port.border import Json
from billing.stripe_port.catalogue import Catalogue
from billing.stripe_port.checkout import Checkouts
from billing.stripe_port.customers import Customers
from billing.stripe_port.events import Events
from billing.stripe_port.invoices import Invoices
from billing.stripe_port.meters import Meters
from billing.stripe_port.payments import Payments
from billing.stripe_port.subscriptions import Subscriptions
from billing.stripe_port.topups import TopUps

__all__ = ["Json", "StripePort", "stripe_port"]


class StripePort(Customers, Checkouts, Subscriptions, Invoices, TopUps, Payments, Catalogue, Meters, Events):
    """Stripe, as far as this product uses it. Amounts are cents."""


@functools.cache
def stripe_port() -> StripePort:
    """The process's port; PaymentsClosed when no key is set."""
    if not settings.STRIPE_SECRET_KEY:
        raise PaymentsClosed
    return StripePort(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)
