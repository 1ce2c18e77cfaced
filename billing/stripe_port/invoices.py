"""Invoices, the lines that wait for one, and what one would say."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, cast

from billing.errors import StripeMissing
from billing.stripe_port.border import PAGE, Face, Json, border, plain, write
from kit.money import HOUSE

INTENTS = "payments.data.payment.payment_intent"


def _intents(invoice: Json) -> list[Json]:
    """The attempts to pay an invoice, of one that was fetched with INTENTS."""
    payments = (invoice.get("payments") or {}).get("data") or []
    found = [(payment.get("payment") or {}).get("payment_intent") for payment in payments]
    return [intent for intent in found if isinstance(intent, dict)]


class Invoices(Face):
    """What is asked for. Amounts are cents."""

    def invoice_fetch(self, invoice_id: str) -> Json | None:
        """An invoice with all its lines, or None when Stripe has none of this id."""
        try:
            with border():
                invoice = plain(self.v1.invoices.retrieve(invoice_id))
                if invoice["lines"]["has_more"]:  # only the first ten come along
                    lines = self.v1.invoices.line_items.list(invoice_id, {"limit": PAGE})
                    invoice["lines"]["data"] = [plain(line) for line in lines.auto_paging_iter()]
        except StripeMissing:
            return None
        return invoice

    def invoice_waits_for_owner(self, invoice_id: str) -> bool:
        """Whether the bank wants the card's owner to confirm the payment (3-D Secure) before it takes place."""
        with border():
            invoice = plain(self.v1.invoices.retrieve(invoice_id, {"expand": [INTENTS]}))
        return any(intent["status"] == "requires_action" for intent in _intents(invoice))

    def receipt_url(self, invoice_id: str) -> str:
        """Where the receipt of an invoice's payment is; empty where no card or bank account paid it."""
        with border():
            intents = _intents(plain(self.v1.invoices.retrieve(invoice_id, {"expand": [INTENTS]})))
            paid = next((intent for intent in intents if intent["status"] == "succeeded"), {})
            charge = paid.get("latest_charge")
            found = plain(self.v1.charges.retrieve(charge)) if isinstance(charge, str) else {}
        return str(found.get("receipt_url") or "")

    def invoice_ids(self, customer_id: str) -> list[str]:
        """All invoices of a customer."""
        with border():
            found = self.v1.invoices.list({"customer": customer_id, "limit": PAGE})
            return [invoice.id for invoice in found.auto_paging_iter()]

    def invoices_since(self, moment: dt.datetime) -> Iterator[Json]:
        """The invoices of all customers made since a moment, newest first."""
        with border():
            found = self.v1.invoices.list({"created": {"gte": int(moment.timestamp())}, "limit": PAGE})
            for invoice in found.auto_paging_iter():
                yield plain(invoice)

    def change_preview(self, subscription_id: str, *, items: list[Json]) -> Json:
        """What changing items would charge now; they are those of `subscription_change`."""
        with border():
            return plain(
                self.v1.invoices.create_preview(
                    {
                        "subscription": subscription_id,
                        "subscription_details": {
                            "items": cast("Any", items),
                            "proration_behavior": "always_invoice",
                        },
                    }
                )
            )

    def upcoming_fetch(self, subscription_id: str) -> Json | None:
        """The next invoice as it would be now, or None when none will come."""
        try:
            with border():
                return plain(self.v1.invoices.create_preview({"subscription": subscription_id}))
        except StripeMissing:
            return None

    def invoice_item_add(
        self,
        *,
        customer_id: str,
        amount_cents: int,
        currency: str,
        description: str,
        period: list[int],
        metadata: dict[str, str],
        key: str,
        subscription_id: str = "",
    ) -> str:
        """One line for the customer's next invoice; its id. Its period is two seconds since 1970.

        No coupon takes anything off it: coupons are for plans, and what a plan includes of usage is a line of its own,
        which a discount on the usage alone would turn into a gift.
        """
        params: Any = {
            "customer": customer_id,
            "amount": amount_cents,
            "currency": currency,
            "description": description,
            "discountable": False,
            "period": {"start": period[0], "end": period[1]},
            "metadata": metadata,
        }
        if subscription_id:
            params["subscription"] = subscription_id
        with border():
            return self.v1.invoice_items.create(params, cast("Any", write(key))).id

    def invoice_create(
        self,
        *,
        customer_id: str,
        by_mail: bool,
        metadata: dict[str, str],
        key: str,
        currency: str = "",
        card_id: str = "",
        subscription_id: str = "",
    ) -> str:
        """An invoice of the lines that wait for no subscription, or of those for one, charged to a card (the
        customer's, unless one is named) or sent with 30 days to pay; its id. In a currency, which a customer that has
        bought nothing yet has none of by itself."""
        params: Any = {
            "customer": customer_id,
            "auto_advance": True,
            "pending_invoice_items_behavior": "include",
            "collection_method": "send_invoice" if by_mail else "charge_automatically",
            "metadata": metadata,
        }
        if currency:
            params["currency"] = currency
        if by_mail:
            params["days_until_due"] = 30
        elif card_id:
            params["default_payment_method"] = card_id
        if subscription_id:
            params["subscription"] = subscription_id
        with border():
            return self.v1.invoices.create(params, cast("Any", write(key))).id

    def invoice_items(self, customer_id: str) -> list[Json]:
        """All of the customer's invoice items, waiting or invoiced, newest first."""
        with border():
            found = self.v1.invoice_items.list({"customer": customer_id, "limit": PAGE})
            return [plain(item) for item in found.auto_paging_iter()]

    def items_waiting(self, customer_id: str) -> list[Json]:
        """The customer's invoice items that are on no invoice."""
        with border():
            found = self.v1.invoice_items.list({"customer": customer_id, "pending": True, "limit": PAGE})
            return [plain(item) for item in found.auto_paging_iter()]

    def invoice_alone(
        self,
        *,
        customer_id: str,
        amount_cents: int,
        description: str,
        days: int,
        fields: dict[str, str],
        metadata: dict[str, str],
        key: str,
        begun: Json | None = None,
        currency: str = HOUSE,
    ) -> Json:
        """An invoice of one line that takes nothing along which waits, sent by mail with so many days to pay.

        `fields` stand on it beside the lines (at most four; 40 characters of a name, 140 of a value). The key makes a
        retry of any of its four calls harmless for a day; what an earlier try left there, which `invoice_marked` finds,
        is gone on from (`begun`): a draft without a line, or with just this one, or an open one that may not be sent.
        """
        params: Any = {
            "customer": customer_id,
            "currency": currency,
            "auto_advance": False,  # or Stripe would close it after an hour, also where its line never came
            "pending_invoice_items_behavior": "exclude",
            "collection_method": "send_invoice",
            "days_until_due": days,
            "custom_fields": [{"name": name[:40], "value": value[:140]} for name, value in fields.items()],
            "metadata": metadata,
        }
        item: Any = {
            "customer": customer_id,
            "amount": amount_cents,
            "currency": currency,
            "description": description,
            "discountable": False,
            "metadata": metadata,
        }
        with border():
            made = begun or plain(self.v1.invoices.create(params, cast("Any", write(key))))
            if made["status"] == "draft":
                if not made["lines"]["data"]:
                    item["invoice"] = made["id"]
                    self.v1.invoice_items.create(item, cast("Any", write(f"{key}-line")))
                # From here on Stripe may remind.
                final: Any = {"auto_advance": True}
                self.v1.invoices.finalize_invoice(made["id"], final, cast("Any", write(f"{key}-final")))
            return plain(self.v1.invoices.send_invoice(made["id"], {}, cast("Any", write(f"{key}-send"))))

    def invoice_paid_outside(self, invoice_id: str, *, key: str) -> Json:
        """Mark what is left of an invoice as paid past Stripe, by bank transfer for example."""
        params: Any = {"paid_out_of_band": True}
        with border():
            return plain(self.v1.invoices.pay(invoice_id, params, cast("Any", write(key))))

    def invoice_marked(self, customer_id: str, name: str, value: str) -> Json | None:
        """The customer's newest invoice that carries a mark in its metadata, if one does."""
        with border():
            found = self.v1.invoices.list({"customer": customer_id, "limit": PAGE})
            for invoice in found.auto_paging_iter():
                one = plain(invoice)
                if (one.get("metadata") or {}).get(name) == value:
                    return one
        return None
