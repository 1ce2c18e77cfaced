"""Stripe's own pages: where a plan is bought, and where a card is changed."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, cast

from billing.errors import StripeMissing
from billing.stripe_port.border import PAGE, Face, Json, border, plain, write


class Checkouts(Face):
    """Pages of Stripe's. Amounts are cents."""

    def checkout_create(
        self,
        *,
        customer_id: str,
        price_id: str,
        success_url: str,
        cancel_url: str,
        metadata: dict[str, str],
        key: str,
        trial_days: int = 0,
        trial_card: bool = True,
        trial_at_end: str = "cancel",
        promotion_code_id: str = "",
        codes: bool = True,
    ) -> Json:
        """A Checkout session for a subscription; its `url` is where the buyer goes, and with `codes` may type a
        promotion code where none is given here.

        `trial_days` come before the first payment; without `trial_card` no card is asked for. A subscription that has
        none at the trial's end is then to `cancel` or to `pause`."""
        subscription: Any = {"metadata": metadata}
        more: Any = {"allow_promotion_codes": codes}
        if promotion_code_id:
            more = {"discounts": [{"promotion_code": promotion_code_id}]}
        if trial_days:
            subscription["trial_period_days"] = trial_days
            subscription["trial_settings"] = {"end_behavior": {"missing_payment_method": trial_at_end}}
        if trial_days and not trial_card:
            more["payment_method_collection"] = "if_required"
        params: Any = {
            "mode": "subscription",
            "customer": customer_id,
            "line_items": [{"price": price_id, "quantity": 1}],
            "success_url": success_url,
            "cancel_url": cancel_url,
            "client_reference_id": metadata["tenant_id"],
            "metadata": metadata,
            "subscription_data": subscription,
            **more,
        }
        with border():
            return plain(self.v1.checkout.sessions.create(params, cast("Any", write(key))))

    def credit_checkout_create(
        self, *, customer_id: str, amount_cents: int, currency: str, name: str, success_url: str, cancel_url: str,
        metadata: dict[str, str], key: str,
    ) -> Json:  # fmt: skip
        """A Checkout session for one payment of so many cents of a currency; its `url` is where the buyer goes."""
        line = {"currency": currency, "unit_amount": amount_cents, "product_data": {"name": name}}
        params: Any = {
            "mode": "payment",
            "customer": customer_id,
            "line_items": [{"price_data": line, "quantity": 1}],
            "success_url": success_url,
            "cancel_url": cancel_url,
            "client_reference_id": metadata["tenant_id"],
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata},
        }
        with border():
            return plain(self.v1.checkout.sessions.create(params, cast("Any", write(key))))

    def checkout_fetch(self, session_id: str) -> Json:
        """A Checkout session."""
        with border():
            return plain(self.v1.checkout.sessions.retrieve(session_id))

    def checkouts_since(self, moment: dt.datetime) -> Iterator[Json]:
        """The Checkout sessions of all customers made since a moment, newest first."""
        with border():
            found = self.v1.checkout.sessions.list({"created": {"gte": int(moment.timestamp())}, "limit": PAGE})
            for session in found.auto_paging_iter():
                yield plain(session)

    def checkout_of_payment(self, payment_intent: str) -> Json | None:
        """The Checkout session that a payment was made on, or None where it was made elsewhere."""
        try:
            with border():
                found = self.v1.checkout.sessions.list({"payment_intent": payment_intent, "limit": 1})
                return plain(found.data[0]) if found.data else None
        except StripeMissing:
            return None

    def checkouts_expire(self, customer_id: str, *, but: str) -> None:
        """Close the customer's open sessions for plans, so that two of them can never both be paid; not those of the
        command `but`, which may be one that we did not hear the answer about."""
        with border():
            found = self.v1.checkout.sessions.list({"customer": customer_id, "status": "open", "limit": PAGE})
            for session in found.auto_paging_iter():
                metadata = plain(session)["metadata"]
                if "plan" in metadata and metadata.get("command") != but:
                    self.v1.checkout.sessions.expire(session.id)

    def portal_create(self, *, customer_id: str, return_url: str) -> str:
        """The address of the customer's billing portal, good for a short while."""
        with border():
            return self.v1.billing_portal.sessions.create({"customer": customer_id, "return_url": return_url}).url
