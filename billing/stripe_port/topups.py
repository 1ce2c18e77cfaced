"""Invoices for credit that are charged at once to a saved card, and ending one that was not paid."""

from typing import Any, cast

from billing.errors import CardRefused, StripeMissing, StripeRefused
from billing.stripe_port.border import Face, Json, border, plain, write
from kit.money import HOUSE

CONFIRM = ("invoice_payment_intent_requires_action", "authentication_required")
"""Stripe's words for a card whose owner has to confirm the payment first (3-D Secure)."""


class TopUps(Face):
    """What is asked for. Amounts are cents."""

    def topup_charge(
        self, *, customer_id: str, card_id: str, amount_cents: int, description: str, metadata: Json, key: str,
        currency: str = HOUSE,
    ) -> Json:  # fmt: skip
        """An invoice of one line, closed and charged now while nobody is there: {"invoice", "status", "url"}, and where
        the charge was refused its "code" and "message". Stripe never tries it again by itself.

        Each of the four writes has a key of its own, so that whoever died between any two goes on from there.
        """
        params: Any = {
            "customer": customer_id,
            "currency": currency,
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "collection_method": "charge_automatically",
            "metadata": metadata,
        }
        if card_id:
            params["default_payment_method"] = card_id
        item: Any = {
            "customer": customer_id,
            "amount": amount_cents,
            "currency": currency,
            "description": description,
            "discountable": False,
            "metadata": metadata,
        }
        with border():
            made = self.v1.invoices.create(params, cast("Any", write(key))).id
            item["invoice"] = made
            self.v1.invoice_items.create(item, cast("Any", write(f"{key}/line")))
            self.v1.invoices.finalize_invoice(made, {"auto_advance": False}, cast("Any", write(f"{key}/final")))
        code = message = ""
        try:
            with border():
                self.v1.invoices.pay(made, {"off_session": True}, cast("Any", write(f"{key}/pay")))
        except CardRefused as error:
            code, message = error.code or "card_declined", error.message
        except StripeRefused as error:  # "already paid" among them, which the invoice itself says below
            code, message = error.code or "refused", error.message
        with border():
            found = self.v1.invoices.retrieve(made)
        paid = found.status == "paid"  # perhaps by its owner, while we asked
        refused = {} if paid else {"code": code, "message": message}
        return {"invoice": made, "status": found.status, "url": found.hosted_invoice_url or "", **refused}

    def invoice_end(self, invoice_id: str, *, key: str) -> str:
        """See to it that an invoice cannot be paid any more; its state then: `deleted`, `void`, or `paid` where it was
        faster."""
        try:
            with border():
                found = plain(self.v1.invoices.retrieve(invoice_id))
                if found["status"] == "draft":
                    self.v1.invoices.delete(invoice_id)
                    return "deleted"
                if found["status"] in ("open", "uncollectible"):
                    found = plain(self.v1.invoices.void_invoice(invoice_id, {}, cast("Any", write(key))))
        except StripeMissing:
            return "deleted"
        except StripeRefused:
            with border():
                found = plain(self.v1.invoices.retrieve(invoice_id))
            if found["status"] not in ("paid", "void"):
                raise
        return str(found["status"])

    def invoice_of_payment(self, payment_intent: str) -> str:
        """The id of the invoice that a payment was made for; empty where it was for none."""
        params: Any = {"payment": {"type": "payment_intent", "payment_intent": payment_intent}, "limit": 1}
        with border():
            found = self.v1.invoice_payments.list(params).data
        return str(plain(found[0])["invoice"]) if found else ""
