"""Customers: made, described, looked up."""

from uuid import UUID

from billing.stripe_port.border import Face, Json, border, plain


class Customers(Face):
    """A tenant as a payer."""

    def customer_create(self, tenant_id: UUID) -> str:
        """A customer for a tenant; its id. Repeated within a day it is the same one."""
        with border():
            customer = self.v1.customers.create(
                {"metadata": {"tenant_id": str(tenant_id)}}, {"idempotency_key": f"customer-{tenant_id}"}
            )
        return customer.id

    def customer_describe(self, customer_id: str, *, email: str, name: str) -> None:
        """Tell Stripe what to print on invoices."""
        with border():
            self.v1.customers.update(customer_id, {"email": email, "name": name})

    def customer_fetch(self, customer_id: str) -> Json | None:
        """The customer with its default card, or None when it was deleted."""
        with border():
            customer = plain(
                self.v1.customers.retrieve(customer_id, {"expand": ["invoice_settings.default_payment_method"]})
            )
        return None if customer.get("deleted") else customer
