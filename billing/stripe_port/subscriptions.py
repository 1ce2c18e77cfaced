"""Subscriptions: looked up, moved to another price, ended."""

from billing.errors import StripeMissing
from billing.stripe_port.border import PAGE, Face, Json, border, plain


class Subscriptions(Face):
    """Plans that run."""

    def subscription_fetch(self, subscription_id: str) -> Json | None:
        """A subscription with its latest invoice and card, or None when Stripe has none of this id."""
        try:
            with border():
                return plain(
                    self.v1.subscriptions.retrieve(
                        subscription_id, {"expand": ["latest_invoice", "default_payment_method"]}
                    )
                )
        except StripeMissing:
            return None

    def subscription_ids(self, customer_id: str) -> list[str]:
        """All subscriptions of a customer, ended ones included."""
        with border():
            found = self.v1.subscriptions.list({"customer": customer_id, "status": "all", "limit": PAGE})
            return [subscription.id for subscription in found.auto_paging_iter()]

    def subscription_change(
        self, subscription_id: str, *, item_id: str, price_id: str, metadata: dict[str, str]
    ) -> None:
        """Move to another price now, prorated and charged at once; CardRefused leaves everything as it was."""
        with border():
            self.v1.subscriptions.update(
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
        with border():
            self.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": at_period_end})
