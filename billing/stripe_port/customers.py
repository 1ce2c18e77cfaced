"""Customers: made, described, looked up."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Any, cast

from billing.errors import StripeMissing
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

    def customer_describe(self, customer_id: str, *, name: str, address: dict[str, str], key: str) -> None:
        """What is printed on invoices from now on: name and address, whose empty parts are left out."""
        params: Any = {"name": name, "address": {part: text for part, text in address.items() if text}}
        with border():
            self.v1.customers.update(customer_id, params, cast("Any", write(key)))

    def tax_ids(self, customer_id: str) -> list[Json]:
        """The customer's tax ids, with what a check of them found."""
        with border():
            return [plain(one) for one in self.v1.customers.tax_ids.list(customer_id, {"limit": PAGE}).data]

    def tax_id_add(self, customer_id: str, *, kind: str, value: str, key: str) -> str:
        """Print a tax id on the customer's invoices from now on; its id. StripeRefused where it has not the form of
        its kind."""
        params: Any = {"type": kind, "value": value}
        with border():
            return self.v1.customers.tax_ids.create(customer_id, params, cast("Any", write(key))).id

    def tax_id_remove(self, customer_id: str, tax_id: str, *, key: str) -> None:
        """Print it no more; doing it twice changes nothing."""
        with contextlib.suppress(StripeMissing), border():
            self.v1.customers.tax_ids.delete(customer_id, tax_id, {}, cast("Any", write(key)))
