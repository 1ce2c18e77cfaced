"""What an acceptance makes: the deposit's invoice at Stripe, work when it is paid, milestones, delivery, warranty."""

import datetime as dt
from typing import Any

import config.celery  # noqa: F401 - doorbells ring somewhere
from billing.models import Invoice, StripeCommand
from billing.selectors.subscriptions import customer_current
from billing.services.mirror import invoice_mirror
from billing.services.receivables import mirrors_book_all
from kit.clock import now
from orders.models import Contract, Milestone, OrderInvoice
from orders.services import invoices_make, invoices_settle
from orders.tasks import dates
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.conftest import Person, make_person
from tests.isolation.orders import accepted
from tests.orders.test_orders import WHY, kinds, row_of
from tests.registry.making import make_model


def invoices(person: Person, order: Any) -> list[OrderInvoice]:
    """Of an order, the oldest first."""
    with tenant_scope(person.tenant.id):
        return list(OrderInvoice.objects.filter(contract__order=order).order_by("pk"))


def unanswered(person: Person, row: OrderInvoice, *, days: float = 0) -> None:
    """As if the answer to its sending, some days ago, had been lost on the way."""
    at = now() - dt.timedelta(days=days)
    with tenant_scope(person.tenant.id):
        OrderInvoice.objects.filter(pk=row.pk).update(stripe_id="", sent_at=None)
        mine = StripeCommand.objects.filter(operation="order_invoice", once=str(row.pk))
        assert mine.update(state="waiting", answer=None, claimed_until=None, created_at=at, first_sent_at=at) == 1


def pay(person: Person, emulator: Emulator, stripe_id: str) -> None:
    """As the customer pays a hosted invoice, and Stripe's news of it arrive."""
    emulator.v1.invoices.pay(stripe_id, {"payment_method": "pm_card_visa"})
    with tenant_scope(person.tenant.id):
        customer = customer_current()
        assert customer is not None
        invoice_mirror(customer, stripe_id)


def reported(person: Person, value: float) -> Any:
    """A model of the project whose report measured so much."""
    made = make_model(person)
    report = {"test": {"macro_f1": {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 400}}}
    with tenant_scope(person.tenant.id):
        type(made).objects.filter(pk=made.pk).update(report=report)
    return made


def deliver(staff: Person, milestone: Milestone, model: str) -> Any:
    """By the form."""
    return staff.browser.post(f"/staff/orders/milestone/{milestone.pk}/deliver/", {"model": model, "reason": WHY})


def test_the_deposit_is_invoiced_once_with_the_purchase_order_and_days_to_pay(
    ada: Person, stripe_house: Emulator
) -> None:
    order = accepted(ada)
    assert invoices_make(tenant_id=ada.tenant.id) >= 1
    (row,) = invoices(ada, order)
    found = stripe_house.v1.invoices.retrieve(row.stripe_id)
    assert (found.status, found.total, found.collection_method) == ("open", 330_000, "send_invoice")
    assert found.due_date - found.status_transitions.finalized_at == 30 * 86_400
    with tenant_scope(ada.tenant.id):
        contract = Contract.objects.get(order=order)
    assert {one.name: one.value for one in found.custom_fields or []} == {
        "Contract": contract.number,
        "Purchase order": "PO-7",
    }
    assert [line.amount for line in found.lines.data] == [330_000]
    assert invoices_make(tenant_id=ada.tenant.id) == 0
    unanswered(ada, row)  # the same keys give the same invoice
    invoices_make(tenant_id=ada.tenant.id)
    assert invoices(ada, order)[0].stripe_id == row.stripe_id
    unanswered(ada, row, days=2)  # and after a day, when Stripe forgot the keys, its mark is found
    invoices_make(tenant_id=ada.tenant.id)
    assert invoices(ada, order)[0].stripe_id == row.stripe_id
    page = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert found.number in page and page.count(found.hosted_invoice_url) == 2, "Pay, and Open"
    dev = make_person("dev", beside=ada, role="developer")
    page = dev.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert found.number in page and "is to be paid by" in page
    assert found.hosted_invoice_url not in page, "an invoice's page at Stripe is for who may read bills"
    assert row_of(ada, order).state == "accepted", "nothing is paid yet"


def test_usage_that_waits_for_an_invoice_does_not_ride_along(ada: Person, stripe_house: Emulator) -> None:
    with tenant_scope(ada.tenant.id):
        found = customer_current()
        assert found is not None
        customer = found.stripe_id
    item = {"customer": customer, "amount": 777, "currency": "usd", "description": "usage"}
    stripe_house.v1.invoice_items.create(item)
    order = accepted(ada)
    invoices_make(tenant_id=ada.tenant.id)
    assert stripe_house.v1.invoices.retrieve(invoices(ada, order)[0].stripe_id).total == 330_000


def test_an_order_goes_from_a_paid_deposit_over_measured_milestones_to_its_warranty(
    ada: Person, staff: Person, stripe_house: Emulator
) -> None:
    order = accepted(ada)
    invoices_make(tenant_id=ada.tenant.id)
    (deposit,) = invoices(ada, order)
    with tenant_scope(ada.tenant.id):
        first, second = Milestone.objects.filter(contract__order=order).order_by("position")
    model = reported(ada, 0.853)
    early = deliver(staff, first, model.model.name)
    assert early.status_code == 422 and "in work" in early.content.decode()
    pay(ada, stripe_house, deposit.stripe_id)
    invoices_settle()
    assert row_of(ada, order).state == "working"
    assert invoices(ada, order)[0].paid_at is not None
    assert deliver(staff, first, "ft:nobody:has:this:1").status_code == 422
    assert deliver(staff, first, model.model.name).status_code == 302
    page = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert "macro_f1 0.853 (0.833–0.873), agreed was 0.8: reached." in page
    here = f"{ada.workspace}/orders/{order.public_id}/milestones"
    assert ada.browser.post(f"{here}/{second.public_id}").status_code == 409, "it was not delivered"
    assert ada.browser.post(f"{here}/{first.public_id}").status_code == 302
    assert ada.browser.post(f"{here}/{first.public_id}").status_code == 409, "once"
    assert deliver(staff, second, model.model.name).status_code == 302
    began = now().date()
    assert ada.browser.post(f"{here}/{second.public_id}").status_code == 302
    assert row_of(ada, order).state == "delivered"
    invoices_make(tenant_id=ada.tenant.id)
    every = invoices(ada, order)
    with tenant_scope(ada.tenant.id):
        contract = Contract.objects.get(order=order)
    assert sum(row.cents for row in every) == contract.total_cents and len(every) == 3
    for row in every[1:]:
        pay(ada, stripe_house, row.stripe_id)
    invoices_settle()
    assert all(row.paid_at for row in invoices(ada, order))
    assert began <= contract.warranty_until - dt.timedelta(days=90) <= now().date()
    with tenant_scope(ada.tenant.id):
        Contract.objects.filter(pk=contract.pk).update(warranty_until=now().date() + dt.timedelta(days=10))
    dates()
    dates()
    assert kinds(ada, order).count("warranty.ends") == 1
    with tenant_scope(ada.tenant.id):
        Contract.objects.filter(pk=contract.pk).update(warranty_until=now().date() - dt.timedelta(days=1))
    dates()
    assert row_of(ada, order).state == "closed"
    mirrors_book_all()
    with tenant_scope(ada.tenant.id):
        mine = Invoice.objects.filter(stripe_id__in=[row.stripe_id for row in every])
        assert {(one.status, one.problem) for one in mine} == {("paid", "")}
        assert sum(one.amount_paid for one in mine) == contract.total_cents


def test_a_figure_that_was_missed_is_said_and_a_report_without_it_is_no_delivery(ada: Person, staff: Person) -> None:
    order = accepted(ada, deposit_bp=0)
    assert row_of(ada, order).state == "working", "without a deposit the work begins at once"
    with tenant_scope(ada.tenant.id):
        first = Milestone.objects.filter(contract__order=order).order_by("position").first()
    low = reported(ada, 0.5)
    assert deliver(staff, first, low.model.name).status_code == 302
    page = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert "agreed was 0.8: missed" in page
    bare = make_model(ada)
    with tenant_scope(ada.tenant.id):
        type(bare).objects.filter(pk=bare.pk).update(report={})
    refused = deliver(staff, first, bare.model.name)
    assert refused.status_code == 422 and "no macro_f1" in refused.content.decode()


def test_an_accepted_order_is_neither_cancelled_nor_declined(ada: Person, staff: Person) -> None:
    order = accepted(ada)
    assert ada.api.post(f"/v1/orders/{order.public_id}/cancel").status_code == 409
    body = {"text": "We changed our minds.", "reason": WHY}
    assert staff.browser.post(f"/staff/orders/order/{order.pk}/decline/", body).status_code == 422
    assert row_of(ada, order).state == "accepted"
