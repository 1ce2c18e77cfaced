"""Charges, and what goes back of them: refunds, disputes, credit notes."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, cast

from billing.errors import StripeMissing
from billing.stripe_port.border import PAGE, Face, Json, border, plain, write


class Payments(Face):
    """What was paid, and what went back. Amounts are cents."""

    def charges(self, customer_id: str) -> list[Json]:
        """All charges of a customer; they say whether something was refunded or disputed."""
        with border():
            found = self.v1.charges.list({"customer": customer_id, "limit": PAGE})
            return [plain(charge) for charge in found.auto_paging_iter()]

    def charges_since(self, moment: dt.datetime) -> Iterator[Json]:
        """The charges of all customers since a moment, newest first."""
        with border():
            found = self.v1.charges.list({"created": {"gte": int(moment.timestamp())}, "limit": PAGE})
            for charge in found.auto_paging_iter():
                yield plain(charge)

    def refund_fetch(self, refund_id: str) -> Json | None:
        """A refund with its charge, or None when Stripe has none of this id."""
        try:
            with border():
                return plain(self.v1.refunds.retrieve(refund_id, {"expand": ["charge"]}))
        except StripeMissing:
            return None

    def refund_ids(self, charge_id: str) -> list[str]:
        """All refunds of a charge."""
        with border():
            found = self.v1.refunds.list({"charge": charge_id, "limit": PAGE})
            return [refund.id for refund in found.auto_paging_iter()]

    def dispute_fetch(self, dispute_id: str) -> Json | None:
        """A dispute with its charge, or None when Stripe has none of this id."""
        try:
            with border():
                return plain(self.v1.disputes.retrieve(dispute_id, {"expand": ["charge"]}))
        except StripeMissing:
            return None

    def dispute_ids(self, charge_id: str) -> list[str]:
        """All disputes of a charge."""
        with border():
            found = self.v1.disputes.list({"charge": charge_id, "limit": PAGE})
            return [dispute.id for dispute in found.auto_paging_iter()]

    def credit_note_fetch(self, note_id: str) -> Json | None:
        """A credit note, or None when Stripe has none of this id."""
        try:
            with border():
                return plain(self.v1.credit_notes.retrieve(note_id))
        except StripeMissing:
            return None

    def credit_note_make(
        self, invoice_id: str, *, amount: int, to: str, memo: str, metadata: dict[str, str], key: str
    ) -> Json:
        """Take back a part of an invoice: `to` the card, to the `balance` for the next invoices, or (`open`) off what
        is not paid yet."""
        params: Any = {"invoice": invoice_id, "amount": amount, "memo": memo, "metadata": metadata}
        if to == "card":
            params["refund_amount"] = amount
        elif to == "balance":
            params["credit_amount"] = amount
        with border():
            return plain(self.v1.credit_notes.create(params, cast("Any", write(key))))

    def credit_note_ids(self, invoice_id: str) -> list[str]:
        """All credit notes of an invoice, void ones included."""
        with border():
            found = self.v1.credit_notes.list({"invoice": invoice_id, "limit": PAGE})
            return [note.id for note in found.auto_paging_iter()]
