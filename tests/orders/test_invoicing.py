"""Invoices of orders that go wrong on the way: credited away, begun and left, refused for one customer of many."""

from typing import Any

import config.celery  # noqa: F401 - doorbells ring somewhere
from billing.models import Invoice
from billing.selectors.subscriptions import customer_current
from billing.services.commands import commands_send_all
from billing.services.mirror import invoice_mirror
from billing.services.subscriptions import customer_write
from orders import selectors
from orders.models import Contract, OrderInvoice
from orders.selectors import Asked
from orders.services import invoices_make, invoices_settle
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.conftest import Person, make_person
from tests.isolation.orders import accepted, granted
from tests.orders.test_contracts import invoices, pay, unanswered
from tests.orders.test_orders import WHY, kinds, row_of

CENTS = 330_000
"""The deposit of the quote that tests accept."""


def customer_of(person: Person) -> str:
    """At Stripe; made with the first invoice."""
    with tenant_scope(person.tenant.id):
        customer_write()
    invoices_make(tenant_id=person.tenant.id)
    with tenant_scope(person.tenant.id):
        found = customer_current()
        assert found is not None
        return found.stripe_id


def left(person: Person, row: OrderInvoice, emulator: Emulator, *amounts: int) -> str:
    """A draft that a try of two days ago left with these lines, its answer lost; its id."""
    unanswered(person, row, days=2)
    with tenant_scope(person.tenant.id):
        customer = customer_current()
        assert customer is not None
    draft = emulator.v1.invoices.create(
        {
            "customer": customer.stripe_id,
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {"order_invoice": str(row.pk)},
        }
    )
    for cents in amounts:
        emulator.v1.invoice_items.create(
            {"customer": draft.customer, "invoice": draft.id, "amount": cents, "currency": "usd"}
        )
    return str(draft.id)


def unsent(person: Person) -> tuple[Any, OrderInvoice]:
    """An accepted order and its deposit, of which Stripe knows nothing yet."""
    customer_of(person)
    order = accepted(person)
    (row,) = invoices(person, order)
    return order, row


def only(person: Person, order: Any) -> OrderInvoice:
    """An order's one invoice, as it is now."""
    (row,) = invoices(person, order)
    return row


def asked(person: Person, order: Any) -> list[Asked]:
    """Its invoices, as both sides see them."""
    with tenant_scope(person.tenant.id):
        return selectors.invoices(Contract.objects.get(order=order))


def unpaid(person: Person, order: Any) -> bool:
    """Nothing says that the deposit was paid, and no work began."""
    with tenant_scope(person.tenant.id):
        logged = AuditEvent.objects.filter(action="order.paid", target_id=order.public_id).exists()
    told = {"invoice.paid", "work.started"} & set(kinds(person, order))
    return not logged and not told and only(person, order).paid_at is None and row_of(person, order).state == "accepted"


def credit(person: Person, staff: Person, row: OrderInvoice, amount: str) -> Invoice:
    """As staff take something off what is still to pay; the invoice as Stripe tells it then."""
    with tenant_scope(person.tenant.id):
        mirror = Invoice.objects.get(stripe_id=row.stripe_id)
    body = {"amount": amount, "to": "open", "reason": WHY}
    assert staff.browser.post(f"/staff/billing/invoice/{mirror.pk}/credit/", body).status_code == 302
    with tenant_scope(person.tenant.id):
        mirror.refresh_from_db()
    return mirror


def test_an_invoice_that_was_credited_away_was_not_paid(ada: Person, staff: Person, stripe_house: Emulator) -> None:
    order = accepted(ada)
    invoices_make(tenant_id=ada.tenant.id)
    mirror = credit(ada, staff, only(ada, order), "3300.00")
    assert (mirror.status, mirror.amount_paid) == ("paid", 0), "so says Stripe"
    for _again in range(2):
        invoices_settle()
        assert unpaid(ada, order)
    assert "credited" in only(ada, order).problem


def test_an_invoice_of_which_a_part_was_credited_is_left_to_staff(
    ada: Person, staff: Person, stripe_house: Emulator
) -> None:
    order = accepted(ada)
    invoices_make(tenant_id=ada.tenant.id)
    assert credit(ada, staff, only(ada, order), "3299.00").status == "open"
    pay(ada, stripe_house, only(ada, order).stripe_id)
    invoices_settle()
    assert unpaid(ada, order)
    assert "credited" in only(ada, order).problem


def test_what_a_balance_pays_is_paid(ada: Person, stripe_house: Emulator) -> None:
    customer = customer_of(ada)
    stripe_house.v1.customers.balance_transactions.create(customer, {"amount": -CENTS, "currency": "usd"})
    order = accepted(ada)
    invoices_make(tenant_id=ada.tenant.id)
    assert stripe_house.v1.invoices.retrieve(only(ada, order).stripe_id).amount_paid == 0
    invoices_settle()
    assert row_of(ada, order).state == "working" and only(ada, order).paid_at is not None


def test_an_invoice_is_closed_by_us_and_not_by_the_hour(ada: Person, stripe_house: Emulator) -> None:
    order = accepted(ada)
    invoices_make(tenant_id=ada.tenant.id)
    events = stripe_house.events(type="invoice.created")
    made = [event.data.object for event in events if event.data.object["id"] == only(ada, order).stripe_id]
    assert [one["auto_advance"] for one in made] == [False]
    assert stripe_house.v1.invoices.retrieve(only(ada, order).stripe_id).auto_advance is True, "Stripe may remind"


def test_a_draft_that_was_left_is_gone_on_from(ada: Person, stripe_house: Emulator) -> None:
    for amounts in ((), (CENTS,)):
        order, row = unsent(ada)
        draft = left(ada, row, stripe_house, *amounts)
        invoices_make(tenant_id=ada.tenant.id)
        assert only(ada, order).stripe_id == draft, "no second one"
        found = stripe_house.v1.invoices.retrieve(draft)
        assert (found.status, found.total, len(found.lines.data)) == ("open", CENTS, 1)
        assert unpaid(ada, order)
        pay(ada, stripe_house, draft)
        invoices_settle()
        assert row_of(ada, order).state == "working"


def test_an_empty_invoice_that_was_closed_is_not_adopted(ada: Person, stripe_house: Emulator) -> None:
    order, row = unsent(ada)
    empty = left(ada, row, stripe_house)
    assert stripe_house.v1.invoices.finalize_invoice(empty).status == "paid"
    invoices_make(tenant_id=ada.tenant.id)
    made = only(ada, order).stripe_id
    assert made not in ("", empty) and stripe_house.v1.invoices.retrieve(made).total == CENTS
    invoices_settle()
    assert unpaid(ada, order)
    unanswered(ada, row, days=2)  # the newer one is found
    invoices_make(tenant_id=ada.tenant.id)
    assert only(ada, order).stripe_id == made


def test_an_empty_invoice_that_was_adopted_before_does_not_begin_the_work(ada: Person, stripe_house: Emulator) -> None:
    order, row = unsent(ada)
    empty = left(ada, row, stripe_house)
    stripe_house.v1.invoices.finalize_invoice(empty)
    with tenant_scope(ada.tenant.id):
        OrderInvoice.objects.filter(pk=row.pk).update(stripe_id=empty)
        customer = customer_current()
        assert customer is not None
        invoice_mirror(customer, empty)
    invoices_settle()
    assert unpaid(ada, order)


def test_an_invoice_of_another_amount_is_left_to_staff(ada: Person, stripe_house: Emulator) -> None:
    order, row = unsent(ada)
    draft = left(ada, row, stripe_house, 100)
    invoices_make(tenant_id=ada.tenant.id)
    assert only(ada, order).stripe_id == "" and draft in asked(ada, order)[0].why
    assert stripe_house.v1.invoices.retrieve(draft).status == "draft"


def test_a_customer_that_stripe_forgot_keeps_nobody_else_waiting(ada: Person, stripe_house: Emulator) -> None:
    bob = make_person("bob")
    granted(bob)
    first = accepted(bob)
    stripe_house.v1.customers.delete(customer_of(bob))
    assert only(bob, first).stripe_id
    second = accepted(bob)
    paid = accepted(ada)
    customer_of(ada)
    pay(ada, stripe_house, only(ada, paid).stripe_id)
    waits = accepted(ada)
    commands_send_all()
    assert invoices_settle() >= 1
    assert row_of(ada, paid).state == "working"
    assert only(ada, waits).stripe_id, "its invoice was made all the same"
    assert only(bob, second).stripe_id == "" and "knows no such object" in asked(bob, second)[0].why


def test_an_older_contract_without_days_to_pay_is_not_overdue_at_once(ada: Person, stripe_house: Emulator) -> None:
    order, row = unsent(ada)
    with tenant_scope(ada.tenant.id):
        Contract.objects.filter(pk=row.contract_id).update(net_days=0)
    invoices_make(tenant_id=ada.tenant.id)
    found = stripe_house.v1.invoices.retrieve(only(ada, order).stripe_id)
    assert found.due_date - found.status_transitions.finalized_at == 86_400
