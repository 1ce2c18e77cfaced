"""Invoices, the lines that wait for one, and what one would say."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, cast

from billing.errors import StripeMissing
from billing.stripe_port.border import PAGE, Face, Json, border, plain, write


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

    def customer_invoices(self, customer_id: str) -> list[Json]:
        """All invoices of a customer, newest first."""
        with border():
            found = self.v1.invoices.list({"customer": customer_id, "limit": PAGE})
            return [plain(invoice) for invoice in found.auto_paging_iter()]

    def change_preview(self, subscription_id: str, *, item_id: str, price_id: str, drop: str = "") -> Json:
        """What moving to another price would charge now; the item `drop` would go with it."""
        gone = [{"id": drop, "deleted": True}] if drop else []
        params: Any = {
            "subscription": subscription_id,
            "subscription_details": {
                "items": [{"id": item_id, "price": price_id}, *gone],
                "proration_behavior": "always_invoice",
            },
        }
        with border():
            return plain(self.v1.invoices.create_preview(params))

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
        self, *, customer_id: str, by_mail: bool, metadata: dict[str, str], key: str, card_id: str = ""
    ) -> str:
        """An invoice of the lines that wait, charged to a card (the customer's, unless one is named) or sent with 30
        days to pay; its id."""
        params: Any = {
            "customer": customer_id,
            "auto_advance": True,
            "pending_invoice_items_behavior": "include",
            "collection_method": "send_invoice" if by_mail else "charge_automatically",
            "metadata": metadata,
        }
        if by_mail:
            params["days_until_due"] = 30
        elif card_id:
            params["default_payment_method"] = card_id
        with border():
            return self.v1.invoices.create(params, cast("Any", write(key))).id

    def invoice_items(self, customer_id: str) -> list[Json]:
        """All of the customer's invoice items, waiting or invoiced, newest first."""
        with border():
            found = self.v1.invoice_items.list({"customer": customer_id, "limit": PAGE})
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
        idempotency_key: str,
        draft: Json | None = None,
    ) -> str:
        """An invoice of one line that takes nothing along which waits, sent by mail with so many days to pay; its id.

        `fields` stand on it beside the lines (at most four; 40 characters of a name, 140 of a value). The key makes a
        retry of any of its four calls harmless for a day; afterwards `invoice_marked` finds it, and a `draft` that has
        no line yet, or just this one, is gone on from.
        """
        params: Any = {
            "customer": customer_id,
            "currency": "usd",
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
            "currency": "usd",
            "description": description,
            "discountable": False,
            "metadata": metadata,
        }
        with border():
            made = draft["id"] if draft else self.v1.invoices.create(params, {"idempotency_key": idempotency_key}).id
            if not (draft and draft["lines"]["data"]):
                item["invoice"] = made
                self.v1.invoice_items.create(item, {"idempotency_key": f"{idempotency_key}-line"})
            # From here on Stripe may remind.
            final: Any = {"auto_advance": True}
            self.v1.invoices.finalize_invoice(made, final, {"idempotency_key": f"{idempotency_key}-final"})
            self.v1.invoices.send_invoice(made, {}, {"idempotency_key": f"{idempotency_key}-send"})
        return made

    def invoice_marked(self, customer_id: str, name: str, value: str) -> Json | None:
        """The customer's newest invoice that carries a mark in its metadata, if one does."""
        with border():
            found = self.v1.invoices.list({"customer": customer_id, "limit": PAGE})
            for invoice in found.auto_paging_iter():
                one = plain(invoice)
                if (one.get("metadata") or {}).get(name) == value:
                    return one
        return None
