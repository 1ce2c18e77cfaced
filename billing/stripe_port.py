"""The one door to Stripe, and the only module that imports it: once it is used, for every process of the product
imports this module, few of them ever pay, and the client with what it brings is a tenth of their start.

Small typed methods over the official client: answers are plain JSON-able dicts, errors are ours, writes carry an
idempotency key where a retry could do harm. In development its address is the local emulator's.
"""

import contextlib
import datetime as dt
import functools
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings

from billing.errors import CardRefused, PaymentsAway, PaymentsClosed, SignatureWrong, StripeMissing, StripeRefused
from billing.event_body import event_of

if TYPE_CHECKING:
    import stripe

logger = logging.getLogger(__name__)

TIMEOUT = 8.0
"""Seconds; a page waits no longer for the provider."""
RETRIES = 2
TOLERANCE = 300
"""Seconds a webhook's signature stays good."""
PAGE = 100

Json = dict[str, Any]


@functools.cache
def stripe_port() -> "StripePort":
    """The process's port; PaymentsClosed when no key is set."""
    if not settings.STRIPE_SECRET_KEY:
        raise PaymentsClosed
    return StripePort(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@contextlib.contextmanager
def _border() -> Iterator[None]:
    """Stripe's errors become ours here and nowhere else."""
    import stripe

    try:
        yield
    except stripe.CardError as error:
        raise CardRefused(
            f"The card was refused: {error.user_message or 'the bank gave no reason'} Nothing was charged; "
            "use another card or ask your bank.",
            code=error.code,
        ) from error
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing" or error.http_status == 404:
            raise StripeMissing(f"The payment provider knows no such object ({error.param}).") from error
        logger.error("stripe refused a request: %s (param %s)", error.user_message, error.param)
        raise StripeRefused(f"The payment provider refused this: {error.user_message}", param=error.param) from error
    except stripe.IdempotencyError as error:
        raise StripeRefused("The same payment request is already under way with other values.") from error
    except stripe.StripeError as error:
        logger.warning("stripe is away: %s", type(error).__name__)
        raise PaymentsAway from error


def _plain(obj: "stripe.StripeObject") -> Json:
    return obj.to_dict(for_json=True)


class StripePort:
    """Stripe, as far as this product uses it. Amounts are cents."""

    def __init__(self, key: str, base: str = "") -> None:
        import stripe

        self._client = stripe.StripeClient(
            key,
            base_addresses={"api": base, "files": base, "connect": base, "meter_events": base} if base else {},
            max_network_retries=RETRIES,
            http_client=stripe.RequestsClient(timeout=TIMEOUT),
        )
        self._v1 = self._client.v1

    # Customers

    def customer_create(self, tenant_id: UUID) -> str:
        """A customer for a tenant; its id. Repeated within a day it is the same one."""
        with _border():
            customer = self._v1.customers.create(
                {"metadata": {"tenant_id": str(tenant_id)}}, {"idempotency_key": f"customer-{tenant_id}"}
            )
        return customer.id

    def customer_describe(self, customer_id: str, *, email: str, name: str) -> None:
        """Tell Stripe what to print on invoices."""
        with _border():
            self._v1.customers.update(customer_id, {"email": email, "name": name})

    def customer_fetch(self, customer_id: str) -> Json | None:
        """The customer with its default card, or None when it was deleted."""
        with _border():
            customer = _plain(
                self._v1.customers.retrieve(customer_id, {"expand": ["invoice_settings.default_payment_method"]})
            )
        return None if customer.get("deleted") else customer

    # Checkout and portal

    def checkout_create(
        self, *, customer_id: str, price_id: str, success_url: str, cancel_url: str, metadata: dict[str, str]
    ) -> Json:
        """A Checkout session for a subscription; its `url` is where the buyer goes."""
        with _border():
            return _plain(
                self._v1.checkout.sessions.create(
                    {
                        "mode": "subscription",
                        "customer": customer_id,
                        "line_items": [{"price": price_id, "quantity": 1}],
                        "success_url": success_url,
                        "cancel_url": cancel_url,
                        "client_reference_id": metadata["tenant_id"],
                        "metadata": metadata,
                        "subscription_data": {"metadata": metadata},
                    }
                )
            )

    def checkout_fetch(self, session_id: str) -> Json:
        """A Checkout session."""
        with _border():
            return _plain(self._v1.checkout.sessions.retrieve(session_id))

    def checkouts_expire(self, customer_id: str) -> None:
        """Close the customer's open sessions, so that two of them can never both be paid."""
        with _border():
            found = self._v1.checkout.sessions.list({"customer": customer_id, "status": "open", "limit": PAGE})
            for session in found.auto_paging_iter():
                self._v1.checkout.sessions.expire(session.id)

    def portal_create(self, *, customer_id: str, return_url: str) -> str:
        """The address of the customer's billing portal, good for a short while."""
        with _border():
            return self._v1.billing_portal.sessions.create({"customer": customer_id, "return_url": return_url}).url

    # Subscriptions

    def subscription_fetch(self, subscription_id: str) -> Json | None:
        """A subscription with its latest invoice and card, or None when Stripe has none of this id."""
        try:
            with _border():
                return _plain(
                    self._v1.subscriptions.retrieve(
                        subscription_id, {"expand": ["latest_invoice", "default_payment_method"]}
                    )
                )
        except StripeMissing:
            return None

    def subscription_ids(self, customer_id: str) -> list[str]:
        """All subscriptions of a customer, ended ones included."""
        with _border():
            found = self._v1.subscriptions.list({"customer": customer_id, "status": "all", "limit": PAGE})
            return [subscription.id for subscription in found.auto_paging_iter()]

    def subscription_change(
        self, subscription_id: str, *, item_id: str, price_id: str, metadata: dict[str, str]
    ) -> None:
        """Move to another price now, prorated and charged at once; CardRefused leaves everything as it was."""
        with _border():
            self._v1.subscriptions.update(
                subscription_id,
                {
                    "items": [{"id": item_id, "price": price_id}],
                    "proration_behavior": "always_invoice",
                    "payment_behavior": "error_if_incomplete",
                    "cancel_at_period_end": False,
                    "metadata": metadata,
                },
            )

    def subscription_cancel(self, subscription_id: str, *, at_period_end: bool) -> None:
        """End with the running period, or (False) take that back."""
        with _border():
            self._v1.subscriptions.update(subscription_id, {"cancel_at_period_end": at_period_end})

    # Invoices

    def invoice_fetch(self, invoice_id: str) -> Json | None:
        """An invoice with all its lines, or None when Stripe has none of this id."""
        try:
            with _border():
                invoice = _plain(self._v1.invoices.retrieve(invoice_id))
                if invoice["lines"]["has_more"]:  # only the first ten come along
                    lines = self._v1.invoices.line_items.list(invoice_id, {"limit": PAGE})
                    invoice["lines"]["data"] = [_plain(line) for line in lines.auto_paging_iter()]
        except StripeMissing:
            return None
        return invoice

    def invoice_ids(self, customer_id: str) -> list[str]:
        """All invoices of a customer."""
        with _border():
            found = self._v1.invoices.list({"customer": customer_id, "limit": PAGE})
            return [invoice.id for invoice in found.auto_paging_iter()]

    def change_preview(self, subscription_id: str, *, item_id: str, price_id: str) -> Json:
        """What moving to another price would charge now."""
        with _border():
            return _plain(
                self._v1.invoices.create_preview(
                    {
                        "subscription": subscription_id,
                        "subscription_details": {
                            "items": [{"id": item_id, "price": price_id}],
                            "proration_behavior": "always_invoice",
                        },
                    }
                )
            )

    def upcoming_fetch(self, subscription_id: str) -> Json | None:
        """The next invoice as it would be now, or None when none will come."""
        try:
            with _border():
                return _plain(self._v1.invoices.create_preview({"subscription": subscription_id}))
        except StripeMissing:
            return None

    def invoice_item_add(
        self,
        *,
        customer_id: str,
        amount_cents: int,
        currency: str,
        description: str,
        period: tuple[dt.datetime, dt.datetime],
        metadata: dict[str, str],
        idempotency_key: str,
        subscription_id: str = "",
    ) -> str:
        """One line for the customer's next invoice; its id. The key makes a retry harmless for a day.

        No coupon takes anything off it: coupons are for plans, and what a plan includes of usage is a line of its own,
        which a discount on the usage alone would turn into a gift.
        """
        params: Any = {
            "customer": customer_id,
            "amount": amount_cents,
            "currency": currency,
            "description": description,
            "discountable": False,
            "period": {"start": int(period[0].timestamp()), "end": int(period[1].timestamp())},
            "metadata": metadata,
        }
        if subscription_id:
            params["subscription"] = subscription_id
        with _border():
            return self._v1.invoice_items.create(params, {"idempotency_key": idempotency_key}).id

    def invoice_create(self, *, customer_id: str, by_mail: bool, metadata: dict[str, str], idempotency_key: str) -> str:
        """An invoice of the lines that wait, charged to the card or sent with 30 days to pay; its id."""
        params: Any = {
            "customer": customer_id,
            "auto_advance": True,
            "pending_invoice_items_behavior": "include",
            "collection_method": "send_invoice" if by_mail else "charge_automatically",
            "metadata": metadata,
        }
        if by_mail:
            params["days_until_due"] = 30
        with _border():
            return self._v1.invoices.create(params, {"idempotency_key": idempotency_key}).id

    def invoice_items(self, customer_id: str) -> list[Json]:
        """All of the customer's invoice items, waiting or invoiced, newest first."""
        with _border():
            found = self._v1.invoice_items.list({"customer": customer_id, "limit": PAGE})
            return [_plain(item) for item in found.auto_paging_iter()]

    # What goes back

    def charges(self, customer_id: str) -> list[Json]:
        """All charges of a customer; they say whether something was refunded or disputed."""
        with _border():
            found = self._v1.charges.list({"customer": customer_id, "limit": PAGE})
            return [_plain(charge) for charge in found.auto_paging_iter()]

    def refund_fetch(self, refund_id: str) -> Json | None:
        """A refund with its charge, or None when Stripe has none of this id."""
        try:
            with _border():
                return _plain(self._v1.refunds.retrieve(refund_id, {"expand": ["charge"]}))
        except StripeMissing:
            return None

    def refund_ids(self, charge_id: str) -> list[str]:
        """All refunds of a charge."""
        with _border():
            found = self._v1.refunds.list({"charge": charge_id, "limit": PAGE})
            return [refund.id for refund in found.auto_paging_iter()]

    def dispute_fetch(self, dispute_id: str) -> Json | None:
        """A dispute with its charge, or None when Stripe has none of this id."""
        try:
            with _border():
                return _plain(self._v1.disputes.retrieve(dispute_id, {"expand": ["charge"]}))
        except StripeMissing:
            return None

    def dispute_ids(self, charge_id: str) -> list[str]:
        """All disputes of a charge."""
        with _border():
            found = self._v1.disputes.list({"charge": charge_id, "limit": PAGE})
            return [dispute.id for dispute in found.auto_paging_iter()]

    def credit_note_fetch(self, note_id: str) -> Json | None:
        """A credit note, or None when Stripe has none of this id."""
        try:
            with _border():
                return _plain(self._v1.credit_notes.retrieve(note_id))
        except StripeMissing:
            return None

    def credit_note_ids(self, invoice_id: str) -> list[str]:
        """All credit notes of an invoice, void ones included."""
        with _border():
            found = self._v1.credit_notes.list({"invoice": invoice_id, "limit": PAGE})
            return [note.id for note in found.auto_paging_iter()]

    # Catalogue

    def product_ensure(self, product_id: str, *, name: str, description: str) -> str:
        """The product of a plan, made once under our own id."""
        try:
            with _border():
                self._v1.products.update(product_id, {"name": name, "description": description})
        except StripeMissing:
            with _border():
                self._v1.products.create({"id": product_id, "name": name, "description": description})
        return product_id

    def price_ensure(
        self, *, lookup_key: str, product_id: str, cents: int, currency: str, interval: str, metadata: dict[str, str]
    ) -> str:
        """The price of a plan version, found by its lookup key or made; its id."""
        with _border():
            for price in self._v1.prices.list({"lookup_keys": [lookup_key], "active": True}).data:
                if price.unit_amount != cents or price.currency != currency:
                    raise StripeRefused(
                        f"Stripe's price {lookup_key} is {price.unit_amount} {price.currency}, the plan file says "
                        f"{cents} {currency}. Publish a new plan version instead of changing one."
                    )
                return price.id
            params: Any = {
                "product": product_id,
                "unit_amount": cents,
                "currency": currency,
                "recurring": {"interval": interval},
                "lookup_key": lookup_key,
                "metadata": metadata,
            }
            return self._v1.prices.create(params, {"idempotency_key": f"price-{lookup_key}-{cents}-{currency}"}).id

    # Events

    def events_since(self, moment: dt.datetime) -> Iterator[Json]:
        """Stripe's own log from a moment on, newest first (it keeps 30 days)."""
        with _border():
            found = self._v1.events.list({"created": {"gte": int(moment.timestamp())}, "limit": PAGE})
            for event in found.auto_paging_iter():
                yield _plain(event)

    @staticmethod
    def webhook_read(body: bytes, signature: str | None, secret: str) -> Json:
        """The event of a webhook's raw body, once its signature holds; SignatureWrong otherwise."""
        if not secret:
            raise PaymentsClosed
        import stripe

        try:
            stripe.WebhookSignature.verify_header(body.decode("utf-8"), signature or "", secret, TOLERANCE)
            return event_of(body)
        except (stripe.SignatureVerificationError, UnicodeDecodeError, ValueError, IndexError) as error:
            raise SignatureWrong(
                "The signature does not fit the body. Check the endpoint's signing secret and the server's clock."
            ) from error
