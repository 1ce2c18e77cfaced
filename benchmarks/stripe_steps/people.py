"""Customers, their cards, tax ids and balance."""

from __future__ import annotations

from benchmarks.stripe_steps.step import Tour, refused, same, step


@step("customers", "customers.create")
def customer_create(t: Tour) -> None:
    """A customer has what was given, a balance of zero, and is not delinquent."""
    made = t.v1.customers.create(
        {"email": f"ada-{t.tail}@example.com", "name": f"Ada {t.tail}", "metadata": {"tenant": t.tail}}
    )
    t.memory.customer = made.id
    same((made.name, made.balance, made.delinquent), (f"Ada {t.tail}", 0, False))


@step("customers", "customers.retrieve")
def customer_retrieve(t: Tour) -> None:
    """What was written is read; an unknown id is 404."""
    same(t.v1.customers.retrieve(t.memory.customer).email, f"ada-{t.tail}@example.com")
    refused(lambda: t.v1.customers.retrieve("cus_nobody"), status=404, code="resource_missing")


@step("customers", "customers.list")
def customer_list(t: Tour) -> None:
    """An address finds its customers."""
    found = t.v1.customers.list({"email": f"ada-{t.tail}@example.com"})
    same([one.id for one in found.data], [t.memory.customer])


@step("customers", "payment_methods.attach")
def method_attach(t: Tour) -> None:
    """A card is attached to a customer, and can be his default for invoices."""
    method = t.v1.payment_methods.attach("pm_card_visa", {"customer": t.memory.customer})
    t.memory.method = method.id
    same((method.card.last4, method.customer), ("4242", t.memory.customer))
    settings = {"invoice_settings": {"default_payment_method": method.id}}
    made = t.v1.customers.update(t.memory.customer, settings)
    same(made.invoice_settings.default_payment_method, method.id)


@step("customers", "customers.payment_methods.list")
def method_list(t: Tour) -> None:
    """A customer's cards are listed."""
    found = t.v1.customers.payment_methods.list(t.memory.customer)
    same([one.id for one in found.data], [t.memory.method])


@step("customers", "customers.tax_ids.create")
def tax_id_create(t: Tour) -> None:
    """A European VAT number is taken with its country."""
    made = t.v1.customers.tax_ids.create(t.memory.customer, {"type": "eu_vat", "value": "DE123456789"})
    same((made.country, made.value), ("DE", "DE123456789"))
    t.v1.customers.tax_ids.delete(t.memory.customer, made.id)


@step("customers", "customers.balance_transactions.create")
def balance_create(t: Tour) -> None:
    """A negative transaction is credit, and is the customer's balance."""
    made = t.v1.customers.create({"name": f"Balance {t.tail}"})
    moved = t.v1.customers.balance_transactions.create(made.id, {"amount": -500, "currency": "usd"})
    same((moved.ending_balance, t.v1.customers.retrieve(made.id).balance), (-500, -500))


@step("customers", "customers.delete")
def customer_delete(t: Tour) -> None:
    """A deleted customer is answered as such, and takes no more calls."""
    made = t.v1.customers.create({"name": f"Gone {t.tail}"})
    same(t.v1.customers.delete(made.id).deleted, True)
    same(t.v1.customers.retrieve(made.id).deleted, True)
    refused(lambda: t.v1.customers.update(made.id, {"name": "x"}), status=404)


@step("customers", "customers.search")
def customer_search(t: Tour) -> None:
    """`metadata["k"]:"v"` and `email:"…"` find customers; a term without a field is refused. New ones come within a
    minute."""
    query = {"query": f'metadata["tenant"]:"{t.tail}"'}
    found = t.until(lambda: t.v1.customers.search(query).data, 90)
    same([one.id for one in found], [t.memory.customer])
    both = {"query": f'email:"ada-{t.tail}@example.com" AND -metadata["tenant"]:"nobody"'}
    same([one.id for one in t.v1.customers.search(both).data], [t.memory.customer])
    refused(lambda: t.v1.customers.search({"query": "ada"}), status=400)


@step("payments", "setup_intents.create")
def setup_create(t: Tour) -> None:
    """A card is set up for later without a payment."""
    made = t.v1.setup_intents.create(
        {
            "customer": t.memory.customer,
            "payment_method": "pm_card_visa",
            "confirm": True,
            "usage": "off_session",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
    )
    same(made.status, "succeeded")
