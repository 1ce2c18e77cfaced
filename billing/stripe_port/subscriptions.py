"""Subscriptions: looked up, moved to another price, ended."""

from collections.abc import Iterator
from typing import Any, cast

from billing.errors import StripeMissing
from billing.stripe_port.border import PAGE, Face, Json, border, plain, write


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

    def subscriptions_running(self) -> Iterator[Json]:
        """The subscriptions of all customers that have not ended."""
        with border():
            for subscription in self.v1.subscriptions.list({"limit": PAGE}).auto_paging_iter():
                yield plain(subscription)

    def subscription_change(
        self,
        subscription_id: str,
        *,
        item_id: str,
        price_id: str,
        metadata: dict[str, str],
        key: str,
        at: int | None = None,
        waiting: bool = False,
        drop: str = "",
    ) -> Json:
        """Move to another price now, prorated and charged at once; CardRefused leaves everything as it was.

        `at`: the second that the proration counts from, as a preview said. `waiting`: where the payment needs its
        owner, the change waits for it (`pending_update`) instead of being refused. `drop`: an item that goes with it.
        """
        params: Any = {
            "items": [{"id": item_id, "price": price_id}, *([{"id": drop, "deleted": True}] if drop else [])],
            "proration_behavior": "always_invoice",
            "expand": ["latest_invoice"],
        }
        if at is not None:
            params["proration_date"] = at
        if waiting:  # Stripe takes nothing else together with this
            params["payment_behavior"] = "pending_if_incomplete"
        else:
            params |= {"payment_behavior": "error_if_incomplete", "cancel_at_period_end": False, "metadata": metadata}
        with border():
            return plain(self.v1.subscriptions.update(subscription_id, params, cast("Any", write(key))))

    def subscription_end(self, subscription_id: str, *, at_period_end: bool, key: str) -> Json:
        """End with the running period, or (False) take that back."""
        with border():
            return plain(
                self.v1.subscriptions.update(
                    subscription_id, {"cancel_at_period_end": at_period_end}, cast("Any", write(key))
                )
            )

    def subscription_pause(self, subscription_id: str, *, key: str) -> Json:
        """Rest: nothing is charged and nothing is given until it is resumed. What is left of the paid period is
        credited to the next invoice."""
        params: Any = {"bill_for": {"unused_time_from": {"type": "now"}}}
        with border():
            return plain(self.v1.subscriptions.pause(subscription_id, params, cast("Any", write(key))))

    def subscription_resume(self, subscription_id: str, *, key: str) -> Json:
        """Run again, with a new period from now on, once that is paid."""
        params: Any = {"payment_behavior": "resume_on_payment_success", "expand": ["latest_invoice"]}
        with border():
            return plain(self.v1.subscriptions.resume(subscription_id, params, cast("Any", write(key))))
