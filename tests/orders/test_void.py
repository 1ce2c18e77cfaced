"""Invoices of orders that Stripe calls void: what they asked for is asked for again, or nobody owes it."""

from typing import Any

import config.celery  # noqa: F401 - doorbells ring somewhere
from billing.models import StripeCommand
from billing.selectors.subscriptions import customer_current
from billing.services.commands import commands_send
from billing.services.mirror import invoice_mirror
from orders.models import OrderInvoice
from orders.services import invoices_make, invoices_settle
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.conftest import Person
from tests.orders.test_contracts import invoices, pay, unanswered
from tests.orders.test_invoicing import CENTS, asked, credit, left, only, unpaid, unsent
from tests.orders.test_orders import WHY, row_of
from tests.orders.test_settling import account, sent, settle


def void(person: Person, emulator: Emulator, stripe_id: str) -> None:
    """By hand at Stripe; its news arrive."""
    emulator.v1.invoices.void_invoice(stripe_id)
    with tenant_scope(person.tenant.id):
        customer = customer_current()
        assert customer is not None
        invoice_mirror(customer, stripe_id)


def again(person: Person, staff: Person, row: OrderInvoice) -> None:
    """Staff send a refused command once more."""
    with tenant_scope(person.tenant.id):
        command = StripeCommand.objects.get(operation="order_invoice", once=str(row.pk))
    answer = staff.browser.post(f"/staff/billing/stripecommand/{command.pk}/again/", {"reason": WHY})
    assert answer.status_code == 302
    commands_send(person.tenant.id)


def page_of(staff: Person, order: Any) -> str:
    """What staff read of an order."""
    return str(staff.browser.get(f"/staff/orders/order/{order.pk}/change/").content.decode())


def test_an_invoice_of_another_amount_that_staff_void_is_made_anew(
    ada: Person, staff: Person, stripe_house: Emulator
) -> None:
    order, row = unsent(ada)
    wrong = left(ada, row, stripe_house, 100)
    invoices_make(tenant_id=ada.tenant.id)
    assert only(ada, order).stripe_id == "" and wrong in asked(ada, order)[0].why
    stripe_house.v1.invoices.finalize_invoice(wrong)
    stripe_house.v1.invoices.void_invoice(wrong)
    again(ada, staff, row)
    made = only(ada, order).stripe_id
    found = stripe_house.v1.invoices.retrieve(made)
    assert made != wrong and (found.status, found.total) == ("open", CENTS)
    assert unpaid(ada, order)


def test_a_void_one_is_not_taken_for_sent_after_a_day(ada: Person, stripe_house: Emulator) -> None:
    order, row = unsent(ada)
    invoices_make(tenant_id=ada.tenant.id)
    gone = only(ada, order).stripe_id
    stripe_house.v1.invoices.void_invoice(gone)
    unanswered(ada, row, days=2)
    invoices_make(tenant_id=ada.tenant.id)
    made = only(ada, order).stripe_id
    assert made not in ("", gone) and stripe_house.v1.invoices.retrieve(made).status == "open"


def test_what_a_void_invoice_asked_for_is_asked_for_by_another(
    ada: Person, staff: Person, stripe_house: Emulator
) -> None:
    order, row = sent(ada)
    credit(ada, staff, row, "300.00")
    assert settle(staff, row, "waive").status_code == 302
    void(ada, stripe_house, row.stripe_id)
    assert "$3,000.00 to be decided" in page_of(staff, order)
    assert settle(staff, row, "again").status_code == 302
    assert settle(staff, row, "again").status_code == 422, "once"
    commands_send(ada.tenant.id)
    rest = invoices(ada, order)[1]
    assert (rest.kind, rest.cents) == ("rest", 300_000)
    found = account(ada, order)
    assert (found.paid, found.waived, found.owed, found.invoiced) == (0, 30_000, 1_070_000, 300_000)
    pay(ada, stripe_house, rest.stripe_id)
    invoices_settle()
    assert account(ada, order).paid == 300_000 and row_of(ada, order).state == "working"


def test_what_a_void_invoice_asked_for_can_be_waived(ada: Person, staff: Person, stripe_house: Emulator) -> None:
    order, row = sent(ada)
    void(ada, stripe_house, row.stripe_id)
    assert settle(staff, row, "waive").status_code == 302
    found = account(ada, order)
    assert (found.paid, found.waived, found.owed, found.invoiced) == (0, CENTS, 770_000, 0)
    assert "to be decided" not in page_of(staff, order)
    assert row_of(ada, order).state == "working", "nothing is awaited any more"
