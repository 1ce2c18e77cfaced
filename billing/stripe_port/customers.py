"""Customers: made, described, looked up."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, cast

from billing.stripe_port.border import PAGE, Face, Json, border, plain, write


class Customers(Face):
    """A tenant as a payer."""

    def customer_create(self, tenant_id: str, *, email: str, name: str, key: str) -> str:
        """A customer for a tenant, with what to print on invoices; its id."""
        params: Any = {"metadata": {"tenant_id": tenant_id}}
        params |= {field: text for field, text in (("email", email), ("name", name)) if text}
        with border():
            return self.v1.customers.create(params, cast("Any", write(key))).id

    def customers_since(self, moment: dt.datetime) -> Iterator[Json]:
        """All customers made since a moment, newest first."""
        with border():
            found = self.v1.customers.list({"created": {"gte": int(moment.timestamp())}, "limit": PAGE})
            for customer in found.auto_paging_iter():
                yield plain(customer)

    def customer_fetch(self, customer_id: str) -> Json | None:
        """The customer with its default card, or None when it was deleted."""
        with border():
            customer = plain(
                self.v1.customers.retrieve(customer_id, {"expand": ["invoice_settings.default_payment_method"]})
            )
        return None if customer.get("deleted") else customer
