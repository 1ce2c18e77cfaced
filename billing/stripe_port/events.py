"""Stripe's log of what happened, and the signed events it sends."""

import datetime as dt
from collections.abc import Iterator

from billing.errors import PaymentsClosed, SignatureWrong
from billing.event_body import event_of
from billing.stripe_port.border import NOT_SIGNED, PAGE, Face, Json, border, plain, signature_check


class Events(Face):
    """What Stripe tells."""

    def events_since(self, moment: dt.datetime) -> Iterator[Json]:
        """Stripe's own log from a moment on, newest first (it keeps 30 days)."""
        with border():
            found = self.v1.events.list({"created": {"gte": int(moment.timestamp())}, "limit": PAGE})
            for event in found.auto_paging_iter():
                yield plain(event)

    @staticmethod
    def webhook_read(body: bytes, signature: str | None, secret: str) -> Json:
        """The event of a webhook's raw body, once its signature holds; SignatureWrong otherwise."""
        if not secret:
            raise PaymentsClosed
        signature_check(body, signature or "", secret)
        try:
            return event_of(body)
        except ValueError as error:
            raise SignatureWrong(NOT_SIGNED) from error
