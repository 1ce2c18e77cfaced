"""Stripe's log of what happened, and the signed events it sends."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from billing.errors import PaymentsClosed, SignatureWrong
from billing.event_body import event_of
from billing.stripe_port.border import NOT_SIGNED, PAGE, Face, Json, border, plain, signature_check

WANTED = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "checkout.session.completed",
    "checkout.session.expired",
    "credit_note.created",
    "credit_note.updated",
    "credit_note.voided",
    "customer.created",
    "customer.deleted",
    "customer.updated",
    "customer.tax_id.created",
    "customer.tax_id.deleted",
    "customer.tax_id.updated",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.updated",
    "invoice.voided",
    "payment_method.attached",
    "payment_method.automatically_updated",
    "payment_method.detached",
    "payment_method.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
)
"""What an endpoint is told of: all that leads to an object we keep."""


class Events(Face):
    """What Stripe tells."""

    def events_since(self, moment: dt.datetime) -> Iterator[Json]:
        """Stripe's own log from a moment on, newest first (it keeps 30 days)."""
        with border():
            found = self.v1.events.list({"created": {"gte": int(moment.timestamp())}, "limit": PAGE})
            for event in found.auto_paging_iter():
                yield plain(event)

    def endpoints(self) -> list[Json]:
        """Where the account sends its events."""
        with border():
            found = self.v1.webhook_endpoints.list({"limit": PAGE})
            return [plain(endpoint) for endpoint in found.auto_paging_iter()]

    def endpoint_make(self, url: str, *, version: str) -> Json:
        """Have all events that we look at sent somewhere, as one version of the API says them; with its `secret`."""
        params: Any = {"url": url, "enabled_events": list(WANTED), "api_version": version}
        with border():
            return plain(self.v1.webhook_endpoints.create(params))

    def endpoint_remove(self, endpoint_id: str) -> None:
        """Send nothing there any more."""
        with border():
            self.v1.webhook_endpoints.delete(endpoint_id)

    @staticmethod
    def webhook_read(body: bytes, signature: str | None, *secrets: str) -> Json:
        """The event of a webhook's raw body, once its signature holds with one of the secrets (snapshots and thin
        events come under different ones); SignatureWrong otherwise."""
        known = [secret for secret in secrets if secret]
        if not known:
            raise PaymentsClosed
        for secret in known:
            try:
                signature_check(body, signature or "", secret)
                break
            except SignatureWrong:
                if secret == known[-1]:
                    raise
        try:
            return event_of(body)
        except ValueError as error:
            raise SignatureWrong(NOT_SIGNED) from error
