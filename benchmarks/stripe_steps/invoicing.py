"""Invoices, their items and payments, credit notes."""

from __future__ import annotations

from benchmarks.stripe_steps.step import Tour, refused, same, step


@step("invoices", "invoiceitems.create")
def item_create(t: Tour) -> None:
    """An item waits for the customer's next invoice."""
    customer = t.v1.customers.create({"name": f"Bill {t.tail}", "email": f"bill-{t.tail}@example.com"})
    t.memory.billed = customer.id
    method = t.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    t.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    made = t.v1.invoice_items.create(
        {
            "customer": customer.id,
            "amount": 1000,
            "currency": "usd",
            "description": "Setup",
            "tax_rates": [t.memory.rate],
        }
    )
    t.memory.waiting_item = made.id
    same((made.amount, made.invoice), (1000, None))


@step("invoices", "invoiceitems.update")
def item_update(t: Tour) -> None:
    """A waiting item can be changed."""
    same(t.v1.invoice_items.update(t.memory.waiting_item, {"amount": 2000}).amount, 2000)


@step("invoices", "invoiceitems.list")
def item_list(t: Tour) -> None:
    """`pending` lists what waits."""
    found = t.v1.invoice_items.list({"customer": t.memory.billed, "pending": True})
    same([one.id for one in found.data], [t.memory.waiting_item])


@step("invoices", "invoices.create")
def invoice_create(t: Tour) -> None:
    """An invoice that includes what waits is a draft with its lines, and tax on top."""
    made = t.v1.invoices.create({"customer": t.memory.billed, "pending_invoice_items_behavior": "include"})
    t.memory.invoice = made.id
    same((made.status, made.subtotal, made.total), ("draft", 2000, 2380))


@step("invoices", "invoices.add_lines")
def lines_add(t: Tour) -> None:
    """Lines are added to a draft in one call."""
    lines = {"lines": [{"amount": 500, "description": "One"}, {"amount": 300, "description": "Two"}]}
    made = t.v1.invoices.add_lines(t.memory.invoice, lines)
    same((made.subtotal, len(made.lines.data)), (2800, 3))


@step("invoices", "invoices.line_items.list")
def lines_list(t: Tour) -> None:
    """The lines are listed, and sum up to the subtotal."""
    found = t.v1.invoices.line_items.list(t.memory.invoice)
    same(sum(line.amount for line in found.data), 2800)


@step("invoices", "invoices.update")
def invoice_update(t: Tour) -> None:
    """A draft takes custom fields, such as the number of a purchase order."""
    fields = [{"name": "Purchase order", "value": "PO-7"}]
    made = t.v1.invoices.update(t.memory.invoice, {"custom_fields": fields})
    same([(one.name, one.value) for one in made.custom_fields], [("Purchase order", "PO-7")])


@step("invoices", "invoices.finalize_invoice")
def invoice_finalize(t: Tour) -> None:
    """A final invoice is open, has a number and its page, and takes no more items."""
    made = t.v1.invoices.finalize_invoice(t.memory.invoice)
    same(made.status, "open")
    assert made.number and made.hosted_invoice_url and made.invoice_pdf, "no number, page or PDF"
    item = {"customer": t.memory.billed, "invoice": made.id, "amount": 1, "currency": "usd"}
    refused(lambda: t.v1.invoice_items.create(item), status=400)


@step("invoices", "invoices.pay")
def invoice_pay(t: Tour) -> None:
    """A declined card leaves it open; a good one pays it, once."""
    bad = {"payment_method": "pm_card_chargeCustomerFail"}
    refused(lambda: t.v1.invoices.pay(t.memory.invoice, bad), status=402)
    same(t.v1.invoices.retrieve(t.memory.invoice).status, "open")
    made = t.v1.invoices.pay(t.memory.invoice)
    same((made.status, made.amount_remaining), ("paid", 0))
    refused(lambda: t.v1.invoices.pay(t.memory.invoice), status=400)


@step("invoices", "invoice_payments.list")
def payments_list(t: Tour) -> None:
    """The payment of an invoice names its payment intent."""
    found = t.v1.invoice_payments.list({"invoice": t.memory.invoice, "status": "paid"}).data
    same([one.payment.type for one in found], ["payment_intent"])


@step("invoices", "invoices.search")
def invoice_search(t: Tour) -> None:
    """`customer` and `total` find invoices, newest first, in pages."""
    query = {"query": f'customer:"{t.memory.billed}" AND total>0', "limit": 1}
    found = t.until(lambda: t.v1.invoices.search(query).data, 90)
    same([one.id for one in found], [t.memory.invoice])


@step("invoices", "invoices.void_invoice")
def invoice_void(t: Tour) -> None:
    """An open invoice can be void, a paid one cannot; a draft is deleted instead."""
    refused(lambda: t.v1.invoices.void_invoice(t.memory.invoice), status=400)
    made = t.v1.invoices.create(
        {"customer": t.memory.billed, "collection_method": "send_invoice", "days_until_due": 30}
    )
    t.v1.invoice_items.create({"customer": t.memory.billed, "invoice": made.id, "amount": 700, "currency": "usd"})
    made = t.v1.invoices.finalize_invoice(made.id)
    t.memory.due = made.due_date
    same(t.v1.invoices.void_invoice(made.id).status, "void")


@step("invoices", "invoices.delete")
def invoice_delete(t: Tour) -> None:
    """A draft is deleted, and gone."""
    made = t.v1.invoices.create({"customer": t.memory.billed})
    same(t.v1.invoices.delete(made.id).deleted, True)
    refused(lambda: t.v1.invoices.retrieve(made.id), status=404)


@step("invoices", "invoices.pay")
def invoice_elsewhere(t: Tour) -> None:
    """An invoice paid out of band is paid without a charge."""
    made = t.v1.invoices.create(
        {"customer": t.memory.billed, "collection_method": "send_invoice", "days_until_due": 30}
    )
    t.v1.invoice_items.create({"customer": t.memory.billed, "invoice": made.id, "amount": 700, "currency": "usd"})
    made = t.v1.invoices.pay(made.id, {"paid_out_of_band": True})
    same((made.status, made.amount_paid), ("paid", 700))


@step("credit notes", "credit_notes.create")
def note_create(t: Tour) -> None:
    """A credit note of a paid invoice refunds money, and no more than was paid."""
    made = t.v1.credit_notes.create({"invoice": t.memory.invoice, "amount": 380, "refund_amount": 380})
    t.memory.note = made.id
    same((made.status, made.amount, len(made.refunds)), ("issued", 380, 1))
    over = {"invoice": t.memory.invoice, "amount": 999999, "refund_amount": 999999}
    refused(lambda: t.v1.credit_notes.create(over), status=400)


@step("credit notes", "credit_notes.list")
def note_list(t: Tour) -> None:
    """The notes of an invoice are listed."""
    same([one.id for one in t.v1.credit_notes.list({"invoice": t.memory.invoice}).data], [t.memory.note])
